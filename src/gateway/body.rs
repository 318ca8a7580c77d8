//! Bodies on their way through: bounded, timed, counted, never collected.
//!
//! A request body knows its largest size, how long its client may pause and how slow it may be; a response body owns the upstream
//! connection and gives it back after an exact end. Both are polled by hyper, so back-pressure is the sockets' own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::deadline::Deadlines;
use super::headers::clean_trailers;
use super::pace::{Pace, Patience, SenderPatience};
use super::pool::Lease;
use super::record::Record;
use super::sanitize::is_forbidden_trailer;
use crate::snapshot::Snapshot;

/// What is read of the body of a refused request, in bytes and time.
const DISCARD_BYTES: usize = 256 << 10;
const DISCARD_FOR: Duration = Duration::from_secs(1);

/// Why a body broke off. The other side sees its connection or stream end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The request body is larger than the limit.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// The sender paused for too long, or was too slow on the whole.
    #[error("the body stalled")]
    Stalled,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
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
    record: Record,
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
    lease: Option<Lease>,
    request_progress: Option<Rc<RequestProgress>>,
    has_ended: bool,
}

impl ResponseBody {
    /// A body of ours, in one piece.
    pub(super) fn own(bytes: Bytes, record: Record) -> Self {
        let content = Content::Own((!bytes.is_empty()).then_some(bytes));
        Self { content, record }
    }

    /// The upstream's body, with the connection that it comes from.
    pub(super) fn upstream(
        incoming: Incoming,
        pause: Duration,
        deadlines: &Rc<Deadlines>,
        lease: Lease,
        request_progress: Option<Rc<RequestProgress>>,
        record: Record,
    ) -> Self {
        let body = UpstreamBody {
            incoming,
            patience: Patience::new(pause, deadlines),
            lease: Some(lease),
            request_progress,
            has_ended: false,
        };
        Self {
            content: Content::Upstream(body),
            record,
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
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    record.add_sent(data.len());
                }
            }
            Poll::Ready(Some(Err(_))) => record.mark_broken(),
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
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
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
                self.lease = None;
                Poll::Ready(Some(Err(broken.into())))
            }
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        let request_is_complete = self
            .request_progress
            .as_ref()
            .is_none_or(|progress| progress.end.get() == RequestBodyEnd::Complete);
        if let Some(lease) = self.lease.take()
            && request_is_complete
            && (self.has_ended || self.incoming.is_end_stream())
        {
            lease.give_back();
        }
    }
}

/// Reads on for a little while after a refusal: a client that is still sending may not look at the answer before it is
/// done, and loses it when the connection or the stream is reset under it (RFC 9112 section 9.6).
pub(super) fn discard(mut body: Incoming, deadlines: &Rc<Deadlines>) {
    if body.is_end_stream() {
        return;
    }
    let deadline = deadlines.after(DISCARD_FOR, Instant::now());
    tokio::task::spawn_local(async move {
        let reading = async {
            let mut left = DISCARD_BYTES;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                left = match left.checked_sub(bytes) {
                    Some(left) => left,
                    None => return,
                };
            }
        };
        deadline.limit(reading).await
    });
}
