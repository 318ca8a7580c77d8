//! Tokens at random: properly signed, with members of header and claims replaced by whatever comes.
//!
//! `oracle::verify` asks `jsonwebtoken` about each that is accepted, and what an accepted token must have is asked here
//! once more, from the JSON itself.

use proptest::collection::vec;
use proptest::prelude::*;
use scopegate::definition::SigningAlg;
use serde_json::{Value, json};

use crate::oracle::verify;
use crate::support::api::{AUDIENCE, DIALECTS, ISSUER, KID, NOW, TestApi, with};

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        prop::sample::select(vec![
            json!(NOW),
            json!(NOW + 10),
            json!(NOW - 10),
            json!(NOW + 11),
            json!(NOW - 11),
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1e20),
            json!(0.5),
            json!(NOW as f64 + 0.5),
        ]),
        prop::sample::select(vec![
            ISSUER, AUDIENCE, KID, "client", "RS256", "HS256", "ES256", "JWT", "at+jwt", "none", ""
        ])
        .prop_map(|text| json!(text)),
        prop::sample::select(vec!["read:items", "read:items write:items"]).prop_map(|text| json!(text)),
        "[ -~]{0,8}".prop_map(|text| json!(text)),
        "\\PC{0,4}".prop_map(|text| json!(text)),
    ];
    scalar.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((prop::sample::select(vec!["jkt", "x5t#S256", "a"]), inner), 0..3).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

fn change(names: &'static [&'static str]) -> impl Strategy<Value = (&'static str, Option<Value>)> {
    (prop::sample::select(names), prop::option::weighted(0.85, value()))
}

const CLAIMS: &[&str] = &[
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "sub",
    "azp",
    "client_id",
    "jti",
    "scope",
    "scp",
    "permissions",
    "cnf",
    "nonce",
    "auth_time",
    "org_id",
];

/// Those that the verifier reads: of the others `jsonwebtoken` asks types, which are nobody's business here.
const HEADERS: &[&str] = &["alg", "typ", "kid", "crit", "b64", "private"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accepted_by_us_means_accepted_by_others(
        alg in prop::sample::select(vec![SigningAlg::HS256, SigningAlg::ES256, SigningAlg::EdDSA]),
        dialect in prop::sample::select(DIALECTS.to_vec()),
        claims in vec(change(CLAIMS), 0..4),
        header in vec(change(HEADERS), 0..2),
    ) {
        let api = TestApi::new(alg, dialect);
        let apply = |object: Value, changes: Vec<(&str, Option<Value>)>| {
            changes.into_iter().fold(object, |object, (name, value)| with(object, name, value))
        };
        let header = apply(api.header(), header);
        let claims = apply(api.claims(), claims);
        let token = api.sign(&header, &claims);
        if verify(api, &api.verifier(), &token, NOW).is_ok() {
            prop_assert_eq!(&claims["iss"], ISSUER);
            let has_audience = claims["aud"] == AUDIENCE
                || claims["aud"].as_array().is_some_and(|all| {
                    all.iter().any(|one| one == AUDIENCE) && all.iter().all(Value::is_string)
                });
            prop_assert!(has_audience, "{}", claims);
            prop_assert!(claims["exp"].as_f64().is_some_and(|exp| exp > NOW as f64 - 10.0), "{}", claims);
            for name in ["nbf", "iat"] {
                let is_fine = claims.get(name).is_none_or(|date| date.as_f64().is_some_and(|date| date < NOW as f64 + 11.0));
                prop_assert!(is_fine, "{}", claims);
            }
            prop_assert!(claims.get("cnf").is_none());
            prop_assert!(header.get("crit").is_none() && header.get("b64").is_none());
        }
    }

    #[test]
    fn bytes_at_random_are_refused_without_a_panic(text in "[A-Za-z0-9._=-]{0,200}|\\PC{0,40}") {
        let api = TestApi::new(SigningAlg::HS256, DIALECTS[0]);
        prop_assert!(api.verifier().verify(&text, NOW).is_err());
    }
}
