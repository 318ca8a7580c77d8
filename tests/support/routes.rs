//! Routes for the API of the tests, compiled as the gateway would, and verdicts on requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use scopegate::definition::Secret;
use scopegate::policy::{
    Api, Conditions, Decision, Mode, PathForm, PathPattern, RequestHead, RequirementPlan, decide,
};
use scopegate::snapshot::handoff::KeyMisses;
use scopegate::snapshot::{
    ApiPlan, ClaimsOf, CompileFault, CompileSettings, ForwardPlan, IssuerKeys, Plan, RoutePlan,
    ServerAddress, Snapshot, UpstreamPlan, compile,
};
use scopegate::token::{KeySet, Principal, TokenError, UnixSeconds, VerifyToken};

use super::api::{ISSUER, KID, MAX_BYTES, NOW, TestApi};
use super::forge::jwks;

/// Verifies anew each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uncached;

impl VerifyToken<Api> for Uncached {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        api.verifier.verify(token, now).map(Arc::new)
    }
}

/// No token may be looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Untouched;

impl VerifyToken<Api> for Untouched {
    fn verify(&self, _api: &Api, _token: &str, _now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        panic!("the token was looked at")
    }
}

/// A route for any method.
pub(crate) fn route(pattern: &str, require: RequirementPlan) -> RoutePlan {
    RoutePlan {
        idle_timeout: None,
        upgrade: None,
        on_expiry: Default::default(),
        pattern: PathPattern::parse(pattern).unwrap(),
        methods: Vec::new(),
        require,
        mode: None,
        timeout: None,
        max_body: None,
        allow: Vec::new(),
    }
}

pub(crate) fn public(pattern: &str) -> RoutePlan {
    route(pattern, RequirementPlan::Public)
}

/// A route that asks for all of these scopes.
pub(crate) fn guarded(pattern: &str, scopes: &[&str]) -> RoutePlan {
    let all_of = scopes.iter().map(|&scope| scope.to_owned()).collect();
    route(
        pattern,
        RequirementPlan::Token(Conditions {
            all_of,
            ..Conditions::default()
        }),
    )
}

pub(crate) fn with_methods(mut route: RoutePlan, methods: &[&str]) -> RoutePlan {
    route.methods = methods
        .iter()
        .map(|method| Method::from_bytes(method.as_bytes()).unwrap())
        .collect();
    route
}

pub(crate) fn allowing(mut route: RoutePlan, forms: &[PathForm]) -> RoutePlan {
    route.allow = forms.to_vec();
    route
}

/// The API of the tests with these routes.
pub(crate) fn api_plan(api: TestApi, hosts: &[&str], routes: Vec<RoutePlan>) -> ApiPlan {
    ApiPlan {
        definition: Arc::new(api.definition()),
        origin: Default::default(),
        issuers: vec![ISSUER.into()],
        signing_secret: api.alg.is_symmetric().then(|| Secret::new(api.key().secret())),
        encryption: None,
        introspection: None,
        api_keys: None,
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        public_url: None,
        token_places: Vec::new(),
        mode: Mode::Enforce,
        max_age: api.max_age,
        leeway: Duration::from_secs(10),
        upstream: UpstreamPlan::to(vec![ServerAddress::tcp("127.0.0.1", 80)]),
        forward: ForwardPlan::default(),
        routes,
    }
}

/// Compiles APIs, whose issuer has the key of the first.
pub(crate) fn snapshot(apis: Vec<ApiPlan>, key: Option<TestApi>) -> Result<Snapshot, Vec<CompileFault>> {
    let keys = key.filter(|api| !api.alg.is_symmetric()).map(|api| {
        let (set, _) = KeySet::from_jwks(jwks(&[api.key().jwk(KID)]).as_bytes()).unwrap();
        Arc::new(set)
    });
    let issuer = IssuerKeys {
        keys,
        misses: KeyMisses::new(Duration::from_secs(30)),
    };
    let plan = Plan {
        issuers: vec![ISSUER.into()],
        apis,
    };
    compile(
        &plan,
        &HashMap::from([(ISSUER.to_owned(), issuer)]),
        &CompileSettings {
            generation: 1,
            config_hash: "".into(),
            max_token_bytes: MAX_BYTES,
            claims: ClaimsOf::Requests,
        },
    )
}

/// One API, its keys there.
pub(crate) fn snapshot_of(api: TestApi, routes: Vec<RoutePlan>) -> Snapshot {
    snapshot(vec![api_plan(api, &[], routes)], Some(api)).unwrap()
}

/// The verdict on a request to `localhost` at [`NOW`].
pub(crate) fn verdict(snapshot: &Snapshot, method: &str, path: &str, fields: &[(&str, &str)]) -> Decision {
    verdict_by(snapshot, method, "localhost", path, fields, &Uncached)
}

pub(crate) fn verdict_by(
    snapshot: &Snapshot,
    method: &str,
    authority: &str,
    path: &str,
    fields: &[(&str, &str)],
    verify: &impl VerifyToken<Api>,
) -> Decision {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let head = RequestHead {
        method: &method,
        authority,
        path,
        query: None,
        headers: &headers,
    };
    decide(&snapshot.table, head, verify, NOW)
}
