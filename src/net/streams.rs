//! The streams of one HTTP/2 connection whose response its client does not take.
//!
//! A client that grants no window stalls one stream and not the connection: nothing polls the body of such a response,
//! so no deadline of the body can fire, while it holds a connection to the upstream. `connection` sweeps now and then
//! and aborts the task of a stream that has waited for its client through three sweeps; h2 then resets that stream and no
//! other. A stream that goes on costs two stores per part of its body, and neither a clock nor a timer.

use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::rt::Executor;
use tokio::task::AbortHandle;

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

    /// Ends the streams that have waited for their client through three sweeps. Returns how many.
    pub(super) fn sweep(&self) -> usize {
        let mut inner = self.inner();
        let now = inner.sweeps.wrapping_add(1);
        inner.sweeps = now;
        let is_overdue = |slot: &&mut Slot| {
            slot.waits_since
                .is_some_and(|since| now.wrapping_sub(since) >= SWEEPS)
        };
        let overdue: Vec<AbortHandle> = inner
            .slots
            .iter_mut()
            .filter(is_overdue)
            .filter_map(|slot| slot.task.take())
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
    /// A part of the response was handed over; until it asks for more, it waits for the client.
    pub(super) fn gave(&self) {
        let mut inner = self.of.inner();
        let sweeps = inner.sweeps;
        if let Some(slot) = inner.slots.get_mut(self.slot) {
            slot.waits_since = Some(sweeps);
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

/// So that a sweep which comes right after the wait began counts for nothing.
pub(super) const SWEEPS: u32 = 3;
