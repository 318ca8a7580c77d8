//! Endpoints of issuers that requests wait for: what is the same for questions about tokens and for tokens.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::super::address::WebAddress;
use super::super::bounds::{SHORTEST, count, period};
use super::super::faults::Fault;
use super::super::reader::Placed;
use super::super::source::{Files, beside};
use super::super::values::Period;
use super::MINUTE;
use crate::definition::Place;
use crate::net::{Alpn, ClientTls};
use crate::snapshot::{AskedEndpoint, EndpointKind};

const SECOND: Duration = Duration::from_secs(1);

/// What was written of an endpoint.
pub(super) struct Written<'a> {
    pub(super) kind: EndpointKind,
    /// The key that all of it stands under.
    pub(super) under: &'static str,
    pub(super) place: &'a Place,
    pub(super) issuer: &'a Placed<String>,
    pub(super) address: Option<&'a Placed<String>>,
    pub(super) ttl: Option<&'a Placed<Period>>,
    /// Where it is not written, and the most.
    pub(super) usual_ttl: (Duration, Duration),
    pub(super) negative_ttl: Option<&'a Placed<Period>>,
    pub(super) timeout: Option<&'a Placed<Period>>,
    pub(super) concurrency: Option<&'a Placed<u64>>,
    pub(super) waiting: Option<&'a Placed<u64>>,
    pub(super) failures: Option<&'a Placed<u64>>,
    pub(super) cooldown: Option<&'a Placed<Period>>,
    pub(super) ca: Option<&'a Placed<String>>,
    pub(super) allow_http: bool,
}

impl Written<'_> {
    /// The endpoint; `None` where it cannot be spoken to.
    pub(super) fn endpoint(&self, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> Option<AskedEndpoint> {
        let is_https = self.is_https(faults);
        let tls = self.tls(is_https, files, faults);
        let zero = Duration::ZERO;
        let (usual, longest) = self.usual_ttl;
        let (fast, slow) = ((SHORTEST, SECOND * 30), (SHORTEST, MINUTE));
        Some(AskedEndpoint {
            kind: self.kind,
            issuer: self.issuer.value.as_str().into(),
            address: self.address.map(|address| address.value.clone()),
            allow_http: self.allow_http,
            ttl: period("ttl", self.ttl, usual, (zero, longest), faults),
            negative_ttl: period(
                "negative_ttl",
                self.negative_ttl,
                SECOND * 5,
                (zero, MINUTE),
                faults,
            ),
            timeout: period("timeout", self.timeout, SECOND * 5, fast, faults),
            concurrency: count("concurrency", self.concurrency, 64, (1, 1_024), faults),
            waiting: count("max_waiting", self.waiting, 1_024, (1, 100_000), faults),
            failures: count("failures", self.failures, 5, (1, 10_000), faults),
            cooldown: period("cooldown", self.cooldown, SECOND, slow, faults),
            tls: tls?,
        })
    }

    /// Whether the endpoint, or the metadata that tells of it, is at an `https` address.
    fn is_https(&self, faults: &mut Vec<Fault>) -> bool {
        let (key, address) = match self.address {
            Some(address) => (self.kind.key(), address),
            None => ("issuer", self.issuer),
        };
        let parsed = match WebAddress::parse(&address.value) {
            Ok(parsed) => parsed,
            Err(rule) => {
                // An issuer that is none is told of where it is written.
                if self.address.is_some() {
                    faults.push(Fault::new(&address.place, format!("`{key}` {rule}")));
                }
                return false;
            }
        };
        if !parsed.https && !parsed.is_loopback() && !self.allow_http {
            let under = self.under;
            let message = format!("`{key}` must begin with https:// for `{under}`");
            let hint = format!("tokens and credentials go there; {under}.allow_http allows it all the same");
            faults.push(Fault::new(&address.place, message).with_hint(&*hint));
        }
        parsed.https
    }

    /// `None` where it is at fault; nothing in it where only plain http is spoken.
    fn tls(
        &self,
        is_https: bool,
        files: &mut Files<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Option<Arc<ClientConfig>>> {
        let pem = match self.ca {
            Some(ca) => Some(files.content(&beside(&ca.place, &ca.value), &ca.place, faults)?),
            None if !is_https => return Some(None),
            None => None,
        };
        let pem = pem.as_ref().map(|pem| pem.as_slice());
        match ClientTls::from_pem(pem, None, Alpn::Http1) {
            Ok(client) => Some(Some(client.config())),
            Err(error) => {
                let place = self.ca.map_or(self.place, |ca| &ca.place);
                faults.push(Fault::new(place, error.to_string()));
                None
            }
        }
    }
}
