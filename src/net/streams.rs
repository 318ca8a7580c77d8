//! The streams of one HTTP/2 connection whose response its client does not take.
//!
//! A client that grants no window stalls one stream and not the connection: nothing polls the body of such a response,
//! so no deadline of the body can fire, while it holds a connection to the upstream. `connection` sweeps now and then
//! and aborts the task of a stream that has waited for its client for too long, or that is taken too slowly; h2 then resets
//! that stream and no other. A stream that goes on costs a few stores per part of its body, and neither a clock nor a
//! timer.

use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::task::AbortHandle;

use crate::net::activity::RATE_GRACE;

/// The streams of one connection. All of them run on its thread, so the lock is never waited for; it is there because
/// a connection may be spawned where that has to be proved.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Has been called, and waits for its task.
    newcomer: Option<usize>,
    sweeps: u32,
}

#[derive(Debug, Default)]
struct Slot {
    task: Option<AbortHandle>,
    /// The number of sweeps at which it began to wait for the client.
    waits_since: Option<u32>,
    /// What its client has been given, in bytes.
    given: u64,
    /// It waited for its client when it was last looked at.
    waited_before: bool,
    /// Sweeps from one to the next of which it waited for its client.
    waited: u32,
}

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Between two sweeps.
    pub(super) every: Duration,
    /// The sweeps through which one part of a response may wait.
    most: u32,
    /// The least rate, in bytes per second; 0 for any.
    rate: u32,
}

impl Terms {
    /// For a part of a response that may wait for so long.
    pub(super) fn new(pause: Duration, rate: u32) -> Self {
        let every = (pause / 2).min(RATE_GRACE).max(SHORTEST);
        let sweeps = pause.as_millis().div_ceil(every.as_millis());
        Self {
            every,
            // One that comes right after the wait began counts for nothing.
            most: u32::try_from(sweeps).unwrap_or(u32::MAX - 1) + 1,
            rate,
        }
    }
}

impl Slot {
    fn is_overdue(&mut self, now: u32, terms: &Terms) -> bool {
        let waits = self.waits_since.is_some();
        // Who takes all that is there as soon as it is there is seldom met waiting, and has been given much.
        self.waited += u32::from(waits && self.waited_before);
        self.waited_before = waits;
        let is_stalled = self
            .waits_since
            .is_some_and(|since| now.wrapping_sub(since) >= terms.most);
        is_stalled || waits && self.is_slow(terms)
    }

    fn is_slow(&self, terms: &Terms) -> bool {
        let waited = terms.every.saturating_mul(self.waited);
        let earned = self.given.checked_div(u64::from(terms.rate));
        earned.is_some_and(|earned| waited > RATE_GRACE + Duration::from_secs(earned))
    }
}

/// One stream, from the call of the service to the end of the response.
#[derive(Debug)]
pub(super) struct StreamSlot {
    of: Arc<Streams>,
    slot: usize,
}

impl Streams {
    /// A stream whose task is spawned next.
    pub(super) fn enter(self: &Arc<Self>) -> StreamSlot {
        let mut inner = self.inner();
        let slot = inner.free.pop().unwrap_or_else(|| {
            inner.slots.push(Slot::default());
            inner.slots.len() - 1
        });
        inner.newcomer = Some(slot);
        StreamSlot {
            of: Arc::clone(self),
            slot,
        }
    }

    /// Ends the streams whose clients were waited for long enough. Returns how many.
    pub(super) fn sweep(&self, terms: &Terms) -> usize {
        let mut inner = self.inner();
        let now = inner.sweeps.wrapping_add(1);
        inner.sweeps = now;
        let overdue: Vec<AbortHandle> = inner
            .slots
            .iter_mut()
            .filter_map(|slot| slot.is_overdue(now, terms).then(|| slot.task.take())?)
            .collect();
        drop(inner);
        // Aborting may drop the task, which frees its slot, so nothing is locked here.
        overdue.iter().for_each(AbortHandle::abort);
        overdue.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamSlot {
    /// A part of the response of so many bytes was handed over; until it asks for more, it waits for the client.
    pub(super) fn gave(&self, bytes: usize) {
        let mut inner = self.of.inner();
        let sweeps = inner.sweeps;
        if let Some(slot) = inner.slots.get_mut(self.slot) {
            slot.waits_since = Some(sweeps);
            slot.given += bytes as u64;
        }
    }

    /// It asks for more.
    pub(super) fn asks(&self) {
        if let Some(slot) = self.of.inner().slots.get_mut(self.slot) {
            slot.waits_since = None;
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut inner = self.of.inner();
        let left = inner.slots.get_mut(self.slot).map(mem::take);
        if inner.newcomer == Some(self.slot) {
            inner.newcomer = None;
        }
        inner.free.push(self.slot);
        drop(inner);
        // The last handle of a task may end it.
        drop(left);
    }
}

/// Runs the streams of one connection on its thread. hyper calls the service and spawns at once, so the newcomer is the
/// stream that is spawned.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor(pub(super) Arc<Streams>);

impl<F> Executor<F> for StreamExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        let mut inner = self.0.inner();
        if let Some(slot) = inner.newcomer.take()
            && let Some(slot) = inner.slots.get_mut(slot)
        {
            slot.task = Some(task.abort_handle());
        }
    }
}

/// Between two sweeps, whatever is configured.
const SHORTEST: Duration = Duration::from_millis(1);
