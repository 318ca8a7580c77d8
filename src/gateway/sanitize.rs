//! Reads the head of a request once, and refuses what could be read twice.
//!
//! The message has been parsed by now; here stands what it lets through (RFC 9112 sections 3.2 and 6.1, RFC 9113
//! section 8.3.1): odd forms of the target, missing or repeated or disagreeing hosts, odd transfer codings, header names
//! that some upstreams fold into others. Nothing is repaired.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::client::Connection;
use super::headers;
use crate::net::Limits;
use crate::policy::{Reason, RequestHead};
use crate::token::{Exchange, Thumbprint};

/// A head that has one reading.
#[derive(Clone, Copy, Debug)]
pub struct SanitizedHead<'a> {
    parts: &'a Parts,
    authority: &'a str,
    /// `None` where nothing was sent.
    connection: Option<&'a Connection>,
    /// What came of the API key in it, where that was found out for this very request.
    exchange: Option<&'a Exchange>,
}

impl<'a> SanitizedHead<'a> {
    /// Checks a head. The reason is one of those of the request itself.
    pub fn read(parts: &'a Parts, limits: &Limits) -> Result<Self, Reason> {
        if parts.method == Method::CONNECT {
            return Err(Reason::MethodNotAllowed);
        }
        if parts.version < Version::HTTP_11 {
            return Err(Reason::BadRequest);
        }
        let target_bytes = parts
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        if target_bytes > limits.uri_bytes {
            return Err(Reason::UriTooLong);
        }
        let said = check_fields(&parts.headers, limits)?;
        check_framing(parts, &said)?;
        Ok(Self {
            parts,
            authority: authority(parts)?,
            connection: None,
            exchange: None,
        })
    }

    /// The host that is asked for, with its port where it has one.
    pub(super) fn authority(&self) -> &'a str {
        self.authority
    }

    /// The same head, on the connection that it came on.
    pub(super) fn on(self, connection: &'a Connection) -> Self {
        Self {
            connection: Some(connection),
            ..self
        }
    }

    /// The same head, with what came of the API key in it.
    pub(super) fn with_exchange(self, exchange: &'a Exchange) -> Self {
        Self {
            exchange: Some(exchange),
            ..self
        }
    }

    pub(super) fn exchange(&self) -> Option<&'a Exchange> {
        self.exchange
    }

    /// The client: the peer, or whoever a trusted proxy speaks for.
    pub(super) fn client_address(&self) -> IpAddr {
        self.connection
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| {
                connection.origin(&self.parts.headers).address
            })
    }

    /// The certificate that the client has shown, to us or to whoever may say so.
    pub(super) fn certificate(&self) -> Option<Thumbprint> {
        self.connection?.certificate(&self.parts.headers)
    }

    /// What `decide` looks at.
    pub fn request_head(&self) -> RequestHead<'a> {
        RequestHead {
            method: &self.parts.method,
            authority: self.authority,
            path: self.parts.uri.path(),
            query: self.parts.uri.query(),
            headers: &self.parts.headers,
        }
    }
}

/// `Host` for the upstream, where the request itself has none: HTTP/2 has `:authority` instead.
pub(super) fn host_value(parts: &Parts) -> Option<HeaderValue> {
    parts
        .uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
}

/// How often the fields are there that say where a message ends, or name others.
#[derive(Default)]
struct Said {
    lengths: usize,
    codings: usize,
    options: usize,
}

fn check_fields(fields: &HeaderMap, limits: &Limits) -> Result<Said, Reason> {
    let mut bytes = 0;
    let mut said = Said::default();
    for (name, value) in fields {
        // Name, colon, space, value, line end.
        bytes += name.as_str().len() + value.len() + 4;
        // `X_User` becomes `X-User` in CGI-like upstreams, so a name with `_` can pass for a header of ours.
        if name.as_str().as_bytes().contains(&b'_') {
            return Err(Reason::BadRequest);
        }
        // RFC 9110 section 10.1.1.
        if *name == EXPECT && !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(Reason::ExpectationFailed);
        }
        said.lengths += usize::from(*name == CONTENT_LENGTH);
        said.codings += usize::from(*name == TRANSFER_ENCODING);
        said.options += usize::from(*name == CONNECTION);
    }
    if bytes > limits.header_bytes || fields.len() > limits.headers {
        return Err(Reason::HeadersTooLarge);
    }
    Ok(said)
}

fn check_framing(parts: &Parts, said: &Said) -> Result<(), Reason> {
    let has_one_reading = match said.codings {
        0 => said.lengths <= 1,
        1 => {
            let coding = parts.headers.get(TRANSFER_ENCODING).map(HeaderValue::as_bytes);
            said.lengths == 0
                && parts.version == Version::HTTP_11
                && coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
        }
        _ => false,
    };
    // Naming a header that we set or need would remove it behind our back.
    if has_one_reading && (said.options == 0 || headers::connection_is_sound(&parts.headers)) {
        Ok(())
    } else {
        Err(Reason::BadRequest)
    }
}

/// The one authority: target and `Host` must not disagree, and there must be exactly one of each kind that is needed.
fn authority(parts: &Parts) -> Result<&str, Reason> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Reason::BadRequest);
    }
    let host = host
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_not_visible| Reason::BadRequest)?;
    let is_http2 = parts.version == Version::HTTP_2;
    let target = parts.uri.authority().map(http::uri::Authority::as_str);
    // Without a scheme an authority is the authority form (`GET example.com:80`), which is for CONNECT alone.
    let has_known_scheme = parts
        .uri
        .scheme_str()
        .is_none_or(|scheme| scheme == "http" || scheme == "https");
    if !has_known_scheme
        || (target.is_some() && parts.uri.scheme().is_none())
        || !parts.uri.path().starts_with('/')
    {
        return Err(Reason::BadRequest);
    }
    match (target, host) {
        (Some(target), Some(host)) if target.eq_ignore_ascii_case(host) => Ok(target),
        (Some(target), None) if is_http2 => Ok(target),
        (None, Some(host)) => Ok(host),
        _ => Err(Reason::BadRequest),
    }
}

/// Whether a name is one that a trailer section must not carry (RFC 9110 section 6.5.1).
pub(super) fn is_forbidden_trailer(name: &HeaderName) -> bool {
    headers::is_hop_by_hop(name)
        || headers::is_ours(name)
        || matches!(
            name.as_str(),
            "authorization"
                | "host"
                | "content-length"
                | "content-type"
                | "content-encoding"
                | "content-range"
                | "cookie"
                | "expect"
                | "range"
                | "max-forwards"
        )
}
