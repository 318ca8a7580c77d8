//! Upstreams: their servers, how they are spoken to and checked, and that they are not the gateway itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use http::StatusCode;
use http::uri::PathAndQuery;
use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

use super::super::address::{ServerUrl, reaches};
use super::super::bounds::{SHORTEST, count, period};
use super::super::faults::Fault;
use super::super::file::{Ejection, Health, Upstream, UpstreamServers, UpstreamTls};
use super::super::reader::Placed;
use super::super::source::{Files, beside};
use super::{DAY, HOUR, MINUTE, Own};
use crate::definition::Place;
use crate::net::{Alpn, ClientTls, PemIdentity, TrustError};
use crate::snapshot::{
    self, EjectionPlan, HealthPlan, ServerAddress, TlsFiles, UpstreamPlan, UpstreamProtocol, WaitingPlan,
};

/// The longest path that a socket in the file system can have.
const LONGEST_SOCKET_PATH: usize = 107;

/// The upstream of one API.
pub(super) fn upstream(
    written: &Placed<Upstream>,
    own: &Own,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> UpstreamPlan {
    let (servers, settings) = match &written.value {
        Upstream::Url(url) => {
            let url = Placed {
                place: written.place.clone(),
                value: url.clone(),
            };
            (servers(std::slice::from_ref(&url), own, faults), None)
        }
        Upstream::Servers(upstream) => (servers(&upstream.servers, own, faults), Some(upstream)),
    };
    let (servers, is_https) = servers;
    let mut plan = UpstreamPlan::to(servers);
    if let Some(settings) = settings {
        if settings.http2.unwrap_or(false) {
            plan.protocol = UpstreamProtocol::Http2;
        }
        times(settings, &mut plan, faults);
        plan.health = settings.health.as_ref().and_then(|health| checks(health, faults));
        plan.ejection = ejection(settings.ejection.as_ref(), faults);
    }
    let tls = settings.and_then(|settings| settings.tls.as_ref());
    if is_https {
        plan.tls = client(
            &written.place,
            tls.map(|tls| &tls.value),
            plan.protocol,
            files,
            faults,
        );
    } else if let Some(tls) = tls {
        faults.push(Fault::new(
            &tls.place,
            "`tls` is of use with https:// servers only",
        ));
    }
    plan
}

fn times(settings: &UpstreamServers, plan: &mut UpstreamPlan, faults: &mut Vec<Fault>) {
    let connect = settings.connect_timeout.as_ref();
    plan.connect_timeout = period(
        "connect_timeout",
        connect,
        plan.connect_timeout,
        (SHORTEST, MINUTE),
        faults,
    );
    let head = settings.timeout.as_ref();
    plan.timeout = period("timeout", head, plan.timeout, (SHORTEST, HOUR), faults);
    let idle = settings.idle_timeout.as_ref();
    plan.idle_timeout = period("idle_timeout", idle, plan.idle_timeout, (SHORTEST, DAY), faults);
    let default = WaitingPlan::default();
    let requests = settings.max_waiting.as_ref();
    let timeout = settings.waiting_timeout.as_ref();
    plan.waiting = WaitingPlan {
        requests: count("max_waiting", requests, default.requests, (0, 65_535), faults),
        timeout: period(
            "waiting_timeout",
            timeout,
            default.timeout,
            (SHORTEST, MINUTE),
            faults,
        ),
    };
}

/// The servers, and whether they are `https`.
fn servers(written: &[Placed<String>], own: &Own, faults: &mut Vec<Fault>) -> (Vec<ServerAddress>, bool) {
    let mut servers: Vec<ServerAddress> = Vec::new();
    let mut is_https = None;
    for url in written {
        let Some((server, https)) = server(url, own, faults) else {
            continue;
        };
        if servers.contains(&server) {
            let message = format!("`{}` is twice in `servers`", url.value);
            faults.push(Fault::new(&url.place, message));
            continue;
        }
        if *is_https.get_or_insert(https) != https {
            let message = format!("`{}`: either all servers are https:// or none is", url.value);
            faults.push(Fault::new(&url.place, message));
        }
        servers.push(server);
    }
    (servers, is_https.unwrap_or(false))
}

fn server(url: &Placed<String>, own: &Own, faults: &mut Vec<Fault>) -> Option<(ServerAddress, bool)> {
    let mut refuse = |rule: &str| {
        faults.push(Fault::new(&url.place, format!("upstream `{}` {rule}", url.value)));
        None
    };
    let address = match ServerUrl::parse(&url.value) {
        Ok(ServerUrl::Web(address)) => address,
        Ok(ServerUrl::Unix(path)) => {
            let path = beside(&url.place, path);
            if path.as_os_str().len() > LONGEST_SOCKET_PATH {
                return refuse("is longer than the path of a socket can be");
            }
            return Some((ServerAddress::Unix(path), false));
        }
        Err(rule) => {
            let fault = Fault::new(&url.place, format!("upstream `{}` {rule}", url.value));
            faults.push(fault.with_hint("http://host:port, https://host:port or unix:PATH"));
            return None;
        }
    };
    let port = address.port.unwrap_or(if address.https { 443 } else { 80 });
    let reached = |socket: &SocketAddr| reaches(&address.host, port, *socket);
    if address.path != "/" || address.has_query {
        refuse("must not have a path or a query: paths are forwarded as they come")
    } else if own.admin.as_ref().is_some_and(reached) {
        refuse("is the admin listener of this gateway")
    } else if own.listeners.iter().any(reached) {
        refuse("is a listener of this gateway: requests would go round in circles")
    } else {
        Some((ServerAddress::tcp(address.host, port), address.https))
    }
}

fn checks(written: &Health, faults: &mut Vec<Fault>) -> Option<HealthPlan> {
    let path = match written.path.value.parse::<PathAndQuery>() {
        Ok(path) if written.path.value.starts_with('/') && !written.path.value.contains('#') => Some(path),
        _ => {
            let message = format!("`path` cannot be `{}`", written.path.value);
            faults.push(Fault::new(&written.path.place, message).with_hint("such as /healthz"));
            None
        }
    };
    let second = Duration::from_secs(1);
    let interval = written.interval.as_ref();
    let interval = period("interval", interval, second * 10, (second / 10, HOUR), faults);
    let timeout = written.timeout.as_ref();
    let timeout = period(
        "timeout",
        timeout,
        (second * 2).min(interval),
        (SHORTEST, MINUTE),
        faults,
    );
    let mut statuses = Vec::new();
    for status in written.statuses.iter().flatten() {
        let code = u16::try_from(status.value)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok());
        match code.filter(|code| (200..600).contains(&code.as_u16())) {
            Some(code) => statuses.push(code),
            None => {
                let message = format!("`statuses` cannot have {}; it must be 200 to 599", status.value);
                faults.push(Fault::new(&status.place, message));
            }
        }
    }
    Some(HealthPlan {
        path: path?,
        interval,
        timeout,
        healthy: count("healthy", written.healthy.as_ref(), 2, (1, 100), faults),
        unhealthy: count("unhealthy", written.unhealthy.as_ref(), 3, (1, 100), faults),
        statuses,
    })
}

