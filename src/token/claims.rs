//! The registered claims of an access token, each with its one type (RFC 7519 section 4.1, RFC 9068 section 2.2).
//!
//! Reads types only; whether the values are acceptable is `verify`'s business. A claim of a wrong type is an error and
//! never the same as an absent claim: that is how checks get switched off.

use super::json::{Json, Number};
use super::{TokenError, UnixSeconds};

/// A claim that must be a string if it is there. Control characters are refused: they end up in headers and logs.
pub(super) fn text<'a>(claims: &'a Json<'a>, name: &'static str) -> Result<Option<&'a str>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::String(text)) if !has_control(text) => Ok(Some(text)),
        Some(_) => Err(TokenError::MalformedClaim(name)),
    }
}

/// Whether there is a control character.
pub(super) fn has_control(text: &str) -> bool {
    // Nearly all texts are of visible ASCII, which is seen without taking each character apart.
    let is_odd = |byte: u8| !(b' '..=b'~').contains(&byte);
    text.bytes().fold(false, |odd, byte| odd | is_odd(byte)) && text.chars().any(char::is_control)
}

/// A NumericDate. A fraction is cut off, and what does not fit is clamped: no arithmetic on it can overflow into the
/// other direction.
pub(super) fn date(claims: &Json<'_>, name: &'static str) -> Result<Option<UnixSeconds>, TokenError> {
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

/// Whether `aud` contains one of the audiences. Either a string or a non-empty array of strings.
pub(super) fn audience_is_one_of(claims: &Json<'_>, audiences: &[String]) -> Result<bool, TokenError> {
    let is_ours = |audience: &str| audiences.iter().any(|ours| ours == audience);
    match claims.get("aud") {
        None => Err(TokenError::MissingClaim("aud")),
        Some(Json::String(one)) => Ok(is_ours(one)),
        Some(Json::Array(many)) if !many.is_empty() => {
            let mut found = false;
            for one in many {
                found |= is_ours(one.as_str().ok_or(TokenError::MalformedClaim("aud"))?);
            }
            Ok(found)
        }
        Some(_) => Err(TokenError::MalformedClaim("aud")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_found_in_any_alphabet() {
        for text in ["", "auth0|user ~", "é", "日本語", "\u{a0}\u{ad}\u{200b}"] {
            assert!(!has_control(text), "{text:?}");
        }
        for text in [
            "\0",
            "a\nb",
            "\u{7f}",
            "\u{80}",
            "é\u{9f}",
            "日本語\u{85}",
            "\u{1f}",
        ] {
            assert!(has_control(text), "{text:?}");
        }
    }
}
