//! API keys through the front door: exchanged as often as needed and no more, decided like the token that comes of them,
//! never seen by an upstream, and whoever guesses does not reach the issuer.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::gateway::{self, Folder, ITEMS, decisions, items};
use crate::harness::http1::Response;
use crate::harness::{
    Client, Gateway, Http2Client, Introspector, Issuer, IssuerMode, KnownClient, Process, TokenMode,
    Upstream, eventually,
};

const SECRET: &str = "s3cr3t-of-the-client_0123456789";
const ROUTES: &str = "    routes:
      - { path: /items, methods: [GET, POST], require: read:items }
      - { path: /write, require: write:items }
      - { path: /report, require: write:items, mode: report }
      - { path: /open, require: public }
";
const SHORT: &str = "    api_keys: exchange\n";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

/// The value of `Authorization` for a pair.
fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn with(issuer: &Issuer, upstream: &Upstream, api: &str) -> String {
    items(issuer, upstream, &format!("{api}{ROUTES}"))
}

/// The long form with these options.
fn keys(options: &str) -> String {
    format!("    api_keys: {{ {options} }}\n")
}

impl World {
    fn start(api: &str) -> Self {
        Self::start_with(api, "")
    }

    /// `top` are further lines of the file.
    fn start_with(api: &str, top: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        issuer.know("app", KnownClient::new(SECRET, "read:items"));
        let gateway = Gateway::start(&(with(&issuer, &upstream, api) + top));
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn ask(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.gateway.client().get(target, fields)
    }

    fn get(&self, target: &str, id: &str, secret: &str) -> Response {
        self.ask(target, &[("authorization", &basic(id, secret))])
    }

    #[track_caller]
    fn allowed(&self, id: &str, secret: &str) {
        let response = self.get("/items", id, secret);
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// A request that must not reach the upstream, and is counted as what it is.
    #[track_caller]
    fn refused_with(&self, target: &str, fields: &[(&str, &str)], status: u16, reason: &str) -> Response {
        let before = self.upstream.requests();
        let labels = [("reason", reason), ("decision", "deny")];
        let counted = decisions(&self.gateway.metrics(), &labels);
        let response = self.ask(target, fields);
        let body = response.json();
        assert_eq!(
            (response.status, &body["reason"]),
            (status, &json!(reason)),
            "{}",
            response.text()
        );
        assert_eq!(self.upstream.requests(), before, "{reason}");
        assert_eq!(decisions(&self.gateway.metrics(), &labels), counted + 1.0);
        response
    }

    #[track_caller]
    fn refused(&self, id: &str, secret: &str, status: u16, reason: &str) -> Response {
        let response = self.refused_with("/items", &[("authorization", &basic(id, secret))], status, reason);
        assert!(!response.text().contains(secret), "{}", response.text());
        response
    }

    /// A refusal that says nothing about the key.
    #[track_caller]
    fn unavailable(&self, id: &str, secret: &str) {
        let response = self.refused(id, secret, 503, "exchange_unavailable");
        let after: u64 = response.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
        assert_eq!(response.field("www-authenticate"), None);
    }

    fn results(&self, result: &str) -> f64 {
        let labels = [("api", ITEMS), ("result", result)];
        let metrics = self.gateway.metrics();
        metrics
            .get("scopegate_api_key_exchanges_total", &labels)
            .unwrap_or_default()
    }

    fn breaker(&self) -> f64 {
        let metrics = self.gateway.metrics();
        metrics.value("scopegate_api_key_exchange_breaker", &[("api", ITEMS)])
    }
}

#[test]
fn a_key_is_exchanged_once_and_the_upstream_gets_the_token() {
    let world = World::start(SHORT);
    for _ in 0..3 {
        world.allowed("app", SECRET);
    }
    let mut client = Http2Client::connect(world.gateway.http2_address());
    let authorization = basic("app", SECRET);
    let fields = [("authorization", authorization.as_str())];
    let response = client
        .request("GET", "http://localhost/items", &fields, b"")
        .unwrap();
    assert_eq!(response.status, 200);

    let exchanges = world.issuer.exchanges();
    assert_eq!(exchanges.len(), 1);
    let (head, form) = (&exchanges[0].head, &exchanges[0].form);
    assert_eq!(head.start, "POST /oauth/token HTTP/1.1");
    assert_eq!(head.field("authorization"), None);
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["audience"], ITEMS);
    assert_eq!(exchanges[0].credentials(), ("app".into(), SECRET.into()));
    assert_eq!(form.len(), 4, "{form:?}");

    for seen in world.upstream.seen() {
        let token = seen
            .field("authorization")
            .unwrap()
            .strip_prefix("Bearer ")
            .unwrap();
        assert_eq!(gateway::get(&world.gateway, token), 200, "a token as any other");
        assert!(!String::from_utf8_lossy(&seen.head.bytes).contains(&authorization[6..]));
    }
    let metrics = world.gateway.metrics();
    assert_eq!(world.results("granted"), 1.0);
    let cache = |result| {
        let labels = [("cache", "api_key"), ("result", result)];
        metrics.value("scopegate_cache_requests_total", &labels)
    };
    assert_eq!((cache("hit"), cache("miss")), (3.0, 1.0));
    assert_eq!(
        metrics.value("scopegate_api_key_exchange_duration_seconds_count", &[]),
        1.0
    );
    let stage = [("stage", "exchange")];
    assert_eq!(
        metrics.value("scopegate_auth_duration_seconds_count", &stage),
        1.0
    );
    assert_eq!(world.breaker(), 0.0);
    // Whoever it is is told to the log, and the secret never.
    let line = world.gateway.folder.log_line("http", "2");
    assert_eq!(
        (&line["subject"], &line["client"]),
        (&json!("app@clients"), &json!("app"))
    );
    let log = format!("{:?}", world.gateway.folder.log());
    assert!(
        !log.contains(SECRET) && !log.contains(&authorization[6..]),
        "{log}"
    );
}

#[test]
fn what_the_token_says_decides_on_every_route() {
    let world = World::start(SHORT);
    let right = basic("app", SECRET);
    let fields = [("authorization", right.as_str())];
    // The first time as well as from the cache.
    for _ in 0..2 {
        let response = world.refused_with("/write", &fields, 403, "insufficient_scope");
        assert!(
            response
                .field("www-authenticate")
                .unwrap()
                .contains(r#"scope="write:items""#)
        );
    }
    assert_eq!(world.issuer.exchanged(), 1);
    // It only reports: the token goes on, as that of a client would.
    assert_eq!(world.ask("/report", &fields).status, 200);
    let seen = world.upstream.last();
    assert!(seen.field("authorization").unwrap().starts_with("Bearer "));
    let labels = [("reason", "insufficient_scope"), ("decision", "shadow_deny")];
    assert_eq!(decisions(&world.gateway.metrics(), &labels), 1.0);
    // And what was not exchanged does not.
    assert_eq!(world.get("/report", "app", "wrong").status, 200);
    assert_eq!(world.upstream.last().field("authorization"), None);
    let labels = [("reason", "bad_api_key"), ("decision", "shadow_deny")];
    assert_eq!(decisions(&world.gateway.metrics(), &labels), 1.0);
    // Where nothing is asked nothing is exchanged, and no secret goes on.
    let exchanged = world.issuer.exchanged();
    assert_eq!(world.get("/open", "app", "whatever").status, 200);
    assert_eq!(world.upstream.last().field("authorization"), None);
    assert_eq!(world.ask("/open", &[("authorization", "Bearer x")]).status, 200);
    assert_eq!(world.upstream.last().field("authorization"), Some("Bearer x"));
    assert_eq!(world.issuer.exchanged(), exchanged);
}

#[test]
fn a_wrong_key_is_told_so_and_remembered_for_a_moment() {
    let world = World::start(&keys("negative_ttl: 1m"));
    for (id, secret) in [("app", "wrong"), ("nobody", SECRET)] {
        let exchanged = world.issuer.exchanged();
        for _ in 0..3 {
            let response = world.refused(id, secret, 401, "bad_api_key");
            assert_eq!(
                response.field("www-authenticate"),
                Some(r#"Bearer realm="urn:items", Basic realm="urn:items", charset="UTF-8""#)
            );
            assert_eq!(response.json()["error"], "bad_api_key");
        }
        assert_eq!(world.issuer.exchanged(), exchanged + 1);
    }
    assert_eq!(world.results("wrong"), 2.0);
    world.allowed("app", SECRET);
    // Nothing at all is told of both schemes, a bad token as well.
    let response = world.refused_with("/items", &[], 401, "missing_token");
    assert!(
        response
            .field("www-authenticate")
            .unwrap()
            .contains("Basic realm=")
    );
    let bad = [("authorization", "Bearer a.b.c")];
    let response = world.refused_with("/items", &bad, 401, "malformed_token");
    let challenge = response.field("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("Bearer realm=\"urn:items\", error=\"invalid_token\""),
        "{challenge}"
    );
    assert!(
        challenge.ends_with(r#", Basic realm="urn:items", charset="UTF-8""#),
        "{challenge}"
    );
}

#[test]
fn a_client_without_grant_is_told_another_thing_than_a_wrong_key() {
    let world = World::start(&keys("negative_ttl: 0s"));
    let mut other = KnownClient::new(SECRET, "read:items");
    other.audience = Some("urn:other".into());
    world.issuer.know("other", other);
    let mut bound = KnownClient::new(SECRET, "read:items");
    bound.token_type = "DPoP";
    world.issuer.know("bound", bound);
    // However often: that is no guessing, and no fault of the issuer.
    for _ in 0..10 {
        let response = world.refused("other", SECRET, 403, "api_key_not_granted");
        assert_eq!(response.field("www-authenticate"), None);
        world.refused("bound", SECRET, 403, "api_key_not_granted");
    }
    assert_eq!(
        (world.results("not_granted"), world.results("not_bearer")),
        (10.0, 10.0)
    );
    assert_eq!(world.breaker(), 0.0);
    world.allowed("app", SECRET);
}

#[test]
fn the_token_is_verified_like_any_other() {
    let world = World::start(SHORT);
    let now = crate::harness::issuer::now();
    for (number, (claims, reason)) in [
        (json!({"aud": "urn:other"}), "audience_mismatch"),
        (json!({"iss": "https://other.example/"}), "issuer_mismatch"),
        (json!({"exp": now - 60}), "expired"),
        (json!({"nbf": now + 600}), "not_yet_valid"),
        (json!({"scope": 7}), "malformed_claim"),
        (json!({"nonce": "x"}), "wrong_type"),
        (json!({"cnf": {"jkt": "x"}}), "dpop_missing"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = KnownClient::new(SECRET, "read:items");
        client.claims = claims;
        let id = format!("client-{number}");
        world.issuer.know(&id, client);
        world.refused(&id, SECRET, 401, reason);
    }
    for (id, token, reason) in [
        ("opaque", "2YotnFZFEjr1zCsicMWpAA", "malformed_token"),
        (
            "jwe",
            "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.AAAA.AAAA",
            "malformed_token",
        ),
    ] {
        let mut client = KnownClient::new(SECRET, "read:items");
        client.token = Some(token.into());
        world.issuer.know(id, client);
        world.refused(id, SECRET, 401, reason);
    }
    // Of a key that nobody knows yet, the set is fetched.
    world.issuer.rotate();
    world.issuer.know("late", KnownClient::new(SECRET, "read:items"));
    world.allowed("late", SECRET);
}

#[test]
fn a_revoked_client_is_refused() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    issuer.know("app", KnownClient::new(SECRET, "read:items"));
    let yaml = with(&issuer, &upstream, SHORT) + "revocations: { file: revoked.json }\n";
    let listed = json!({"revocations": [{"issuer": issuer.identifier(), "sub": "app@clients"}]}).to_string();
    let gateway = Gateway::start_with(&yaml, &[("revoked.json", &listed)]);
    for _ in 0..2 {
        let response = gateway
            .client()
            .get("/items", &[("authorization", &basic("app", SECRET))]);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (401, &json!("revoked"))
        );
    }
    assert_eq!((upstream.requests(), issuer.exchanged()), (0, 1));
}

#[test]
fn wrong_keys_of_one_client_are_throttled_and_its_right_one_is_not() {
    let world = World::start(&keys("negative_ttl: 1m, ttl: 1s"));
    world.allowed("app", SECRET);
    let asked = world.issuer.exchanged();
    let mut throttled = 0;
    for number in 0..40 {
        let response = world.get("/items", "app", &format!("wrong-{number}"));
        match response.status {
            401 => assert_eq!(throttled, 0, "once throttled, it stays so for seconds"),
            429 => {
                throttled += 1;
                assert_eq!(response.json()["reason"], "api_key_throttled");
                let after: u64 = response.field("retry-after").unwrap().parse().unwrap();
                assert!((1..=13).contains(&after), "{after}");
                assert_eq!(response.field("www-authenticate"), None);
            }
            other => panic!("{other}: {}", response.text()),
        }
    }
    // A slow machine may get one more within the time of the test.
    let reached = world.issuer.exchanged() - asked;
    assert!((5..=10).contains(&reached), "{reached}");
    assert_eq!(world.upstream.requests(), 1);
    assert!(
        decisions(
            &world.gateway.metrics(),
            &[("reason", "api_key_throttled"), ("decision", "deny")]
        ) >= 25.0
    );
    // Whoever had it right a moment ago has it exchanged anew, throttled or not.
    let asked = world.issuer.exchanged();
    eventually("another exchange", || {
        world.allowed("app", SECRET);
        world.issuer.exchanged() > asked
    });
}

#[test]
fn wrong_keys_of_one_address_are_throttled_whatever_the_client() {
    let world = World::start_with(SHORT, "trusted_proxies: [127.0.0.1]\n");
    let ask = |from: &str, id: &str, secret: &str| {
        world.ask(
            "/items",
            &[("authorization", &basic(id, secret)), ("x-forwarded-for", from)],
        )
    };
    let statuses: Vec<u16> = (0..60)
        .map(|number| ask("192.0.2.1", &format!("client-{number}"), "wrong").status)
        .collect();
    assert!(statuses[..20].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    let reached = world.issuer.exchanged();
    assert!((20..40).contains(&reached), "{reached}");
    assert_eq!(world.upstream.requests(), 0);
    // Others are not concerned; of this address even a right key is not tried.
    assert_eq!(ask("192.0.2.2", "app", SECRET).status, 200);
    assert_eq!(ask("192.0.2.1", "app", SECRET).status, 200, "it is known by now");
    world
        .issuer
        .know("second", KnownClient::new(SECRET, "read:items"));
    let statuses: Vec<u16> = (0..30).map(|_| ask("192.0.2.1", "x", "wrong").status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn fifty_requests_with_one_key_are_one_exchange() {
    let world = World::start_with(SHORT, "limits: { upstream_connections: 20 }\n");
    world.issuer.set_token_mode(TokenMode::Hold);
    let mut clients: Vec<Client> = (0..50).map(|_| world.gateway.client()).collect();
    let authorization = basic("app", SECRET);
    for client in &mut clients {
        client.send(format!(
            "GET /items HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\r\n"
        ));
    }
    eventually("50 requests in flight", || {
        let metrics = world.gateway.metrics();
        metrics.value("scopegate_http_requests_in_flight", &[]) == 50.0
    });
    world.issuer.wait_for_exchanges(1);
    assert_eq!(world.upstream.requests(), 0);
    world.issuer.set_token_mode(TokenMode::Up);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!((world.issuer.exchanged(), world.upstream.requests()), (1, 50));
}

#[test]
fn exchanges_and_those_who_wait_are_bounded() {
    let world = World::start(&keys("concurrency: 2, max_waiting: 4, timeout: 20s"));
    world.issuer.set_token_mode(TokenMode::Hold);
    let mut clients: Vec<Client> = (0..4).map(|_| world.gateway.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let id = format!("client-{number}");
        world.issuer.know(&id, KnownClient::new(SECRET, "read:items"));
        let authorization = basic(&id, SECRET);
        client.send(format!(
            "GET /items HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\r\n"
        ));
    }
    world.issuer.wait_for_exchanges(2);
    eventually("four requests in flight", || {
        let metrics = world.gateway.metrics();
        metrics.value("scopegate_http_requests_in_flight", &[]) == 4.0
    });
    world.unavailable("one-too-many", SECRET);
    assert_eq!((world.issuer.exchanged(), world.results("full")), (2, 1.0));
    world.issuer.set_token_mode(TokenMode::Up);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(world.issuer.exchanged(), 4);
}

#[test]
fn an_issuer_that_gives_no_answer_says_nothing_about_the_key() {
    let world = World::start(&keys("timeout: 1s, failures: 1000"));
    let json_type = "content-type: application/json\r\n";
    let answer = |status, body: &str| TokenMode::Answer(status, json_type, body.into());
    let large = format!(
        r#"{{"access_token":"{}","token_type":"Bearer"}}"#,
        "x".repeat(65 << 10)
    );
    let good = r#"{"access_token":"a.b.c","token_type":"Bearer"}"#;
    let modes = [
        (TokenMode::Close, "protocol"),
        (TokenMode::Hang, "timeout"),
        (answer(500, "{}"), "status"),
        (answer(503, r#"{"error":"access_denied"}"#), "status"),
        (answer(404, "{}"), "status"),
        (answer(403, "<html>"), "status"),
        (answer(400, r#"{"error":"unsupported_grant_type"}"#), "status"),
        (answer(307, good), "status"),
        (answer(201, good), "status"),
        (answer(200, "{}"), "malformed"),
        (answer(200, "nonsense"), "malformed"),
        (answer(200, r#"{"access_token":"a"}"#), "malformed"),
        (
            answer(200, r#"{"access_token":"a\r\nx","token_type":"Bearer"}"#),
            "malformed",
        ),
        (answer(200, &large), "too_large"),
        (
            TokenMode::Answer(200, "content-type: text/html\r\n", good.into()),
            "media_type",
        ),
    ];
    for (mode, result) in modes {
        let (counted, asked) = (world.results(result), world.issuer.exchanged());
        world.issuer.set_token_mode(mode.clone());
        world.unavailable("app", SECRET);
        assert_eq!(world.results(result), counted + 1.0, "{mode:?}");
        assert_eq!(
            world.issuer.exchanged(),
            asked + 1,
            "no redirect is followed: {mode:?}"
        );
    }
    // Nothing of it is remembered, and none of it counts as a wrong key.
    world.issuer.set_token_mode(TokenMode::Up);
    world.allowed("app", SECRET);
    assert_eq!(world.results("granted"), 1.0);
    assert!(world.gateway.ready().is_ok());
}

#[test]
fn what_is_known_passes_while_the_issuer_is_down() {
    let world = World::start(&keys("failures: 2, cooldown: 2s"));
    world.allowed("app", SECRET);
    world.issuer.set_mode(IssuerMode::Down);
    for number in 0..2 {
        assert_eq!(world.breaker(), 0.0);
        world.unavailable(&format!("client-{number}"), SECRET);
        world.allowed("app", SECRET);
    }
    assert_eq!(world.breaker(), 2.0);
    let exchanged = world.issuer.exchanged();
    world.unavailable("another", SECRET);
    world.allowed("app", SECRET);
    assert_eq!(
        (world.issuer.exchanged(), world.results("open")),
        (exchanged, 1.0)
    );
    world.issuer.set_mode(IssuerMode::Up);
    world
        .issuer
        .know("another", KnownClient::new(SECRET, "read:items"));
    eventually("the issuer to be asked again", || {
        world.get("/items", "another", SECRET).status == 200
    });
    assert_eq!(world.breaker(), 0.0);
}

#[test]
fn the_issuers_own_429_is_obeyed() {
    let world = World::start(&keys("failures: 3"));
    let throttled = "content-type: application/json\r\nretry-after: 30\r\n";
    let body = r#"{"error":"too_many_requests"}"#;
    world
        .issuer
        .set_token_mode(TokenMode::Answer(429, throttled, body.into()));
    for _ in 0..3 {
        let response = world.refused("app", SECRET, 429, "api_key_throttled");
        let after: u64 = response.field("retry-after").unwrap().parse().unwrap();
        assert!((15..=30).contains(&after), "{after}");
    }
    assert_eq!(world.issuer.exchanged(), 1, "not before it wants to be asked");
    // Others may have better luck; where nobody has, nobody asks, for as long as the issuer said.
    for number in 0..2 {
        world.refused(&format!("client-{number}"), SECRET, 429, "api_key_throttled");
    }
    assert_eq!((world.issuer.exchanged(), world.breaker()), (3, 2.0));
    let response = world.refused("yet-another", SECRET, 503, "exchange_unavailable");
    let after: u64 = response.field("retry-after").unwrap().parse().unwrap();
    assert!((15..=30).contains(&after), "{after}");
    assert_eq!((world.issuer.exchanged(), world.results("throttled")), (3, 3.0));
}

#[test]
fn a_token_is_exchanged_anew_before_it_ends() {
    let world = World::start(&(keys("ttl: 1h") + "    leeway: 1s\n"));
    for (id, tells_lifetime) in [("told", true), ("read", false)] {
        let mut client = KnownClient::new(SECRET, "read:items");
        client.lifetime = 4;
        client.tells_lifetime = tells_lifetime;
        world.issuer.know(id, client);
        let began = Instant::now();
        let before = world.issuer.exchanged();
        let mut tokens = Vec::new();
        while world.issuer.exchanged() < before + 2 {
            world.allowed(id, SECRET);
            let token = world.upstream.last().field("authorization").unwrap().to_owned();
            if tokens.last() != Some(&token) {
                tokens.push(token);
            }
            assert!(began.elapsed() < Duration::from_secs(15));
            std::thread::park_timeout(Duration::from_millis(50));
        }
        assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(tokens.len(), 2);
    }
}

#[test]
fn a_changed_secret_ends_with_the_time_that_was_configured() {
    let world = World::start(&keys("ttl: 2s, negative_ttl: 1s"));
    world.allowed("app", SECRET);
    world
        .issuer
        .know("app", KnownClient::new("another", "read:items"));
    world.allowed("app", "another");
    let began = Instant::now();
    eventually("the old secret to be refused", || {
        world.get("/items", "app", SECRET).status == 401
    });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    world.refused("app", SECRET, 401, "bad_api_key");
    world.allowed("app", "another");
}

#[test]
fn what_cannot_be_a_key_is_not_exchanged() {
    let world = World::start(SHORT);
    let long = basic("app", &"x".repeat(2_048));
    let encode = |pair: &[u8]| format!("Basic {}", STANDARD.encode(pair));
    let control = encode(b"app:a\nb");
    let escaped = encode(b"app:a%0Ab");
    let not_utf8 = encode(b"app:\xff");
    for value in [
        "Basic",
        "Basic !!!",
        "Basic YXBwOnM",
        "Basic YXBwOnM= x",
        "Basic YXBwOnNl YXBwOnNl",
        "Basic YXBw",
        "Basic YXBwOg==",
        "Basic OnNlY3JldA==",
        &long,
        &control,
        &escaped,
        &not_utf8,
    ] {
        let fields = [("authorization", value)];
        let response = world.refused_with("/items", &fields, 400, "malformed_authorization");
        assert!(
            response
                .field("www-authenticate")
                .unwrap()
                .contains("Basic realm=")
        );
    }
    let right = basic("app", SECRET);
    for other in [right.as_str(), "Bearer a.b.c", "Basic x"] {
        let both = [("authorization", right.as_str()), ("authorization", other)];
        world.refused_with("/items", &both, 400, "multiple_tokens");
    }
    assert_eq!(world.issuer.exchanged(), 0);
}

#[test]
fn odd_characters_arrive_as_they_are_meant() {
    let world = World::start(SHORT);
    for (id, secret, written) in [
        // As curl -u writes them.
        ("plain", "a+b/c==~!$&'()*,;@", "plain:a+b/c==~!$&'()*,;@"),
        ("colon", "a:b:c", "colon:a:b:c"),
        ("percent", "100%", "percent:100%"),
        // As RFC 6749 section 2.3.1 has them.
        ("urn:id", "p%:+ ü", "urn%3Aid:p%25%3A%2B%20%C3%BC"),
    ] {
        world.issuer.know(id, KnownClient::new(secret, "read:items"));
        let authorization = format!("Basic {}", STANDARD.encode(written));
        let response = world.ask("/items", &[("authorization", &authorization)]);
        assert_eq!(response.status, 200, "{written} {}", response.text());
        let last = world.issuer.exchanges().pop().unwrap();
        assert_eq!(last.credentials(), (id.into(), secret.into()));
    }
}

#[test]
fn a_header_of_its_own_may_have_the_key() {
    let world = World::start(&keys("header: X-Api-Key"));
    let pair = format!("app:{SECRET}");
    let response = world.ask("/items", &[("x-api-key", &pair)]);
    assert_eq!(response.status, 200, "{}", response.text());
    // No cache between knows from `Authorization` that it is for one client.
    assert_eq!(response.field("cache-control"), Some("private"));
    let seen = world.upstream.last();
    assert_eq!(seen.field("x-api-key"), None);
    assert!(seen.field("authorization").unwrap().starts_with("Bearer "));
    assert_eq!(world.get("/items", "app", SECRET).field("cache-control"), None);

    let exchanged = world.issuer.exchanged();
    let token = world.upstream.last().field("authorization").unwrap().to_owned();
    let right = basic("app", SECRET);
    let twice = [("x-api-key", pair.as_str()), ("x-api-key", &pair)];
    world.refused_with("/items", &twice, 400, "multiple_tokens");
    for authorization in [&right, &token] {
        let both = [("x-api-key", pair.as_str()), ("authorization", authorization)];
        world.refused_with("/items", &both, 400, "multiple_tokens");
    }
    for value in ["", "app", "app:", ":x", &right] {
        world.refused_with("/items", &[("x-api-key", value)], 400, "malformed_authorization");
    }
    assert_eq!(world.issuer.exchanged(), exchanged);
    // On a public route it is nobody's either.
    assert_eq!(world.ask("/open", &[("x-api-key", &pair)]).status, 200);
    assert_eq!(world.upstream.last().field("x-api-key"), None);
    let response = world.refused_with("/items", &[("x-api-key", "app:wrong")], 401, "bad_api_key");
    assert!(!response.text().contains("wrong:"));
}

#[test]
fn the_upstream_gets_no_token_where_it_is_to_have_none() {
    let world = World::start(&format!(
        "{SHORT}    forward: {{ token: strip, identity_headers: {{ X-Client: azp }} }}\n"
    ));
    world.allowed("app", SECRET);
    let seen = world.upstream.last();
    assert_eq!(
        (seen.field("authorization"), seen.field("x-client")),
        (None, Some("app"))
    );
}

#[test]
fn the_issuer_is_asked_as_it_is_told() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    issuer.know("app", KnownClient::new("s/+%:ü", "read:items"));
    let endpoint = format!("{}oauth/token", issuer.identifier());
    let options = format!(
        "token_endpoint: '{endpoint}', authentication: client_secret_basic, scope: 'read:items write:items', issuer: '{}'",
        issuer.identifier()
    );
    let gateway = Gateway::start(&with(&issuer, &upstream, &keys(&options)));
    let discovered = issuer.counts().discovery;
    let fields = [("authorization", &*basic("app", "s/+%:ü"))];
    assert_eq!(gateway.client().get("/items", &fields).status, 200);
    let exchange = issuer.exchanges().remove(0);
    assert_eq!(exchange.credentials(), ("app".into(), "s/+%:ü".into()));
    assert_eq!(exchange.form["scope"], "read:items write:items");
    assert_eq!(exchange.form.len(), 3, "{:?}", exchange.form);
    assert_eq!(issuer.counts().discovery, discovered);
}

#[test]
fn a_browser_does_not_speak_for_another_site() {
    let world = World::start(&keys("header: X-Api-Key"));
    let right = basic("app", SECRET);
    let post = |fields: &[(&str, &str)]| world.gateway.client().request("POST", "/items", fields, b"x");
    let foreign = [
        ("authorization", right.as_str()),
        ("origin", "https://evil.example"),
    ];
    let response = post(&foreign);
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (403, &json!("cross_site"))
    );
    assert_eq!((world.upstream.requests(), world.issuer.exchanged()), (0, 0));
    assert_eq!(post(&foreign[..1]).status, 200);
    let own = [
        ("authorization", right.as_str()),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(post(&own).status, 200);
    // Nobody sends another header by themselves.
    let pair = format!("app:{SECRET}");
    assert_eq!(
        post(&[("x-api-key", &pair), ("origin", "https://evil.example")]).status,
        200
    );
}

#[test]
fn grpc_clients_are_told_in_their_way() {
    let world = World::start(SHORT);
    let mut client = Http2Client::connect(world.gateway.http2_address());
    let mut call = |authorization: &str| {
        let fields = [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", authorization),
        ];
        let response = client
            .request("POST", "http://localhost/items", &fields, b"")
            .unwrap();
        assert_eq!(response.status, 200);
        let field = |name: &str| response.headers[name].to_str().unwrap().to_owned();
        (field("grpc-status"), field("grpc-message"))
    };
    let (status, message) = call(&basic("app", "wrong"));
    assert_eq!(
        (&*status, &*message),
        ("16", "bad_api_key: the issuer does not accept the API key")
    );
    for number in 0..20 {
        call(&basic("app", &format!("wrong-{number}")));
    }
    assert_eq!(call(&basic("app", "wrong-more")).0, "8");
    world.issuer.set_mode(IssuerMode::Down);
    assert_eq!(call(&basic("other", SECRET)).0, "14");
    assert_eq!(call("Basic x").0, "3");
    assert_eq!(world.upstream.requests(), 0);
}

#[test]
fn an_opaque_token_is_asked_about_in_its_turn() {
    let (issuer, authority, upstream) = (Issuer::start(), Introspector::start(), Upstream::start());
    let mut client = KnownClient::new(SECRET, "");
    client.token = Some("opaque-1".into());
    issuer.know("app", client);
    let (tokens, asked) = (
        format!("{}oauth/token", issuer.identifier()),
        authority.identifier(),
    );
    let yaml = format!(
        "issuers:
  - issuer: {asked}
    introspection: {{ client_id: gateway, client_secret: file:secret }}
apis:
  - definition: {{ identifier: {ITEMS}, signing_alg: RS256, scopes: [{{ value: read:items }}, {{ value: write:items }}] }}
    upstream: {}
    introspection: {{ tokens: all }}
    api_keys: {{ token_endpoint: '{tokens}' }}
{ROUTES}",
        upstream.url()
    );
    let gateway = Gateway::start_with(&yaml, &[("secret", "s")]);
    authority.tell("opaque-1", authority.active(ITEMS, "read:items"));
    for _ in 0..2 {
        let fields = [("authorization", &*basic("app", SECRET))];
        let response = gateway.client().get("/items", &fields);
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(upstream.last().field("authorization"), Some("Bearer opaque-1"));
    }
    assert_eq!((issuer.exchanged(), authority.asked()), (1, 1));
}

#[test]
fn what_was_exchanged_outlives_a_reload() {
    let world = World::start(SHORT);
    world.allowed("app", SECRET);
    let generation = world.gateway.generation();
    let yaml = with(&world.issuer, &world.upstream, SHORT).replace("/write", "/written");
    world.gateway.configure(&yaml);
    world.gateway.reload();
    eventually("another generation", || world.gateway.generation() != generation);
    world.issuer.set_token_mode(TokenMode::Close);
    world.allowed("app", SECRET);
    assert_eq!(world.issuer.exchanged(), 1);
}

#[test]
fn the_log_names_the_trouble_and_no_secret() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    issuer.know("app", KnownClient::new(SECRET, "read:items"));
    let process = Process::start(&with(
        &issuer,
        &upstream,
        &keys("failures: 100, negative_ttl: 0s"),
    ));
    let get = |id: &str, secret: &str| {
        let fields = [("authorization", &*basic(id, secret))];
        Client::connect(process.address()).get("/items", &fields).status
    };
    issuer.set_token_mode(TokenMode::Answer(500, "", SECRET.into()));
    assert_eq!((get("app", SECRET), get("app", SECRET)), (503, 503));
    issuer.set_token_mode(TokenMode::Up);
    assert_eq!((get("app", SECRET), get("app", "wrong-secret")), (200, 401));
    process.wait_for_log("the token endpoint answers again");
    let mut bound = KnownClient::new(SECRET, "read:items");
    bound.token_type = "DPoP";
    issuer.know("bound", bound);
    assert_eq!(get("bound", SECRET), 403);
    // The log is written beside the answers: a line may come after the answer it is about.
    let told = "must not be made to prove possession";
    eventually(told, || format!("{:?}", process.log()).contains(told));
    let log = process.log();
    let faults = log
        .iter()
        .filter(|line| line["message"] == "API keys cannot be exchanged");
    assert_eq!(faults.count(), 1, "the same fault is told once: {log:?}");
    let text = format!("{log:?}");
    let token = upstream.last().field("authorization").unwrap()[7..].to_owned();
    for secret in [SECRET, "wrong-secret", &basic("app", SECRET)[6..], &token] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn explain_exchanges_too() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    issuer.know("app", KnownClient::new(SECRET, "read:items"));
    let folder = Folder::new(&with(&issuer, &upstream, SHORT), &[]);
    let path = folder.config().to_str().unwrap().to_owned();
    let explain = |value: &str| {
        let header = format!("Authorization: {value}");
        let arguments = [
            "explain",
            "--config",
            &path,
            "--output",
            "json",
            "GET /items",
            "--header",
            &header,
        ];
        let output = gateway::run(&arguments, "");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let check = |name: &str| {
            let checks = said["checks"].as_array().unwrap();
            let check = checks.iter().find(|check| check["check"] == name).unwrap();
            check["result"].as_str().unwrap().to_owned()
        };
        let results = ["API key", "signature", "permissions"].map(check);
        let reason = said["reason"].as_str().unwrap().to_owned();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!format!("{said}{stderr}").contains(SECRET));
        (output.status.code(), reason, results, stderr)
    };
    let (code, reason, results, stderr) = explain(&basic("app", SECRET));
    assert_eq!((code, &*reason), (Some(0), "ok"), "{stderr}");
    assert_eq!(results, ["pass", "pass", "pass"]);
    let (code, reason, results, _) = explain(&basic("app", "wrong"));
    assert_eq!((code, &*reason), (Some(3), "bad_api_key"));
    assert_eq!(results, ["fail", "not_reached", "not_reached"]);
    let token = issuer.token(ITEMS, "read:items");
    let (code, _, results, _) = explain(&format!("Bearer {token}"));
    assert_eq!(
        (code, results),
        (Some(0), ["not_needed", "pass", "pass"].map(String::from))
    );
    issuer.set_token_mode(TokenMode::Answer(500, "", String::new()));
    let (code, reason, results, stderr) = explain(&basic("app", SECRET));
    assert_eq!((code, &*reason), (Some(3), "exchange_unavailable"));
    assert_eq!(results, ["fail", "not_reached", "not_reached"]);
    assert!(
        stderr.contains("cannot be asked for a token: status 500"),
        "{stderr}"
    );
}

#[test]
fn an_api_without_keys_takes_none() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    issuer.know("app", KnownClient::new(SECRET, "read:items"));
    let gateway = Gateway::start(&with(&issuer, &upstream, ""));
    let fields = [("authorization", &*basic("app", SECRET))];
    let response = gateway.client().get("/items", &fields);
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (401, &json!("missing_token"))
    );
    assert_eq!(
        response.field("www-authenticate"),
        Some(r#"Bearer realm="urn:items""#)
    );
    assert_eq!((issuer.exchanged(), upstream.requests()), (0, 0));
}
