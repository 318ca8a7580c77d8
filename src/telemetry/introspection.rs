//! What is counted of the questions to one introspection endpoint.
//!
//! A desk of the gateway makes it once and counts with it.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::Metrics;

/// What is counted for one endpoint.
#[derive(Clone, Debug)]
pub struct IntrospectionMetrics {
    issuer: String,
    requests: IntCounterVec,
    /// Seconds from the beginning of a question to its end.
    pub duration: Histogram,
    /// 0: asked, 1: one question is being tried, 2: not asked.
    pub breaker: IntGauge,
}

impl Metrics {
    /// Counters of the endpoint of one issuer, at 0 where they are new.
    pub fn introspection(&self, issuer: &str) -> IntrospectionMetrics {
        let metrics = IntrospectionMetrics {
            issuer: issuer.into(),
            requests: self.introspection_requests.clone(),
            duration: self.introspection_duration.clone(),
            breaker: self.introspection_breaker.with_label_values(&[issuer]),
        };
        for result in ["active", "inactive", "open", "full"] {
            metrics.results(result);
        }
        metrics
    }
}

impl IntrospectionMetrics {
    /// Questions that ended like this: `active`, `inactive`, or the word of a fault; `open` and `full` where none was
    /// asked.
    pub fn results(&self, result: &'static str) -> IntCounter {
        self.requests.with_label_values(&[&*self.issuer, result])
    }
}
