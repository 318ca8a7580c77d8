//! Keys that rotate, and issuers that fail: no good token is refused, no bad one costs more than one fetch, and nobody
//! is told that a token is bad while that cannot be known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::json;

use crate::harness::client::get_with;
use crate::harness::gateway::{ITEMS, items};
use crate::harness::{Client, Gateway, Issuer, IssuerMode, Upstream, eventually};
use crate::support::forge::{SigningKey, encode, jwks};

const ROUTES: &str = "    routes: [{ path: /items, require: read:items }]\n";

/// A configuration whose issuer is fetched with these settings.
fn with_jwks(issuer: &Issuer, upstream: &Upstream, jwks: &str) -> String {
    let line = format!("  - issuer: {}\n", issuer.identifier());
    items(issuer, upstream, ROUTES).replace(&line, &format!("{line}    jwks: {jwks}\n"))
}

/// Sends requests with what `token` gives until it is told to stop. Returns the statuses that were not 200.
fn load(
    address: std::net::SocketAddr,
    is_over: &Arc<AtomicBool>,
    count: &Arc<AtomicUsize>,
    token: impl Fn() -> String + Send + 'static,
) -> std::thread::JoinHandle<Vec<(u16, String)>> {
    let (is_over, count) = (Arc::clone(is_over), Arc::clone(count));
    std::thread::spawn(move || {
        let mut client = Client::connect(address);
        let mut failures = Vec::new();
        while !is_over.load(Ordering::SeqCst) {
            let bearer = format!("Bearer {}", token());
            let response = client.get("/items", &[("authorization", &bearer)]);
            if response.status != 200 {
                failures.push((response.status, response.text()));
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
        failures
    })
}

#[test]
fn a_rotation_refuses_no_good_token() {
    let (issuer, upstream) = (Arc::new(Issuer::start()), Upstream::start());
    let yaml = with_jwks(&issuer, &upstream, "{ cooldown: 100ms }");
    let gateway = Gateway::start(&yaml);
    let old = issuer.token(ITEMS, "read:items");
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut running = vec![load(gateway.address(), &is_over, &count, {
        let old = old.clone();
        move || old.clone()
    })];
    // Signed anew each time, with whatever key is current.
    for _ in 0..2 {
        let issuer = Arc::clone(&issuer);
        running.push(load(gateway.address(), &is_over, &count, move || {
            issuer.token(ITEMS, "read:items")
        }));
    }
    let some_requests = || {
        let before = count.load(Ordering::SeqCst);
        eventually("some requests", || count.load(Ordering::SeqCst) > before + 60);
    };
    some_requests();
    for _ in 0..2 {
        issuer.rotate();
        let new = issuer.token(ITEMS, "read:items");
        assert_eq!(get_with(gateway.address(), "/items", &new).status, 200);
        some_requests();
        // Two rotations within one cooldown are one too many: the second key waits for the next fetch.
        let served = Instant::now();
        eventually("the cooldown is over", || {
            served.elapsed() > Duration::from_millis(500)
        });
    }
    is_over.store(true, Ordering::SeqCst);
    for thread in running {
        let failures = thread.join().unwrap();
        // Not even one: the key was published before it signed.
        assert!(failures.is_empty(), "{failures:?}");
    }
    assert_eq!(
        get_with(gateway.address(), "/items", &old).status,
        200,
        "old keys serve on"
    );
    gateway.until_idle();
}

#[test]
fn unknown_keys_cost_one_fetch_per_cooldown() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&with_jwks(&issuer, &upstream, "{ cooldown: 1h }"));
    let good = issuer.token(ITEMS, "read:items");
    let fetched = issuer.counts().jwks;
    // Only the header differs; the signature is not even looked at.
    let draft = issuer.draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
    let signed = issuer.sign(&draft);
    let (_, rest) = signed.split_once('.').unwrap();
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let (address, rest) = (gateway.address(), rest.to_owned());
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..5_000 {
                    let header = json!({"alg": "RS256", "typ": "JWT", "kid": format!("random-{thread}-{n}")});
                    let header = crate::support::forge::encode(header.to_string().as_bytes());
                    let response =
                        client.get("/items", &[("authorization", &format!("Bearer {header}.{rest}"))]);
                    assert!(matches!(response.status, 401 | 503), "{}", response.text());
                    assert_eq!(response.field("retry-after").is_some(), response.status == 503);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(issuer.counts().jwks - fetched, 1);
    assert_eq!(get_with(gateway.address(), "/items", &good).status, 200);
    let metrics = gateway.metrics();
    assert_eq!(
        metrics.value("scopegate_jwks_unknown_kid_total", &[("action", "fetch")]),
        1.0
    );
    assert_eq!(upstream.requests(), 1);
    gateway.until_idle();
}

/// Nothing can be fetched for keys that stand in the configuration: what is not among them does not exist.
#[test]
fn inline_keys_settle_every_unknown_key_at_once() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let draft = issuer.draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
    let kid = draft.header["kid"].as_str().unwrap().to_owned();
    let keys = jwks(&[SigningKey::fixture(SigningAlg::RS256, 1).jwk(&kid)]);
    let line = format!("  - issuer: {}\n", issuer.identifier());
    let inline = format!("{line}    jwks_inline: {keys}\n    jwks: {{ cooldown: 1h }}\n");
    let gateway = Gateway::start(&items(&issuer, &upstream, ROUTES).replace(&line, &inline));
    let token = issuer.sign(&draft.claim("scope", "read:items"));
    let (_, rest) = token.split_once('.').unwrap();
    for n in 0..5 {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": format!("unknown-{n}")});
        let header = encode(header.to_string().as_bytes());
        let response = get_with(gateway.address(), "/items", &format!("{header}.{rest}"));
        assert_eq!(response.status, 401, "{}", response.text());
        assert_eq!(response.json()["reason"], "unknown_kid");
        assert!(response.field("retry-after").is_none());
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(get_with(gateway.address(), "/items", &token).status, 200);
    let metrics = gateway.metrics();
    let unknown = |action| {
        let count = metrics.get("scopegate_jwks_unknown_kid_total", &[("action", action)]);
        count.unwrap_or_default()
    };
    assert_eq!(unknown("absent"), 5.0);
    assert_eq!(unknown("fetch") + unknown("wait") + unknown("cooldown"), 0.0);
    gateway.until_idle();
}

#[test]
fn an_issuer_that_is_down_at_the_start_harms_only_itself() {
    let (issuer, other, upstream) = (Issuer::start(), Issuer::start(), Upstream::start());
    issuer.set_mode(IssuerMode::Down);
    let yaml = format!(
        "issuers: [{{ issuer: {down} }}, {{ issuer: {up} }}]
apis:
  - definition: {{ identifier: urn:down, signing_alg: RS256 }}
    issuers: [{down}]
    hosts: [down.test]
    upstream: {upstream}
    routes: [{{ path: /items, require: authenticated }}, {{ path: /public, require: public }}]
  - definition: {{ identifier: {ITEMS}, signing_alg: RS256, scopes: [{{ value: read:items }}] }}
    issuers: [{up}]
    upstream: {upstream}
    routes: [{{ path: /items, require: read:items }}]
",
        down = issuer.identifier(),
        up = other.identifier(),
        upstream = upstream.url()
    );
    let gateway = Gateway::start_unready(&yaml, &[]);
    eventually("the keys of the other", || {
        gateway.ready().is_err_and(|missing| missing.len() == 1)
    });
    let ready = crate::harness::client::get(gateway.admin(), "/readyz", &[]);
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains(&issuer.identifier()), "{}", ready.text());

    let token = format!(
        "Bearer {}",
        issuer.sign(&issuer.draft(SigningAlg::RS256, TokenDialect::AccessToken, "urn:down"))
    );
    let ask = |target: &str| {
        gateway
            .client()
            .get(target, &[("host", "down.test"), ("authorization", &token)])
    };
    let response = ask("/items");
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (503, &json!("keys_unavailable"))
    );
    assert!(response.field("retry-after").is_some() && response.field("www-authenticate").is_none());
    assert_eq!(upstream.requests(), 0);
    assert_eq!(ask("/public").status, 200);
    let good = other.token(ITEMS, "read:items");
    assert_eq!(get_with(gateway.address(), "/items", &good).status, 200);

    issuer.set_mode(IssuerMode::Up);
    eventually("the issuer to be back", || gateway.ready().is_ok());
    assert_eq!(ask("/items").status, 200);
}

