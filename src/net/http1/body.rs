//! What a service gets of a client besides the head of a request: the body, or all of the connection.

use std::cell::{RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Fault;
use super::wire::Wire;

/// The body of a request. Dropping it says that nobody reads it any more.
#[derive(Debug)]
pub enum ClientBody {
    /// There is none.
    Empty,
    /// On a connection of HTTP/1.1.
    Http1(Http1Body),
    /// On a stream of HTTP/2.
    Http2(Incoming),
}

/// The body of a request on a connection of HTTP/1.1. Whoever still has it when the next request has begun finds that it
/// has ended, and changes nothing there.
#[derive(Debug)]
pub struct Http1Body {
    wire: Rc<RefCell<Wire>>,
    /// Of the request.
    number: u64,
    may_switch: bool,
}

/// Why the body of a request has ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ClientBodyError {
    /// In HTTP/1.1.
    #[error("{0}")]
    Http1(#[from] Fault),
    /// In HTTP/2.
    #[error("{0}")]
    Http2(#[from] hyper::Error),
}

/// A connection that is to speak another protocol, once the response to its last request has said so.
#[derive(Debug)]
pub struct OnUpgrade(Rc<RefCell<Wire>>);

/// A connection that speaks another protocol. Dropping it closes it.
#[derive(Debug)]
pub struct Upgraded(Rc<RefCell<Wire>>);

impl Http1Body {
    pub(super) fn of(wire: &Rc<RefCell<Wire>>, may_switch: bool) -> Self {
        Self {
            wire: Rc::clone(wire),
            number: wire.borrow().number(),
            may_switch,
        }
    }

    /// The connection, while this is the body of its last request.
    fn current(&self) -> Option<RefMut<'_, Wire>> {
        let wire = self.wire.borrow_mut();
        (wire.number() == self.number).then_some(wire)
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        if let Some(mut wire) = self.current() {
            wire.let_go();
        }
    }
}

impl ClientBody {
    /// The connection that the request came on, where it asks for another protocol.
    pub fn on_upgrade(&self) -> Option<OnUpgrade> {
        match self {
            Self::Http1(body) if body.may_switch => Some(OnUpgrade(Rc::clone(&body.wire))),
            Self::Empty | Self::Http1(_) | Self::Http2(_) => None,
        }
    }
}

impl From<Incoming> for ClientBody {
    fn from(body: Incoming) -> Self {
        Self::Http2(body)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => match body.current() {
                Some(mut wire) => wire.poll_frame(cx).map_err(ClientBodyError::Http1),
                None => Poll::Ready(None),
            },
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(ClientBodyError::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.current().is_none_or(|wire| wire.has_all_come()),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body
                .current()
                .map_or_else(|| SizeHint::with_exact(0), |wire| wire.size_hint()),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

impl Future for OnUpgrade {
    /// `None` where the connection has ended before.
    type Output = Option<Upgraded>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Upgraded>> {
        let has_switched = ready!(self.0.borrow_mut().poll_switched(cx));
        Poll::Ready(has_switched.then(|| Upgraded(Rc::clone(&self.0))))
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        let (input, stream) = wire.beneath();
        if input.is_empty() {
            return stream.poll_read(cx, buf);
        }
        let count = input.len().min(buf.remaining());
        buf.put_slice(input.get(..count).unwrap_or_default());
        input.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().beneath().1.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().beneath().1.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().beneath().1.poll_shutdown(cx)
    }
}