fn ejection(written: Option<&Ejection>, faults: &mut Vec<Fault>) -> EjectionPlan {
    let default = EjectionPlan::default();
    let Some(written) = written else { return default };
    let time = period(
        "time",
        written.time.as_ref(),
        default.time,
        (SHORTEST, HOUR),
        faults,
    );
    EjectionPlan {
        failures: count(
            "failures",
            written.failures.as_ref(),
            default.failures,
            (0, 10_000),
            faults,
        ),
        time,
        max_time: period(
            "max_time",
            written.max_time.as_ref(),
            default.max_time.max(time),
            (time, DAY),
            faults,
        ),
    }
}

/// The TLS client of `https` servers.
fn client(
    upstream: &Place,
    written: Option<&UpstreamTls>,
    protocol: UpstreamProtocol,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Arc<snapshot::UpstreamTls>> {
    let before = faults.len();
    let ca = written.and_then(|tls| tls.ca.as_ref());
    let certificate = written.and_then(|tls| tls.certificate.as_ref());
    let key = written.and_then(|tls| tls.private_key.as_ref());
    match (certificate, key) {
        (Some(lonely), None) => {
            faults.push(Fault::new(
                &lonely.place,
                "`certificate` is of no use without `private_key`",
            ));
        }
        (None, Some(lonely)) => {
            faults.push(Fault::new(
                &lonely.place,
                "`private_key` is of no use without `certificate`",
            ));
        }
        _ => {}
    }
    let server_name = written.and_then(|tls| tls.server_name.as_ref());
    if let Some(name) = server_name
        && ServerName::try_from(name.value.as_str()).is_err()
    {
        let message = format!("`server_name` cannot be `{}`: it is no host name", name.value);
        faults.push(Fault::new(&name.place, message));
    }
    let ca_pem = read(ca, files, faults);
    let certificate_pem = read(certificate, files, faults);
    let key_pem = read(key, files, faults);
    if faults.len() > before {
        return None;
    }
    let identity = certificate_pem.iter().zip(&key_pem).next();
    let identity = identity.map(|(certificates, private_key)| PemIdentity {
        certificates,
        private_key,
    });
    let alpn = match protocol {
        UpstreamProtocol::Http1 => Alpn::Http1,
        UpstreamProtocol::Http2 => Alpn::Http2,
    };
    let client = ClientTls::from_pem(ca_pem.as_ref().map(|pem| pem.as_slice()), identity, alpn);
    let place = |written: Option<&Placed<String>>| written.map_or(upstream, |written| &written.place).clone();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            let place = match error {
                TrustError::Authorities(_) | TrustError::File { .. } => place(ca),
                TrustError::Certificate(_) => place(certificate),
                TrustError::PrivateKey(_) => place(key),
                TrustError::System(_) | TrustError::Tls(_) => upstream.clone(),
            };
            faults.push(Fault::new(&place, error.to_string()));
            return None;
        }
    };
    Some(Arc::new(snapshot::UpstreamTls {
        identity: identity_of(&[&ca_pem, &certificate_pem, &key_pem], alpn),
        client: client.config(),
        server_name: server_name.map(|name| name.value.clone()),
        files: TlsFiles {
            ca: ca.map(path),
            certificate: certificate.map(path),
            private_key: key.map(path),
        },
    }))
}

fn path(written: &Placed<String>) -> PathBuf {
    beside(&written.place, &written.value)
}

fn read(
    written: Option<&Placed<String>>,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Zeroizing<Vec<u8>>> {
    let written = written?;
    files.content(&path(written), &written.place, faults)
}

/// A digest over everything that a client is made of.
fn identity_of(parts: &[&Option<Zeroizing<Vec<u8>>>], alpn: Alpn) -> [u8; 32] {
    let mut all = digest::Context::new(&digest::SHA256);
    all.update(format!("{alpn:?}").as_bytes());
    for part in parts {
        // Its own digest, so that no two lists of parts run together; nothing where there is none.
        match part {
            Some(part) => all.update(digest::digest(&digest::SHA256, part).as_ref()),
            None => all.update(&[0]),
        }
    }
    let mut identity = [0; 32];
    for (to, from) in identity.iter_mut().zip(all.finish().as_ref()) {
        *to = *from;
    }
    identity
}
