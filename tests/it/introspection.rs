//! Opaque tokens through the front door: their issuer is asked as often as needed and no more, what it says decides like
//! the claims of a signed token, and whoever cannot be asked about is never told that the token is bad.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::{Value, json};

use crate::harness::gateway::{self, Folder, ITEMS, decisions, items};
use crate::harness::http1::Response;
use crate::harness::introspector::unescaped;
use crate::harness::issuer::now;
use crate::harness::{
    Client, Gateway, Http2Client, Introspector, IntrospectorMode, Issuer, Process, Prover, Upstream,
    eventually,
};
use crate::support::forge::SigningKey;

const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";
const SECRET: (&str, &str) = ("secret", "s3cr3t/of+the gateway");
const ROUTES: &str = "    routes:
      - { path: /items, require: read:items }
      - { path: /write, require: write:items }
      - { path: /report, require: read:items, mode: report }
      - { path: /open, require: public }
";

struct World {
    authority: Introspector,
    upstream: Upstream,
    gateway: Gateway,
}

/// One API that asks `authority`; `endpoint` and `api` are further lines of both.
fn config(authority: &Introspector, upstream: &Upstream, endpoint: &str, api: &str) -> String {
    let (issuer, address, upstream) = (authority.identifier(), authority.endpoint(), upstream.url());
    format!(
        "issuers:
  - issuer: {issuer}
    jwks_inline: {{ keys: [{}] }}
    introspection: {{ endpoint: {address}, client_id: gateway, client_secret: file:secret{endpoint} }}
apis:
  - definition: {{ identifier: {ITEMS}, signing_alg: RS256, scopes: [{{ value: read:items }}, {{ value: write:items }}] }}
    upstream: {upstream}
{api}{ROUTES}",
        key()
    )
}

/// The key of the authority's signed tokens.
fn key() -> Value {
    SigningKey::fixture(SigningAlg::RS256, 1).jwk("k")
}

const OPAQUE: &str = "    introspection: { tokens: opaque }\n";

impl World {
    fn start(endpoint: &str, api: &str) -> Self {
        Self::start_with(endpoint, api, "")
    }

    /// `top` are further lines of the file.
    fn start_with(endpoint: &str, api: &str, top: &str) -> Self {
        let (authority, upstream) = (Introspector::start(), Upstream::start());
        let yaml = config(&authority, &upstream, endpoint, api) + top;
        let gateway = Gateway::start_with(&yaml, &[SECRET]);
        authority.tell(TOKEN, authority.active(ITEMS, "read:items"));
        Self {
            authority,
            upstream,
            gateway,
        }
    }

    fn opaque() -> Self {
        Self::start("", OPAQUE)
    }

    fn get(&self, target: &str, token: &str) -> Response {
        let authorization = format!("Bearer {token}");
        self.gateway
            .client()
            .get(target, &[("authorization", &authorization)])
    }

