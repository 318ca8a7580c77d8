//! What issuers have said, for as long as it is believed.
//!
//! Held under keyed digests: nobody can tell what was asked about. What lets somebody in and what does not are kept
//! apart, so that a flood of junk cannot drive out what is good. An endpoint that did not answer leaves nothing here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::gateway::verified::{Digest, DigestMap};
use crate::policy::Api;
use crate::telemetry::CacheMetrics;
use crate::token::{Principal, TokenError, UnixSeconds};

/// Answers that let nobody in.
const REFUSED: u64 = 4_096;

/// What is known of something, for one API.
#[derive(Clone, Debug)]
pub(in crate::gateway) enum Known<T> {
    /// What it stands for.
    Good(T),
    /// It lets nobody in.
    Refused(TokenError),
}

/// Everything that something is known of.
#[derive(Debug)]
pub(in crate::gateway) struct KnownAnswers<T: Clone + Send + Sync + 'static> {
    good: DigestMap<(T, Instant)>,
    refused: DigestMap<(TokenError, Instant)>,
    /// No entry is kept longer, whatever was configured.
    longest: Duration,
    pub(in crate::gateway) metrics: CacheMetrics,
}

impl Known<Arc<Principal>> {
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

impl<T: Clone + Send + Sync + 'static> KnownAnswers<T> {
    /// At most so many good ones, 0: nothing is kept; each for so long at most.
    pub(in crate::gateway) fn new(entries: u64, longest: Duration, metrics: CacheMetrics) -> Self {
        Self {
            good: map(entries, longest),
            refused: map(entries.min(REFUSED), longest),
            longest,
            metrics,
        }
    }

    pub(in crate::gateway) fn get(&self, digest: &Digest) -> Option<Known<T>> {
        let now = Instant::now();
        let good = self.good.get(digest).filter(|(_, until)| now < *until);
        let known = match good {
            Some((good, _)) => Known::Good(good),
            None => {
                let refused = self.refused.get(digest).filter(|(_, until)| now < *until);
                Known::Refused(refused?.0)
            }
        };
        self.metrics.hits.inc();
        Some(known)
    }

    /// Whether it is good, or was not long ago.
    pub(in crate::gateway) fn was_good(&self, digest: &Digest) -> bool {
        self.good.contains_key(digest)
    }

    /// Keeps it for so long.
    pub(in crate::gateway) fn put(&self, digest: Digest, known: &Known<T>, keep: Duration) {
        if keep.is_zero() {
            return;
        }
        let until = Instant::now() + keep.min(self.longest);
        match known {
            Known::Good(good) => self.good.insert(digest, (good.clone(), until)),
            Known::Refused(error) => {
                self.good.invalidate(&digest);
                self.refused.insert(digest, (error.clone(), until));
            }
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

fn map<V: Clone + Send + Sync + 'static>(entries: u64, longest: Duration) -> DigestMap<V> {
    Cache::builder()
        .max_capacity(entries)
        .time_to_live(longest)
        .build_with_hasher(Default::default())
}
