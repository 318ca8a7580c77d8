//! The only writer of `WWW-Authenticate` (RFC 6750 section 3, RFC 9470 section 3).
//!
//! Everything in a challenge comes from the definition, the route or the closed list of reasons; nothing of it was sent
//! by the client.

use std::fmt::Write as _;

use http::HeaderValue;

use super::reason::ChallengeKind;
use super::requirement::visible;
use super::{Reason, Requirement};

/// The `realm` of an API: its identifier, quoted once.
#[derive(Clone, Debug)]
pub struct Realm {
    /// `Bearer realm="…"`
    start: Box<str>,
    bare: HeaderValue,
}

impl Realm {
    /// Quotes an identifier. Characters outside visible ASCII are percent-encoded.
    pub fn new(identifier: &str) -> Self {
        let mut start = String::from("Bearer realm=");
        push_quoted(&mut start, identifier);
        Self {
            bare: visible(&start),
            start: start.into(),
        }
    }
}

/// Writes challenges.
#[derive(Clone, Copy, Debug)]
pub struct Challenge;

impl Challenge {
    /// The value for a refusal; `None` where the reason has none.
    pub fn value(reason: Reason, realm: &Realm, requirement: Option<&Requirement>) -> Option<HeaderValue> {
        let kind = reason.challenge();
        if kind == ChallengeKind::None {
            return None;
        }
        let Some(error) = kind.error_code() else {
            return Some(realm.bare.clone());
        };
        let mut text = String::with_capacity(realm.start.len() + 160);
        text.push_str(&realm.start);
        push_parameter(&mut text, "error", error);
        push_parameter(&mut text, "error_description", reason.text());
        if let Some(Requirement::Token(asked)) = requirement {
            match kind {
                ChallengeKind::InsufficientScope => push_parameter(&mut text, "scope", asked.asked()),
                ChallengeKind::StepUp => {
                    if let Some(step_up) = asked.step_up() {
                        if let Some(within) = step_up.within {
                            push_parameter(&mut text, "max_age", &within.as_secs().to_string());
                        }
                        if !step_up.acr.is_empty() {
                            push_parameter(&mut text, "acr_values", &step_up.acr.join(" "));
                        }
                    }
                }
                _ => {}
            }
        }
        Some(visible(&text))
    }
}

fn push_parameter(text: &mut String, name: &str, value: &str) {
    text.push_str(", ");
    text.push_str(name);
    text.push('=');
    push_quoted(text, value);
}

/// A quoted-string (RFC 9110 section 5.6.4).
fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let realm = Realm::new("https://items.example.com");
        let text =
            |reason| Challenge::value(reason, &realm, None).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(
            text(Reason::MissingToken).unwrap(),
            r#"Bearer realm="https://items.example.com""#
        );
        assert_eq!(
            text(Reason::Expired).unwrap(),
            r#"Bearer realm="https://items.example.com", error="invalid_token", error_description="the token has expired""#
        );
        assert!(
            text(Reason::MultipleTokens)
                .unwrap()
                .contains(r#"error="invalid_request""#)
        );
        assert_eq!(text(Reason::NoRoute), None);
        assert_eq!(text(Reason::KeysUnavailable), None);
    }

    #[test]
    fn quoting() {
        let realm = Realm::new("a\"b\\c\r\nd\u{e9}");
        let value = Challenge::value(Reason::MissingToken, &realm, None).unwrap();
        assert_eq!(value.to_str().unwrap(), r#"Bearer realm="a\"b\\c%0D%0Ad%C3%A9""#);
    }
}
