//! Where the tokens of an API come from as it is written.

use schemars::JsonSchema;

use super::super::faults::Fault;
use super::super::reader::{FromNode, Keys, Mirror, Placed, Word, misshapen};
use crate::definition::{Node, Value, Words, refuse_null, wrong_kind};

/// How clients send their tokens.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Tokens {
    /// Where tokens come from. A request with two of them is refused. Default: `authorization` alone.
    #[schemars(length(min = 1, max = 8))]
    pub(in super::super) from: Placed<Vec<Placed<TokenFrom>>>,
}

impl Mirror for Tokens {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let from = keys.required("from");
        Some(Self { from: from? })
    }
}

/// A place where a token may be.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum TokenFrom {
    /// The `Authorization` header.
    Authorization(Word<Authorization>),
    /// Another place.
    Elsewhere(Box<Elsewhere>),
}

impl FromNode for TokenFrom {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Text(_) => Word::from_node(key, node, faults).map(Self::Authorization),
            Value::Map(_) => Elsewhere::from_node(key, node, faults)
                .map(Box::new)
                .map(Self::Elsewhere),
            _ => {
                faults.push(misshapen(&wrong_kind(key, node, "`authorization` or a mapping")));
                None
            }
        }
    }
}

/// The word `authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Authorization;

impl Words for Authorization {
    const WORDS: &'static [(&'static str, Self)] = &[("authorization", Self)];
}

/// Exactly one of `header`, `cookie`, `websocket_protocol`, `websocket_prefix` and `query`, and what belongs to it.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1), transform = refuse_null)]
pub(in super::super) struct Elsewhere {
    /// The header field of this name.
    pub(in super::super) header: Option<Placed<String>>,
    /// With `header`: what stands before the token, such as `Token`. Default: nothing.
    pub(in super::super) scheme: Option<Placed<String>>,
    /// The cookie of this name, by case.
    pub(in super::super) cookie: Option<Placed<String>>,
    /// With `cookie`: other origins whose pages may change something, or open a WebSocket, with it.
    #[schemars(length(min = 1))]
    pub(in super::super) origins: Option<Vec<Placed<String>>>,
    /// The element of `Sec-WebSocket-Protocol` after the one of this name.
    pub(in super::super) websocket_protocol: Option<Placed<String>>,
    /// What follows this at the beginning of an element of `Sec-WebSocket-Protocol`.
    pub(in super::super) websocket_prefix: Option<Placed<String>>,
    /// With `websocket_prefix`: how the token is written. Default: `plain`.
    pub(in super::super) encoding: Option<Placed<Word<Encoding>>>,
    /// The parameter of the query of this name. It is removed before the request is forwarded.
    pub(in super::super) query: Option<Placed<String>>,
}

impl Mirror for Elsewhere {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let place = Self {
            header: keys.optional("header"),
            scheme: keys.optional("scheme"),
            cookie: keys.optional("cookie"),
            origins: keys.optional("origins"),
            websocket_protocol: keys.optional("websocket_protocol"),
            websocket_prefix: keys.optional("websocket_prefix"),
            encoding: keys.optional("encoding"),
            query: keys.optional("query"),
        };
        // Where nothing could be read, that is the fault.
        (keys.is_empty() || !place.is_empty()).then_some(place)
    }
}

impl Elsewhere {
    fn is_empty(&self) -> bool {
        let names = [
            &self.header,
            &self.scheme,
            &self.cookie,
            &self.websocket_protocol,
            &self.websocket_prefix,
            &self.query,
        ];
        names.into_iter().all(Option::is_none) && self.origins.is_none() && self.encoding.is_none()
    }
}

/// How a token is written among sub-protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Encoding {
    Plain,
    Base64url,
}

impl Words for Encoding {
    const WORDS: &'static [(&'static str, Self)] = &[("plain", Self::Plain), ("base64url", Self::Base64url)];
}
