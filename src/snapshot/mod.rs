//! Everything that a request is decided with, whole and immutable, and how it gets from its one writer to its readers.
//!
//! `control::reconcile` compiles and publishes, the gateway reads one snapshot once per request. Nothing here does I/O;
//! [`handoff`] holds the only state that both planes share.

mod api_keys;
mod asked;
mod compile;
pub mod handoff;
mod health;
mod introspection;
mod metadata;
mod plan;
mod revocations;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

pub use api_keys::{ApiKeysPlan, ExchangeEndpoint, KeyAuthentication};
pub use asked::{AskedEndpoint, EndpointKind};
pub use compile::{ClaimsOf, CompileFault, CompileSettings, IssuerKeys, compile};
pub use health::ServerHealth;
pub use introspection::{ClientAuthentication, IntrospectionEndpoint, IntrospectionPlan};
pub use plan::{
    ApiPlan, DefinitionOrigin, ForwardPlan, IdentityHeader, IssuerPlan, Plan, RoutePlan, TokenForwarding,
};
pub use revocations::{Lists, Revocations};
pub use upstream::{
    EjectionPlan, Endpoint, HealthPlan, ServerAddress, TlsFiles, UpstreamPlan, UpstreamProtocol, UpstreamTls,
    WaitingPlan,
};

pub use crate::policy::Preflight;
use crate::policy::{ApiId, RouteTable, TokenPlaces};
use handoff::KeyMisses;

/// One whole state of the policy. A request sees exactly one.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up with each publication; part of the key of the token cache.
    pub generation: u64,
    /// Of the configuration it came from.
    pub config_hash: Arc<str>,
    /// Routes, APIs and the keys of their issuers.
    pub table: RouteTable,
    /// By API.
    pub targets: Vec<Target>,
    /// By API: whom requests ask about tokens; most often nobody.
    pub introspection: Vec<Option<Arc<IntrospectionEndpoint>>>,
    /// By API: where keys are exchanged; most often there are none.
    pub exchange: Vec<Option<Arc<ExchangeEndpoint>>>,
    /// By issuer identifier: where a request asks for a key that is not there yet.
    pub misses: Vec<(Arc<str>, Arc<KeyMisses>)>,
    /// Every header, in lower case with `-` for `_`, that carries identity to some upstream. Stripped from every
    /// request, on every route.
    pub reserved_headers: Vec<Box<str>>,
    /// Every header that carries tokens or keys to some API beside `Authorization`. No trailer may have such a name.
    pub token_headers: Vec<HeaderName>,
}

/// Where the requests of an API go, and what is done to their heads.
#[derive(Debug)]
pub struct Target {
    /// Stable across snapshots while the servers stay the same: the name of the upstream in metrics and logs.
    pub name: Arc<str>,
    /// At least one.
    pub servers: Vec<Server>,
    /// When a server is passed over.
    pub ejection: EjectionPlan,
    /// How requests wait for a connection.
    pub waiting: WaitingPlan,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Until the response head is there.
    pub timeout: Duration,
    /// Between two parts of a body.
    pub idle_timeout: Duration,
    /// Where tokens come from; `None`: from `Authorization` alone.
    pub places: Option<Box<TokenPlaces>>,
    /// What becomes of the token.
    pub token: TokenForwarding,
    /// Claims that are passed on.
    pub identity_headers: Vec<IdentityHeader>,
    /// What clients see.
    pub public_url: Option<Arc<str>>,
}

/// One server of a target.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is and how it is spoken to.
    pub endpoint: Endpoint,
    /// What is known of it; `compile` knows nothing, the writer of the snapshot puts in what is known.
    pub health: Arc<ServerHealth>,
}

impl Snapshot {
    /// The target of an API of this snapshot.
    pub fn target(&self, api: ApiId) -> Option<&Target> {
        self.targets.get(api.0)
    }

    /// Where the keys of an API are exchanged.
    pub fn exchange_endpoint(&self, api: ApiId) -> Option<&Arc<ExchangeEndpoint>> {
        self.exchange.get(api.0)?.as_ref()
    }

    /// Where to ask for a key of an issuer.
    pub fn misses(&self, issuer: &str) -> Option<&Arc<KeyMisses>> {
        self.misses
            .iter()
            .find(|(name, _)| &**name == issuer)
            .map(|(_, misses)| misses)
    }

    /// Whom to ask about the tokens of an API.
    pub fn introspection(&self, api: ApiId) -> Option<&Arc<IntrospectionEndpoint>> {
        self.introspection.get(api.0)?.as_ref()
    }

    /// Whether a header that a client sent must go: an identity header of some API in any spelling.
    pub fn is_reserved(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.reserved_headers.iter().any(|reserved| {
            reserved.len() == name.len()
                && reserved
                    .bytes()
                    .zip(name)
                    .all(|(reserved, &sent)| reserved == if sent == b'_' { b'-' } else { sent })
        })
    }
}
