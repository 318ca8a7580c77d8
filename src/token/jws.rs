//! The compact serialization of a JWS (RFC 7515 section 3.1 and 7.1), read strictly.
//!
//! Splits, decodes and reads; it verifies nothing, so what it yields must not be believed. `verify` and nothing else
//! calls it on the data path.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::Json;

/// A JWS taken apart; nothing of it has been verified.
#[derive(Debug)]
pub struct Jws<'a> {
    /// The JOSE header, an object.
    pub header: Json<'static>,
    /// The payload, an object.
    pub claims: Json<'static>,
    /// What the signature covers: header and payload as they came, with the dot.
    pub signing_input: &'a [u8],
    /// The decoded signature.
    pub signature: Vec<u8>,
}

/// The same with a payload of any kind: what a signature can be told of before the payload is read.
pub(super) struct Parts<'a> {
    pub(super) header: Json<'static>,
    pub(super) payload: Vec<u8>,
    pub(super) signing_input: &'a [u8],
    pub(super) signature: Vec<u8>,
}

/// What is wrong with the form of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedJws(pub &'static str);

/// The three parts as they came, split and not decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded<'a> {
    pub(super) header: &'a str,
    pub(super) signing_input: &'a [u8],
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Jws<'a> {
    /// Takes a compact JWS apart. Its length must have been checked.
    pub fn read(token: &'a str) -> Result<Self, MalformedJws> {
        let parts = Parts::read(token)?;
        Ok(Self {
            header: parts.header,
            claims: claims(&parts.payload)?.into_owned(),
            signing_input: parts.signing_input,
            signature: parts.signature,
        })
    }
}

impl<'a> Parts<'a> {
    pub(super) fn read(token: &'a str) -> Result<Self, MalformedJws> {
        let encoded = Encoded::split(token)?;
        Ok(Self {
            header: encoded.header()?,
            payload: encoded.payload()?,
            signing_input: encoded.signing_input,
            signature: encoded.signature()?,
        })
    }
}

impl<'a> Encoded<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, MalformedJws> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(MalformedJws("it has no parts"))?;
        let (header, payload) = signing_input
            .split_once('.')
            .ok_or(MalformedJws("it has two parts"))?;
        if payload.contains('.') {
            return Err(MalformedJws("it has more than three parts"));
        }
        Ok(Self {
            header,
            signing_input: signing_input.as_bytes(),
            payload,
            signature,
        })
    }

    pub(super) fn header(&self) -> Result<Json<'static>, MalformedJws> {
        let bytes = decoded(self.header, "the header is not base64url")?;
        Ok(object(&bytes, "the header is not a JSON object")?.into_owned())
    }

    /// Payload, which [`claims`] reads, and signature: what is left where the header is known.
    pub(super) fn body(&self) -> Result<(Vec<u8>, Vec<u8>), MalformedJws> {
        Ok((self.payload()?, self.signature()?))
    }

    fn payload(&self) -> Result<Vec<u8>, MalformedJws> {
        decoded(self.payload, "the payload is not base64url")
    }

    fn signature(&self) -> Result<Vec<u8>, MalformedJws> {
        decoded(self.signature, "the signature is not base64url")
    }
}

/// The claims that a payload consists of: an object.
pub(super) fn claims(payload: &[u8]) -> Result<Json<'_>, MalformedJws> {
    object(payload, "the payload is not a JSON object")
}

/// Headers of good tokens, and what they say: an issuer writes the same bytes into all of its tokens, but for a new key.
/// Only what was read of them is known. It is asked for each token whether that is good for it.
#[derive(Debug, Default)]
pub(super) struct KnownHeaders([OnceLock<(Box<str>, Json<'static>)>; KNOWN_HEADERS]);

impl KnownHeaders {
    /// What a header says that was met before, byte for byte.
    pub(super) fn get(&self, encoded: &str) -> Option<&Json<'static>> {
        let known = self.0.iter().map_while(OnceLock::get);
        let mut known = known.filter(|(text, _)| **text == *encoded);
        known.next().map(|(_, header)| header)
    }

    /// Keeps the first few that come, unless they are long.
    pub(super) fn learn(&self, encoded: &str, header: Json<'static>) {
        if encoded.len() > MAX_KNOWN_HEADER {
            return;
        }
        if let Some(place) = self.0.iter().find(|place| place.get().is_none()) {
            // Another worker may have been here first; then it is read once more the next time.
            let _ = place.set((encoded.into(), header));
        }
    }
}

/// A few issuers, or the keys of a rotation.
const KNOWN_HEADERS: usize = 4;
/// Bytes, as it is encoded.
const MAX_KNOWN_HEADER: usize = 512;

fn decoded(part: &str, otherwise: &'static str) -> Result<Vec<u8>, MalformedJws> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_position| MalformedJws(otherwise))
}

fn object<'a>(bytes: &'a [u8], otherwise: &'static str) -> Result<Json<'a>, MalformedJws> {
    match Json::read(bytes) {
        Ok(object @ Json::Object(_)) => Ok(object),
        Ok(_) | Err(_) => Err(MalformedJws(otherwise)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn takes_apart() {
        let token = format!(
            "{}.{}.{}",
            encode(r#"{"alg":"RS256"}"#),
            encode(r#"{"iss":"x"}"#),
            encode("sig")
        );
        let jws = Jws::read(&token).unwrap();
        assert_eq!(jws.header.get("alg").and_then(Json::as_str), Some("RS256"));
        assert_eq!(jws.claims.get("iss").and_then(Json::as_str), Some("x"));
        assert_eq!(jws.signature, b"sig");
        assert!(token.as_bytes().starts_with(jws.signing_input));
    }

    #[test]
    fn refused() {
        let (h, p, s) = (encode("{}"), encode("{}"), encode("s"));
        for token in [
            String::new(),
            "a".into(),
            "..".into(),
            format!("{h}.{p}"),
            format!("{h}.{p}.{s}.{s}"),
            format!("{h}.{p}.{s}="),
            format!("{h}=.{p}.{s}"),
            format!("{h}.{p}.{s}\n"),
            format!(" {h}.{p}.{s}"),
            format!("{h}.{}.{s}", encode("[]")),
            format!("{h}.{}.{s}", encode("\"x\"")),
            format!("{}.{p}.{s}", encode(r#"{"alg":"RS256","alg":"none"}"#)),
            // The last character carries bits that must be zero.
            format!("{h}.{p}.cx"),
            format!("{h}.{p}.+/"),
        ] {
            assert!(Jws::read(&token).is_err(), "{token:?}");
        }
    }

    #[test]
    fn headers_are_known_byte_for_byte() {
        let known = KnownHeaders::default();
        let says = |n: usize| Json::Number(crate::token::Number::Integer(n.try_into().unwrap()));
        assert_eq!(known.get("a"), None);
        known.learn(&"x".repeat(MAX_KNOWN_HEADER + 1), says(9));
        // One more than there are places: it is not kept, and takes nothing away.
        for n in 0..=KNOWN_HEADERS {
            known.learn(&format!("header{n}"), says(n));
        }
        for n in 0..KNOWN_HEADERS {
            assert_eq!(known.get(&format!("header{n}")), Some(&says(n)));
        }
        for unknown in [
            "",
            "header",
            "header00",
            "Header0",
            &format!("header{KNOWN_HEADERS}"),
        ] {
            assert_eq!(known.get(unknown), None, "{unknown}");
        }
        assert_eq!(known.get(&"x".repeat(MAX_KNOWN_HEADER + 1)), None);
    }
}
