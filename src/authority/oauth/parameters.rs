//! The parameters of a request to the token endpoint or the revocation endpoint, from a form or from JSON.
//!
//! Both kinds of body are accepted for both endpoints, since one SDK sends JSON and all others forms. What is absent,
//! `null` or empty is one and the same; what nobody knows is ignored (RFC 6749 section 3.2).

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use super::fault::Fault;
use crate::authority::Request;
use crate::token::Json;

/// What was sent, by name. Never shown: half of it is secret.
pub(super) struct Parameters(BTreeMap<String, Zeroizing<String>>);

/// The largest body: a request for a thousand permissions fits.
const LARGEST: usize = 64 << 10;

impl Parameters {
    /// Reads the body.
    ///
    /// # Errors
    /// [`Fault::Request`]: neither form nor JSON, a parameter twice, or one that is not text.
    pub(super) fn read(request: &Request) -> Result<Self, Fault> {
        if request.body.len() > LARGEST {
            return Err(Fault::Request("The request is too large"));
        }
        if is_json(&request.headers) {
            Self::of_json(&request.body)
        } else {
            Self::of_form(&request.body)
        }
    }

    fn of_json(body: &[u8]) -> Result<Self, Fault> {
        let unreadable = Fault::Request("The body is not a JSON object with distinct members");
        let Ok(Json::Object(members)) = Json::read(body) else {
            return Err(unreadable);
        };
        let mut found = BTreeMap::new();
        for (name, value) in members {
            match value {
                Json::Null => {}
                Json::String(text) if text.is_empty() => {}
                Json::String(text) => drop(found.insert(name.into(), Zeroizing::new(text.into()))),
                _ if KNOWN.contains(&&*name) => return Err(Fault::Request("A parameter is not text")),
                _ => {}
            }
        }
        Ok(Self(found))
    }

    fn of_form(body: &[u8]) -> Result<Self, Fault> {
        let mut found = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            if !value.is_empty()
                && found
                    .insert(name.into_owned(), Zeroizing::new(value.into_owned()))
                    .is_some()
            {
                return Err(Fault::Request("A parameter was sent more than once"));
            }
        }
        Ok(Self(found))
    }

    /// A parameter, where it has a value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// [`Fault::Missing`].
    pub(super) fn require(&self, name: &'static str) -> Result<&str, Fault> {
        self.get(name).ok_or(Fault::Missing(name))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Those that must be text. Of others nobody looks at the value.
const KNOWN: [&str; 14] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "audience",
    "resource",
    "scope",
    "organization",
    "username",
    "password",
    "realm",
    "refresh_token",
    "token",
];

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use http::{HeaderValue, Method};

    use super::*;

    fn read(content_type: &str, body: &str) -> Result<Parameters, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        Parameters::read(&Request {
            method: Method::POST,
            path: "/oauth/token".into(),
            query: String::new(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            tls: None,
        })
    }

    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json; charset=utf-8";

    #[test]
    fn forms_and_json_say_the_same() {
        for (content_type, body) in [
            (FORM, "grant_type=a%20b&scope=x+y&organization=&unknown=1"),
            (
                JSON,
                r#"{"grant_type":"a b","scope":"x y","organization":null,"unknown":{"x":[1]}}"#,
            ),
        ] {
            let parameters = read(content_type, body).ok().unwrap();
            assert_eq!(parameters.get("grant_type"), Some("a b"), "{body}");
            assert_eq!(parameters.get("scope"), Some("x y"), "{body}");
            assert_eq!(parameters.get("organization"), None, "{body}");
            assert!(parameters.require("audience").is_err(), "{body}");
        }
    }

    #[test]
    fn refused() {
        for (content_type, body) in [
            (FORM, "a=1&a=2".to_owned()),
            (JSON, r#"{"a":"1","a":"2"}"#.to_owned()),
            (JSON, r#"{"scope":["a"]}"#.to_owned()),
            (JSON, r#"{"client_id":7}"#.to_owned()),
            (JSON, "[]".to_owned()),
            (JSON, String::new()),
            (FORM, format!("a={}", "x".repeat(LARGEST))),
        ] {
            assert!(
                matches!(read(content_type, &body), Err(Fault::Request(_))),
                "{body:.40}"
            );
        }
    }
}
