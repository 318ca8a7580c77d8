//! The policy as it was configured: validated values, names instead of indexes, no keys of
//! issuers.
//!
//! `config::resolve` (and later the authority) makes a `Plan`; `compile` turns it, with the key sets of the issuers,
//! into a `Snapshot`. A plan is plain data and is never looked at by a request.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::{ApiKeysPlan, IntrospectionPlan, UpstreamPlan};
use crate::definition::{ApiDefinition, Secret};
use crate::policy::{Mode, OnExpiry, PathForm, PathPattern, Preflight, RequirementPlan, TokenPlace, Upgrade};
use crate::token::{Encryption, Reading};

/// All APIs and the issuers that they trust.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Issuer identifiers, exact, each once.
    pub issuers: Vec<String>,
    /// The APIs in the order of the configuration.
    pub apis: Vec<ApiPlan>,
}

/// One API: its definition, and how it is enforced here.
#[derive(Clone, Debug)]
pub struct ApiPlan {
    /// The resource-server object.
    pub definition: Arc<ApiDefinition>,
    /// Where it comes from.
    pub origin: DefinitionOrigin,
    /// The issuers whose tokens are accepted; each is one of `Plan::issuers`, at least one.
    pub issuers: Vec<IssuerPlan>,
    /// The HMAC key of an HS* API. Present exactly when the algorithm is symmetric.
    pub signing_secret: Option<Secret>,
    /// The keys that tokens are decrypted with, where they may be encrypted.
    pub encryption: Option<Encryption>,
    /// Whom to ask about tokens that are not signed.
    pub introspection: Option<IntrospectionPlan>,
    /// That keys are taken beside tokens, and how.
    pub api_keys: Option<ApiKeysPlan>,
    /// Host names in lower case, without a port. Empty: every host that no other API names.
    pub hosts: Vec<String>,
    /// What clients see, without a trailing slash: `https://items.example.com`.
    pub public_url: Option<String>,
    /// `enforce` or `report`.
    pub mode: Mode,
    /// The oldest token that is accepted, counted from `iat`.
    pub max_age: Option<Duration>,
    /// Tolerance for `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// Where tokens come from; empty: from `Authorization`.
    pub token_places: Vec<TokenPlace>,
    /// Where allowed requests go.
    pub upstream: UpstreamPlan,
    /// What the upstream is told.
    pub forward: ForwardPlan,
    /// The routes in the order of the configuration.
    pub routes: Vec<RoutePlan>,
}

/// Where a definition comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefinitionOrigin {
    /// From the configuration.
    #[default]
    Here,
    /// From an authority, which changes it as it likes: what a route asks for and it does not define, nobody has.
    Followed,
    /// From an authority that has not told it yet: no token can be judged.
    Awaited,
}

/// An issuer that an API trusts.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerPlan {
    /// Its identifier.
    pub issuer: String,
    /// How its tokens are read; `None`: as the definition says.
    pub reading: Option<Reading>,
}

impl From<&str> for IssuerPlan {
    /// Read as the definition says.
    fn from(issuer: &str) -> Self {
        Self {
            issuer: issuer.into(),
            reading: None,
        }
    }
}

impl ApiPlan {
    /// How the tokens of one of its issuers are read.
    pub fn reading(&self, issuer: &IssuerPlan) -> Reading {
        issuer
            .reading
            .clone()
            .unwrap_or_else(|| Reading::of(&self.definition))
    }
}

/// What is done to the head of a forwarded request.
#[derive(Clone, Debug, Default)]
pub struct ForwardPlan {
    /// What becomes of the `Authorization` header.
    pub token: TokenForwarding,
    /// Claims that are passed on as headers.
    pub identity_headers: Vec<IdentityHeader>,
    /// Whether a CORS preflight is decided like any request, or passed on.
    pub cors_preflight: Preflight,
}

/// What becomes of the client's `Authorization` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenForwarding {
    /// It is forwarded.
    #[default]
    Keep,
    /// It is removed.
    Strip,
}

/// A header that carries a claim to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeader {
    /// The header; every spelling of it is removed from what the client sent.
    pub name: HeaderName,
    /// A top-level claim; `client_id` also reads `azp`.
    pub claim: String,
}

/// One route as written.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// The path pattern.
    pub pattern: PathPattern,
    /// Empty: any method.
    pub methods: Vec<Method>,
    /// What it asks.
    pub require: RequirementPlan,
    /// Overrides the mode of the API.
    pub mode: Option<Mode>,
    /// Overrides `UpstreamPlan::timeout`.
    pub timeout: Option<Duration>,
    /// Largest request body in bytes; overrides the limit of the gateway.
    pub max_body: Option<u64>,
    /// Overrides `UpstreamPlan::idle_timeout`, and the time of streams.
    pub idle_timeout: Option<Duration>,
    /// What a connection may change to.
    pub upgrade: Option<Upgrade>,
    /// What becomes of a stream whose token expires.
    pub on_expiry: OnExpiry,
    /// Spellings of the path that this route accepts.
    pub allow: Vec<PathForm>,
}
