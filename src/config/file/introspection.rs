//! Questions about tokens as they are written: the endpoint of an issuer, and which tokens of an API it is asked about.

use schemars::JsonSchema;

use super::super::reader::{Keys, Mirror, Placed, Word};
use super::super::values::Period;
use crate::definition::{Words, refuse_null};
use crate::token::IntrospectedTokens;

/// The introspection endpoint of an issuer (RFC 7662), and how the gateway authenticates there.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Endpoint {
    /// Its address. Default: `introspection_endpoint` of the issuer's metadata.
    pub(in super::super) endpoint: Option<Placed<String>>,
    /// What the gateway is called there.
    pub(in super::super) client_id: Placed<String>,
    /// How it proves to be that. Default: `private_key_jwt` where there is a `private_key`, else `client_secret_basic`.
    pub(in super::super) authentication: Option<Placed<Word<Authentication>>>,
    /// The secret of `client_secret_basic` and `client_secret_post`: `env:NAME` or `file:PATH`.
    #[schemars(regex(pattern = r"^(env|file):."))]
    pub(in super::super) client_secret: Option<Placed<String>>,
    /// The key of `private_key_jwt`, RSA or P-256 in PEM: `file:PATH` or `env:NAME`.
    #[schemars(regex(pattern = r"^(env|file):."))]
    pub(in super::super) private_key: Option<Placed<String>>,
    /// What the issuer knows that key by. Default: assertions name no key.
    pub(in super::super) key_id: Option<Placed<String>>,
    /// How assertions are signed. Default: ES256 with a P-256 key, RS256 with an RSA key.
    pub(in super::super) signing_alg: Option<Placed<Word<AssertionAlg>>>,
    /// `aud` of assertions. Default: the issuer identifier.
    pub(in super::super) assertion_audience: Option<Placed<String>>,
    /// How long a good answer is believed, unless the token ends before. Default 60s, at most 5m.
    pub(in super::super) ttl: Option<Placed<Period>>,
    /// How long an answer is believed that lets nobody in. Default 5s, at most 1m.
    pub(in super::super) negative_ttl: Option<Placed<Period>>,
    /// One question, from the connection to the last byte. Default 5s, at most 30s.
    pub(in super::super) timeout: Option<Placed<Period>>,
    /// Questions under way at the same time. Default 64, at most 1024.
    pub(in super::super) concurrency: Option<Placed<u64>>,
    /// Requests that wait for an answer at the same time. Default 1024, at most 100000.
    pub(in super::super) max_waiting: Option<Placed<u64>>,
    /// So many failures in a row, and nobody asks for a while. Default 5, at most 10000.
    pub(in super::super) failures: Option<Placed<u64>>,
    /// How long that lasts before one question is tried. Default 1s, at most 1m.
    pub(in super::super) cooldown: Option<Placed<Period>>,
    /// A file of PEM certificates to trust instead of the system's.
    pub(in super::super) ca: Option<Placed<String>>,
    /// Plain `http` to an address that is not loopback. Default: false.
    pub(in super::super) allow_http: Option<bool>,
}

impl Mirror for Endpoint {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let endpoint = keys.optional("endpoint");
        let client_id = keys.required("client_id");
        Some(Self {
            endpoint,
            authentication: keys.optional("authentication"),
            client_secret: keys.optional("client_secret"),
            private_key: keys.optional("private_key"),
            key_id: keys.optional("key_id"),
            signing_alg: keys.optional("signing_alg"),
            assertion_audience: keys.optional("assertion_audience"),
            ttl: keys.optional("ttl"),
            negative_ttl: keys.optional("negative_ttl"),
            timeout: keys.optional("timeout"),
            concurrency: keys.optional("concurrency"),
            max_waiting: keys.optional("max_waiting"),
            failures: keys.optional("failures"),
            cooldown: keys.optional("cooldown"),
            ca: keys.optional("ca"),
            allow_http: keys.optional("allow_http"),
            client_id: client_id?,
        })
    }
}

/// How the gateway authenticates, in the words of the metadata of issuers (RFC 8414).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Authentication {
    Basic,
    Post,
    PrivateKey,
}

impl Words for Authentication {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("client_secret_basic", Self::Basic),
        ("client_secret_post", Self::Post),
        ("private_key_jwt", Self::PrivateKey),
    ];
}

/// How an assertion is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum AssertionAlg {
    RS256,
    PS256,
    ES256,
}

impl Words for AssertionAlg {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("RS256", Self::RS256),
        ("PS256", Self::PS256),
        ("ES256", Self::ES256),
    ];
}

/// Which tokens of an API its issuer is asked about.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Introspection {
    /// `opaque`: those that have not the form of a JWS or a JWE, and the others are verified here; or `all`.
    pub(in super::super) tokens: Placed<Word<IntrospectedTokens>>,
    /// Whether an answer without `aud` is refused. Default: true. One with `aud` must name the API in any case.
    pub(in super::super) require_audience: Option<bool>,
}

impl Mirror for Introspection {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let tokens = keys.required("tokens");
        Some(Self {
            require_audience: keys.optional("require_audience"),
            tokens: tokens?,
        })
    }
}

impl Words for IntrospectedTokens {
    const WORDS: &'static [(&'static str, Self)] = &[("opaque", Self::Opaque), ("all", Self::All)];
}
