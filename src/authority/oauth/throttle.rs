//! A bound on wrong secrets and wrong passwords, per name and address and per address.
//!
//! Every attempt takes from two buckets and is given back where it was right, so that attempts at the same time count
//! as well. A flood from one address empties the buckets of that address only. What clients choose is hashed under a
//! random key, and memory is bounded: two generations of buckets, of which the older is forgotten when the newer one is
//! full.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Counts attempts.
#[derive(Debug)]
pub(super) struct Throttle {
    hasher: RandomState,
    buckets: Mutex<Buckets>,
}

/// Whose name an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name<'a> {
    /// A client.
    Client(&'a str),
    /// A user.
    User(&'a str),
}

/// An attempt that was let through; [`Throttle::forgive`] gives it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt([(u64, Rate); 2]);

/// How many attempts may be wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    /// At once.
    burst: f64,
    /// Until there is one more.
    seconds: f64,
}

/// For one name from one address.
const OF_NAME: Rate = Rate {
    burst: 10.0,
    seconds: 12.0,
};
/// From one address, whatever the name.
const OF_ADDRESS: Rate = Rate {
    burst: 100.0,
    seconds: 1.0,
};

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
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            buckets: Mutex::default(),
        }
    }

    /// Lets an attempt through, or says in how many seconds to come again.
    pub(super) fn admit(&self, name: Name<'_>, address: IpAddr, now: Instant) -> Result<Attempt, u64> {
        let address = network(address);
        let attempt = Attempt([
            (self.hasher.hash_one((name, address)), OF_NAME),
            (self.hasher.hash_one(address), OF_ADDRESS),
        ]);
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
    pub(super) fn forgive(&self, attempt: Attempt, now: Instant) {
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
fn network(address: IpAddr) -> [u8; 8] {
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
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_empties_its_own_buckets() {
        let throttle = Throttle::new();
        let (now, bad, good) = (Instant::now(), address("192.0.2.1"), address("192.0.2.2"));
        let client = Name::Client("c1");
        for _ in 0..10 {
            throttle.admit(client, bad, now).unwrap();
        }
        assert_eq!(throttle.admit(client, bad, now).unwrap_err(), 12);
        // Another address, another client, another kind of name.
        throttle.admit(client, good, now).unwrap();
        throttle.admit(Name::Client("c2"), bad, now).unwrap();
        throttle.admit(Name::User("c1"), bad, now).unwrap();
        // One comes back in time.
        let later = now + Duration::from_secs(12);
        throttle.admit(client, bad, later).unwrap();
        assert_eq!(throttle.admit(client, bad, later).unwrap_err(), 12);
        assert_eq!(
            throttle
                .admit(client, bad, later + Duration::from_secs(9))
                .unwrap_err(),
            3
        );
    }

    #[test]
    fn names_do_not_help() {
        let throttle = Throttle::new();
        let (now, bad) = (Instant::now(), address("192.0.2.1"));
        for number in 0..100 {
            let name = number.to_string();
            throttle.admit(Name::Client(&name), bad, now).unwrap();
        }
        assert_eq!(throttle.admit(Name::Client("other"), bad, now).unwrap_err(), 1);
    }

    #[test]
    fn right_ones_cost_nothing() {
        let throttle = Throttle::new();
        let (now, from) = (Instant::now(), address("192.0.2.1"));
        for _ in 0..1_000 {
            let attempt = throttle.admit(Name::Client("c1"), from, now).unwrap();
            throttle.forgive(attempt, now);
        }
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
        let throttle = Throttle::new();
        let now = Instant::now();
        for number in 0..200_000_u32 {
            let from = IpAddr::from(number.to_be_bytes());
            throttle.admit(Name::Client("c1"), from, now).unwrap();
        }
        let buckets = throttle.buckets.lock().unwrap();
        assert!(buckets.newer.len() + buckets.older.len() <= 2 * GENERATION);
        drop(buckets);
        let last = IpAddr::from(199_999_u32.to_be_bytes());
        for _ in 0..9 {
            throttle.admit(Name::Client("c1"), last, now).unwrap();
        }
        throttle.admit(Name::Client("c1"), last, now).unwrap_err();
    }
}
