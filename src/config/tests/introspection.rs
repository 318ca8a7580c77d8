//! Questions about tokens: who is asked, how the gateway authenticates, and everything that can be wrong with either.

use std::sync::LazyLock;

use super::*;
use crate::snapshot::{ClientAuthentication, IntrospectionEndpoint};
use crate::token::{AudienceRule, IntrospectedTokens};

static P256: LazyLock<String> = LazyLock::new(|| rcgen::KeyPair::generate().unwrap().serialize_pem());
static P384: LazyLock<String> = LazyLock::new(|| {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384);
    pair.unwrap().serialize_pem()
});
static RSA: LazyLock<String> = LazyLock::new(|| {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    pair.unwrap().serialize_pem()
});

const LOCAL: &str = "http://localhost:9000/";
const SECRET: &str = "client_id: me, client_secret: env:SECRET";
const OPAQUE: &str = "introspection: {tokens: opaque}";

/// An issuer with this `introspection`, and an API with these lines.
fn with(introspection: &str, api: &str) -> Memory {
    let config = one_api(api, &["{path: /a, require: public}"]).replace(
        &format!("{{issuer: '{ISSUER}'}}"),
        &format!("{{issuer: '{LOCAL}', introspection: {{{introspection}}}}}"),
    );
    memory(&config)
}

fn memory(config: &str) -> Memory {
    Memory::with(config)
        .variable("SECRET", GOOD_SECRET)
        .file("etc/p256.pem", P256.as_str())
        .file("etc/p384.pem", P384.as_str())
        .file("etc/rsa.pem", RSA.as_str())
}

fn endpoint(introspection: &str) -> std::sync::Arc<IntrospectionEndpoint> {
    let settings = with(introspection, OPAQUE).load();
    let settings = settings.unwrap_or_else(|faults| panic!("{introspection}: {faults}"));
    let plan = settings.plan.apis[0].introspection.clone().unwrap();
    assert_eq!(
        (plan.tokens, plan.audience),
        (IntrospectedTokens::Opaque, AudienceRule::Required)
    );
    plan.endpoint
}

#[track_caller]
fn is_at_fault(memory: &Memory, fault: &str) {
    let faults = memory.faults();
    assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:?}");
}

#[test]
fn defaults_and_everything_that_can_be_said() {
    let plain = endpoint(SECRET);
    let asked = &plain.asked;
    assert_eq!((&*asked.issuer, &asked.address), (LOCAL, &None));
    assert_eq!(
        (asked.ttl, asked.negative_ttl, asked.timeout, asked.cooldown),
        (
            Duration::from_secs(60),
            Duration::from_secs(5),
            Duration::from_secs(5),
            Duration::from_secs(1)
        )
    );
    assert_eq!((asked.concurrency, asked.waiting, asked.failures), (64, 1_024, 5));
    assert!(
        matches!(&plain.authentication, ClientAuthentication::Basic(secret) if secret.expose() == GOOD_SECRET.as_bytes())
    );
    let full = endpoint(
        "endpoint: http://127.0.0.1:1/i, client_id: me, authentication: client_secret_post, client_secret: env:SECRET, ttl: 0s, negative_ttl: 1m, timeout: 1s, concurrency: 1, max_waiting: 2, failures: 3, cooldown: 4s, allow_http: true",
    );
    let asked = &full.asked;
    assert_eq!(asked.address.as_deref(), Some("http://127.0.0.1:1/i"));
    assert!(asked.allow_http && matches!(full.authentication, ClientAuthentication::Post(_)));
    assert_eq!((asked.concurrency, asked.waiting, asked.failures), (1, 2, 3));
    assert_eq!(
        (asked.ttl, asked.cooldown),
        (Duration::ZERO, Duration::from_secs(4))
    );
    for (lines, expected, audience) in [
        ("private_key: file:p256.pem", "ES256", LOCAL),
        ("private_key: file:rsa.pem", "RS256", LOCAL),
        (
            "private_key: file:rsa.pem, signing_alg: PS256, assertion_audience: urn:as",
            "PS256",
            "urn:as",
        ),
    ] {
        let endpoint = endpoint(&format!("client_id: me, {lines}"));
        let ClientAuthentication::PrivateKey { key, audience: aud } = &endpoint.authentication else {
            panic!("{lines}")
        };
        assert_eq!((key.alg().name(), aud.as_str()), (expected, audience));
        assert!(key.sign("me", aud, "1", 0).is_ok());
    }
}

#[test]
fn secrets_do_not_show() {
    for lines in [SECRET, "client_id: me, private_key: file:p256.pem"] {
        let settings = with(lines, OPAQUE).load().unwrap();
        let shown = redacted(&settings);
        let shown_endpoint = &shown["issuers"][0]["introspection"];
        assert_eq!(shown_endpoint["client_id"], "me");
        assert_eq!(shown["apis"][0]["introspection"]["tokens"], "opaque");
        let text = format!("{shown} {settings:?}");
        assert!(!text.contains(GOOD_SECRET) && !text.contains(P256.lines().nth(1).unwrap()));
    }
}

