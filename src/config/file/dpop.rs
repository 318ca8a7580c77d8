//! Proofs of possession as they are written.

use schemars::JsonSchema;

use super::super::reader::{Keys, Mirror, Placed};
use super::super::values::Period;
use crate::definition::{Words, refuse_null};
use crate::gateway::CertificateField;

/// How proofs of possession are taken (RFC 9449).
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Dpop {
    /// The oldest proof, counted from `iat`. Default 60s, at most 10m.
    pub(in super::super) max_age: Option<Placed<Period>>,
    /// How far `iat` may lie in the future. Default 10s, at most 5m.
    pub(in super::super) max_ahead: Option<Placed<Period>>,
    /// How many proofs are remembered, about 100 bytes each; more at a time are refused. Default 100000, at most
    /// 10000000.
    pub(in super::super) proofs: Option<Placed<u64>>,
    /// Every proof must have a nonce of this server, and one is good for so long. Default: none is asked for; 10s to 1h.
    pub(in super::super) nonce_lifetime: Option<Placed<Period>>,
    /// What replicas that accept each other's nonces share: `env:NAME` or `file:PATH`, at least 32 bytes.
    #[schemars(regex(pattern = r"^(env|file):."))]
    pub(in super::super) nonce_secret: Option<Placed<String>>,
}

impl Mirror for Dpop {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            max_age: keys.optional("max_age"),
            max_ahead: keys.optional("max_ahead"),
            proofs: keys.optional("proofs"),
            nonce_lifetime: keys.optional("nonce_lifetime"),
            nonce_secret: keys.optional("nonce_secret"),
        })
    }
}

impl Words for CertificateField {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("client_cert", Self::ClientCert),
        ("x_forwarded_client_cert", Self::XForwardedClientCert),
    ];
}
