//! `decide`: the whole verdict on a request, in one synchronous function.
//!
//! The order is fixed: host and path → route → (public: done) → bearer (or key → exchange) → verify → revocation → possession → authorize. No route means refused
//! before the token is looked at, and a public route never looks at one. What must never happen here is I/O: the
//! gateway calls this on a worker thread, between reading a head and forwarding it.

use std::sync::Arc;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN};
use http::{HeaderMap, Method};

use super::authorize::{authorize, authorize_anonymous, authorize_preflight};
use super::places::Found;
use super::possession::hold;
use super::table::{Leaf, NoSuchMethod};
use super::{Api, Denial, Host, Permit, Reason, RequestPath, Route, RouteTable};
use crate::token::{
    BearerError, BearerToken, ExchangedToken, Scheme, TokenError, UnixSeconds, VerifyToken, bearer_token,
};

/// What of a request the verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method, by case.
    pub method: &'a Method,
    /// Host and optional port: of the target or the `Host` header, which must agree.
    pub authority: &'a str,
    /// The path of the target, without the query.
    pub path: &'a str,
    /// The query, where there is one.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a HeaderMap,
}

/// The verdict.
#[derive(Debug)]
pub enum Decision {
    /// Forward it.
    Forward(Permit),
    /// Refuse it.
    Refuse(Denial),
}

/// Decides on a request at `now`. On a route that only reports, what would be refused is a permit with a shadow; a
/// request that cannot be routed is refused all the same.
pub fn decide(
    table: &RouteTable,
    head: RequestHead<'_>,
    verify: &impl VerifyToken<Api>,
    now: UnixSeconds,
) -> Decision {
    let (route, api) = match find_route(table, head) {
        Ok(Met::Decided(permit)) => return Decision::Forward(permit),
        Ok(Met::Route(route, api)) => (route, api),
        Err(denial) => return Decision::Refuse(denial),
    };
    if let Some(permit) = authorize_anonymous(route) {
        return Decision::Forward(permit);
    }
    let mut exchanged = None;
    let checked = check_token(route, api, head, verify, now, &mut exchanged);
    match checked.or_else(|denial| denial.waived(route)) {
        Ok(permit) => Decision::Forward(permit.with_exchanged(exchanged)),
        Err(denial) => Decision::Refuse(denial),
    }
}

enum Met<'a> {
    Route(&'a Route, &'a Api),
    /// A preflight that is passed on.
    Decided(Permit),
}

fn find_route<'a>(table: &'a RouteTable, head: RequestHead<'_>) -> Result<Met<'a>, Denial> {
    let host = Host::read(head.authority).map_err(|_bad_host| Denial::of(Reason::BadRequest))?;
    let path = RequestPath::read(head.path).map_err(|_bad_path| Denial::of(Reason::BadPath))?;
    // A path that needs leave and has no route is told to be ambiguous rather than unknown.
    let unmatched = |reason| {
        Denial::of(if path.forms().is_empty() {
            reason
        } else {
            Reason::BadPath
        })
    };
    let leaf = table
        .leaf(&host, &path)
        .ok_or_else(|| unmatched(Reason::NoRoute))?;
    let id = leaf.route(head.method).or_else(|NoSuchMethod(allow)| {
        preflight_route(leaf, head).ok_or_else(|| Denial {
            allow: Some(allow),
            ..unmatched(Reason::MethodNotAllowed)
        })
    })?;
    let route = table.route(id).ok_or_else(|| Denial::of(Reason::Internal))?;
    let api = table.api(route.api).ok_or_else(|| Denial::of(Reason::Internal))?;
    if !path.forms().is_subset_of(route.allow) {
        return Err(Denial::on(route, Reason::BadPath));
    }
    if is_cors_preflight(head) {
        if let Some(permit) = authorize_preflight(api, route) {
            return Ok(Met::Decided(permit));
        }
        // The route is that of the method which the preflight asks about; for `OPTIONS` itself there is none.
        if let Err(NoSuchMethod(allow)) = leaf.route(head.method) {
            return Err(Denial {
                allow: Some(allow),
                ..Denial::of(Reason::MethodNotAllowed)
            });
        }
    }
    Ok(Met::Route(route, api))
}

fn is_cors_preflight(head: RequestHead<'_>) -> bool {
    *head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The route that a preflight asks about.
fn preflight_route(leaf: &Leaf, head: RequestHead<'_>) -> Option<super::RouteId> {
    if !is_cors_preflight(head) {
        return None;
    }
    let asked = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    leaf.route(&Method::from_bytes(asked.as_bytes()).ok()?).ok()
}

fn check_token(
    route: &Route,
    api: &Api,
    head: RequestHead<'_>,
    verify: &impl VerifyToken<Api>,
    now: UnixSeconds,
    exchanged: &mut Option<Arc<ExchangedToken>>,
) -> Result<Permit, Denial> {
    let elsewhere;
    let token = match &api.places {
        None => {
            let values = head.headers.get_all(AUTHORIZATION).into_iter();
            bearer_token(values.map(http::HeaderValue::as_bytes))
                .map_err(|error| Denial::on(route, Reason::from(error)))?
        }
        Some(places) => match places.find(head).map_err(|reason| Denial::on(route, reason))? {
            Found::Token(found) => {
                elsewhere = found;
                elsewhere.token()
            }
            Found::Key(key) => {
                let exchange = verify.exchange(api, key);
                let token = exchange.map_err(|error| Denial::of_token(route, Scheme::Bearer, error))?;
                BearerToken::found(exchanged.insert(token).expose(), Scheme::Bearer)
            }
        },
    };
    if token.scheme() == Scheme::Dpop && !api.takes_proofs() {
        return Err(Denial::on(route, Reason::MissingToken));
    }
    let principal = verify.verify(api, token.as_str(), now).map_err(|error| {
        if token.is_well_formed() {
            Denial::of_token(route, token.scheme(), error)
        } else {
            Denial::on(route, Reason::from(BearerError::Malformed))
        }
    })?;
    if verify.is_revoked(&principal, now) {
        return Err(Denial::of_token(route, token.scheme(), TokenError::Revoked));
    }
    // The principal is left out: what was not proved must not pass for anybody's identity where a route only reports.
    let held = hold(api, head, token, principal, verify, now)
        .map_err(|error| Denial::of_token(route, token.scheme(), error.into()))?;
    authorize(route, held, now)
}
