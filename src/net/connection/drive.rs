//! Polls a connection beside its one timer and the drain, and decides when it has to end.
//!
//! Only `connection` uses it. It knows when something is due and what hyper is to be told then; what a connection is doing
//! stands in `activity`.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::service::WatchedService;
use super::{ConnectionEnd, Patience, SILENCE};
use crate::net::DrainWatcher;
use crate::net::activity::{Activity, Overdue};
use crate::net::http1::{Fault, Served};
use crate::net::streams::{StreamExecutor, Streams, Terms};
use crate::net::watched::WatchedStream;

/// A connection, its one timer, and the drain.
///
/// The timer is moved only when it would be late, and looked at only when it fires: between requests of a busy
/// connection it stays where it is.
pub(super) struct Drive<'a> {
    activity: &'a Activity,
    patience: Patience,
    drain: &'a DrainWatcher,
    /// HTTP/2 only.
    streams: Option<&'a Streams>,
    swept: Instant,
    watches_drain: bool,
    /// The timer has been asked since it fired last, so it wakes this task.
    is_armed: bool,
    leaving: Leaving,
}

/// Whether the connection goes on.
enum Leaving {
    No,
    /// Said goodbye because it has had its share, after so many requests; those may take as long as they do.
    Asked {
        begun: u32,
    },
    /// Ends with a drain; at this moment, unless its first request comes before.
    Silent(Instant),
    /// Ends at this moment at the latest, like this.
    Cut(Instant, ConnectionEnd),
}

