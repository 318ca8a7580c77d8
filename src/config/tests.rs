//! Tests of whole configurations, without a disk and without an environment.

mod api_keys;
#[cfg(feature = "authority")]
mod authority;
mod anything;
mod definitions;
mod encryption;
mod faults;
mod introspection;
mod issuers;
mod listeners;
mod proofs;
mod revocations;
mod routes;
mod tokens;

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::control::KeySource;
use crate::policy::{Conditions, Machines, Mode, OnExpiry, PathForm, RequirementPlan, StepUp, Upgrade};
use crate::snapshot::{Preflight, ServerAddress, TokenForwarding};
use crate::telemetry::AccessLogOutput;

const ISSUER: &str = "https://tenant.eu.auth0.com/";
const ITEMS: &str =
    r#"{"identifier": "urn:items", "scopes": [{"value": "read:items"}, {"value": "write:items"}]}"#;
const GOOD_SECRET: &str = "kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1S";

#[derive(Default)]
struct Memory {
    files: HashMap<PathBuf, Vec<u8>>,
    variables: HashMap<String, String>,
}

impl Memory {
    fn with(config: &str) -> Self {
        Self::default()
            .file("etc/gate.yaml", config)
            .file("etc/items.json", ITEMS)
    }

    fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn load(&self) -> Result<Settings, Faults> {
        load_with(Path::new("etc/gate.yaml"), self)
    }

    fn faults(&self) -> Vec<String> {
        self.load().unwrap_err().iter().map(ToString::to_string).collect()
    }
}

impl Sources for Memory {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}

/// A configuration of one API; `api` are further lines of it, `routes` its routes.
fn one_api(api: &str, routes: &[&str]) -> String {
    let mut config = format!(
        "listeners: [{{address: 127.0.0.1:8080}}]\nissuers: [{{issuer: '{ISSUER}'}}]\napis:\n  - definition: items.json\n    upstream: http://127.0.0.1:3000\n"
    );
    for line in api.lines() {
        config.push_str(&format!("    {line}\n"));
    }
    config.push_str("    routes:\n");
    for route in routes {
        config.push_str(&format!("      - {route}\n"));
    }
    config
}

const ROUTE: &str = "{path: /items, require: read:items}";

/// Loads a file whose last lines are given, on top of what every file needs.
fn top(lines: &str) -> Memory {
    Memory::with(&format!("{}{lines}\n", one_api("", &[ROUTE])))
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let settings = top("").load().unwrap();
    assert_eq!(settings.admin, Some("127.0.0.1:9901".parse().unwrap()));
    assert_eq!((settings.workers, settings.token_cache_entries), (None, 10_000));
    assert_eq!(
        (&settings.limits, &settings.timeouts),
        (&Limits::default(), &Timeouts::default())
    );
    assert_eq!(settings.access_log, AccessLogSettings::default());
    assert_eq!(settings.issuers[0].source, Some(KeySource::Discovery));
    let api = &settings.plan.apis[0];
    assert_eq!(
        (api.leeway, api.max_age, api.mode),
        (Duration::from_secs(10), None, Mode::Enforce)
    );
    assert_eq!(api.upstream.servers, [ServerAddress::tcp("127.0.0.1", 3000)]);
    assert_eq!(api.upstream.timeout, Duration::from_secs(15));
    assert_eq!(api.issuers, [ISSUER.into()]);
    assert_eq!(
        settings.files,
        [PathBuf::from("etc/gate.yaml"), PathBuf::from("etc/items.json")]
    );
    assert_eq!(settings.hash.len(), 64);
}

