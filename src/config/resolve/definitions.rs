//! Where definitions that are followed come from, and that they come from somewhere.

use std::time::Duration;

use super::super::address::WebAddress;
use super::super::bounds::period;
use super::super::faults::Fault;
use super::super::file::{Api, Definition, Definitions};
use super::super::secret;
use super::super::source::{Files, beside};
use super::{HOUR, issuer};
use crate::control::{DefinitionsSettings, TenantCredentials};

/// The settings of whoever follows.
pub(super) fn definitions(
    written: &Definitions,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<DefinitionsSettings> {
    let text = &written.issuer.value;
    let rule = match WebAddress::parse(text) {
        Err(rule) => Some(rule),
        Ok(address) if address.has_query || address.path != "/" || !text.ends_with('/') => {
            Some("must be an origin and a slash, such as https://tenant.eu.auth0.com/")
        }
        Ok(address) if !address.https && !address.is_loopback() => {
            Some("must begin with https:// unless it is on this machine")
        }
        Ok(_) => None,
    };
    faults.extend(rule.map(|rule| Fault::new(&written.issuer.place, format!("`issuer` {rule}"))));
    let client_secret = secret::resolve("client_secret", &written.client_secret, files, faults);
    let bounds = (Duration::from_secs(1), HOUR);
    let poll = period(
        "poll",
        written.poll.as_ref(),
        Duration::from_secs(30),
        bounds,
        faults,
    );
    let ca = written
        .ca
        .as_ref()
        .map(|ca| issuer::authorities(ca, files, faults));
    Some(DefinitionsSettings {
        credentials: TenantCredentials {
            issuer: text.clone(),
            client_id: written.client_id.value.clone(),
            client_secret: client_secret?,
        },
        poll,
        ca,
        kept_in: written
            .kept_in
            .as_ref()
            .map(|kept| beside(&kept.place, &kept.value)),
    })
}

/// A definition that is followed needs somebody to follow; `is_told` says whether there is one.
pub(super) fn are_told(apis: &[Api], is_told: bool, faults: &mut Vec<Fault>) {
    let followed = apis.iter().filter_map(|api| match &api.definition.value {
        Definition::Follow(follow) if !is_told => Some(&follow.follow.place),
        _ => None,
    });
    faults.extend(followed.map(|place| {
        Fault::new(place, "there is nobody to follow")
            .with_hint("set `definitions` (a tenant elsewhere) or `authority` (in this process)")
    }));
}