    #[track_caller]
    fn allowed(&self, token: &str) {
        let response = self.get("/items", token);
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// A request that must not reach the upstream.
    #[track_caller]
    fn refused(&self, target: &str, token: &str, status: u16, reason: &str) -> Response {
        let before = self.upstream.requests();
        let labels = [("reason", reason), ("decision", "deny")];
        let counted = decisions(&self.gateway.metrics(), &labels);
        let response = self.get(target, token);
        let body = response.json();
        assert_eq!(
            (response.status, &body["reason"]),
            (status, &json!(reason)),
            "{}",
            response.text()
        );
        assert_eq!(self.upstream.requests(), before, "{reason}");
        assert_eq!(decisions(&self.gateway.metrics(), &labels), counted + 1.0);
        assert!(!response.text().contains(token), "{}", response.text());
        response
    }

    /// A refusal that says nothing about the token.
    #[track_caller]
    fn unavailable(&self, token: &str) {
        let response = self.refused("/items", token, 503, "introspection_unavailable");
        let after: u64 = response.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
        assert_eq!(response.field("www-authenticate"), None);
    }

    fn results(&self, result: &str) -> f64 {
        self.gateway
            .metrics()
            .get("scopegate_introspection_requests_total", &[("result", result)])
            .unwrap_or_default()
    }

    fn breaker(&self) -> f64 {
        self.gateway
            .metrics()
            .value("scopegate_introspection_breaker", &[])
    }
}

#[test]
fn an_opaque_token_passes_and_is_asked_about_once() {
    let world = World::opaque();
    for _ in 0..3 {
        world.allowed(TOKEN);
    }
    let seen = world.upstream.last();
    assert_eq!(
        seen.field("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    let authorization = format!("Bearer {TOKEN}");
    let mut client = Http2Client::connect(world.gateway.http2_address());
    let fields = [("authorization", authorization.as_str())];
    let response = client
        .request("GET", "http://localhost/items", &fields, b"")
        .unwrap();
    assert_eq!(response.status, 200);

    let questions = world.authority.questions();
    assert_eq!(questions.len(), 1);
    let (head, form) = (&questions[0].head, &questions[0].form);
    assert_eq!(head.start, "POST /introspect HTTP/1.1");
    assert_eq!(
        head.field("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(head.field("accept"), Some("application/json"));
    assert_eq!(form["token"], TOKEN);
    assert_eq!(form["token_type_hint"], "access_token");
    assert_eq!(form.len(), 2, "{form:?}");
    let basic = head
        .field("authorization")
        .unwrap()
        .strip_prefix("Basic ")
        .unwrap();
    let basic = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    assert_eq!(unescaped(&basic), format!("gateway:{}", SECRET.1));

    let metrics = world.gateway.metrics();
    assert_eq!(world.results("active"), 1.0);
    let cache = |result| {
        metrics.value(
            "scopegate_cache_requests_total",
            &[("cache", "introspection"), ("result", result)],
        )
    };
    assert_eq!((cache("hit"), cache("miss")), (3.0, 1.0));
    assert_eq!(
        metrics.value("scopegate_introspection_duration_seconds_count", &[]),
        1.0
    );
    assert_eq!(
        metrics.value(
            "scopegate_auth_duration_seconds_count",
            &[("stage", "introspect")]
        ),
        1.0
    );
    assert_eq!(world.breaker(), 0.0);
    // Whoever it is is told to the log, and the token never.
    let line = world.gateway.folder.log_line("http", "2");
    assert_eq!(
        (&line["subject"], &line["client"]),
        (&json!("user"), &json!("client"))
    );
    let log = format!("{:?}", world.gateway.folder.log());
    assert!(!log.contains(TOKEN), "{log}");
}

#[test]
fn what_the_issuer_says_decides_on_every_route() {
    let world = World::opaque();
    world.allowed(TOKEN);
    // From the cache as well.
    for _ in 0..2 {
        let response = world.refused("/write", TOKEN, 403, "insufficient_scope");
        assert!(
            response
                .field("www-authenticate")
                .unwrap()
                .contains(r#"scope="write:items""#)
        );
    }
    assert_eq!(world.get("/open", "whatever").status, 200);
    assert_eq!(world.get("/report", "unknown").status, 200, "it only reports");
    assert_eq!(
        decisions(
            &world.gateway.metrics(),
            &[("reason", "inactive"), ("decision", "shadow_deny")]
        ),
        1.0
    );
    assert_eq!(world.authority.asked(), 2);
}

#[test]
fn each_thing_that_is_wrong_with_an_answer_has_its_reason() {
    let world = World::opaque();
    let right = || world.authority.active(ITEMS, "read:items");
    let with = |name: &str, value: Value| {
        let mut answer = right();
        answer[name] = value;
        answer
    };
    let without = |name: &str| {
        let mut answer = right();
        answer.as_object_mut().unwrap().remove(name);
        answer
    };
    let cases = [
        (json!({"active": false}), "inactive"),
        (with("active", json!(false)), "inactive"),
        (with("iss", json!("https://other.example/")), "issuer_mismatch"),
        (with("iss", json!(7)), "malformed_claim"),
        (with("aud", json!("urn:other")), "audience_mismatch"),
        (
            with("aud", json!(["urn:other", "urn:items/"])),
            "audience_mismatch",
        ),
        (with("aud", json!([])), "malformed_claim"),
        (without("aud"), "missing_claim"),
        (with("exp", json!(now() - 60)), "expired"),
        (with("exp", json!("soon")), "malformed_claim"),
        (with("nbf", json!(now() + 600)), "not_yet_valid"),
        (with("iat", json!(now() + 600)), "issued_in_future"),
        (with("scope", json!(7)), "malformed_claim"),
        (with("permissions", json!("read:items")), "malformed_claim"),
        (with("sub", json!({})), "malformed_claim"),
        (with("sub", json!("a\nb")), "malformed_claim"),
        (with("azp", json!("other")), "malformed_claim"),
        (with("token_type", json!("refresh_token")), "wrong_type"),
        (with("token_type", json!("N_A")), "wrong_type"),
        (with("token_use", json!("refresh_token")), "wrong_type"),
        (with("typ", json!("Refresh")), "wrong_type"),
        (with("typ", json!("ID")), "wrong_type"),
        (with("nonce", json!("x")), "wrong_type"),
        (with("token_type", json!("DPoP")), "malformed_claim"),
        (with("cnf", json!({"jkt": "x"})), "dpop_missing"),
        (with("cnf", json!({"x5t#S256": "x"})), "certificate_missing"),
        (with("cnf", json!({})), "malformed_claim"),
    ];
    for (number, (answer, reason)) in cases.into_iter().enumerate() {
        let token = format!("token-{number}");
        world.authority.tell(&token, answer.clone());
        // The second time it is not asked about.
        for _ in 0..2 {
            let response = world.refused("/items", &token, 401, reason);
            assert!(
                response
                    .field("www-authenticate")
                    .unwrap()
                    .contains(r#"error="invalid_token""#),
                "{answer}"
            );
        }
        assert_eq!(world.authority.asked(), number + 1, "{answer}");
    }
    let asked = world.authority.asked();
    for answer in [
        without("iss"),
        without("sub"),
        without("client_id"),
        without("exp"),
        without("iat"),
        without("token_type"),
        with("aud", json!(["urn:other", ITEMS])),
        with("scope", json!(["read:items"])),
        with("token_type", json!("bearer")),
        with("typ", json!("Bearer")),
    ] {
        let token = format!("good-{}", world.authority.asked());
        world.authority.tell(&token, answer);
        world.allowed(&token);
    }
    assert_eq!(world.authority.asked(), asked + 10);
}

#[test]
fn an_answer_without_audience_counts_only_where_that_is_asked_for() {
    let world = World::start(
        "",
        "    introspection: { tokens: opaque, require_audience: false }\n",
    );
    let mut answer = world.authority.active(ITEMS, "read:items");
    answer.as_object_mut().unwrap().remove("aud");
    world.authority.tell("without", answer);
    world.allowed("without");
    let other = world.authority.active("urn:other", "read:items");
    world.authority.tell("of-another", other);
    world.refused("/items", "of-another", 401, "audience_mismatch");
}

#[test]
fn an_answer_is_read_as_the_tokens_of_its_issuer_are() {
    let (authority, upstream) = (Introspector::start(), Upstream::start());
    let (issuer, plain) = (authority.identifier(), config(&authority, &upstream, "", OPAQUE));
    let start = |kind: &str| {
        let yaml = plain.replacen(
            &format!("issuer: {issuer}\n"),
            &format!("issuer: {issuer}\n    kind: {kind}\n"),
            1,
        );
        Gateway::start_with(&yaml, &[SECRET])
    };
    // The names of the standard, and those of its tokens.
    let gateway = start("okta");
    authority.tell("standard", authority.active(ITEMS, "read:items"));
    let mut own = authority.active(ITEMS, "");
    own["scp"] = json!(["read:items"]);
    own["cid"] = json!("client");
    authority.tell("own", own.clone());
    own["cid"] = json!("other");
    authority.tell("torn", own);
    assert_eq!(
        ["standard", "own", "torn"].map(|token| gateway::get(&gateway, token)),
        [200, 200, 401]
    );
    drop(gateway);
    let gateway = start("keycloak");
    let mut answer = authority.active(ITEMS, "read:items");
    answer["nonce"] = json!("of the login");
    answer["typ"] = json!("Bearer");
    authority.tell("access", answer.clone());
    answer["typ"] = json!("Offline");
    authority.tell("offline", answer);
    assert_eq!(
        ["access", "offline"].map(|token| gateway::get(&gateway, token)),
        [200, 401]
    );
}

#[test]
fn a_revoked_subject_is_refused_from_the_first_request_on() {
    let (authority, upstream) = (Introspector::start(), Upstream::start());
    let yaml = config(&authority, &upstream, "", OPAQUE) + "revocations: { file: revoked.json }\n";
    let listed = json!({"revocations": [{"issuer": authority.identifier(), "sub": "user"}]}).to_string();
    let gateway = Gateway::start_with(&yaml, &[SECRET, ("revoked.json", &listed)]);
    authority.tell(TOKEN, authority.active(ITEMS, "read:items"));
    let mut other = authority.active(ITEMS, "read:items");
    other["sub"] = json!("another");
    authority.tell("of-another", other);
    for _ in 0..2 {
        let fields = [("authorization", &*format!("Bearer {TOKEN}"))];
        let response = gateway.client().get("/items", &fields);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (401, &json!("revoked"))
        );
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(gateway::get(&gateway, "of-another"), 200);
}

#[test]
fn an_issuer_that_gives_no_answer_says_nothing_about_the_token() {
    let world = World::start(", timeout: 1s, failures: 1000", OPAQUE);
    let json = "application/json";
    let large = format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(65 << 10));
    let jwt = "application/token-introspection+jwt";
    let twice = br#"{"active":false,"active":true}"#.to_vec();
    let good = world.authority.active(ITEMS, "read:items").to_string();
    let modes = [
        (IntrospectorMode::Close, "protocol"),
        (IntrospectorMode::Hang, "timeout"),
        (IntrospectorMode::Status(500), "status"),
        (IntrospectorMode::Status(503), "status"),
        (IntrospectorMode::Status(404), "status"),
        (IntrospectorMode::Status(400), "status"),
        (IntrospectorMode::Status(307), "status"),
        (IntrospectorMode::Status(308), "status"),
        (IntrospectorMode::Status(201), "status"),
        (IntrospectorMode::Status(401), "credentials"),
        (IntrospectorMode::Status(403), "credentials"),
        (IntrospectorMode::Content(json, b"{}".to_vec()), "malformed"),
        (IntrospectorMode::Content(json, b"nonsense".to_vec()), "malformed"),
        (IntrospectorMode::Content(json, b"".to_vec()), "malformed"),
        (
            IntrospectorMode::Content(json, br#"{"active":"true"}"#.to_vec()),
            "malformed",
        ),
        (IntrospectorMode::Content(json, twice), "malformed"),
        (IntrospectorMode::Content(json, large.into_bytes()), "too_large"),
        (
            IntrospectorMode::Content("text/html", good.into_bytes()),
            "media_type",
        ),
        (
            IntrospectorMode::Content(jwt, b"e30.e30.x".to_vec()),
            "media_type",
        ),
        (IntrospectorMode::Raw(b"nonsense\r\n\r\n".to_vec()), "protocol"),
        (
            IntrospectorMode::Raw(
                b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{".to_vec(),
            ),
            "protocol",
        ),
    ];
    for (mode, result) in modes {
        let (counted, asked) = (world.results(result), world.authority.asked());
        world.authority.set_mode(mode.clone());
        world.unavailable(TOKEN);
        assert_eq!(world.results(result), counted + 1.0, "{mode:?}");
        assert_eq!(
            world.authority.asked(),
            asked + 1,
            "no redirect is followed: {mode:?}"
        );
        // Nothing of it is remembered.
        world.authority.set_mode(IntrospectorMode::Up);
    }
    world.allowed(TOKEN);
    let labels = [("result", "active")];
    assert_eq!(
        world
            .gateway
            .metrics()
            .value("scopegate_introspection_requests_total", &labels),
        1.0
    );
    assert!(world.gateway.ready().is_ok());
}

#[test]
fn many_requests_with_one_token_are_one_question() {
    // The upstream of a test takes 128 connections at once and no more.
    let world = World::start_with("", OPAQUE, "limits: { upstream_connections: 20 }\n");
    world.authority.set_mode(IntrospectorMode::Hold);
    let mut clients: Vec<Client> = (0..200).map(|_| world.gateway.client()).collect();
    for client in &mut clients {
        client.send(format!(
            "GET /items HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        ));
    }
    eventually("200 requests in flight", || {
        world
            .gateway
            .metrics()
            .value("scopegate_http_requests_in_flight", &[])
            == 200.0
    });
    world.authority.wait_for_questions(1);
    assert_eq!(world.upstream.requests(), 0);
    world.authority.set_mode(IntrospectorMode::Up);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(world.authority.asked(), 1);
    assert_eq!(world.upstream.requests(), 200);
}

#[test]
fn a_question_goes_on_when_the_request_that_began_it_goes_away() {
    let world = World::opaque();
    world.authority.set_mode(IntrospectorMode::Hold);
    let ask = format!("GET /items HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    let in_flight = |count: f64| {
        eventually("requests in flight", || {
            world
                .gateway
                .metrics()
                .value("scopegate_http_requests_in_flight", &[])
                == count
        });
    };
    let mut first = world.gateway.client();
    first.send(&ask);
    world.authority.wait_for_questions(1);
    let mut second = world.gateway.client();
    second.send(&ask);
    in_flight(2.0);
    drop(first);
    in_flight(1.0);
    world.authority.set_mode(IntrospectorMode::Up);
    assert_eq!(second.response().status, 200);
    assert_eq!(world.authority.asked(), 1);
}

#[test]
fn what_is_refused_is_forgotten_soon_and_what_is_good_in_time() {
    let world = World::start(", ttl: 2s, negative_ttl: 1s", OPAQUE);
    world.refused("/items", "later", 401, "inactive");
    world
        .authority
        .tell("later", world.authority.active(ITEMS, "read:items"));
    eventually("the refusal to be forgotten", || {
        world.get("/items", "later").status == 200
    });
    let began = Instant::now();
    world.allowed(TOKEN);
    world.authority.revoke(TOKEN);
    eventually("the revocation to be seen", || {
        world.get("/items", TOKEN).status == 401
    });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(world.authority.asked(), 4);
}

#[test]
fn a_cached_answer_does_not_outlive_its_token() {
    let world = World::start(", ttl: 5m", OPAQUE);
    let mut answer = world.authority.active(ITEMS, "read:items");
    answer["exp"] = json!(now() + 2);
    world.authority.tell("short", answer);
    world.allowed("short");
    world.authority.revoke("short");
    // Well within the tolerance for clocks, which is 10 s: what ends it is the cache.
    let end = Instant::now() + Duration::from_secs(8);
    while world.get("/items", "short").status == 200 {
        assert!(Instant::now() < end, "the answer is still believed");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    world.refused("/items", "short", 401, "inactive");
    assert_eq!(world.authority.asked(), 2);
}

#[test]
fn the_breaker_opens_and_closes() {
    let world = World::start(", failures: 3, cooldown: 2s", OPAQUE);
    world.authority.set_mode(IntrospectorMode::Status(500));
    for number in 0..3 {
        assert_eq!(world.breaker(), 0.0);
        world.unavailable(&format!("token-{number}"));
    }
    assert_eq!(world.breaker(), 2.0);
    for number in 0..5 {
        world.unavailable(&format!("more-{number}"));
    }
    assert_eq!((world.authority.asked(), world.results("open")), (3, 5.0));
    // One question is tried, in vain.
    eventually("a trial", || {
        drop(world.get("/items", TOKEN));
        world.authority.asked() > 3
    });
    assert_eq!((world.authority.asked(), world.breaker()), (4, 2.0));
    world.unavailable(TOKEN);
    assert_eq!(world.authority.asked(), 4);
    world.authority.set_mode(IntrospectorMode::Up);
    eventually("the endpoint to be asked again", || {
        world.get("/items", TOKEN).status == 200
    });
    assert_eq!((world.authority.asked(), world.breaker()), (5, 0.0));
    world.refused("/items", "bad", 401, "inactive");
}

#[test]
fn what_is_known_passes_while_the_endpoint_hangs() {
    let world = World::start(", timeout: 500ms, failures: 2, cooldown: 1m", OPAQUE);
    world.allowed(TOKEN);
    world.authority.set_mode(IntrospectorMode::Hang);
    for number in 0..2 {
        let began = Instant::now();
        world.unavailable(&format!("token-{number}"));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        world.allowed(TOKEN);
    }
    // Now at once, and without a question.
    let asked = world.authority.asked();
    world.unavailable("another");
    world.allowed(TOKEN);
    assert_eq!((world.authority.asked(), world.results("timeout")), (asked, 2.0));
}

#[test]
fn questions_and_those_who_wait_are_bounded() {
    let world = World::start(", concurrency: 2, max_waiting: 4, timeout: 20s", OPAQUE);
    world.authority.set_mode(IntrospectorMode::Hold);
    let mut clients: Vec<Client> = (0..4).map(|_| world.gateway.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let token = format!("token-{number}");
        world
            .authority
            .tell(&token, world.authority.active(ITEMS, "read:items"));
        client.send(format!(
            "GET /items HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
        ));
    }
    world.authority.wait_for_questions(2);
    eventually("four requests in flight", || {
        world
            .gateway
            .metrics()
            .value("scopegate_http_requests_in_flight", &[])
            == 4.0
    });
    world.unavailable("one-too-many");
    assert_eq!((world.authority.asked(), world.results("full")), (2, 1.0));
    world.authority.set_mode(IntrospectorMode::Up);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(world.authority.asked(), 4);
}

/// A signed token of the authority.
fn signed(world: &World, audience: &str) -> String {
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "k"});
    let claims = json!({
        "iss": world.authority.identifier(), "aud": audience, "sub": "signed", "azp": "client",
        "scope": "read:items", "iat": now(), "exp": now() + 600,
    });
    SigningKey::fixture(SigningAlg::RS256, 1).token(SigningAlg::RS256, &header, &claims)
}

#[test]
fn a_signed_token_is_verified_here() {
    let world = World::opaque();
    let token = signed(&world, ITEMS);
    world.allowed(&token);
    world.refused("/items", &signed(&world, "urn:other"), 401, "audience_mismatch");
    let (head, _) = token.rsplit_once('.').unwrap();
    world.refused("/items", &format!("{head}.AAAA"), 401, "bad_signature");
    world.refused("/items", &format!("{head}.A.A.A"), 401, "malformed_token");
    assert_eq!(world.authority.asked(), 0);
    // What only has dots is not signed.
    world.refused("/items", "a.b.c", 401, "inactive");
    assert_eq!(world.authority.asked(), 1);
    world.allowed(TOKEN);
    world.allowed(&token);
}

#[test]
fn all_tokens_are_asked_about_where_that_is_said() {
    let world = World::start("", "    introspection: { tokens: all }\n");
    let token = signed(&world, ITEMS);
    world.refused("/items", &token, 401, "inactive");
    let other = signed(&world, "urn:any");
    world
        .authority
        .tell(&other, world.authority.active(ITEMS, "read:items"));
    world.allowed(&other);
    world.allowed(TOKEN);
    assert_eq!(world.authority.asked(), 3);
}

#[test]
fn what_cannot_be_a_token_is_not_asked_about() {
    let world = World::start("", &format!("{OPAQUE}    leeway: 1s\n"));
    for (value, status, reason) in [
        ("Bearer a b", 400, "malformed_authorization"),
        ("Bearer \"x\"", 400, "malformed_authorization"),
        ("Bearer a&client_id=x", 400, "malformed_authorization"),
        ("Basic dXNlcjpwYXNz", 401, "missing_token"),
    ] {
        let response = world.gateway.client().get("/items", &[("authorization", value)]);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (status, &json!(reason)),
            "{value}"
        );
    }
    world.refused("/items", &"x".repeat(17 << 10), 401, "token_too_large");
    assert_eq!((world.authority.asked(), world.upstream.requests()), (0, 0));
    // Every character that a token may have arrives as it is.
    let odd = "aZ09-._~+/==";
    world
        .authority
        .tell(odd, world.authority.active(ITEMS, "read:items"));
    world.allowed(odd);
}

#[test]
fn a_bound_token_needs_its_proof() {
    let (authority, upstream) = (Introspector::start(), Upstream::start());
    let yaml = config(
        &authority,
        &upstream,
        "",
        &format!("    public_url: https://items.example.com\n{OPAQUE}"),
    )
    .replace(
        "signing_alg: RS256,",
        "signing_alg: RS256, proof_of_possession: { mechanism: dpop, required: false },",
    );
    let gateway = Gateway::start_with(&yaml, &[SECRET]);
    let (prover, other) = (Prover::new(SigningAlg::ES256), Prover::another(SigningAlg::ES256));
    let mut answer = authority.active(ITEMS, "read:items");
    answer["token_type"] = json!("DPoP");
    answer["cnf"] = json!({"jkt": prover.thumbprint()});
    authority.tell(TOKEN, answer);
    authority.tell("unbound", authority.active(ITEMS, "read:items"));
    let ask = |scheme: &str, token: &str, proof: Option<String>| {
        let authorization = format!("{scheme} {token}");
        let mut fields = vec![("authorization", authorization.as_str())];
        fields.extend(proof.as_deref().map(|proof| ("dpop", proof)));
        let response = gateway.client().get("/items", &fields);
        let reason = response.json()["reason"].clone();
        (response.status, reason.as_str().unwrap_or_default().to_owned())
    };
    let proof =
        |prover: &Prover, token: &str| Some(prover.proof("GET", "https://items.example.com/items", token));
    let refused = |reason: &str| (401, reason.to_owned());
    // The first time it is asked about, then it is known.
    for _ in 0..2 {
        assert_eq!(ask("Bearer", TOKEN, None), refused("dpop_downgrade"));
        assert_eq!(ask("DPoP", TOKEN, None), refused("dpop_missing"));
        assert_eq!(
            ask("DPoP", TOKEN, proof(&other, TOKEN)),
            refused("dpop_wrong_key")
        );
        assert_eq!(
            ask("DPoP", TOKEN, proof(&prover, "x")),
            refused("dpop_wrong_token")
        );
        assert_eq!(
            ask("DPoP", "unbound", proof(&prover, "unbound")),
            refused("token_unbound")
        );
    }
    assert_eq!(upstream.requests(), 0);
    let right = proof(&prover, TOKEN);
    assert_eq!(ask("DPoP", TOKEN, right.clone()).0, 200);
    assert_eq!(ask("DPoP", TOKEN, right), refused("dpop_replay"));
    assert_eq!(ask("Bearer", "unbound", None).0, 200);
    assert_eq!((upstream.requests(), authority.asked()), (2, 2));
}

#[test]
fn the_gateway_authenticates_as_it_is_told() {
    let (authority, upstream) = (Introspector::start(), Upstream::start());
    let post = config(
        &authority,
        &upstream,
        ", authentication: client_secret_post",
        OPAQUE,
    );
    authority.tell(TOKEN, authority.active(ITEMS, "read:items"));
    let gateway = Gateway::start_with(&post, &[SECRET]);
    assert_eq!(gateway::get(&gateway, TOKEN), 200);
    let question = authority.questions().remove(0);
    assert_eq!(question.head.field("authorization"), None);
    assert_eq!(
        (&*question.form["client_id"], &*question.form["client_secret"]),
        ("gateway", SECRET.1)
    );
    drop(gateway);

    let ec = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let rsa = rsa.unwrap().serialize_pem();
    let identifier = authority.identifier();
    for (key, extra, alg, audience) in [
        (&ec, "", "ES256", &*identifier),
        (&rsa, "", "RS256", &*identifier),
        (
            &rsa,
            ", signing_alg: PS256, key_id: k1, assertion_audience: urn:as",
            "PS256",
            "urn:as",
        ),
    ] {
        let asked = authority.asked();
        let yaml = config(&authority, &upstream, extra, OPAQUE)
            .replace("client_secret: file:secret", "private_key: file:key.pem");
        let gateway = Gateway::start_with(&yaml, &[("key.pem", key)]);
        let mut ids = Vec::new();
        for token in [TOKEN, "another"] {
            let _status = gateway::get(&gateway, token);
            let question = authority.questions().pop().unwrap();
            let form = &question.form;
            assert_eq!(question.head.field("authorization"), None);
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            let mut parts = form["client_assertion"].split('.');
            let mut part = || {
                serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap())
                    .unwrap()
            };
            let (header, claims) = (part(), part());
            assert_eq!(header["alg"], alg);
            assert_eq!(
                header["kid"],
                if alg == "PS256" { json!("k1") } else { Value::Null }
            );
            assert_eq!(
                (&claims["iss"], &claims["sub"]),
                (&json!("gateway"), &json!("gateway"))
            );
            assert_eq!(claims["aud"], audience);
            let (issued, ends) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
            assert!((now() - 30..=now()).contains(&issued) && ends == issued + 60);
            ids.push(claims["jti"].as_str().unwrap().to_owned());
        }
        assert_ne!(ids[0], ids[1]);
        assert_eq!(authority.asked(), asked + 2);
    }
}

#[test]
fn the_endpoint_is_discovered_and_must_be_where_it_may_be() {
    let (authority, upstream) = (Introspector::start(), Upstream::start());
    let discovered = |endpoint: &str| {
        config(&authority, &upstream, ", failures: 1000", OPAQUE)
            .replace(&format!("endpoint: {}, ", authority.endpoint()), endpoint)
    };
    authority.tell(TOKEN, authority.active(ITEMS, "read:items"));
    authority.set_endpoint("http://endpoint.example/introspect");
    let gateway = Gateway::start_with(&discovered(""), &[SECRET]);
    assert_eq!(gateway::get(&gateway, TOKEN), 503);
    let address = |gateway: &Gateway| {
        let labels = [("result", "address")];
        gateway
            .metrics()
            .get("scopegate_introspection_requests_total", &labels)
    };
    assert_eq!(address(&gateway), Some(1.0));
    authority.set_endpoint(&authority.endpoint());
    let before = authority.discoveries();
    for token in [TOKEN, "a", "b"] {
        let _status = gateway::get(&gateway, token);
    }
    assert_eq!(gateway::get(&gateway, TOKEN), 200);
    assert_eq!((authority.discoveries(), authority.asked()), (before + 1, 3));
}

#[test]
fn a_reload_forgets_what_was_said() {
    let world = World::opaque();
    world.allowed(TOKEN);
    let before = world.gateway.generation();
    let other = config(
        &world.authority,
        &world.upstream,
        "",
        "    introspection: { tokens: opaque }\n    max_age: 1d\n",
    );
    world.gateway.configure(&other);
    eventually("the reload", || world.gateway.generation() > before);
    world.allowed(TOKEN);
    assert_eq!(world.authority.asked(), 2);
    // A bad one leaves what was good.
    world
        .gateway
        .configure(&other.replace("client_secret: file:secret", "x: y"));
    eventually("the reload to fail", || {
        world
            .gateway
            .metrics()
            .value("scopegate_config_last_reload_successful", &[])
            == 0.0
    });
    world.allowed(TOKEN);
}

#[test]
fn the_log_names_the_trouble_and_neither_token_nor_secret() {
    let (authority, upstream) = (Introspector::start(), Upstream::start());
    let yaml = config(&authority, &upstream, "", OPAQUE)
        .replace("client_secret: file:secret", "client_secret: env:PATH");
    let process = Process::start(&yaml);
    let secret = std::env::var("PATH").unwrap();
    let get = || {
        let fields = [("authorization", &*format!("Bearer {TOKEN}"))];
        Client::connect(process.address()).get("/items", &fields).status
    };
    authority.set_mode(IntrospectorMode::Status(401));
    assert_eq!((get(), get()), (503, 503));
    authority.set_mode(IntrospectorMode::Content(
        "application/token-introspection+jwt",
        Vec::new(),
    ));
    assert_eq!(get(), 503);
    authority.set_mode(IntrospectorMode::Up);
    assert_eq!(get(), 401);
    process.wait_for_log("the introspection endpoint answers again");
    let log = process.log();
    let faults: Vec<&str> = log
        .iter()
        .filter(|line| line["message"] == "tokens cannot be introspected")
        .map(|line| line["fault"].as_str().unwrap())
        .collect();
    assert_eq!(faults.len(), 2, "{log:?}");
    assert!(
        faults[0].contains("does not accept the credentials"),
        "{faults:?}"
    );
    assert!(faults[1].contains("RFC 9701"), "{faults:?}");
    let text = format!("{log:?}");
    assert!(!text.contains(TOKEN) && !text.contains(&secret), "{text}");
}

#[test]
fn explain_asks_too() {
    let (authority, upstream) = (Introspector::start(), Upstream::start());
    authority.tell(TOKEN, authority.active(ITEMS, "read:items"));
    let folder = Folder::new(&config(&authority, &upstream, "", OPAQUE), &[SECRET]);
    let path = folder.config().to_str().unwrap().to_owned();
    let explain = |token: &str| {
        let arguments = [
            "explain",
            "--config",
            &path,
            "--output",
            "json",
            "GET /items",
            "--token",
            token,
        ];
        let output = gateway::run(&arguments, "");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let check = |name: &str| {
            let checks = said["checks"].as_array().unwrap();
            let check = checks.iter().find(|check| check["check"] == name).unwrap();
            check["result"].as_str().unwrap().to_owned()
        };
        let results = ["introspection", "signature", "audience"].map(check);
        let reason = said["reason"].as_str().unwrap().to_owned();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), reason, results, stderr)
    };
    let (code, reason, results, _) = explain(TOKEN);
    assert_eq!((code, &*reason), (Some(0), "ok"));
    assert_eq!(results, ["pass", "not_needed", "pass"]);
    let (code, reason, results, _) = explain("unknown");
    assert_eq!((code, &*reason), (Some(3), "inactive"));
    assert_eq!(results, ["fail", "not_needed", "not_reached"]);
    let (code, reason, results, _) = explain("eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.e30.AAAA");
    assert_eq!((code, &*reason), (Some(3), "missing_claim"));
    assert_eq!(results, ["not_needed", "not_reached", "not_reached"]);
    authority.set_mode(IntrospectorMode::Status(401));
    let (code, reason, results, stderr) = explain(TOKEN);
    assert_eq!((code, &*reason), (Some(3), "introspection_unavailable"));
    assert_eq!(results, ["fail", "not_needed", "not_reached"]);
    assert!(stderr.contains("does not accept the credentials"), "{stderr}");
}

#[test]
fn without_introspection_an_opaque_token_is_malformed() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&items(&issuer, &upstream, ROUTES));
    let token = issuer.token(ITEMS, "read:items");
    assert_eq!(gateway::get(&gateway, &token), 200);
    assert_eq!(gateway::get(&gateway, TOKEN), 401);
    let labels = [("reason", "malformed_token"), ("decision", "deny")];
    assert_eq!(decisions(&gateway.metrics(), &labels), 1.0);
    assert_eq!(upstream.requests(), 1);
    let draft = issuer.draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
    assert_eq!(gateway::get(&gateway, &issuer.sign(&draft)), 403);
}
