//! The seam of the two planes: one [`Publisher`], many [`Reader`]s, and per issuer a desk where a request asks for a
//! key that is not there yet.
//!
//! The publisher is not `Clone`, which makes the control loop the single writer. A reader takes the whole snapshot
//! with one load. Nothing else passes between the planes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::{Notify, watch};

use super::Snapshot;
use crate::token::KeySet;

/// How many unknown ids are remembered per issuer.
const MAX_ABSENT: usize = 256;
/// For how long an id is believed to be unknown, unless the cooldown is shorter: an issuer may sign before its key set
/// shows the key, and a look that would be allowed should not be put off.
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// Publishes snapshots. There is one.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
}

/// Reads the current snapshot. Each worker has its own, so that a read touches nothing shared but one pointer.
#[derive(Clone, Debug)]
pub struct Reader {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

/// Both ends, with a first snapshot.
pub fn handoff(first: Snapshot) -> (Publisher, Reader) {
    let current = Arc::new(ArcSwap::from_pointee(first));
    (
        Publisher {
            current: Arc::clone(&current),
        },
        Reader {
            cache: Cache::new(current),
        },
    )
}

impl Publisher {
    /// Replaces the snapshot as a whole.
    pub fn publish(&mut self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    /// The snapshot that readers see.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}

impl Reader {
    /// The current snapshot, for one request from its beginning to its end.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.cache.load()
    }
}

/// Where requests with an unknown `kid` ask for a fetch, one per issuer.
///
/// At most one fetch per cooldown is asked for, whatever clients send. A `kid` is known to be absent only once a set
/// that was fetched after it was first seen lacks it; until then nobody can say that the token is bad.
#[derive(Debug)]
pub struct KeyMisses {
    /// `None`: nothing is ever fetched.
    cooldown: Option<Duration>,
    state: Mutex<State>,
    wanted: Notify,
    /// Counts the fetches that ended; waiters look at the snapshot again.
    fetches: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// A fetch has been asked for or is under way.
    is_pending: bool,
    /// No fetch is asked for before this.
    not_before: Option<Instant>,
    /// Somebody was turned away since the last fetch ended.
    is_owed: bool,
    /// Asked about since the last fetch began.
    asked: Vec<Box<str>>,
    /// Asked about before the fetch under way began: a set that lacks them settles them.
    settling: Vec<Box<str>>,
    /// Known to be absent, and until when that is believed.
    absent: HashMap<Box<str>, Instant>,
}

/// What a request with an unknown `kid` is told.
#[derive(Debug)]
pub enum MissAnswer {
    /// A fetch is under way; the value changes when it ends.
    Wait(watch::Receiver<u64>),
    /// A set that was fetched since then does not have it, or none is ever fetched: the token is not acceptable.
    Absent,
    /// Nobody can say before a fetch that must not be made yet.
    CoolingDown {
        /// Until the next fetch.
        retry_after: Duration,
    },
}

impl KeyMisses {
    /// A desk that asks for at most one fetch per `cooldown`.
    pub fn new(cooldown: Duration) -> Arc<Self> {
        Self::with(Some(cooldown))
    }

    /// The desk of keys that never change, such as those in the configuration: what is not among them does not exist.
    pub fn unchanging() -> Arc<Self> {
        Self::with(None)
    }

    fn with(cooldown: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            cooldown,
            state: Mutex::default(),
            wanted: Notify::new(),
            fetches: watch::Sender::new(0),
        })
    }

    /// A request met a `kid` that the key set does not have.
    pub fn ask(&self, kid: &str, now: Instant) -> MissAnswer {
        if self.cooldown.is_none() {
            return MissAnswer::Absent;
        }
        let mut state = self.state();
        if state.absent.get(kid).is_some_and(|&until| now < until) {
            return MissAnswer::Absent;
        }
        let is_known = state
            .asked
            .iter()
            .chain(&state.settling)
            .any(|asked| &**asked == kid);
        if state.asked.len() < MAX_ABSENT && !is_known {
            state.asked.push(kid.into());
        }
        if state.is_pending {
            return MissAnswer::Wait(self.fetches.subscribe());
        }
        match state.not_before {
            Some(not_before) if now < not_before => {
                if !state.is_owed {
                    state.is_owed = true;
                    // Whoever waits in `wanted` learns that a fetch is owed when the cooldown ends.
                    self.wanted.notify_one();
                }
                MissAnswer::CoolingDown {
                    retry_after: not_before - now,
                }
            }
            _ => {
                state.is_pending = true;
                self.wanted.notify_one();
                MissAnswer::Wait(self.fetches.subscribe())
            }
        }
    }

    /// Waits until a fetch is wanted, and claims it: [`Self::begins`] and [`Self::fetched`] must follow.
    pub async fn wanted(&self) {
        loop {
            match self.due(Instant::now()) {
                Due::Now => return,
                Due::At(time) => tokio::time::sleep_until(time.into()).await,
                Due::Unasked => self.wanted.notified().await,
            }
        }
    }

