//! Towards upstream servers: which of them a request goes to, and over what.
//!
//! `forward` uses it. A worker counts its own requests; nothing here is shared with another worker but what is known of
//! the health of servers.

pub(super) mod http1;
pub(super) mod http2;
mod interim;
mod send;
mod servers;

use std::task::{Context, Poll};

use super::pool::Lease;
pub(super) use send::{Sent, send};
pub(super) use servers::{ServerId, Servers};

/// The connection, or the place on one, that a request has until its response is over. Dropping it closes it.
#[derive(Debug)]
pub(super) enum Held {
    /// A connection of its own.
    Http1(Lease),
    /// One stream of a connection.
    Http2(http2::Stream),
}

impl Held {
    /// Polls the body of the response that comes over it.
    pub(super) fn poll_body<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match self {
            Self::Http1(lease) => lease.poll_body(cx, poll),
            Self::Http2(_) => poll(cx),
        }
    }

    /// The request goes on while the response is there already: the one must not wait for the other.
    pub(super) fn go_on_by_itself(&mut self) {
        if let Self::Http1(lease) = self {
            lease.hand_to_task();
        }
    }

    /// Gives it back after an exact end.
    pub(super) fn give_back(self) {
        match self {
            Self::Http1(lease) => lease.give_back(),
            Self::Http2(stream) => drop(stream),
        }
    }
}
