//! The memory of a server that accepts proofs: which ones it has seen, and which nonces are its own.
//!
//! Shared by the workers. Only a request with a proof that is right in every other way comes here, so only such a
//! request waits for a lock, and what a stranger sends takes no room. Pure: `now` and the keys are passed in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::UnixSeconds;
use super::binding::{ProofError, Thumbprint};
use super::dpop::{Proof, ProofTimes};

/// Locks, so that workers seldom meet at one.
const SHARDS: usize = 16;

/// How proofs are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofSettings {
    /// The oldest proof, counted from `iat`.
    pub max_age: Duration,
    /// How far `iat` may lie in the future.
    pub max_ahead: Duration,
    /// How many proofs are remembered. Where there is no room, a proof is refused rather than one forgotten.
    pub entries: usize,
    /// How long a nonce is good; `None`: proofs need none.
    pub nonce_lifetime: Option<Duration>,
}

impl Default for ProofSettings {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(60),
            max_ahead: Duration::from_secs(10),
            entries: 100_000,
            nonce_lifetime: None,
        }
    }
}

/// Takes each proof once.
pub struct ProofDesk {
    times: ProofTimes,
    nonce_lifetime: Option<i64>,
    /// Under which a proof is remembered: what is chosen by clients must not choose its place.
    memory_key: Box<[u8]>,
    nonce_key: hmac::Key,
    shards: [Mutex<Seen>; SHARDS],
    entries_per_shard: usize,
}

type Digest = [u8; 16];
/// The first bytes of a thumbprint.
type Holder = u64;

/// What one lock guards.
#[derive(Debug, Default)]
struct Seen {
    digests: HashSet<Digest>,
    by_expiry: BinaryHeap<Reverse<(UnixSeconds, Digest, Holder)>>,
    /// How many of them each holder has.
    by_holder: HashMap<Holder, u32>,
    /// Proofs that were good until then have been forgotten. A clock that is set back does not bring them back.
    forgotten_until: Option<UnixSeconds>,
}

impl ProofDesk {
    /// `memory_key` is random; replicas that share `nonce_key` accept each other's nonces.
    pub fn new(settings: &ProofSettings, memory_key: &[u8], nonce_key: &[u8]) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self {
            times: ProofTimes {
                max_age: seconds(settings.max_age),
                max_ahead: seconds(settings.max_ahead),
            },
            nonce_lifetime: settings.nonce_lifetime.map(seconds),
            memory_key: memory_key.into(),
            nonce_key: hmac::Key::new(hmac::HMAC_SHA256, nonce_key),
            shards: Default::default(),
            entries_per_shard: settings.entries.div_ceil(SHARDS),
        }
    }

    /// How old a proof may be.
    pub fn times(&self) -> ProofTimes {
        self.times
    }

    /// Takes a proof for the key, which [`super::check_proof`] has found right at `now`.
    pub fn take(&self, proof: &Proof, key: &Thumbprint, now: UnixSeconds) -> Result<(), ProofError> {
        if let Some(lifetime) = self.nonce_lifetime {
            let is_ours = |nonce: &str| self.is_fresh(nonce, lifetime, now);
            if !proof.nonce.as_deref().is_some_and(is_ours) {
                return Err(ProofError::NonceWanted {
                    nonce: self.nonce(now).into(),
                });
            }
        }
        let digest = self.digest(proof, key);
        let place = digest.first().map_or(0, |byte| usize::from(*byte) % SHARDS);
        let Some(shard) = self.shards.get(place) else {
            return Err(ProofError::StoreFull);
        };
        let mut seen = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let holder = key.0.first_chunk().copied().map_or(0, Holder::from_le_bytes);
        seen.insert((digest, holder), proof.good_until, now, self.entries_per_shard)
    }

    /// How many proofs are remembered.
    pub fn len(&self) -> usize {
        let lengths = self.shards.iter().map(|shard| {
            let seen = shard.lock().unwrap_or_else(PoisonError::into_inner);
            seen.digests.len()
        });
        lengths.sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A nonce that is good from now on: the time, and a code that only this server can make. It stays the same for a
    /// while, so that a client that keeps it is seldom asked for another.
    pub fn nonce(&self, now: UnixSeconds) -> String {
        let step = self.nonce_lifetime.map_or(1, |lifetime| (lifetime / 4).max(1));
        let time = now.div_euclid(step).saturating_mul(step).to_be_bytes();
        let code = hmac::sign(&self.nonce_key, &time);
        let code = code.as_ref().get(..16).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([&time[..], code].concat())
    }

    fn is_fresh(&self, nonce: &str, lifetime: i64, now: UnixSeconds) -> bool {
        // 24 bytes: nothing longer is even decoded.
        let bytes = (nonce.len() == 32).then(|| URL_SAFE_NO_PAD.decode(nonce).ok());
        let Some(bytes) = bytes.flatten() else {
            return false;
        };
        let Some((time, code)) = bytes.split_first_chunk::<8>() else {
            return false;
        };
        let expected = hmac::sign(&self.nonce_key, time);
        let expected = expected.as_ref().get(..16).unwrap_or_default();
        let is_ours =
            aws_lc_rs::constant_time::verify_slices_are_equal(expected, code).is_ok() && !code.is_empty();
        let age = now.saturating_sub(UnixSeconds::from_be_bytes(*time));
        is_ours && (-self.times.max_ahead..=lifetime).contains(&age)
    }

    fn digest(&self, proof: &Proof, key: &Thumbprint) -> Digest {
        // Key and thumbprint have one length each, so that no two pairs are one text. Nobody sees a digest, so that it could be
        // extended to that of a longer text does no harm.
        let text = [&*self.memory_key, &key.0, proof.id.as_bytes()].concat();
        Thumbprint::of(&text).0.first_chunk().copied().unwrap_or_default()
    }
}

