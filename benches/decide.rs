//! The pure core: what a request costs before a byte of it is forwarded.
//!
//! `cargo bench --bench decide`. Samples are few, so that a run is short; `DECIDE_SAMPLES=100` asks for more, and a name
//! after `--` runs one group. Compare two versions on one machine with `--save-baseline` and `--baseline`; numbers of
//! different machines say nothing about the code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark that meets the unexpected fails where it stands"
)]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{BatchSize, BenchmarkGroup, Criterion, measurement::WallTime};
use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};
use scopegate::definition::{PopMechanism, ProofOfPossession, SigningAlg, TokenDialect};
use scopegate::policy::{Api, Decision, Reason, RequestHead, RequestPath, decide};
use scopegate::snapshot::{RoutePlan, Snapshot};
use scopegate::token::{
    Principal, ProofDesk, ProofSettings, TokenError, UnixSeconds, VerifyToken, bearer_token,
};

use serde_json::json;
use support::api::{DIALECTS, NOW, TestApi};
use support::forge::{SigningKey, encode};

use support::routes::{Uncached, api_plan, guarded, public, snapshot, snapshot_of, with_methods};

/// One entry, compared byte for byte, with the checks that a hit must repeat: the least that any cache costs.
struct OneEntry {
    token: String,
    principal: Arc<Principal>,
}

impl VerifyToken<Api> for OneEntry {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        if token != self.token {
            return api.verifier.verify(token, now).map(Arc::new);
        }
        api.verifier.check_times(&self.principal, now)?;
        Ok(Arc::clone(&self.principal))
    }
}

/// The same for a token that is bound to a key: proofs are taken.
struct Bound {
    token: String,
    /// Of the first time that the token was seen.
    principal: OnceLock<Arc<Principal>>,
    desk: ProofDesk,
}

impl VerifyToken<Api> for Bound {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        match self.principal.get() {
            Some(principal) if token == self.token => {
                api.verifier.check_times(principal, now)?;
                Ok(Arc::clone(principal))
            }
            _ => {
                let principal = api.verifier.verify(token, now).map(Arc::new)?;
                Ok(Arc::clone(self.principal.get_or_init(|| principal)))
            }
        }
    }

    fn proofs(&self) -> Option<&ProofDesk> {
        Some(&self.desk)
    }
}

fn rs256() -> TestApi {
    TestApi::new(SigningAlg::RS256, TokenDialect::AccessToken)
}

/// 1,000 routes: 250 resources with a collection, an item, an action and whatever lies below.
fn thousand_routes() -> Vec<RoutePlan> {
    (0..250)
        .flat_map(|n| {
            [
                with_methods(
                    guarded(&format!("/api/v1/resource-{n}"), &["read:items"]),
                    &["GET", "POST"],
                ),
                guarded(&format!("/api/v1/resource-{n}/{{id}}"), &["read:items"]),
                guarded(
                    &format!("/api/v1/resource-{n}/{{id}}/actions/run"),
                    &["write:items"],
                ),
                public(&format!("/api/v1/resource-{n}/{{id}}/files/{{*rest}}")),
            ]
        })
        .collect()
}

fn headers(authorization: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("accept", HeaderValue::from_static("application/json"));
    headers.insert("user-agent", HeaderValue::from_static("bench"));
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
    }
    headers
}

fn request<'a>(path: &'a str, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead {
        method: &Method::GET,
        authority: "items.example.com",
        path,
        query: None,
        headers,
    }
}

/// What is measured must be what its name says.
#[track_caller]
fn expect(snapshot: &Snapshot, head: RequestHead<'_>, verify: &impl VerifyToken<Api>, expected: Reason) {
    let reason = match decide(&snapshot.table, head, verify, NOW) {
        Decision::Forward(permit) => permit.reason(),
        Decision::Refuse(denial) => denial.reason,
    };
    assert_eq!(reason, expected);
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    group
}

fn paths(criterion: &mut Criterion) {
    let mut group = group(criterion, "path");
    for (name, path) in [
        (
            "plain",
            "/api/v1/resource-137/0f8fad5b-d9cb-469f-a165-70867728950e",
        ),
        ("encoded", "/api/v1/resource-137/M%C3%BCnchen%20Ost"),
        ("refused", "/api/v1/resource-137/%2e%2e/admin"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| RequestPath::read(black_box(path)))
        });
    }
    group.finish();
}

/// Path and match alone: the routes are public, or there is none.
fn routes(criterion: &mut Criterion) {
    let snapshot = snapshot_of(rs256(), thousand_routes());
    let headers = headers(None);
    let mut group = group(criterion, "route_of_1000");
    for (name, path, expected) in [
        ("match", "/api/v1/resource-137/42/files/a/b.txt", Reason::Public),
        ("no_route", "/api/v2/resource-137/42", Reason::NoRoute),
    ] {
        let head = request(path, &headers);
        expect(&snapshot, head, &Uncached, expected);
        group.bench_function(name, |bencher| {
            bencher.iter(|| decide(&snapshot.table, black_box(head), &Uncached, NOW));
        });
    }
    group.finish();
}

