//! The embedded authorization server, as written.

use schemars::JsonSchema;

use super::super::reader::{Keys, Mirror, Placed};
use super::listener::Tls;
use crate::definition::refuse_null;

/// The embedded authorization server: Management API, token endpoint, keys.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Authority {
    /// `IP:port`.
    pub(in super::super) address: Placed<String>,
    /// Its issuer identifier: an origin and a slash, such as `https://auth.example.com/`. Clients compute every
    /// address from it.
    pub(in super::super) issuer: Placed<String>,
    /// `sqlite:PATH`; `postgres://USER@HOST/DATABASE` for several replicas; `env:NAME` or `file:PATH` of such an address
    /// that has a password; or `memory` for one that is gone with the process. Default: sqlite:scopegate.db.
    #[schemars(regex(pattern = r"^(sqlite:.+|postgres(ql)?://.+|(env|file):.+|memory)$"))]
    pub(in super::super) store: Option<Placed<String>>,
    /// What secrets are encrypted with in the store: `env:NAME` or `file:PATH` of 32 bytes in hexadecimal or base64.
    /// Required with PostgreSQL. Default, with `sqlite`: the file beside the store with `.key` behind its name, made at
    /// the first start.
    #[schemars(regex(pattern = r"^(env|file):."))]
    pub(in super::super) encryption_key: Option<Placed<String>>,
    /// TLS; without it the authority speaks cleartext.
    pub(in super::super) tls: Option<Placed<Tls>>,
}

impl Mirror for Authority {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let address = keys.required("address");
        let issuer = keys.required("issuer");
        let store = keys.optional("store");
        let encryption_key = keys.optional("encryption_key");
        let tls = keys.optional("tls");
        Some(Self {
            address: address?,
            issuer: issuer?,
            store,
            encryption_key,
            tls,
        })
    }
}
