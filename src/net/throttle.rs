//! A bound on attempts that turn out wrong: buckets that empty with each and fill again in time.
//!
//! The authority bounds wrong secrets and passwords with it, the gateway wrong API keys. Every attempt takes from its
//! buckets and is given back where it was right, so that attempts at the same time count as well. What clients choose is
//! hashed under a random key, and memory is bounded: two generations of buckets, of which the older is forgotten when the
//! newer one is full.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Counts attempts.
#[derive(Debug, Default)]
pub struct Throttle {
    hasher: RandomState,
    buckets: Mutex<Buckets>,
}

/// An attempt that was let through; [`Throttle::forgive`] gives it back.
#[derive(Clone, Copy, Debug)]
pub struct Attempt([(u64, Rate); 2]);

/// How many attempts may be wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// At once.
    pub burst: f64,
    /// Until there is one more.
    pub seconds: f64,
}

#[derive(Debug, Default)]
struct Buckets {
    newer: HashMap<u64, Bucket>,
    older: HashMap<u64, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Buckets of one generation: 32 bytes each.
const GENERATION: usize = 50_000;

impl Throttle {
    /// What a bucket is found by.
    pub fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// Lets an attempt through that is counted in both buckets, or says in how many seconds to come again.
    ///
    /// # Errors
    /// At least 1.
    pub fn admit(&self, buckets: [(u64, Rate); 2], now: Instant) -> Result<Attempt, u64> {
        let attempt = Attempt(buckets);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // Both or none: an attempt that is turned away takes nothing.
        for (key, rate) in attempt.0 {
            let bucket = buckets.get(key, rate, now);
            if bucket.left < 1.0 {
                let seconds = ((1.0 - bucket.left) * rate.seconds).ceil();
                return Err(whole_seconds(seconds));
            }
        }
        for (key, rate) in attempt.0 {
            buckets.get(key, rate, now).left -= 1.0;
        }
        Ok(attempt)
    }

    /// The attempt was right.
    pub fn forgive(&self, attempt: Attempt, now: Instant) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, rate) in attempt.0 {
            let bucket = buckets.get(key, rate, now);
            bucket.left = (bucket.left + 1.0).min(rate.burst);
        }
    }
}

impl Buckets {
    /// A bucket as it is now.
    fn get(&mut self, key: u64, rate: Rate, now: Instant) -> &mut Bucket {
        if !self.newer.contains_key(&key) && self.newer.len() >= GENERATION {
            self.older = std::mem::take(&mut self.newer);
        }
        let older = &mut self.older;
        let bucket = self.newer.entry(key).or_insert_with(|| {
            older.remove(&key).unwrap_or(Bucket {
                left: rate.burst,
                at: now,
            })
        });
        let elapsed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + elapsed / rate.seconds).min(rate.burst);
        bucket.at = now.max(bucket.at);
        bucket
    }
}

/// What counts as one address: of IPv6 the network, since whoever has one address there has all of it.
pub fn network(address: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // Not a prefix that anybody has: the first byte of a global IPv6 address is not 0.
            if let Some(last) = network.last_chunk_mut() {
                *last = address.octets();
            }
        }
        IpAddr::V6(address) => {
            if let Some(first) = address.octets().first_chunk() {
                network = *first;
            }
        }
    }
    network
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and the seconds of a rate"
)]
fn whole_seconds(seconds: f64) -> u64 {
    seconds.max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses() {
        for (one, other, is_same) in [
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(
                network(address(one)) == network(address(other)),
                is_same,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let throttle = Throttle::default();
        let (now, rate) = (
            Instant::now(),
            Rate {
                burst: 10.0,
                seconds: 12.0,
            },
        );
        let admit = |number: u32| {
            let key = throttle.key(number);
            throttle.admit([(key, rate), (throttle.key((number, 1)), rate)], now)
        };
        for number in 0..200_000 {
            admit(number).unwrap();
        }
        let buckets = throttle.buckets.lock().unwrap();
        assert!(buckets.newer.len() + buckets.older.len() <= 2 * GENERATION);
        drop(buckets);
        for _ in 0..9 {
            admit(199_999).unwrap();
        }
        assert_eq!(admit(199_999).unwrap_err(), 12);
    }
}
