//! The configuration as it is written: every key, and what may stand behind it.
//!
//! The sole owner of key names. `resolve` turns this mirror into `Settings`. Nothing here has a default or a meaning;
//! the doc comments are the descriptions in the JSON Schema that `scopegate schema` prints.

mod api;
mod api_keys;
#[cfg(feature = "authority")]
mod authority;
mod definitions;
mod dpop;
mod introspection;
mod issuer;
mod listener;
mod revocations;
mod route;
mod step_up;
mod trusted;
mod tokens;
mod upstream;

#[cfg(test)]
use api::Follow;
pub(super) use api::{Api, Definition, Forward};
pub(super) use api_keys::{ApiKeys, ExchangeAs};
#[cfg(feature = "authority")]
pub(super) use authority::Authority;
pub(super) use definitions::Definitions;
pub(super) use dpop::Dpop;
pub(super) use introspection::{AssertionAlg, Authentication, Endpoint, Introspection};
pub(super) use issuer::{Issuer, Jwks};
pub(super) use listener::{Listener, Tls};
pub(super) use revocations::{Push, Revocations};
pub(super) use route::{Require, Route, Rule};
pub(super) use step_up::{StepUp, StepUpRule, StepUpWord};
pub(super) use tokens::{Elsewhere, Encoding, TokenFrom, Tokens};
pub(super) use trusted::{Path, Paths, Trusted, TrustedIssuer};
pub(super) use upstream::{Ejection, Health, Upstream, UpstreamServers, UpstreamTls};

use schemars::JsonSchema;

use super::faults::Fault;
use super::reader::{FromNode, Keys, Mirror, Placed, Word, misshapen};
use super::values::{Period, Size};
use crate::definition::{Node, Value, Words, refuse_null, wrong_kind};
use crate::gateway::{CertificateField, ForwardedFields};

/// A scopegate configuration.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(title = "scopegate", deny_unknown_fields, transform = refuse_null)]
pub(super) struct File {
    /// The addresses that requests come in at. Needed unless the file is for the authority alone.
    #[schemars(length(min = 1), with = "Option<Vec<Listener>>")]
    pub(super) listeners: Vec<Listener>,
    /// The proxies in front: addresses or networks, at most 256. Only of them is believed whom they speak for, in a
    /// PROXY header or in `X-Forwarded-*`. Default: none.
    #[schemars(length(min = 1, max = 256))]
    pub(super) trusted_proxies: Option<Vec<Placed<String>>>,
    /// The header fields in which trusted proxies tell whom they speak for, and in which the upstream is told.
    /// Default: `x_forwarded`.
    pub(super) forwarded_fields: Option<Word<ForwardedFields>>,
    /// The header field in which trusted proxies pass on the certificate that a client has shown them. Only for tokens
    /// that are bound to one. Default: none; what counts is the connection's own.
    pub(super) client_certificate_field: Option<Placed<Word<CertificateField>>>,
    /// How proofs of possession are taken, where a definition asks for `dpop`.
    pub(super) dpop: Option<Dpop>,
    /// Where revoked tokens are learnt of. Default: nowhere.
    pub(super) revocations: Option<Placed<Revocations>>,
    /// Metrics, health and configuration. Default: 127.0.0.1:9901.
    pub(super) admin: Option<Admin>,
    /// Worker threads, 1 to 1024. Default: as many as there are processors.
    pub(super) workers: Option<Placed<u64>>,
    /// Who issues the tokens that are accepted. Needed unless there is an authority, which is one of them.
    #[schemars(length(min = 1, max = 64), with = "Option<Vec<Issuer>>")]
    pub(super) issuers: Vec<Issuer>,
    /// The APIs that are protected. Needed unless the file is for the authority alone.
    #[schemars(length(min = 1), with = "Option<Vec<Api>>")]
    pub(super) apis: Vec<Api>,
    /// Bounds on what a client may send or hold.
    pub(super) limits: Option<Limits>,
    /// How long a client may take.
    pub(super) timeouts: Option<Timeouts>,
    /// The cache of verified tokens.
    pub(super) token_cache: Option<TokenCache>,
    /// How requests are recorded.
    pub(super) access_log: Option<AccessLog>,
    /// Whose definitions `follow` means. Default: those of the `authority` of this file.
    pub(super) definitions: Option<Definitions>,
    /// The embedded authorization server. A file that has it needs no `listeners`, `issuers` and `apis`. Default:
    /// none.
    #[cfg(feature = "authority")]
    pub(super) authority: Option<Authority>,
}

