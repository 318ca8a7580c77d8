//! Puts the token of a described request where its API takes tokens from.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri};

use super::{ExplainError, usage};
use crate::policy::{TokenPlace, TokenPlaces};
use crate::token::ProtocolForm;

/// Adds the token: in `Authorization` where the API takes it from there, else in the first place of the API.
pub(super) fn put(parts: &mut Parts, places: Option<&TokenPlaces>, token: &str) -> Result<(), ExplainError> {
    let place = match places {
        Some(places) if !places.has_authorization() => places.iter().next(),
        _ => None,
    };
    let (name, value): (HeaderName, String) = match place {
        None | Some(TokenPlace::Authorization) => {
            // Whoever gives a proof means it.
            let scheme = if parts.headers.contains_key("dpop") {
                "DPoP"
            } else {
                "Bearer"
            };
            (AUTHORIZATION, format!("{scheme} {token}"))
        }
        Some(TokenPlace::Header { name, scheme }) => (
            name.clone(),
            scheme
                .as_ref()
                .map_or_else(|| token.to_owned(), |scheme| format!("{scheme} {token}")),
        ),
        Some(TokenPlace::Cookie { name, .. }) => (COOKIE, format!("{name}={token}")),
        Some(TokenPlace::WebSocketProtocol(form)) => (
            SEC_WEBSOCKET_PROTOCOL,
            match form {
                ProtocolForm::After(marker) => format!("{marker}, {token}"),
                ProtocolForm::Prefix(prefix) => format!("{prefix}{token}"),
                ProtocolForm::EncodedPrefix(prefix) => format!("{prefix}{}", URL_SAFE_NO_PAD.encode(token)),
            },
        ),
        Some(TokenPlace::Query(name)) => {
            let joint = if parts.uri.query().is_some() { '&' } else { '?' };
            let target = format!("{}{joint}{name}={token}", parts.uri);
            parts.uri = Uri::try_from(target)
                .map_err(|_invalid| usage("the token has characters that a query cannot have"))?;
            return Ok(());
        }
    };
    let value = HeaderValue::try_from(value)
        .map_err(|_invalid| usage("the token has characters that a header cannot have"))?;
    parts.headers.append(name, value);
    Ok(())
}
