//! Every challenge, word for word, and read back by the grammar of RFC 9110 section 11.2 and RFC 6750 section 3.

use std::time::Duration;

use proptest::prelude::*;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::policy::{Challenge, Conditions, Realm, Reason, RequirementPlan, RouteId, StepUp};
use scopegate::snapshot::Snapshot;
use scopegate::token::Scheme;

use crate::support::api::TestApi;
use crate::support::routes::{guarded, public, route, snapshot_of};

fn table() -> Snapshot {
    let api = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken);
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    snapshot_of(
        api,
        vec![
            guarded("/one", &["read:items"]),
            route(
                "/many",
                RequirementPlan::Token(Conditions {
                    all_of: names(&["read:items", "write:items"]),
                    any_of: names(&["admin:items", "read:items"]),
                    step_up: Some(StepUp {
                        within: Some(Duration::from_secs(900)),
                        methods: names(&["mfa"]),
                        acr: names(&["gold", "a\"b"]),
                        ..StepUp::default()
                    }),
                    ..Conditions::default()
                }),
            ),
            public("/open"),
        ],
    )
}

fn challenge(snapshot: &Snapshot, reason: Reason, route: usize) -> Option<String> {
    let route = snapshot.table.route(RouteId(route)).unwrap();
    let realm = &snapshot.table.api(route.api).unwrap().realm;
    Challenge::value(reason, realm, Scheme::Bearer, Some(&route.requirement))
        .map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn word_for_word() {
    let table = table();
    let realm = r#"Bearer realm="https://items.example.com""#;
    for (reason, route, expected) in [
        (Reason::MissingToken, 0, String::new()),
        (
            Reason::MultipleTokens,
            0,
            r#", error="invalid_request", error_description="there is more than one token""#.into(),
        ),
        (
            Reason::MalformedAuthorization,
            0,
            r#", error="invalid_request", error_description="what stands in the place of the token cannot be read""#.into(),
        ),
        (
            Reason::BadSignature,
            0,
            r#", error="invalid_token", error_description="the signature is wrong""#.into(),
        ),
        (
            Reason::UnknownKid,
            1,
            r#", error="invalid_token", error_description="the issuer has no such key""#.into(),
        ),
        (
            Reason::InsufficientScope,
            0,
            r#", error="insufficient_scope", error_description="the token lacks a scope that the route asks for", scope="read:items""#.into(),
        ),
        (
            Reason::InsufficientScope,
            1,
            r#", error="insufficient_scope", error_description="the token lacks a scope that the route asks for", scope="read:items write:items admin:items""#.into(),
        ),
        (
            Reason::InsufficientPermission,
            0,
            r#", error="insufficient_scope", error_description="the token lacks a permission that the route asks for", scope="read:items""#.into(),
        ),
        (
            Reason::StepUpRequired,
            1,
            r#", error="insufficient_user_authentication", error_description="a more recent or stronger authentication is required", max_age="900", acr_values="gold a\"b""#.into(),
        ),
    ] {
        assert_eq!(
            challenge(&table, reason, route).unwrap(),
            format!("{realm}{expected}"),
            "{reason:?}"
        );
    }
}

#[test]
fn every_reason_by_the_grammar() {
    let table = table();
    for reason in Reason::ALL {
        for route in 0..3 {
            let text = challenge(&table, reason, route);
            let status = reason.status().as_u16();
            // RFC 9110 section 15.5.2: a 401 has a challenge. A 503 and what has no credentials to it has none.
            assert!(status != 401 || text.is_some(), "{reason:?}");
            assert!(matches!(status, 400 | 401 | 403) || text.is_none(), "{reason:?}");
            let Some(text) = text else { continue };
            let parameters = read(&text).unwrap_or_else(|at| panic!("{text}: {at}"));
            let get = |name: &str| {
                parameters
                    .iter()
                    .find(|(own, _)| own == name)
                    .map(|(_, value)| value.as_str())
            };
            assert_eq!(get("realm"), Some("https://items.example.com"));
            let error = get("error");
            let expected = match (status, reason) {
                (_, Reason::MissingToken | Reason::BadApiKey) => None,
                (_, Reason::StepUpRequired) => Some("insufficient_user_authentication"),
                (_, Reason::DpopNonce) => Some("use_dpop_nonce"),
                // RFC 9449 section 7.1: the proof is at fault, and not the token.
                (
                    _,
                    Reason::DpopInvalid
                    | Reason::DpopWrongMethod
                    | Reason::DpopWrongAddress
                    | Reason::DpopStale
                    | Reason::DpopFuture
                    | Reason::DpopWrongToken
                    | Reason::DpopReplay,
                ) => Some("invalid_dpop_proof"),
                (400, _) => Some("invalid_request"),
                (401, _) => Some("invalid_token"),
                _ => Some("insufficient_scope"),
            };
            assert_eq!(error, expected, "{reason:?}");
            assert_eq!(get("error_description").is_some(), error.is_some());
            assert_eq!(get("scope").is_some(), status == 403 && route < 2, "{reason:?}");
        }
    }
}

/// The parameters of a `Bearer` challenge, their quotes undone, if it is one by the grammar.
fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut rest = text.strip_prefix("Bearer ").ok_or("another scheme")?;
    let mut parameters: Vec<(String, String)> = Vec::new();
    loop {
        let (name, after) = rest.split_once('=').ok_or("no value")?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return Err(format!("the name {name:?}"));
        }
        if parameters.iter().any(|(known, _)| known == name) {
            return Err(format!("{name} twice"));
        }
        let (value, after) = quoted_string(after)?;
        check_value(name, &value)?;
        parameters.push((name.to_owned(), value));
        rest = match after.strip_prefix(", ") {
            Some(rest) => rest,
            None if after.is_empty() => return Ok(parameters),
            None => return Err(format!("{after:?} after a value")),
        };
    }
}