impl Mirror for File {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        keys.unsupported(&["tracing", "rate_limits"]);
        #[cfg(not(feature = "authority"))]
        keys.left_out("authority");
        // The authority can run alone.
        let is_alone = keys.has("authority") && !keys.has("listeners") && !keys.has("apis");
        let listeners = if is_alone {
            Some(Vec::new())
        } else {
            keys.required("listeners")
        };
        let trusted_proxies = keys.optional("trusted_proxies");
        let forwarded_fields = keys.optional("forwarded_fields");
        let client_certificate_field = keys.optional("client_certificate_field");
        let dpop = keys.optional("dpop");
        let revocations = keys.optional("revocations");
        let admin = keys.optional("admin");
        let workers = keys.optional("workers");
        let issuers = if keys.has("authority") {
            keys.optional("issuers")
        } else {
            keys.required("issuers")
        };
        let apis = if is_alone {
            Some(Vec::new())
        } else {
            keys.required("apis")
        };
        Some(Self {
            definitions: keys.optional("definitions"),
            #[cfg(feature = "authority")]
            authority: keys.optional("authority"),
            limits: keys.optional("limits"),
            timeouts: keys.optional("timeouts"),
            token_cache: keys.optional("token_cache"),
            access_log: keys.optional("access_log"),
            listeners: listeners.unwrap_or_default(),
            trusted_proxies,
            forwarded_fields,
            client_certificate_field,
            dpop,
            revocations,
            admin,
            workers,
            issuers: issuers.unwrap_or_default(),
            apis: apis.unwrap_or_default(),
        })
    }
}

/// `off`, or where the admin listener is.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Admin {
    /// No admin listener.
    Off(Word<Off>),
    /// Where it listens.
    At(AdminListener),
}

impl FromNode for Admin {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Text(_) => Word::from_node(key, node, faults).map(Self::Off),
            Value::Map(_) => AdminListener::from_node(key, node, faults).map(Self::At),
            _ => {
                faults.push(misshapen(&wrong_kind(key, node, "`off` or a mapping")));
                None
            }
        }
    }
}

/// The word `off`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Off;

impl Words for Off {
    const WORDS: &'static [(&'static str, Self)] = &[("off", Self)];
}

/// Where the admin listener is.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(super) struct AdminListener {
    /// `IP:port`. Whoever reaches it can read the configuration: keep it on loopback.
    pub(super) address: Placed<String>,
}

impl Mirror for AdminListener {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        keys.unsupported(&["tls"]);
        let address = keys.required("address");
        Some(Self { address: address? })
    }
}

/// Bounds on what a client may send or hold.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(super) struct Limits {
    /// All header lines of a request together. Default 32KiB, at most 64KiB.
    pub(super) header_bytes: Option<Placed<Size>>,
    /// Number of header lines. Default 100, at most 200.
    pub(super) headers: Option<Placed<u64>>,
    /// The request target. Default 8KiB, at most 16KiB.
    pub(super) uri_bytes: Option<Placed<Size>>,
    /// The compact token. Default 16KiB, at most 24KiB.
    pub(super) token_bytes: Option<Placed<Size>>,
    /// A request body; a route can set its own. Default 10MiB.
    pub(super) body_bytes: Option<Placed<Size>>,
    /// Open client connections. Default 10000, at most 100000.
    pub(super) connections: Option<Placed<u64>>,
    /// Open connections of one client address, that of a PROXY header where there is one; of IPv6, of one /64. Default:
    /// no such bound; at most 100000.
    pub(super) connections_per_address: Option<Placed<u64>>,
    /// Requests of one connection before the client has to open another. Default 10000, at most 1000000000.
    pub(super) requests_per_connection: Option<Placed<u64>>,
    /// Bytes of a request body in each second that the client is waited for, after 5 seconds; 0B for any. Not asked of
    /// gRPC, nor once the upstream has begun to answer. Default 240B, at most 1MiB.
    pub(super) body_rate: Option<Placed<Size>>,
    /// Bytes of a response in each second that the client does not take what is there, after 5 seconds; 0B for any.
    /// Default 240B, at most 1MiB.
    pub(super) response_rate: Option<Placed<Size>>,
    /// Streams that the client of one HTTP/2 connection may reset in 10 seconds. Default 200, at most 100000.
    pub(super) http2_resets: Option<Placed<u64>>,
    /// Concurrent streams of one HTTP/2 connection. Default 100, at most 250.
    pub(super) http2_streams: Option<Placed<u64>>,
    /// Open connections to one upstream server, per worker. Default 1024, at most 65535.
    pub(super) upstream_connections: Option<Placed<u64>>,
}

