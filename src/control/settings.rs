//! What `config` fills in for the fetching of keys and for lists of revoked tokens.

use std::path::PathBuf;
use std::time::Duration;

use crate::definition::Secret;

/// Where revoked tokens are learnt of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationSettings {
    /// A file with entries; read again when it changes.
    pub file: Option<PathBuf>,
    /// The most entries, of the file and pushed together.
    pub entries: usize,
    /// Entries that are pushed to the admin listener; `None`: none are taken.
    pub push: Option<PushSettings>,
}

/// Who may push, and where what is pushed is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSettings {
    /// What whoever pushes has to show.
    pub secret: Secret,
    /// `None`: it is gone with a restart.
    pub store: Option<PathBuf>,
}

/// A trusted issuer and where its keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// The issuer identifier, exact.
    pub issuer: String,
    /// Where the keys come from. `None` where no API needs keys of this issuer (every API is HS*).
    pub source: Option<KeySource>,
    /// How they are kept current.
    pub jwks: JwksSettings,
}

/// Where a JWKS comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// OpenID Connect discovery at the issuer, then RFC 8414.
    Discovery,
    /// The address of a JWKS.
    Uri(String),
    /// A file, read again when it changes.
    File(PathBuf),
    /// The JWKS itself, as JSON text.
    Inline(String),
}

/// How the keys of one issuer are kept current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksSettings {
    /// How long a fetched set is fresh; refreshed in the background at 80 % of it. Default 600 s.
    pub ttl: Duration,
    /// How long the last good set serves without a successful fetch. Default 24 h.
    pub max_stale: Duration,
    /// At most one fetch for an unknown `kid` in this time. Default 30 s.
    pub cooldown: Duration,
    /// One fetch, from connect to last byte. Default 5 s.
    pub timeout: Duration,
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Plain `http` to an address that is not loopback.
    pub allow_http: bool,
}

impl Default for JwksSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(600),
            max_stale: Duration::from_secs(24 * 3600),
            cooldown: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            ca: None,
            allow_http: false,
        }
    }
}
