//! Settings as an operator may see them: everything but secrets.
//!
//! Used by the admin listener's `/config` and by `check --output json`. Written out member by member, so that a new
//! member is hidden until somebody decides to show it.

mod issuer;
mod trusted;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use trusted::trusted;

use super::values::{show_period, show_size};
use super::{DpopSettings, Settings};
use crate::control::{DefinitionsSettings, RevocationSettings};
use crate::definition::Words;
use crate::net::{ListenerSettings, PairFiles, TlsSettings};
use crate::policy::{Conditions, RequirementPlan, TokenPlace};
use crate::snapshot::{ApiPlan, RoutePlan, ServerAddress, UpstreamPlan, UpstreamProtocol};
use crate::telemetry::AccessLogOutput;
use crate::token::{AudienceRule, ProtocolForm, Unencrypted};

/// The settings as JSON, in the words of the configuration, with every default filled in and every secret replaced by
/// `[redacted]`.
pub fn redacted(settings: &Settings) -> Value {
    #[cfg(feature = "authority")]
    let authority = settings.authority.as_ref().map(authority);
    #[cfg(not(feature = "authority"))]
    let authority = Value::Null;
    json!({
        "authority": authority,
        "definitions": settings.definitions.as_ref().map(definitions),
        "listeners": settings.listeners.iter().map(listener).collect::<Value>(),
        "trusted_proxies": settings.trusted_proxies.networks().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "forwarded_fields": name(settings.forwarded_fields),
        "client_certificate_field": settings.client_certificate_field.map(name),
        "dpop": dpop(&settings.dpop),
        "revocations": settings.revocations.as_ref().map(revocations),
        "admin": settings.admin.map_or(json!("off"), |address| json!({"address": address})),
        "workers": settings.workers,
        "issuers": settings.issuers.iter().map(|one| issuer::issuer(one, &settings.plan.apis)).collect::<Value>(),
        "apis": settings.plan.apis.iter().map(api).collect::<Value>(),
        "limits": limits(settings),
        "timeouts": timeouts(settings),
        "token_cache": {"entries": settings.token_cache_entries},
        "access_log": {
            "output": match &settings.access_log.output {
                AccessLogOutput::Stdout => "stdout".into(),
                AccessLogOutput::Stderr => "stderr".into(),
                AccessLogOutput::Off => "off".into(),
                AccessLogOutput::File(path) => path.to_string_lossy(),
            },
            "identities": if settings.access_log.plain_identities { "plain" } else { "hashed" },
            "denials_per_second": settings.access_log.denials_per_second,
        },
        "files": settings.files.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
        "hash": settings.hash,
    })
}

fn definitions(definitions: &DefinitionsSettings) -> Value {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    json!({
        "issuer": definitions.credentials.issuer,
        "client_id": definitions.credentials.client_id,
        "client_secret": "[redacted]",
        "poll": show_period(definitions.poll),
        "ca": definitions.ca.as_ref().map(path),
        "kept_in": definitions.kept_in.as_ref().map(path),
    })
}

#[cfg(feature = "authority")]
fn authority(authority: &crate::authority::AuthoritySettings) -> Value {
    use crate::authority::{EncryptionKey, StoreAddress};

    json!({
        "address": authority.address,
        "issuer": authority.issuer,
        "store": match &authority.store {
            StoreAddress::Sqlite(path) => format!("sqlite:{}", path.display()),
            StoreAddress::Memory => "memory".into(),
            StoreAddress::Postgres(address) => address.to_string(),
        },
        "encryption_key": match &authority.encryption_key {
            EncryptionKey::Given(_) => json!("[redacted]"),
            EncryptionKey::Kept(path) => json!({ "kept_in": path.to_string_lossy() }),
            EncryptionKey::Ephemeral => Value::Null,
        },
        "tls": authority.tls.as_ref().map(tls),
    })
}

fn listener(listener: &ListenerSettings) -> Value {
    json!({
        "address": listener.address,
        "http2": listener.http2,
        "tls": listener.tls.as_ref().map(tls),
        "proxy_protocol": listener.proxy_protocol.map(name),
    })
}

fn tls(tls: &TlsSettings) -> Value {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let pair = |pair: &PairFiles| json!({"certificate": path(&pair.certificate), "private_key": path(&pair.private_key)});
    json!({
        "certificates": tls.pairs.iter().map(pair).collect::<Value>(),
        "client_ca": tls.client_ca.as_deref().map(path),
        "client_certificate": name(tls.client_certificate),
        "min_version": name(tls.min_version),
    })
}

