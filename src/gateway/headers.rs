//! What is taken out of a head and what is put in, in a fixed order: hop-by-hop and what `Connection` names, then every
//! name that only we may set, then ours (RFC 9110 section 7.6).
//!
//! Heads are edited in place: most requests carry little that must go.

use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};

use super::client::{Provenance, X_REQUEST_ID};
use super::outgoing::Added;
use super::places::Taken;
use super::request_id::RequestId;
use super::sanitize::host_value;
use crate::policy::Permit;
use crate::snapshot::{Snapshot, Target, TokenForwarding};
use crate::token::{Json, Number, Principal};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// RFC 9110 section 7.6.3: the version of the message that was received.
const VIA_HTTP1: HeaderValue = HeaderValue::from_static("1.1 scopegate");
const VIA_HTTP2: HeaderValue = HeaderValue::from_static("2.0 scopegate");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// The longest claim that is passed on in a header.
const MAX_IDENTITY_BYTES: usize = 4_096;

/// Fields that concern one connection, in either direction.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == KEEP_ALIVE
        || *name == UPGRADE
        || *name == TE
        || *name == PROXY_CONNECTION
        || *name == PROXY_AUTHENTICATE
        || *name == PROXY_AUTHORIZATION
        || *name == HTTP2_SETTINGS
}

/// Fields that only the gateway sets, or that steer upstreams behind its back.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    // Most names begin with another letter, and are looked at no further.
    if !matches!(
        name.as_str().as_bytes().first(),
        Some(b'c' | b'f' | b'p' | b'v' | b'x')
    ) {
        return false;
    }
    *name == VIA
        || *name == FORWARDED
        || name.as_str().starts_with("x-forwarded-")
        || matches!(
            name.as_str(),
            "x-request-id"
                | "x-real-ip"
                | "x-original-url"
                | "x-original-uri"
                | "x-rewrite-url"
                | "x-original-method"
                | "x-http-method-override"
                | "x-http-method"
                | "x-method-override"
                | "client-cert"
                | "client-cert-chain"
                | "x-forwarded-client-cert"
                | "proxy"
        )
}

/// Whether `Connection` names nothing that we set or that an upstream needs end to end.
pub(super) fn connection_is_sound(fields: &HeaderMap) -> bool {
    fields.get_all(CONNECTION).iter().all(|value| {
        let Ok(value) = value.to_str() else { return false };
        value.split(',').map(str::trim).all(|name| {
            ![
                "authorization",
                "host",
                "content-length",
                "content-type",
                "cookie",
            ]
            .iter()
            .any(|needed| name.eq_ignore_ascii_case(needed))
        })
    })
}

/// Makes the head of a client's request that of the upstream request, but for what is added to it. Returns also what the
/// answer needs for it.
pub(super) fn to_upstream(
    parts: &mut Parts,
    snapshot: &Snapshot,
    target: &Target,
    permit: &Permit,
    source: &Provenance,
    request_id: &RequestId,
) -> (Option<Box<Taken>>, Added) {
    let wants_trailers = parts
        .headers
        .get(TE)
        .is_some_and(|te| te.as_bytes() == b"trailers");
    remove(&mut parts.headers, |name| {
        is_hop_by_hop(name)
            || is_ours(name)
            || *name == EXPECT
            || snapshot.is_reserved(name)
            || source.trace.replaces(name)
    });
    let taken = target
        .places
        .as_deref()
        .map(|places| Taken::from(parts, places, target.token, permit));
    if target.token == TokenForwarding::Strip {
        parts.headers.remove(AUTHORIZATION);
        // A proof is of no use without its token.
        if permit
            .principal()
            .is_some_and(|principal| principal.binding().is_some())
        {
            parts.headers.remove(DPOP);
        }
    }
    let via = if parts.version == Version::HTTP_2 {
        VIA_HTTP2
    } else {
        VIA_HTTP1
    };
    if parts.version == Version::HTTP_2 {
        from_http2(parts);
    } else if parts.uri.scheme().is_some() {
        to_origin_form(parts);
    }
    parts.version = Version::HTTP_11;
    let fields = &mut parts.headers;
    if wants_trailers {
        fields.insert(TE, TRAILERS);
        fields.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    let mut added = Added::new();
    added.push(&VIA, &via);
    source.write(fields, &mut added);
    added.push_visible(&X_REQUEST_ID, request_id.as_bytes());
    if let Some(principal) = permit.principal() {
        add_identity(&mut added, target, principal);
    }
    (taken, added)
}

/// Makes the head of an upstream's response that of ours.
pub(super) fn to_client(fields: &mut HeaderMap) {
    remove(fields, is_hop_by_hop);
}

/// HTTP/2 has no `Host` and may split cookies (RFC 9113 sections 8.2.3 and 8.3.1).
fn from_http2(parts: &mut Parts) {
    if let Some(host) = host_value(parts) {
        parts.headers.insert(HOST, host);
    }
    to_origin_form(parts);
    if parts.headers.get_all(COOKIE).iter().nth(1).is_some() {
        let cookies: Vec<&[u8]> = parts
            .headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
            parts.headers.insert(COOKIE, joined);
        }
    }
}

