//! Draining: one trigger, many watchers, and the count of what is still open.
//!
//! `app` holds the trigger. Accept loops, connections and tunnels hold watchers, on any thread. What happens per
//! request is one relaxed atomic load; the lock is taken when a connection opens, closes, or when the drain begins.
//! Draining must never cut anything before the deadline that the trigger was given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Makes the two ends of one drain.
pub fn drain() -> (DrainTrigger, DrainWatcher) {
    let (begun, _) = watch::channel(false);
    let shared = Arc::new(Shared {
        leaving: AtomicBool::new(false),
        draining: AtomicBool::new(false),
        deadline: OnceLock::new(),
        begun,
        open: Mutex::default(),
        closed: Notify::new(),
    });
    (
        DrainTrigger {
            shared: Arc::clone(&shared),
        },
        DrainWatcher { shared },
    )
}

/// Begins the drain. There is one.
#[derive(Debug)]
pub struct DrainTrigger {
    shared: Arc<Shared>,
}

/// Learns that a drain has begun.
#[derive(Clone, Debug)]
pub struct DrainWatcher {
    shared: Arc<Shared>,
}

/// One thing that a drain waits for: a connection or a tunnel. Counted until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    shared: Arc<Shared>,
    id: u64,
}

#[derive(Debug)]
struct Shared {
    leaving: AtomicBool,
    draining: AtomicBool,
    deadline: OnceLock<Instant>,
    begun: watch::Sender<bool>,
    open: Mutex<Open>,
    closed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// How many were still open at the deadline, and have closed since.
    cut: usize,
    wakers: HashMap<u64, Option<Waker>>,
}

impl DrainTrigger {
    /// How many things are open.
    pub fn in_flight(&self) -> usize {
        self.shared.open().wakers.len()
    }

    /// A drain will begin soon: from now on clients are told to use another connection, and none is closed on them.
    pub fn announce(&self) {
        self.shared.leaving.store(true, Ordering::Release);
    }

    /// Tells every watcher, then waits until nothing is open or `grace` is over. Returns how many were left then.
    pub async fn drain(self, grace: Duration) -> usize {
        let deadline = Instant::now() + grace.min(LONGEST_GRACE);
        let _ = self.shared.deadline.set(deadline);
        self.announce();
        self.shared.draining.store(true, Ordering::Release);
        self.shared.begun.send_replace(true);
        let wakers: Vec<Waker> = self
            .shared
            .open()
            .wakers
            .values_mut()
            .filter_map(Option::take)
            .collect();
        wakers.into_iter().for_each(Waker::wake);

        loop {
            let closed = self.shared.closed.notified();
            // Connections end themselves at the deadline, which may be before this task looks.
            let is_over = self.in_flight() == 0 || tokio::time::timeout_at(deadline, closed).await.is_err();
            if is_over {
                let open = self.shared.open();
                return open.wakers.len() + open.cut;
            }
        }
    }
}

impl DrainWatcher {
    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }

    /// When what is still open is cut. `None` before a drain.
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.deadline.get().copied()
    }

    /// Ends when a drain begins; at once when one has begun; never when the trigger was dropped.
    pub async fn begun(&self) {
        let mut begun = self.shared.begun.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = begun.wait_for(|begun| *begun).await;
    }

    /// Counts one more open thing.
    pub fn enter(&self) -> InFlight {
        let mut open = self.shared.open();
        let id = open.next;
        open.next = open.next.wrapping_add(1);
        open.wakers.insert(id, None);
        drop(open);
        InFlight {
            shared: Arc::clone(&self.shared),
            id,
        }
    }
}

impl InFlight {
    /// Which one of all that were ever open.
    pub(super) fn number(&self) -> u64 {
        self.id
    }

    /// Whether a drain was announced or has begun.
    pub fn is_leaving(&self) -> bool {
        self.shared.leaving.load(Ordering::Acquire)
    }

    /// Wakes this task once when a drain begins. A task that calls this and then looks at
    /// [`DrainWatcher::is_draining`] misses no drain.
    pub fn wake_on_drain(&self, waker: &Waker) {
        if let Some(slot) = self.shared.open().wakers.get_mut(&self.id) {
            *slot = Some(waker.clone());
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let is_late = self
            .shared
            .deadline
            .get()
            .is_some_and(|deadline| Instant::now() >= *deadline);
        let mut open = self.shared.open();
        open.wakers.remove(&self.id);
        open.cut += usize::from(is_late);
        let empty = open.wakers.is_empty();
        drop(open);
        if empty {
            self.shared.closed.notify_one();
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing under this lock can panic half-way, so a poisoned lock still holds a whole map.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So that adding it to a time cannot overflow, whatever was configured.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_what_is_open() {
        let (trigger, watcher) = drain();
        let open = watcher.enter();
        assert_eq!(trigger.in_flight(), 1);
        let closer = {
            let watcher = watcher.clone();
            tokio::spawn(async move {
                watcher.begun().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(open);
            })
        };
        let begin = Instant::now();
        assert_eq!(trigger.drain(Duration::from_secs(30)).await, 0);
        assert!(begin.elapsed() >= Duration::from_millis(50) && begin.elapsed() < Duration::from_secs(5));
        assert!(watcher.is_draining());
        closer.await.unwrap();
    }

    #[tokio::test]
    async fn gives_up_at_the_deadline() {
        let (trigger, watcher) = drain();
        let _open = watcher.enter();
        assert_eq!(trigger.drain(Duration::from_millis(30)).await, 1);
        assert!(watcher.deadline().is_some());
        watcher.begun().await;
    }
}
