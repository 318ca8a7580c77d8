//! Listeners: their addresses, their TLS, and which peers speak for others.
//!
//! The files of a listener's TLS are read and tried here, so that a bad pair is a fault like any other, with the place
//! where it is named. What is served is read anew by `control`, at the start and with every change.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::super::address::{overlap, socket};
use super::super::faults::Fault;
use super::super::file::{Listener, Tls};
use super::super::reader::Placed;
use super::super::source::{Files, beside};
use crate::net::{
    ClientCertificate, Contents, Expiry, ListenerSettings, PairFiles, ServerTls, TlsFile, TlsSettings,
    TrustedProxies,
};

/// The most peers or networks in `trusted_proxies`.
const MOST_PROXIES: usize = 256;
/// The most pairs of one listener.
const MOST_PAIRS: usize = 64;

/// Every listener, and until when the certificates of all of them are valid.
pub(super) fn listeners(
    written: &[Listener],
    trusted: &TrustedProxies,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> (Vec<ListenerSettings>, Vec<Expiry>) {
    let mut listeners: Vec<ListenerSettings> = Vec::with_capacity(written.len());
    let mut expiries = Vec::new();
    for listener in written {
        let Some(address) = address(&listener.address, faults) else {
            continue;
        };
        if let Some(other) = listeners.iter().find(|other| overlap(other.address, address)) {
            let message = format!("{address} is already taken by the listener on {}", other.address);
            faults.push(Fault::new(&listener.address.place, message));
        }
        if let Some(proxy_protocol) = listener.proxy_protocol.as_ref().filter(|_| trusted.is_empty()) {
            let message = "`proxy_protocol` needs `trusted_proxies`: from nobody else a header is accepted";
            let hint = "list the addresses of the proxies in front";
            faults.push(Fault::new(&proxy_protocol.place, message).with_hint(hint));
        }
        let http2 = listener.http2.unwrap_or(listener.tls.is_some());
        let tls = listener.tls.as_ref().and_then(|written| {
            let (settings, valid) = tls(written, http2, files, faults)?;
            expiries.extend(valid);
            Some(settings)
        });
        listeners.push(ListenerSettings {
            address,
            http2,
            tls,
            proxy_protocol: listener.proxy_protocol.as_ref().map(|versions| versions.value.0),
        });
    }
    (listeners, expiries)
}

/// TLS of a listener, and until when its certificates are valid.
pub(super) fn tls(
    written: &Placed<Tls>,
    http2: bool,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<(TlsSettings, Vec<Expiry>)> {
    let settings = tls_settings(written, faults)?;
    let expiries = tried(written, &settings, http2, files, faults);
    Some((settings, expiries))
}

/// A socket address.
pub(super) fn address(written: &Placed<String>, faults: &mut Vec<Fault>) -> Option<SocketAddr> {
    socket(&written.value)
        .map_err(|hint| {
            let message = format!("`address` cannot be `{}`", written.value);
            faults.push(Fault::new(&written.place, message).with_hint(hint));
        })
        .ok()
}

/// Addresses and networks.
pub(super) fn trusted_proxies(written: Option<&[Placed<String>]>, faults: &mut Vec<Fault>) -> TrustedProxies {
    let written = written.unwrap_or_default();
    if let Some(first_too_many) = written.get(MOST_PROXIES) {
        let message = format!(
            "there are {} entries in `trusted_proxies`; the most is {MOST_PROXIES}",
            written.len()
        );
        faults.push(Fault::new(&first_too_many.place, message));
    }
    let networks = written.iter().filter_map(|entry| {
        let network = network(&entry.value);
        if network.is_none() {
            let message = format!("`{}` is neither an IP address nor a network", entry.value);
            let hint = "such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32, without bits beyond the prefix";
            faults.push(Fault::new(&entry.place, message).with_hint(hint));
        }
        network
    });
    TrustedProxies::new(networks.collect())
}

/// A network written with bits beyond its prefix is most likely not the one that was meant.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    text.parse::<IpNet>()
        .ok()
        .filter(|network| network.trunc() == *network)
}

fn tls_settings(written: &Placed<Tls>, faults: &mut Vec<Fault>) -> Option<TlsSettings> {
    let tls = &written.value;
    let pair = |certificate: &Placed<String>, private_key: &Placed<String>| PairFiles {
        certificate: beside(&certificate.place, &certificate.value),
        private_key: beside(&private_key.place, &private_key.value),
    };
    let mut pairs = vec![pair(&tls.certificate, &tls.private_key)];
    if let Some(further) = &tls.certificates {
        if further.value.len() >= MOST_PAIRS {
            let message = format!("there are {} further pairs; the most is 63", further.value.len());
            faults.push(Fault::new(&further.place, message));
            return None;
        }
        pairs.extend(
            further
                .value
                .iter()
                .map(|further| pair(&further.certificate, &further.private_key)),
        );
    }
    let client_certificate = match (&tls.client_certificate, &tls.client_ca) {
        (Some(asked), None) if asked.value.0 != ClientCertificate::Off => {
            let message = "client certificates cannot be checked without `client_ca`";
            faults.push(Fault::new(&asked.place, message).with_hint("name the file of their authorities"));
            return None;
        }
        (Some(asked), _) => asked.value.0,
        // Whoever names an authority means to check.
        (None, Some(_)) => ClientCertificate::Required,
        (None, None) => ClientCertificate::Off,
    };
    Some(TlsSettings {
        pairs,
        client_ca: tls.client_ca.as_ref().map(|ca| beside(&ca.place, &ca.value)),
        client_certificate,
        min_version: tls.min_version.map(|word| word.0).unwrap_or_default(),
    })
}

/// Reads and tries the files.
fn tried(
    written: &Placed<Tls>,
    settings: &TlsSettings,
    http2: bool,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<Expiry> {
    let tls = &written.value;
    let further = tls.certificates.as_ref().map(|further| further.value.as_slice());
    let further = further.unwrap_or_default();
    let place_of = |file: TlsFile| match file {
        TlsFile::Certificate(0) => Some(&tls.certificate),
        TlsFile::PrivateKey(0) => Some(&tls.private_key),
        TlsFile::Certificate(index) => further.get(index.wrapping_sub(1)).map(|pair| &pair.certificate),
        TlsFile::PrivateKey(index) => further.get(index.wrapping_sub(1)).map(|pair| &pair.private_key),
        TlsFile::ClientCa => tls.client_ca.as_ref(),
    };
    let named = [&tls.certificate, &tls.private_key]
        .into_iter()
        .chain(
            further
                .iter()
                .flat_map(|pair| [&pair.certificate, &pair.private_key]),
        )
        .chain(&tls.client_ca);
    let mut contents = Contents::new();
    let before = faults.len();
    for name in named {
        let path = beside(&name.place, &name.value);
        if !contents.contains_key(&path)
            && let Some(content) = files.content(&path, &name.place, faults)
        {
            contents.insert(path, content);
        }
    }
    if faults.len() > before {
        return Vec::new();
    }
    match ServerTls::new(settings, http2, &contents) {
        Ok(tls) => tls.expiries,
        Err(found) => {
            faults.extend(found.into_iter().map(|fault| {
                let place = place_of(fault.file).map_or(&written.place, |name| &name.place);
                Fault::new(place, fault.to_string()).with_hint(fault.fault.hint())
            }));
            Vec::new()
        }
    }
}
