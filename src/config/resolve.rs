//! From what is written to what is meant: mirror → `Settings`.
//!
//! Called by `load_with`. Pure but for what it reads through `Files`. It goes on after a fault, so that one run shows
//! them all; a value that is at fault is replaced by a harmless one that nobody sees.

mod api;
mod api_keys;
mod asked;
#[cfg(feature = "authority")]
mod authority;
mod definition;
mod definitions;
mod dpop;
mod encryption;
mod introspection;
mod issuer;
mod listener;
mod requirement;
mod revocations;
mod route;
mod step_up;
mod trusted;
mod tokens;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::DpopSettings;
use super::address::overlap;
use super::bounds::{SHORTEST, count, period, size};
use super::faults::Fault;
#[cfg(feature = "authority")]
use super::file::Issuer;
use super::file::{self, AccessLog, Admin, File, Identities, Limits, Listener, Timeouts};
use super::source::{Files, beside};
use crate::control::{DefinitionsSettings, IssuerSettings, RevocationSettings};
use crate::gateway::{CertificateField, ForwardedFields};
use crate::net::{self, Expiry, ListenerSettings, TrustedProxies};
use crate::snapshot::{IntrospectionEndpoint, Plan};
use crate::telemetry::{AccessLogOutput, AccessLogSettings};

/// Everything of `Settings` but the files, which are known only at the end.
pub(super) struct Resolved {
    pub(super) listeners: Vec<ListenerSettings>,
    pub(super) expiries: Vec<Expiry>,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) forwarded_fields: ForwardedFields,
    pub(super) client_certificate_field: Option<CertificateField>,
    pub(super) dpop: DpopSettings,
    pub(super) revocations: Option<RevocationSettings>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) workers: Option<NonZeroUsize>,
    pub(super) limits: net::Limits,
    pub(super) timeouts: net::Timeouts,
    pub(super) token_cache_entries: u64,
    pub(super) access_log: AccessLogSettings,
    pub(super) issuers: Vec<IssuerSettings>,
    pub(super) plan: Plan,
    pub(super) definitions: Option<DefinitionsSettings>,
    #[cfg(feature = "authority")]
    pub(super) authority: Option<crate::authority::AuthoritySettings>,
}

/// Resolves a whole file. The result is of use only where no fault was added.
pub(super) fn resolve(file: &File, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> Resolved {
    let trusted_proxies = listener::trusted_proxies(file.trusted_proxies.as_deref(), faults);
    let (listeners, expiries) = listener::listeners(&file.listeners, &trusted_proxies, files, faults);
    let admin = admin(file.admin.as_ref(), &file.listeners, &listeners, faults);
    let workers = file
        .workers
        .as_ref()
        .map(|_| count("workers", file.workers.as_ref(), 1, (1, 1024), faults));
    #[cfg_attr(
        not(feature = "authority"),
        expect(unused_mut, reason = "the authority adds to both")
    )]
    let (mut written, mut expiries) = (file.issuers.clone(), expiries);
    #[cfg(feature = "authority")]
    if let Some(authority) = &file.authority
        && !written
            .iter()
            .any(|issuer| issuer.issuer.value == authority.issuer.value)
    {
        // An issuer like any other, and one that need not be written.
        written.push(Issuer::named(&authority.issuer));
    }
    let issuers = issuer::issuers(&written, files, faults);
    let own = Own {
        listeners: listeners.iter().map(|listener| listener.address).collect(),
        admin,
    };
    #[cfg(feature = "authority")]
    let authority = file.authority.as_ref().and_then(|written| {
        let taken: Vec<SocketAddr> = own.listeners.iter().copied().chain(own.admin).collect();
        let (authority, valid) = authority::authority(written, &taken, files, faults);
        expiries.extend(valid);
        authority
    });
    let endpoints = introspection::endpoints(&written, files, faults);
    let known = Known {
        issuers: &written,
        endpoints: &endpoints,
        own: &own,
    };
    let definitions = file
        .definitions
        .as_ref()
        .and_then(|written| definitions::definitions(written, files, faults));
    #[cfg(feature = "authority")]
    let is_told = file.authority.is_some() || file.definitions.is_some();
    #[cfg(not(feature = "authority"))]
    let is_told = file.definitions.is_some();
    definitions::are_told(&file.apis, is_told, faults);
    let apis = api::apis(&file.apis, &known, files, faults);
    let issuers = issuer::with_sources(issuers, &apis);
    let plan = Plan {
        issuers: issuers.iter().map(|issuer| issuer.issuer.clone()).collect(),
        apis,
    };
    let entries = file.token_cache.as_ref().and_then(|cache| cache.entries.as_ref());
    let client_certificate_field = dpop::certificate_field(file, &trusted_proxies, faults);
    Resolved {
        client_certificate_field,
        dpop: dpop::dpop(file.dpop.as_ref(), files, faults),
        revocations: revocations::revocations(file, files, faults),
        listeners,
        expiries,
        trusted_proxies,
        forwarded_fields: file.forwarded_fields.map(|word| word.0).unwrap_or_default(),
        admin,
        workers: workers.and_then(NonZeroUsize::new),
        limits: limits(file.limits.as_ref(), faults),
        timeouts: timeouts(file.timeouts.as_ref(), faults),
        token_cache_entries: count("entries", entries, 10_000, (0, 10_000_000), faults),
        access_log: access_log(file.access_log.as_ref(), faults),
        issuers,
        plan,
        definitions,
        #[cfg(feature = "authority")]
        authority,
    }
}

