//! APIs: what is protected, for whom, and where allowed requests go.

use std::time::Duration;

use http::HeaderName;

use super::super::address::{WebAddress, served_host};
use super::super::bounds::period;
use super::super::faults::Fault;
use super::super::file::{Api, Forward};
use super::super::reader::Placed;
use super::super::source::Files;
use super::definition::Defined;
use super::{DAY, Known, api_keys, definition, introspection, route, step_up, tokens, trusted, upstream};
use crate::snapshot::{ApiPlan, DefinitionOrigin, ForwardPlan, IdentityHeader, UpstreamProtocol};

/// Every API that can be made sense of.
pub(super) fn apis(
    written: &[Api],
    known: &Known<'_>,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<ApiPlan> {
    let apis: Vec<ApiPlan> = written
        .iter()
        .filter_map(|api| one(api, known, files, faults))
        .collect();
    tokens::identities(written, &apis, faults);
    route::duplicates(written, faults);
    route::too_many(written, faults);
    apis
}

fn one(api: &Api, against: &Known<'_>, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> Option<ApiPlan> {
    let definition = definition::definition(api, files, faults);
    let told = definition
        .as_ref()
        .filter(|known| known.origin != DefinitionOrigin::Awaited)
        .map(|known| known.definition.as_ref());
    // What a followed definition lacks today it may have tomorrow: until then nobody has it.
    let known = definition
        .as_ref()
        .filter(|known| known.origin == DefinitionOrigin::Here)
        .map(|known| known.definition.as_ref());
    let trusted = trusted::trusted(api, against.issuers, (told, known), faults);
    let introspection = introspection::introspection(api, &trusted, against, faults);
    let hosts = hosts(api.hosts.as_deref(), faults);
    let public_url = api.public_url.as_ref().and_then(|url| public_url(url, faults));
    let leeway = (Duration::ZERO, Duration::from_secs(300));
    let leeway = period(
        "leeway",
        api.leeway.as_ref(),
        Duration::from_secs(10),
        leeway,
        faults,
    );
    let max_age = api.max_age.as_ref();
    let max_age = max_age.map(|_| {
        period(
            "max_age",
            max_age,
            DAY,
            (Duration::from_secs(1), DAY * 365),
            faults,
        )
    });
    let token_places = tokens::places(api.tokens.as_ref(), faults);
    let api_keys = api_keys::api_keys(api, (&trusted, &token_places), told, against, files, faults);
    let upstream = upstream::upstream(&api.upstream, against.own, files, faults);
    let forward = forward(api, faults);
    let step_up = api.step_up.as_ref();
    let step_up = step_up.and_then(|written| step_up::step_up(written, faults));
    let routes = route::routes(&api.routes, known, step_up.as_ref(), faults);
    if upstream.protocol == UpstreamProtocol::Http2 {
        route::no_upgrades(&api.routes, faults);
    }
    let Defined {
        definition,
        origin,
        secret,
        encryption,
    } = definition?;
    Some(ApiPlan {
        definition,
        origin,
        issuers: trusted,
        signing_secret: secret,
        encryption,
        introspection,
        api_keys,
        hosts,
        public_url,
        mode: api.mode.map(|word| word.0).unwrap_or_default(),
        max_age,
        leeway,
        token_places,
        upstream,
        forward,
        routes,
    })
}

fn hosts(written: Option<&[Placed<String>]>, faults: &mut Vec<Fault>) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for host in written.unwrap_or_default() {
        match served_host(&host.value) {
            Ok(name) if hosts.contains(&name) => {
                faults.push(Fault::new(&host.place, format!("`{name}` is twice in `hosts`")));
            }
            Ok(name) => hosts.push(name),
            Err(rule) => faults.push(Fault::new(&host.place, format!("host `{}` {rule}", host.value))),
        }
    }
    hosts
}

fn public_url(written: &Placed<String>, faults: &mut Vec<Fault>) -> Option<String> {
    let rule = match WebAddress::parse(&written.value) {
        Ok(address) if address.has_query => "must not have a query",
        Ok(_) => return Some(written.value.trim_end_matches('/').to_owned()),
        Err(rule) => rule,
    };
    faults.push(Fault::new(&written.place, format!("`public_url` {rule}")));
    None
}

fn forward(api: &Api, faults: &mut Vec<Fault>) -> ForwardPlan {
    let forward = api.forward.as_ref();
    ForwardPlan {
        token: forward
            .and_then(|forward| forward.token)
            .map(|word| word.0)
            .unwrap_or_default(),
        identity_headers: forward
            .map(|forward| identity_headers(forward, faults))
            .unwrap_or_default(),
        cors_preflight: api.cors_preflight.map(|word| word.0).unwrap_or_default(),
    }
}

fn identity_headers(forward: &Forward, faults: &mut Vec<Fault>) -> Vec<IdentityHeader> {
    let mut headers: Vec<IdentityHeader> = Vec::new();
    let Some(written) = &forward.identity_headers else {
        return headers;
    };
    for (name, claim) in &written.0 {
        let rule = match HeaderName::from_bytes(name.value.as_bytes()) {
            Err(_) => "is not a header name",
            // `X_Sub` and `X-Sub` are one variable to many an upstream, so that a client could send the other one.
            Ok(header) if header.as_str().contains('_') => "must not contain `_`",
            Ok(header) if is_taken(header.as_str()) => "has a meaning of its own and cannot carry a claim",
            Ok(header) if headers.iter().any(|other| other.name == header) => "is there twice",
            Ok(header) => {
                headers.push(IdentityHeader {
                    name: header,
                    claim: claim.value.clone(),
                });
                continue;
            }
        };
        faults.push(Fault::new(&name.place, format!("header `{}` {rule}", name.value)));
    }
    headers
}

/// Headers of the connection, of routing, of the body, and those that the gateway itself writes or reads.
const TAKEN: [&str; 34] = [
    "accept",
    "accept-encoding",
    "age",
    "alt-svc",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
];

/// Whether a header has a meaning of its own.
pub(super) fn is_taken(name: &str) -> bool {
    TAKEN.contains(&name)
        || name.starts_with("x-forwarded-")
        || name.starts_with("sec-")
        || name.starts_with("access-control-")
        || matches!(name, "traceparent" | "tracestate")
}
