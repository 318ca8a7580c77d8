//! The same bad token again and again: it is verified once, is told the same each time, and never longer than it is
//! true.

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::json;

use crate::harness::client::get_with;
use crate::harness::gateway::{ITEMS, items};
use crate::harness::issuer::{Draft, now};
use crate::harness::{Client, Gateway, Issuer, Upstream, eventually};
use crate::support::forge::{SigningKey, jwks};

const ROUTES: &str = "    leeway: 0s\n    routes: [{ path: /items, require: read:items }]\n";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn start(settings: &str, jwks: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let line = format!("  - issuer: {}\n", issuer.identifier());
        let yaml = items(&issuer, &upstream, ROUTES).replace(&line, &format!("{line}{jwks}"));
        let gateway = Gateway::start(&format!("{settings}{yaml}"));
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn draft(&self) -> Draft {
        let draft = self
            .issuer
            .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
        draft.claim("scope", "read:items")
    }

    fn verifications(&self) -> f64 {
        let labels = [("stage", "verify")];
        self.gateway
            .metrics()
            .value("scopegate_auth_duration_seconds_count", &labels)
    }

    fn look_ups(&self, cache: &str, result: &str) -> f64 {
        let labels = [("cache", cache), ("result", result)];
        self.gateway
            .metrics()
            .value("scopegate_cache_requests_total", &labels)
    }
}

/// A token whose signature is that of another.
fn spoiled(good: &str, other: &str) -> String {
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    format!("{signed}.{signature}")
}

#[test]
fn it_is_verified_once() {
    let world = World::start("", "");
    let good = world.issuer.sign(&world.draft());
    let sign = |draft: Draft| world.issuer.sign(&draft);
    let cases = [
        (
            "bad_signature",
            spoiled(&good, &sign(world.draft().claim("jti", "other"))),
        ),
        (
            "audience_mismatch",
            sign(world.draft().claim("aud", "urn:others")),
        ),
        ("wrong_type", sign(world.draft().claim("nonce", "n"))),
        ("missing_claim", sign(world.draft().without("exp"))),
        ("malformed_claim", sign(world.draft().claim("sub", 7))),
        ("expired", sign(world.draft().claim("exp", now() - 60))),
        (
            "certificate_missing",
            sign(world.draft().claim("cnf", json!({"x5t#S256": "A".repeat(43)}))),
        ),
    ];
    for (reason, token) in cases {
        let (before, hits) = (world.verifications(), world.look_ups("refused_token", "hit"));
        let bearer = format!("Bearer {token}");
        // Both workers, however the connections fall to them.
        for _ in 0..10 {
            let mut client = world.gateway.client();
            let mut first = None;
            for _ in 0..5 {
                let response = client.get("/items", &[("authorization", &bearer)]);
                let told = (
                    response.status,
                    response.field("www-authenticate").map(str::to_owned),
                );
                assert_eq!(response.json()["reason"], reason);
                assert_eq!(*first.get_or_insert_with(|| told.clone()), told, "{reason}");
            }
        }
        assert_eq!(world.verifications() - before, 1.0, "{reason}");
        assert_eq!(world.look_ups("refused_token", "hit") - hits, 49.0, "{reason}");
    }
    assert_eq!(world.upstream.requests(), 0);
    assert_eq!(get_with(world.gateway.address(), "/items", &good).status, 200);
}

#[test]
fn many_different_ones_push_no_good_one_out() {
    let world = World::start("token_cache: { entries: 10 }\n", "");
    let good = world.issuer.sign(&world.draft());
    assert_eq!(get_with(world.gateway.address(), "/items", &good).status, 200);
    let (before, hits) = (world.verifications(), world.look_ups("token", "hit"));
    let mut client: Client = world.gateway.client();
    for number in 0..300 {
        let other = world.issuer.sign(&world.draft().claim("jti", number));
        let bearer = format!("Bearer {}", spoiled(&other, &good));
        let response = client.get("/items", &[("authorization", &bearer)]);
        assert_eq!(response.json()["reason"], "bad_signature");
    }
    assert_eq!(world.verifications() - before, 300.0);
    assert_eq!(get_with(world.gateway.address(), "/items", &good).status, 200);
    assert_eq!(world.look_ups("token", "hit") - hits, 1.0);
    assert_eq!(world.upstream.requests(), 2);
}

#[test]
fn new_keys_decide_anew() {
    let world = World::start("", "    jwks: { ttl: 1s }\n");
    // Signed by a key that the set has under another name, and then under the one that the token says.
    let draft = world.draft();
    world.issuer.rotate_unpublished();
    let token = world.issuer.sign(&draft);
    let address = world.gateway.address();
    let generation = world.gateway.generation();
    for _ in 0..3 {
        assert_eq!(
            get_with(address, "/items", &token).json()["reason"],
            "bad_signature"
        );
    }
    let mut key = SigningKey::fixture(SigningAlg::RS256, 2).jwk(draft.header["kid"].as_str().unwrap());
    key["use"] = json!("sig");
    world.issuer.set_jwks(Some(jwks(&[key])));
    eventually("another generation", || world.gateway.generation() > generation);
    assert_eq!(get_with(address, "/items", &token).status, 200);
    assert_eq!(world.upstream.requests(), 1);
}

#[test]
fn a_token_that_becomes_valid_is_taken_at_once() {
    let world = World::start("", "");
    let begins = now() + 2;
    let token = world.issuer.sign(&world.draft().claim("nbf", begins));
    let address = world.gateway.address();
    let first = get_with(address, "/items", &token);
    // The machine may have been busy for that long.
    assert!(
        first.json()["reason"] == "not_yet_valid" || now() >= begins,
        "{}",
        first.text()
    );
    eventually("the token to begin", || now() > begins);
    assert_eq!(get_with(address, "/items", &token).status, 200);
}

/// Where no token is remembered, no refusal is either.
#[test]
fn without_a_cache_nothing_is_remembered() {
    let world = World::start("token_cache: { entries: 0 }\n", "");
    let token = spoiled(
        &world.issuer.sign(&world.draft()),
        &world.issuer.sign(&world.draft().claim("jti", "other")),
    );
    for _ in 0..3 {
        let refused = get_with(world.gateway.address(), "/items", &token);
        assert_eq!(refused.json()["reason"], "bad_signature");
    }
    assert_eq!(world.look_ups("refused_token", "hit"), 0.0);
    assert_eq!(world.upstream.requests(), 0);
}
