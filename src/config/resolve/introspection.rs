//! Questions about tokens (RFC 7662): the endpoints of issuers, and which API asks whom.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::super::address::WebAddress;
use super::super::bounds::{SHORTEST, count, period};
use super::super::faults::Fault;
use super::super::file::{Api, AssertionAlg, Authentication, Endpoint, Issuer};
use super::super::reader::Placed;
use super::super::secret;
use super::super::source::{Files, beside};
use super::{Known, MINUTE};
use crate::definition::SigningAlg;
use crate::net::{Alpn, ClientTls};
use crate::snapshot::{ClientAuthentication, IntrospectionEndpoint, IntrospectionPlan, IssuerPlan};
use crate::token::{AssertionKey, AudienceRule, IntrospectedTokens};

const SECOND: Duration = Duration::from_secs(1);

/// The endpoint of each issuer that has one, in the order of the issuers.
pub(super) fn endpoints(
    issuers: &[Issuer],
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<Arc<IntrospectionEndpoint>> {
    let mut endpoints = Vec::new();
    for issuer in issuers {
        if let Some(written) = &issuer.introspection {
            endpoints.extend(endpoint(issuer, written, files, faults).map(Arc::new));
        }
    }
    endpoints
}

/// Whom an API asks: the one of its issuers that can be asked.
pub(super) fn introspection(
    api: &Api,
    trusted: &[IssuerPlan],
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Option<IntrospectionPlan> {
    let written = api.introspection.as_ref()?;
    let is_trusted = |issuer: &str| trusted.iter().any(|trusted| trusted.issuer == issuer);
    let can_be_asked = known
        .issuers
        .iter()
        .filter(|issuer| issuer.introspection.is_some() && is_trusted(&issuer.issuer.value));
    let tokens = written.value.tokens.value.0;
    let fault = match can_be_asked.count() {
        0 => Some((
            "none of the API's issuers can be asked about tokens",
            "set `introspection` with `client_id` beside the `issuer` that issues them",
        )),
        1 if tokens == IntrospectedTokens::All && trusted.len() > 1 => Some((
            "with `tokens: all` only one issuer is asked, and the API has several",
            "name that one in `issuers` of the API, or set `tokens: opaque`",
        )),
        1 => None,
        _ => Some((
            "several of the API's issuers can be asked about tokens, and nothing in a token says whose it is",
            "name in `issuers` of the API only one that has `introspection`",
        )),
    };
    if let Some((message, hint)) = fault {
        faults.push(Fault::new(&written.place, message).with_hint(hint));
    }
    let endpoint = known
        .endpoints
        .iter()
        .find(|endpoint| is_trusted(&endpoint.issuer))?;
    Some(IntrospectionPlan {
        tokens,
        audience: match written.value.require_audience {
            Some(false) => AudienceRule::WherePresent,
            Some(true) | None => AudienceRule::Required,
        },
        endpoint: Arc::clone(endpoint),
    })
}

fn endpoint(
    issuer: &Issuer,
    placed: &Placed<Endpoint>,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<IntrospectionEndpoint> {
    let written = &placed.value;
    let allow_http = written.allow_http.unwrap_or(false);
    let is_https = is_https(issuer, written, faults);
    let authentication = authentication(issuer, written, files, faults);
    let tls = tls(placed, is_https, files, faults);
    if written.client_id.value.is_empty() {
        faults.push(Fault::new(
            &written.client_id.place,
            "`client_id` must not be empty",
        ));
    }
    let ttl = written.ttl.as_ref();
    let negative_ttl = written.negative_ttl.as_ref();
    let timeout = written.timeout.as_ref();
    let cooldown = written.cooldown.as_ref();
    let zero = Duration::ZERO;
    let concurrency = written.concurrency.as_ref();
    let concurrency = count("concurrency", concurrency, 64, (1, 1_024), faults);
    let waiting = written.max_waiting.as_ref();
    let waiting = count("max_waiting", waiting, 1_024, (1, 100_000), faults);
    Some(IntrospectionEndpoint {
        issuer: issuer.issuer.value.as_str().into(),
        address: written.endpoint.as_ref().map(|address| address.value.clone()),
        client_id: written.client_id.value.clone(),
        allow_http,
        ttl: period("ttl", ttl, MINUTE, (zero, MINUTE * 5), faults),
        negative_ttl: period("negative_ttl", negative_ttl, SECOND * 5, (zero, MINUTE), faults),
        timeout: period("timeout", timeout, SECOND * 5, (SHORTEST, SECOND * 30), faults),
        concurrency,
        waiting,
        failures: count("failures", written.failures.as_ref(), 5, (1, 10_000), faults),
        cooldown: period("cooldown", cooldown, SECOND, (SHORTEST, MINUTE), faults),
        authentication: authentication?,
        tls: tls?,
    })
}

/// Whether the endpoint, or the metadata that tells of it, is at an `https` address.
fn is_https(issuer: &Issuer, written: &Endpoint, faults: &mut Vec<Fault>) -> bool {
    let (key, address) = match &written.endpoint {
        Some(address) => ("endpoint", address),
        None => ("issuer", &issuer.issuer),
    };
    let parsed = match WebAddress::parse(&address.value) {
        Ok(parsed) => parsed,
        Err(rule) => {
            // An issuer that is none is told of where it is written.
            if written.endpoint.is_some() {
                faults.push(Fault::new(&address.place, format!("`{key}` {rule}")));
            }
            return false;
        }
    };
    if !parsed.https && !parsed.is_loopback() && !written.allow_http.unwrap_or(false) {
        let message = format!("`{key}` must begin with https:// for `introspection`");
        let hint = "tokens and credentials go there; introspection.allow_http allows it all the same";
        faults.push(Fault::new(&address.place, message).with_hint(hint));
    }
    parsed.https
}

fn authentication(
    issuer: &Issuer,
    written: &Endpoint,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<ClientAuthentication> {
    let kind = match (&written.authentication, &written.private_key) {
        (Some(word), _) => word.value.0,
        (None, Some(_)) => Authentication::PrivateKey,
        (None, None) => Authentication::Basic,
    };
    let (needed, useless) = match kind {
        Authentication::PrivateKey => ("private_key", [written.client_secret.as_ref(), None]),
        Authentication::Basic | Authentication::Post => (
            "client_secret",
            [written.private_key.as_ref(), written.key_id.as_ref()],
        ),
    };
    for useless in useless.into_iter().flatten() {
        let message = format!("`introspection` authenticates by `{needed}`, and this is of no use beside it");
        faults.push(Fault::new(&useless.place, message).with_hint("remove it, or set `authentication`"));
    }
    let reference = match kind {
        Authentication::PrivateKey => &written.private_key,
        Authentication::Basic | Authentication::Post => &written.client_secret,
    };
    let Some(reference) = reference else {
        let message = format!("`introspection` needs `{needed}`");
        let hint = format!("{needed}: env:NAME or file:PATH");
        faults.push(Fault::new(&written.client_id.place, message).with_hint(&*hint));
        return None;
    };
    let secret = secret::resolve(needed, reference, files, faults)?;
    Some(match kind {
        Authentication::Basic => ClientAuthentication::Basic(secret),
        Authentication::Post => ClientAuthentication::Post(secret),
        Authentication::PrivateKey => {
            let alg = written.signing_alg.as_ref().map(|word| match word.value.0 {
                AssertionAlg::RS256 => SigningAlg::RS256,
                AssertionAlg::PS256 => SigningAlg::PS256,
                AssertionAlg::ES256 => SigningAlg::ES256,
            });
            let kid = written.key_id.as_ref().map(|kid| kid.value.clone());
            let key = AssertionKey::read(secret.expose(), alg, kid)
                .map_err(|fault| {
                    let message = format!("this key cannot sign assertions: {fault}");
                    let hint =
                        "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256";
                    faults.push(Fault::new(&reference.place, message).with_hint(hint));
                })
                .ok()?;
            let audience = written.assertion_audience.as_ref().unwrap_or(&issuer.issuer);
            ClientAuthentication::PrivateKey {
                key,
                audience: audience.value.clone(),
            }
        }
    })
}

/// `None` where it is at fault; nothing in it where only plain http is spoken.
fn tls(
    placed: &Placed<Endpoint>,
    is_https: bool,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Option<Arc<ClientConfig>>> {
    let ca = placed.value.ca.as_ref();
    let pem = match ca {
        Some(ca) => Some(files.content(&beside(&ca.place, &ca.value), &ca.place, faults)?),
        None if !is_https => return Some(None),
        None => None,
    };
    let pem = pem.as_ref().map(|pem| pem.as_slice());
    match ClientTls::from_pem(pem, None, Alpn::Http1) {
        Ok(client) => Some(Some(client.config())),
        Err(error) => {
            let place = ca.map_or(&placed.place, |ca| &ca.place);
            faults.push(Fault::new(place, error.to_string()));
            None
        }
    }
}
