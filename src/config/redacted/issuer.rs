//! Issuers without what must not be seen: where their keys come from, and how they are asked about tokens and for tokens.
//!
//! Only `redacted` uses it.

use std::sync::Arc;

use http::HeaderName;
use serde_json::{Value, json};

use super::{name, show_period};
use crate::control::{IssuerSettings, KeySource};
use crate::snapshot::{
    ApiKeysPlan, ApiPlan, AskedEndpoint, ClientAuthentication, ExchangeEndpoint, IntrospectionEndpoint,
};

pub(super) fn issuer(issuer: &IssuerSettings, apis: &[ApiPlan]) -> Value {
    // One that no API asks is not shown: nothing comes of it.
    let mut asked = apis
        .iter()
        .filter_map(|api| Some(&api.introspection.as_ref()?.endpoint));
    let endpoint = asked.find(|endpoint| *endpoint.asked.issuer == *issuer.issuer);
    let jwks = &issuer.jwks;
    let keys = match &issuer.source {
        None => json!("none needed"),
        Some(KeySource::Discovery) => json!("discovery"),
        Some(KeySource::Uri(uri)) => json!({"jwks_uri": uri}),
        Some(KeySource::File(path)) => json!({"jwks_file": path.to_string_lossy()}),
        // Somebody may have put private keys there.
        Some(KeySource::Inline(_)) => json!({"jwks_inline": "[redacted]"}),
    };
    json!({
        "issuer": issuer.issuer,
        "keys": keys,
        "jwks": {
            "ttl": show_period(jwks.ttl),
            "max_stale": show_period(jwks.max_stale),
            "cooldown": show_period(jwks.cooldown),
            "timeout": show_period(jwks.timeout),
            "ca": jwks.ca.as_ref().map(|path| path.to_string_lossy()),
            "allow_http": jwks.allow_http,
        },
        "introspection": endpoint.map(introspection_endpoint),
    })
}

fn introspection_endpoint(endpoint: &Arc<IntrospectionEndpoint>) -> Value {
    let (authentication, key) = match &endpoint.authentication {
        ClientAuthentication::Basic(_) => ("client_secret_basic", None),
        ClientAuthentication::Post(_) => ("client_secret_post", None),
        ClientAuthentication::PrivateKey { key, audience } => ("private_key_jwt", Some((key, audience))),
    };
    let asked = &endpoint.asked;
    let shown = json!({
        "endpoint": asked.address.as_deref().unwrap_or("discovery"),
        "client_id": endpoint.client_id,
        "authentication": authentication,
        "client_secret": key.is_none().then_some("[redacted]"),
        "private_key": key.map(|_| "[redacted]"),
        "signing_alg": key.map(|(key, _)| key.alg().name()),
        "assertion_audience": key.map(|(_, audience)| audience),
    });
    with_asked(shown, asked)
}

pub(super) fn api_keys(keys: &ApiKeysPlan) -> Value {
    let ExchangeEndpoint {
        asked,
        authentication,
        scope,
    } = &*keys.endpoint;
    let shown = json!({
        "issuer": &*asked.issuer,
        "token_endpoint": asked.address.as_deref().unwrap_or("discovery"),
        "header": keys.header.as_ref().map(HeaderName::as_str),
        "authentication": name(*authentication),
        "scope": scope,
    });
    with_asked(shown, asked)
}

/// Completed by what is the same for all endpoints that are asked.
fn with_asked(shown: Value, asked: &AskedEndpoint) -> Value {
    let asked = json!({
        "ttl": show_period(asked.ttl),
        "negative_ttl": show_period(asked.negative_ttl),
        "timeout": show_period(asked.timeout),
        "concurrency": asked.concurrency,
        "max_waiting": asked.waiting,
        "failures": asked.failures,
        "cooldown": show_period(asked.cooldown),
        "allow_http": asked.allow_http,
    });
    let parts = [shown, asked].into_iter().filter_map(|part| match part {
        Value::Object(members) => Some(members),
        _ => None,
    });
    Value::Object(parts.flatten().collect())
}
