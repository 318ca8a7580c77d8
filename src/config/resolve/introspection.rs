//! Questions about tokens (RFC 7662): the endpoints of issuers, and which API asks whom.

use std::sync::Arc;

use super::super::faults::Fault;
use super::super::file::{Api, AssertionAlg, Authentication, Endpoint, Issuer};
use super::super::reader::Placed;
use super::super::secret;
use super::super::source::Files;
use super::asked::Written;
use super::{Known, MINUTE};
use crate::definition::SigningAlg;
use crate::snapshot::{
    ClientAuthentication, EndpointKind, IntrospectionEndpoint, IntrospectionPlan, IssuerPlan,
};
use crate::token::{AssertionKey, AudienceRule, IntrospectedTokens};

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
        .find(|endpoint| is_trusted(&endpoint.asked.issuer))?;
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
    let authentication = authentication(issuer, written, files, faults);
    let asked = Written {
        kind: EndpointKind::Introspection,
        under: "introspection",
        place: &placed.place,
        issuer: &issuer.issuer,
        address: written.endpoint.as_ref(),
        ttl: written.ttl.as_ref(),
        usual_ttl: (MINUTE, MINUTE * 5),
        negative_ttl: written.negative_ttl.as_ref(),
        timeout: written.timeout.as_ref(),
        concurrency: written.concurrency.as_ref(),
        waiting: written.max_waiting.as_ref(),
        failures: written.failures.as_ref(),
        cooldown: written.cooldown.as_ref(),
        ca: written.ca.as_ref(),
        allow_http: written.allow_http.unwrap_or(false),
    };
    let asked = asked.endpoint(files, faults);
    if written.client_id.value.is_empty() {
        faults.push(Fault::new(
            &written.client_id.place,
            "`client_id` must not be empty",
        ));
    }
    Some(IntrospectionEndpoint {
        client_id: written.client_id.value.clone(),
        authentication: authentication?,
        asked: asked?,
    })
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
