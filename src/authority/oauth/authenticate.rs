//! Which client asks, and whether it is the client that it says.
//!
//! An unknown client and a wrong secret get the same answer after the same work. Attempts are counted by `throttle`.
//! Secrets are looked at here, assertions in `assertion`.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Map;
use zeroize::Zeroizing;

use super::assertion::{self, Assertion, Court};
use super::fault::Fault;
use super::parameters::Parameters;
use super::throttle::Name;
use crate::authority::model::{Client, ClientAuthentication, SecretIn, Tenant};
use crate::authority::{Authority, Request, unix_now};

/// A client that was believed.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) client: Arc<Client>,
    /// It has no credential of its own: anybody could say that they are this client.
    pub(super) is_public: bool,
}

/// What the request has to say for itself.
enum Presented<'a> {
    Nothing,
    Secret(&'a str, SecretIn),
    Assertion(&'a Assertion<'a>),
}

/// Id and secret of a `Basic` header.
struct Basic {
    client_id: Zeroizing<String>,
    secret: Zeroizing<String>,
}

/// Finds the client of a request and checks its credential.
///
/// # Errors
/// [`Fault::Unauthorized`], [`Fault::Assertion`], [`Fault::Request`], [`Fault::Missing`], [`Fault::TooMany`],
/// [`Fault::Busy`].
pub(super) fn authenticate(
    authority: &Authority,
    tenant: &Tenant,
    request: &Request,
    parameters: &Parameters,
) -> Result<Caller, Fault> {
    let basic = basic(&request.headers)?;
    let assertion = assertion(parameters)?;
    let (own_id, presented) = match (&basic, &assertion, parameters.get("client_secret")) {
        (None, None, None) => (None, Presented::Nothing),
        (None, None, Some(secret)) => (None, Presented::Secret(secret, SecretIn::Post)),
        (Some(basic), None, None) => (
            Some(basic.client_id.as_str()),
            Presented::Secret(&basic.secret, SecretIn::Basic),
        ),
        (None, Some(assertion), None) => (Some(&*assertion.client_id), Presented::Assertion(assertion)),
        _ => return Err(AMBIGUOUS),
    };
    let client_id = match (own_id, parameters.get("client_id")) {
        (Some(own), Some(other)) if own != other => return Err(AMBIGUOUS),
        (Some(own), _) => own,
        (None, _) => parameters.require("client_id")?,
    };
    let throttle = &authority.oauth.throttle;
    let attempt = throttle
        .admit(Name::Client(client_id), request.peer.ip(), Instant::now())
        .map_err(|seconds| Fault::TooMany { seconds })?;
    let client = match presented {
        Presented::Assertion(assertion) => {
            let court = Court {
                issuer: &authority.settings().issuer,
                seen: &authority.oauth.assertions,
                now: unix_now(),
            };
            assertion.check(tenant, &court)?
        }
        other => believe(tenant, client_id, &other).ok_or(Fault::Unauthorized {
            in_header: basic.is_some(),
        })?,
    };
    throttle.forgive(attempt, Instant::now());
    Ok(Caller {
        is_public: client.authentication() == ClientAuthentication::None,
        client,
    })
}

fn assertion(parameters: &Parameters) -> Result<Option<Assertion<'_>>, Fault> {
    let Some(text) = parameters.get("client_assertion") else {
        return Ok(None);
    };
    if parameters.get("client_assertion_type") != Some(assertion::TYPE) {
        return Err(Fault::Request("client_assertion_type is not supported"));
    }
    Assertion::read(text).map(Some)
}

fn believe(tenant: &Tenant, client_id: &str, presented: &Presented<'_>) -> Option<Arc<Client>> {
    let known = tenant.client(client_id);
    let client = known.cloned().unwrap_or_else(nobody);
    let is_right = match (client.authentication(), presented) {
        (ClientAuthentication::None, _) => true,
        (ClientAuthentication::Secret(wanted), Presented::Secret(secret, place)) => {
            // The secret is looked at in any case.
            client.has_secret(secret) & (wanted == SecretIn::Either || wanted == *place)
        }
        (ClientAuthentication::Secret(_) | ClientAuthentication::PrivateKeyJwt, _) => false,
    };
    (known.is_some() && is_right).then_some(client)
}

/// Stands in for a client that is not there: it has a secret that nobody knows, since there is none to know.
fn nobody() -> Arc<Client> {
    Arc::new(Client::new("", Map::new(), None))
}

/// The `Basic` header (RFC 6749 section 2.3.1: both parts are form-encoded); `None` where there is none.
fn basic(headers: &HeaderMap) -> Result<Option<Basic>, Fault> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(AMBIGUOUS);
    }
    let Some((scheme, credentials)) = field.as_bytes().split_at_checked(6) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Ok(None);
    }
    read_basic(credentials)
        .map(Some)
        .ok_or(Fault::Unauthorized { in_header: true })
}

fn read_basic(credentials: &[u8]) -> Option<Basic> {
    let bytes = Zeroizing::new(STANDARD.decode(credentials.trim_ascii()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (client_id, secret) = text.split_once(':')?;
    Some(Basic {
        client_id: decoded(client_id)?,
        secret: decoded(secret)?,
    })
}

fn decoded(text: &str) -> Option<Zeroizing<String>> {
    // As the one name of a form that has nothing else.
    if text.contains(['&', '=']) {
        return None;
    }
    match form_urlencoded::parse(text.as_bytes()).next() {
        Some((name, _)) => Some(Zeroizing::new(name.into_owned())),
        None => Some(Zeroizing::default()),
    }
}

const AMBIGUOUS: Fault = Fault::Request("More than one way of client authentication was used");
