//! `compile`: a plan and the keys of its issuers in, a snapshot or every fault out. Pure.
//!
//! `config` runs it (without keys) to check a file, `control::reconcile` runs it to publish: what `scopegate check`
//! accepts is what runs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use http::{HeaderName, Method};

use super::handoff::KeyMisses;
use super::metadata::metadata;
use super::{
    ApiPlan, DefinitionOrigin, ExchangeEndpoint, IntrospectionEndpoint, IssuerPlan, Plan, Server,
    ServerAddress, ServerHealth, Snapshot, Target,
};
use crate::policy::{
    Api, ApiId, KeyPlaces, Mode, OnExpiry, PathForms, Possession, Profile, Realm, Requirement, Route,
    RouteTableBuilder, TokenPlace, TokenPlaces, Undefined,
};
use crate::token::{
    Introspection, KeptClaims, KeySet, Reading, ScopeTable, TrustedIssuer, VerificationKey, VerificationKeys,
    Verifier, VerifierSettings,
};

/// What is known of the keys of an issuer.
#[derive(Clone, Debug)]
pub struct IssuerKeys {
    /// The last good set, unless it is too old.
    pub keys: Option<Arc<KeySet>>,
    /// Where requests ask for a key that is not in it.
    pub misses: Arc<KeyMisses>,
}

/// What a snapshot needs beside plan and keys.
#[derive(Clone, Debug)]
pub struct CompileSettings {
    /// Of the new snapshot.
    pub generation: u64,
    /// Of the configuration.
    pub config_hash: Arc<str>,
    /// The longest token in bytes.
    pub max_token_bytes: usize,
    /// What is kept of tokens.
    pub claims: ClaimsOf,
}

/// Which claims of a token are kept with its principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsOf {
    /// Those that routes and headers of its API ask for: so many tokens are remembered that the others would be the
    /// larger part of the memory that they take.
    Requests,
    /// All: somebody else asks, too.
    Tokens,
}

/// Why a plan cannot be enforced. Positions are those of the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileFault {
    /// A route asks for a scope that the definition does not define.
    #[error("API {api}, route {route}: the definition has no permission `{scope}`")]
    UndefinedScope {
        /// Position of the API.
        api: usize,
        /// Position of the route in the API.
        route: usize,
        /// The name.
        scope: String,
    },
    /// A role stands for a permission that the definition does not define.
    #[error("API {api}, roles: the definition has no permission `{scope}`")]
    UndefinedRole {
        /// Position of the API.
        api: usize,
        /// The name.
        scope: String,
    },
    /// Two routes match the same requests equally well.
    #[error("API {api}, route {route}: an earlier route matches the same requests equally well")]
    DuplicateRoute {
        /// Position of the API.
        api: usize,
        /// Position of the later route in the API.
        route: usize,
    },
    /// More permissions than fit.
    #[error("API {api}: the definition has too many permissions")]
    TooManyScopes {
        /// Position of the API.
        api: usize,
    },
    /// An HS* API without a secret, or another with one.
    #[error("API {api}: an HS* API needs a signing secret, and no other API takes one")]
    Secret {
        /// Position of the API.
        api: usize,
    },
}

