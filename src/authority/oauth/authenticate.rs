//! Which client asks, and whether it is the client that it says.
//!
//! An unknown client and a wrong secret get the same answer after the same work. Attempts are counted by `throttle`.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Map;
use zeroize::Zeroizing;

use super::fault::Fault;
use super::parameters::Parameters;
use super::throttle::Name;
use crate::authority::model::{Client, ClientAuthentication, SecretIn, Tenant};
use crate::authority::{Authority, Request};

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
}

/// Id and secret of a `Basic` header.
struct Basic {
    client_id: Zeroizing<String>,
    secret: Zeroizing<String>,
}

/// Finds the client of a request and checks its credential.
///
/// # Errors
/// [`Fault::Unauthorized`], [`Fault::Request`], [`Fault::Missing`], [`Fault::TooMany`].
pub(super) fn authenticate(
    authority: &Authority,
    tenant: &Tenant,
    request: &Request,
    parameters: &Parameters,
) -> Result<Caller, Fault> {
    let basic = basic(&request.headers)?;
    let in_header = basic.is_some();
    let (client_id, presented) = match (&basic, parameters.get("client_secret")) {
        (Some(_), Some(_)) => return Err(AMBIGUOUS),
        (Some(basic), None) => {
            if parameters
                .get("client_id")
                .is_some_and(|id| id != basic.client_id.as_str())
            {
                return Err(AMBIGUOUS);
            }
            let presented = Presented::Secret(&basic.secret, SecretIn::Basic);
            (basic.client_id.as_str(), presented)
        }
        (None, Some(secret)) => (
            parameters.require("client_id")?,
            Presented::Secret(secret, SecretIn::Post),
        ),
        (None, None) => (parameters.require("client_id")?, Presented::Nothing),
    };
    let throttle = &authority.oauth.throttle;
    let attempt = throttle
        .admit(Name::Client(client_id), request.peer.ip(), Instant::now())
        .map_err(|seconds| Fault::TooMany { seconds })?;
    let caller = believe(tenant, client_id, &presented).ok_or(Fault::Unauthorized { in_header })?;
    throttle.forgive(attempt, Instant::now());
    Ok(caller)
}

fn believe(tenant: &Tenant, client_id: &str, presented: &Presented<'_>) -> Option<Caller> {
    let known = tenant.client(client_id);
    let client = known.cloned().unwrap_or_else(nobody);
    let is_right = match (client.authentication(), presented) {
        (ClientAuthentication::None, _) => true,
        (ClientAuthentication::Secret(wanted), Presented::Secret(secret, place)) => {
            // The secret is looked at in any case.
            client.has_secret(secret) & (wanted == SecretIn::Either || wanted == *place)
        }
        (ClientAuthentication::Secret(_), Presented::Nothing) | (ClientAuthentication::PrivateKeyJwt, _) => {
            false
        }
    };
    (known.is_some() && is_right).then(|| Caller {
        is_public: client.authentication() == ClientAuthentication::None,
        client,
    })
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
