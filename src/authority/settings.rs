//! What the authority is told: validated by `config`, carried by `app`.

use std::net::SocketAddr;

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
    /// 32 bytes: what secrets are encrypted with in the store.
    pub encryption_key: Secret,
}

impl AuthoritySettings {
    /// The identifier of the Management API: every client computes it from the issuer by itself.
    pub fn management_audience(&self) -> String {
        format!("{}api/v2/", self.issuer)
    }
}