/// Compiles a plan. An issuer that `keys` does not have is one whose keys have not come yet.
pub fn compile(
    plan: &Plan,
    keys: &HashMap<String, IssuerKeys>,
    settings: &CompileSettings,
) -> Result<Snapshot, Vec<CompileFault>> {
    let mut faults = Vec::new();
    let mut builder = RouteTableBuilder::default();
    for (position, api) in plan.apis.iter().enumerate() {
        add_api(&mut builder, position, api, keys, settings, &mut faults);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    for (position, api) in plan.apis.iter().enumerate() {
        add_metadata(&mut builder, ApiId(position), api);
    }
    let reserved: BTreeSet<Box<str>> = plan
        .apis
        .iter()
        .flat_map(|api| &api.forward.identity_headers)
        .map(|header| header.name.as_str().replace('_', "-").into())
        .collect();
    Ok(Snapshot {
        generation: settings.generation,
        config_hash: Arc::clone(&settings.config_hash),
        table: builder.build(),
        targets: plan.apis.iter().map(target).collect(),
        introspection: plan.apis.iter().map(introspection_endpoint).collect(),
        exchange: plan.apis.iter().map(exchange_endpoint).collect(),
        misses: keys
            .iter()
            .map(|(issuer, keys)| (issuer.as_str().into(), Arc::clone(&keys.misses)))
            .collect(),
        reserved_headers: reserved.into_iter().collect(),
        token_headers: plan
            .apis
            .iter()
            .flat_map(|api| {
                let own = api.api_keys.iter().filter_map(|keys| keys.header.clone());
                api.token_places.iter().filter_map(token_header).chain(own)
            })
            .collect(),
    })
}

fn add_api(
    builder: &mut RouteTableBuilder,
    position: usize,
    plan: &ApiPlan,
    keys: &HashMap<String, IssuerKeys>,
    settings: &CompileSettings,
    faults: &mut Vec<CompileFault>,
) {
    let definition = &plan.definition;
    let names = definition
        .permissions
        .iter()
        .map(|permission| permission.value.as_str());
    let Ok(scopes) = ScopeTable::new(names) else {
        faults.push(CompileFault::TooManyScopes { api: position });
        return;
    };
    let secret = plan
        .signing_secret
        .as_ref()
        .and_then(|secret| VerificationKey::hmac(definition.signing_alg, secret));
    if secret.is_some() != definition.signing_alg.is_symmetric() {
        faults.push(CompileFault::Secret { api: position });
        return;
    }
    if let Some(scope) = undefined_role(plan) {
        let scope = scope.clone();
        faults.push(CompileFault::UndefinedRole { api: position, scope });
        return;
    }
    let scopes = Arc::new(scopes);
    let issuers = plan
        .issuers
        .iter()
        .map(|issuer| trusted_issuer(issuer, plan, keys))
        .collect();
    let verifier_settings = VerifierSettings {
        leeway: plan.leeway,
        max_age: plan.max_age,
        max_bytes: settings.max_token_bytes,
    };
    let possession = Possession::of(definition, plan.public_url.as_deref());
    let id = builder.next_api();
    builder.api(Api {
        id,
        identifier: definition.identifier.as_str().into(),
        realm: Realm::new(&definition.identifier)
            .with_metadata(metadata(plan).map(|metadata| metadata.address).as_deref())
            .with_possession(possession.as_ref())
            .with_keys(&definition.identifier, key_places(plan).as_ref()),
        possession,
        verifier: Verifier::new(
            definition,
            verifier_settings,
            Arc::clone(&scopes),
            secret,
            issuers,
        )
        .with_encryption(plan.encryption.clone())
        .with_claims(kept_claims(plan, settings.claims))
        .with_introspection(introspection(plan)),
        preflight: plan.forward.cors_preflight,
        places: places(plan),
    });
    add_routes(builder, (position, id), plan, &scopes, faults);
}

fn trusted_issuer(trusted: &IssuerPlan, plan: &ApiPlan, keys: &HashMap<String, IssuerKeys>) -> TrustedIssuer {
    let known = keys
        .get(&trusted.issuer)
        .filter(|_| plan.origin != DefinitionOrigin::Awaited);
    let set = known.and_then(|keys| keys.keys.as_ref());
    let algorithms = plan.reading(trusted).algorithms;
    TrustedIssuer {
        issuer: trusted.issuer.as_str().into(),
        keys: set.map(|set| Arc::new(VerificationKeys::new(set, &algorithms))),
        reading: trusted.reading.clone(),
    }
}

/// Whatever decides on a request, or is told to an upstream, and reads a claim by its name has that name here.
fn kept_claims(plan: &ApiPlan, claims: ClaimsOf) -> KeptClaims {
    if claims == ClaimsOf::Tokens {
        return KeptClaims::All;
    }
    let by_routes = plan.routes.iter().flat_map(|route| route.require.claims());
    let headers = plan.forward.identity_headers.iter();
    KeptClaims::found_by(by_routes.chain(headers.map(|header| header.claim.as_str())))
}

/// The first permission that a map of roles names and the definition does not define.
fn undefined_role(plan: &ApiPlan) -> Option<&String> {
    // What a followed definition does not define yet, nobody has.
    if plan.origin != DefinitionOrigin::Here {
        return None;
    }
    let readings = plan.issuers.iter().filter_map(|trusted| trusted.reading.as_ref());
    let mut named = readings
        .flat_map(|reading| reading.roles.iter().flatten())
        .flat_map(|(_role, permissions)| permissions);
    named.find(|name| !plan.definition.defines(name))
}

fn add_routes(
    builder: &mut RouteTableBuilder,
    (position, api): (usize, ApiId),
    plan: &ApiPlan,
    scopes: &ScopeTable,
    faults: &mut Vec<CompileFault>,
) {
    let source = Reading::of(&plan.definition).granted_by;
    let undefined = match plan.origin {
        DefinitionOrigin::Here => Undefined::Refused,
        DefinitionOrigin::Followed | DefinitionOrigin::Awaited => Undefined::Unmeetable,
    };
    let profile = Profile {
        dialect: plan.definition.token_dialect,
        leeway: plan.leeway,
    };
    for (index, route) in plan.routes.iter().enumerate() {
        let requirement = match Requirement::compile(&route.require, scopes, source, undefined, profile) {
            Ok(requirement) => requirement,
            Err(scope) => {
                let scope = scope.to_owned();
                faults.push(CompileFault::UndefinedScope {
                    api: position,
                    route: index,
                    scope,
                });
                continue;
            }
        };
        let compiled = Route {
            id: builder.next_route(),
            api,
            pattern: route.pattern.as_str().into(),
            methods: route.methods.clone(),
            requirement,
            mode: route.mode.unwrap_or(plan.mode),
            allow: PathForms::of(&route.allow),
            timeout: route.timeout,
            max_body: route.max_body,
            idle_timeout: route.idle_timeout,
            upgrade: route.upgrade,
            on_expiry: route.on_expiry,
        };
        if builder.route(compiled, &route.pattern, &plan.hosts).is_err() {
            faults.push(CompileFault::DuplicateRoute {
                api: position,
                route: index,
            });
        }
    }
}

/// After all routes, which go first: what an API has at that very path is its own business.
fn add_metadata(builder: &mut RouteTableBuilder, api: ApiId, plan: &ApiPlan) {
    let Some(metadata) = metadata(plan) else { return };
    let document: Arc<str> = metadata.document.into();
    for pattern in &metadata.patterns {
        let route = Route {
            id: builder.next_route(),
            api,
            pattern: pattern.as_str().into(),
            methods: vec![Method::GET],
            requirement: Requirement::Metadata(Arc::clone(&document)),
            mode: Mode::Enforce,
            allow: PathForms::default(),
            timeout: None,
            max_body: None,
            idle_timeout: None,
            upgrade: None,
            on_expiry: OnExpiry::default(),
        };
        builder.route_where_free(route, pattern, &plan.hosts);
    }
}

fn introspection(plan: &ApiPlan) -> Option<Introspection> {
    let introspection = plan.introspection.as_ref()?;
    Some(Introspection {
        issuer: Arc::clone(&introspection.endpoint.asked.issuer),
        tokens: introspection.tokens,
        audience: introspection.audience,
    })
}

/// Nobody, while the definition is awaited: then no token can be judged, whatever is said of it.
fn introspection_endpoint(plan: &ApiPlan) -> Option<Arc<IntrospectionEndpoint>> {
    let introspection = plan.introspection.as_ref()?;
    (plan.origin != DefinitionOrigin::Awaited).then(|| Arc::clone(&introspection.endpoint))
}

/// Nowhere, while the definition is awaited, as with introspection.
fn exchange_endpoint(plan: &ApiPlan) -> Option<Arc<ExchangeEndpoint>> {
    let keys = plan.api_keys.as_ref()?;
    (plan.origin != DefinitionOrigin::Awaited).then(|| Arc::clone(&keys.endpoint))
}

fn key_places(plan: &ApiPlan) -> Option<KeyPlaces> {
    let keys = plan.api_keys.as_ref()?;
    Some(keys.places(&plan.definition.identifier))
}

fn places(plan: &ApiPlan) -> Option<Box<TokenPlaces>> {
    TokenPlaces::new(&plan.token_places, key_places(plan), plan.public_url.as_deref())
}

fn token_header(place: &TokenPlace) -> Option<HeaderName> {
    match place {
        TokenPlace::Header { name, .. } => Some(name.clone()),
        _ => None,
    }
}

fn target(plan: &ApiPlan) -> Target {
    let upstream = &plan.upstream;
    let server = |address: &ServerAddress| Server {
        endpoint: upstream.endpoint(address),
        health: Arc::new(ServerHealth::default()),
    };
    let name: Vec<String> = upstream.servers.iter().map(ToString::to_string).collect();
    Target {
        name: name.join(",").into(),
        servers: upstream.servers.iter().map(server).collect(),
        ejection: upstream.ejection,
        waiting: upstream.waiting,
        connect_timeout: upstream.connect_timeout,
        timeout: upstream.timeout,
        idle_timeout: upstream.idle_timeout,
        token: plan.forward.token,
        places: places(plan),
        identity_headers: plan.forward.identity_headers.clone(),
        public_url: plan.public_url.as_deref().map(Arc::from),
    }
}
