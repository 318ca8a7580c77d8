//! API keys as they are written: that an API takes them, and where they are exchanged.

use schemars::JsonSchema;

use super::super::faults::Fault;
use super::super::reader::{FromNode, Keys, Mirror, Placed, Word, misshapen};
use super::super::values::Period;
use crate::definition::{Node, Value, Words, refuse_null, wrong_kind};
use crate::snapshot::KeyAuthentication;

/// That an API takes keys: the word `exchange`, or how they are exchanged.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum ApiKeys {
    /// As is usual.
    Exchange(Word<Exchange>),
    /// As it says here.
    As(Box<ExchangeAs>),
}

impl FromNode for ApiKeys {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Text(_) => Word::from_node(key, node, faults).map(Self::Exchange),
            Value::Map(_) => ExchangeAs::from_node(key, node, faults)
                .map(Box::new)
                .map(Self::As),
            _ => {
                faults.push(misshapen(&wrong_kind(key, node, "`exchange` or a mapping")));
                None
            }
        }
    }
}

/// The word `exchange`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Exchange;

impl Words for Exchange {
    const WORDS: &'static [(&'static str, Self)] = &[("exchange", Self)];
}

/// How the credentials of clients are exchanged for tokens at the API's issuer (RFC 6749 section 4.4).
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct ExchangeAs {
    /// Which of the API's issuers. Default: the only one.
    pub(in super::super) issuer: Option<Placed<String>>,
    /// The address. Default: `token_endpoint` of the issuer's metadata.
    pub(in super::super) token_endpoint: Option<Placed<String>>,
    /// A header field that may have a key, too: `client_id:client_secret`. Default: only `Authorization: Basic`.
    pub(in super::super) header: Option<Placed<String>>,
    /// How the issuer is given the credentials. Default: `client_secret_post`.
    pub(in super::super) authentication: Option<Word<KeyAuthentication>>,
    /// `scope` of the question. Default: none, and the issuer decides.
    pub(in super::super) scope: Option<Placed<String>>,
    /// How long a token serves for its key, unless it ends before. Default 5m, at most 1h.
    pub(in super::super) ttl: Option<Placed<Period>>,
    /// How long it is remembered that the issuer gives no token. Default 5s, at most 1m.
    pub(in super::super) negative_ttl: Option<Placed<Period>>,
    /// One exchange, from the connection to the last byte. Default 5s, at most 30s.
    pub(in super::super) timeout: Option<Placed<Period>>,
    /// Exchanges under way at the same time. Default 64, at most 1024.
    pub(in super::super) concurrency: Option<Placed<u64>>,
    /// Requests that wait for an exchange at the same time. Default 1024, at most 100000.
    pub(in super::super) max_waiting: Option<Placed<u64>>,
    /// So many failures in a row, and nobody asks for a while. Default 5, at most 10000.
    pub(in super::super) failures: Option<Placed<u64>>,
    /// How long that lasts before one exchange is tried. Default 1s, at most 1m.
    pub(in super::super) cooldown: Option<Placed<Period>>,
    /// A file of PEM certificates to trust instead of the system's. Default: `jwks.ca` of the issuer.
    pub(in super::super) ca: Option<Placed<String>>,
    /// Plain `http` to an address that is not loopback. Default: false.
    pub(in super::super) allow_http: Option<bool>,
}

impl Mirror for ExchangeAs {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            issuer: keys.optional("issuer"),
            token_endpoint: keys.optional("token_endpoint"),
            header: keys.optional("header"),
            authentication: keys.optional("authentication"),
            scope: keys.optional("scope"),
            ttl: keys.optional("ttl"),
            negative_ttl: keys.optional("negative_ttl"),
            timeout: keys.optional("timeout"),
            concurrency: keys.optional("concurrency"),
            max_waiting: keys.optional("max_waiting"),
            failures: keys.optional("failures"),
            cooldown: keys.optional("cooldown"),
            ca: keys.optional("ca"),
            allow_http: keys.optional("allow_http"),
        })
    }
}

impl Words for KeyAuthentication {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("client_secret_post", Self::Post),
        ("client_secret_basic", Self::Basic),
    ];
}