/// What the timer has fired for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Overdue(Overdue),
    Cut,
    OldAge,
    Sweep,
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        activity: &'a Activity,
        patience: Patience,
        drain: &'a DrainWatcher,
        streams: Option<&'a Streams>,
    ) -> Self {
        Self {
            activity,
            patience,
            drain,
            streams,
            swept: Instant::now(),
            watches_drain: false,
            is_armed: false,
            leaving: Leaving::No,
        }
    }

    pub(super) async fn run<C: Connection>(mut self, connection: C) -> ConnectionEnd {
        let mut connection = pin!(connection);
        let mut timer = pin!(sleep_until(Instant::now() + self.patience.first_byte));
        poll_fn(|cx| self.poll(connection.as_mut(), timer.as_mut(), cx)).await
    }

    fn poll<C: Connection>(
        &mut self,
        mut connection: Pin<&mut C>,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionEnd> {
        if !self.watches_drain {
            self.watches_drain = true;
            self.activity.in_flight.wake_on_drain(cx.waker());
        }
        loop {
            // First, so that a request that has arrived is seen before the connection is asked to end.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_or_else(Into::into, |()| ConnectionEnd::Closed));
            }
            if self.drain.is_draining() && self.leaves_for_the_drain() {
                connection.as_mut().finish();
                continue;
            }
            if self.streams.is_some() && self.has_had_its_share() {
                connection.as_mut().finish();
                continue;
            }
            match ready!(self.poll_due(timer.as_mut(), cx)) {
                Due::Cut => {
                    let leaving = mem::replace(&mut self.leaving, Leaving::No);
                    return Poll::Ready(match leaving {
                        Leaving::Cut(_, end) => end,
                        Leaving::Silent(_) => ConnectionEnd::Closed,
                        Leaving::No | Leaving::Asked { .. } => ConnectionEnd::Cut,
                    });
                }
                Due::Overdue(Overdue::Idle) if self.streams.is_some() => {
                    // GOAWAY, so that a client which is about to send learns to use another connection.
                    let end = ConnectionEnd::TimedOut(Overdue::Idle);
                    self.leaving = Leaving::Cut(Instant::now() + GOODBYE, end);
                    connection.as_mut().finish();
                }
                Due::Overdue(overdue) => return Poll::Ready(ConnectionEnd::TimedOut(overdue)),
                Due::OldAge => {
                    self.leaving = Leaving::Asked {
                        begun: self.activity.begun(),
                    };
                    connection.as_mut().finish();
                }
                Due::Sweep => {
                    self.swept = Instant::now();
                    let terms = self.terms();
                    self.streams.map(|streams| streams.sweep(&terms));
                }
            }
        }
    }

    /// Whether the connection is to be asked to end now because of a drain. One that has not asked for anything yet is
    /// given a moment: its request may be on the way, and in HTTP/1.1 nothing could tell the client to ask elsewhere.
    fn leaves_for_the_drain(&mut self) -> bool {
        let deadline = self.drain.deadline().unwrap_or_else(Instant::now);
        let waited_for = self.activity.deadline(&self.patience, true);
        let is_silent = self.streams.is_none() && matches!(waited_for, Some((_, Overdue::FirstByte)));
        match self.leaving {
            Leaving::Cut(..) => return false,
            Leaving::Silent(_) if is_silent => return false,
            Leaving::No | Leaving::Asked { .. } if is_silent => {
                self.leaving = Leaving::Silent(deadline.min(Instant::now() + SILENCE));
                return false;
            }
            Leaving::No | Leaving::Asked { .. } | Leaving::Silent(_) => {}
        }
        self.leaving = Leaving::Cut(deadline, ConnectionEnd::Cut);
        true
    }

    /// HTTP/2: whether goodbye is to be said now. What misbehaves is given an end here, too.
    fn has_had_its_share(&mut self) -> bool {
        match self.leaving {
            Leaving::No if self.activity.is_flood() => {
                self.leaving = Leaving::Cut(Instant::now() + GOODBYE, ConnectionEnd::Flood);
            }
            Leaving::No => {
                let has_had = self.activity.beyond_its_share().is_some();
                if has_had {
                    self.leaving = Leaving::Asked {
                        begun: self.activity.begun(),
                    };
                }
                return has_had;
            }
            // A client that withholds the answer to our goodbye could go on for ever.
            Leaving::Asked { begun }
                if self.activity.is_flood() || self.activity.begun() - begun > HEEDS_LATE =>
            {
                self.leaving = Leaving::Cut(Instant::now() + GOODBYE, ConnectionEnd::Flood);
            }
            Leaving::Asked { .. } | Leaving::Silent(_) | Leaving::Cut(..) => {}
        }
        false
    }

    /// What comes next; `None` while only a request is waited for.
    fn next(&self) -> Option<(Instant, Due)> {
        let cut = match &self.leaving {
            Leaving::Cut(at, _) | Leaving::Silent(at) => Some((*at, Due::Cut)),
            Leaving::No | Leaving::Asked { .. } => None,
        };
        let overdue = self.activity.deadline(&self.patience, self.drain.is_draining());
        let overdue = overdue
            // An idle connection that was asked to close is on its way; only the cut matters to it.
            .filter(|(_, overdue)| cut.is_none() || *overdue != Overdue::Idle)
            .map(|(at, overdue)| (at, Due::Overdue(overdue)));
        // Asked twice for each request of HTTP/1.1, so what is of HTTP/2 is not looked at there.
        let (old, sweep) = match self.streams {
            None => (None, None),
            Some(_) => (
                matches!(self.leaving, Leaving::No).then(|| (self.activity.old_at(), Due::OldAge)),
                self.activity
                    .is_answering()
                    .then(|| (self.swept + self.terms().every, Due::Sweep)),
            ),
        };
        [cut, overdue, old, sweep]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// HTTP/2: how long a stream is waited for.
    fn terms(&self) -> Terms {
        Terms::new(self.patience.write, self.patience.rate)
    }

    /// Ready when something is due. Keeps the timer armed otherwise.
    fn poll_due(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            let next = self.next();
            if let Some((at, _)) = next
                && at < timer.deadline()
            {
                timer.as_mut().reset(at);
            }
            // Twice for each request of HTTP/1.1: to look at it costs less than to ask it.
            if self.is_armed && !timer.is_elapsed() {
                return Poll::Pending;
            }
            self.is_armed = timer.as_mut().poll(cx).is_pending();
            if self.is_armed {
                return Poll::Pending;
            }
            let now = Instant::now();
            match next {
                Some((at, due)) if at <= now => return Poll::Ready(due),
                Some((at, _)) => timer.as_mut().reset(at),
                // A request is being answered. Look again later, in case nothing else wakes this task when it ends.
                None => timer.as_mut().reset(now + self.patience.idle),
            }
        }
    }
}

/// What `Drive` needs of a connection: of hyper's two kinds, and of ours.
pub(super) trait Connection: Future<Output = Result<(), Self::Error>> {
    type Error: Into<ConnectionEnd>;

    /// Ends after the requests that have begun.
    fn finish(self: Pin<&mut Self>);
}

impl<T, S, B> Connection for http1::Connection<TokioIo<WatchedStream<T>>, WatchedService<S>>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Error = hyper::Error;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<T, S, B> Connection for http2::Connection<TokioIo<WatchedStream<T>>, WatchedService<S>, StreamExecutor>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: 'static,
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Error = hyper::Error;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<F: Future<Output = Result<(), Fault>>> Connection for Served<F> {
    type Error = Fault;

    fn finish(self: Pin<&mut Self>) {
        self.leave();
    }
}

/// Requests that may begin after a goodbye for old age: those that were on their way.
const HEEDS_LATE: u32 = 1_000;
/// Until an idle HTTP/2 connection is cut after its GOAWAY.
const GOODBYE: Duration = Duration::from_secs(1);
