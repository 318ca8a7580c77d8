//! `scopegate explain`: the production decision on a described request, check by check.
//!
//! It compiles the configuration as `run` does and calls the same `decide`. With `--token` the keys of the issuers are
//! fetched, and an issuer is asked about it, or for one in place of an API key, as `run` would; with `--claims` a key is made for the occasion, put in place of the issuer's, and the claims
//! are signed with it, so that nothing of the path is skipped. It forwards nothing.

mod direct;
mod exchange;
mod introspect;
mod place;
mod report;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use serde_json::Value;

use super::Output;
use super::signing::SigningKey;
use crate::clock::unix_now;
use crate::config::Settings;
use crate::control::read_revocations;
use crate::gateway::SanitizedHead;
use crate::policy::{Api, Decision, Denial, Route, RouteTable, decide};
use crate::snapshot::handoff::KeyMisses;
use crate::snapshot::{ClaimsOf, CompileSettings, IssuerKeys, Lists, Snapshot, compile};
use crate::token::{ClaimPath, KeySet, Reading, RevocationList, Unencrypted, VerifyToken};
use direct::Direct;
use exchange::Exchanged;
use introspect::Introspected;
use report::{Looked, explanation, print};

/// A request in words.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// `GET /items`
    pub request: String,
    /// `Host`; where it is not given, the one host of the only API, or `localhost`.
    pub host: Option<String>,
    /// `Name: value`
    pub headers: Vec<String>,
    /// A compact token.
    pub token: Option<String>,
    /// The certificate that the client shows, in DER.
    pub certificate: Option<Vec<u8>>,
    /// The claims of a token. What is not there is filled in, so that only what is asked about decides.
    pub claims: Option<Value>,
}

/// Why nothing could be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The description of the request cannot be read.
    #[error("{0}")]
    Usage(String),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Explains. Returns whether the request would be forwarded. `keys` are those of the issuers, for `--token`.
pub fn run(
    settings: &Settings,
    described: &Described,
    keys: &HashMap<String, KeySet>,
    output: Output,
    out: &mut dyn Write,
) -> Result<bool, ExplainError> {
    let mut parts = parts(settings, described)?;
    let mut snapshot = compiled(settings, keys)?;
    let mut token = described.token.clone();
    if let Some(claims) = &described.claims
        && let Some(api) = api_of(&snapshot.table, &parts, settings)
    {
        let (signed, keys) = signed_claims(settings, api, claims)?;
        snapshot = compiled(&with_plain_tokens(settings), &keys)?;
        token = Some(signed);
    }
    if let Some(token) = token {
        let api = api_of(&snapshot.table, &parts, settings);
        let places = api.and_then(|api| api.places.as_deref());
        place::put(&mut parts, places, &token)?;
    }
    let mut direct = Direct::new(settings, described, lists(settings)?);
    let first = decision(&snapshot.table, &parts, settings, &direct);
    let (first, exchanged) = exchange::decision(first, &snapshot, &parts, settings, &mut direct)?;
    let (decision, introspected) = introspect::decision(first, &snapshot, &parts, settings, &direct)?;
    let looked = Looked {
        exchanged,
        introspected,
        is_listed: settings.revocations.is_some(),
    };
    let explanation = explanation(&snapshot.table, described, &parts, &decision, looked);
    match output {
        Output::Text => print(&explanation, out)?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, &explanation).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(matches!(decision, Decision::Forward(_)))
}

/// What is in the files; what was pushed and is not stored, only the gateway knows.
fn lists(settings: &Settings) -> Result<Lists, ExplainError> {
    let list = |path: Option<&PathBuf>| -> Result<Arc<RevocationList>, ExplainError> {
        let entries = path
            .filter(|path| path.exists())
            .map(|path| read_revocations(path));
        let entries = entries.transpose().map_err(|error| usage(&error.to_string()))?;
        Ok(Arc::new(RevocationList::new(entries.iter().flatten())))
    };
    let Some(revocations) = &settings.revocations else {
        return Ok(Lists::default());
    };
    let store = revocations.push.as_ref().and_then(|push| push.store.as_ref());
    Ok(Lists {
        file: list(revocations.file.as_ref())?,
        pushed: list(store)?,
    })
}

