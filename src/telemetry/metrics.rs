//! Every metric family, in one struct.
//!
//! The composition root makes it once; gateway, control and net are given what they count with. Names and labels are
//! the contract of DESIGN section 3.7 and are compared with a golden list by a test. A label must never hold what a
//! client chose: methods come from a list, reasons from the closed enum, routes and issuers from the configuration.

use std::collections::HashSet;

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use crate::telemetry::families::{
    AUTH_BUCKETS, FETCH_BUCKETS, Families, Labels, REQUEST_BUCKETS, drop_series, register_process,
};
use crate::telemetry::{RouteMetrics, Stage, TunnelEnd};

/// Everything that is counted. Cheap to clone: every family is shared.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    reasons: &'static [&'static str],
    pub(super) decisions: IntCounterVec,
    pub(super) requests: IntCounterVec,
    auth_duration: HistogramVec,
    /// From the first byte of a request head to the last of the response.
    pub request_duration: Histogram,
    /// Requests whose response is not over.
    pub requests_in_flight: IntGauge,
    /// Connections closed at once because `limits.connections` were open.
    pub connections_refused: IntCounter,
    connection_errors: IntCounterVec,
    /// 0: enough; 1: requests are refused; 2: connections are not accepted either.
    pub memory_pressure: IntGauge,
    /// Faults of the program itself.
    pub panics: IntCounter,
    pub(super) jwks_fetches: IntCounterVec,
    pub(super) jwks_fetch_duration: Histogram,
    pub(super) jwks_last_success: IntGaugeVec,
    pub(super) jwks_keys: IntGaugeVec,
    pub(super) jwks_unknown_kid: IntCounterVec,
    pub(super) introspection_requests: IntCounterVec,
    pub(super) introspection_duration: Histogram,
    pub(super) introspection_breaker: IntGaugeVec,
    pub(super) exchanges: IntCounterVec,
    pub(super) exchange_duration: Histogram,
    pub(super) exchange_breaker: IntGaugeVec,
    cache_requests: IntCounterVec,
    cache_entries: IntGaugeVec,
    upstream_requests: IntCounterVec,
    upstream_healthy: IntGaugeVec,
    /// Connections that have become tunnels, such as WebSockets.
    pub upgrades_open: IntGauge,
    upgrades: IntCounterVec,
    /// 1 after a reload that took effect, 0 after one that did not.
    pub config_last_reload_successful: IntGauge,
    /// Unix time in seconds.
    pub config_last_reload_success_timestamp: IntGauge,
    config_info: IntGaugeVec,
    certificate_expiry: IntGaugeVec,
    /// Entries about revoked tokens, by `source`.
    pub revocations: IntGaugeVec,
    /// 1 after a list of revoked tokens that was taken, 0 after one that was not.
    pub revocations_last_load_successful: IntGauge,
    /// Unix time in seconds; 0 before the first.
    pub revocations_last_load_timestamp: IntGauge,
    /// TLS handshakes with clients, by `result`.
    pub tls_handshakes: IntCounterVec,
    /// Connections that had to begin with a PROXY header, by `result`.
    pub proxy_headers: IntCounterVec,
    /// Questions about definitions that are followed, by `result`.
    pub definition_fetches: IntCounterVec,
    /// When the last of them succeeded, in Unix seconds.
    pub definitions_last_success: IntGauge,
    /// Access-log records that the writer could not take.
    pub access_log_dropped: IntCounter,
    access_log_suppressed: IntCounterVec,
    /// Requests for tokens that the authority has answered, by `grant_type` and `result`.
    pub authority_token_requests: IntCounterVec,
}

