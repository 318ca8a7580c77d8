//! The token endpoint of a test's issuer (RFC 6749 section 4.4): knows some clients, and can fail in every way that
//! matters.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::http1::Head;
use super::introspector::unescaped;

/// How it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum TokenMode {
    /// As it should.
    #[default]
    Up,
    /// Closes the connection instead.
    Close,
    /// Never answers, until the mode changes.
    Hang,
    /// Answers as it should once the mode changes.
    Hold,
    /// Answers with this status, these fields and this body.
    Answer(u16, &'static str, String),
}

/// A client that it knows.
#[derive(Clone, Debug)]
pub(crate) struct KnownClient {
    pub(crate) secret: String,
    pub(crate) scope: String,
    pub(crate) token_type: &'static str,
    /// Of its tokens, in seconds.
    pub(crate) lifetime: i64,
    /// In place of `aud`, `iss` and the like.
    pub(crate) claims: Value,
    /// In place of the token.
    pub(crate) token: Option<String>,
    /// Whether it is told how long tokens last.
    pub(crate) tells_lifetime: bool,
    /// The only audience that it has a grant for.
    pub(crate) audience: Option<String>,
}

impl KnownClient {
    pub(crate) fn new(secret: &str, scope: &str) -> Self {
        Self {
            secret: secret.into(),
            scope: scope.into(),
            token_type: "Bearer",
            lifetime: 3_600,
            claims: json!({}),
            token: None,
            tells_lifetime: true,
            audience: None,
        }
    }
}

/// An exchange as it came.
#[derive(Clone, Debug)]
pub(crate) struct Exchanged {
    pub(crate) head: Head,
    pub(crate) form: HashMap<String, String>,
}

impl Exchanged {
    /// Id and secret, from the body or from the header.
    pub(crate) fn credentials(&self) -> (String, String) {
        let field = |name: &str| self.form.get(name).cloned().unwrap_or_default();
        let Some(basic) = self.head.field("authorization") else {
            return (field("client_id"), field("client_secret"));
        };
        let basic = STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap();
        let basic = String::from_utf8(basic).unwrap();
        let (id, secret) = basic.split_once(':').unwrap();
        (unescaped(id), unescaped(secret))
    }
}

#[derive(Debug, Default)]
pub(super) struct TokenEndpoint {
    pub(super) mode: TokenMode,
    pub(super) clients: HashMap<String, KnownClient>,
    pub(super) exchanges: Vec<Exchanged>,
}

impl TokenEndpoint {
    /// The client whose credentials these are, or the refusal: status and body.
    pub(super) fn client(&self, exchanged: &Exchanged) -> Result<(String, KnownClient), (u16, Value)> {
        let (id, secret) = exchanged.credentials();
        let known = self.clients.get(&id).filter(|client| client.secret == secret);
        let client = known.ok_or((
            401,
            json!({"error": "access_denied", "error_description": "Unauthorized"}),
        ))?;
        let audience = exchanged.form.get("audience");
        if client.audience.is_some() && client.audience.as_ref() != audience {
            return Err((
                403,
                json!({"error": "access_denied", "error_description": "no grant"}),
            ));
        }
        Ok((id, client.clone()))
    }
}