impl std::fmt::Debug for ProofDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProofDesk({:?})", self.times)
    }
}

impl Seen {
    fn insert(
        &mut self,
        (digest, holder): (Digest, Holder),
        good_until: UnixSeconds,
        now: UnixSeconds,
        room: usize,
    ) -> Result<(), ProofError> {
        while let Some(Reverse((until, old, its_holder))) =
            self.by_expiry.peek().copied().filter(|first| first.0.0 < now)
        {
            self.by_expiry.pop();
            self.digests.remove(&old);
            self.forget_one_of(its_holder);
            self.forgotten_until = Some(until);
        }
        if self.forgotten_until.is_some_and(|until| good_until <= until) {
            return Err(ProofError::Stale);
        }
        if self.digests.contains(&digest) {
            return Err(ProofError::Replay);
        }
        // One holder may have as many as there is room left for others. So whoever fills the store alone is stopped at
        // half of it, several at a share each, and somebody else always finds room.
        let left = room.saturating_sub(self.digests.len());
        let held = self.by_holder.get(&holder).copied().unwrap_or(0);
        if usize::try_from(held).is_ok_and(|held| held >= left) {
            return Err(ProofError::StoreFull);
        }
        self.digests.insert(digest);
        self.by_expiry.push(Reverse((good_until, digest, holder)));
        self.by_holder.insert(holder, held + 1);
        Ok(())
    }

