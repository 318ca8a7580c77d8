//! Tests of the reading of definitions.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::*;
use crate::definition::{
    ClientAccess, ConsentPolicy, EncryptionAlg, EncryptionFormat, Misshapen, Place, SigningAlg,
    SubjectPolicy, TokenDialect, UserAccess,
};

fn read(json: &Json) -> Result<ApiDefinition, Vec<InvalidDefinition>> {
    let node = Node::from_json(&Place::whole(Path::new("items.json")), json);
    ApiDefinition::read(&node).map_err(|faults| faults.into_iter().map(|fault| fault.value).collect())
}

fn read_with(key: &str, value: Json) -> Result<ApiDefinition, Vec<InvalidDefinition>> {
    let mut api = json!({"identifier": "urn:items"});
    api[key] = value;
    read(&api)
}

fn texts(json: &Json) -> Vec<String> {
    read(json).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_those_of_the_management_api() {
    let api = read(&json!({"identifier": "urn:items"})).unwrap();
    assert_eq!(api, ApiDefinition::new("urn:items"));
    assert_eq!(
        (api.signing_alg, api.token_lifetime, api.token_lifetime_for_web),
        (SigningAlg::RS256, 86_400, 7_200)
    );
    assert_eq!(api.token_dialect, TokenDialect::AccessToken);
    assert!(!api.enforce_policies && !api.allow_offline_access && !api.is_system);
    assert_eq!(
        api.subject_type_authorization.user,
        Some(SubjectPolicy {
            policy: UserAccess::AllowAll
        })
    );
    assert_eq!(
        api.subject_type_authorization.client,
        Some(SubjectPolicy {
            policy: ClientAccess::RequireClientGrant
        })
    );
    assert_eq!(
        read_with("token_lifetime", json!(60))
            .unwrap()
            .token_lifetime_for_web,
        60
    );
}

fn everything() -> Json {
    json!({
        "id": "670d1db5c7b833ebd115ca8c", "name": "My API", "identifier": "https://api.example/",
        "scopes": [{"value": "read:items", "description": "Read"}, {"value": "write:items"}],
        "signing_alg": "HS256", "signing_secret": "0123456789abcdef", "allow_offline_access": true,
        "allow_online_access": true, "allow_online_access_with_ephemeral_sessions": false,
        "skip_consent_for_verifiable_first_party_clients": true, "token_lifetime": 2_592_000,
        "token_lifetime_for_web": 0, "token_lifetime_for_anonymous_access_tokens": 60, "enforce_policies": true,
        "token_dialect": "rfc9068_profile_authz",
        "token_encryption": {"format": "compact-nested-jwe", "encryption_key":
            {"name": "k", "alg": "RSA-OAEP-384", "kid": "1", "pem": "-----BEGIN", "thumbprint_sha256": "t"}},
        "consent_policy": "transactional-authorization-with-mfa",
        "authorization_details": [{"type": "payment", "limit": 5}],
        "proof_of_possession": {"mechanism": "dpop", "required": false, "required_for": "public_clients"},
        "subject_type_authorization": {"user": {"policy": "deny_all"}, "client": {"policy": "deny_all"},
            "anonymous_user": {"policy": "require_client_grant"}},
        "authorization_policy": {"policy_id": "p"}, "client_id": "c", "is_system": true
    })
}

#[test]
fn every_field_is_read() {
    let api = read(&everything()).unwrap();
    assert!(api.permissions_decide() && api.defines("read:items") && !api.defines("read:item"));
    assert_eq!(api.signing_secret.as_ref().unwrap().expose(), b"0123456789abcdef");
    let encryption = api.token_encryption.as_ref().unwrap();
    assert_eq!(encryption.format, EncryptionFormat::CompactNestedJwe);
    assert_eq!(encryption.encryption_key.alg, EncryptionAlg::RsaOaep384);
    assert_eq!(
        api.consent_policy,
        Some(ConsentPolicy::TransactionalAuthorizationWithMfa)
    );
    // What is written is what was read, but for the secret.
    let mut expected = everything();
    expected["signing_secret"] = json!("[redacted]");
    assert_eq!(serde_json::to_value(&api).unwrap(), expected);
}

#[test]
fn null_stands_for_absent_where_the_api_says_so() {
    for key in [
        "scopes",
        "token_encryption",
        "consent_policy",
        "authorization_details",
        "proof_of_possession",
        "authorization_policy",
        "token_lifetime_for_anonymous_access_tokens",
    ] {
        assert!(read_with(key, Json::Null).is_ok(), "{key}");
    }
    for key in [
        "enforce_policies",
        "token_dialect",
        "signing_alg",
        "name",
        "token_lifetime",
    ] {
        assert!(read_with(key, Json::Null).is_err(), "{key}");
    }
}

#[test]
fn legacy_members_are_passed_over() {
    let api =
        json!({"identifier": "urn:items", "verificationLocation": 1, "verificationKey": 2, "options": {}});
    assert!(read(&api).is_ok());
}

#[test]
fn limits() {
    let long = |length: usize| Json::from("ü".repeat(length));
    for (key, good, bad) in [
        ("identifier", long(600), long(601)),
        ("identifier", long(1), long(0)),
        ("identifier", json!("a \"b\" é"), json!("a\nb")),
        ("name", long(200), long(201)),
        ("name", json!("a"), json!("a<b")),
        ("signing_secret", long(16), long(15)),
        ("token_lifetime", json!(2_592_000), json!(2_592_001)),
        ("token_lifetime", json!(0), json!(-1)),
        ("token_lifetime", json!(1), json!("1")),
        ("token_lifetime_for_web", json!(86_400), json!(86_401)),
        ("signing_alg", json!("EdDSA"), json!("none")),
        ("signing_alg", json!("HS512"), json!("hs512")),
        (
            "token_dialect",
            json!("access_token_authz"),
            json!("access_token_auth"),
        ),
        ("scopes", json!([{"value": "a"}]), json!({})),
        ("scopes", json!([]), json!(["read:items"])),
        (
            "scopes",
            json!([{"value": "a", "description": ""}]),
            json!([{"value": "a", "name": ""}]),
        ),
        (
            "scopes",
            json!([{"value": "a"}, {"value": "A"}]),
            json!([{"value": "a"}, {"value": "a"}]),
        ),
        (
            "authorization_details",
            json!([{"type": "x"}]),
            json!([{"x": "type"}]),
        ),
        (
            "proof_of_possession",
            json!({"mechanism": "mtls", "required": true, "required_for": "all_clients"}),
            json!({"mechanism": "mtls", "required": true, "required_for": "public_clients"}),
        ),
        (
            "subject_type_authorization",
            json!({}),
            json!({"client": {"policy": "allow_all"}}),
        ),
    ] {
        assert!(read_with(key, good.clone()).is_ok(), "{key}: {good}");
        assert!(read_with(key, bad.clone()).is_err(), "{key}: {bad}");
    }
    let scopes = |count: usize| {
        (0..count)
            .map(|n| json!({"value": n.to_string()}))
            .collect::<Json>()
    };
    assert_eq!(read_with("scopes", scopes(1000)).unwrap().permissions.len(), 1000);
    assert_eq!(
        read_with("scopes", scopes(1001)).unwrap_err(),
        [InvalidDefinition::TooManyPermissions {
            count: 1001,
            max: 1000
        }]
    );
}

#[test]
fn all_faults_at_once() {
    let api = json!({
        "name": "<b>", "scopes": [{"value": "openid"}, {"value": "a b"}, {"value": 7}], "enforce_polices": true,
        "token_dialect": "access_tokens", "token_lifetime": 60, "token_lifetime_for_web": 61
    });
    assert_eq!(
        texts(&api),
        [
            "`identifier` is missing",
            "`name` must not contain `<` or `>`",
            "permission `openid` is a reserved name",
            "`scopes.value` may only contain printable ASCII without space, `\"` and `\\` (RFC 6749 section 3.3)",
            "`value` must be text, not a whole number",
            "`token_lifetime_for_web` is 61; it must not exceed `token_lifetime`, which is 60",
            "`token_dialect` cannot be `access_tokens`",
            "unknown key `enforce_polices`",
        ]
    );
    let hints: Vec<_> = read(&api)
        .unwrap_err()
        .iter()
        .filter_map(InvalidDefinition::hint)
        .collect();
    assert_eq!(
        hints,
        [
            "name what it permits, such as `read:openid`",
            "put it in quotes",
            "did you mean `access_token`?",
            "did you mean `enforce_policies`?",
        ]
    );
}

#[test]
fn a_fault_never_shows_the_secret() {
    let faults = read_with("signing_secret", json!("hush")).unwrap_err();
    assert!(!format!("{faults:?}").contains("hush"));
}

#[test]
fn the_schema_has_the_keys_that_are_read() {
    let schema = schemars::schema_for!(ApiDefinition).to_value();
    let in_schema: BTreeSet<_> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let faults = read(&json!({"identifier": "x", "?": 1})).unwrap_err();
    let [InvalidDefinition::Shape(Misshapen::Unknown { known, .. })] = faults.as_slice() else {
        panic!("{faults:?}")
    };
    let read: BTreeSet<_> = known
        .iter()
        .chain(schema::IGNORED)
        .map(ToString::to_string)
        .collect();
    assert_eq!(in_schema, read);
}

#[test]
fn the_schema_accepts_what_is_read() {
    let schema = schemars::schema_for!(ApiDefinition).to_value();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for good in [
        everything(),
        json!({"identifier": "x", "scopes": null, "options": {}}),
    ] {
        let faults: Vec<_> = validator
            .iter_errors(&good)
            .map(|fault| fault.to_string())
            .collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
    for bad in [
        json!({}),
        json!({"identifier": "x", "enforce_polices": true}),
        json!({"identifier": ""}),
    ] {
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}
