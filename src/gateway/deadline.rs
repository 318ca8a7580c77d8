//! Deadlines of requests in flight, looked at by one ticking timer per worker.
//!
//! A timer of the runtime for each request would be made, registered and taken away again a moment later, thousands of
//! times a second, to fire once in a blue moon. Here a wait costs a slot in a list. The price is that a deadline is
//! noticed up to a tick late.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How late a deadline may be noticed.
const TICK: Duration = Duration::from_millis(50);

/// The deadlines of one worker.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    waiting: Cell<usize>,
    /// The ticking has stopped for lack of anything to look at.
    is_resting: Cell<bool>,
    wake: Notify,
}

#[derive(Debug)]
struct Slot {
    /// `None`: free.
    deadline: Option<Instant>,
    is_over: bool,
    waker: Option<Waker>,
}

/// One deadline. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct Deadline {
    of: Rc<Deadlines>,
    slot: usize,
}

impl Deadlines {
    /// A deadline so long from `now`.
    pub(super) fn after(self: &Rc<Self>, wait: Duration, now: Instant) -> Deadline {
        let slot = Slot {
            deadline: Some(now + wait),
            is_over: false,
            waker: None,
        };
        let mut slots = self.slots.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => {
                if let Some(place) = slots.get_mut(index) {
                    *place = slot;
                }
                index
            }
            None => {
                slots.push(slot);
                slots.len() - 1
            }
        };
        self.waiting.set(self.waiting.get() + 1);
        if self.is_resting.replace(false) {
            self.wake.notify_one();
        }
        Deadline {
            of: Rc::clone(self),
            slot: index,
        }
    }

    /// Ticks for as long as it is polled; the worker's thread does that.
    pub(super) async fn tick(&self) {
        loop {
            if self.waiting.get() == 0 {
                self.is_resting.set(true);
                self.wake.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.wake_overdue(Instant::now());
        }
    }

    fn wake_overdue(&self, now: Instant) {
        for slot in self.slots.borrow_mut().iter_mut() {
            if slot.deadline.is_some_and(|deadline| deadline <= now) {
                slot.is_over = true;
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            }
        }
    }
}

impl Deadline {
    /// Waits for the future until the deadline; `None` when that was too late.
    pub(super) async fn limit<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.is_over(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Whether a tick has found it passed. If not, the task is woken when one does. Reads no clock.
    pub(super) fn is_over(&self, cx: &mut Context<'_>) -> bool {
        let mut slots = self.of.slots.borrow_mut();
        let Some(slot) = slots.get_mut(self.slot) else {
            return false;
        };
        if !slot.is_over
            && !slot
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            slot.waker = Some(cx.waker().clone());
        }
        slot.is_over
    }

    /// Moves it.
    pub(super) fn renew(&mut self, wait: Duration, now: Instant) {
        if let Some(slot) = self.of.slots.borrow_mut().get_mut(self.slot) {
            slot.deadline = Some(now + wait);
            slot.is_over = false;
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(slot) = self.of.slots.borrow_mut().get_mut(self.slot) {
            *slot = Slot {
                deadline: None,
                is_over: false,
                waker: None,
            };
        }
        self.of.free.borrow_mut().push(self.slot);
        self.of.waiting.set(self.of.waiting.get().saturating_sub(1));
    }
}

/// How long a sender may pause. A deadline is set only once a body has to be waited for.
#[derive(Debug)]
pub(super) struct Patience {
    pause: Duration,
    deadlines: Rc<Deadlines>,
    deadline: Option<Deadline>,
    is_stale: bool,
}

impl Patience {
    pub(super) fn new(pause: Duration, deadlines: &Rc<Deadlines>) -> Self {
        Self {
            pause,
            deadlines: Rc::clone(deadlines),
            deadline: None,
            is_stale: false,
        }
    }

    /// Something came.
    pub(super) fn renew(&mut self) {
        self.is_stale = self.deadline.is_some();
    }

    /// Nothing came; whether that has lasted too long. Registers for being woken.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self
            .deadline
            .get_or_insert_with(|| self.deadlines.after(self.pause, Instant::now()));
        if std::mem::take(&mut self.is_stale) {
            deadline.renew(self.pause, Instant::now());
        }
        deadline.is_over(cx)
    }

    /// Waits so long from now instead, where it has begun to wait.
    pub(super) fn wait_for(&mut self, wait: Duration, now: Instant) {
        if let Some(deadline) = &mut self.deadline {
            deadline.renew(wait, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_worker<F: Future<Output = ()>>(test: impl FnOnce(Rc<Deadlines>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default());
        runtime.unwrap().block_on(async {
            let deadlines = Rc::new(Deadlines::default());
            let ticking = Rc::clone(&deadlines);
            tokio::task::spawn_local(async move { ticking.tick().await });
            test(deadlines).await;
        });
    }

    #[test]
    fn what_takes_too_long_ends() {
        on_a_worker(|deadlines| async move {
            for _ in 0..3 {
                let start = Instant::now();
                let deadline = deadlines.after(Duration::from_millis(100), start);
                assert_eq!(deadline.limit(std::future::pending::<()>()).await, None);
                assert!(start.elapsed() >= Duration::from_millis(100));
                assert!(start.elapsed() < Duration::from_secs(5));
                // Long enough for the ticking to rest in between.
                drop(deadline);
                tokio::time::sleep(TICK * 3).await;
                assert!(deadlines.is_resting.get());
            }
        });
    }

    #[test]
    fn what_is_in_time_is_let_through_and_leaves_no_slot_in_use() {
        on_a_worker(|deadlines| async move {
            for _ in 0..1_000 {
                let deadline = deadlines.after(Duration::from_secs(60), Instant::now());
                assert_eq!(deadline.limit(async { 7 }).await, Some(7));
            }
            assert_eq!(deadlines.waiting.get(), 0);
            assert_eq!(deadlines.slots.borrow().len(), 1);
        });
    }

    #[test]
    fn a_renewed_deadline_is_the_later_one() {
        on_a_worker(|deadlines| async move {
            let start = Instant::now();
            let mut deadline = deadlines.after(Duration::from_millis(1), start);
            deadline.renew(Duration::from_millis(200), start);
            assert_eq!(deadline.limit(std::future::pending::<()>()).await, None);
            assert!(start.elapsed() >= Duration::from_millis(200));
        });
    }
}
