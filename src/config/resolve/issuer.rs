//! Issuers: identifiers, and where their keys come from.

use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::super::address::WebAddress;
use super::super::bounds::{SHORTEST, period};
use super::super::faults::Fault;
use super::super::file::{Issuer, Jwks};
use super::super::reader::Placed;
use super::super::source::{Files, beside};
use super::{DAY, HOUR, MINUTE};
use crate::control::{IssuerSettings, JwksSettings, KeySource};
use crate::definition::Node;
use crate::snapshot::ApiPlan;
use crate::token::IntrospectedTokens;

/// The most issuers of one gateway.
const MOST_ISSUERS: usize = 64;

/// Every issuer; `source` is `None` where nothing was written.
pub(super) fn issuers(
    written: &[Issuer],
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<IssuerSettings> {
    if let Some(first_too_many) = written.get(MOST_ISSUERS) {
        let message = format!("there are {} issuers; the most is {MOST_ISSUERS}", written.len());
        faults.push(Fault::new(&first_too_many.issuer.place, message));
    }
    for (index, issuer) in written.iter().enumerate() {
        let before = written
            .iter()
            .take(index)
            .find(|other| other.issuer.value == issuer.issuer.value);
        if let Some(before) = before {
            let message = format!(
                "issuer `{}` is already named at {}",
                issuer.issuer.value, before.issuer.place
            );
            faults.push(Fault::new(&issuer.issuer.place, message));
        }
    }
    written
        .iter()
        .take(MOST_ISSUERS)
        .map(|issuer| one(issuer, files, faults))
        .collect()
}

/// Discovery, for the issuers without a source whose keys some API needs.
pub(super) fn with_sources(mut issuers: Vec<IssuerSettings>, apis: &[ApiPlan]) -> Vec<IssuerSettings> {
    for issuer in &mut issuers {
        let verifying = apis.iter().filter(|api| !asks_about_all(api));
        let needed = verifying.into_iter().any(|api| {
            let trusted = api
                .issuers
                .iter()
                .filter(|trusted| trusted.issuer == issuer.issuer);
            trusted
                .into_iter()
                .any(|trusted| api.reading(trusted).needs_keys())
        });
        if issuer.source.is_none() && needed {
            issuer.source = Some(KeySource::Discovery);
        }
    }
    issuers
}

/// Whether an API verifies no token itself.
fn asks_about_all(api: &ApiPlan) -> bool {
    let introspection = api.introspection.as_ref();
    introspection.is_some_and(|introspection| introspection.tokens == IntrospectedTokens::All)
}

fn one(issuer: &Issuer, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> IssuerSettings {
    let jwks = jwks(issuer.jwks.as_ref(), files, faults);
    if let Some(parsed) = web_address("issuer", &issuer.issuer, jwks.allow_http, faults)
        && parsed.has_query
    {
        faults.push(Fault::new(&issuer.issuer.place, "`issuer` must not have a query"));
    }
    let source = source(issuer, jwks.allow_http, files, faults);
    IssuerSettings {
        issuer: issuer.issuer.value.clone(),
        source,
        jwks,
    }
}

/// `https`, or `http` to this machine or where it was asked for.
fn web_address(
    key: &str,
    written: &Placed<String>,
    allow_http: bool,
    faults: &mut Vec<Fault>,
) -> Option<WebAddress> {
    let parsed = WebAddress::parse(&written.value)
        .map_err(|rule| faults.push(Fault::new(&written.place, format!("`{key}` {rule}"))))
        .ok()?;
    if !parsed.https && !parsed.is_loopback() && !allow_http {
        let message = format!("`{key}` must begin with https://");
        let hint = "whoever can change the answer can sign tokens; jwks.allow_http allows it all the same";
        faults.push(Fault::new(&written.place, message).with_hint(hint));
    }
    Some(parsed)
}

fn source(
    issuer: &Issuer,
    allow_http: bool,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<KeySource> {
    let places = [
        issuer.jwks_uri.as_ref().map(|uri| &uri.place),
        issuer.jwks_file.as_ref().map(|file| &file.place),
        issuer.jwks_inline.as_ref().map(|inline| &inline.place),
    ];
    if let Some(second) = places.into_iter().flatten().nth(1) {
        let message = "an issuer has only one of `jwks_uri`, `jwks_file` and `jwks_inline`";
        faults.push(Fault::new(second, message));
    }
    if let Some(uri) = &issuer.jwks_uri {
        web_address("jwks_uri", uri, allow_http, faults);
        return Some(KeySource::Uri(uri.value.clone()));
    }
    if let Some(file) = &issuer.jwks_file {
        let path = beside(&file.place, &file.value);
        if let Some(document) = files.document(&path, &file.place, faults) {
            key_set(&document, faults);
        }
        return Some(KeySource::File(path));
    }
    let inline = issuer.jwks_inline.as_ref()?;
    key_set(inline, faults);
    Some(KeySource::Inline(inline.to_json().to_string()))
}

/// The shape of a key set; what the keys are good for is looked at where they are used.
fn key_set(set: &Node, faults: &mut Vec<Fault>) {
    let Some(keys) = set
        .get("keys")
        .and_then(Node::list)
        .filter(|keys| !keys.is_empty())
    else {
        faults.push(Fault::new(
            &set.place,
            "a key set is a mapping with a list of `keys` that is not empty",
        ));
        return;
    };
    for key in keys {
        let fault = match key.get("kty").and_then(Node::text) {
            Some("oct") => Fault::new(&key.place, "a key set must not hold a symmetric key")
                .with_hint("an HS* API has its secret in `signing_secret`"),
            Some(_) => continue,
            None => Fault::new(&key.place, "a key must have `kty`"),
        };
        faults.push(fault);
    }
}

fn jwks(written: Option<&Jwks>, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> JwksSettings {
    let mut jwks = JwksSettings::default();
    let Some(written) = written else { return jwks };
    let second = Duration::from_secs(1);
    jwks.ttl = period("ttl", written.ttl.as_ref(), jwks.ttl, (second, HOUR), faults);
    jwks.max_stale = period(
        "max_stale",
        written.max_stale.as_ref(),
        jwks.max_stale,
        (second, DAY * 30),
        faults,
    );
    if jwks.max_stale < jwks.ttl
        && let Some(place) = written.max_stale.as_ref().map(|stale| &stale.place)
    {
        faults.push(Fault::new(place, "`max_stale` must not be less than `ttl`"));
    }
    let cooldown = (Duration::from_millis(100), HOUR);
    jwks.cooldown = period(
        "cooldown",
        written.cooldown.as_ref(),
        jwks.cooldown,
        cooldown,
        faults,
    );
    jwks.timeout = period(
        "timeout",
        written.timeout.as_ref(),
        jwks.timeout,
        (SHORTEST, MINUTE),
        faults,
    );
    jwks.ca = written.ca.as_ref().map(|ca| authorities(ca, files, faults));
    jwks.allow_http = written.allow_http.unwrap_or(false);
    jwks
}

/// A file of certificates to trust.
pub(super) fn authorities(ca: &Placed<String>, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> PathBuf {
    let path = beside(&ca.place, &ca.value);
    if let Some(content) = files.content(&path, &ca.place, faults) {
        certificates(&content, ca, faults);
    }
    path
}

fn certificates(pem: &[u8], ca: &Placed<String>, faults: &mut Vec<Fault>) {
    let readable: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    if !readable.is_ok_and(|certificates| !certificates.is_empty()) {
        faults.push(Fault::new(
            &ca.place,
            format!("{} is not a file of PEM certificates", ca.value),
        ));
    }
}
