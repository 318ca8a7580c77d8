//! How an API takes keys, and where they are exchanged for tokens, as it was configured.
//!
//! `config::resolve` makes these values, `gateway::api_keys` exchanges. Plain data.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderName;

use super::AskedEndpoint;
use crate::policy::{KeyPlaces, KeySpace};

/// How one API takes keys.
#[derive(Clone, Debug)]
pub struct ApiKeysPlan {
    /// A field that may have one, beside `Authorization`.
    pub header: Option<HeaderName>,
    /// Where they are exchanged.
    pub endpoint: Arc<ExchangeEndpoint>,
}

/// The token endpoint of an issuer (RFC 6749 section 3.2), asked with the credentials of clients (section 4.4).
#[derive(Debug)]
pub struct ExchangeEndpoint {
    /// Where and how often it is asked.
    pub asked: AskedEndpoint,
    /// How the credentials are passed on.
    pub authentication: KeyAuthentication,
    /// `scope` of the question; `None`: the issuer decides.
    pub scope: Option<String>,
}

/// How the credentials of a client are passed on (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAuthentication {
    /// In the body.
    #[default]
    Post,
    /// In `Authorization`.
    Basic,
}

impl AsRef<AskedEndpoint> for ExchangeEndpoint {
    fn as_ref(&self) -> &AskedEndpoint {
        &self.asked
    }
}

impl ApiKeysPlan {
    /// Where the keys of an API of this identifier stand.
    pub(super) fn places(&self, identifier: &str) -> KeyPlaces {
        KeyPlaces {
            header: self.header.clone(),
            space: self.space(identifier),
        }
    }

    /// The same as long as a key is exchanged for the same token in the same way, whatever else changes.
    fn space(&self, identifier: &str) -> KeySpace {
        let ExchangeEndpoint {
            asked,
            authentication,
            scope,
        } = &*self.endpoint;
        let mut digest = Context::new(&SHA256);
        let settings = format!("{authentication:?} {:?} {:?}", asked.ttl, asked.negative_ttl);
        let address = asked.address.as_deref().unwrap_or_default();
        let scope = scope.as_deref().unwrap_or_default();
        for part in [&*asked.issuer, identifier, address, scope, &settings] {
            digest.update(&part.len().to_le_bytes());
            digest.update(part.as_bytes());
        }
        let digest = digest.finish();
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }
}
