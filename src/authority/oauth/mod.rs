//! The endpoints of OAuth: token, revocation, discovery, key set.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Answer, Authority, Request, signing};

/// Answers a request that is not to the Management API.
pub(super) async fn answer(authority: &Authority, request: &Request) -> Answer {
    match (&request.method, request.path.as_str()) {
        (&Method::GET, "/.well-known/jwks.json") => match signing::jwks(&authority.state().tenant()) {
            Ok(keys) => Answer::json(StatusCode::OK, &keys),
            Err(error) => {
                tracing::error!(%error, "cannot publish the key set");
                Answer::empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        },
        _ => Answer::json(StatusCode::NOT_FOUND, &json!({ "error": "not_found" })),
    }
}
