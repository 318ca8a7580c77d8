//! Whom an API asks about tokens that say nothing themselves, as it was configured.
//!
//! `config::resolve` makes these values, `gateway::introspection` asks. Plain data: a TLS client is only carried through.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::definition::Secret;
use crate::token::{AssertionKey, AudienceRule, IntrospectedTokens};

/// How one API asks about tokens.
#[derive(Clone, Debug)]
pub struct IntrospectionPlan {
    /// About which.
    pub tokens: IntrospectedTokens,
    /// What is asked of `aud`.
    pub audience: AudienceRule,
    /// Who is asked. One value for all APIs that ask the same issuer.
    pub endpoint: Arc<IntrospectionEndpoint>,
}

/// The introspection endpoint of one issuer (RFC 7662), and how it is used.
#[derive(Debug)]
pub struct IntrospectionEndpoint {
    /// The issuer identifier.
    pub issuer: Arc<str>,
    /// Its address; `None`: what discovery says.
    pub address: Option<String>,
    /// What the gateway is called there.
    pub client_id: String,
    /// How it proves to be that.
    pub authentication: ClientAuthentication,
    /// How its certificate is checked; `None`: only plain http is spoken.
    pub tls: Option<Arc<ClientConfig>>,
    /// Plain `http` to an address that is not loopback.
    pub allow_http: bool,
    /// How long a good answer is believed, unless `exp` comes first. Default 60 s.
    pub ttl: Duration,
    /// How long an answer is believed that lets nobody in. Default 5 s.
    pub negative_ttl: Duration,
    /// One question, from connect to last byte. Default 5 s.
    pub timeout: Duration,
    /// Questions under way at the same time. Default 64.
    pub concurrency: usize,
    /// Requests that wait for an answer at the same time, those included that wait for the same one. Default 1024.
    pub waiting: usize,
    /// So many failures in a row, and nobody asks any more for a while. Default 5.
    pub failures: u32,
    /// How long that lasts before one question is tried. Default 1 s.
    pub cooldown: Duration,
}

/// How the gateway authenticates at the endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2).
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// `client_secret_basic`
    Basic(Secret),
    /// `client_secret_post`
    Post(Secret),
    /// `private_key_jwt`
    PrivateKey {
        /// Signs the assertions.
        key: AssertionKey,
        /// Their `aud`.
        audience: String,
    },
}
