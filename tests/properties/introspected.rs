//! Introspection answers at random: whatever comes, nothing panics, and what is accepted has what it must have.

use proptest::collection::vec;
use proptest::prelude::*;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::token::{AudienceRule, IntrospectionAnswer};
use serde_json::{Value, json};

use crate::support::api::{AUDIENCE, ISSUER, NOW, TestApi};
use crate::support::introspected::{accepted, asking};

const MEMBERS: &[&str] = &[
    "active",
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "scope",
    "permissions",
    "client_id",
    "azp",
    "sub",
    "cnf",
    "token_type",
    "token_use",
    "typ",
    "nonce",
    "auth_time",
    "jti",
];

const RULES: [AudienceRule; 2] = [AudienceRule::Required, AudienceRule::WherePresent];

fn api() -> TestApi {
    TestApi::new(SigningAlg::RS256, TokenDialect::AccessToken)
}

fn right() -> Value {
    json!({
        "active": true, "iss": ISSUER, "aud": [AUDIENCE], "exp": NOW + 60, "iat": NOW, "sub": "user",
        "client_id": "client", "scope": "read:items", "token_type": "Bearer",
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        prop::sample::select(vec![
            json!(NOW),
            json!(NOW + 10),
            json!(NOW + 11),
            json!(NOW - 10),
            json!(NOW - 9),
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!(1e20),
            json!(0.5),
        ]),
        prop::sample::select(vec![
            ISSUER,
            AUDIENCE,
            "true",
            "Bearer",
            "DPoP",
            "refresh_token",
            "Refresh",
            "client",
            ""
        ])
        .prop_map(|text| json!(text)),
        "\\PC{0,6}".prop_map(|text| json!(text)),
        vec(prop::sample::select(vec![AUDIENCE, "urn:other"]), 0..3).prop_map(|all| json!(all)),
        prop::sample::select(vec![json!({}), json!({"jkt": "x"}), json!({"x5t#S256": "x"})]),
    ]
}

fn change() -> impl Strategy<Value = (&'static str, Option<Value>)> {
    (
        prop::sample::select(MEMBERS),
        prop::option::weighted(0.85, value()),
    )
}

#[test]
fn the_right_answer_is_accepted() {
    for rule in RULES {
        let verifier = asking(api(), rule);
        let principal = accepted(&verifier, rule, right().to_string().as_bytes()).unwrap();
        assert_eq!(principal.client_id(), Some("client"));
    }
}

proptest! {
    #[test]
    fn what_is_accepted_has_what_it_must_have(changes in vec(change(), 1..4)) {
        let mut answer = right();
        for (name, value) in changes {
            match value {
                Some(value) => answer[name] = value,
                None => drop(answer.as_object_mut().unwrap().remove(name)),
            }
        }
        for rule in RULES {
            accepted(&asking(api(), rule), rule, answer.to_string().as_bytes());
        }
    }

    #[test]
    fn a_member_twice_is_never_read(name in prop::sample::select(MEMBERS), value in value()) {
        let right = right().to_string();
        let text = format!("{},\"{name}\":{value},\"{name}\":{value}}}", right.trim_end_matches('}'));
        prop_assert!(IntrospectionAnswer::read(text.as_bytes()).is_err());
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        for rule in RULES {
            prop_assert!(accepted(&asking(api(), rule), rule, &bytes).is_none());
        }
    }
}
