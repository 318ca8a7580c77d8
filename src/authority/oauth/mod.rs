//! The endpoints of OAuth: token, revocation, discovery, key set.
//!
//! A token is asked for in `token`: `authenticate` finds out who asks, `access` what they get, `claims` and `issue` make
//! the token, `fault` says why not. Secrets and tokens must never reach the log or an error.

mod access;
mod authenticate;
mod claims;
mod fault;
mod grant_type;
mod issue;
mod metadata;
mod parameters;
mod throttle;
mod token;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, PRAGMA,
};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::{Answer, Authority, Request};

/// What the endpoints remember between requests.
#[derive(Debug)]
pub(super) struct Endpoints {
    throttle: throttle::Throttle,
    published_keys: metadata::PublishedKeys,
}

impl Endpoints {
    pub(super) fn new() -> Self {
        Self {
            throttle: throttle::Throttle::new(),
            published_keys: metadata::PublishedKeys::default(),
        }
    }
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Token,
    Discovery,
    Keys,
}

impl Endpoint {
    fn of_path(path: &str) -> Option<Self> {
        Some(match path {
            "/oauth/token" => Self::Token,
            "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => {
                Self::Discovery
            }
            "/.well-known/jwks.json" => Self::Keys,
            _ => return None,
        })
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Token => "POST",
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

/// RFC 6749 section 5.1: nothing on the way may keep it. `Cache-Control` is there already.
fn uncached(answer: Answer) -> Answer {
    answer.with(PRAGMA, HeaderValue::from_static("no-cache"))
}