fn to_origin_form(parts: &mut Parts) {
    if let Some(target) = parts.uri.path_and_query().cloned() {
        parts.uri = Uri::from(target);
    }
}

/// Removes what `Connection` names, and then what `is_gone` says, which is hop-by-hop fields above all.
///
/// Most heads have one field to remove, `Connection: keep-alive`, or none: those take no heap.
fn remove(fields: &mut HeaderMap, is_gone: impl Fn(&HeaderName) -> bool) {
    let Some(first) = fields.keys().find(|name| is_gone(name)).cloned() else {
        return;
    };
    if fields.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = fields
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|option| !names_no_field(option))
            .filter_map(|option| HeaderName::try_from(option).ok())
            .collect();
        for name in named {
            fields.remove(name);
        }
    }
    fields.remove(first);
    remove_where(fields, is_gone);
}

fn remove_where(fields: &mut HeaderMap, is_gone: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<HeaderName> = fields.keys().filter(|name| is_gone(name)).cloned().collect();
    for name in gone {
        fields.remove(name);
    }
}

/// The options of `Connection` that stand for themselves (RFC 9112 section 9.3). The field `Keep-Alive` is a hop-by-hop
/// one, named or not.
fn names_no_field(option: &str) -> bool {
    option.eq_ignore_ascii_case("keep-alive") || option.eq_ignore_ascii_case("close")
}

/// What a client sent in these fields is gone: they are reserved.
fn add_identity(added: &mut Added, target: &Target, principal: &Principal) {
    for header in &target.identity_headers {
        let value = principal.claim(&header.claim).and_then(claim_value);
        if let Some(value) = value {
            added.push(&header.name, &value);
        }
    }
}

/// A claim as a header value: arrays separated by spaces, objects not at all. What is not visible ASCII, and `%`, is
/// percent-encoded, so that no claim can break out of its header or be read in two ways.
fn claim_value(claim: &Json<'_>) -> Option<HeaderValue> {
    let mut text = String::new();
    match claim {
        Json::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                push_scalar(&mut text, element, Separator::Space)?;
            }
        }
        scalar => push_scalar(&mut text, scalar, Separator::None)?,
    }
    if text.len() > MAX_IDENTITY_BYTES {
        return None;
    }
    HeaderValue::from_str(text.trim()).ok()
}

/// What separates the elements that a value is made of; an element that contains it has it encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    None,
    Space,
}

fn push_scalar(text: &mut String, scalar: &Json<'_>, separator: Separator) -> Option<()> {
    use std::fmt::Write as _;
    match scalar {
        Json::String(content) => {
            for byte in content.bytes() {
                match byte {
                    b' ' if separator == Separator::None => text.push(' '),
                    b'%' | 0..=b' ' | 0x7f.. => write!(text, "%{byte:02X}").ok()?,
                    _ => text.push(char::from(byte)),
                }
            }
            Some(())
        }
        Json::Bool(value) => write!(text, "{value}").ok(),
        Json::Number(Number::Integer(value)) => write!(text, "{value}").ok(),
        Json::Number(Number::Large(value)) => write!(text, "{value}").ok(),
        Json::Number(Number::Float(value)) => write!(text, "{value}").ok(),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Removes from the trailers of a request what would be a header by another door.
pub(super) fn clean_trailers(trailers: &mut HeaderMap, is_gone: impl Fn(&HeaderName) -> bool) {
    remove_where(trailers, |name| *name == TRAILER || is_gone(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_cannot_break_out() {
        let value = |json: &str| {
            claim_value(&Json::read(json.as_bytes()).unwrap()).map(|value| value.to_str().unwrap().to_owned())
        };
        for (json, expected) in [
            (r#""auth0|7""#, Some("auth0|7")),
            (r#""a b""#, Some("a b")),
            (r#""a\r\nX-Admin: 1""#, Some("a%0D%0AX-Admin: 1")),
            (r#""é%""#, Some("%C3%A9%25")),
            (r#"["read:items","a b"]"#, Some("read:items a%20b")),
            ("[]", Some("")),
            ("7", Some("7")),
            ("true", Some("true")),
            ("null", None),
            (r#"{"a":1}"#, None),
            (r#"[{"a":1}]"#, None),
        ] {
            assert_eq!(value(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn connection_cannot_name_away_what_we_need() {
        let sound = |value: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert(CONNECTION, HeaderValue::from_static(value));
            connection_is_sound(&fields)
        };
        assert!(sound("close, x-own"));
        assert!(!sound("Authorization"));
        assert!(!sound("close, HOST"));
    }

    #[test]
    fn named_fields_go() {
        let mut fields = HeaderMap::new();
        fields.append(CONNECTION, HeaderValue::from_static("close, X-Own"));
        fields.insert("x-own", HeaderValue::from_static("1"));
        fields.insert("x-kept", HeaderValue::from_static("1"));
        fields.insert(TE, HeaderValue::from_static("gzip"));
        to_client(&mut fields);
        assert_eq!(
            fields.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-kept"]
        );
    }
}