fn verify(criterion: &mut Criterion) {
    let mut group = group(criterion, "verify");
    for alg in SigningAlg::ALL {
        let api = TestApi::new(alg, TokenDialect::AccessToken);
        let (verifier, token) = (api.verifier(), api.token());
        assert!(verifier.verify(&token, NOW).is_ok());
        group.bench_function(alg.name(), |bencher| {
            bencher.iter(|| verifier.verify(black_box(&token), NOW))
        });
    }
    for dialect in DIALECTS {
        let api = TestApi::new(SigningAlg::HS256, dialect);
        let (verifier, token) = (api.verifier(), api.token());
        group.bench_function(format!("HS256/{dialect:?}"), |bencher| {
            bencher.iter(|| verifier.verify(black_box(&token), NOW));
        });
    }
    group.finish();
}

fn decisions(criterion: &mut Criterion) {
    let api = rs256();
    let snapshot = snapshot_of(api, thousand_routes());
    let token = api.token();
    let authorization = format!("Bearer {token}");
    let with_token = headers(Some(&authorization));
    let path = "/api/v1/resource-137/42";
    let cached = OneEntry {
        principal: Arc::new(api.verifier().verify(&token, NOW).unwrap()),
        token: token.clone(),
    };
    let mut group = group(criterion, "decide");
    let head = request(path, &with_token);
    expect(&snapshot, head, &cached, Reason::Ok);
    group.bench_function("cached_token", |bencher| {
        bencher.iter(|| decide(&snapshot.table, black_box(head), &cached, NOW));
    });
    group.bench_function("new_RS256_token", |bencher| {
        bencher.iter(|| decide(&snapshot.table, black_box(head), &Uncached, NOW));
    });
    let value = authorization.as_bytes();
    group.bench_function("bearer", |bencher| {
        bencher.iter(|| bearer_token(std::iter::once(black_box(value))).is_ok());
    });
    group.finish();
}

/// A route that asks for one scope of a principal that is there: the bit test and the permit.
fn requirements(criterion: &mut Criterion) {
    let api = rs256();
    let snapshot = snapshot_of(
        api,
        vec![guarded("/x", &["read:items", "write:items", "admin:items"])],
    );
    let principal = api.verifier().verify(&api.token(), NOW).unwrap();
    let route = &snapshot.table.routes()[0];
    let scopegate::policy::Requirement::Token(requirement) = &route.requirement else {
        panic!("the route asks for nothing");
    };
    assert!(requirement.check(&principal, NOW).is_ok());
    let mut group = group(criterion, "authorize");
    group.bench_function("three_scopes", |bencher| {
        bencher.iter(|| requirement.check(black_box(&principal), NOW));
    });
    group.finish();
}

fn refusals(criterion: &mut Criterion) {
    let api = rs256();
    let snapshot = snapshot_of(api, thousand_routes());
    let token = api.token();
    let input = token.rsplit_once('.').unwrap().0;
    let forged = format!("Bearer {input}.{}", encode(&[1; 256]));
    let foreign = SigningKey::fixture(SigningAlg::RS256, 1).token(api.alg, &api.header(), &api.claims());
    let other_alg = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken).token();
    let mut group = group(criterion, "refuse");
    for (name, authorization, expected) in [
        ("missing", None, Reason::MissingToken),
        ("bad_signature", Some(forged), Reason::BadSignature),
        (
            "another_key",
            Some(format!("Bearer {foreign}")),
            Reason::BadSignature,
        ),
        (
            "another_alg",
            Some(format!("Bearer {other_alg}")),
            Reason::AlgMismatch,
        ),
        (
            "garbage",
            Some(format!("Bearer {}", "a".repeat(4_096))),
            Reason::MalformedToken,
        ),
        (
            "dots",
            Some(format!("Bearer {}", ".".repeat(4_096))),
            Reason::MalformedToken,
        ),
        (
            "too_large",
            Some(format!("Bearer {}", "a".repeat(20_000))),
            Reason::TokenTooLarge,
        ),
    ] {
        let headers = headers(authorization.as_deref());
        let head = request("/api/v1/resource-137/42", &headers);
        expect(&snapshot, head, &Uncached, expected);
        group.bench_function(name, |bencher| {
            bencher.iter(|| decide(&snapshot.table, black_box(head), &Uncached, NOW));
        });
    }
    group.finish();
}

