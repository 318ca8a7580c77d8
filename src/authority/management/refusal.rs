//! Why a request to the Management API is refused, and the answer that clients of it expect.
//!
//! `{"statusCode", "error", "message", "errorCode"?}`; the texts are those that clients and their users know. A message
//! may name what the client sent, never a secret.

use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::authority::ids::NoRandomness;
use crate::authority::model::Fault;
use crate::authority::signing::KeyFault;
use crate::authority::{Answer, StoreError, WriteError};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    /// `Authorization` is none of a bearer token.
    BadHeader(Option<HeaderValue>),
    /// The path: an id that cannot be read.
    Uri(String),
    /// A query parameter.
    Query(String),
    /// The body is not JSON.
    NotJson,
    /// The body. Each reason as it stands between the quotes, or with its property behind them.
    Body(String),
    /// What is asked for is against a rule.
    Rule(&'static str),
    /// The same, where it names what was sent.
    Invalid(String),
    /// The token.
    Token {
        message: &'static str,
        challenge: Option<HeaderValue>,
    },
    /// The token is good and may not do this.
    Scope {
        any_of: String,
        challenge: Option<HeaderValue>,
    },
    /// There is no such object.
    Absent(Absent),
    /// A grant names an API that there is not.
    NoApi(String),
    /// There is no such path.
    NoRoute,
    /// The path has other methods; the value of `Allow`.
    Method(Option<HeaderValue>),
    /// There is one already.
    Conflict(String),
    /// More than one may have.
    Quota,
    /// More requests than one may send.
    TooManyRequests,
    /// The disk of the store is full, or the system has no randomness: later it may work.
    Unavailable,
    /// Ours.
    Internal,
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    ResourceServer,
    Client,
    /// The application of a grant.
    GrantClient,
    Credential,
    Grant,
    /// The same, where it was to be changed.
    ClientGrant,
    Role,
    User,
    Key,
}

impl Absent {
    fn facts(self) -> (&'static str, &'static str) {
        match self {
            Self::ResourceServer => ("The resource server does not exist", "inexistent_resource_server"),
            Self::Client => ("The client does not exist", "inexistent_client"),
            Self::GrantClient => ("Client not found", "inexistent_client"),
            Self::Credential => ("The credential does not exist.", "inexistent_credential"),
            Self::Grant => ("The grant does not exist.", "inexistent_grant"),
            Self::ClientGrant => ("The client grant does not exist.", "inexistent_grant"),
            Self::Role => ("The role does not exist.", "inexistent_role"),
            Self::User => ("The user does not exist.", "inexistent_user"),
            Self::Key => ("The signing key does not exist.", "inexistent_signing_key"),
        }
    }
}

