//! Issuers without what must not be seen: where their keys come from, and how they are asked about tokens.
//!
//! Only `redacted` uses it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::show_period;
use crate::control::{IssuerSettings, KeySource};
use crate::snapshot::{ApiPlan, ClientAuthentication, IntrospectionEndpoint};

pub(super) fn issuer(issuer: &IssuerSettings, apis: &[ApiPlan]) -> Value {
    // One that no API asks is not shown: nothing comes of it.
    let mut asked = apis
        .iter()
        .filter_map(|api| Some(&api.introspection.as_ref()?.endpoint));
    let endpoint = asked.find(|endpoint| *endpoint.issuer == *issuer.issuer);
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
    json!({
        "endpoint": endpoint.address.as_deref().unwrap_or("discovery"),
        "client_id": endpoint.client_id,
        "authentication": authentication,
        "client_secret": key.is_none().then_some("[redacted]"),
        "private_key": key.map(|_| "[redacted]"),
        "signing_alg": key.map(|(key, _)| key.alg().name()),
        "assertion_audience": key.map(|(_, audience)| audience),
        "ttl": show_period(endpoint.ttl),
        "negative_ttl": show_period(endpoint.negative_ttl),
        "timeout": show_period(endpoint.timeout),
        "concurrency": endpoint.concurrency,
        "max_waiting": endpoint.waiting,
        "failures": endpoint.failures,
        "cooldown": show_period(endpoint.cooldown),
        "allow_http": endpoint.allow_http,
    })
}
