//! A key that tokens are signed with, as it is kept. `signing` makes it and signs.

use serde::{Deserialize, Serialize};

use super::object::{Body, Kind, Object, Unreadable};

/// A key pair and its place in the rotation.
#[derive(Clone, PartialEq)]
pub struct KeyRecord {
    /// The `kid` of its tokens.
    pub kid: String,
    /// Its place in the rotation.
    pub state: KeyState,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds at which it became the current key.
    pub current_since: Option<i64>,
    /// Unix seconds at which it ceased to be the current key.
    pub retired_at: Option<i64>,
    /// Unix seconds at which it was revoked.
    pub revoked_at: Option<i64>,
    /// A self-signed certificate, base64 of its DER, for `x5c`.
    pub certificate: String,
    /// PKCS#8, base64 of its DER. Sealed at rest.
    pub private_key: zeroize::Zeroizing<String>,
}

/// The places in the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, and signs nothing yet.
    Next,
    /// Signs.
    Current,
    /// Published, and signs nothing any more.
    Previous,
    /// Not published: what it signed is refused.
    Revoked,
}

const PRIVATE_KEY: &str = "private_key";

#[derive(Serialize, Deserialize)]
struct Stored {
    state: KeyState,
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    current_since: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    retired_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    revoked_at: Option<i64>,
    certificate: String,
}

impl KeyRecord {
    pub(super) fn from_body(id: &str, body: &Body) -> Result<Self, Unreadable> {
        let stored: Stored = body.read(Kind::SigningKey, id)?;
        let private_key = body.sealed_text(PRIVATE_KEY).ok_or_else(|| Unreadable {
            kind: Kind::SigningKey,
            id: id.to_owned(),
            why: "it has no private key".into(),
        })?;
        Ok(Self {
            kid: id.to_owned(),
            state: stored.state,
            created_at: stored.created_at,
            current_since: stored.current_since,
            retired_at: stored.retired_at,
            revoked_at: stored.revoked_at,
            certificate: stored.certificate,
            private_key: private_key.to_owned().into(),
        })
    }

    pub(super) fn object(&self) -> Object {
        let stored = Stored {
            state: self.state,
            created_at: self.created_at,
            current_since: self.current_since,
            retired_at: self.retired_at,
            revoked_at: self.revoked_at,
            certificate: self.certificate.clone(),
        };
        let body = Body::open(&stored).with_sealed(PRIVATE_KEY, Some(&self.private_key));
        Object::new(Kind::SigningKey, &self.kid, body)
    }
}

impl std::fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} key {}", self.state, self.kid)
    }
}