/// The sockets that this process itself listens on.
struct Own {
    listeners: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// What APIs are held against.
struct Known<'a> {
    issuers: &'a [file::Issuer],
    endpoints: &'a [Arc<IntrospectionEndpoint>],
    own: &'a Own,
}

fn admin(
    written: Option<&Admin>,
    places: &[Listener],
    listeners: &[ListenerSettings],
    faults: &mut Vec<Fault>,
) -> Option<SocketAddr> {
    let (admin, place) = match written {
        Some(Admin::Off(_)) => return None,
        Some(Admin::At(at)) => (listener::address(&at.address, faults)?, Some(&at.address.place)),
        None => (SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901), None),
    };
    if let Some(other) = listeners.iter().find(|listener| overlap(listener.address, admin)) {
        let place = place.or_else(|| places.first().map(|listener| &listener.address.place));
        let message = format!(
            "the admin listener on {admin} and the listener on {} collide",
            other.address
        );
        faults.extend(place.map(|place| Fault::new(place, message).with_hint("set admin.address")));
    }
    Some(admin)
}

/// 1 TiB: more than anybody means.
const LARGEST_BODY: u64 = 1 << 40;

fn limits(written: Option<&Limits>, faults: &mut Vec<Fault>) -> net::Limits {
    let mut limits = net::Limits::default();
    let Some(written) = written else { return limits };
    let mut bytes = |key, written: Option<&_>, default: usize, bounds| {
        let default_bytes = u64::try_from(default).unwrap_or(u64::MAX);
        usize::try_from(size(key, written, default_bytes, bounds, faults)).unwrap_or(default)
    };
    limits.header_bytes = bytes(
        "header_bytes",
        written.header_bytes.as_ref(),
        limits.header_bytes,
        (1 << 10, 64 << 10),
    );
    limits.uri_bytes = bytes(
        "uri_bytes",
        written.uri_bytes.as_ref(),
        limits.uri_bytes,
        (64, 16 << 10),
    );
    limits.token_bytes = bytes(
        "token_bytes",
        written.token_bytes.as_ref(),
        limits.token_bytes,
        (256, 24 << 10),
    );
    if limits.token_bytes > limits.header_bytes {
        if let Some(token_bytes) = &written.token_bytes {
            let message = "`token_bytes` is more than `header_bytes`, which has to hold the token";
            faults.push(Fault::new(&token_bytes.place, message));
        }
        limits.token_bytes = limits.header_bytes;
    }
    let body = written.body_bytes.as_ref();
    limits.body_bytes = size("body_bytes", body, limits.body_bytes, (1, LARGEST_BODY), faults);
    let rate = written.body_rate.as_ref();
    let rate = size("body_rate", rate, limits.body_rate.into(), (0, 1 << 20), faults);
    limits.body_rate = u32::try_from(rate).unwrap_or(limits.body_rate);
    let rate = written.response_rate.as_ref();
    let rate = size(
        "response_rate",
        rate,
        limits.response_rate.into(),
        (0, 1 << 20),
        faults,
    );
    limits.response_rate = u32::try_from(rate).unwrap_or(limits.response_rate);
    counts(written, &mut limits, faults);
    limits
}

