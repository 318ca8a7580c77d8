//! What the authority is told: validated by `config`, carried by `app`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::store::StoreAddress;
use crate::definition::Secret;
use crate::net::TlsSettings;

/// The embedded authorization server.
#[derive(Clone, Debug)]
pub struct AuthoritySettings {
    /// Where it listens.
    pub address: SocketAddr,
    /// With TLS, or in cleartext where something in front of it has TLS.
    pub tls: Option<TlsSettings>,
    /// Its issuer identifier: an origin and one slash, such as `https://localhost:9000/`. Everything that has an
    /// address is derived from it.
    pub issuer: String,
    /// Where objects are kept.
    pub store: StoreAddress,
    /// What secrets are encrypted with in the store.
    pub encryption_key: EncryptionKey,
}

/// Where the key of the store comes from.
#[derive(Clone, Debug)]
pub enum EncryptionKey {
    /// 32 bytes.
    Given(Secret),
    /// A file that only its owner can read, with 64 hexadecimal digits. Made at the first start.
    Kept(PathBuf),
    /// Fresh: for a store that is gone with the process.
    Ephemeral,
}

impl AuthoritySettings {
    /// The identifier of the Management API: every client computes it from the issuer by itself.
    pub fn management_audience(&self) -> String {
        format!("{}api/v2/", self.issuer)
    }
}
