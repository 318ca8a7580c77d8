//! Why a request to the token endpoint or the revocation endpoint is refused, and how it is told.
//!
//! A closed list: each has its status, its `error` and its text, as Auth0 answers them. A text names what the client
//! asked for only where Auth0's does, and never a secret.

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::grant_type::GrantType;
use crate::authority::Answer;
use crate::token::ProofError;

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// The request itself is wrong.
    Request(&'static str),
    /// A parameter is not there.
    Missing(&'static str),
    /// No such grant type.
    UnsupportedGrantType,
    /// Unknown client, or a wrong secret: nobody is told which. `true`: it came in the header.
    Unauthorized { in_header: bool },
    /// The assertion of the client.
    Assertion(&'static str),
    /// The client may not use this grant type.
    GrantTypeOff(GrantType),
    /// No `audience`.
    NoAudience,
    /// There is no such API.
    UnknownAudience(String),
    /// The client has no grant for the API.
    NoGrant(String),
    /// The API has no tokens for such subjects.
    SubjectDenied(String),
    /// Permissions that were asked for and are not in the grant.
    NotGranted(String),
    /// More than the refresh token stands for.
    ScopeNotGranted,
    /// Unknown user or a wrong password: nobody is told which.
    WrongPassword,
    /// The account of the user is blocked.
    Blocked,
    /// Unknown, expired, used before, of another client.
    RefreshToken,
    /// A token that is bound to a key was asked for, or must be, and there is no proof of the key.
    NoProof(&'static str),
    /// The DPoP proof.
    Proof(ProofError),
    /// Too often wrong.
    TooMany { seconds: u64 },
    /// Ours. The log has said why.
    Ours,
    /// Ours: too much to do at the moment.
    Busy,
}

impl Fault {
    /// The status, `error` and `error_description`.
    fn told(&self) -> (StatusCode, &'static str, String) {
        let bad = StatusCode::BAD_REQUEST;
        let denied = StatusCode::FORBIDDEN;
        match self {
            Self::Request(why) => (bad, "invalid_request", (*why).into()),
            Self::Missing(name) => (
                bad,
                "invalid_request",
                format!("Missing required parameter: {name}"),
            ),
            Self::UnsupportedGrantType => (bad, "unsupported_grant_type", "Grant type not supported".into()),
            Self::Unauthorized { .. } => (StatusCode::UNAUTHORIZED, "access_denied", "Unauthorized".into()),
            Self::Assertion(why) => (StatusCode::UNAUTHORIZED, "invalid_client", (*why).into()),
            Self::GrantTypeOff(grant_type) => {
                let name = grant_type.name();
                let text = format!("Grant type '{name}' not allowed for the client.");
                (denied, "unauthorized_client", text)
            }
            Self::NoAudience => {
                let text = "Non-global clients are not allowed access to APIv1";
                (denied, "access_denied", text.into())
            }
            Self::UnknownAudience(audience) => {
                let text = format!("Service not enabled within domain: {audience}");
                (denied, "access_denied", text)
            }
            Self::NoGrant(audience) => (
                denied,
                "access_denied",
                format!(
                    "Client is not authorized to access \"{audience}\". You need to create a \"client-grant\" \
                     associated to this API. See: {CLIENT_GRANTS}"
                ),
            ),
            Self::SubjectDenied(audience) => {
                let text = format!("\"{audience}\" does not allow access for this kind of subject.");
                (denied, "access_denied", text)
            }
            Self::NotGranted(scopes) => {
                let text = format!("Client has not been granted scopes: {scopes}");
                (denied, "access_denied", text)
            }
            Self::ScopeNotGranted => {
                let text = "The requested scope exceeds the scope of the refresh token.";
                (bad, "invalid_scope", text.into())
            }
            Self::WrongPassword => (denied, "invalid_grant", "Wrong email or password.".into()),
            Self::Blocked => (denied, "unauthorized", "user is blocked".into()),
            Self::RefreshToken => (
                denied,
                "invalid_grant",
                "Unknown or invalid refresh token.".into(),
            ),
            Self::NoProof(why) => (bad, "invalid_request", (*why).into()),
            Self::Proof(ProofError::NonceWanted { .. }) => (
                bad,
                "use_dpop_nonce",
                "Authorization server requires nonce in DPoP proof".into(),
            ),
            Self::Proof(error) => (bad, "invalid_dpop_proof", sentence(&error.to_string())),
            Self::TooMany { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many failed attempts. Try again later.".into(),
            ),
            Self::Ours => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                "Internal error".into(),
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "Too busy. Try again later.".into(),
            ),
        }
    }

    /// A word for the log and the metric: one of a closed list.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "invalid_client",
            Self::GrantTypeOff(_) => "unauthorized_client",
            Self::WrongPassword | Self::Blocked | Self::RefreshToken => "invalid_grant",
            other => other.told().1,
        }
    }

    pub(super) fn answer(&self) -> Answer {
        let (status, error, description) = self.told();
        let mut body = Map::new();
        body.insert("error".into(), error.into());
        body.insert("error_description".into(), description.into());
        if let Self::GrantTypeOff(_) = self {
            body.insert("error_uri".into(), GRANT_TYPES.into());
        }
        let answer = super::uncached(Answer::json(status, &Value::Object(body)));
        match self {
            // RFC 6749 section 5.2: whoever came with the header is told of the scheme.
            Self::Unauthorized { in_header: true } => answer.with(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"token\", charset=\"UTF-8\""),
            ),
            Self::Proof(ProofError::NonceWanted { nonce }) => match HeaderValue::from_str(nonce) {
                Ok(nonce) => answer.with(HeaderName::from_static("dpop-nonce"), nonce),
                Err(_never) => answer,
            },
            Self::TooMany { seconds } => {
                let reset = u64::try_from(crate::authority::unix_now()).unwrap_or(0) + seconds;
                answer
                    .with(RETRY_AFTER, HeaderValue::from(*seconds))
                    .with(
                        HeaderName::from_static("x-ratelimit-remaining"),
                        HeaderValue::from(0),
                    )
                    .with(
                        HeaderName::from_static("x-ratelimit-reset"),
                        HeaderValue::from(reset),
                    )
            }
            Self::Busy => answer.with(RETRY_AFTER, HeaderValue::from(1)),
            _ => answer,
        }
    }
}

/// `the proof is too old` → `The proof is too old`.
fn sentence(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

const GRANT_TYPES: &str = "https://auth0.com/docs/clients/client-grant-types";
const CLIENT_GRANTS: &str = "https://auth0.com/docs/api/v2#!/Client_Grants/post_client_grants";
