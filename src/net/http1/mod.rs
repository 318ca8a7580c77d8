//! HTTP/1.1 on a client's connection, for the data path. What the two codecs of HTTP/1.1 share lies here, too.
//!
//! hyper serves the connections where a request more or less does not count; here each one does. One task has the
//! connection: it reads a head, calls the service, and writes what comes of it; the body of the request is read by
//! whoever has it, straight from the socket. Deadlines, the drain and the bounds are those of `connection`, which hyper's
//! connections have as well. It must never judge a request beyond its framing.

mod answer;
mod body;
mod chunked;
mod fields;
mod head;
mod input;
mod output;
mod request;
mod spare;
mod wire;

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use hyper::service::Service;
use pin_project_lite::pin_project;

use crate::net::watched::WatchedStream;
use answer::Encoder;
pub use body::{ClientBody, ClientBodyError, Http1Body, OnUpgrade, Upgraded};
pub(crate) use chunked::{BadChunk, Chunked, Part};
pub(crate) use fields::{BadField, Room, announced, names_option, number, write_field};
use head::BadHead;
pub(super) use head::HeadBounds;
pub(crate) use input::Input;
pub(crate) use output::Output;
pub use request::{ClientRequest, ClientService, client_service};
pub(super) use wire::{ClientStream, Wire};

/// Why a connection has ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// This is no request, or not the body of one.
    #[error("malformed")]
    Malformed,
    /// The client speaks another version of HTTP.
    #[error("another version of HTTP")]
    Version,
    /// The head has more bytes or more fields than it may.
    #[error("the head is too large")]
    TooLarge,
    /// So has its target.
    #[error("the target is too long")]
    UriTooLong,
    /// The client has gone in the middle of a request or before the end of a response.
    #[error("the client has gone")]
    Incomplete,
    /// The response has ended before its end.
    #[error("the response broke off")]
    Answer,
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<BadHead> for Fault {
    fn from(bad: BadHead) -> Self {
        match bad {
            BadHead::Malformed => Self::Malformed,
            BadHead::Version => Self::Version,
            BadHead::TooLarge => Self::TooLarge,
            BadHead::UriTooLong => Self::UriTooLong,
        }
    }
}

impl Fault {
    /// What the client is told where no request came of what it sent.
    fn answer(&self) -> Option<StatusCode> {
        match self {
            Self::Malformed => Some(StatusCode::BAD_REQUEST),
            Self::TooLarge => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::UriTooLong => Some(StatusCode::URI_TOO_LONG),
            Self::Version | Self::Incomplete | Self::Answer | Self::Io(_) => None,
        }
    }
}

pin_project! {
    /// A connection that is being served.
    pub(super) struct Served<F> {
        #[pin]
        serving: F,
        wire: Rc<RefCell<Wire>>,
    }
}

impl<F> Served<F> {
    /// It ends after the request that has begun.
    pub(super) fn leave(self: Pin<&mut Self>) {
        self.project().wire.borrow_mut().leave();
    }
}

impl<F: Future<Output = Result<(), Fault>>> Future for Served<F> {
    type Output = Result<(), Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().serving.poll(cx)
    }
}

/// Serves a connection until it ends or becomes another one.
pub(super) fn serve<S, B>(
    stream: WatchedStream<Box<dyn ClientStream>>,
    bounds: HeadBounds,
    service: S,
) -> Served<impl Future<Output = Result<(), Fault>>>
where
    S: Service<ClientRequest, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let wire = Rc::new(RefCell::new(Wire::new(stream, bounds)));
    Served {
        serving: run(Rc::clone(&wire), service),
        wire,
    }
}

/// Tells who waits for a switch of protocols that there will be none.
struct Ending(Rc<RefCell<Wire>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.borrow_mut().end();
    }
}

async fn run<S, B>(wire: Rc<RefCell<Wire>>, service: S) -> Result<(), Fault>
where
    S: Service<ClientRequest, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let ending = Ending(wire);
    let wire = &ending.0;
    loop {
        let head = match poll_fn(|cx| wire.borrow_mut().poll_head(cx)).await {
            Ok(Some(head)) => head,
            Ok(None) => break,
            Err(fault) => return refuse(wire, fault).await,
        };
        let has_body = !wire.borrow().has_all_come();
        let body = if has_body || head.terms.asks_to_switch {
            ClientBody::Http1(Http1Body::of(wire, head.terms.asks_to_switch))
        } else {
            ClientBody::Empty
        };
        let request = ClientRequest {
            head: head.parts,
            body,
        };
        let (response, body) = answer(wire, service.call(request)).await?.into_parts();
        let is_switch = response.status == StatusCode::SWITCHING_PROTOCOLS;
        let encoder = wire.borrow_mut().begin_answer(response, &body.size_hint());
        send(wire, encoder, body).await?;
        poll_fn(|cx| wire.borrow_mut().poll_write(cx)).await?;
        if is_switch {
            wire.borrow_mut().switch();
            return Ok(());
        }
        if !poll_fn(|cx| wire.borrow_mut().poll_next(cx)).await {
            break;
        }
    }
    poll_fn(|cx| wire.borrow_mut().poll_shutdown(cx)).await
}

/// Answers what is no request as far as that is possible, and ends the connection.
async fn refuse(wire: &RefCell<Wire>, fault: Fault) -> Result<(), Fault> {
    if let Some(status) = fault.answer() {
        wire.borrow_mut().refuse(status);
        poll_fn(|cx| wire.borrow_mut().poll_write(cx)).await?;
        poll_fn(|cx| wire.borrow_mut().poll_shutdown(cx)).await?;
    }
    Err(fault)
}

/// Waits for the response, unless the client goes.
async fn answer<B>(
    wire: &RefCell<Wire>,
    answering: impl Future<Output = Result<Response<B>, Infallible>>,
) -> Result<Response<B>, Fault> {
    let mut answering = pin!(answering);
    poll_fn(|cx| match answering.as_mut().poll(cx) {
        Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => wire.borrow_mut().poll_watch(cx).map(Err),
    })
    .await
}

/// Puts the body of a response into the output, and writes as much of it as has to make room. The body is gone when this
/// returns, before the rest is written: what it held is free.
async fn send<B: Body<Data = Bytes>>(
    wire: &RefCell<Wire>,
    mut encoder: Encoder,
    body: B,
) -> Result<(), Fault> {
    let mut body = pin!(body);
    poll_fn(|cx| {
        loop {
            let mut is_waiting = false;
            encoder.settle(wire.borrow_mut().output());
            while encoder != Encoder::Over && !is_waiting && !wire.borrow_mut().output().is_full() {
                // Not while the wire is borrowed: it may be that of the request, too.
                let polled = body.as_mut().poll_frame(cx);
                let mut wire = wire.borrow_mut();
                let pushed = match polled {
                    Poll::Ready(Some(Ok(frame))) => encoder.push(frame, wire.output()),
                    Poll::Ready(Some(Err(_its_own_record))) => {
                        // What has come of it the client may have.
                        let _ = wire.poll_write(cx);
                        return Poll::Ready(Err(Fault::Answer));
                    }
                    Poll::Ready(None) => encoder.end(wire.output()),
                    Poll::Pending => {
                        is_waiting = true;
                        Ok(())
                    }
                };
                pushed.map_err(|_bad_length| Fault::Answer)?;
            }
            if encoder == Encoder::Over {
                return Poll::Ready(Ok(()));
            }
            let mut wire = wire.borrow_mut();
            if wire.poll_write(cx)?.is_pending() || is_waiting {
                return wire.poll_watch(cx).map(Err);
            }
        }
    })
    .await
}
