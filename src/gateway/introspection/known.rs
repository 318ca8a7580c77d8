//! What issuers have said of tokens, for as long as it is believed.
//!
//! Held under the same keyed digest as verified tokens: of the whole token, the API and the generation of the snapshot.
//! What lets somebody in and what does not are kept apart, so that a flood of junk cannot drive out what is good. An
//! endpoint that did not answer leaves nothing here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::gateway::verified::{Digest, DigestMap};
use crate::policy::Api;
use crate::telemetry::CacheMetrics;
use crate::token::{Principal, TokenError, UnixSeconds};

/// No entry is kept longer, whatever was configured.
const LONGEST: Duration = Duration::from_secs(300);
/// Tokens that let nobody in.
const REFUSED: u64 = 4_096;

/// What is known of a token, for one API.
#[derive(Clone, Debug)]
pub(in crate::gateway) enum Known {
    /// Its principal.
    Good(Arc<Principal>),
    /// It is not active, or not for this API.
    Refused(TokenError),
}

/// The tokens that something is known of.
#[derive(Debug)]
pub(in crate::gateway) struct KnownTokens {
    good: DigestMap<(Arc<Principal>, Instant)>,
    refused: DigestMap<(TokenError, Instant)>,
    pub(super) metrics: CacheMetrics,
}

impl Known {
    /// Once more at `now`: what was good may have ended.
    pub(in crate::gateway) fn at(&self, api: &Api, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        match self {
            Self::Good(principal) => {
                api.verifier.check_times(principal, now)?;
                Ok(Arc::clone(principal))
            }
            Self::Refused(error) => Err(error.clone()),
        }
    }
}

impl KnownTokens {
    /// At most so many good ones; 0: nothing is kept.
    pub(in crate::gateway) fn new(entries: u64, metrics: CacheMetrics) -> Self {
        Self {
            good: map(entries),
            refused: map(entries.min(REFUSED)),
            metrics,
        }
    }

    pub(in crate::gateway) fn get(&self, digest: &Digest) -> Option<Known> {
        let now = Instant::now();
        let good = self.good.get(digest).filter(|(_, until)| now < *until);
        let known = match good {
            Some((principal, _)) => Known::Good(principal),
            None => {
                let refused = self.refused.get(digest).filter(|(_, until)| now < *until);
                Known::Refused(refused?.0)
            }
        };
        self.metrics.hits.inc();
        Some(known)
    }

    /// Keeps it for so long.
    pub(super) fn put(&self, digest: Digest, known: &Known, keep: Duration) {
        if keep.is_zero() {
            return;
        }
        let until = Instant::now() + keep.min(LONGEST);
        match known {
            Known::Good(principal) => self.good.insert(digest, (Arc::clone(principal), until)),
            Known::Refused(error) => self.refused.insert(digest, (error.clone(), until)),
        }
    }

    /// Sets the gauge of entries, about.
    pub(in crate::gateway) fn count_entries(&self) {
        let entries = self.good.entry_count() + self.refused.entry_count();
        self.metrics
            .entries
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
    }
}

fn map<V: Clone + Send + Sync + 'static>(entries: u64) -> DigestMap<V> {
    Cache::builder()
        .max_capacity(entries)
        .time_to_live(LONGEST)
        .build_with_hasher(Default::default())
}
