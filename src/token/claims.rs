//! The registered claims of an access token, each with its one type (RFC 7519 section 4.1, RFC 9068 section 2.2).
//!
//! Reads types only; whether the values are acceptable is `verify`'s business. A claim of a wrong type is an error and
//! never the same as an absent claim: that is how checks get switched off.

use super::json::{Json, Number};
use super::{TokenError, UnixSeconds};

/// A claim that must be a string if it is there. Control characters are refused: they end up in headers and logs.
pub(super) fn text<'a>(claims: &'a Json, name: &'static str) -> Result<Option<&'a str>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::String(text)) if !text.chars().any(char::is_control) => Ok(Some(text)),
        Some(_) => Err(TokenError::MalformedClaim(name)),
    }
}

/// `client_id` of RFC 9068 and `azp` of the Auth0 profile are one thing; a token that carries both must not disagree.
pub(super) fn client_id(claims: &Json) -> Result<Option<&str>, TokenError> {
    match (text(claims, "client_id")?, text(claims, "azp")?) {
        (Some(client_id), Some(azp)) if client_id != azp => Err(TokenError::MalformedClaim("azp")),
        (client_id, azp) => Ok(client_id.or(azp)),
    }
}

/// Whether there is what ID tokens and logout tokens carry and access tokens do not; they share key, issuer and `typ`.
pub(super) fn are_of_id_token(claims: &Json) -> bool {
    ["nonce", "at_hash", "c_hash", "events"]
        .iter()
        .any(|name| claims.get(name).is_some())
}

/// A NumericDate. A fraction is cut off, and what does not fit is clamped: no arithmetic on it can overflow into the
/// other direction.
pub(super) fn date(claims: &Json, name: &'static str) -> Result<Option<UnixSeconds>, TokenError> {
    let number = match claims.get(name) {
        None => return Ok(None),
        Some(Json::Number(number)) => *number,
        Some(_) => return Err(TokenError::MalformedClaim(name)),
    };
    Ok(Some(match number {
        Number::Integer(seconds) => seconds,
        Number::Large(_) => UnixSeconds::MAX,
        // `as` saturates, which is what is wanted; the value is finite.
        #[allow(clippy::cast_possible_truncation)]
        Number::Float(seconds) => seconds.floor() as UnixSeconds,
    }))
}

/// Whether `aud` contains the audience. Either a string or a non-empty array of strings.
pub(super) fn audience_contains(claims: &Json, audience: &str) -> Result<bool, TokenError> {
    match claims.get("aud") {
        None => Err(TokenError::MissingClaim("aud")),
        Some(Json::String(one)) => Ok(&**one == audience),
        Some(Json::Array(many)) if !many.is_empty() => {
            let mut found = false;
            for one in many {
                found |= one.as_str().ok_or(TokenError::MalformedClaim("aud"))? == audience;
            }
            Ok(found)
        }
        Some(_) => Err(TokenError::MalformedClaim("aud")),
    }
}

/// The elements of `scope` (a string with single spaces, or an array of strings); `scp` is read where there is no
/// `scope`.
pub(super) fn scopes(claims: &Json) -> Result<Vec<&str>, TokenError> {
    let (name, value) = match (claims.get("scope"), claims.get("scp")) {
        (Some(value), _) => ("scope", value),
        (None, Some(value)) => ("scp", value),
        (None, None) => return Ok(Vec::new()),
    };
    match value {
        Json::String(text) => Ok(text.split(' ').filter(|scope| !scope.is_empty()).collect()),
        Json::Array(_) => strings(value, name),
        _ => Err(TokenError::MalformedClaim(name)),
    }
}

/// The elements of `permissions`, an array of strings; none where the claim is absent.
pub(super) fn permissions(claims: &Json) -> Result<Vec<&str>, TokenError> {
    match claims.get("permissions") {
        None => Ok(Vec::new()),
        Some(value) => strings(value, "permissions"),
    }
}

fn strings<'a>(value: &'a Json, name: &'static str) -> Result<Vec<&'a str>, TokenError> {
    let elements = value.as_array().ok_or(TokenError::MalformedClaim(name))?;
    elements
        .iter()
        .map(|element| element.as_str().ok_or(TokenError::MalformedClaim(name)))
        .collect()
}
