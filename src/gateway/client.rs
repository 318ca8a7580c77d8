//! Who the client of a request is: the peer of the connection, or whoever a trusted proxy speaks for.
//!
//! What can be known of a connection is found out once, when it opens. What a peer that is not trusted writes into
//! `Forwarded` or `X-Forwarded-*` is never looked at. Of a trusted peer the addresses are read from the right, through
//! trusted proxies, up to the first that is not one: that is the client, and what stands left of it is anybody's
//! invention and goes no further. Addresses are addresses; a name is never resolved.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::certificate::CertificateField;
use super::outgoing::Added;
use super::request_id::RequestId;
use super::trace::Trace;
use crate::net::{InterimAnswers, TlsPeer, TrustedProxies};
use crate::policy::Host;
use crate::token::Thumbprint;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header fields in which proxies tell whom they speak for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedFields {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-*` is read, both are written.
    Both,
}

/// What is known of a client's connection; made once per connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The peer, or whom a PROXY header named in its place.
    pub peer: SocketAddr,
    /// `None`: cleartext. With the client's certificate, where it has shown one.
    pub tls: Option<TlsPeer>,
    address: IpAddr,
    address_value: HeaderValue,
    scheme: &'static str,
    fields: ForwardedFields,
    /// Only where the peer itself is one of them.
    proxies: Option<TrustedProxies>,
    /// Only where the peer may pass certificates on.
    certificate_field: Option<CertificateField>,
    /// Of the certificate that the peer has shown; digested once, and only where it is asked for.
    shown: OnceCell<Option<Thumbprint>>,
    /// `None` where no interim answer can be sent.
    interim: Option<InterimAnswers>,
}

/// Where one request comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The client.
    pub(super) address: IpAddr,
    /// Only where a trusted proxy speaks for the client.
    told: Option<Box<Told>>,
}

/// Everything of a request that is about where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Provenance {
    pub(super) connection: Rc<Connection>,
    pub(super) origin: Origin,
    pub(super) trace: Trace,
}

/// What a trusted proxy says of a request.
#[derive(Clone, Debug)]
struct Told {
    /// From the client on; without the peer.
    path: Vec<IpAddr>,
    scheme: Option<&'static str>,
    host: Option<HeaderValue>,
}

impl Connection {
    /// A connection of `peer`. `proxies` may speak for others, in `fields`.
    pub fn new(
        peer: SocketAddr,
        tls: Option<TlsPeer>,
        proxies: &TrustedProxies,
        fields: ForwardedFields,
    ) -> Self {
        let address = peer.ip().to_canonical();
        Self {
            peer,
            address,
            address_value: value_of(&address.to_string()),
            scheme: if tls.is_some() { "https" } else { "http" },
            tls,
            fields,
            proxies: proxies.contains(address).then(|| proxies.clone()),
            certificate_field: None,
            shown: OnceCell::new(),
            interim: None,
        }
    }

    /// The same, where trusted proxies pass the certificates of their clients on in this field.
    pub fn with_certificate_field(self, field: Option<CertificateField>) -> Self {
        Self {
            certificate_field: field.filter(|_| self.proxies.is_some()),
            ..self
        }
    }

    /// The same, where the client can be sent interim answers.
    pub fn with_interim_answers(self, interim: Option<InterimAnswers>) -> Self {
        Self { interim, ..self }
    }

    /// Where interim answers to the request at hand go; `None`: nowhere.
    pub(super) fn interim(&self) -> Option<&InterimAnswers> {
        self.interim.as_ref()
    }

    /// The certificate of the client of a request with these fields.
    pub(super) fn certificate(&self, fields: &HeaderMap) -> Option<Thumbprint> {
        if let Some(field) = self.certificate_field {
            return field.read(fields);
        }
        *self.shown.get_or_init(|| {
            let certificate = self.tls.as_ref()?.client_certificate.as_ref()?;
            Some(Thumbprint::of(certificate))
        })
    }

    /// The id that a trusted peer has given to a request.
    pub(super) fn given_id(&self, fields: &HeaderMap) -> Option<RequestId> {
        self.proxies.as_ref()?;
        let mut values = fields.get_all(X_REQUEST_ID).iter();
        let given = values.next().and_then(RequestId::given);
        given.filter(|_| values.next().is_none())
    }

    /// Whether a request for this authority belongs on another connection (RFC 9110 section 15.5.20).
    pub(super) fn is_misdirected(&self, authority: &str) -> bool {
        let Some(tls) = self.tls.as_ref().filter(|tls| tls.identities.are_several()) else {
            return false;
        };
        // What is no host at all is refused as such.
        Host::read(authority).is_ok_and(|host| {
            tls.identities
                .is_misdirected(tls.server_name.as_deref(), host.as_str())
        })
    }

    /// Where a request with these fields comes from.
    pub(super) fn origin(&self, fields: &HeaderMap) -> Origin {
        let told = self.proxies.as_ref().map(|proxies| {
            let (named, scheme, host) = match self.fields {
                ForwardedFields::XForwarded | ForwardedFields::Both => x_forwarded(fields),
                ForwardedFields::Forwarded => forwarded(fields),
            };
            Box::new(Told {
                path: path(named, proxies),
                scheme,
                host,
            })
        });
        Origin {
            address: told
                .as_ref()
                .and_then(|told| told.path.first().copied())
                .unwrap_or(self.address),
            told,
        }
    }

    /// Tells the upstream where a request comes from. `fields` are without what the client wrote of that, and have the
    /// `Host` that the upstream will see.
    fn write(&self, origin: &Origin, fields: &HeaderMap, added: &mut Added) {
        let told = origin.told.as_deref();
        let path = told.map_or(&[][..], |told| &told.path);
        let scheme = told.and_then(|told| told.scheme).unwrap_or(self.scheme);
        let host = told
            .and_then(|told| told.host.as_ref())
            .or_else(|| fields.get(HOST));
        if self.fields != ForwardedFields::XForwarded {
            let host = host.and_then(|host| host.to_str().ok());
            added.push(&FORWARDED, &self.forwarded_value(path, scheme, host));
        }
        if self.fields != ForwardedFields::Forwarded {
            let told;
            let addresses = match path {
                [] => &self.address_value,
                path => {
                    let mut text = String::new();
                    for address in path {
                        // Writing to a String cannot fail.
                        let _ = write!(text, "{address}, ");
                    }
                    let _ = write!(text, "{}", self.address);
                    told = value_of(&text);
                    &told
                }
            };
            if let Some(host) = host {
                added.push(&X_FORWARDED_HOST, host);
            }
            added.push(&X_FORWARDED_FOR, addresses);
            added.push_visible(&X_FORWARDED_PROTO, scheme.as_bytes());
        }
    }

    /// One element per hop; the first has what the client asked for (RFC 7239 section 4).
    fn forwarded_value(&self, path: &[IpAddr], scheme: &str, host: Option<&str>) -> HeaderValue {
        let mut text = String::new();
        for (index, address) in path.iter().chain([&self.address]).enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            // Writing to a String cannot fail.
            let _ = match address {
                IpAddr::V4(address) => write!(text, "{separator}for={address}"),
                IpAddr::V6(address) => write!(text, "{separator}for=\"[{address}]\""),
            };
            if index == 0 {
                let _ = write!(text, ";proto={scheme}");
                if let Some(host) = host.filter(|host| Host::read(host).is_ok()) {
                    let _ = write!(text, ";host=\"{host}\"");
                }
            }
        }
        value_of(&text)
    }
}

impl Provenance {
    /// Of a request with these fields; `random` is for a trace that begins here.
    pub(super) fn of(connection: &Rc<Connection>, fields: &HeaderMap, random: impl FnMut() -> u64) -> Self {
        Self {
            origin: connection.origin(fields),
            trace: Trace::of(fields, random),
            connection: Rc::clone(connection),
        }
    }

    /// Tells the upstream: see [`Connection::write`].
    pub(super) fn write(&self, fields: &HeaderMap, added: &mut Added) {
        self.connection.write(&self.origin, fields, added);
        self.trace.write(added);
    }
}

fn value_of(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// What a chain of proxies names, from the right up to the client, in the order of the way.
fn path(named: Vec<Option<IpAddr>>, proxies: &TrustedProxies) -> Vec<IpAddr> {
    let mut path = Vec::new();
    for address in named.into_iter().rev() {
        let Some(address) = address else { break };
        path.push(address);
        if !proxies.contains(address) {
            break;
        }
    }
    path.reverse();
    path
}

/// The addresses (`None`: something else), the scheme and the host that were told.
type Named = (Vec<Option<IpAddr>>, Option<&'static str>, Option<HeaderValue>);

fn x_forwarded(fields: &HeaderMap) -> Named {
    let lines = fields.get_all(X_FORWARDED_FOR).iter();
    let named = lines.flat_map(|line| {
        let text = line.to_str().unwrap_or("?");
        text.split(',')
            .map(|entry| address(entry.trim()))
            .collect::<Vec<_>>()
    });
    let scheme = only(fields, &X_FORWARDED_PROTO).and_then(|value| scheme(value.to_str().ok()?));
    let host = only(fields, &X_FORWARDED_HOST)
        .filter(|value| value.to_str().is_ok_and(|host| Host::read(host).is_ok()));
    (named.collect(), scheme, host.cloned())
}

fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = fields.get_all(name).iter();
    let first = values.next();
    first.filter(|_| values.next().is_none())
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"]
        .into_iter()
        .find(|known| text.trim().eq_ignore_ascii_case(known))
}

/// RFC 7239 section 4. Scheme and host are those of the last element: the trusted peer has written it.
fn forwarded(fields: &HeaderMap) -> Named {
    let mut named = Vec::new();
    let (mut last_scheme, mut last_host) = (None, None);
    for line in fields.get_all(FORWARDED) {
        let Some(elements) = line.to_str().ok().and_then(|line| split(line, ',')) else {
            named.push(None);
            continue;
        };
        for element in elements {
            let mut node = None;
            (last_scheme, last_host) = (None, None);
            for pair in split(element, ';').unwrap_or_default() {
                let Some((name, value)) = pair.split_once('=') else {
                    continue;
                };
                let value = unquoted(value.trim());
                match name.trim() {
                    name if name.eq_ignore_ascii_case("for") => node = address(value),
                    name if name.eq_ignore_ascii_case("proto") => last_scheme = scheme(value),
                    name if name.eq_ignore_ascii_case("host") && Host::read(value).is_ok() => {
                        last_host = HeaderValue::from_str(value).ok();
                    }
                    _ => {}
                }
            }
            named.push(node);
        }
    }
    (named, last_scheme, last_host)
}

/// The parts of a text between separators that are not quoted. `None` where a quote does not end, or where one is
/// escaped: nothing that is of use here needs that.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let mut is_quoted = false;
    let parts = text.split(|character| {
        is_quoted ^= character == '"';
        character == separator && !is_quoted
    });
    let parts: Vec<&str> = parts.map(str::trim).collect();
    (!is_quoted && !text.contains('\\')).then_some(parts)
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let plain = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let in_brackets = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<IpAddr>()
            .ok()
            .filter(IpAddr::is_ipv6)
    };
    plain()
        .or_else(with_port)
        .or_else(in_brackets)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests;