#[test]
fn the_last_good_keys_serve_while_the_issuer_fails() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&with_jwks(
        &issuer,
        &upstream,
        "{ ttl: 1s, max_stale: 1h, timeout: 300ms, cooldown: 100ms }",
    ));
    let good = issuer.token(ITEMS, "read:items");
    let failures = || {
        let metrics = gateway.metrics();
        let all = metrics.value("scopegate_jwks_fetches_total", &[]);
        all - metrics.value("scopegate_jwks_fetches_total", &[("result", "success")])
    };
    for mode in [
        IssuerMode::Down,
        IssuerMode::Status(503),
        IssuerMode::Garbage(b"<html>maintenance</html>".to_vec()),
        IssuerMode::Garbage(b"{\"keys\":[]}".to_vec()),
        IssuerMode::Garbage(vec![b' '; 600 << 10]),
        IssuerMode::Hang,
    ] {
        issuer.set_mode(IssuerMode::Up);
        let metric = |name: &str| gateway.metrics().value(name, &[]);
        let succeeded = || {
            gateway
                .metrics()
                .value("scopegate_jwks_fetches_total", &[("result", "success")])
        };
        let before = succeeded();
        eventually("a good fetch", || succeeded() > before);
        let before = failures();
        issuer.set_mode(mode.clone());
        eventually("a fetch that fails", || failures() > before);
        assert_eq!(
            get_with(gateway.address(), "/items", &good).status,
            200,
            "{mode:?}"
        );
        assert_eq!(metric("scopegate_jwks_keys"), 4.0, "{mode:?}");
        assert!(gateway.ready().is_ok(), "{mode:?}");
    }
}

#[test]
fn keys_that_are_too_old_are_given_up() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&with_jwks(
        &issuer,
        &upstream,
        "{ ttl: 1s, max_stale: 2s, timeout: 300ms }",
    ));
    let good = issuer.token(ITEMS, "read:items");
    assert_eq!(get_with(gateway.address(), "/items", &good).status, 200);
    issuer.set_mode(IssuerMode::Down);
    let began = Instant::now();
    let mut last = (0, String::new());
    eventually("503", || {
        let response = get_with(gateway.address(), "/items", &good);
        assert!(matches!(response.status, 200 | 503), "{}", response.text());
        last = (response.status, response.text());
        last.0 == 503
    });
    assert!(last.1.contains("keys_unavailable"), "{}", last.1);
    assert!(began.elapsed() > Duration::from_millis(500), "given up too soon");
    issuer.set_mode(IssuerMode::Up);
    eventually("the keys to be back", || {
        get_with(gateway.address(), "/items", &good).status == 200
    });
}