impl Mirror for Limits {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            header_bytes: keys.optional("header_bytes"),
            headers: keys.optional("headers"),
            uri_bytes: keys.optional("uri_bytes"),
            token_bytes: keys.optional("token_bytes"),
            body_bytes: keys.optional("body_bytes"),
            connections: keys.optional("connections"),
            connections_per_address: keys.optional("connections_per_address"),
            requests_per_connection: keys.optional("requests_per_connection"),
            body_rate: keys.optional("body_rate"),
            response_rate: keys.optional("response_rate"),
            http2_resets: keys.optional("http2_resets"),
            http2_streams: keys.optional("http2_streams"),
            upstream_connections: keys.optional("upstream_connections"),
        })
    }
}

/// How long a client may take.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(super) struct Timeouts {
    /// From the accept of a connection to its first byte. Default 10s.
    pub(super) first_byte: Option<Placed<Period>>,
    /// From the accept of a connection to the end of its TLS handshake, a PROXY header included. Default 5s, at most
    /// 30s.
    pub(super) handshake: Option<Placed<Period>>,
    /// From the first byte of a request head to its last. Default 10s, at most 60s.
    pub(super) header: Option<Placed<Period>>,
    /// Between two requests of one connection. Default 60s.
    pub(super) idle: Option<Placed<Period>>,
    /// Age at which a connection ends with its next response, give or take a tenth. Default 1h, at most 30d.
    pub(super) connection_age: Option<Placed<Period>>,
    /// Between two parts of a request body, and for the client to take a part of a response. Default 30s.
    pub(super) body: Option<Placed<Period>>,
    /// A WebSocket, an event stream or a gRPC stream on which nothing moves; a route can set its own. Default 5m.
    pub(super) stream_idle: Option<Placed<Period>>,
    /// How long requests in flight may take once a drain has begun. Default 30s.
    pub(super) drain: Option<Placed<Period>>,
    /// How long the gateway goes on accepting after it has said that it is not ready. Default 0s.
    pub(super) pre_drain: Option<Placed<Period>>,
}

impl Mirror for Timeouts {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            first_byte: keys.optional("first_byte"),
            handshake: keys.optional("handshake"),
            header: keys.optional("header"),
            idle: keys.optional("idle"),
            connection_age: keys.optional("connection_age"),
            body: keys.optional("body"),
            stream_idle: keys.optional("stream_idle"),
            drain: keys.optional("drain"),
            pre_drain: keys.optional("pre_drain"),
        })
    }
}

/// The cache of verified tokens.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(super) struct TokenCache {
    /// How many tokens it holds; 0 switches it off. Default 10000, at most 10000000.
    pub(super) entries: Option<Placed<u64>>,
}

impl Mirror for TokenCache {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            entries: keys.optional("entries"),
        })
    }
}

/// How requests are recorded.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(super) struct AccessLog {
    /// `stdout` (the default), `stderr`, `off`, or the path of a file to append to.
    pub(super) output: Option<Placed<String>>,
    /// Subjects and client ids as a keyed hash, or as they are. Default: hashed.
    pub(super) identities: Option<Word<Identities>>,
    /// Lines about refused requests in a second, for each reason: more are left out, counted and told in the log of the
    /// process. 0 for any number. Default 1000, at most 1000000.
    pub(super) denials_per_second: Option<Placed<u64>>,
}

impl Mirror for AccessLog {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            output: keys.optional("output"),
            identities: keys.optional("identities"),
            denials_per_second: keys.optional("denials_per_second"),
        })
    }
}

/// How identities are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identities {
    Hashed,
    Plain,
}

impl Words for Identities {
    const WORDS: &'static [(&'static str, Self)] = &[("hashed", Self::Hashed), ("plain", Self::Plain)];
}

#[cfg(test)]
mod tests;
