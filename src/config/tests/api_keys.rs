//! API keys: where they are exchanged, and everything that can stand against it.

use serde_json::json;

use super::*;
use crate::snapshot::{ApiKeysPlan, KeyAuthentication};

const SECOND: Duration = Duration::from_secs(1);
const OTHER: &str = "https://other.example/";

fn api_keys(lines: &str) -> ApiKeysPlan {
    let settings = Memory::with(&one_api(lines, &[ROUTE])).load();
    let settings = settings.unwrap_or_else(|faults| panic!("{lines}: {faults}"));
    settings.plan.apis[0].api_keys.clone().unwrap()
}

#[track_caller]
fn is_at_fault(memory: &Memory, fault: &str) {
    let faults = memory.faults();
    assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:?}");
}

#[test]
fn defaults_and_everything_that_can_be_said() {
    for lines in ["api_keys: exchange", "api_keys: {}"] {
        let keys = api_keys(lines);
        let asked = &keys.endpoint.asked;
        assert_eq!(
            (keys.header, &*asked.issuer, &asked.address),
            (None, ISSUER, &None)
        );
        assert_eq!(
            (asked.ttl, asked.negative_ttl, asked.timeout, asked.cooldown),
            (SECOND * 300, SECOND * 5, SECOND * 5, SECOND)
        );
        assert_eq!((asked.concurrency, asked.waiting, asked.failures), (64, 1_024, 5));
        assert_eq!(keys.endpoint.authentication, KeyAuthentication::Post);
        assert_eq!(keys.endpoint.scope, None);
        assert!(asked.tls.is_some() && !asked.allow_http);
    }
    let keys = api_keys(&format!(
        "api_keys: {{issuer: '{ISSUER}', token_endpoint: http://127.0.0.1:1/t, header: X-Api-Key, authentication: client_secret_basic, scope: a b, ttl: 1h, negative_ttl: 0s, timeout: 1s, concurrency: 1, max_waiting: 2, failures: 3, cooldown: 4s, allow_http: true}}"
    ));
    let asked = &keys.endpoint.asked;
    assert_eq!(keys.header.unwrap(), "x-api-key");
    assert_eq!(asked.address.as_deref(), Some("http://127.0.0.1:1/t"));
    assert_eq!((asked.ttl, asked.negative_ttl), (SECOND * 3_600, Duration::ZERO));
    assert_eq!((asked.concurrency, asked.waiting, asked.failures), (1, 2, 3));
    assert_eq!((asked.timeout, asked.cooldown), (SECOND, SECOND * 4));
    assert_eq!(keys.endpoint.authentication, KeyAuthentication::Basic);
    assert_eq!(keys.endpoint.scope.as_deref(), Some("a b"));
    assert!(asked.allow_http && asked.tls.is_none());
}

#[test]
fn it_is_shown_with_its_defaults() {
    let shown = |lines: &str| {
        let settings = Memory::with(&one_api(lines, &[ROUTE])).load().unwrap();
        redacted(&settings)["apis"][0]["api_keys"].clone()
    };
    assert!(shown("").is_null());
    let shown = shown("api_keys: exchange");
    assert_eq!((&shown["issuer"], &shown["ttl"]), (&json!(ISSUER), &json!("5m")));
    assert_eq!(shown["token_endpoint"], "discovery");
    assert_eq!(shown["authentication"], "client_secret_post");
}

#[test]
fn what_is_wrong_is_told_where_it_stands() {
    for (lines, fault) in [
        ("api_keys: excange", "did you mean `exchange`?"),
        ("api_keys: true", "`exchange` or a mapping"),
        ("api_keys: {isuer: x}", "isuer"),
        (
            "api_keys: {issuer: https://tenant.eu.auth0.com}",
            "none of the API's issuers",
        ),
        ("api_keys: {ttl: 2h}", "`ttl`"),
        ("api_keys: {negative_ttl: 2m}", "`negative_ttl`"),
        ("api_keys: {concurrency: 0}", "`concurrency`"),
        (
            "api_keys: {authentication: private_key_jwt}",
            "`authentication` cannot be",
        ),
        (
            "api_keys: {token_endpoint: 'http://tenant.eu.auth0.com/'}",
            "api_keys.allow_http",
        ),
        ("api_keys: {token_endpoint: nowhere}", "`token_endpoint`"),
        ("api_keys: {header: authorization}", "authorization"),
        ("api_keys: {header: X_Api_Key}", "`_`"),
        ("api_keys: {header: host}", "has a meaning of its own"),
        ("api_keys: {header: 'a b'}", "is not a header name"),
        (
            "api_keys: {header: X-Key}\ntokens: {from: [authorization, {header: x-key}]}",
            "carries tokens already",
        ),
        (
            "api_keys: {header: X-Client}\nforward: {identity_headers: {X-Client: azp}}",
            "is an identity header",
        ),
    ] {
        is_at_fault(&Memory::with(&one_api(lines, &[ROUTE])), fault);
    }
}

#[test]
fn a_key_must_be_known_to_one_issuer() {
    let several = |lines: &str| {
        let config = one_api(lines, &[ROUTE]);
        let issuers = format!("issuers: [{{issuer: '{ISSUER}'}}, {{issuer: '{OTHER}'}}]");
        Memory::with(&config.replace(&format!("issuers: [{{issuer: '{ISSUER}'}}]"), &issuers))
    };
    is_at_fault(&several("api_keys: exchange"), "a key does not say whose it is");
    for lines in [
        format!("api_keys: {{issuer: '{OTHER}'}}"),
        format!("api_keys: exchange\nissuers: ['{OTHER}']"),
    ] {
        let settings = several(&lines).load().unwrap();
        let keys = settings.plan.apis[0].api_keys.as_ref().unwrap();
        assert_eq!(&*keys.endpoint.asked.issuer, OTHER);
    }
}

#[test]
fn nobody_proves_possession_with_a_key() {
    let with = |possession: &str| {
        let config = one_api(
            "api_keys: exchange\npublic_url: https://items.example.com",
            &[ROUTE],
        );
        let definition = ITEMS.trim_end().trim_end_matches('}').to_owned();
        let definition = format!("{definition}, \"proof_of_possession\": {possession}}}");
        Memory::with(&config).file("etc/items.json", definition)
    };
    for mechanism in ["dpop", "mtls"] {
        let required = format!(r#"{{"mechanism": "{mechanism}", "required": true}}"#);
        let faults = with(&required).faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].contains("proof of possession") && faults[0].contains("remove `api_keys`"),
            "{faults:?}"
        );
        let optional = format!(r#"{{"mechanism": "{mechanism}", "required": false}}"#);
        assert!(with(&optional).load().is_ok());
    }
}
