//! What a client connection is doing, and until when it may go on doing so.
//!
//! hyper's header timer also runs between requests and is allocated anew for each of them, and nothing in hyper bounds
//! a silent client, a stalled reader or an idle HTTP/2 connection. So the stream, the service and the response body of
//! one connection write down here what happens, and `connection` keeps one lazily moved timer on [`Activity::deadline`].
//! A request on a kept connection costs two clock readings and no timer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::InFlight;
use crate::net::connection::Patience;
use crate::net::interim::InterimQueue;

/// Shared by the parts of one connection. All of them run on one thread; the atomics are there because an upgraded
/// stream must be `Send`, and are never contended.
#[derive(Debug)]
pub(super) struct Activity {
    created: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds after `created`.
    since: AtomicU64,
    /// Requests whose response is not over.
    requests: AtomicU32,
    /// Requests that have begun.
    begun: AtomicU32,
    /// Something of a request or a response has moved since the client's bytes were last looked at.
    moved: AtomicBool,
    /// The client makes work for nothing; its connection ends.
    flood: AtomicBool,
    /// When the client stopped taking what we write, likewise; `NEVER` while it takes it.
    stalled: AtomicU64,
    /// How long it did not take it before, in milliseconds, since it last had nothing to take.
    waited: AtomicU64,
    /// What it has been given in that time, in bytes.
    written: AtomicU64,
    share: Share,
    /// HTTP/1.1: what is to be written before the response.
    pub(super) interim: InterimQueue,
    /// Counts the connection for the drain, also after it has become a tunnel.
    pub(super) in_flight: InFlight,
}

/// What one connection may have before its client has to come back on another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) requests: u32,
    pub(super) age: Duration,
}

/// What is waited for while no request is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The very first byte.
    FirstByte = 0,
    /// The rest of a request head.
    Head = 1,
    /// The next request.
    Idle = 2,
    /// HTTP/2: the next request; what is read meanwhile may be pings, so reading changes nothing.
    IdleFrames = 3,
}

/// Why a deadline is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The client sent nothing after connecting, or not enough to tell the protocol.
    FirstByte,
    /// The request head did not end.
    Head,
    /// No further request came.
    Idle,
    /// The client does not read the response.
    Write,
}

impl Activity {
    /// Connections that were accepted together grow old apart: up to a tenth sooner or later than `share` says.
    pub(super) fn new(created: Instant, in_flight: InFlight, share: Share) -> Arc<Self> {
        // The multiples of the golden ratio spread evenly, however many there are.
        let spread = in_flight.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
        let spread = u32::try_from(spread).unwrap_or_default();
        let share = Share {
            age: share.age - share.age / 10 + share.age / 5 * (spread >> 10) / 1024,
            ..share
        };
        Arc::new(Self {
            share,
            created,
            phase: AtomicU8::new(Phase::FirstByte as u8),
            since: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            moved: AtomicBool::new(false),
            flood: AtomicBool::new(false),
            stalled: AtomicU64::new(NEVER),
            waited: AtomicU64::new(0),
            written: AtomicU64::new(0),
            interim: InterimQueue::default(),
            in_flight,
        })
    }

    /// When its share of time is used up.
    pub(super) fn old_at(&self) -> Instant {
        self.created + self.share.age
    }

    /// How many requests have begun beyond its share.
    pub(super) fn beyond_its_share(&self) -> Option<u32> {
        self.begun.load(Relaxed).checked_sub(self.share.requests)
    }

