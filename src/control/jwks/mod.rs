//! Keeps the keys of one issuer current.
//!
//! `reconcile` runs one of these tasks per issuer that has a source of keys; each has its own timers, connections and
//! faults, so that one issuer's trouble never touches another's. A task never writes a snapshot: it tells `reconcile`
//! what changed, and tells those who wait for an unknown `kid` only after that is published.

mod source;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::clock::unix_now;
use crate::control::reconcile::KeyReports;
use crate::control::{IssuerSettings, KeySource};
use crate::snapshot::handoff::{FetchCause, KeyMisses};
use crate::telemetry::{IssuerMetrics, UnknownKid};
use crate::token::{KeySet, SkippedKey};
use source::{Answer, KeyFault, Source};

/// The task of one issuer.
#[derive(Debug)]
pub(super) struct KeyTask {
    issuer: String,
    pace: Pace,
    source: Source,
    misses: Arc<KeyMisses>,
    metrics: IssuerMetrics,
    reports: KeyReports,
    current: Option<Arc<KeySet>>,
    confirmed: Confirmed,
    /// In a row.
    failures: u32,
    last_fault: Option<KeyFault>,
}

/// When the keys were last known to be what the issuer publishes. Outlives the task when a reload replaces it, so that a
/// reload does not make old keys young.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirmed(Arc<Mutex<Option<Instant>>>);

/// When to fetch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    kind: PaceKind,
    ttl: Duration,
    max_stale: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PaceKind {
    /// Refresh at 80 % of the lifetime, back off after failures.
    Network,
    /// Look every second.
    File,
    /// Nothing changes.
    Inline,
}

/// The keys of an issuer, fetched once as a key task would. For `explain`.
///
/// # Errors
/// What is wrong, in words.
pub async fn fetch_keys(settings: &IssuerSettings) -> Result<KeySet, String> {
    let from = settings
        .source
        .as_ref()
        .ok_or("no source of keys is configured")?;
    match Source::new(&settings.issuer, from, &settings.jwks).fetch().await {
        Ok(Answer::Keys { keys, .. }) => Ok(keys),
        Ok(Answer::Unchanged) => Err("the file is unchanged".into()),
        Err(fault) => Err(fault.to_string()),
    }
}

impl KeyTask {
    /// `known` are keys that were fetched before a reload; they serve until the first fetch.
    pub(super) fn new(
        settings: &IssuerSettings,
        source: &KeySource,
        known: Option<Arc<KeySet>>,
        confirmed: Confirmed,
        misses: Arc<KeyMisses>,
        metrics: IssuerMetrics,
        reports: KeyReports,
    ) -> Self {
        let kind = match source {
            KeySource::Discovery | KeySource::Uri(_) => PaceKind::Network,
            KeySource::File(_) => PaceKind::File,
            KeySource::Inline(_) => PaceKind::Inline,
        };
        Self {
            issuer: settings.issuer.clone(),
            pace: Pace {
                kind,
                ttl: settings.jwks.ttl,
                max_stale: settings.jwks.max_stale,
            },
            source: Source::new(&settings.issuer, source, &settings.jwks),
            misses,
            metrics,
            reports,
            confirmed,
            current: known,
            failures: 0,
            last_fault: None,
        }
    }

    /// Runs until it is aborted or `reconcile` is gone.
    pub(super) async fn run(mut self) {
        let mut next = Some(Instant::now());
        loop {
            let cause = tokio::select! {
                biased;
                () = self.misses.wanted() => FetchCause::Miss,
                () = at(next) => FetchCause::Schedule,
                () = at(self.stale_at()) => {
                    self.give_up_stale_keys().await;
                    continue;
                }
                () = self.reports.closed() => return,
            };
            next = self.fetch(cause).await;
        }
    }