    fn forget_one_of(&mut self, holder: Holder) {
        match self.by_holder.get_mut(&holder) {
            Some(held) if *held > 1 => *held -= 1,
            _ => drop(self.by_holder.remove(&holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = 1_800_000_000;
    const KEY: Thumbprint = Thumbprint([1; 32]);

    fn desk(settings: &ProofSettings) -> ProofDesk {
        ProofDesk::new(settings, &[1; 32], &[2; 32])
    }

    fn proof(id: &str, good_until: UnixSeconds) -> Proof {
        Proof {
            id: id.into(),
            nonce: None,
            good_until,
        }
    }

    #[test]
    fn each_proof_is_taken_once() {
        let desk = desk(&ProofSettings::default());
        assert_eq!(desk.take(&proof("a", NOW + 60), &KEY, NOW), Ok(()));
        assert_eq!(
            desk.take(&proof("a", NOW + 60), &KEY, NOW),
            Err(ProofError::Replay)
        );
        assert_eq!(
            desk.take(&proof("a", NOW + 61), &KEY, NOW),
            Err(ProofError::Replay)
        );
        // The same id of another key is another proof.
        assert_eq!(
            desk.take(&proof("a", NOW + 60), &Thumbprint([2; 32]), NOW),
            Ok(())
        );
        // In the last second it is remembered, and afterwards it is too old by itself.
        assert_eq!(
            desk.take(&proof("a", NOW + 60), &KEY, NOW + 60),
            Err(ProofError::Replay)
        );
        assert_eq!(desk.len(), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_nothing_back() {
        let desk = desk(&ProofSettings {
            entries: SHARDS,
            ..ProofSettings::default()
        });
        let mut ids = (0..).map(|number| format!("{number}"));
        // All in one place, so that the next one there makes it forget the first.
        let mut next = || {
            ids.find(|id| desk.digest(&proof(id, 0), &KEY)[0] % 16 == 3)
                .unwrap()
        };
        let (first, second) = (next(), next());
        assert_eq!(desk.take(&proof(&first, NOW), &KEY, NOW), Ok(()));
        assert_eq!(desk.take(&proof(&second, NOW + 61), &KEY, NOW + 1), Ok(()));
        assert_eq!(desk.len(), 1);
        assert_eq!(desk.take(&proof(&first, NOW), &KEY, NOW), Err(ProofError::Stale));
    }

    #[test]
    fn the_bound_holds_and_room_comes_back() {
        for (entries, offered) in [(1_000, 100_000), (100_000, 200_000)] {
            let desk = desk(&ProofSettings {
                entries,
                ..ProofSettings::default()
            });
            let mut refused = 0;
            for number in 0..offered {
                // Each of a key of its own: nobody has more than a share.
                match desk.take(&proof("id", NOW + 60), &holder(number), NOW) {
                    Ok(()) => {}
                    Err(ProofError::StoreFull) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            let kept = desk.len();
            assert!((entries * 9 / 10..=entries + SHARDS).contains(&kept), "{kept}");
            assert_eq!(kept + refused, offered);
            // What was taken is still known, full or not.
            assert_eq!(
                desk.take(&proof("id", NOW + 60), &holder(0), NOW),
                Err(ProofError::Replay)
            );
            for number in 0..100 {
                let id = format!("later {number}");
                assert_eq!(
                    desk.take(&proof(&id, NOW + 121), &holder(number), NOW + 61),
                    Ok(())
                );
            }
            // Each place forgets when it is next asked.
            assert!(desk.len() < kept);
        }
    }

    fn holder(number: usize) -> Thumbprint {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Thumbprint(bytes)
    }

    #[test]
    fn one_holder_is_refused_alone() {
        let settings = ProofSettings::default();
        let desk = desk(&settings);
        let offer = |holders: std::ops::Range<usize>, each: usize| {
            let mut taken = 0;
            for number in 0..each {
                for one in holders.clone() {
                    let id = format!("{number}");
                    match desk.take(&proof(&id, NOW + 60), &holder(one), NOW) {
                        Ok(()) => taken += 1,
                        Err(ProofError::StoreFull) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            taken
        };
        let half = settings.entries / 2;
        let greedy = offer(0..1, 100_000);
        assert!((half * 9 / 10..=half + SHARDS).contains(&greedy), "{greedy}");
        // Everybody else goes on as if nothing were.
        assert_eq!(offer(1..1_001, 20), 20_000);
        assert!(desk.len() <= settings.entries + SHARDS);
        // A minute later it has its share again.
        for number in 0..100 {
            let id = format!("later {number}");
            assert_eq!(desk.take(&proof(&id, NOW + 121), &holder(0), NOW + 61), Ok(()));
        }
        assert!(desk.shards.iter().all(|shard| {
            let seen = shard.lock().unwrap();
            let held: u32 = seen.by_holder.values().sum();
            held as usize == seen.digests.len() && seen.by_expiry.len() == seen.digests.len()
        }));
    }

    #[test]
    fn nonces() {
        let with = |lifetime| {
            desk(&ProofSettings {
                nonce_lifetime: lifetime,
                ..ProofSettings::default()
            })
        };
        let desk = with(Some(Duration::from_secs(300)));
        let take = |nonce: Option<&str>, now: UnixSeconds, id: &str| {
            let proof = Proof {
                nonce: nonce.map(Box::from),
                ..proof(id, now + 60)
            };
            desk.take(&proof, &KEY, now)
        };
        let wanted = |now| {
            Err(ProofError::NonceWanted {
                nonce: desk.nonce(now).into(),
            })
        };
        let nonce = desk.nonce(NOW);
        assert_eq!(nonce.len(), 32);
        assert_eq!(take(None, NOW, "1"), wanted(NOW));
        assert_eq!(take(Some(&nonce), NOW, "2"), Ok(()));
        assert_eq!(take(Some(&nonce), NOW, "2"), Err(ProofError::Replay));
        assert_eq!(take(Some(&nonce), NOW + 225, "3"), Ok(()));
        assert_eq!(take(Some(&nonce), NOW + 301, "4"), wanted(NOW + 301));
        assert_eq!(take(Some(&desk.nonce(NOW + 100)), NOW, "5"), wanted(NOW));
        for spoiled in [
            "",
            "x",
            &nonce[..31],
            &format!("{nonce}A"),
            &nonce.replace(&nonce[20..21], "-"),
        ] {
            if spoiled != nonce {
                assert_eq!(take(Some(spoiled), NOW, "6"), wanted(NOW), "{spoiled}");
            }
        }
        // Another key makes other nonces, and without a lifetime none is asked for.
        let other = ProofDesk::new(
            &ProofSettings {
                nonce_lifetime: Some(Duration::from_secs(300)),
                ..ProofSettings::default()
            },
            &[1; 32],
            &[3; 32],
        );
        assert_ne!(other.nonce(NOW), nonce);
        assert_eq!(take(Some(&other.nonce(NOW)), NOW, "7"), wanted(NOW));
        assert_eq!(with(None).take(&proof("8", NOW + 60), &KEY, NOW), Ok(()));
    }
}
