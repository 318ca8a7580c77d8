//! What is counted of the questions to one endpoint of an issuer.
//!
//! A desk of the gateway is made with it and counts with it.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::Metrics;

/// What is counted for one endpoint.
#[derive(Clone, Debug)]
pub struct QuestionMetrics {
    /// The label beside `result`: whose questions they are.
    of: String,
    requests: IntCounterVec,
    /// Seconds from the beginning of a question to its end.
    pub duration: Histogram,
    /// 0: asked, 1: one question is being tried, 2: not asked.
    pub breaker: IntGauge,
}

impl Metrics {
    /// Counters of the introspection endpoint of one issuer, at 0 where they are new.
    pub fn introspection(&self, issuer: &str) -> QuestionMetrics {
        QuestionMetrics {
            of: issuer.into(),
            requests: self.introspection_requests.clone(),
            duration: self.introspection_duration.clone(),
            breaker: self.introspection_breaker.with_label_values(&[issuer]),
        }
        .with(["active", "inactive"])
    }

    /// Counters of the exchanges for one API, at 0 where they are new.
    pub fn exchange(&self, api: &str) -> QuestionMetrics {
        QuestionMetrics {
            of: api.into(),
            requests: self.exchanges.clone(),
            duration: self.exchange_duration.clone(),
            breaker: self.exchange_breaker.with_label_values(&[api]),
        }
        .with(["granted", "wrong", "not_granted", "not_bearer", "throttled"])
    }
}

impl QuestionMetrics {
    fn with<const N: usize>(self, results: [&'static str; N]) -> Self {
        for result in results.into_iter().chain(["open", "full"]) {
            self.results(result);
        }
        self
    }

    /// Questions that ended like this: a word for what was said, or the word of a fault; `open` and `full` where none
    /// was asked.
    pub fn results(&self, result: &'static str) -> IntCounter {
        self.requests.with_label_values(&[&*self.of, result])
    }
}
