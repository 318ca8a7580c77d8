//! Whom an API asks about tokens that say nothing themselves, as it was configured.
//!
//! `config::resolve` makes these values, `gateway::introspection` asks. Plain data.

use std::sync::Arc;

use super::AskedEndpoint;
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
    /// Where and how often it is asked.
    pub asked: AskedEndpoint,
    /// What the gateway is called there.
    pub client_id: String,
    /// How it proves to be that.
    pub authentication: ClientAuthentication,
}

impl AsRef<AskedEndpoint> for IntrospectionEndpoint {
    fn as_ref(&self) -> &AskedEndpoint {
        &self.asked
    }
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