fn counts(written: &Limits, limits: &mut net::Limits, faults: &mut Vec<Fault>) {
    limits.headers = count(
        "headers",
        written.headers.as_ref(),
        limits.headers,
        (1, 200),
        faults,
    );
    let connections = written.connections.as_ref();
    limits.connections = count(
        "connections",
        connections,
        limits.connections,
        (1, 100_000),
        faults,
    );
    let per_address = written.connections_per_address.as_ref();
    limits.connections_per_address =
        per_address.map(|_| count("connections_per_address", per_address, 1, (1, 100_000), faults));
    let requests = written.requests_per_connection.as_ref();
    limits.requests_per_connection = count(
        "requests_per_connection",
        requests,
        limits.requests_per_connection,
        (1, 1_000_000_000),
        faults,
    );
    let resets = written.http2_resets.as_ref();
    limits.http2_resets = count("http2_resets", resets, limits.http2_resets, (1, 100_000), faults);
    let streams = written.http2_streams.as_ref();
    limits.http2_streams = count("http2_streams", streams, limits.http2_streams, (1, 250), faults);
    let upstream = written.upstream_connections.as_ref();
    limits.upstream_connections = count(
        "upstream_connections",
        upstream,
        limits.upstream_connections,
        (1, 65_535),
        faults,
    );
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn timeouts(written: Option<&Timeouts>, faults: &mut Vec<Fault>) -> net::Timeouts {
    let mut timeouts = net::Timeouts::default();
    let Some(written) = written else { return timeouts };
    let short = (SHORTEST, MINUTE);
    let long = (SHORTEST, HOUR);
    timeouts.first_byte = period(
        "first_byte",
        written.first_byte.as_ref(),
        timeouts.first_byte,
        short,
        faults,
    );
    let handshake = (SHORTEST, MINUTE / 2);
    timeouts.handshake = period(
        "handshake",
        written.handshake.as_ref(),
        timeouts.handshake,
        handshake,
        faults,
    );
    timeouts.header = period("header", written.header.as_ref(), timeouts.header, short, faults);
    timeouts.idle = period("idle", written.idle.as_ref(), timeouts.idle, long, faults);
    timeouts.connection_age = period(
        "connection_age",
        written.connection_age.as_ref(),
        timeouts.connection_age,
        (SHORTEST, DAY * 30),
        faults,
    );
    timeouts.body = period("body", written.body.as_ref(), timeouts.body, long, faults);
    let stream_idle = written.stream_idle.as_ref();
    timeouts.stream_idle = period(
        "stream_idle",
        stream_idle,
        timeouts.stream_idle,
        (SHORTEST, DAY),
        faults,
    );
    timeouts.drain = period("drain", written.drain.as_ref(), timeouts.drain, long, faults);
    let pre_drain = (Duration::ZERO, HOUR);
    timeouts.pre_drain = period(
        "pre_drain",
        written.pre_drain.as_ref(),
        timeouts.pre_drain,
        pre_drain,
        faults,
    );
    timeouts
}

fn access_log(written: Option<&AccessLog>, faults: &mut Vec<Fault>) -> AccessLogSettings {
    let output = written.and_then(|log| log.output.as_ref());
    let output = output.map_or(AccessLogOutput::Stdout, |output| match output.value.as_str() {
        "stdout" => AccessLogOutput::Stdout,
        "stderr" => AccessLogOutput::Stderr,
        "off" => AccessLogOutput::Off,
        path => AccessLogOutput::File(beside(&output.place, path)),
    });
    let identities = written.and_then(|log| log.identities);
    let denials = written.and_then(|log| log.denials_per_second.as_ref());
    let usual = AccessLogSettings::default().denials_per_second;
    AccessLogSettings {
        denials_per_second: count("denials_per_second", denials, usual, (0, 1_000_000), faults),
        output,
        plain_identities: identities.is_some_and(|word| word.0 == Identities::Plain),
    }
}
