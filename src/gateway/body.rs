//! Response bodies on their way through: timed, counted, never collected.
//!
//! A response body owns the upstream connection and gives it back after an exact end. It is polled by the connection, so
//! back-pressure is the sockets' own.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::deadline::Patience;
use super::grpc::{Dialect, insert_status};
use super::headers::clean_trailers;
use super::record::Record;
use super::request_body::{RequestBodyEnd, RequestProgress};
use super::sanitize::is_forbidden_trailer;
use super::stream::StreamEnd;
use super::upstream::Held;
use super::upstream::http1::Broken;
use crate::net::ClientBodyError;
use crate::policy::Reason;

/// Why a body broke off. The other side sees its connection or stream end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The request body is larger than the limit.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// The sender paused for too long, or was too slow on the whole.
    #[error("the body stalled")]
    Stalled,
    /// Its time is over: that of the call, or of the token.
    #[error("ended by the gateway: {reason}", reason = .0.name())]
    Ended(Reason),
    /// The connection to the client broke, or its stream.
    #[error("the connection broke: {0}")]
    Client(#[from] ClientBodyError),
    /// The connection to an HTTP/2 upstream broke.
    #[error("the connection to the upstream broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The connection to an HTTP/1.1 upstream broke.
    #[error("the connection to the upstream broke: {0}")]
    Upstream(#[from] Broken),
}

impl BodyError {
    /// Why a response broke off.
    fn reason(&self) -> Reason {
        match self {
            Self::Ended(reason) => *reason,
            Self::TooLarge | Self::Stalled | Self::Client(_) | Self::Broken(_) | Self::Upstream(_) => {
                Reason::UpstreamProtocol
            }
        }
    }
}

/// The body of a response: ours, or the upstream's. The record of the request is written when it is dropped.
#[derive(Debug)]
pub struct ResponseBody {
    content: Content,
    /// `None` where a tunnel has it.
    record: Option<Record>,
}

#[derive(Debug)]
enum Content {
    Own(Option<Bytes>),
    Upstream(UpstreamBody),
}

#[derive(Debug)]
struct UpstreamBody {
    patience: Patience,
    /// Until it breaks off.
    held: Option<Held>,
    request_progress: Option<Rc<RequestProgress>>,
    has_ended: bool,
    /// It broke off; to be said with the next poll.
    broken: Option<BodyError>,
    /// Only of streams.
    end: Option<Box<StreamEnd>>,
}

impl ResponseBody {
    /// A body of ours, in one piece.
    pub(super) fn own(bytes: Bytes, record: Record) -> Self {
        let content = Content::Own((!bytes.is_empty()).then_some(bytes));
        Self {
            content,
            record: Some(record),
        }
    }

    /// Nothing, of a response whose record goes elsewhere.
    pub(super) fn empty() -> Self {
        Self {
            content: Content::Own(None),
            record: None,
        }
    }

    /// The upstream's body, with the connection that it comes from.
    pub(super) fn upstream(
        patience: Patience,
        end: Option<Box<StreamEnd>>,
        held: Held,
        request_progress: Option<Rc<RequestProgress>>,
        record: Record,
    ) -> Self {
        let body = UpstreamBody {
            patience,
            held: Some(held),
            request_progress,
            has_ended: false,
            broken: None,
            end,
        };
        Self {
            content: Content::Upstream(body),
            record: Some(record),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { content, record } = self.get_mut();
        let polled = match content {
            Content::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Upstream(body) => body.poll_frame(cx),
        };
        let Some(record) = record else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    record.add_sent(data.len());
                }
            }
            Poll::Ready(Some(Err(error))) => {
                let reason = error.reason();
                record.broke_off(reason);
                if let Content::Upstream(body) = content
                    && let Some(trailers) = body.last_words(reason)
                {
                    // The upstream is let go of, and so is whatever it still sends.
                    *content = Content::Own(None);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(bytes) => bytes.is_none(),
            Content::Upstream(body) => body.held.as_ref().is_some_and(Held::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Upstream(body) => body.held.as_ref().map(Held::size_hint).unwrap_or_default(),
        }
    }
}

impl UpstreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(end) = &self.end
            && let Some(reason) = end.is_over(cx)
        {
            self.held = None;
            return Poll::Ready(Some(Err(BodyError::Ended(reason))));
        }
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let Some(held) = &mut self.held else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = held.poll_frame(cx) else {
            if self.patience.is_over(cx) {
                return Poll::Ready(Some(Err(BodyError::Stalled)));
            }
            return Poll::Pending;
        };
        self.patience.renew();
        match frame {
            None => {
                self.has_ended = true;
                Poll::Ready(None)
            }
            Some(Err(broken)) => {
                self.held = None;
                // What was handed on before is written first, the head above all: to a client that gets nothing, it
                // looks as if its request had not been served, and it may send it again.
                self.broken = Some(broken);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers, is_forbidden_trailer);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// How a gRPC client is told that there is no more to come. Others see their stream or connection break.
    fn last_words(&self, reason: Reason) -> Option<HeaderMap> {
        let is_grpc = self.end.as_ref()?.dialect == Dialect::Grpc;
        is_grpc.then(|| {
            let mut trailers = HeaderMap::with_capacity(2);
            insert_status(&mut trailers, reason);
            trailers
        })
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        let request_is_complete = self
            .request_progress
            .as_ref()
            .is_none_or(|progress| progress.end.get() == RequestBodyEnd::Complete);
        if let Some(held) = self.held.take()
            && request_is_complete
            && (self.has_ended || held.is_end_stream())
        {
            held.give_back();
        }
    }
}
