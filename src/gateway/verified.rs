//! The cache of verified tokens in front of `Verifier::verify`.
//!
//! It holds facts, never decisions: a hit is asked again for its times, and the route is asked in any case. The key is a
//! keyed digest of the whole token, the API and the generation of the snapshot, so neither a changed key set nor a
//! changed definition can meet an old entry, and no token stays in memory. Refused tokens are not kept.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use moka::sync::Cache;
use prometheus::Histogram;

use crate::policy::Api;
use crate::telemetry::{CacheMetrics, Metrics, Stage};
use crate::token::{Principal, TokenError, UnixSeconds, VerifyToken};

/// No entry is kept longer, whatever its `exp`.
const LONGEST: Duration = Duration::from_secs(300);

type Digest = [u8; 32];

/// Verified tokens of all workers.
#[derive(Debug)]
pub struct VerifiedTokens {
    cache: Option<Cache<Digest, Arc<Principal>, BuildHasherDefault<FirstBytes>>>,
    /// Makes digests of this process unlike those of any other.
    key: Digest,
    metrics: CacheMetrics,
    verify_timer: Histogram,
}

/// Verifies through the cache, for the snapshot of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct CachedVerifier<'a> {
    pub(super) tokens: &'a VerifiedTokens,
    pub(super) generation: u64,
}

impl VerifiedTokens {
    /// A cache of at most so many tokens; 0 switches it off. `None` where the system has no randomness.
    pub fn new(entries: u64, metrics: &Metrics) -> Option<Self> {
        let mut key = Digest::default();
        aws_lc_rs::rand::fill(&mut key).ok()?;
        let cache = (entries > 0).then(|| {
            Cache::builder()
                .max_capacity(entries)
                .time_to_live(LONGEST)
                .build_with_hasher(BuildHasherDefault::default())
        });
        Some(Self {
            cache,
            key,
            metrics: metrics.cache("token"),
            verify_timer: metrics.stage(Stage::Verify),
        })
    }

    /// Sets the gauge of entries, about.
    pub(super) fn count_entries(&self) {
        let entries = self.cache.as_ref().map_or(0, Cache::entry_count);
        self.metrics
            .entries
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    fn digest(&self, generation: u64, api: &Api, token: &str) -> Digest {
        let mut context = Context::new(&SHA256);
        // Fixed lengths first, so that no two inputs run into each other.
        context.update(&self.key);
        context.update(&generation.to_le_bytes());
        context.update(&api.id.0.to_le_bytes());
        context.update(token.as_bytes());
        let mut digest = Digest::default();
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

impl VerifyToken<Api> for CachedVerifier<'_> {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        api.verifier.check_length(token)?;
        let Some(cache) = &self.tokens.cache else {
            return api.verifier.verify(token, now).map(Arc::new);
        };
        let digest = self.tokens.digest(self.generation, api, token);
        if let Some(principal) = cache.get(&digest) {
            self.tokens.metrics.hits.inc();
            api.verifier.check_times(&principal, now)?;
            return Ok(principal);
        }
        self.tokens.metrics.misses.inc();
        let started = Instant::now();
        let verified = api.verifier.verify(token, now);
        self.tokens.verify_timer.observe(started.elapsed().as_secs_f64());
        let principal = Arc::new(verified?);
        cache.insert(digest, Arc::clone(&principal));
        Ok(principal)
    }
}

/// A digest is as good as random: its first bytes are its hash.
#[derive(Debug, Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
