//! Issuers as they are written.

use schemars::JsonSchema;

use super::super::reader::{Keys, Mirror, Placed, Word};
use super::super::values::Period;
use super::Endpoint;
use crate::definition::{Node, refuse_null};
use crate::token::IssuerKind;

/// Who issues tokens. The keys come by discovery unless one of `jwks_uri`, `jwks_file`, `jwks_inline` says otherwise.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Issuer {
    /// The issuer identifier, compared byte for byte with `iss`: a trailing slash matters.
    pub(in super::super) issuer: Placed<String>,
    /// What makes its tokens: sets how they are read. Default: as definitions say, which is `auth0`.
    pub(in super::super) kind: Option<Word<IssuerKind>>,
    /// The address of the key set.
    pub(in super::super) jwks_uri: Option<Placed<String>>,
    /// A file with the key set; read again when it changes.
    pub(in super::super) jwks_file: Option<Placed<String>>,
    /// The key set itself.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub(in super::super) jwks_inline: Option<Node>,
    /// How fetched keys are kept current.
    pub(in super::super) jwks: Option<Jwks>,
    /// How the issuer is asked about tokens (RFC 7662), by the APIs that have `introspection` too.
    pub(in super::super) introspection: Option<Placed<Endpoint>>,
}

impl Issuer {
    /// An issuer of which nothing but the identifier is written.
    #[cfg(feature = "authority")]
    pub(in super::super) fn named(issuer: &Placed<String>) -> Self {
        Self {
            issuer: issuer.clone(),
            kind: None,
            jwks_uri: None,
            jwks_file: None,
            jwks_inline: None,
            jwks: None,
            introspection: None,
        }
    }
}

impl Mirror for Issuer {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let issuer = keys.required("issuer");
        let kind = keys.optional("kind");
        let jwks_uri = keys.optional("jwks_uri");
        let jwks_file = keys.optional("jwks_file");
        let jwks_inline = keys.optional("jwks_inline");
        let jwks = keys.optional("jwks");
        let introspection = keys.optional("introspection");
        Some(Self {
            issuer: issuer?,
            kind,
            jwks_uri,
            jwks_file,
            jwks_inline,
            jwks,
            introspection,
        })
    }
}

/// How fetched keys are kept current.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Jwks {
    /// How long a fetched set is fresh; refreshed in the background at 80 % of it. Default 10m, at most 1h.
    pub(in super::super) ttl: Option<Placed<Period>>,
    /// How long the last good set serves without a successful fetch. Default 24h.
    pub(in super::super) max_stale: Option<Placed<Period>>,
    /// At most one fetch for an unknown key id in this time. Default 30s.
    pub(in super::super) cooldown: Option<Placed<Period>>,
    /// One fetch, from connect to last byte. Default 5s.
    pub(in super::super) timeout: Option<Placed<Period>>,
    /// A file of PEM certificates to trust instead of the system's.
    pub(in super::super) ca: Option<Placed<String>>,
    /// Plain `http` to an address that is not loopback. Default: false.
    pub(in super::super) allow_http: Option<bool>,
}

impl Mirror for Jwks {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            ttl: keys.optional("ttl"),
            max_stale: keys.optional("max_stale"),
            cooldown: keys.optional("cooldown"),
            timeout: keys.optional("timeout"),
            ca: keys.optional("ca"),
            allow_http: keys.optional("allow_http"),
        })
    }
}
