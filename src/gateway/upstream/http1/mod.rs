//! One HTTP/1.1 connection to an upstream server.
//!
//! Whoever has it on lease drives it: nothing stands between a request and the socket, neither a task nor a queue. The
//! connection may be used again only after a response that ended exactly and a request that was sent whole. Where one
//! task cannot do for both directions, an upload that goes on beside its response, the upload gets a task of its own.

mod request;
mod response;
mod wire;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

use crate::gateway::client;
use crate::gateway::outgoing::Outgoing;
use crate::net::UpstreamStream;
use wire::Wire;

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(in crate::gateway) struct Connection {
    wire: Rc<RefCell<Wire>>,
    uploading: Option<Uploading>,
}

/// A task that uploads. Dropping this ends it.
#[derive(Debug)]
struct Uploading(AbortHandle);

/// Why a connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Reading has failed.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// The server has closed it before the end of the response.
    #[error("closed before the end")]
    Closed,
    /// The head of the response cannot be read, or in more than one way.
    #[error("the head of the response cannot be read")]
    Head,
    /// The coding of its body cannot be read.
    #[error("the body of the response cannot be read")]
    Body,
    /// The body of the request has ended before its end.
    #[error("the request cannot be completed")]
    Request,
}

/// A connection that speaks another protocol from here on.
#[derive(Debug)]
pub(in crate::gateway) struct Switched {
    stream: UpstreamStream,
    /// Came with the answer.
    input: BytesMut,
}

impl Connection {
    /// Begins HTTP/1.1 on a stream.
    pub(in crate::gateway) fn new(stream: UpstreamStream) -> Self {
        Self {
            wire: Rc::new(RefCell::new(Wire::new(stream))),
            uploading: None,
        }
    }

    /// Whether nothing is left of the request before, so that it may take another one.
    pub(in crate::gateway) fn is_over(&self) -> bool {
        self.wire.borrow().is_over()
    }

    /// Whether, besides, the server has neither closed it nor said anything unasked.
    pub(in crate::gateway) fn is_usable(&self) -> bool {
        self.wire.borrow_mut().is_usable()
    }

    /// Sends a request, as much of it as can go at once. Gives it back where nothing of it was sent.
    pub(in crate::gateway) fn send(&mut self, request: Outgoing) -> Result<(), Outgoing> {
        self.wire.borrow_mut().send(request)
    }

    /// Waits for the head of the response, and sends on meanwhile. Interim answers go to the client before.
    pub(in crate::gateway) fn poll_answer(
        &mut self,
        client: &client::Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Broken>> {
        self.wire.borrow_mut().poll_answer(client, cx)
    }

    /// Waits for a part of the body of the response.
    pub(in crate::gateway) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut wire = self.wire.borrow_mut();
        let polled = wire.poll_frame(cx);
        if polled.is_pending() && self.uploading.is_some() {
            wire.wake_with_upload(cx.waker());
        }
        polled
    }

    /// Whether all of the body has come.
    pub(in crate::gateway) fn is_end_stream(&self) -> bool {
        self.wire.borrow().has_all_come()
    }

    /// How much of the body is still to come.
    pub(in crate::gateway) fn size_hint(&self) -> SizeHint {
        self.wire.borrow().size_hint()
    }

    /// Lets a task send what is left of the request: it must not wait for whoever takes the response.
    pub(in crate::gateway) fn upload_by_itself(&mut self) {
        if !self.wire.borrow().is_sending() {
            return;
        }
        let wire = Rc::clone(&self.wire);
        let uploading = tokio::task::spawn_local(poll_fn(move |cx| wire.borrow_mut().poll_upload(cx)));
        self.uploading = Some(Uploading(uploading.abort_handle()));
    }

    /// It goes back to where it rests: large buffers are not kept.
    pub(in crate::gateway) fn rest(&mut self) {
        self.wire.borrow_mut().rest();
    }

    /// What is beneath it, once the server has agreed to another protocol.
    pub(in crate::gateway) fn switch(self) -> Option<Switched> {
        let (stream, input) = Rc::into_inner(self.wire)?.into_inner().into_parts();
        Some(Switched { stream, input })
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AsyncRead for Switched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, input } = self.get_mut();
        if input.is_empty() {
            return Pin::new(stream).poll_read(cx, into);
        }
        let count = input.len().min(into.remaining());
        into.put_slice(&input.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
