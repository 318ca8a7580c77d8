//! Issuers of an API: presets, what is written over them, and what is refused.

use super::*;
use crate::definition::{ApiDefinition, SigningAlg};
use crate::token::{ClaimPath, GrantedBy, IssuerKind, Reading};

const KEYCLOAK: &str = "https://sso.example.com/realms/shop";
const DECIDED: &str = r#"{"identifier": "urn:items", "token_dialect": "access_token_authz", "enforce_policies": true,
  "scopes": [{"value": "read:items"}, {"value": "write:items"}]}"#;

/// Two issuers, of which the second is Keycloak, and what the API says of it.
fn keycloak(lines: &str) -> Memory {
    let mut config = format!(
        "listeners: [{{address: 127.0.0.1:8080}}]\nissuers:\n  - issuer: {ISSUER}\n  - issuer: {KEYCLOAK}\n    kind: keycloak\napis:\n  - definition: items.json\n    upstream: http://127.0.0.1:3000\n    issuers:\n      - {ISSUER}\n      - issuer: {KEYCLOAK}\n"
    );
    for line in lines.lines() {
        config.push_str(&format!("        {line}\n"));
    }
    config.push_str("    routes:\n      - {path: /items, require: read:items}\n");
    Memory::with(&config).file("etc/items.json", DECIDED)
}

fn reading(memory: &Memory) -> Reading {
    let settings = memory.load().unwrap_or_else(|faults| panic!("{faults}"));
    let api = &settings.plan.apis[0];
    assert_eq!(api.issuers[0].reading, None);
    api.reading(&api.issuers[1])
}

fn preset(memory: &Memory) -> Reading {
    let settings = memory.load().unwrap();
    Reading::of_kind(IssuerKind::Keycloak, &settings.plan.apis[0].definition)
}

fn path(text: &str) -> ClaimPath {
    ClaimPath::parse(text).unwrap()
}

#[test]
fn nothing_written_is_the_preset() {
    let memory = keycloak("");
    assert_eq!(reading(&memory), preset(&memory));
    let unnamed = "issuers: [{issuer: https://a.okta.com/oauth2/default, kind: okta}]\n";
    let config = one_api("", &[ROUTE]).replacen(&format!("issuers: [{{issuer: '{ISSUER}'}}]\n"), unnamed, 1);
    let settings = Memory::with(&config).load().unwrap();
    let api = &settings.plan.apis[0];
    assert_eq!(
        api.issuers[0].reading,
        Some(Reading::of_kind(IssuerKind::Okta, &api.definition))
    );
    let auth0 = ApiDefinition::new("urn:a");
    assert_eq!(Reading::of_kind(IssuerKind::Auth0, &auth0), Reading::of(&auth0));
}