/// Status, message, error code.
type Facts = (StatusCode, String, Option<&'static str>);

impl Refusal {
    /// Reasons about the body, joined as clients expect it.
    pub(super) fn body(reasons: &[String]) -> Self {
        Self::Body(reasons.join(" (also) "))
    }

    /// One reason about the body, that is about no property or names it itself.
    pub(super) fn reason(reason: impl std::fmt::Display) -> Self {
        Self::Body(format!("'{reason}'"))
    }

    fn facts(&self) -> Facts {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::BadHeader(_) => (
                bad,
                "Bad HTTP authentication header format".into(),
                Some("Bearer"),
            ),
            Self::Uri(reason) => (
                bad,
                format!("Path validation error: {reason}."),
                Some("invalid_uri"),
            ),
            Self::Query(reason) => (
                bad,
                format!("Query validation error: {reason}."),
                Some("invalid_query_string"),
            ),
            Self::NotJson => (
                bad,
                "Invalid request payload JSON format".into(),
                Some("invalid_body"),
            ),
            Self::Body(reason) => (
                bad,
                format!("Payload validation error: {reason}."),
                Some("invalid_body"),
            ),
            Self::Rule(message) => (bad, (*message).into(), Some("invalid_body")),
            Self::Invalid(message) => (bad, message.clone(), Some("invalid_body")),
            Self::Token { message, .. } => (StatusCode::UNAUTHORIZED, (*message).into(), None),
            Self::Scope { any_of, .. } => (
                StatusCode::FORBIDDEN,
                format!("Insufficient scope, expected any of: {any_of}"),
                Some("insufficient_scope"),
            ),
            Self::Absent(what) => {
                let (message, code) = what.facts();
                (StatusCode::NOT_FOUND, message.into(), Some(code))
            }
            Self::NoApi(identifier) => (
                StatusCode::NOT_FOUND,
                format!("No resource with identifier {identifier}"),
                Some("inexistent_resource_server"),
            ),
            Self::NoRoute => (StatusCode::NOT_FOUND, "Not Found".into(), None),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".into(), None),
            Self::Conflict(message) => (StatusCode::CONFLICT, message.clone(), Some("resource_conflict")),
            Self::Quota => (
                StatusCode::FORBIDDEN,
                "You reached the limit of entities of this type for this tenant.".into(),
                Some("too_many_entities"),
            ),
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "Global limit has been reached".into(),
                Some("too_many_requests"),
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Nothing can be stored at the moment".into(),
                None,
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "An internal server error occurred".into(),
                None,
            ),
        }
    }

    /// The answer.
    pub(super) fn answer(&self) -> Answer {
        let (status, message, code) = self.facts();
        let mut body = Map::new();
        body.insert("statusCode".into(), Value::from(status.as_u16()));
        body.insert(
            "error".into(),
            Value::from(status.canonical_reason().unwrap_or_default()),
        );
        if let Self::Token { message, .. } = self {
            body.insert("attributes".into(), json!({ "error": message }));
        }
        body.insert("message".into(), Value::from(message));
        if let Some(code) = code {
            body.insert("errorCode".into(), Value::from(code));
        }
        let answer = Answer::json(status, &Value::Object(body));
        match self {
            Self::BadHeader(Some(challenge))
            | Self::Token {
                challenge: Some(challenge),
                ..
            }
            | Self::Scope {
                challenge: Some(challenge),
                ..
            } => answer.with(WWW_AUTHENTICATE, challenge.clone()),
            Self::Method(Some(allowed)) => answer.with(ALLOW, allowed.clone()),
            _ => answer,
        }
    }

    /// The answer, where the refusal is of no more use.
    pub(super) fn into_answer(self) -> Answer {
        self.answer()
    }
}

impl From<Absent> for Refusal {
    fn from(what: Absent) -> Self {
        Self::Absent(what)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::IdentifierTaken | Fault::GrantExists | Fault::RoleNameTaken => {
                Self::Conflict(fault.to_string())
            }
            Fault::SystemApi => Self::Rule("System resource servers cannot be deleted."),
            Fault::NoApi(identifier) => Self::NoApi(identifier),
            Fault::NoClient => Self::Absent(Absent::GrantClient),
            Fault::ScopeNotOfApi => Self::Body("scope must be a subset of resource server scopes".into()),
            Fault::NoPermission(_) => Self::reason(fault),
            Fault::NoRole => Self::Absent(Absent::Role),
            Fault::NoUser => Self::Absent(Absent::User),
            Fault::TooMany => Self::Quota,
            Fault::Unreadable(error) => {
                tracing::error!(%error, "the Management API wrote what it cannot read");
                Self::Internal
            }
        }
    }
}

impl From<WriteError<Self>> for Refusal {
    fn from(error: WriteError<Self>) -> Self {
        match error {
            WriteError::Refused(refusal) => refusal,
            WriteError::Store(error @ (StoreError::Full | StoreError::Unreachable { .. })) => {
                tracing::error!(%error, "nothing can be stored");
                Self::Unavailable
            }
            WriteError::Store(error) => {
                tracing::error!(%error, "the store failed");
                Self::Internal
            }
            WriteError::Unreadable(error) => {
                tracing::error!(%error, "the store has what cannot be read");
                Self::Internal
            }
        }
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        tracing::error!(%error, "nothing can be made");
        Self::Unavailable
    }
}

impl From<KeyFault> for Refusal {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::NoKey => Self::Absent(Absent::Key),
            KeyFault::InUse => Self::Rule("The key is in use. Rotate the keys before it is revoked."),
            KeyFault::Fault(fault) => fault.into(),
            KeyFault::Randomness(error) => error.into(),
            KeyFault::Generation => {
                tracing::error!("a signing key could not be made");
                Self::Internal
            }
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.facts().1)
    }
}