fn compiled(settings: &Settings, keys: &HashMap<String, KeySet>) -> Result<Snapshot, ExplainError> {
    let of = |issuer: &String| {
        let keys = keys.get(issuer).cloned().map(Arc::new);
        (
            issuer.clone(),
            IssuerKeys {
                keys,
                misses: KeyMisses::unchanging(),
            },
        )
    };
    let keys = settings.plan.issuers.iter().map(of).collect();
    let compile_settings = CompileSettings {
        generation: 1,
        config_hash: settings.hash.as_str().into(),
        max_token_bytes: settings.limits.token_bytes,
        claims: ClaimsOf::Tokens,
    };
    compile(&settings.plan, &keys, &compile_settings).map_err(|faults| {
        usage(
            &faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        )
    })
}

/// The settings under which claims are asked about: a signed token is made of them, nobody encrypts it, and no issuer
/// knows of it.
fn with_plain_tokens(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    for api in &mut settings.plan.apis {
        api.introspection = None;
        if let Some(encryption) = &mut api.encryption {
            encryption.unencrypted = Unencrypted::Accept;
        }
    }
    settings
}

/// The request as the gateway would have it from an HTTP/1.1 client.
fn parts(settings: &Settings, described: &Described) -> Result<Parts, ExplainError> {
    let mut words = described.request.split_whitespace();
    let (Some(method), Some(target), None) = (words.next(), words.next(), words.next()) else {
        return Err(usage(
            "a request is described as `METHOD /path`, such as 'GET /items'",
        ));
    };
    let request = Request::builder().method(method).uri(target).body(());
    let (mut parts, ()) = request
        .map_err(|error| usage(&format!("this cannot be sent as a request: {error}")))?
        .into_parts();
    add_headers(&mut parts.headers, &described.headers)?;
    if !parts.headers.contains_key(HOST) {
        let host = HeaderValue::try_from(host(settings, described));
        parts
            .headers
            .insert(HOST, host.map_err(|_invalid| usage("the host is not valid"))?);
    }
    Ok(parts)
}

fn add_headers(headers: &mut HeaderMap, lines: &[String]) -> Result<(), ExplainError> {
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| usage("a header is given as 'Name: value'"))?;
        let name =
            HeaderName::try_from(name.trim()).map_err(|_invalid| usage("a header name is not a token"))?;
        let value =
            HeaderValue::try_from(value.trim()).map_err(|_invalid| usage("a header value is not valid"))?;
        headers.append(name, value);
    }
    Ok(())
}

fn host(settings: &Settings, described: &Described) -> String {
    let of_the_only_api = || match settings.plan.apis.as_slice() {
        [api] => api.hosts.first().cloned(),
        _ => None,
    };
    described
        .host
        .clone()
        .or_else(of_the_only_api)
        .unwrap_or_else(|| "localhost".into())
}

/// What the gateway would decide, from the first look at the head.
fn decision(
    table: &RouteTable,
    parts: &Parts,
    settings: &Settings,
    verify: &impl VerifyToken<Api>,
) -> Decision {
    match SanitizedHead::read(parts, &settings.limits) {
        Ok(head) => decide(table, head.request_head(), verify, unix_now()),
        Err(reason) => Decision::Refuse(Denial::of(reason)),
    }
}

/// The API whose route the request meets, found by asking without a token.
fn api_of<'a>(table: &'a RouteTable, parts: &Parts, settings: &Settings) -> Option<&'a Api> {
    let direct = Direct::new(settings, &Described::default(), Lists::default());
    let route = route_of(table, &decision(table, parts, settings, &direct))?;
    table.api(route.api)
}