#[test]
fn each_word_can_be_set() {
    let memory = keycloak(
        r#"algorithms: [ES256, RS512]
audiences: [account, items-api]
token_types: [JWT]
accept_untyped: true
type_claims: {typ: Bearer, "a.b": [x, 7]}
scopes_from: scp
permissions_from: [[realm_access, roles], [resource_access, my.client, roles]]
roles: {admin: [read:items, write:items], viewer: [read:items]}
granted_by: either
client_from: clientId
subject_from: [https://example.com/sub]
token_id_from: sid"#,
    );
    let expected = Reading {
        algorithms: vec![SigningAlg::ES256, SigningAlg::RS512],
        audiences: vec!["account".into(), "items-api".into()],
        types: vec!["JWT".into()],
        untyped: true,
        type_claims: vec![
            (path("typ"), vec!["Bearer".into()]),
            (path("a.b"), vec!["x".into(), "7".into()]),
        ],
        scopes: vec![path("scp")],
        permissions: vec![
            path("realm_access.roles"),
            path(r"resource_access.my\.client.roles"),
        ],
        roles: Some(vec![
            ("admin".into(), vec!["read:items".into(), "write:items".into()]),
            ("viewer".into(), vec!["read:items".into()]),
        ]),
        granted_by: GrantedBy::Either,
        client: vec![path("clientId")],
        subject: path(r"https://example\.com/sub"),
        token_id: path("sid"),
        ..preset(&memory)
    };
    assert_eq!(reading(&memory), expected);
    // A list of types is the whole list.
    assert!(!reading(&keycloak("token_types: [JWT]")).untyped);
    // One path in either form, and a text with a dot.
    for written in [
        "realm_access.groups",
        "[realm_access, groups]",
        "[[realm_access, groups]]",
    ] {
        let reading = reading(&keycloak(&format!("permissions_from: {written}")));
        assert_eq!(reading.permissions, [path("realm_access.groups")], "{written}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (lines, fault) in [
        (
            "roles: {admin: [read:item]}",
            "`read:item` is not a permission of `urn:items` (did you mean `read:items`?)",
        ),
        (
            "roles: {admin: [read:items, read:items]}",
            "`read:items` is twice in `admin`",
        ),
        ("roles: {admin: []}", "`admin` must not be empty"),
        ("roles: {'': [read:items]}", "a name in `roles` must not be empty"),
        ("roles: [admin]", "`roles` must be a mapping"),
        ("algorithms: []", "`algorithms` must not be empty"),
        ("algorithms: [none]", "`algorithms` cannot be `none`"),
        (
            "algorithms: [HS256]",
            "HS256 needs a secret that the API shares with the issuer",
        ),
        ("audiences: []", "`audiences` must not be empty"),
        ("audiences: [a, a]", "`a` is twice in `audiences`"),
        (
            "token_types: [application/at+jwt]",
            "`token_types` are written without `application/`",
        ),
        (
            "permissions_from: realm_access..roles",
            "`permissions_from` has an empty name",
        ),
        ("permissions_from: []", "`permissions_from` must not be empty"),
        (
            "permissions_from: [a, '']",
            "`permissions_from` must not be empty",
        ),
        (
            "permissions_from: https://example.com/roles",
            "`permissions_from` looks like an address",
        ),
        (
            r"subject_from: a\b",
            r"`subject_from` has a `\` that stands before neither",
        ),
        ("subject_from: [[a]]", "`subject_from` must be text"),
        ("granted_by: roles", "`granted_by` cannot be `roles`"),
        (
            "granted_by: scope\nroles: {admin: [read:items]}",
            "`roles` counts for nothing where scopes decide",
        ),
        (
            "granted_by: scope\npermissions_from: groups",
            "`permissions_from` counts for nothing where scopes decide",
        ),
        ("kind: keycloak", "unknown key `kind`"),
        ("type_claims: {a..b: x}", "`a..b` has an empty name"),
    ] {
        let faults = keycloak(lines).faults();
        assert!(
            faults.len() == 1 && faults[0].contains(fault) && faults[0].starts_with("etc/gate.yaml:1"),
            "{lines}: {faults:?}"
        );
    }
    let kind = one_api("", &[ROUTE]).replace(&format!("'{ISSUER}'"), &format!("'{ISSUER}', kind: azure"));
    let faults = Memory::with(&kind).faults();
    assert!(faults[0].contains("`kind` cannot be `azure`"), "{faults:?}");
}

/// Roles count for nothing under a definition that goes by scopes, unless the issuer is told otherwise.
#[test]
fn the_definition_says_what_counts() {
    let scopes = |lines| keycloak(lines).file("etc/items.json", ITEMS);
    let faults = scopes("roles: {admin: [read:items]}").faults();
    assert!(faults[0].contains("`roles` counts for nothing"), "{faults:?}");
    let told = scopes("roles: {admin: [read:items]}\ngranted_by: permissions");
    assert_eq!(reading(&told).granted_by, GrantedBy::Permissions);
    assert_eq!(reading(&scopes("")).granted_by, GrantedBy::Scope);
    assert_eq!(reading(&keycloak("")).granted_by, GrantedBy::Permissions);
}

/// Keys of an issuer are fetched where some API verifies its tokens with them.
#[test]
fn keys_are_fetched_for_whom_they_are_needed() {
    let secret =
        r#"{"identifier": "urn:items", "signing_alg": "HS256", "scopes": [{"value": "read:items"}]}"#;
    let memory = |lines: &str| {
        let config = keycloak(lines)
            .load_text()
            .replace("    routes:", "    signing_secret: env:S\n    routes:");
        Memory::with(&config)
            .file("etc/items.json", secret)
            .variable("S", GOOD_SECRET)
    };
    let sources = |memory: &Memory| {
        let settings = memory.load().unwrap_or_else(|faults| panic!("{faults}"));
        settings
            .issuers
            .iter()
            .map(|issuer| issuer.source.is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(sources(&memory("")), [false, false]);
    assert_eq!(sources(&memory("algorithms: [RS256]")), [false, true]);
    assert_eq!(sources(&memory("algorithms: [HS256]")), [false, false]);
}

impl Memory {
    fn load_text(&self) -> String {
        String::from_utf8(self.files[Path::new("etc/gate.yaml")].clone()).unwrap()
    }
}
