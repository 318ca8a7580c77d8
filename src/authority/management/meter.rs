//! How many requests a client may send: a bucket for each, found by its id.
//!
//! A bucket is one moment, that at which it will be full again (the generic cell rate algorithm), so that nothing has to
//! be filled up in the background. Only whoever has a token comes here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The buckets of all clients.
#[derive(Debug, Default)]
pub(super) struct Meters(Mutex<HashMap<Box<str>, Instant>>);

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The size of the bucket.
    pub(super) limit: u64,
    /// What is left in it.
    pub(super) remaining: u64,
    /// There was nothing left: the request is not to be served.
    pub(super) is_over: bool,
}

/// Requests at once.
const LIMIT: u64 = 1_000;
/// One more each so often.
const EACH: Duration = Duration::from_millis(2);
/// Clients that are remembered; full buckets are forgotten first.
const MOST: usize = 10_000;

impl Meters {
    /// Takes one request out of the bucket of a client.
    pub(super) fn take(&self, client: &str, now: Instant) -> Reading {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(client) {
            buckets.retain(|_, full| *full > now);
        }
        let full = buckets.get(client).map_or(now, |&full| full.max(now));
        let taken = taken(full, now);
        if taken >= LIMIT {
            return Reading {
                limit: LIMIT,
                remaining: 0,
                is_over: true,
            };
        }
        buckets.insert(client.into(), full + EACH);
        Reading {
            limit: LIMIT,
            remaining: LIMIT - taken - 1,
            is_over: false,
        }
    }
}

/// How many requests lie between now and the moment at which the bucket is full.
fn taken(full: Instant, now: Instant) -> u64 {
    let missing = full
        .saturating_duration_since(now)
        .as_nanos()
        .div_ceil(EACH.as_nanos());
    u64::try_from(missing).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_up_again() {
        let meters = Meters::default();
        let now = Instant::now();
        for left in (0..LIMIT).rev() {
            let reading = meters.take("a", now);
            assert_eq!((reading.remaining, reading.is_over), (left, false));
        }
        assert!(meters.take("a", now).is_over);
        // Another client has a bucket of its own.
        assert!(!meters.take("b", now).is_over);
        // Within the second that clients are told to wait there is room.
        let later = now + Duration::from_secs(1);
        assert!(!meters.take("a", later).is_over);
        let full = now + Duration::from_secs(60);
        assert_eq!(meters.take("a", full).remaining, LIMIT - 1);
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let meters = Meters::default();
        let now = Instant::now();
        for client in 0..2 * MOST {
            let at = now + Duration::from_secs(client as u64);
            meters.take(&client.to_string(), at);
        }
        assert!(meters.0.lock().unwrap().len() <= MOST + 1);
    }
}