fn route_of<'a>(table: &'a RouteTable, decision: &Decision) -> Option<&'a Route> {
    match decision {
        Decision::Forward(permit) => table.route(permit.route()),
        Decision::Refuse(denial) => table.route(denial.route?),
    }
}

/// A token with these claims, and the keys with which it verifies.
fn signed_claims(
    settings: &Settings,
    api: &Api,
    claims: &Value,
) -> Result<(String, HashMap<String, KeySet>), ExplainError> {
    let plan = settings
        .plan
        .apis
        .get(api.id.0)
        .ok_or_else(|| usage("there is no such API"))?;
    let definition = &plan.definition;
    let Value::Object(claims) = claims else {
        return Err(usage("claims are a JSON object"));
    };
    let named = claims.get("iss").and_then(Value::as_str);
    let trusted = plan
        .issuers
        .iter()
        .find(|trusted| named.is_none_or(|named| named == trusted.issuer));
    let reading = trusted.map_or_else(|| Reading::of(definition), |trusted| plan.reading(trusted));
    let signed_by = named.or(trusted.map(|trusted| trusted.issuer.as_str()));
    let signed_by = signed_by.unwrap_or_default().to_owned();
    let all = completed(&signed_by, &reading, claims);
    let secret = plan.signing_secret.as_ref().map(|secret| secret.expose());
    let told = |error: &dyn std::fmt::Display| usage(&error.to_string());
    let alg = reading
        .algorithms
        .first()
        .copied()
        .unwrap_or(definition.signing_alg);
    let key = SigningKey::new(alg, secret, "explain").map_err(|error| told(&error))?;
    let typ = reading.types.first().map(String::as_str);
    let token = key.sign(typ, &Value::Object(all)).map_err(|error| told(&error))?;
    let mut keys = HashMap::new();
    if !alg.is_symmetric() {
        let jwks = key.jwks().map_err(|error| told(&error))?;
        let (set, _) = KeySet::from_jwks(jwks.as_bytes()).map_err(|error| told(&error))?;
        keys.insert(signed_by, set);
    }
    Ok((token, keys))
}

/// The claims with what a valid token of the API has beside them.
fn completed(
    issuer: &str,
    reading: &Reading,
    claims: &serde_json::Map<String, Value>,
) -> serde_json::Map<String, Value> {
    let now = unix_now();
    let mut all = serde_json::Map::new();
    for (name, value) in [
        ("iss", Value::from(issuer)),
        ("aud", Value::from(reading.audiences.first().cloned())),
        ("sub", Value::from("explain")),
        ("jti", Value::from("explain")),
        ("iat", Value::from(now)),
        ("exp", Value::from(now.saturating_add(300))),
    ] {
        all.insert(name.into(), value);
    }
    for (path, values) in &reading.type_claims {
        put(&mut all, path, values.first().cloned().into());
    }
    // The client has several names, and they must not disagree.
    let client = ["client_id", "azp"]
        .into_iter()
        .chain(reading.client.iter().filter_map(top));
    let client = client.filter_map(|name| claims.get(name)).next();
    let client = client.cloned().unwrap_or_else(|| Value::from("explain"));
    let named = reading.client.first().into_iter().chain(reading.marks.first());
    for path in named {
        put(&mut all, path, client.clone());
    }
    if reading.client.is_empty() {
        all.insert("client_id".into(), client);
    }
    all.extend(claims.clone());
    all
}

/// The name of a claim that is not within another.
fn top(path: &ClaimPath) -> Option<&str> {
    let mut names = path.names();
    names.next().filter(|_| names.next().is_none())
}

/// What stands within another claim is left to whoever asks.
fn put(claims: &mut serde_json::Map<String, Value>, path: &ClaimPath, value: Value) {
    if let Some(name) = top(path) {
        claims.insert(name.into(), value);
    }
}

fn usage(text: &str) -> ExplainError {
    ExplainError::Usage(text.into())
}
