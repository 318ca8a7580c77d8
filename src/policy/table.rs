//! Every route of every API, compiled for look-up by host, path and method.
//!
//! A host that an API names sees the routes of the APIs that name it and no others; every other host sees the routes of
//! the APIs that name no host. Two routes that would match equally well are an error when the table is built.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};

use super::matcher::PathTree;
use super::{
    Host, Mode, OnExpiry, PathForms, PathPattern, Possession, Realm, RequestPath, Requirement, TokenPlaces,
    Upgrade,
};
use crate::token::Verifier;

/// Position of an API in the table, which is its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiId(pub usize);

/// Position of a route in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub usize);

/// What becomes of `OPTIONS` with `Origin` and `Access-Control-Request-Method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preflight {
    /// It needs a route and a token like any other request.
    #[default]
    Decide,
    /// It goes to the upstream without a token where the path has a route.
    Forward,
}

/// What all routes of an API share.
#[derive(Debug)]
pub struct Api {
    /// Where it stands.
    pub id: ApiId,
    /// The identifier: the `api` label of metrics and logs.
    pub identifier: Arc<str>,
    /// For challenges.
    pub realm: Realm,
    /// How tokens are verified.
    pub verifier: Verifier,
    /// What must be proved beside; `None`: nothing.
    pub possession: Option<Possession>,
    /// Where tokens come from; `None`: from `Authorization` alone.
    pub places: Option<Box<TokenPlaces>>,
    /// The rule for CORS preflights.
    pub preflight: Preflight,
}

impl Api {
    /// Whether tokens may come with the scheme `DPoP`.
    pub fn takes_proofs(&self) -> bool {
        self.possession.as_ref().is_some_and(Possession::takes_proofs)
    }
}

/// One compiled route.
#[derive(Debug)]
pub struct Route {
    /// Where it stands.
    pub id: RouteId,
    /// Whose route it is.
    pub api: ApiId,
    /// The pattern as written: the `route` label of metrics and logs.
    pub pattern: Arc<str>,
    /// Empty: any method.
    pub methods: Vec<Method>,
    /// What it asks.
    pub requirement: Requirement,
    /// Whether a denial is enforced.
    pub mode: Mode,
    /// Spellings of the path that it accepts.
    pub allow: PathForms,
    /// Until the response head; `None`: the upstream's.
    pub timeout: Option<Duration>,
    /// Largest request body in bytes; `None`: the gateway's.
    pub max_body: Option<u64>,
    /// Between two parts of a response, or of what a tunnel carries; `None`: the upstream's, or that of streams.
    pub idle_timeout: Option<Duration>,
    /// What a connection may change to; most often nothing.
    pub upgrade: Option<Upgrade>,
    /// What becomes of a stream whose token expires.
    pub on_expiry: OnExpiry,
}

/// Look-up of routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    apis: Vec<Api>,
    routes: Vec<Route>,
    hosts: HashMap<Box<str>, PathTree<Leaf>>,
    other_hosts: PathTree<Leaf>,
}

/// The routes of one path pattern.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    methods: Vec<(Method, RouteId)>,
    any: Option<RouteId>,
}

/// The path has routes, but none for the method; the value of `Allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoSuchMethod(pub(super) HeaderValue);

/// Two routes that would match equally well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteConflict {
    /// The route that was there first.
    pub first: RouteId,
}

impl RouteTable {
    /// The APIs in the order of the configuration.
    pub fn apis(&self) -> &[Api] {
        &self.apis
    }

    /// All routes.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// An API of this table. An id of another table may find nothing.
    pub fn api(&self, id: ApiId) -> Option<&Api> {
        self.apis.get(id.0)
    }

    /// A route of this table. An id of another table may find nothing.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.0)
    }

    /// The routes of the most specific pattern that the path meets.
    pub(super) fn leaf(&self, host: &Host<'_>, path: &RequestPath<'_>) -> Option<&Leaf> {
        let tree = if self.hosts.is_empty() {
            None
        } else {
            self.hosts.get(host.as_str())
        };
        tree.unwrap_or(&self.other_hosts).find(path)
    }
}

impl Leaf {
    /// The route for a method. `HEAD` is `GET` without the body, and asks for what `GET` asks.
    pub(super) fn route(&self, method: &Method) -> Result<RouteId, NoSuchMethod> {
        if *method == Method::CONNECT || *method == Method::TRACE {
            return Err(NoSuchMethod(self.allowed()));
        }
        let named = |method: &Method| {
            self.methods
                .iter()
                .find(|(own, _)| own == method)
                .map(|&(_, id)| id)
        };
        named(method)
            .or_else(|| {
                if *method == Method::HEAD {
                    named(&Method::GET)
                } else {
                    None
                }
            })
            .or(self.any)
            .ok_or_else(|| NoSuchMethod(self.allowed()))
    }

    fn allowed(&self) -> HeaderValue {
        let mut names: Vec<&str> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        names.sort_unstable();
        HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Builds a table, route by route.
#[derive(Debug, Default)]
pub struct RouteTableBuilder {
    table: RouteTable,
}

impl RouteTableBuilder {
    /// The id that the next API gets.
    pub fn next_api(&self) -> ApiId {
        ApiId(self.table.apis.len())
    }

    /// The id that the next route gets.
    pub fn next_route(&self) -> RouteId {
        RouteId(self.table.routes.len())
    }

    /// Adds an API; its routes follow.
    pub fn api(&mut self, api: Api) {
        self.table.apis.push(api);
    }

    /// Adds a route under the hosts of its API.
    pub fn route(
        &mut self,
        route: Route,
        pattern: &PathPattern,
        hosts: &[String],
    ) -> Result<(), RouteConflict> {
        if hosts.is_empty() {
            insert(&mut self.table.other_hosts, pattern, &route)?;
        }
        for host in hosts {
            insert(
                self.table.hosts.entry(host.as_str().into()).or_default(),
                pattern,
                &route,
            )?;
        }
        self.table.routes.push(route);
        Ok(())
    }

    /// Adds a route of one method under those hosts of its API that have no route of that pattern yet.
    pub fn route_where_free(&mut self, route: Route, pattern: &PathPattern, hosts: &[String]) {
        let mut is_used = false;
        let mut take = |tree: &mut PathTree<Leaf>| {
            let leaf = tree.entry(pattern, Leaf::default);
            if leaf.any.is_none() && leaf.methods.is_empty() {
                leaf.methods
                    .extend(route.methods.iter().map(|method| (method.clone(), route.id)));
                is_used = true;
            }
        };
        if hosts.is_empty() {
            take(&mut self.table.other_hosts);
        }
        for host in hosts {
            take(self.table.hosts.entry(host.as_str().into()).or_default());
        }
        if is_used {
            self.table.routes.push(route);
        }
    }

    /// The finished table.
    pub fn build(self) -> RouteTable {
        self.table
    }
}

fn insert(tree: &mut PathTree<Leaf>, pattern: &PathPattern, route: &Route) -> Result<(), RouteConflict> {
    let leaf = tree.entry(pattern, Leaf::default);
    if route.methods.is_empty() {
        return match leaf.any.replace(route.id) {
            Some(first) => Err(RouteConflict { first }),
            None => Ok(()),
        };
    }
    for method in &route.methods {
        if let Some(&(_, first)) = leaf.methods.iter().find(|(own, _)| own == method) {
            return Err(RouteConflict { first });
        }
        leaf.methods.push((method.clone(), route.id));
    }
    Ok(())
}
