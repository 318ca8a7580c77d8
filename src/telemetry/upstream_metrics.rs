//! What is counted for the servers of upstreams.
//!
//! Workers count requests, `control` shows which servers are used and drops the series of those that are gone.

use std::collections::HashSet;

use prometheus::IntCounter;

use crate::telemetry::Metrics;
use crate::telemetry::families::{Labels, drop_series};

/// What is counted for one upstream server.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    /// A response head came.
    pub ok: IntCounter,
    /// No connection.
    pub connect: IntCounter,
    /// No response head in time.
    pub timeout: IntCounter,
    /// Broken HTTP or a broken connection.
    pub protocol: IntCounter,
    /// Refused here: too many connections.
    pub overloaded: IntCounter,
}

impl Metrics {
    /// Counters of one upstream server, `host:port` or `unix:/path`.
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        let result = |result| self.upstream_requests.with_label_values(&[upstream, result]);
        UpstreamMetrics {
            ok: result("ok"),
            connect: result("connect"),
            timeout: result("timeout"),
            protocol: result("protocol"),
            overloaded: result("overloaded"),
        }
    }

    /// Whether requests go to a server of this name.
    pub fn upstream_is_healthy(&self, upstream: &str, is_healthy: bool) {
        self.upstream_healthy
            .with_label_values(&[upstream])
            .set(i64::from(is_healthy));
    }

    /// Drops the series of upstream servers that are gone.
    pub fn retain_upstreams(&self, upstreams: &HashSet<&str>) {
        drop_series(&self.upstream_requests, |label: Labels<'_>| {
            !upstreams.contains(label.get("upstream"))
        });
        drop_series(&self.upstream_healthy, |label: Labels<'_>| {
            !upstreams.contains(label.get("upstream"))
        });
    }
}
