//! What is counted of the keys of one issuer.
//!
//! The task that fetches them makes it once and counts with it.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::Metrics;

/// What became of an unknown `kid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKid {
    /// The request waited for a fetch.
    Wait,
    /// A recent fetch has shown that there is no such key.
    Absent,
    /// Turned away because the last fetch was too recent.
    Cooldown,
    /// A fetch was made.
    Fetch,
}

/// What is counted for one issuer's keys.
#[derive(Clone, Debug)]
pub struct IssuerMetrics {
    issuer: String,
    fetches: IntCounterVec,
    /// Seconds from connect to last byte.
    pub fetch_duration: Histogram,
    /// Unix time in seconds; 0 before the first.
    pub last_success: IntGauge,
    /// Usable keys.
    pub keys: IntGauge,
    unknown_kid: [IntCounter; 4],
}

impl Metrics {
    /// Counters of one issuer, at 0 where they are new.
    pub fn issuer(&self, issuer: &str) -> IssuerMetrics {
        let metrics = IssuerMetrics {
            issuer: issuer.into(),
            fetches: self.jwks_fetches.clone(),
            fetch_duration: self.jwks_fetch_duration.clone(),
            last_success: self.jwks_last_success.with_label_values(&[issuer]),
            keys: self.jwks_keys.with_label_values(&[issuer]),
            unknown_kid: UnknownKid::ALL
                .map(|action| self.jwks_unknown_kid.with_label_values(&[issuer, action.label()])),
        };
        metrics.fetches("success");
        metrics
    }
}

impl UnknownKid {
    const ALL: [Self; 4] = [Self::Wait, Self::Absent, Self::Cooldown, Self::Fetch];

    fn label(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Absent => "absent",
            Self::Cooldown => "cooldown",
            Self::Fetch => "fetch",
        }
    }
}

impl IssuerMetrics {
    /// Fetches that ended like this: `success`, or the word of an error.
    pub fn fetches(&self, result: &'static str) -> IntCounter {
        self.fetches.with_label_values(&[&*self.issuer, result])
    }

    /// Tokens whose `kid` was not known.
    pub fn unknown_kid(&self, action: UnknownKid) -> &IntCounter {
        let [wait, absent, cooldown, fetch] = &self.unknown_kid;
        match action {
            UnknownKid::Wait => wait,
            UnknownKid::Absent => absent,
            UnknownKid::Cooldown => cooldown,
            UnknownKid::Fetch => fetch,
        }
    }
}
