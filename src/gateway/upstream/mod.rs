//! Towards upstream servers: which of them a request goes to, and over what.
//!
//! `forward` uses it. A worker counts its own requests; nothing here is shared with another worker but what is known of
//! the health of servers.

pub(super) mod http1;
pub(super) mod http2;
mod send;
mod servers;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::body::BodyError;
use super::pool::Lease;
pub(super) use send::{Sent, send};
pub(super) use servers::{ServerId, Servers};

/// The connection, or the place on one, that a request has until its response is over, with the body of that response.
/// Dropping it closes it.
#[derive(Debug)]
pub(super) enum Held {
    /// A connection of its own.
    Http1(Lease),
    /// One stream of a connection.
    Http2(http2::Stream, Incoming),
}

impl Held {
    /// Waits for a part of the body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(lease) => lease.connection.poll_frame(cx).map_err(BodyError::from),
            Self::Http2(_, incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
        }
    }

    /// Whether all of the body has come.
    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.connection.is_end_stream(),
            Self::Http2(_, incoming) => incoming.is_end_stream(),
        }
    }

    /// How much of the body is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(lease) => lease.connection.size_hint(),
            Self::Http2(_, incoming) => incoming.size_hint(),
        }
    }

    /// The request goes on while the response is there already: the one must not wait for the other.
    pub(super) fn go_on_by_itself(&mut self) {
        if let Self::Http1(lease) = self {
            lease.connection.upload_by_itself();
        }
    }

    /// Gives it back after an exact end.
    pub(super) fn give_back(self) {
        match self {
            Self::Http1(lease) => lease.give_back(),
            Self::Http2(stream, _) => drop(stream),
        }
    }
}