    /// One fetch, with everything that follows from it. Returns when to fetch next.
    async fn fetch(&mut self, cause: FetchCause) -> Option<Instant> {
        if cause == FetchCause::Miss {
            self.metrics.unknown_kid(UnknownKid::Fetch).inc();
        }
        self.misses.begins();
        let begin = Instant::now();
        let answer = self.source.fetch().await;
        let now = Instant::now();
        let wait = match answer {
            Ok(Answer::Unchanged) => {
                self.recovered(now);
                self.pace.after_success(None)
            }
            Ok(Answer::Keys {
                keys,
                skipped,
                max_age,
            }) => {
                self.metrics.fetch_duration.observe((now - begin).as_secs_f64());
                self.succeeded(keys, &skipped, now).await;
                self.pace.after_success(max_age)
            }
            Err(fault) => {
                self.metrics.fetch_duration.observe((now - begin).as_secs_f64());
                self.failed(fault);
                self.pace.after_failure(self.failures)
            }
        };
        let succeeded = self.failures == 0;
        let settled = if succeeded { self.current.as_deref() } else { None };
        self.misses.fetched(settled, cause, now.into_std());
        now.checked_add(wait?)
    }

    async fn succeeded(&mut self, keys: KeySet, skipped: &[SkippedKey], now: Instant) {
        self.metrics.fetches("success").inc();
        self.metrics.last_success.set(unix_now());
        self.metrics
            .keys
            .set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        self.recovered(now);
        if self.current.as_deref() == Some(&keys) {
            return;
        }
        for key in skipped {
            tracing::warn!(issuer = %self.issuer, kid = key.kid.as_deref(), reason = %key.why, "a key is left out");
        }
        tracing::info!(issuer = %self.issuer, keys = keys.len(), "keys changed");
        let keys = Arc::new(keys);
        self.current = Some(Arc::clone(&keys));
        self.reports.changed(Some(keys)).await;
    }

    fn recovered(&mut self, now: Instant) {
        if self.failures > 0 {
            tracing::info!(issuer = %self.issuer, failures = self.failures, "keys can be fetched again");
        }
        self.confirmed.set(now);
        self.failures = 0;
        self.last_fault = None;
    }

    fn failed(&mut self, fault: KeyFault) {
        self.metrics.fetches(fault.label()).inc();
        self.failures = self.failures.saturating_add(1);
        // The same fault is not told again for each retry; the metric counts them.
        if self.last_fault.as_ref() != Some(&fault) {
            let still_serving = self.current.is_some();
            tracing::warn!(issuer = %self.issuer, %fault, still_serving, "cannot fetch keys");
            self.last_fault = Some(fault);
        }
    }

    fn stale_at(&self) -> Option<Instant> {
        self.current.as_ref()?;
        // What stands in the configuration is not fetched again, so nothing confirms it: it stands there.
        if self.pace.kind == PaceKind::Inline {
            return None;
        }
        self.confirmed.get()?.checked_add(self.pace.max_stale)
    }

    async fn give_up_stale_keys(&mut self) {
        tracing::error!(issuer = %self.issuer, "the last good keys are too old; the issuer has no keys");
        self.metrics.keys.set(0);
        self.current = None;
        self.source.forget();
        self.reports.changed(None).await;
    }
}

impl Confirmed {
    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

impl Pace {
    /// `None`: not again.
    fn after_success(&self, max_age: Option<Duration>) -> Option<Duration> {
        match self.kind {
            PaceKind::Inline => None,
            PaceKind::File => Some(FILE_POLL),
            PaceKind::Network => {
                let fresh = max_age.map_or(self.ttl, |age| age.max(SHORTEST_TTL).min(self.ttl));
                Some(jittered(fresh.min(LONGEST_TTL) * 4 / 5))
            }
        }
    }

    /// `failures` counts from 1.
    fn after_failure(&self, failures: u32) -> Option<Duration> {
        match self.kind {
            PaceKind::Inline => None,
            PaceKind::File => Some(FILE_POLL),
            PaceKind::Network => {
                let doublings = failures.saturating_sub(1).min(10);
                Some(jittered((FIRST_RETRY * (1 << doublings)).min(LAST_RETRY)))
            }
        }
    }
}

/// Ends at that time; never where there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Within 10 % of `duration`, so that many gateways do not ask at the same moment.
pub(super) fn jittered(duration: Duration) -> Duration {
    let mut random = [0];
    // Without randomness there is no jitter; nothing else is lost.
    let _ = getrandom::fill(&mut random);
    duration.mul_f64(0.9 + 0.2 * f64::from(random[0]) / 255.0)
}

/// A server that asks for less is not asked more often than this, unless the configured TTL is shorter.
const SHORTEST_TTL: Duration = Duration::from_secs(60);
/// So that the arithmetic cannot overflow, whatever was configured.
const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
const FILE_POLL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
