//! An application: the document that the Management API keeps, its secret, and the public keys that it signs with.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::object::{Body, Kind, Object, Unreadable};

/// An application.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// 32 letters and digits.
    pub client_id: String,
    /// As it was set, with `client_id` and without `client_secret`.
    pub document: Map<String, Value>,
    /// What it says of itself with `private_key_jwt`.
    pub credentials: Vec<Credential>,
    secret: Option<ClientSecret>,
}

/// A public key that an application signs assertions with (RFC 7523).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    /// `cred_` and 16 letters and digits.
    pub id: String,
    /// Shown to people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// `public_key`.
    pub credential_type: String,
    /// The RFC 7638 thumbprint of the key.
    pub kid: String,
    /// `RS256`, `RS384` or `PS256`.
    pub alg: String,
    /// A public key or a certificate. Never shown.
    pub pem: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// RFC 3339; none: it does not expire.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<String>,
}

/// 256 random bits as text. Compared by its hash, so that how long it takes says nothing.
#[derive(Clone)]
struct ClientSecret {
    text: zeroize::Zeroizing<String>,
    sha256: [u8; 32],
}

/// How an application authenticates itself at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Not at all: a public client.
    None,
    /// With its secret: in the body (`client_secret_post`), in the header (`client_secret_basic`), or either where
    /// nobody has chosen.
    Secret(SecretIn),
    /// With an assertion that it signed (RFC 7523).
    PrivateKeyJwt,
}

/// Where the secret is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretIn {
    /// Body or header.
    Either,
    /// The body.
    Post,
    /// The header.
    Basic,
}

const CLIENT_SECRET: &str = "client_secret";

#[derive(Serialize, Deserialize)]
struct Stored {
    document: Map<String, Value>,
    credentials: Vec<Credential>,
}

impl Client {
    /// An application of a document that was validated. `client_id` and `client_secret` in it are replaced.
    pub fn new(client_id: &str, mut document: Map<String, Value>, secret: Option<&str>) -> Self {
        document.remove(CLIENT_SECRET);
        document.insert("client_id".into(), Value::from(client_id));
        Self {
            client_id: client_id.to_owned(),
            document,
            credentials: Vec::new(),
            secret: secret.map(ClientSecret::new),
        }
    }

    /// Replaces the secret.
    pub fn set_secret(&mut self, secret: &str) {
        self.secret = Some(ClientSecret::new(secret));
    }

    /// The secret, for those who may read client keys.
    pub fn secret(&self) -> Option<&str> {
        self.secret.as_ref().map(|secret| secret.text.as_str())
    }

    /// Whether this is the secret; takes the same time for every wrong one.
    pub fn has_secret(&self, presented: &str) -> bool {
        let presented = sha256(presented.as_bytes());
        self.secret
            .as_ref()
            .is_some_and(|secret| verify_slices_are_equal(&secret.sha256, &presented).is_ok())
    }

    /// A member that is text.
    pub fn text(&self, member: &str) -> Option<&str> {
        self.document.get(member)?.as_str()
    }

    /// Whether a grant type is among `grant_types`.
    pub fn may_use_grant_type(&self, grant_type: &str) -> bool {
        let grant_types = self.document.get("grant_types").and_then(Value::as_array);
        grant_types.is_some_and(|types| types.iter().any(|known| known == grant_type))
    }

    /// Whether the client itself demands that its tokens are bound to a key.
    pub fn requires_proof_of_possession(&self) -> bool {
        self.document
            .get("require_proof_of_possession")
            .is_some_and(|required| *required == true)
    }

    /// How it authenticates itself.
    pub fn authentication(&self) -> ClientAuthentication {
        let methods = self.document.get("client_authentication_methods");
        if methods.is_some_and(|methods| methods.get("private_key_jwt").is_some()) {
            return ClientAuthentication::PrivateKeyJwt;
        }
        match self.text("token_endpoint_auth_method") {
            Some("none") => ClientAuthentication::None,
            Some("client_secret_post") => ClientAuthentication::Secret(SecretIn::Post),
            Some("client_secret_basic") => ClientAuthentication::Secret(SecretIn::Basic),
            _ => ClientAuthentication::Secret(SecretIn::Either),
        }
    }

    pub(super) fn from_body(id: &str, body: &Body) -> Result<Self, Unreadable> {
        let stored: Stored = body.read(Kind::Client, id)?;
        let mut client = Self::new(id, stored.document, body.sealed_text(CLIENT_SECRET));
        client.credentials = stored.credentials;
        Ok(client)
    }

    pub(super) fn object(&self) -> Object {
        let stored = Stored {
            document: self.document.clone(),
            credentials: self.credentials.clone(),
        };
        let body = Body::open(&stored).with_sealed(CLIENT_SECRET, self.secret());
        Object::new(Kind::Client, &self.client_id, body)
    }
}

impl ClientSecret {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned().into(),
            sha256: sha256(text.as_bytes()),
        }
    }
}

impl PartialEq for ClientSecret {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.sha256, &other.sha256).is_ok()
    }
}

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