#[test]
fn every_setting_arrives() {
    let config = format!(
        r#"
listeners:
  - {{address: "127.0.0.1:0", http2: true}}
  - {{address: "[::1]:8443"}}
admin: off
workers: 3
issuers:
  - {{issuer: "{ISSUER}", jwks_uri: https://keys.example/jwks, jwks: {{ttl: 5m, max_stale: 1h, cooldown: 10s, timeout: 2s, ca: ca.pem}}}}
  - {{issuer: "http://localhost:9000/", jwks_inline: {{keys: [{{kty: RSA, n: AQAB, e: AQAB}}]}}}}
apis:
  - definition: items.json
    issuers: ["{ISSUER}"]
    hosts: [Items.Example.com]
    public_url: https://items.example.com/
    mode: report
    leeway: 0s
    max_age: 1h
    step_up: {{acr: [silver], machines: include}}
    upstream: {{servers: ["http://items", "http://[::1]:3001/"], connect_timeout: 500ms, timeout: 1m, idle_timeout: 5m}}
    forward: {{token: strip, identity_headers: {{X-Auth-Subject: sub}}}}
    cors_preflight: forward
    routes:
      - {{path: /a, methods: [GET, PURGE], require: [read:items, write:items], mode: enforce, timeout: 1s, max_body: 1GiB, idle_timeout: 1d, upgrade: [websocket], on_expiry: continue, allow: [encoded_slash]}}
      - {{path: /b, require: public}}
      - {{path: /c, require: authenticated}}
      - path: /d
        require:
          any_of: [read:items, write:items]
          claims: {{org_id: [org_1, org_2], level: 7, vip: true}}
          clients: [c1]
          step_up: {{within: 15m, methods: [mfa], acr: [gold]}}
limits: {{header_bytes: 64KiB, headers: 200, uri_bytes: 16KiB, token_bytes: 24KiB, body_bytes: 1MiB, connections: 100000, connections_per_address: 100, requests_per_connection: 1000000000, body_rate: 0B, response_rate: 1MiB, http2_resets: 100000, http2_streams: 250, upstream_connections: 1}}
timeouts: {{first_byte: 1s, header: 60s, idle: 2s, connection_age: 30d, body: 3s, stream_idle: 1h, drain: 4s, pre_drain: 0s}}
token_cache: {{entries: 0}}
access_log: {{output: logs/access.json, identities: plain}}
"#
    );
    let certified = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    let settings = Memory::with(&config)
        .file("etc/ca.pem", certified.cert.pem())
        .load()
        .unwrap();
    assert_eq!(
        (settings.admin, settings.workers, settings.token_cache_entries),
        (None, NonZeroUsize::new(3), 0)
    );
    assert!(settings.listeners[0].http2 && !settings.listeners[1].http2);
    assert_eq!(
        settings.issuers[0].source,
        Some(KeySource::Uri("https://keys.example/jwks".into()))
    );
    assert_eq!(settings.issuers[0].jwks.ca, Some("etc/ca.pem".into()));
    assert!(matches!(&settings.issuers[1].source, Some(KeySource::Inline(set)) if set.contains("AQAB")));
    assert_eq!(
        settings.access_log.output,
        AccessLogOutput::File("etc/logs/access.json".into())
    );
    assert_eq!(settings.limits.upstream_connections, 1);
    assert_eq!(
        (
            settings.limits.connections_per_address,
            settings.limits.requests_per_connection,
            settings.limits.body_rate,
            settings.limits.response_rate,
            settings.limits.http2_resets
        ),
        (Some(100), 1_000_000_000, 0, 1 << 20, 100_000)
    );
    assert_eq!(settings.timeouts.connection_age, Duration::from_secs(30 * 86_400));
    assert_eq!(settings.timeouts.header, Duration::from_secs(60));
    let api = &settings.plan.apis[0];
    assert_eq!(
        (api.hosts[0].as_str(), api.public_url.as_deref()),
        ("items.example.com", Some("https://items.example.com"))
    );
    assert_eq!(
        (api.leeway, api.max_age),
        (Duration::ZERO, Some(Duration::from_secs(3600)))
    );
    assert_eq!(
        api.upstream.servers,
        [ServerAddress::tcp("items", 80), ServerAddress::tcp("::1", 3001)]
    );
    assert_eq!(
        (api.forward.token, api.forward.cors_preflight),
        (TokenForwarding::Strip, Preflight::Forward)
    );
    assert_eq!(api.forward.identity_headers[0].name, "x-auth-subject");
    let routes = &api.routes;
    assert_eq!(
        (routes[0].mode, routes[0].max_body),
        (Some(Mode::Enforce), Some(1 << 30))
    );
    assert_eq!(
        (routes[0].idle_timeout, routes[0].upgrade, routes[0].on_expiry),
        (
            Some(Duration::from_secs(86_400)),
            Some(Upgrade::WebSocket),
            OnExpiry::Continue
        )
    );
    assert_eq!((routes[1].upgrade, routes[1].on_expiry), (None, OnExpiry::Close));
    assert_eq!(settings.timeouts.stream_idle, Duration::from_secs(3600));
    assert_eq!(
        (routes[0].methods.len(), routes[0].allow.as_slice()),
        (2, &[PathForm::EncodedSlash][..])
    );
    assert_eq!(routes[1].require, RequirementPlan::Public);
    let of_the_api = StepUp {
        acr: vec!["silver".into()],
        machines: Machines::Include,
        ..StepUp::default()
    };
    let authenticated = Conditions {
        step_up: Some(of_the_api),
        ..Conditions::default()
    };
    assert_eq!(routes[2].require, RequirementPlan::Token(authenticated));
    let RequirementPlan::Token(conditions) = &routes[3].require else {
        panic!()
    };
    assert_eq!(conditions.claims[1].values, ["7"]);
    assert_eq!(conditions.claims[2].values, ["true"]);
    assert_eq!(
        conditions.step_up.as_ref().unwrap().within,
        Some(Duration::from_secs(900))
    );
    // All of it can be shown.
    let shown = redacted(&settings);
    assert_eq!(
        shown["apis"][0]["routes"][3]["require"]["claims"]["org_id"][1],
        "org_2"
    );
    assert_eq!(
        shown["apis"][0]["routes"][2]["require"]["step_up"],
        serde_json::json!({"within": null, "methods": [], "acr": ["silver"], "match": "all", "machines": "include"})
    );
    assert_eq!(shown["apis"][0]["upstream"]["servers"][1], "http://[::1]:3001");
    assert_eq!(shown["limits"]["header_bytes"], "64KiB");
}

/// `lines` at the end of a good file make exactly this fault.
#[track_caller]
fn bad_top(lines: &str, fault: &str) {
    let faults = top(lines).faults();
    assert!(
        faults.len() == 1 && faults[0].contains(fault),
        "{lines}: {faults:#?}"
    );
}

/// `api` lines of a good API make exactly this fault.
#[track_caller]
fn bad_api(api: &str, fault: &str) {
    let faults = Memory::with(&one_api(api, &[ROUTE])).faults();
    assert!(
        faults.len() == 1 && faults[0].contains(fault),
        "{api}: {faults:#?}"
    );
}

/// `route` beside a good one makes exactly this fault.
#[track_caller]
fn bad_route(route: &str, fault: &str) {
    let faults = Memory::with(&one_api("", &[ROUTE, route])).faults();
    assert!(
        faults.len() == 1 && faults[0].contains(fault),
        "{route}: {faults:#?}"
    );
}

#[test]
fn the_hash_follows_every_file() {
    let hash = |memory: Memory| memory.load().unwrap().hash;
    let same = hash(top(""));
    assert_eq!(hash(top("")), same);
    assert_ne!(hash(top("# a comment")), same);
    assert_ne!(hash(top("").file("etc/items.json", format!("{ITEMS} "))), same);
}
