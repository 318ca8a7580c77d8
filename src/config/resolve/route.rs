//! Routes: their paths and methods, and that no two of them are equal.

use std::collections::HashMap;
use std::time::Duration;

use http::Method;

use super::super::address::served_host;
use super::super::bounds::{SHORTEST, period, size};
use super::super::faults::Fault;
use super::super::file::{Api, Route};
use super::super::reader::Placed;
use super::{DAY, LARGEST_BODY, requirement};
use crate::definition::{ApiDefinition, Place};
use crate::policy::{PathPattern, StepUp, Upgrade};
use crate::snapshot::RoutePlan;

/// The most routes of one gateway.
const MOST_ROUTES: usize = 10_000;

/// The routes of one API. `definition` is `None` where it is at fault itself: permissions are not looked at then.
/// `step_up` is what the API asks of the authentication, unless a route says otherwise.
pub(super) fn routes(
    written: &[Placed<Route>],
    definition: Option<&ApiDefinition>,
    step_up: Option<&StepUp>,
    faults: &mut Vec<Fault>,
) -> Vec<RoutePlan> {
    written
        .iter()
        .filter_map(|route| one(&route.value, definition, step_up, faults))
        .collect()
}

fn one(
    route: &Route,
    definition: Option<&ApiDefinition>,
    step_up: Option<&StepUp>,
    faults: &mut Vec<Fault>,
) -> Option<RoutePlan> {
    let pattern = PathPattern::parse(&route.path.value)
        .map_err(|error| {
            let message = format!("`path` cannot be `{}`: {error}", route.path.value);
            faults.push(Fault::new(&route.path.place, message));
        })
        .ok();
    let methods = methods(route.methods.as_deref().unwrap_or_default(), faults);
    let require = requirement::requirement(&route.require, definition, step_up, faults);
    let timeout = route.timeout.as_ref();
    let timeout = timeout.map(|_| {
        period(
            "timeout",
            timeout,
            Duration::from_secs(15),
            (SHORTEST, DAY),
            faults,
        )
    });
    let max_body = route.max_body.as_ref();
    let max_body = max_body.map(|_| size("max_body", max_body, 1, (1, LARGEST_BODY), faults));
    let idle_timeout = route.idle_timeout.as_ref();
    let idle_timeout =
        idle_timeout.map(|_| period("idle_timeout", idle_timeout, DAY, (SHORTEST, DAY), faults));
    let upgrade = upgrade(route, &methods, faults);
    let mut allow = Vec::new();
    for form in route.allow.iter().flatten() {
        if !allow.contains(&form.0) {
            allow.push(form.0);
        }
    }
    let mode = route.mode.map(|word| word.0);
    Some(RoutePlan {
        pattern: pattern?,
        methods,
        require: require?,
        mode,
        timeout,
        max_body,
        idle_timeout,
        upgrade,
        on_expiry: route.on_expiry.map_or_else(Default::default, |word| word.0),
        allow,
    })
}

/// What a connection may change to. A WebSocket begins with `GET` (RFC 6455 section 4.1).
fn upgrade(route: &Route, methods: &[Method], faults: &mut Vec<Fault>) -> Option<Upgrade> {
    let written = route.upgrade.as_ref()?;
    if !methods.is_empty() && !methods.contains(&Method::GET) {
        let message = "a WebSocket begins with GET, which this route does not have";
        faults.push(Fault::new(&written.place, message).with_hint("add GET to `methods`"));
    }
    written.value.first().map(|word| word.0)
}

/// Only a connection of HTTP/1.1 can change to another protocol (RFC 9113 section 8.6).
pub(super) fn no_upgrades(routes: &[Placed<Route>], faults: &mut Vec<Fault>) {
    for upgrade in routes.iter().filter_map(|route| route.value.upgrade.as_ref()) {
        let message = "a WebSocket needs an upstream that speaks HTTP/1.1, and this one has `http2: true`";
        faults.push(Fault::new(&upgrade.place, message).with_hint("give these routes an API of their own"));
    }
}

/// Methods are compared byte for byte, so that `get` would never match.
const STANDARD: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fn methods(written: &[Placed<String>], faults: &mut Vec<Fault>) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::with_capacity(written.len());
    for name in written {
        let upper = name.value.to_ascii_uppercase();
        let fault = match Method::from_bytes(name.value.as_bytes()) {
            _ if upper == "CONNECT" || upper == "TRACE" => {
                Fault::new(&name.place, format!("method {upper} is never forwarded"))
            }
            Err(_) => Fault::new(&name.place, format!("`{}` is not a method", name.value)),
            Ok(_) if name.value != upper && STANDARD.contains(&upper.as_str()) => Fault::new(
                &name.place,
                format!("no client sends the method `{}`", name.value),
            )
            .with_hint(format!("did you mean `{upper}`?")),
            Ok(method) if methods.contains(&method) => {
                Fault::new(&name.place, format!("`{method}` is twice in `methods`"))
            }
            Ok(method) => {
                methods.push(method);
                continue;
            }
        };
        faults.push(fault);
    }
    methods
}

/// The first route beyond what a gateway can have.
pub(super) fn too_many(apis: &[Api], faults: &mut Vec<Fault>) {
    let mut routes = apis.iter().flat_map(|api| &api.routes);
    if let Some(route) = routes.nth(MOST_ROUTES) {
        let count = apis.iter().map(|api| api.routes.len()).sum::<usize>();
        faults.push(Fault::new(
            &route.place,
            format!("there are {count} routes; the most is {MOST_ROUTES}"),
        ));
    }
}

/// Two routes that match the same requests equally well: nobody could say which of them decides.
pub(super) fn duplicates(apis: &[Api], faults: &mut Vec<Fault>) {
    let mut first: HashMap<(String, String, String), &Place> = HashMap::new();
    for api in apis {
        let hosts = hosts(api);
        for route in &api.routes {
            let route = &route.value;
            let shape = shape(&route.path.value);
            if let Some(place) = note(&mut first, route, &hosts, &shape) {
                let message = format!("`{}` is already routed at {place}", route.path.value);
                let hint = "the names of parameters make no difference, nor does the order of routes";
                faults.push(Fault::new(&route.path.place, message).with_hint(hint));
            }
        }
    }
}

/// Notes a route under each host and method; answers with the place of another one that is there already.
fn note<'a>(
    first: &mut HashMap<(String, String, String), &'a Place>,
    route: &'a Route,
    hosts: &[String],
    shape: &str,
) -> Option<&'a Place> {
    let any = [String::new()];
    let named: Vec<String> = route
        .methods
        .iter()
        .flatten()
        .map(|method| method.value.clone())
        .collect();
    let methods = if named.is_empty() { &any[..] } else { &named };
    let mut found: Option<&'a Place> = None;
    for host in hosts {
        for method in methods {
            let key = (host.clone(), shape.to_owned(), method.clone());
            let place = first.entry(key).or_insert(&route.path.place);
            if *place != &route.path.place {
                found = found.or(Some(*place));
            }
        }
    }
    found
}

/// The hosts of an API; one empty name where it serves every other host.
fn hosts(api: &Api) -> Vec<String> {
    match &api.hosts {
        None => vec![String::new()],
        Some(hosts) => hosts
            .iter()
            .filter_map(|host| served_host(&host.value).ok())
            .collect(),
    }
}

/// A pattern without the names of its parameters.
fn shape(pattern: &str) -> String {
    let segment = |segment: &str| match segment.strip_prefix('{') {
        Some(name) if name.starts_with('*') => "{*}".to_owned(),
        Some(_) => "{}".to_owned(),
        None => segment.to_owned(),
    };
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}
