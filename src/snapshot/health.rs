//! Whether a server is well, as far as anybody knows: shared by `control`, which asks it, and the workers, which use it.
//!
//! Atomics and no lock: a worker looks before it sends. The state belongs to the server, not to a snapshot, and outlives
//! a reload for as long as the server and its check stay the same. The time is told by the caller.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::EjectionPlan;

/// What is known of one server.
#[derive(Debug, Default)]
pub struct ServerHealth {
    /// The active check says so.
    is_down: AtomicBool,
    /// Requests that met no server or a broken one, in a row.
    failures: AtomicU32,
    /// Ejections since the last answer.
    ejections: AtomicU32,
    /// In milliseconds after `epoch`; 0: not ejected.
    ejected_until: AtomicU64,
    epoch: OnceLock<Instant>,
}

impl ServerHealth {
    /// Whether the active check says that the server is not to be used.
    pub fn is_down(&self) -> bool {
        self.is_down.load(Relaxed)
    }

    /// What the active check says now. Returns whether it is news.
    pub fn set_down(&self, is_down: bool) -> bool {
        self.is_down.swap(is_down, Relaxed) != is_down
    }

    /// Whether the server is passed over because of what requests met there. Reads no clock where it is not.
    pub fn is_ejected(&self, now: impl FnOnce() -> Instant) -> bool {
        let until = self.ejected_until.load(Relaxed);
        until != 0 && self.after_epoch(now()) < until
    }

    /// A request was answered.
    pub fn answered(&self) {
        // Looked at before it is written: workers do not take the line of the cache from one another for nothing.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.ejections.store(0, Relaxed);
            self.ejected_until.store(0, Relaxed);
        }
    }

    /// A request met no server or a broken one. Returns for how long the server is passed over, where that begins now.
    pub fn failed(&self, now: Instant, plan: &EjectionPlan) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        if plan.failures == 0 || failures < plan.failures {
            return None;
        }
        let until = self.ejected_until.load(Relaxed);
        let millis = self.after_epoch(now);
        if until > millis {
            return None;
        }
        let doublings = self.ejections.load(Relaxed).min(16);
        let time = plan.time.saturating_mul(1 << doublings).min(plan.max_time);
        let new = millis.saturating_add(whole_millis(time)).max(1);
        // Of several workers that come to it at once, one ejects.
        self.ejected_until
            .compare_exchange(until, new, Relaxed, Relaxed)
            .ok()?;
        self.ejections.fetch_add(1, Relaxed);
        Some(time)
    }

    fn after_epoch(&self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_init(|| now);
        whole_millis(now.saturating_duration_since(epoch))
    }
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: EjectionPlan = EjectionPlan {
        failures: 3,
        time: Duration::from_secs(10),
        max_time: Duration::from_secs(35),
    };

    #[test]
    fn failures_in_a_row_eject_for_longer_and_longer() {
        let health = ServerHealth::default();
        let mut now = Instant::now();
        let fail = |now| health.failed(now, &PLAN);
        assert_eq!((fail(now), fail(now)), (None, None));
        assert!(!health.is_ejected(|| now));
        for seconds in [10, 20, 35, 35] {
            assert_eq!(fail(now), Some(Duration::from_secs(seconds)));
            assert_eq!(fail(now), None, "it is ejected already");
            now += Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(health.is_ejected(|| now));
            now += Duration::from_millis(1);
            assert!(!health.is_ejected(|| now));
        }
        health.answered();
        assert_eq!((fail(now), fail(now)), (None, None));
        assert_eq!(fail(now), Some(Duration::from_secs(10)));
        health.answered();
        assert!(!health.is_ejected(|| now), "an answer ends it");
    }

    #[test]
    fn an_answer_between_failures_counts_them_anew() {
        let health = ServerHealth::default();
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(health.failed(now, &PLAN), None);
            assert_eq!(health.failed(now, &PLAN), None);
            health.answered();
        }
        let never = EjectionPlan { failures: 0, ..PLAN };
        assert!((0..10).all(|_| health.failed(now, &never).is_none()));
    }

    #[test]
    fn news_is_told_once() {
        let health = ServerHealth::default();
        assert!(!health.set_down(false));
        assert!(health.set_down(true) && !health.set_down(true) && health.is_down());
    }
}