#[test]
fn a_token_is_verified_here_unless_all_are_asked_about() {
    let source = |api: &str| with(SECRET, api).load().unwrap().issuers[0].source.clone();
    assert_eq!(source(OPAQUE), Some(KeySource::Discovery));
    assert_eq!(source("introspection: {tokens: all}"), None);
    let settings = with(SECRET, "introspection: {tokens: opaque, require_audience: false}")
        .load()
        .unwrap();
    let plan = settings.plan.apis[0].introspection.as_ref().unwrap();
    assert_eq!(plan.audience, AudienceRule::WherePresent);
}

#[test]
fn what_is_wrong_with_an_endpoint_is_told_where_it_stands() {
    for (lines, fault) in [
        ("client_secret: env:SECRET", "`client_id`"),
        ("client_id: '', client_secret: env:SECRET", "must not be empty"),
        ("client_id: me", "needs `client_secret`"),
        (
            "client_id: me, client_secret: hush-hush",
            "must refer to a secret",
        ),
        ("client_id: me, client_secret: env:UNSET", "is not set"),
        (
            "client_id: me, authentication: private_key_jwt",
            "needs `private_key`",
        ),
        (
            "client_id: me, authentication: private_key_jwt, private_key: file:p256.pem, client_secret: env:SECRET",
            "of no use",
        ),
        (
            "client_id: me, authentication: client_secret_basic, private_key: file:p256.pem, client_secret: env:SECRET",
            "of no use",
        ),
        ("client_id: me, client_secret: env:SECRET, key_id: k", "of no use"),
        (
            "client_id: me, client_secret: env:SECRET, authentication: none",
            "`authentication`",
        ),
        (
            "client_id: me, private_key: file:p256.pem, signing_alg: HS256",
            "`signing_alg`",
        ),
        (
            "client_id: me, private_key: file:p256.pem, signing_alg: RS256",
            "cannot sign assertions",
        ),
        (
            "client_id: me, private_key: file:rsa.pem, signing_alg: ES256",
            "cannot sign assertions",
        ),
        (
            "client_id: me, private_key: file:p384.pem",
            "cannot sign assertions",
        ),
        ("client_id: me, private_key: env:SECRET", "cannot sign assertions"),
        (
            "endpoint: http://as.example/i, client_id: me, client_secret: env:SECRET",
            "must begin with https://",
        ),
        (
            "endpoint: as.example, client_id: me, client_secret: env:SECRET",
            "`endpoint`",
        ),
        (
            "endpoint: 'https://u:p@as.example/', client_id: me, client_secret: env:SECRET, ca: p256.pem",
            "`endpoint` must not contain",
        ),
        (
            "client_id: me, client_secret: env:SECRET, ca: none.pem",
            "none.pem",
        ),
        ("client_id: me, client_secret: env:SECRET, ttl: 6m", "`ttl` is 6m"),
        (
            "client_id: me, client_secret: env:SECRET, concurrency: 0",
            "`concurrency` is 0",
        ),
        (
            "client_id: me, client_secret: env:SECRET, secret: x",
            "unknown key `secret`",
        ),
    ] {
        let faults = with(lines, OPAQUE).faults();
        assert!(
            faults[0].contains(fault) && faults[0].contains("gate.yaml:"),
            "{lines}: {faults:?}"
        );
        assert!(!faults.concat().contains("hush-hush"));
    }
}

#[test]
fn exactly_one_issuer_can_be_asked() {
    is_at_fault(
        &Memory::with(&one_api(OPAQUE, &[ROUTE])),
        "none of the API's issuers can be asked",
    );
    is_at_fault(&with(SECRET, "introspection: {tokens: some}"), "`tokens`");
    is_at_fault(&with(SECRET, "introspection: {}"), "`tokens`");
    let two = |second: &str, api: &str| {
        let config = one_api(api, &[ROUTE]).replace(
            &format!("[{{issuer: '{ISSUER}'}}]"),
            &format!(
                "[{{issuer: '{LOCAL}', introspection: {{{SECRET}}}}}, {{issuer: 'http://localhost:9001/'{second}}}]"
            ),
        );
        memory(&config)
    };
    let also = format!(", introspection: {{{SECRET}}}");
    is_at_fault(&two(&also, OPAQUE), "several of the API's issuers can be asked");
    is_at_fault(
        &two("", "introspection: {tokens: all}"),
        "only one issuer is asked, and the API has several",
    );
    for (second, api) in [
        ("", OPAQUE.to_owned()),
        (&*also, format!("{OPAQUE}\nissuers: ['{LOCAL}']")),
        (
            &*also,
            format!("introspection: {{tokens: all}}\nissuers: ['{LOCAL}']"),
        ),
    ] {
        let settings = two(second, &api).load().unwrap();
        let plan = settings.plan.apis[0].introspection.as_ref().unwrap();
        assert_eq!(&*plan.endpoint.asked.issuer, LOCAL);
    }
}