/// RFC 9110 section 5.6.4.
fn quoted_string(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    if chars.next() != Some((0, '"')) {
        return Err("no quote".into());
    }
    loop {
        match chars.next().ok_or("no closing quote")? {
            (at, '"') => return Ok((value, &text[at + 1..])),
            (_, '\\') => value.push(chars.next().ok_or("nothing after a backslash")?.1),
            (_, c @ (' '..='~')) => value.push(c),
            (_, c) => return Err(format!("{c:?}")),
        }
    }
}

/// RFC 6750 section 3: what a client may find in which parameter.
fn check_value(name: &str, value: &str) -> Result<(), String> {
    let is_plain = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    let fits = match name {
        "error" | "error_description" => value.chars().all(is_plain) && !value.is_empty(),
        "scope" => {
            let mut names: Vec<&str> = value.split(' ').collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            names.len() == count
                && names
                    .iter()
                    .all(|name| !name.is_empty() && name.chars().all(is_plain))
        }
        "max_age" => value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty(),
        "realm" | "acr_values" | "resource_metadata" => true,
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(format!("{name}={value:?}"))
    }
}

#[test]
fn the_reader_can_fail() {
    for text in [
        "Basic realm=\"x\"",
        "Bearer",
        "Bearer realm=x",
        "Bearer realm=\"x",
        "Bearer realm=\"x\" error=\"y\"",
        "Bearer realm=\"x\",error=\"y\"",
        "Bearer realm=\"x\", realm=\"x\"",
        "Bearer realm=\"\u{e9}\"",
        "Bearer scope=\"a  b\"",
        "Bearer scope=\"a a\"",
        "Bearer error=\"a\\\"b\"",
        "Bearer other=\"x\"",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_identifier_breaks_out(identifier in any::<String>()) {
        let realm = Realm::new(&identifier);
        for reason in Reason::ALL {
            let Some(value) = Challenge::value(reason, &realm, Scheme::Bearer, None) else { continue };
            let text = value.to_str().unwrap();
            let parameters = read(text).map_err(|at| TestCaseError::fail(format!("{text}: {at}")))?;
            let expected: String = identifier
                .bytes()
                .map(|byte| match byte {
                    b' '..=b'~' => char::from(byte).to_string(),
                    _ => format!("%{byte:02X}"),
                })
                .collect();
            prop_assert_eq!(&parameters[0], &("realm".to_owned(), expected));
        }
    }
}