/// A cached token that is bound to a key (RFC 9449), beside the verification that its proof takes at the least.
fn bound(criterion: &mut Criterion) {
    let (api, path) = (rs256(), "/items/7");
    let key = SigningKey::fixture(SigningAlg::ES256, 1);
    let mut jwk = key.jwk("");
    jwk.as_object_mut().unwrap().remove("kid");
    let members: Vec<String> = ["crv", "kty", "x", "y"]
        .iter()
        .map(|name| format!("\"{name}\":{}", jwk[name]))
        .collect();
    let hash = |text: &str| encode(digest(&SHA256, text.as_bytes()).as_ref());
    let thumbprint = hash(&format!("{{{}}}", members.join(",")));

    let mut plan = api_plan(api, &[], vec![guarded("/items/{id}", &["read:items"])]);
    let mut definition = (*plan.definition).clone();
    definition.proof_of_possession = Some(ProofOfPossession {
        mechanism: PopMechanism::Dpop,
        required: false,
        required_for: None,
    });
    plan.definition = Arc::new(definition);
    plan.public_url = Some("https://items.example.com".into());
    let snapshot = snapshot(vec![plan], Some(api)).unwrap();

    let mut claims = api.claims();
    claims["cnf"] = json!({ "jkt": thumbprint });
    let token = api.sign(&api.header(), &claims);
    let ath = hash(&token);
    let number = Cell::new(0_u64);
    let proof = || {
        number.set(number.get() + 1);
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
        let claims = json!({
            "jti": format!("proof-{}", number.get()), "htm": "GET", "iat": NOW, "ath": ath,
            "htu": format!("https://items.example.com{path}"),
        });
        let proof = key.token(SigningAlg::ES256, &header, &claims);
        let mut fields = headers(Some(&format!("DPoP {token}")));
        fields.insert("dpop", HeaderValue::from_str(&proof).unwrap());
        fields
    };
    let settings = ProofSettings {
        entries: 10_000_000,
        ..ProofSettings::default()
    };
    let bound = Bound {
        token: token.clone(),
        principal: OnceLock::new(),
        desk: ProofDesk::new(&settings, &[1; 32], &[2; 32]),
    };
    let fields = proof();
    expect(&snapshot, request(path, &fields), &bound, Reason::Ok);
    let bearer = api.token();
    let bearer = (
        headers(Some(&format!("Bearer {bearer}"))),
        OneEntry {
            principal: Arc::new(api.verifier().verify(&bearer, NOW).unwrap()),
            token: bearer,
        },
    );
    expect(&snapshot, request(path, &bearer.0), &bearer.1, Reason::Ok);

    let mut group = group(criterion, "bound");
    group.bench_function("cached_bearer", |bencher| {
        bencher.iter(|| {
            decide(
                &snapshot.table,
                black_box(request(path, &bearer.0)),
                &bearer.1,
                NOW,
            )
        });
    });
    group.bench_function("cached_with_proof", |bencher| {
        bencher.iter_batched(
            proof,
            |fields| {
                let decision = decide(&snapshot.table, request(path, &fields), &bound, NOW);
                assert!(matches!(decision, Decision::Forward(_)));
                (decision, fields)
            },
            BatchSize::SmallInput,
        );
    });
    // The least that a proof takes in this crate: its own bytes, and a key that was parsed before. With a key that has to
    // be parsed first it is what a proof with an unknown key takes.
    let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public()).unwrap();
    let signed = |fields: &HeaderMap| {
        let proof = fields["dpop"].to_str().unwrap();
        let (input, signature) = proof.rsplit_once('.').unwrap();
        (input.to_owned(), URL_SAFE_NO_PAD.decode(signature).unwrap())
    };
    let (message, signature) = signed(&fields);
    let message = message.as_bytes();
    group.bench_function("ES256_verification", |bencher| {
        bencher.iter(|| parsed.verify_sig(black_box(message), &signature).unwrap());
    });
    let unparsed = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public());
    group.bench_function("ES256_verification_and_key", |bencher| {
        bencher.iter(|| unparsed.verify(black_box(message), &signature).unwrap());
    });
    // What is measured is a small part of what runs, and the times of both halves vary more than it is large: the median
    // of the differences within pairs, one after the other, is what stands.
    group.warm_up_time(Duration::from_millis(10));
    group.measurement_time(Duration::from_millis(100));
    group.bench_function("over_bearer_and_verification", |bencher| {
        bencher.iter_custom(|times| {
            let differences = (0..times).map(|_| {
                let fields = proof();
                let (message, signature) = signed(&fields);
                let with_proof = time(|| decide(&snapshot.table, request(path, &fields), &bound, NOW));
                let without = time(|| {
                    parsed.verify_sig(message.as_bytes(), &signature).unwrap();
                    decide(&snapshot.table, request(path, &bearer.0), &bearer.1, NOW)
                });
                with_proof.as_secs_f64() - without.as_secs_f64()
            });
            let mut differences: Vec<f64> = differences.collect();
            differences.sort_by(f64::total_cmp);
            let median = differences[differences.len() / 2];
            Duration::from_secs_f64(median.max(1e-9) * times as f64)
        });
    });
    group.finish();
}

/// How long it takes, without letting go of what it makes.
fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    let made = black_box(work());
    let time = started.elapsed();
    drop(made);
    time
}

fn main() {
    let samples = std::env::var("DECIDE_SAMPLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    let mut criterion = Criterion::default().sample_size(samples).configure_from_args();
    paths(&mut criterion);
    routes(&mut criterion);
    verify(&mut criterion);
    decisions(&mut criterion);
    requirements(&mut criterion);
    refusals(&mut criterion);
    bound(&mut criterion);
    criterion.final_summary();
}
