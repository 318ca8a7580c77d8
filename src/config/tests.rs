//! Tests of whole configurations, without a disk and without an environment.

#[cfg(feature = "authority")]
mod api_keys;
mod authority;
mod encryption;
mod introspection;
mod issuers;
mod listeners;
mod tokens;
mod revocations;

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

#[test]
fn six_faults_are_six_lines() {
    let config = format!(
        "listeners:\n  - address: localhost:8080\n    tsl: {{}}\nissuers:\n  - issuer: '{ISSUER}'\n    jwsk: {{}}\napis:\n  - definition: items.json\n    upstream: http://127.0.0.1:3000\n    leeway: 10\n    routes:\n      - {{path: /a, require: read:item}}\n      - {{path: '/b/{{x}}', methods: [get], require: authenticated}}\n"
    );
    assert_eq!(
        Memory::with(&config).load().unwrap_err().to_string(),
        "etc/gate.yaml:2:14: `address` cannot be `localhost:8080` (write 127.0.0.1:8080)\n\
         etc/gate.yaml:3:5: unknown key `tsl` (known here: address, http2, proxy_protocol, tls)\n\
         etc/gate.yaml:6:5: unknown key `jwsk` (did you mean `jwks`?)\n\
         etc/gate.yaml:10:13: `leeway` must be a duration, not a whole number \
         (a whole number with ms, s, m, h or d, such as 15m)\n\
         etc/gate.yaml:12:29: `read:item` is not a permission of `urn:items` (did you mean `read:items`?)\n\
         etc/gate.yaml:13:36: no client sends the method `get` (did you mean `GET`?)"
    );
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
fn faults_at_the_top() {
    bad_top("limit: {}", "unknown key `limit` (did you mean `limits`?)");
    bad_top("admin: on", "`admin` cannot be `on` (one of: off)");
    bad_top("admin: {address: 127.0.0.1:8080}", "collide");
    bad_top("workers: 0", "`workers` is 0; it must be 1 to 1024");
    bad_top("workers: two", "`workers` must be a whole number, not text");
    bad_top("workers:", "`workers` must be a whole number, not nothing");
    bad_top("limits: {headers: 201}", "`headers` is 201; it must be 1 to 200");
    bad_top(
        "limits: {header_bytes: 65KiB}",
        "`header_bytes` is 65KiB; it must be 1KiB to 64KiB",
    );
    bad_top(
        "limits: {header_bytes: 8KiB, token_bytes: 9KiB}",
        "`token_bytes` is more than `header_bytes`",
    );
    bad_top(
        "limits: {body_bytes: 10MB}",
        "`body_bytes` must be a size, not `10MB` (a whole number with B, KiB",
    );
    bad_top("limits: {body_bytes: 0B}", "`body_bytes` is 0B");
    bad_top("limits: []", "`limits` must be a mapping, not a list");
    bad_top(
        "timeouts: {header: 61s}",
        "`header` is 61s; it must be 10ms to 1m",
    );
    bad_top("timeouts: {idle: 0s}", "`idle` is 0s");
    bad_top("access_log: {output: ''}", "`output` must not be empty");
    bad_top(
        "access_log: {identities: hash}",
        "`identities` cannot be `hash` (did you mean `hashed`?)",
    );
    bad_top(
        "token_cache: {entries: -1}",
        "`entries` is -1; that is out of range",
    );
    let missing = Memory::with("{}").faults();
    let keys = ["listeners", "issuers", "apis"];
    assert_eq!(missing.len(), 3);
    assert!(
        keys.iter()
            .all(|key| missing.contains(&format!("etc/gate.yaml:1:1: `{key}` is missing")))
    );
    assert_eq!(Memory::with("").faults().len(), 1);
    assert_eq!(
        Memory::default().faults(),
        ["etc/gate.yaml: cannot read etc/gate.yaml: there is no such file"]
    );
    let huge = Memory::default().file("etc/gate.yaml", vec![b'#'; (4 << 20) + 1]);
    assert_eq!(
        huge.faults(),
        ["etc/gate.yaml: etc/gate.yaml is larger than 4MiB"]
    );
    assert_eq!(
        Memory::default().file("etc/gate.yaml", [0xff]).faults(),
        ["etc/gate.yaml: etc/gate.yaml is not UTF-8"]
    );
}

#[test]
fn faults_of_listeners() {
    let with = |listeners: &str| {
        let config = one_api("", &[ROUTE]).replace("[{address: 127.0.0.1:8080}]", listeners);
        Memory::with(&config).faults()
    };
    assert!(with("[]")[0].contains("`listeners` must not be empty"));
    assert!(with("[{}]")[0].contains("`address` is missing"));
    assert!(with("[{address: 0.0.0.0:80}, {address: 127.0.0.1:80}]")[0].contains("already taken"));
    assert!(
        with("[{address: 127.0.0.1:80, http2: yes}]")[0].contains("`http2` must be true or false, not text")
    );
    assert!(with("[{address: 127.0.0.1:9901}]")[0].contains("collide"));
    assert!(with("[{address: 0.0.0.0:3000}]")[0].contains("round in circles"));
}

#[test]
fn faults_of_issuers() {
    let with = |issuers: &str| {
        let config = one_api("", &[ROUTE]).replace(&format!("[{{issuer: '{ISSUER}'}}]"), issuers);
        let faults = Memory::with(&config)
            .file("etc/keys.json", "{\"keys\": []}")
            .faults();
        assert_eq!(faults.len(), 1, "{faults:#?}");
        faults.concat()
    };
    for (issuers, fault) in [
        (
            "[{issuer: tenant.eu.auth0.com}]",
            "`issuer` must begin with https:// or http://",
        ),
        (
            "[{issuer: 'http://tenant.eu.auth0.com/'}]",
            "`issuer` must begin with https:// (whoever",
        ),
        ("[{issuer: 'https://a/?b'}]", "`issuer` must not have a query"),
        (
            "[{issuer: 'https://a/'}, {issuer: 'https://a/'}]",
            "issuer `https://a/` is already named at etc/gate.yaml:2:20",
        ),
        (
            "[{issuer: 'https://a/', jwks_uri: 'http://a/b'}]",
            "`jwks_uri` must begin with https://",
        ),
        (
            "[{issuer: 'https://a/', jwks_uri: 'https://a/b', jwks_inline: {keys: [{kty: RSA}]}}]",
            "only one of",
        ),
        (
            "[{issuer: 'https://a/', jwks_file: none.json}]",
            "cannot read etc/none.json",
        ),
        (
            "[{issuer: 'https://a/', jwks_file: keys.json}]",
            "etc/keys.json:1:1: a key set is",
        ),
        (
            "[{issuer: 'https://a/', jwks_inline: {keys: [{kty: oct, k: hush}]}}]",
            "symmetric key",
        ),
        (
            "[{issuer: 'https://a/', jwks: {ttl: 2h}}]",
            "`ttl` is 2h; it must be 1s to 1h",
        ),
        (
            "[{issuer: 'https://a/', jwks: {ttl: 10m, max_stale: 1m}}]",
            "`max_stale` must not be less than `ttl`",
        ),
        (
            "[{issuer: 'https://a/', jwks: {ca: items.json}}]",
            "items.json is not a file of PEM certificates",
        ),
    ] {
        let found = with(issuers);
        assert!(found.contains(fault), "{issuers}: {found}");
    }
    let allowed = "[{issuer: 'http://idp.internal/', jwks: {allow_http: true}}]";
    let config = one_api("", &[ROUTE]).replace(&format!("[{{issuer: '{ISSUER}'}}]"), allowed);
    assert!(Memory::with(&config).load().is_ok());
    let many: String = (0..65).map(|n| format!("{{issuer: 'https://i{n}/'}},")).collect();
    assert!(with(&format!("[{many}]")).contains("there are 65 issuers; the most is 64"));
}

#[test]
fn faults_of_apis() {
    bad_api(
        "issuers: ['https://tenant.eu.auth0.com']",
        "did you mean `https://tenant.eu.auth0.com/`?",
    );
    bad_api("issuers: []", "`issuers` must not be empty");
    bad_api("hosts: ['*.example.com']", "wildcard");
    bad_api("hosts: [a.example, A.example]", "`a.example` is twice in `hosts`");
    bad_api(
        "public_url: items.example.com",
        "`public_url` must begin with https:// or http://",
    );
    bad_api(
        "mode: enforced",
        "`mode` cannot be `enforced` (did you mean `enforce`?)",
    );
    bad_api("leeway: 6m", "`leeway` is 6m; it must be 0s to 5m");
    bad_api("max_age: 0s", "`max_age` is 0s");
    bad_api(
        "openapi: openapi.yaml",
        "`openapi` is not supported by this version",
    );
    bad_api("decryption_keys: []", "`decryption_keys` must not be empty");
    bad_api("decryption_keys: [a]", "`decryption_keys` must refer to a secret");
    bad_api(
        "accept_unencrypted: true",
        "`accept_unencrypted` is only for APIs with `decryption_keys`",
    );
    bad_api("forward: {token: drop}", "`token` cannot be `drop`");
    for header in [
        "Authorization",
        "Host",
        "content-length",
        "Connection",
        "X-Forwarded-For",
        "Cookie",
        "TE",
    ] {
        bad_api(
            &format!("forward: {{identity_headers: {{{header}: sub}}}}"),
            "has a meaning of its own",
        );
    }
    bad_api(
        "forward: {identity_headers: {X_Sub: sub}}",
        "must not contain `_`",
    );
    bad_api(
        "forward: {identity_headers: {X-Sub: sub, x-sub: sub}}",
        "is there twice",
    );
    bad_api(
        "forward: {identity_headers: {'X Sub': sub}}",
        "is not a header name",
    );
    bad_api(
        "forward: {identity_headers: {X-Sub: ''}}",
        "`X-Sub` must not be empty",
    );
    for (upstream, fault) in [
        ("ftp://items", "must begin with https:// or http://"),
        ("http://items/api", "must not have a path"),
        ("items:3000", "(http://host:port, https://host:port or unix:PATH)"),
        ("http://127.0.0.1:9901", "is the admin listener"),
        ("http://localhost:8080", "round in circles"),
        ("{servers: [http://a, http://a:80]}", "is twice in `servers`"),
        (
            "{servers: [http://a], tls: {}}",
            "`tls` is of use with https:// servers only",
        ),
        ("{server: [http://a]}", "`servers` is missing"),
        (
            "[http://a]",
            "`upstream` must be an address or a mapping, not a list",
        ),
    ] {
        let config = one_api("", &[ROUTE]).replace("http://127.0.0.1:3000", upstream);
        let faults = Memory::with(&config).faults();
        assert!(
            faults.iter().any(|found| found.contains(fault)),
            "{upstream}: {faults:#?}"
        );
    }
}

#[test]
fn faults_of_routes() {
    bad_route("{path: items, require: public}", "`path` cannot be `items`");
    bad_route("{path: /a}", "`require` is missing");
    bad_route("{path: /a, require: publik}", "did you mean `public`?");
    bad_route(
        "{path: /a, require: [public]}",
        "`public` is not a permission of `urn:items`",
    );
    bad_route(
        "{path: /a, require: {}}",
        "the rule has no condition (write `authenticated`",
    );
    bad_route("{path: /a, require: []}", "`require` must not be empty");
    bad_route(
        "{path: /a, require: true}",
        "`require` must be a word, a list or a mapping",
    );
    bad_route(
        "{path: /a, require: {all: [read:items]}}",
        "did you mean `all_of`?",
    );
    bad_route("{path: /a, require: {claims: {}}}", "the rule has no condition");
    bad_route(
        "{path: /a, require: {claims: {n: 1.5}}}",
        "`n` must be text, a whole number, or true or false",
    );
    bad_route("{path: /a, require: {claims: {n: []}}}", "`n` must not be empty");
    bad_route("{path: /a, require: {step_up: {}}}", "`step_up` has no condition");
    bad_route(
        "{path: /a, require: {step_up: {machines: include}}}",
        "`step_up` has no condition",
    );
    bad_route(
        "{path: /a, require: {step_up: {acr: [gold], match: any}}}",
        "`match: any` needs both `methods` and `acr`",
    );
    bad_route(
        "{path: /a, require: {step_up: require_2FA}}",
        "did you mean `require_2fa`?",
    );
    bad_route(
        "{path: /a, require: {step_up: 15}}",
        "`step_up` must be a word or a mapping",
    );
    bad_route(
        "{path: /a, require: [read:items, read:items]}",
        "`read:items` is twice in `require`",
    );
    bad_route(
        "{path: /a, require: public, methods: [CONNECT]}",
        "method CONNECT is never forwarded",
    );
    bad_route(
        "{path: /a, require: public, methods: [trace]}",
        "method TRACE is never forwarded",
    );
    bad_route(
        "{path: /a, require: public, methods: [GET, GET]}",
        "`GET` is twice in `methods`",
    );
    bad_route(
        "{path: /a, require: public, methods: ['G T']}",
        "`G T` is not a method",
    );
    bad_route(
        "{path: /a, require: public, allow: [encoded_slashes]}",
        "did you mean `encoded_slash`?",
    );
    bad_route(
        "{path: /a, require: public, upgrade: [h2c]}",
        "cannot be `h2c` (one of: websocket)",
    );
    bad_route("{path: /a, require: public, max_body: 0B}", "`max_body` is 0B");
    bad_route(
        "{path: /items, require: public}",
        "`/items` is already routed at etc/gate.yaml:7:16",
    );
}

#[test]
fn equal_routes_are_found_whatever_their_parameters_are_called() {
    let faults = |routes: &[&str]| {
        Memory::with(&one_api("", routes))
            .load()
            .map_or_else(|faults| faults.iter().count(), |_| 0)
    };
    let id = "{path: '/items/{id}', methods: [GET, PUT], require: public}";
    assert_eq!(
        faults(&[id, "{path: '/items/{name}', methods: [PUT], require: public}"]),
        1
    );
    assert_eq!(
        faults(&[id, "{path: '/items/{name}', methods: [POST], require: public}"]),
        0
    );
    assert_eq!(
        faults(&[id, "{path: '/items/{name}', require: public}"]),
        0,
        "any method is less specific"
    );
    assert_eq!(
        faults(&[id, "{path: '/items/{*rest}', methods: [PUT], require: public}"]),
        0
    );
    assert_eq!(
        faults(&[
            "{path: '/a/{*x}', require: public}",
            "{path: '/a/{*y}', require: public}"
        ]),
        1
    );
}

#[test]
fn equal_routes_of_two_apis_are_equal_only_on_a_common_host() {
    let two = |first: &str, second: &str| {
        let api = |hosts: &str| {
            format!("  - {{definition: items.json, upstream: 'http://a', {hosts} routes: [{ROUTE}]}}\n")
        };
        let config = one_api("", &[ROUTE]);
        let head = config.split("  - definition").next().unwrap();
        Memory::with(&format!("{head}{}{}", api(first), api(second)))
            .load()
            .is_ok()
    };
    assert!(two("hosts: [a.example],", "hosts: [b.example],"));
    assert!(two("hosts: [a.example],", ""));
    assert!(!two("", ""));
    assert!(!two("hosts: [a.example],", "hosts: [b.example, A.example],"));
}

#[test]
fn permissions_called_like_a_word_are_reached_as_a_list() {
    let items = r#"{"identifier": "urn:items", "scopes": [{"value": "public"}, {"value": "authenticated"}]}"#;
    let routes = [
        "{path: /a, require: public}",
        "{path: /b, require: [public]}",
        "{path: /c, require: {any_of: [authenticated]}}",
    ];
    let settings = Memory::with(&one_api("", &routes))
        .file("etc/items.json", items)
        .load()
        .unwrap();
    let routes = &settings.plan.apis[0].routes;
    assert_eq!(routes[0].require, RequirementPlan::Public);
    let RequirementPlan::Token(conditions) = &routes[1].require else {
        panic!()
    };
    assert_eq!(conditions.all_of, ["public"]);
    let RequirementPlan::Token(conditions) = &routes[2].require else {
        panic!()
    };
    assert_eq!(conditions.any_of, ["authenticated"]);
}

#[test]
fn a_definition_at_fault_is_reported_in_its_own_file() {
    let items = "{\n  \"identifier\": \"urn:items\",\n  \"enforce_polices\": true,\n  \"scopes\": [{\"value\": \"openid\"}]\n}";
    let faults = Memory::with(&one_api("", &[ROUTE]))
        .file("etc/items.json", items)
        .faults();
    assert_eq!(
        faults,
        [
            "etc/items.json:3:3: unknown key `enforce_polices` (did you mean `enforce_policies`?)",
            "etc/items.json:4:24: permission `openid` is a reserved name (name what it permits, such as `read:openid`)",
        ]
    );
}

#[test]
fn proofs_are_for_an_address_that_must_be_known() {
    let load = |mechanism: &str, required: bool, rest: &str| {
        let items = format!(
            r#"{{"identifier": "urn:items", "proof_of_possession": {{"mechanism": "{mechanism}", "required": {required}}}}}"#
        );
        Memory::with(&one_api(rest, &["{path: /a, require: public}"])).file("etc/items.json", items)
    };
    for required in [true, false] {
        assert_eq!(
            load("dpop", required, "").faults(),
            [
                "etc/items.json:1:52: `proof_of_possession` with `dpop` needs `public_url`: proofs are for the address that clients see (set public_url beside `definition`)"
            ]
        );
        assert!(load("mtls", required, "").load().is_ok());
        let with_address = load("dpop", required, "public_url: https://items.example.com");
        assert!(with_address.load().is_ok());
    }
}

#[test]
fn how_proofs_are_taken() {
    let with = |text: &str| Memory::with(&format!("{text}\n{}", one_api("", &[ROUTE])));
    let settings =
        with("dpop: {max_age: 2m, max_ahead: 0s, proofs: 5, nonce_lifetime: 5m, nonce_secret: env:NONCE}")
            .variable("NONCE", "0123456789abcdef0123456789abcdef")
            .load()
            .unwrap();
    let proofs = &settings.dpop.proofs;
    assert_eq!(
        (
            proofs.max_age,
            proofs.max_ahead,
            proofs.entries,
            proofs.nonce_lifetime
        ),
        (
            Duration::from_secs(120),
            Duration::ZERO,
            5,
            Some(Duration::from_secs(300))
        )
    );
    let shown = redacted(&settings).to_string();
    assert!(shown.contains(r#""nonce_secret":"[redacted]""#), "{shown}");
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    let defaults = with("").load().unwrap().dpop;
    assert_eq!(defaults.proofs, crate::token::ProofSettings::default());
    assert!(defaults.nonce_secret.is_none());
    for (text, fault) in [
        ("dpop: {max_age: 0s}", "`max_age` is 0s; it must be"),
        ("dpop: {max_age: 11m}", "`max_age`"),
        ("dpop: {max_ahead: 6m}", "`max_ahead`"),
        ("dpop: {proofs: 0}", "`proofs`"),
        ("dpop: {nonce_lifetime: 1s}", "`nonce_lifetime`"),
        ("dpop: {nonce: 5m}", "unknown key `nonce`"),
        (
            "dpop: {nonce_secret: env:NONCE}",
            "`nonce_secret` is of no use without `nonce_lifetime`",
        ),
        (
            "dpop: {nonce_lifetime: 5m, nonce_secret: env:SHORT}",
            "the nonce secret has 5 bytes; it needs at least 32",
        ),
        (
            "client_certificate_field: client_cert",
            "`client_certificate_field` is read from trusted proxies only, and there are none",
        ),
        (
            "trusted_proxies: [10.0.0.0/8]\nclient_certificate_field: x_client",
            "`client_certificate_field` cannot be `x_client`",
        ),
    ] {
        let faults = with(text)
            .variable("NONCE", "0123456789abcdef0123456789abcdef")
            .variable("SHORT", "short")
            .faults();
        let is_told = faults.len() == 1 && faults[0].contains(fault);
        assert!(
            is_told || fault.ends_with("must be") && faults.len() == 1,
            "{text}: {faults:?}"
        );
    }
    let proxied = with("trusted_proxies: [10.0.0.0/8]\nclient_certificate_field: x_forwarded_client_cert");
    assert_eq!(
        proxied.load().unwrap().client_certificate_field,
        Some(crate::gateway::CertificateField::XForwardedClientCert)
    );
}

#[test]
fn an_api_comes_out_of_an_export() {
    let export =
        "rules: []\nresourceServers:\n  - identifier: https://orders/\n    scopes: [{value: read:orders}]\n";
    let with = |identifier: &str| {
        let definition = format!("{{export: tenant/t.yaml, identifier: '{identifier}'}}");
        let config = one_api("", &["{path: /a, require: read:orders}"]).replace("items.json", &definition);
        Memory::with(&config).file("etc/tenant/t.yaml", export)
    };
    let settings = with("https://orders/").load().unwrap();
    assert_eq!(settings.plan.apis[0].definition.identifier, "https://orders/");
    assert_eq!(settings.files[1], PathBuf::from("etc/tenant/t.yaml"));
    let faults = with("https://orders").faults();
    assert_eq!(
        faults,
        [
            "etc/gate.yaml:4:53: no API of this export has the identifier `https://orders` (did you mean `https://orders/`?)"
        ]
    );
}

fn symmetric(alg: &str, secret: &str) -> Memory {
    let config = one_api(secret, &["{path: /a, require: authenticated}"]).replace(
        "items.json",
        &format!("{{identifier: 'urn:items', signing_alg: {alg}}}"),
    );
    Memory::with(&config)
        .variable("GOOD", GOOD_SECRET)
        .variable("SHORT", "kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1")
        .variable("SAMPLE", "your-256-bit-secret-your-256-bit-secret")
        .variable("EMPTY", "")
        .file("etc/key", format!("{GOOD_SECRET}\n"))
        .file("etc/key2", format!("{GOOD_SECRET}\r\n"))
}

#[test]
fn secrets_stand_elsewhere() {
    for reference in ["env:GOOD", "file:key", "file:key2"] {
        let settings = symmetric("HS256", &format!("signing_secret: {reference}"))
            .load()
            .unwrap();
        let api = &settings.plan.apis[0];
        assert_eq!(
            api.signing_secret.as_ref().unwrap().expose(),
            GOOD_SECRET.as_bytes()
        );
        assert_eq!(
            settings.issuers[0].source, None,
            "nothing is fetched for an HS* API"
        );
        assert!(!format!("{settings:?}").contains(GOOD_SECRET));
        assert!(!redacted(&settings).to_string().contains(GOOD_SECRET));
    }
    for (alg, secret, fault) in [
        (
            "HS256",
            "",
            "an API that is signed with HS256 needs `signing_secret`",
        ),
        (
            "HS256",
            "signing_secret: env:NONE",
            "the environment variable `NONE` is not set",
        ),
        ("HS256", "signing_secret: env:EMPTY", "is empty"),
        (
            "HS256",
            "signing_secret: env:SHORT",
            "the signing secret has 31 bytes; HS256 needs at least 32",
        ),
        (
            "HS384",
            "signing_secret: env:GOOD",
            "the signing secret has 32 bytes; HS384 needs at least 48",
        ),
        (
            "HS512",
            "signing_secret: env:GOOD",
            "the signing secret has 32 bytes; HS512 needs at least 64",
        ),
        ("HS256", "signing_secret: env:SAMPLE", "well-known sample"),
        ("HS256", "signing_secret: file:none", "cannot read etc/none"),
        (
            "RS256",
            "signing_secret: env:GOOD",
            "only for HS* APIs; this one is signed with RS256",
        ),
        (
            "HS256",
            "signing_secret: kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1S",
            "a secret is never written here",
        ),
        (
            "HS256",
            "signing_secret: 'env:a b'",
            "a secret is never written here",
        ),
    ] {
        let faults = symmetric(alg, secret).faults();
        assert!(
            faults.len() == 1 && faults[0].contains(fault),
            "{secret}: {faults:?}"
        );
        assert!(!faults[0].contains("Zt3mQ"), "{faults:?}");
    }
}

#[test]
fn a_definition_may_bring_its_secret() {
    let with = |secret: &str, lines: &str| {
        let alg = format!("HS256, signing_secret: '{secret}'");
        symmetric(&alg, lines)
    };
    assert!(with(GOOD_SECRET, "").load().is_ok());
    assert!(with(GOOD_SECRET, "signing_secret: env:GOOD").load().is_ok());
    for (secret, lines, fault) in [
        (
            "another-secret-0123456789-abcdef-xyz",
            "signing_secret: env:GOOD",
            "is not the one that the definition has",
        ),
        ("file:/run/secrets/items-signing-secret", "", "not a reference"),
        ("##SIGNING_SECRET_OF_THE_ITEMS_API##", "", "well-known sample"),
        ("0123456789abcdef", "", "needs at least 32"),
    ] {
        let faults = with(secret, lines).faults();
        assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:?}");
        assert!(!faults[0].contains(secret), "{faults:?}");
    }
    assert!(!format!("{:?}", with(GOOD_SECRET, "").load().unwrap()).contains(GOOD_SECRET));
    assert!(
        !redacted(&with(GOOD_SECRET, "").load().unwrap())
            .to_string()
            .contains(GOOD_SECRET)
    );
}

#[test]
fn what_is_not_yaml_shows_no_value() {
    for value in [
        "*hush",
        "!hush hush",
        "&hush",
        "@hush",
        "`hush",
        "%hush",
        "'hush",
        "\"hush",
        "{hush",
        "[hush",
        "|hush",
        "!!int hush",
        "!!binary hush",
        "\"\\hush\"",
    ] {
        let faults = Memory::with(&one_api(&format!("signing_secret: {value}"), &[ROUTE]))
            .load()
            .unwrap_err();
        assert!(!faults.to_string().contains("hush"), "{faults}");
    }
}

#[test]
fn a_file_at_fault_is_watched() {
    let faults = Memory::with(&one_api("", &[ROUTE]).replace("items.json", "none.json"))
        .load()
        .unwrap_err();
    assert_eq!(
        faults.files(),
        [PathBuf::from("etc/gate.yaml"), PathBuf::from("etc/none.json")]
    );
}

#[test]
fn ten_thousand_routes_and_not_one_more() {
    let routes = |count: usize| {
        let routes: Vec<_> = (0..count)
            .map(|n| format!("{{path: /items/{n}, methods: [GET], require: read:items}}"))
            .collect();
        let routes: Vec<_> = routes.iter().map(String::as_str).collect();
        Memory::with(&one_api("", &routes)).load()
    };
    assert_eq!(routes(10_000).unwrap().plan.apis[0].routes.len(), 10_000);
    assert!(
        routes(10_001)
            .unwrap_err()
            .to_string()
            .contains("there are 10001 routes; the most is 10000")
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

#[test]
fn examples_are_valid_and_fit_the_schema() {
    struct Here;
    impl Sources for Here {
        fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
            // Keys are not kept in the repository.
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => Ok(listeners::PAIRS[0].0.clone().into()),
                Some("key") => Ok(listeners::PAIRS[0].1.clone().into()),
                _ => System.file(path),
            }
        }
        fn variable(&self, _: &str) -> Option<String> {
            Some(GOOD_SECRET.into())
        }
    }
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for example in [
        "scopegate.yaml",
        "api-keys.yaml",
        "auth0.yaml",
        "bound-tokens.yaml",
        "hs256.yaml",
        "opaque-tokens.yaml",
        "report-mode.yaml",
        "several-issuers.yaml",
        "streams.yaml",
        "tls.yaml",
    ] {
        let path = directory.join(example);
        let loaded = load_with(&path, &Here).map_err(|faults| faults.to_string());
        assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
        let text = std::fs::read_to_string(&path).unwrap();
        let json = parse::parse(&path.as_path().into(), &text).unwrap().to_json();
        let faults: Vec<_> = validator
            .iter_errors(&json)
            .map(|fault| fault.to_string())
            .collect();
        assert!(faults.is_empty(), "{example}: {faults:#?}");
    }
    let committed = std::fs::read_to_string(directory.join("scopegate.schema.json")).unwrap();
    let committed: serde_json::Value = serde_json::from_str(&committed).unwrap();
    assert_eq!(
        committed, schema,
        "write it anew: scopegate schema > config/scopegate.schema.json"
    );
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = Memory::default().file("etc/gate.yaml", text).load();
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "[-a-z0-9:{}\\[\\]&*!|>'\"#%@,? \n\t]{0,200}") {
        let _ = Memory::default().file("etc/gate.yaml", text).load();
    }

    #[test]
    fn arbitrary_values_never_panic(value in "[^\n']{0,40}", line in 0_usize..60) {
        let good = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scopegate.yaml")).unwrap();
        let lines: Vec<_> = good.lines().enumerate().map(|(number, text)| match text.split_once(": ") {
            Some((key, _)) if number == line => format!("{key}: '{value}'"),
            _ => text.to_owned(),
        }).collect();
        let _ = Memory::with(&lines.join("\n")).load();
    }
}