    /// How many requests have begun.
    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Relaxed)
    }

    /// Whether a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// Whether its frames were too many.
    pub(super) fn is_flood(&self) -> bool {
        self.flood.load(Relaxed)
    }

    /// Something of a response was handed over.
    pub(super) fn moved(&self) {
        self.moved.store(true, Relaxed);
    }

    /// Whether anything has moved since this was last asked.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.swap(false, Relaxed)
    }

    /// Its frames are too many.
    pub(super) fn is_flooded(&self) {
        self.flood.store(true, Relaxed);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.now(), Relaxed);
    }

    /// What ends next and when. `None` while a request is being answered: its body and its upstream have deadlines of
    /// their own. In a drain a head that has begun has a moment to end.
    pub(super) fn deadline(&self, patience: &Patience, drains: bool) -> Option<(Instant, Overdue)> {
        let stalled = self.stalled.load(Relaxed);
        if stalled != NEVER {
            let allowed = patience.write.min(self.earned(patience.rate));
            let since = self.created + Duration::from_millis(stalled);
            return Some((since + allowed, Overdue::Write));
        }
        if self.requests.load(Relaxed) > 0 {
            return None;
        }
        let (allowed, overdue) = match self.phase() {
            Phase::FirstByte => (patience.first_byte, Overdue::FirstByte),
            Phase::Head if drains => (patience.header.min(HEAD_IN_DRAIN), Overdue::Head),
            Phase::Head => (patience.header, Overdue::Head),
            Phase::Idle | Phase::IdleFrames => (patience.idle, Overdue::Idle),
        };
        Some((
            self.created + Duration::from_millis(self.since.load(Relaxed)) + allowed,
            overdue,
        ))
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::FirstByte,
            1 => Phase::Head,
            2 => Phase::Idle,
            _ => Phase::IdleFrames,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    pub(super) fn bytes_came(&self) {
        if self.requests.load(Relaxed) == 0 && matches!(self.phase(), Phase::FirstByte | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    pub(super) fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let stalled = self.stalled.load(Relaxed);
        match written {
            Poll::Pending if stalled == NEVER => self.stalled.store(self.now(), Relaxed),
            Poll::Pending => {}
            Poll::Ready(written) => {
                if stalled != NEVER {
                    let waited = self.now().saturating_sub(stalled);
                    self.waited.store(self.waited.load(Relaxed) + waited, Relaxed);
                    self.stalled.store(NEVER, Relaxed);
                }
                let written = written.as_ref().map_or(0, |count| *count as u64);
                self.written.store(self.written.load(Relaxed) + written, Relaxed);
            }
        }
    }

    /// How long the client may go on not taking anything at this least rate, in bytes per second. Only the time counts in
    /// which it was waited for: what an upstream takes its time for is no fault of the client's.
    fn earned(&self, rate: u32) -> Duration {
        if rate == 0 {
            return Duration::MAX;
        }
        let earned = Duration::from_secs(self.written.load(Relaxed) / u64::from(rate));
        (RATE_GRACE + earned).saturating_sub(Duration::from_millis(self.waited.load(Relaxed)))
    }
}

/// One request, from the call of the service to the end of the response body.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<Activity>);

impl ActiveRequest {
    /// Whether an HTTP/1.1 client has to be told that this response is the last: the process is about to end, or the
    /// connection has had its share of requests or of time. Reads no clock: the head began when `since` says.
    pub(super) fn is_last(&self) -> bool {
        let activity = &self.0;
        activity.in_flight.is_leaving()
            || activity.begun.load(Relaxed) >= activity.share.requests
            || Duration::from_millis(activity.since.load(Relaxed)) >= activity.share.age
    }

    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        // All on one thread: a plain addition will do.
        let others = activity.requests.load(Relaxed);
        activity.requests.store(others + 1, Relaxed);
        if others == 0 {
            activity.waited.store(0, Relaxed);
            activity.written.store(0, Relaxed);
        }
        activity
            .begun
            .store(activity.begun.load(Relaxed).saturating_add(1), Relaxed);
        activity.moved();
        Self(Arc::clone(activity))
    }

    /// Something of the response was handed over.
    pub(super) fn moved(&self) {
        self.0.moved();
    }

    /// Interim answers that have to be written before anything of the response.
    pub(super) fn interim(&self) -> &InterimQueue {
        &self.0.interim
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let left = self.0.requests.load(Relaxed).saturating_sub(1);
        self.0.requests.store(left, Relaxed);
        let was_last = left == 0;
        if was_last {
            match self.0.phase() {
                Phase::IdleFrames => self.0.enter(Phase::IdleFrames),
                Phase::FirstByte | Phase::Head | Phase::Idle => self.0.enter(Phase::Idle),
            }
        }
    }
}

const NEVER: u64 = u64::MAX;
/// Before the rate is looked at in which a client takes what is written.
pub(super) const RATE_GRACE: Duration = Duration::from_secs(5);
/// How long a head that had begun before a drain may still take.
const HEAD_IN_DRAIN: Duration = Duration::from_millis(500);
