//! Proofs of possession: bounds, nonces, and where certificates come from.

use std::time::Duration;

use super::super::DpopSettings;
use super::super::bounds::{count, period};
use super::super::faults::Fault;
use super::super::file::{Dpop, File};
use super::super::secret;
use super::super::source::Files;
use super::{HOUR, MINUTE};
use crate::definition::Secret;
use crate::gateway::CertificateField;
use crate::net::TrustedProxies;
use crate::token::ProofSettings;

const SECOND: Duration = Duration::from_secs(1);

/// The fewest bytes of a secret that nonces are made under: those of the hash.
const SHORTEST_SECRET: usize = 32;

pub(super) fn dpop(written: Option<&Dpop>, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> DpopSettings {
    let mut settings = DpopSettings::default();
    let Some(written) = written else { return settings };
    let ProofSettings {
        max_age,
        max_ahead,
        entries,
        nonce_lifetime,
    } = &mut settings.proofs;
    let (age, ahead) = ((SECOND, MINUTE * 10), (Duration::ZERO, MINUTE * 5));
    *max_age = period("max_age", written.max_age.as_ref(), *max_age, age, faults);
    *max_ahead = period("max_ahead", written.max_ahead.as_ref(), *max_ahead, ahead, faults);
    *entries = count(
        "proofs",
        written.proofs.as_ref(),
        *entries,
        (1, 10_000_000),
        faults,
    );
    let lifetime = written.nonce_lifetime.as_ref();
    let bounds = (SECOND * 10, HOUR);
    *nonce_lifetime = lifetime.map(|_| period("nonce_lifetime", lifetime, MINUTE, bounds, faults));
    settings.nonce_secret = nonce_secret(written, files, faults);
    settings
}

fn nonce_secret(written: &Dpop, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> Option<Secret> {
    let reference = written.nonce_secret.as_ref()?;
    if written.nonce_lifetime.is_none() {
        let fault = Fault::new(
            &reference.place,
            "`nonce_secret` is of no use without `nonce_lifetime`",
        );
        faults.push(fault.with_hint("nonce_lifetime: 5m"));
    }
    let secret = secret::resolve("nonce_secret", reference, files, faults)?;
    let length = secret.expose().len();
    if length < SHORTEST_SECRET {
        let message = format!("the nonce secret has {length} bytes; it needs at least {SHORTEST_SECRET}");
        faults
            .push(Fault::new(&reference.place, message).with_hint("make one with: openssl rand -base64 48"));
    }
    Some(secret)
}

/// A field that anybody could write proves nothing: it takes proxies that are trusted.
pub(super) fn certificate_field(
    file: &File,
    proxies: &TrustedProxies,
    faults: &mut Vec<Fault>,
) -> Option<CertificateField> {
    let field = file.client_certificate_field.as_ref()?;
    if proxies.is_empty() && file.trusted_proxies.is_none() {
        let message = "`client_certificate_field` is read from trusted proxies only, and there are none";
        faults.push(Fault::new(&field.place, message).with_hint("set trusted_proxies"));
    }
    Some(field.value.0)
}
