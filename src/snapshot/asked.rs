//! An endpoint of an issuer that is asked while requests wait for what it says, as it was configured.
//!
//! `config::resolve` makes these values, the desks of the gateway ask. Plain data: a TLS client is only carried through.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

/// Where an issuer is asked, and how often, how long and by how many.
#[derive(Clone, Debug)]
pub struct AskedEndpoint {
    /// What it is asked.
    pub kind: EndpointKind,
    /// The issuer identifier.
    pub issuer: Arc<str>,
    /// Its address; `None`: what discovery says.
    pub address: Option<String>,
    /// How its certificate is checked; `None`: only plain http is spoken.
    pub tls: Option<Arc<ClientConfig>>,
    /// Plain `http` to an address that is not loopback.
    pub allow_http: bool,
    /// How long a good answer is believed, unless what it is about ends before.
    pub ttl: Duration,
    /// How long an answer is believed that lets nobody in.
    pub negative_ttl: Duration,
    /// One question, from connect to last byte.
    pub timeout: Duration,
    /// Questions under way at the same time.
    pub concurrency: usize,
    /// Requests that wait for an answer at the same time, those included that wait for the same one.
    pub waiting: usize,
    /// So many failures in a row, and nobody asks any more for a while.
    pub failures: u32,
    /// How long that lasts before one question is tried.
    pub cooldown: Duration,
}

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// Whether a token is good (RFC 7662).
    Introspection,
    /// For tokens (RFC 6749 section 3.2).
    Token,
}

impl EndpointKind {
    /// The member of an issuer's metadata that has its address (RFC 8414 section 2).
    pub fn member(self) -> &'static str {
        match self {
            Self::Introspection => "introspection_endpoint",
            Self::Token => "token_endpoint",
        }
    }

    /// The key of the configuration that has its address.
    pub fn key(self) -> &'static str {
        match self {
            Self::Introspection => "endpoint",
            Self::Token => "token_endpoint",
        }
    }
}
