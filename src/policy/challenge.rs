//! The only writer of `WWW-Authenticate` (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9470 section 3, RFC 9728
//! section 5.1, RFC 7617 section 2).
//!
//! Everything in a challenge comes from the definition, the route or the closed list of reasons; nothing of it was sent
//! by the client.

use std::fmt::Write as _;

use http::HeaderValue;

use super::reason::ChallengeKind;
use super::requirement::visible;
use super::{KeyPlaces, Possession, Reason, Requirement};
use crate::token::{PROOF_ALGORITHMS, Scheme};

/// What of a challenge is the same for every request of an API: its identifier, quoted once, and its schemes.
#[derive(Clone, Debug)]
pub struct Realm {
    /// `realm="…"`, and `resource_metadata="…"` where there is some.
    realm: Box<str>,
    takes: Takes,
    /// The challenge of the scheme `Basic`, where the API takes keys.
    basic: Option<Box<str>>,
    /// Every scheme that the API takes, without an error.
    bare: HeaderValue,
}

/// With which schemes an API takes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Bearer,
    Both,
    Dpop,
}

impl Realm {
    /// Quotes an identifier. Characters outside visible ASCII are percent-encoded.
    pub fn new(identifier: &str) -> Self {
        let mut realm = String::from("realm=");
        push_quoted(&mut realm, identifier);
        Self::taking(realm.into(), Takes::Bearer, None)
    }

    /// The same for an API that has metadata at this address (RFC 9728 section 5.1).
    pub fn with_metadata(self, address: Option<&str>) -> Self {
        let Some(address) = address else { return self };
        let mut realm = String::from(self.realm);
        push_parameter(&mut realm, "resource_metadata", address);
        Self::taking(realm.into(), self.takes, self.basic)
    }

    /// The same for an API that asks for a proof of possession.
    pub fn with_possession(self, possession: Option<&Possession>) -> Self {
        match possession {
            Some(asked) if asked.takes_proofs() && asked.is_required() => {
                Self::taking(self.realm, Takes::Dpop, self.basic)
            }
            Some(asked) if asked.takes_proofs() => Self::taking(self.realm, Takes::Both, self.basic),
            _ => self,
        }
    }

    /// The same for an API that takes keys beside tokens (RFC 7617 section 2).
    pub fn with_keys(self, identifier: &str, keys: Option<&KeyPlaces>) -> Self {
        let basic = keys.map(|_| {
            let mut text = String::from("Basic realm=");
            push_quoted(&mut text, identifier);
            push_parameter(&mut text, "charset", "UTF-8");
            text.into()
        });
        Self::taking(self.realm, self.takes, basic)
    }

    fn taking(realm: Box<str>, takes: Takes, basic: Option<Box<str>>) -> Self {
        let mut text = String::new();
        match takes {
            Takes::Bearer => push_scheme(&mut text, "Bearer", &realm),
            Takes::Both => {
                push_scheme(&mut text, "Bearer", &realm);
                text.push_str(", ");
                push_dpop(&mut text, &realm);
            }
            Takes::Dpop => push_dpop(&mut text, &realm),
        }
        push_basic(&mut text, basic.as_deref());
        Self {
            bare: visible(&text),
            basic,
            realm,
            takes,
        }
    }
}

/// Writes challenges.
#[derive(Clone, Copy, Debug)]
pub struct Challenge;

impl Challenge {
    /// The value for a refusal; `None` where the reason has none. `came_with` is the scheme of the token, where one came.
    ///
    /// The error stands in the challenge of the scheme that was tried. Who tried `Bearer` is told of `DPoP` too; who
    /// tried `DPoP` is never led back to `Bearer`.
    pub fn value(
        reason: Reason,
        realm: &Realm,
        came_with: Scheme,
        requirement: Option<&Requirement>,
    ) -> Option<HeaderValue> {
        let kind = reason.challenge();
        if kind == ChallengeKind::None {
            return None;
        }
        let Some(error) = kind.error_code() else {
            return Some(realm.bare.clone());
        };
        let mut text = String::with_capacity(realm.realm.len() + 240);
        let is_dpop = realm.takes == Takes::Dpop || (realm.takes == Takes::Both && came_with == Scheme::Dpop);
        if is_dpop {
            push_dpop(&mut text, &realm.realm);
        } else {
            push_scheme(&mut text, "Bearer", &realm.realm);
        }
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
        let is_about_the_token = matches!(kind, ChallengeKind::InvalidToken | ChallengeKind::InvalidRequest);
        if realm.takes == Takes::Both && !is_dpop && is_about_the_token {
            text.push_str(", ");
            push_dpop(&mut text, &realm.realm);
        }
        if is_about_the_token {
            push_basic(&mut text, realm.basic.as_deref());
        }
        Some(visible(&text))
    }
}

fn push_basic(text: &mut String, basic: Option<&str>) {
    if let Some(basic) = basic {
        text.push_str(", ");
        text.push_str(basic);
    }
}

fn push_scheme(text: &mut String, scheme: &str, realm: &str) {
    text.push_str(scheme);
    text.push(' ');
    text.push_str(realm);
}

/// RFC 9449 section 7.1: with the algorithms of proofs.
fn push_dpop(text: &mut String, realm: &str) {
    push_scheme(text, "DPoP", realm);
    push_parameter(text, "algs", &PROOF_ALGORITHMS.join(" "));
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
        let text = |reason| {
            Challenge::value(reason, &realm, Scheme::Bearer, None)
                .map(|value| value.to_str().unwrap().to_owned())
        };
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
        let value = Challenge::value(Reason::MissingToken, &realm, Scheme::Bearer, None).unwrap();
        assert_eq!(value.to_str().unwrap(), r#"Bearer realm="a\"b\\c%0D%0Ad%C3%A9""#);
    }
}
