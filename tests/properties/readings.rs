//! Paths of claims, and what is made of roles: against a reader of their own that goes over `serde_json`.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::token::{
    ClaimPath, GrantedBy, Json, KeySet, Reading, TokenError, TrustedIssuer, VerificationKeys,
};
use serde_json::{Value, json};

use crate::support::api::{ISSUER, KID, NOW, SCOPES, TestApi, with};
use crate::support::forge::jwks;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![r"[a-c.\\/:]{1,4}", "\\PC{1,6}"]
}

/// Values that often have what the paths of [`few_names`] lead to.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-d ]{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-c]", inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn few_names() -> impl Strategy<Value = Vec<String>> {
    vec("[a-c]", 1..4)
}

/// What a path leads to: `Err` where something on the way is no object.
fn followed<'a>(value: &'a Value, names: &[String]) -> Result<Option<&'a Value>, ()> {
    let mut at = value;
    for name in names {
        let Some(members) = at.as_object() else {
            return Err(());
        };
        match members.get(name) {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

proptest! {
    /// Whatever names a path has, its text is read as the same path.
    #[test]
    fn a_path_is_what_its_text_says(names in vec(name(), 1..8)) {
        let path = ClaimPath::of(names.iter().map(String::as_str)).unwrap();
        prop_assert_eq!(path.names().collect::<Vec<_>>(), names.iter().map(String::as_str).collect::<Vec<_>>());
        match ClaimPath::parse(path.as_str()) {
            Ok(read) => prop_assert_eq!(read, path),
            // Only what looks like an address is not taken as text.
            Err(_) => prop_assert!(names.len() > 1 && names.iter().any(|name| name.contains("://"))),
        }
    }

    #[test]
    fn any_text_is_a_path_or_a_fault(text in "\\PC{0,40}") {
        if let Ok(path) = ClaimPath::parse(&text) {
            prop_assert!(path.names().all(|name| !name.is_empty()));
            prop_assert_eq!(path.as_str(), text);
        }
    }

    #[test]
    fn a_path_leads_where_it_says(value in value(), names in few_names()) {
        let path = ClaimPath::of(names.iter().map(String::as_str)).unwrap();
        let text = value.to_string();
        let read = Json::read(text.as_bytes()).unwrap();
        match (path.find(&read), followed(&value, &names)) {
            (Ok(Some(found)), Ok(Some(expected))) => {
                let expected = expected.to_string();
                prop_assert_eq!(found, &Json::read(expected.as_bytes()).unwrap());
            }
            (Ok(None), Ok(None)) | (Err(TokenError::MalformedAt(_)), Err(())) => {}
            (found, expected) => prop_assert!(false, "{:?} {:?}", found, expected),
        }
    }

    /// Any value where roles are read: exactly what the map says of an array of strings, refused where it is anything
    /// else, and nothing where there is none.
    #[test]
    fn roles_grant_what_the_map_says_and_nothing_else(
        value in value(),
        names in few_names(),
        map in vec(("[a-d]", vec(0_usize..SCOPES.len(), 0..3)), 0..4),
    ) {
        let api = TestApi::new(SigningAlg::ES256, TokenDialect::AccessToken);
        let roles: Vec<(String, Vec<String>)> = map
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_iter()
            .map(|(role, scopes)| (role, scopes.into_iter().map(|at| SCOPES[at].to_owned()).collect()))
            .collect();
        let reading = Reading {
            permissions: vec![ClaimPath::of(names.iter().map(String::as_str)).unwrap()],
            roles: Some(roles.clone()),
            granted_by: GrantedBy::Permissions,
            ..Reading::of(&api.definition())
        };
        let (set, _) = KeySet::from_jwks(jwks(&[api.key().jwk(KID)]).as_bytes()).unwrap();
        let verifier = api.verifier_with(vec![TrustedIssuer {
            issuer: ISSUER.into(),
            keys: Some(Arc::new(VerificationKeys::new(&set, &[api.alg]))),
            reading: Some(reading),
        }]);
        let mut claims = api.claims();
        let members = value.as_object().cloned().unwrap_or_default();
        claims.as_object_mut().unwrap().extend(members);
        let verified = verifier.verify(&api.sign(&api.header(), &claims), NOW);
        let strings = |found: &Value| -> Option<Vec<String>> {
            found.as_array()?.iter().map(|role| role.as_str().map(str::to_owned)).collect()
        };
        let expected = match followed(&claims, &names) {
            Err(()) => None,
            Ok(None) => Some(Vec::new()),
            Ok(Some(found)) => strings(found),
        };
        match (verified, expected) {
            (Ok(principal), Some(held)) => {
                let granted: BTreeSet<&str> = roles
                    .iter()
                    .filter(|(role, _)| held.contains(role))
                    .flat_map(|(_, scopes)| scopes.iter().map(String::as_str))
                    .collect();
                let told = match principal.claim("permissions") {
                    Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
                    _ => BTreeSet::new(),
                };
                prop_assert_eq!(told, granted);
            }
            (Err(TokenError::MalformedAt(_)), None) => {}
            (verified, expected) => prop_assert!(false, "{:?} {:?}", verified, expected),
        }
    }
}

/// A list of audiences is a list of alternatives, and nothing beside it counts.
#[test]
fn each_audience_of_the_list_will_do() {
    let api = TestApi::new(SigningAlg::ES256, TokenDialect::AccessToken);
    let (set, _) = KeySet::from_jwks(jwks(&[api.key().jwk(KID)]).as_bytes()).unwrap();
    let reading = Reading {
        audiences: vec!["api://a".into(), "b".into()],
        ..Reading::of(&api.definition())
    };
    let verifier = api.verifier_with(vec![TrustedIssuer {
        issuer: ISSUER.into(),
        keys: Some(Arc::new(VerificationKeys::new(&set, &[api.alg]))),
        reading: Some(reading),
    }]);
    for (audience, expected) in [
        (json!("api://a"), Ok(())),
        (json!("b"), Ok(())),
        (json!(["x", "b"]), Ok(())),
        (json!("api://A"), Err(TokenError::AudienceMismatch)),
        (api.claims()["aud"].clone(), Err(TokenError::AudienceMismatch)),
        (json!(["b", 7]), Err(TokenError::MalformedClaim("aud"))),
        (json!([]), Err(TokenError::MalformedClaim("aud"))),
    ] {
        let claims = with(api.claims(), "aud", Some(audience.clone()));
        let verified = verifier.verify(&api.sign(&api.header(), &claims), NOW);
        assert_eq!(verified.map(drop), expected, "{audience}");
    }
}