/// What is counted for one cache.
#[derive(Clone, Debug)]
pub struct CacheMetrics {
    /// Found.
    pub hits: IntCounter,
    /// Not found.
    pub misses: IntCounter,
    /// How many there are.
    pub entries: IntGauge,
}

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
    /// Registers every family. `reasons` are the words of the closed list, by index.
    ///
    /// # Errors
    /// A family of the same name is in the registry already.
    pub fn new(registry: &Registry, reasons: &'static [&'static str]) -> Result<Self, prometheus::Error> {
        let make = Families { registry };
        let metrics = Self {
            decisions: make.counters(
                "auth_decisions_total",
                "Authorisation decisions.",
                &["api", "route", "decision", "reason"],
            )?,
            requests: make.counters(
                "http_requests_total",
                "Answered requests; `source` says who wrote the status.",
                &["route", "method", "code", "source"],
            )?,
            auth_duration: make.histograms(
                "auth_duration_seconds",
                "Duration of a part of the decision.",
                &["stage"],
                AUTH_BUCKETS,
            )?,
            request_duration: make.histogram(
                "http_request_duration_seconds",
                "From the request head to the end of the response.",
                REQUEST_BUCKETS,
            )?,
            requests_in_flight: make.gauge("http_requests_in_flight", "Requests being answered.")?,
            connections_refused: make.counter(
                "connections_refused_total",
                "Connections closed because of a limit.",
            )?,
            connection_errors: make.counters(
                "connection_errors_total",
                "Connections that ended for a fault of their client, or broke.",
                &["kind"],
            )?,
            memory_pressure: make.gauge("memory_pressure", "How short memory is: 0, 1, 2.")?,
            panics: make.counter("panics_total", "Faults of the program.")?,
            jwks_fetches: make.counters("jwks_fetches_total", "Key fetches.", &["issuer", "result"])?,
            jwks_fetch_duration: make.histogram(
                "jwks_fetch_duration_seconds",
                "Duration of a key fetch.",
                FETCH_BUCKETS,
            )?,
            jwks_last_success: make.gauges(
                "jwks_last_success_timestamp_seconds",
                "When keys were last fetched.",
                &["issuer"],
            )?,
            jwks_keys: make.gauges("jwks_keys", "Usable keys.", &["issuer"])?,
            jwks_unknown_kid: make.counters(
                "jwks_unknown_kid_total",
                "Tokens with a key id that was not known, and what was done about it.",
                &["issuer", "action"],
            )?,
            introspection_requests: make.counters(
                "introspection_requests_total",
                "Questions about tokens, and requests for which none was asked.",
                &["issuer", "result"],
            )?,
            introspection_duration: make.histogram(
                "introspection_duration_seconds",
                "Duration of a question about a token.",
                FETCH_BUCKETS,
            )?,
            introspection_breaker: make.gauges(
                "introspection_breaker",
                "Whether an introspection endpoint is asked: 0 yes, 1 once on trial, 2 no.",
                &["issuer"],
            )?,
            exchanges: make.counters(
                "api_key_exchanges_total",
                "API keys that were exchanged for tokens, and requests for which none was.",
                &["api", "result"],
            )?,
            exchange_duration: make.histogram(
                "api_key_exchange_duration_seconds",
                "Duration of an exchange.",
                FETCH_BUCKETS,
            )?,
            exchange_breaker: make.gauges(
                "api_key_exchange_breaker",
                "Whether a token endpoint is asked: 0 yes, 1 once on trial, 2 no.",
                &["api"],
            )?,
            cache_requests: make.counters("cache_requests_total", "Cache look-ups.", &["cache", "result"])?,
            cache_entries: make.gauges("cache_entries", "Cached entries.", &["cache"])?,
            upstream_requests: make.counters(
                "upstream_requests_total",
                "Requests sent to an upstream server.",
                &["upstream", "result"],
            )?,
            upstream_healthy: make.gauges("upstream_healthy", "Whether a server is used.", &["upstream"])?,
            upgrades_open: make.gauge("upgrades_open", "Open WebSockets.")?,
            upgrades: make.counters("upgrades_total", "WebSockets that have ended, and how.", &["end"])?,
            config_last_reload_successful: make.gauge(
                "config_last_reload_successful",
                "Whether the last reload took effect.",
            )?,
            config_last_reload_success_timestamp: make.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When a reload last took effect.",
            )?,
            config_info: make.gauges("config_info", "What is in force.", &["generation", "hash"])?,
            certificate_expiry: make.gauges(
                "certificate_expiry_timestamp_seconds",
                "When a certificate ends.",
                &["role"],
            )?,
            revocations: make.gauges("revocations", "Entries about revoked tokens.", &["source"])?,
            revocations_last_load_successful: make.gauge(
                "revocations_last_load_successful",
                "Whether the last list of revoked tokens was taken.",
            )?,
            revocations_last_load_timestamp: make.gauge(
                "revocations_last_load_success_timestamp_seconds",
                "When a list of revoked tokens was last taken.",
            )?,
            tls_handshakes: make.counters("tls_handshakes_total", "TLS handshakes.", &["result"])?,
            proxy_headers: make.counters("proxy_headers_total", "PROXY headers.", &["result"])?,
            definition_fetches: make.counters(
                "definition_fetches_total",
                "Questions to a tenant about definitions that are followed.",
                &["result"],
            )?,
            definitions_last_success: make.gauge(
                "definitions_last_success_timestamp_seconds",
                "When definitions that are followed were last told.",
            )?,
            access_log_dropped: make.counter(
                "access_log_dropped_total",
                "Access-log records dropped because the writer was behind.",
            )?,
            access_log_suppressed: make.counters(
                "access_log_suppressed_total",
                "Access-log records of refused requests left out because there were too many of a reason.",
                &["reason"],
            )?,
            authority_token_requests: make.counters(
                "authority_token_requests_total",
                "Requests for tokens at the authority.",
                &["grant_type", "result"],
            )?,
            reasons,
            registry: registry.clone(),
        };
        make.build_info()?;
        register_process(registry)?;
        for stage in Stage::ALL {
            metrics.stage(stage);
        }
        for source in ["file", "pushed"] {
            metrics.revocations.with_label_values(&[source]);
        }
        for end in TunnelEnd::ALL {
            metrics.upgrade_ended(end);
        }
        Ok(metrics)
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// A family without a name or a sample; none of ours.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Counters of one route, to be made when a snapshot is made. `route` is the pattern.
    pub fn route(&self, api: &str, route: &str) -> RouteMetrics {
        RouteMetrics::new(self, self.reasons, api, route)
    }

    /// The timer of a stage. Resolve it once.
    pub fn stage(&self, stage: Stage) -> Histogram {
        self.auth_duration.with_label_values(&[stage.label()])
    }

    /// Connections that ended like this; the words are those of `net::ConnectionEnd`.
    pub fn connection_errors(&self, kind: &'static str) -> IntCounter {
        self.connection_errors.with_label_values(&[kind])
    }

    /// Counters of one cache: `token`, `refused_token`.
    pub fn cache(&self, cache: &'static str) -> CacheMetrics {
        CacheMetrics {
            hits: self.cache_requests.with_label_values(&[cache, "hit"]),
            misses: self.cache_requests.with_label_values(&[cache, "miss"]),
            entries: self.cache_entries.with_label_values(&[cache]),
        }
    }

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

    /// Access-log records of refused requests that were left out, by reason, in the order of the closed list.
    pub fn access_log_suppressed(&self) -> impl Iterator<Item = (&'static str, IntCounter)> {
        let counter = |reason| self.access_log_suppressed.with_label_values(&[reason]);
        self.reasons.iter().map(move |&reason| (reason, counter(reason)))
    }

    /// Tunnels that ended like this.
    pub fn upgrade_ended(&self, end: TunnelEnd) -> IntCounter {
        self.upgrades.with_label_values(&[end.label()])
    }

    /// Whether requests go to a server of this name.
    pub fn upstream_is_healthy(&self, upstream: &str, is_healthy: bool) {
        self.upstream_healthy
            .with_label_values(&[upstream])
            .set(i64::from(is_healthy));
    }

    /// Unix time in seconds at which the certificate of this role (`server`, `client_ca`) ends.
    pub fn certificate_expiry(&self, role: &'static str) -> IntGauge {
        self.certificate_expiry.with_label_values(&[role])
    }

    /// What is in force from now on; replaces the former series.
    pub fn config_in_force(&self, generation: u64, hash: &str) {
        self.config_info.reset();
        self.config_info
            .with_label_values(&[&*generation.to_string(), hash])
            .set(1);
    }

    /// Drops the series of routes and APIs that are gone: those whose (api, route) is not listed.
    pub fn retain_routes(&self, routes: &HashSet<(&str, &str)>) {
        drop_series(&self.decisions, |label: Labels<'_>| {
            !routes.contains(&(label.get("api"), label.get("route")))
        });
        let apis: HashSet<&str> = routes.iter().map(|(api, _)| *api).collect();
        let is_gone = |label: Labels<'_>| !apis.contains(label.get("api"));
        drop_series(&self.exchanges, is_gone);
        drop_series(&self.exchange_breaker, is_gone);
        let patterns: HashSet<&str> = routes.iter().map(|(_, route)| *route).collect();
        // Requests without a route have the empty pattern.
        drop_series(&self.requests, |label: Labels<'_>| {
            !label.get("route").is_empty() && !patterns.contains(label.get("route"))
        });
    }

    /// Drops the series of issuers that are gone.
    pub fn retain_issuers(&self, issuers: &HashSet<&str>) {
        let is_gone = |label: Labels<'_>| !issuers.contains(label.get("issuer"));
        drop_series(&self.jwks_fetches, is_gone);
        drop_series(&self.jwks_unknown_kid, is_gone);
        drop_series(&self.jwks_last_success, is_gone);
        drop_series(&self.jwks_keys, is_gone);
        drop_series(&self.introspection_requests, is_gone);
        drop_series(&self.introspection_breaker, is_gone);
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

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::telemetry::{Decision, Source};

    const REASONS: &[&str] = &["ok", "missing_token", "expired"];

    fn metrics() -> Metrics {
        Metrics::new(&Registry::new(), REASONS).unwrap()
    }

    #[test]
    fn names_and_labels_are_the_contract() {
        let metrics = metrics();
        let route = metrics.route("https://items", "/items/{id}");
        route.decided(Decision::Deny, 1);
        route.answered(&Method::GET, 401, Source::Gateway);
        metrics.issuer("https://issuer/").fetches("timeout").inc();
        metrics.introspection("https://issuer/");
        metrics.exchange("https://items");
        metrics.cache("token");
        metrics.upstream("127.0.0.1:3000");
        metrics.upstream_is_healthy("127.0.0.1:3000", true);
        metrics.connection_errors("slow_head");
        metrics.certificate_expiry("server");
        metrics.tls_handshakes.with_label_values(&["ok"]);
        metrics.proxy_headers.with_label_values(&["untrusted"]);
        metrics.definition_fetches.with_label_values(&["ok"]);
        metrics
            .authority_token_requests
            .with_label_values(&["client_credentials", "ok"]);
        metrics.config_in_force(7, "abc");
        metrics.access_log_suppressed().for_each(drop);
        let text = metrics.encode().unwrap();
        for line in GOLDEN.trim().lines() {
            assert!(text.lines().any(|found| found == line), "missing: {line}\n{text}");
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            assert!(
                name.starts_with("scopegate_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        }
    }

    const GOLDEN: &str = r#"
scopegate_auth_decisions_total{api="https://items",decision="allow",reason="ok",route="/items/{id}"} 0
scopegate_auth_decisions_total{api="https://items",decision="deny",reason="missing_token",route="/items/{id}"} 1
# TYPE scopegate_auth_duration_seconds histogram
scopegate_auth_duration_seconds_bucket{stage="decide",le="0.000001"} 0
scopegate_auth_duration_seconds_count{stage="verify"} 0
scopegate_http_requests_total{code="401",method="GET",route="/items/{id}",source="gateway"} 1
# TYPE scopegate_http_request_duration_seconds histogram
scopegate_http_requests_in_flight 0
scopegate_connections_refused_total 0
scopegate_connection_errors_total{kind="slow_head"} 0
scopegate_memory_pressure 0
scopegate_panics_total 0
scopegate_jwks_fetches_total{issuer="https://issuer/",result="success"} 0
scopegate_jwks_fetches_total{issuer="https://issuer/",result="timeout"} 1
# TYPE scopegate_jwks_fetch_duration_seconds histogram
scopegate_jwks_last_success_timestamp_seconds{issuer="https://issuer/"} 0
scopegate_jwks_keys{issuer="https://issuer/"} 0
scopegate_jwks_unknown_kid_total{action="cooldown",issuer="https://issuer/"} 0
scopegate_introspection_requests_total{issuer="https://issuer/",result="active"} 0
# TYPE scopegate_introspection_duration_seconds histogram
scopegate_introspection_breaker{issuer="https://issuer/"} 0
scopegate_api_key_exchanges_total{api="https://items",result="granted"} 0
# TYPE scopegate_api_key_exchange_duration_seconds histogram
scopegate_api_key_exchange_breaker{api="https://items"} 0
scopegate_cache_requests_total{cache="token",result="hit"} 0
scopegate_cache_entries{cache="token"} 0
scopegate_upstream_requests_total{result="connect",upstream="127.0.0.1:3000"} 0
scopegate_upstream_healthy{upstream="127.0.0.1:3000"} 1
scopegate_config_last_reload_successful 0
scopegate_config_last_reload_success_timestamp_seconds 0
scopegate_config_info{generation="7",hash="abc"} 1
scopegate_certificate_expiry_timestamp_seconds{role="server"} 0
scopegate_revocations{source="file"} 0
scopegate_revocations{source="pushed"} 0
scopegate_revocations_last_load_successful 0
scopegate_revocations_last_load_success_timestamp_seconds 0
scopegate_tls_handshakes_total{result="ok"} 0
scopegate_proxy_headers_total{result="untrusted"} 0
scopegate_build_info{version="0.1.0"} 1
scopegate_access_log_dropped_total 0
scopegate_definition_fetches_total{result="ok"} 0
scopegate_definitions_last_success_timestamp_seconds 0
scopegate_access_log_suppressed_total{reason="expired"} 0
scopegate_authority_token_requests_total{grant_type="client_credentials",result="ok"} 0
scopegate_upgrades_open 0
scopegate_upgrades_total{end="expired"} 0
# TYPE process_cpu_seconds_total counter
# TYPE process_open_fds gauge
"#;

    #[test]
    fn what_is_gone_leaves_no_series() {
        let metrics = metrics();
        for route in ["/a", "/b"] {
            let route = metrics.route("api", route);
            route.decided(Decision::Allow, 0);
            route.answered(&Method::GET, 200, Source::Upstream);
        }
        metrics.route("", "").answered(&Method::GET, 404, Source::Gateway);
        metrics.issuer("https://a/");
        metrics.issuer("https://b/");
        metrics.introspection("https://a/");
        metrics.exchange("gone");
        metrics.retain_routes(&HashSet::from([("api", "/b")]));
        metrics.retain_issuers(&HashSet::from(["https://b/"]));
        metrics.config_in_force(1, "x");
        metrics.config_in_force(2, "y");
        let text = metrics.encode().unwrap();
        assert!(
            !text.contains("\"/a\"")
                && !text.contains("https://a/")
                && !text.contains("\"gone\"")
                && !text.contains("hash=\"x\""),
            "{text}"
        );
        assert!(
            text.contains("\"/b\"") && text.contains("https://b/") && text.contains("code=\"404\""),
            "{text}"
        );
        // A handle that outlived its series counts into nothing, and a new one begins at 0.
        metrics.route("api", "/a");
        assert!(
            metrics
                .encode()
                .unwrap()
                .contains("reason=\"ok\",route=\"/a\"} 0")
        );
    }
}
