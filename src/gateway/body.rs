//! Bodies on their way through: bounded, timed, counted, never collected.
//!
//! A request body knows its largest size, how long its client may pause and how slow it may be; a response body owns the upstream
//! connection and gives it back after an exact end. Both are polled by hyper, so back-pressure is the sockets' own.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::deadline::{Deadlines, Patience};
use super::grpc::{Dialect, insert_status};
use super::headers::clean_trailers;
use super::pace::{Pace, SenderPatience};
use super::record::Record;
use super::sanitize::is_forbidden_trailer;
use super::stream::StreamEnd;
use super::upstream::Held;
use crate::policy::Reason;
use crate::snapshot::Snapshot;

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
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
}

impl BodyError {
    /// Why a response broke off.
    fn reason(&self) -> Reason {
        match self {
            Self::Ended(reason) => *reason,
            Self::TooLarge | Self::Stalled | Self::Broken(_) => Reason::UpstreamProtocol,
        }
    }
}

/// How a request body ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestBodyEnd {
    Streaming,
    Complete,
    TooLarge,
    Stalled,
    Broken,
}

/// How far a request body has come; its sender and its receiver both look at it.
#[derive(Debug)]
pub(super) struct RequestProgress {
    pub(super) end: Cell<RequestBodyEnd>,
    pub(super) bytes: Cell<u64>,
    /// When a part of it last went on.
    moved: Cell<Instant>,
    /// The upstream would take more, and the client has not sent it.
    is_waiting: Cell<bool>,
    /// The upstream has begun to answer: from now on the two talk as slowly as they like.
    is_answered: Cell<bool>,
}

impl RequestProgress {
    /// The head of the response is there.
    pub(super) fn answered(&self) {
        self.is_answered.set(true);
    }

    /// Until when the upstream may take for its answer: its time begins anew with each part of the body, and does not
    /// run while the client is waited for, who has a patience of its own.
    pub(super) fn upstream_deadline(&self, patience: Duration) -> Instant {
        if self.is_waiting.get() {
            Instant::now() + patience
        } else {
            self.moved.get() + patience
        }
    }
}

/// The body of a request on its way to the upstream.
#[derive(Debug)]
pub(super) enum RequestBody {
    Empty,
    Stream(Box<RequestStream>),
}

#[derive(Debug)]
pub(super) struct RequestStream {
    incoming: Incoming,
    left: u64,
    patience: SenderPatience,
    progress: Rc<RequestProgress>,
    snapshot: Arc<Snapshot>,
}

impl RequestBody {
    /// A body of at most `limit` bytes. Returns also what tells how far it has come; `None` for an empty one.
    pub(super) fn new(
        incoming: Incoming,
        limit: u64,
        pace: Pace,
        deadlines: &Rc<Deadlines>,
        snapshot: &Arc<Snapshot>,
    ) -> (Self, Option<Rc<RequestProgress>>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let progress = Rc::new(RequestProgress {
            end: Cell::new(RequestBodyEnd::Streaming),
            bytes: Cell::new(0),
            moved: Cell::new(Instant::now()),
            is_waiting: Cell::new(false),
            is_answered: Cell::new(false),
        });
        let stream = RequestStream {
            incoming,
            left: limit,
            patience: SenderPatience::new(pace, deadlines),
            progress: Rc::clone(&progress),
            snapshot: Arc::clone(snapshot),
        };
        (Self::Stream(Box::new(stream)), Some(progress))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

impl RequestStream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.progress.is_waiting.set(polled.is_pending());
        let Poll::Ready(frame) = polled else {
            let progress = &self.progress;
            if self
                .patience
                .is_over(cx, progress.bytes.get(), progress.is_answered.get())
            {
                progress.end.set(RequestBodyEnd::Stalled);
                return Poll::Ready(Some(Err(BodyError::Stalled)));
            }
            return Poll::Pending;
        };
        let now = Instant::now();
        self.patience.came(now);
        self.progress.moved.set(now);
        let Some(frame) = frame else {
            self.progress.end.set(RequestBodyEnd::Complete);
            return Poll::Ready(None);
        };
        let mut frame = frame.inspect_err(|_broken| self.progress.end.set(RequestBodyEnd::Broken))?;
        if let Some(data) = frame.data_ref() {
            self.progress
                .bytes
                .set(self.progress.bytes.get() + data.len() as u64);
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.progress.end.set(RequestBodyEnd::TooLarge);
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
            }
            if self.incoming.is_end_stream() {
                self.progress.end.set(RequestBodyEnd::Complete);
            }
        } else if let Some(trailers) = frame.trailers_mut() {
            let snapshot = &self.snapshot;
            clean_trailers(trailers, |name: &HeaderName| {
                is_forbidden_trailer(name) || snapshot.is_reserved(name) || name.as_str().contains('_')
            });
        }
        Poll::Ready(Some(Ok(frame)))
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
    incoming: Incoming,
    patience: Patience,
    held: Option<Held>,
    request_progress: Option<Rc<RequestProgress>>,
    has_ended: bool,
    /// It broke off; to be said with the next poll.
    broken: Option<hyper::Error>,
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
        incoming: Incoming,
        patience: Patience,
        end: Option<Box<StreamEnd>>,
        held: Held,
        request_progress: Option<Rc<RequestProgress>>,
        record: Record,
    ) -> Self {
        let body = UpstreamBody {
            incoming,
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
            Content::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Upstream(body) => body.incoming.size_hint(),
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
            return Poll::Ready(Some(Err(broken.into())));
        }
        let incoming = &mut self.incoming;
        let polled = match &mut self.held {
            Some(held) => held.poll_body(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx)),
            None => Pin::new(incoming).poll_frame(cx),
        };
        let Poll::Ready(frame) = polled else {
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
            && (self.has_ended || self.incoming.is_end_stream())
        {
            held.give_back();
        }
    }
}