    /// A fetch begins. Its set settles what was asked about until now, and nothing that is asked about later: the
    /// issuer may add a key while the answer is on its way.
    pub fn begins(&self) {
        let mut state = self.state();
        let mut asked = std::mem::take(&mut state.asked);
        state.settling.append(&mut asked);
        state.settling.truncate(MAX_ABSENT);
    }

    /// The fetch has ended, and what it brought is published: `keys` is the set, if it succeeded. One that a miss asked
    /// for starts the cooldown.
    pub fn fetched(&self, keys: Option<&KeySet>, cause: FetchCause, now: Instant) {
        let Some(cooldown) = self.cooldown else {
            return;
        };
        let mut state = self.state();
        if cause == FetchCause::Miss {
            state.is_pending = false;
            state.is_owed = false;
            state.not_before = now.checked_add(cooldown);
        }
        if let Some(keys) = keys {
            state
                .absent
                .retain(|kid, until| now < *until && !keys.contains(kid));
            for kid in std::mem::take(&mut state.settling) {
                if !keys.contains(&kid) && state.absent.len() < MAX_ABSENT {
                    state.absent.insert(kid, now + cooldown.min(ABSENT_FOR));
                }
            }
        }
        drop(state);
        self.fetches.send_modify(|count| *count += 1);
    }

    fn due(&self, now: Instant) -> Due {
        let mut state = self.state();
        if state.is_pending {
            return Due::Now;
        }
        match (state.is_owed, state.not_before) {
            (true, Some(time)) if now < time => Due::At(time),
            (true, _) => {
                state.is_pending = true;
                Due::Now
            }
            (false, _) => Due::Unasked,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can leave the state half-changed, so a poisoned lock is as good as another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why keys were fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchCause {
    /// First fetch, refresh or retry.
    Schedule,
    /// [`KeyMisses::wanted`].
    Miss,
}

enum Due {
    Now,
    At(Instant),
    Unasked,
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    #[test]
    fn one_fetch_per_cooldown_and_no_verdict_without_a_look() {
        let misses = KeyMisses::new(COOLDOWN);
        let start = Instant::now();
        assert!(matches!(misses.ask("a", start), MissAnswer::Wait(_)));
        assert!(matches!(misses.due(start), Due::Now));
        for n in 0..10_000 {
            assert!(matches!(
                misses.ask(&format!("random-{n}"), start),
                MissAnswer::Wait(_)
            ));
        }
        let empty = KeySet::default();
        misses.begins();
        assert!(matches!(misses.ask("late", start), MissAnswer::Wait(_)));
        misses.fetched(Some(&empty), FetchCause::Miss, start);
        assert!(matches!(misses.ask("a", start), MissAnswer::Absent));
        let later = start + Duration::from_secs(10);
        assert!(
            matches!(misses.ask("late", later), MissAnswer::CoolingDown { .. }),
            "asked after the fetch began"
        );
        assert!(
            matches!(misses.ask("new", later), MissAnswer::CoolingDown { retry_after } if retry_after == Duration::from_secs(20))
        );
        assert!(matches!(misses.due(later), Due::At(time) if time == start + COOLDOWN));
        assert!(matches!(misses.due(start + COOLDOWN), Due::Now));
        assert!(matches!(misses.ask("new", start + COOLDOWN), MissAnswer::Wait(_)));
    }

    #[test]
    fn keys_that_never_change_settle_everything_at_once() {
        let misses = KeyMisses::unchanging();
        let start = Instant::now();
        for n in 0..1_000 {
            assert!(matches!(
                misses.ask(&format!("random-{n}"), start),
                MissAnswer::Absent
            ));
        }
        misses.begins();
        misses.fetched(Some(&KeySet::default()), FetchCause::Schedule, start);
        assert!(matches!(misses.ask("a", start), MissAnswer::Absent));
        assert!(
            matches!(misses.due(start), Due::Unasked),
            "nobody waits for a fetch"
        );
        assert!(misses.state().asked.is_empty() && misses.state().absent.is_empty());
    }

    #[test]
    fn a_failed_fetch_settles_nothing() {
        let misses = KeyMisses::new(COOLDOWN);
        let start = Instant::now();
        assert!(matches!(misses.ask("a", start), MissAnswer::Wait(_)));
        misses.begins();
        misses.fetched(None, FetchCause::Miss, start);
        assert!(matches!(misses.ask("a", start), MissAnswer::CoolingDown { .. }));
    }

    #[test]
    fn absence_is_forgotten() {
        let misses = KeyMisses::new(COOLDOWN);
        let start = Instant::now();
        assert!(matches!(misses.ask("a", start), MissAnswer::Wait(_)));
        misses.begins();
        misses.fetched(Some(&KeySet::default()), FetchCause::Miss, start);
        assert!(matches!(misses.ask("a", start), MissAnswer::Absent));
        assert!(matches!(misses.ask("a", start + COOLDOWN), MissAnswer::Wait(_)));
    }
}