fn dpop(dpop: &DpopSettings) -> Value {
    let proofs = &dpop.proofs;
    json!({
        "max_age": show_period(proofs.max_age),
        "max_ahead": show_period(proofs.max_ahead),
        "proofs": proofs.entries,
        "nonce_lifetime": proofs.nonce_lifetime.map(show_period),
        "nonce_secret": dpop.nonce_secret.as_ref().map(|_| "[redacted]"),
    })
}

fn revocations(revocations: &RevocationSettings) -> Value {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    json!({
        "file": revocations.file.as_ref().map(path),
        "entries": revocations.entries,
        "push": revocations.push.as_ref().map(|push| json!({
            "secret": "[redacted]",
            "store": push.store.as_ref().map(path),
        })),
    })
}

fn limits(settings: &Settings) -> Value {
    let limits = &settings.limits;
    let bytes = |bytes: usize| show_size(u64::try_from(bytes).unwrap_or(u64::MAX));
    json!({
        "header_bytes": bytes(limits.header_bytes),
        "headers": limits.headers,
        "uri_bytes": bytes(limits.uri_bytes),
        "token_bytes": bytes(limits.token_bytes),
        "body_bytes": show_size(limits.body_bytes),
        "connections": limits.connections,
        "connections_per_address": limits.connections_per_address,
        "requests_per_connection": limits.requests_per_connection,
        "body_rate": show_size(limits.body_rate.into()),
        "response_rate": show_size(limits.response_rate.into()),
        "http2_resets": limits.http2_resets,
        "http2_streams": limits.http2_streams,
        "upstream_connections": limits.upstream_connections,
    })
}

fn timeouts(settings: &Settings) -> Value {
    let timeouts = &settings.timeouts;
    json!({
        "first_byte": show_period(timeouts.first_byte),
        "handshake": show_period(timeouts.handshake),
        "header": show_period(timeouts.header),
        "idle": show_period(timeouts.idle),
        "connection_age": show_period(timeouts.connection_age),
        "body": show_period(timeouts.body),
        "stream_idle": show_period(timeouts.stream_idle),
        "drain": show_period(timeouts.drain),
        "pre_drain": show_period(timeouts.pre_drain),
    })
}

fn api(api: &ApiPlan) -> Value {
    let headers = api.forward.identity_headers.iter();
    let headers: Map<_, _> = headers
        .map(|header| (header.name.as_str().to_owned(), json!(header.claim)))
        .collect();
    json!({
        // Its secret hides itself.
        "definition": serde_json::to_value(api.definition.as_ref()).unwrap_or_default(),
        "issuers": api.issuers.iter().map(|issuer| trusted(api, issuer)).collect::<Value>(),
        "signing_secret": api.signing_secret.as_ref().map(|_| "[redacted]"),
        // What names a key is no secret.
        "decryption_keys": api.encryption.as_ref().map(|encryption| encryption.keys.thumbprints().collect::<Vec<_>>()),
        "accept_unencrypted": api.encryption.as_ref().map(|encryption| encryption.unencrypted == Unencrypted::Accept),
        "introspection": api.introspection.as_ref().map(|introspection| json!({
            "tokens": name(introspection.tokens),
            "require_audience": introspection.audience == AudienceRule::Required,
        })),
        "api_keys": api.api_keys.as_ref().map(issuer::api_keys),
        "hosts": api.hosts,
        "public_url": api.public_url,
        "mode": name(api.mode),
        "leeway": show_period(api.leeway),
        "max_age": api.max_age.map(show_period),
        "tokens": {"from": token_places(&api.token_places)},
        "upstream": upstream(&api.upstream),
        "forward": {"token": name(api.forward.token), "identity_headers": headers},
        "cors_preflight": name(api.forward.cors_preflight),
        "routes": api.routes.iter().map(route).collect::<Value>(),
    })
}

