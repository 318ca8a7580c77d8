//! API keys: whose token endpoint they are exchanged at, and that nothing of the API stands against it.

use std::sync::Arc;

use http::HeaderName;

use super::super::faults::Fault;
use super::super::file::{Api, ApiKeys, ExchangeAs, Issuer};
use super::super::reader::Placed;
use super::super::source::Files;
use super::asked::Written;
use super::{HOUR, Known, MINUTE, tokens};
use crate::definition::ApiDefinition;
use crate::policy::{Possession, TokenPlace};
use crate::snapshot::{ApiKeysPlan, EndpointKind, ExchangeEndpoint, IssuerPlan};

/// How an API takes keys; `None` where it does not. `definition` is there where it is known by now.
pub(super) fn api_keys(
    api: &Api,
    (trusted, token_places): (&[IssuerPlan], &[TokenPlace]),
    definition: Option<&ApiDefinition>,
    known: &Known<'_>,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<ApiKeysPlan> {
    let placed = api.api_keys.as_ref()?;
    let usual = ExchangeAs::default();
    let written = match &placed.value {
        ApiKeys::Exchange(_) => &usual,
        ApiKeys::As(written) => written,
    };
    let possession = definition.and_then(|definition| Possession::of(definition, None));
    if possession.is_some_and(|possession| possession.is_required()) {
        let message =
            "the definition asks every token for a proof of possession, which nobody gives with a key";
        let hint = "remove `api_keys`, or set `proof_of_possession.required` to false";
        faults.push(Fault::new(&placed.place, message).with_hint(hint));
    }
    let header = written.header.as_ref();
    let header = header.and_then(|name| self::header(name, token_places, faults));
    let issuer = issuer(placed, written, trusted, known, faults)?;
    let jwks_ca = issuer.jwks.as_ref().and_then(|jwks| jwks.ca.as_ref());
    let asked = Written {
        kind: EndpointKind::Token,
        under: "api_keys",
        place: &placed.place,
        issuer: &issuer.issuer,
        address: written.token_endpoint.as_ref(),
        ttl: written.ttl.as_ref(),
        usual_ttl: (MINUTE * 5, HOUR),
        negative_ttl: written.negative_ttl.as_ref(),
        timeout: written.timeout.as_ref(),
        concurrency: written.concurrency.as_ref(),
        waiting: written.max_waiting.as_ref(),
        failures: written.failures.as_ref(),
        cooldown: written.cooldown.as_ref(),
        ca: written.ca.as_ref().or(jwks_ca),
        allow_http: written.allow_http.unwrap_or(false),
    };
    let authentication = written.authentication.map(|word| word.0).unwrap_or_default();
    Some(ApiKeysPlan {
        header,
        endpoint: Arc::new(ExchangeEndpoint {
            asked: asked.endpoint(files, faults)?,
            authentication,
            scope: written.scope.as_ref().map(|scope| scope.value.clone()),
        }),
    })
}

/// The issuer that was named, or the only one.
fn issuer<'a>(
    placed: &Placed<ApiKeys>,
    written: &ExchangeAs,
    trusted: &[IssuerPlan],
    known: &Known<'a>,
    faults: &mut Vec<Fault>,
) -> Option<&'a Issuer> {
    let name = match (&written.issuer, trusted) {
        (Some(named), _) => {
            if !trusted.iter().any(|trusted| trusted.issuer == named.value) {
                let message = format!("`{}` is none of the API's issuers", named.value);
                let hint = "compared byte for byte: a trailing slash matters";
                faults.push(Fault::new(&named.place, message).with_hint(hint));
                return None;
            }
            &named.value
        }
        (None, [only]) => &only.issuer,
        // One that is none is told of where it is written.
        (None, []) => return None,
        (None, _) => {
            let message = "the API has several issuers, and a key does not say whose it is";
            let hint = "name the one that knows the clients: api_keys: { issuer: … }";
            faults.push(Fault::new(&placed.place, message).with_hint(hint));
            return None;
        }
    };
    known.issuers.iter().find(|issuer| issuer.issuer.value == *name)
}

fn header(name: &Placed<String>, token_places: &[TokenPlace], faults: &mut Vec<Fault>) -> Option<HeaderName> {
    let Some(TokenPlace::Header { name: header, .. }) = tokens::header(name, None, faults) else {
        return None;
    };
    let is_same = |place: &TokenPlace| matches!(place, TokenPlace::Header { name, .. } if *name == header);
    if token_places.iter().any(is_same) {
        let message = format!("header `{}` carries tokens already", name.value);
        faults.push(Fault::new(&name.place, message).with_hint("keys need a header of their own"));
    }
    Some(header)
}
