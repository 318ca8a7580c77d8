//! The counters of one route, resolved before a request needs them.
//!
//! A snapshot's route holds one. Looking a series up by its labels takes a hash and a lock that all workers share;
//! through these handles an increment is one atomic addition. Series come into being when they are first counted,
//! because a route could have hundreds and uses a handful.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::Method;
use prometheus::{IntCounter, IntCounterVec};

use crate::telemetry::Metrics;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Forwarded.
    Allow = 0,
    /// Refused.
    Deny = 1,
    /// Would have been refused, but the route only reports.
    ShadowDeny = 2,
}

/// Who wrote the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The gateway.
    Gateway = 0,
    /// The upstream.
    Upstream = 1,
}

/// Counters of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    api: String,
    route: String,
    reasons: &'static [&'static str],
    decisions: IntCounterVec,
    /// By decision, then reason.
    decided: Box<[OnceLock<IntCounter>]>,
    requests: IntCounterVec,
    /// The few combinations that occur, copied as a whole when one is added.
    answered: ArcSwap<Vec<(Answer, IntCounter)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    method: &'static str,
    status: u16,
    source: Source,
}

impl RouteMetrics {
    pub(super) fn new(metrics: &Metrics, reasons: &'static [&'static str], api: &str, route: &str) -> Self {
        let made = Self {
            api: api.into(),
            route: route.into(),
            reasons,
            decisions: metrics.decisions.clone(),
            decided: (0..Decision::ALL.len() * reasons.len())
                .map(|_| OnceLock::new())
                .collect(),
            requests: metrics.requests.clone(),
            answered: ArcSwap::default(),
        };
        if let Some(ok) = reasons.iter().position(|reason| *reason == "ok") {
            made.counter(Decision::Allow, ok);
        }
        made
    }

    /// Counts a decision; `reason` is the index in the list that [`Metrics::new`] was given. An index that is not in
    /// it is not counted.
    pub fn decided(&self, decision: Decision, reason: usize) {
        if let Some(counter) = self.counter(decision, reason) {
            counter.inc();
        }
    }

    /// Counts an answer. A method that is not one of RFC 9110 (or `PATCH`) is `OTHER`.
    pub fn answered(&self, method: &Method, status: u16, source: Source) {
        let answer = Answer {
            method: method_label(method),
            status,
            source,
        };
        if let Some((_, counter)) = self.answered.load().iter().find(|(known, _)| *known == answer) {
            counter.inc();
            return;
        }
        let code = match status {
            100..=599 => status.to_string(),
            _ => "other".into(),
        };
        let counter = self
            .requests
            .with_label_values(&[&*self.route, answer.method, &code, source.label()]);
        counter.inc();
        self.answered.rcu(|known| {
            let mut all: Vec<_> = Vec::clone(known);
            // Statuses are the upstream's choice; beyond this many a route pays for the look-up.
            if all.len() < REMEMBERED && !all.iter().any(|(known, _)| *known == answer) {
                all.push((answer, counter.clone()));
            }
            Arc::new(all)
        });
    }

    fn counter(&self, decision: Decision, reason: usize) -> Option<&IntCounter> {
        let word = self.reasons.get(reason)?;
        let slot = self
            .decided
            .get(decision as usize * self.reasons.len() + reason)?;
        Some(slot.get_or_init(|| {
            self.decisions
                .with_label_values(&[&*self.api, &self.route, decision.label(), word])
        }))
    }
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::ShadowDeny];

    /// The word in metric and log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::ShadowDeny => "shadow_deny",
        }
    }
}

impl Source {
    /// The word in the metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Upstream => "upstream",
        }
    }
}

/// The method as a label from a closed list.
pub(super) fn method_label(method: &Method) -> &'static str {
    KNOWN_METHODS
        .into_iter()
        .find(|known| method.as_str() == *known)
        .unwrap_or("OTHER")
}

const KNOWN_METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE",
];
const REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[test]
    fn labels_come_from_closed_lists() {
        let metrics = Metrics::new(&Registry::new(), &["ok", "expired"]).unwrap();
        let route = metrics.route("api", "/a");
        for number in 0..200 {
            let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
            route.answered(&method, 600 + number, Source::Upstream);
        }
        route.answered(&Method::GET, 200, Source::Upstream);
        route.answered(&Method::GET, 200, Source::Upstream);
        route.decided(Decision::ShadowDeny, 1);
        route.decided(Decision::ShadowDeny, 1);
        route.decided(Decision::Deny, 99);
        let text = metrics.encode().unwrap();
        let series = |name: &str| {
            text.lines()
                .filter(|line| line.starts_with(name))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            series("scopegate_http_requests_total"),
            [
                "scopegate_http_requests_total{code=\"200\",method=\"GET\",route=\"/a\",source=\"upstream\"} 2",
                "scopegate_http_requests_total{code=\"other\",method=\"OTHER\",route=\"/a\",source=\"upstream\"} 200",
            ]
        );
        assert_eq!(series("scopegate_auth_decisions_total").len(), 2);
        assert!(text.contains("decision=\"shadow_deny\",reason=\"expired\",route=\"/a\"} 2"));
    }
}