/// No place says `authorization`.
fn token_places(places: &[TokenPlace]) -> Value {
    let place = |place: &TokenPlace| match place {
        TokenPlace::Authorization => json!("authorization"),
        TokenPlace::Header { name, scheme } => json!({"header": name.as_str(), "scheme": scheme}),
        TokenPlace::Cookie { name, origins } => json!({"cookie": name, "origins": origins}),
        TokenPlace::WebSocketProtocol(ProtocolForm::After(marker)) => json!({"websocket_protocol": marker}),
        TokenPlace::WebSocketProtocol(ProtocolForm::Prefix(prefix)) => {
            json!({"websocket_prefix": prefix, "encoding": "plain"})
        }
        TokenPlace::WebSocketProtocol(ProtocolForm::EncodedPrefix(prefix)) => {
            json!({"websocket_prefix": prefix, "encoding": "base64url"})
        }
        TokenPlace::Query(name) => json!({"query": name}),
    };
    match places {
        [] => json!(["authorization"]),
        places => places.iter().map(place).collect(),
    }
}

fn upstream(upstream: &UpstreamPlan) -> Value {
    let scheme = match upstream.tls {
        Some(_) => "https://",
        None => "http://",
    };
    let servers = upstream.servers.iter().map(|server| match server {
        ServerAddress::Tcp { .. } => format!("{scheme}{server}"),
        ServerAddress::Unix(_) => server.to_string(),
    });
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let tls = upstream.tls.as_ref().map(|tls| {
        json!({
            "ca": path(&tls.files.ca),
            "server_name": tls.server_name,
            "certificate": path(&tls.files.certificate),
            "private_key": path(&tls.files.private_key),
        })
    });
    let health = upstream.health.as_ref().map(|health| {
        json!({
            "path": health.path.as_str(),
            "interval": show_period(health.interval),
            "timeout": show_period(health.timeout),
            "healthy": health.healthy,
            "unhealthy": health.unhealthy,
            "statuses": health.statuses.iter().map(http::StatusCode::as_u16).collect::<Vec<_>>(),
        })
    });
    json!({
        "servers": servers.collect::<Vec<_>>(),
        "http2": upstream.protocol == UpstreamProtocol::Http2,
        "tls": tls,
        "connect_timeout": show_period(upstream.connect_timeout),
        "timeout": show_period(upstream.timeout),
        "idle_timeout": show_period(upstream.idle_timeout),
        "health": health,
        "ejection": {
            "failures": upstream.ejection.failures,
            "time": show_period(upstream.ejection.time),
            "max_time": show_period(upstream.ejection.max_time),
        },
        "max_waiting": upstream.waiting.requests,
        "waiting_timeout": show_period(upstream.waiting.timeout),
    })
}

fn route(route: &RoutePlan) -> Value {
    json!({
        "path": route.pattern.as_str(),
        "methods": route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "require": requirement(&route.require),
        "mode": route.mode.map(name),
        "timeout": route.timeout.map(show_period),
        "max_body": route.max_body.map(show_size),
        "idle_timeout": route.idle_timeout.map(show_period),
        "upgrade": route.upgrade.into_iter().map(name).collect::<Vec<_>>(),
        "on_expiry": name(route.on_expiry),
        "allow": route.allow.iter().copied().map(name).collect::<Vec<_>>(),
    })
}

fn requirement(requirement: &RequirementPlan) -> Value {
    let conditions = match requirement {
        RequirementPlan::Public => return json!("public"),
        RequirementPlan::Token(conditions) if *conditions == Conditions::default() => {
            return json!("authenticated");
        }
        RequirementPlan::Token(conditions) => conditions,
    };
    let claims: Map<_, _> = conditions
        .claims
        .iter()
        .map(|test| (test.claim.clone(), json!(test.values)))
        .collect();
    let mut shown = Map::new();
    let mut show = |key: &str, value: Value, is_empty: bool| {
        if !is_empty {
            shown.insert(key.into(), value);
        }
    };
    show("all_of", json!(conditions.all_of), conditions.all_of.is_empty());
    show("any_of", json!(conditions.any_of), conditions.any_of.is_empty());
    show("claims", json!(claims), claims.is_empty());
    show(
        "clients",
        json!(conditions.clients),
        conditions.clients.is_empty(),
    );
    if let Some(step_up) = &conditions.step_up {
        let step_up = json!({
            "within": step_up.within.map(show_period),
            "methods": step_up.methods,
            "acr": step_up.acr,
            "match": name(step_up.matching),
            "machines": name(step_up.machines),
        });
        show("step_up", step_up, false);
    }
    Value::Object(shown)
}

fn name<W: Words + PartialEq>(value: W) -> &'static str {
    W::WORDS
        .iter()
        .find(|(_, known)| *known == value)
        .map_or("", |(name, _)| name)
}
