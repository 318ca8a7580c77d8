//! The endpoints of OAuth: token, revocation, discovery, key set.
//!
//! A token is asked for in `token`: `authenticate` finds out who asks, `access` what they get, `exchange`, `claims` and
//! `issue` make the token, `fault` says why not. Secrets and tokens must never reach the log or an error.

mod access;
mod assertion;
mod authenticate;
mod claims;
mod exchange;
mod fault;
mod grant_type;
mod issue;
mod metadata;
mod parameters;
mod passwords;
mod possession;
mod refresh;
mod revoke;
mod throttle;
mod token;
mod users;

use std::sync::OnceLock;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, PRAGMA,
};
use http::{HeaderValue, Method, StatusCode};
use prometheus::IntCounterVec;
use serde_json::json;
use zeroize::Zeroizing;

use super::ids::{self, NoRandomness};
use super::{Answer, Authority, Request};
use crate::token::{ProofDesk, ProofSettings};
use grant_type::GrantType;
pub(super) use refresh::sweep;

/// What the endpoints remember between requests.
#[derive(Debug)]
pub(super) struct Endpoints {
    throttle: throttle::Throttle,
    passwords: passwords::Passwords,
    published_keys: metadata::PublishedKeys,
    /// DPoP proofs of clients that have a credential of their own.
    proofs: ProofDesk,
    /// DPoP proofs of public clients, which have to have a nonce of ours.
    proofs_with_nonce: ProofDesk,
    /// `jti` of client assertions.
    assertions: ProofDesk,
    requests: OnceLock<IntCounterVec>,
}

impl Endpoints {
    /// Nothing is remembered yet.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub(super) fn new() -> Result<Self, NoRandomness> {
        let desk = |nonce_lifetime| {
            let settings = ProofSettings {
                nonce_lifetime,
                ..ProofSettings::default()
            };
            let (memory_key, nonce_key) = (ids::random::<32>()?, ids::random::<32>()?);
            Ok(ProofDesk::new(&settings, &memory_key, &nonce_key))
        };
        Ok(Self {
            throttle: throttle::Throttle::new(),
            passwords: passwords::Passwords::new(),
            published_keys: metadata::PublishedKeys::default(),
            proofs: desk(None)?,
            proofs_with_nonce: desk(Some(NONCE_LIFETIME))?,
            assertions: desk(None)?,
            requests: OnceLock::new(),
        })
    }

    /// Counts requests for tokens from now on; the first call wins.
    pub(super) fn count_with(&self, requests: IntCounterVec) {
        drop(self.requests.set(requests));
    }

    fn count(&self, grant_type: Option<GrantType>, result: &str) {
        if let Some(requests) = self.requests.get() {
            let grant_type = grant_type.map_or("other", GrantType::label);
            requests.with_label_values(&[grant_type, result]).inc();
        }
    }

    /// The hash of a new password of a user, in PHC form; `None` where there is too much to do.
    pub(super) async fn hash_password(&self, password: Zeroizing<String>) -> Option<String> {
        self.passwords.hash(password).await.ok()
    }
}

const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Token,
    Revocation,
    Discovery,
    Keys,
}

impl Endpoint {
    fn of_path(path: &str) -> Option<Self> {
        Some(match path {
            "/oauth/token" => Self::Token,
            "/oauth/revoke" => Self::Revocation,
            "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => {
                Self::Discovery
            }
            "/.well-known/jwks.json" => Self::Keys,
            _ => return None,
        })
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Token | Self::Revocation => "POST",
            Self::Discovery | Self::Keys => "GET, HEAD",
        }
    }
}

/// Answers a request that is not to the Management API.
pub(super) async fn answer(authority: &Authority, request: &Request) -> Answer {
    let Some(endpoint) = Endpoint::of_path(&request.path) else {
        return Answer::json(StatusCode::NOT_FOUND, &json!({ "error": "not_found" }));
    };
    let answer = match (endpoint, &request.method) {
        (Endpoint::Token, &Method::POST) => token::answer(authority, request).await,
        (Endpoint::Revocation, &Method::POST) => revoke::answer(authority, request).await,
        (Endpoint::Discovery, &Method::GET | &Method::HEAD) => metadata::discovery(authority.settings()),
        (Endpoint::Keys, &Method::GET | &Method::HEAD) => metadata::key_set(authority),
        (_, &Method::OPTIONS) => preflight(endpoint),
        _ => Answer::empty(StatusCode::METHOD_NOT_ALLOWED)
            .with(ALLOW, HeaderValue::from_static(endpoint.methods())),
    };
    // Applications in a browser call from sites of their own. No cookie is involved.
    answer
        .with(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))
        .with(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("DPoP-Nonce, Retry-After"),
        )
}

fn preflight(endpoint: Endpoint) -> Answer {
    Answer::empty(StatusCode::NO_CONTENT)
        .with(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(endpoint.methods()),
        )
        .with(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("Authorization, Content-Type, DPoP, Auth0-Client"),
        )
        .with(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"))
}

/// RFC 6749 section 5.1: nothing on the way may keep it.
fn uncached(answer: Answer) -> Answer {
    answer
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with(PRAGMA, HeaderValue::from_static("no-cache"))
}
