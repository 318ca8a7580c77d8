//! Request bodies on their way to the upstream: bounded, timed, counted, never collected.
//!
//! A body knows its largest size and how long its client may pause. The connection to the upstream polls it, so
//! back-pressure is the sockets' own.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};

use super::body::BodyError;
use super::deadline::Deadlines;
use super::headers::clean_trailers;
use super::pace::{Pace, SenderPatience};
use super::sanitize::is_forbidden_trailer;
use crate::net::ClientBody;
use crate::snapshot::Snapshot;

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
    incoming: ClientBody,
    left: u64,
    patience: SenderPatience,
    progress: Rc<RequestProgress>,
    snapshot: Arc<Snapshot>,
}

impl RequestBody {
    /// A body of at most `limit` bytes. Returns also what tells how far it has come; `None` for an empty one.
    pub(super) fn new(
        incoming: ClientBody,
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
                is_forbidden_trailer(name)
                    || snapshot.token_headers.contains(name)
                    || snapshot.is_reserved(name)
                    || name.as_str().contains('_')
            });
        }
        Poll::Ready(Some(Ok(frame)))
    }
}
