//! Who may do what: the Management API is one more API, decided by the same core as every other.
//!
//! The table of `routes` becomes a plan, the plan with the keys of the authority a snapshot, and `policy::decide` judges
//! each request by it. The snapshot is made anew when a signing key or the definition of the Management API has changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::header::AUTHORIZATION;

use super::operation::Operation;
use super::refusal::Refusal;
use super::routes::ROUTES;
use crate::authority::model::{Api, KeyState, Tenant};
use crate::authority::{Authority, AuthoritySettings, Request, ids, signing, unix_now};
use crate::definition::ApiDefinition;
use crate::net::Limits;
use crate::policy::{
    Api as PolicyApi, Challenge, Conditions, Decision, Denial, Mode, OnExpiry, PathForm, PathPattern, Reason,
    RequestHead, RequirementPlan, decide,
};
use crate::snapshot::handoff::KeyMisses;
use crate::snapshot::{
    ApiPlan, ClaimsOf, CompileSettings, DefinitionOrigin, EjectionPlan, ForwardPlan, IssuerKeys, Plan,
    RoutePlan, Snapshot, UpstreamPlan, UpstreamProtocol, WaitingPlan, compile,
};
use crate::token::{
    KeySet, Principal, ProofDesk, ProofSettings, Thumbprint, TokenError, UnixSeconds, VerifyToken,
};

/// Decides on requests.
#[derive(Debug)]
pub(super) struct Gate {
    compiled: ArcSwapOption<Compiled>,
    /// Without it no token that is bound to a key is accepted.
    proofs: Option<ProofDesk>,
}

/// A request that may be served.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) operation: Operation,
    /// The path pattern.
    pub(super) pattern: &'static str,
    /// Whom the token speaks for; none where no token is asked for.
    pub(super) principal: Option<Arc<Principal>>,
    /// The state that it was decided with.
    pub(super) tenant: Arc<Tenant>,
}

/// A snapshot, and what it was made of.
#[derive(Debug)]
struct Compiled {
    keys: Vec<(String, KeyState)>,
    definition: Arc<ApiDefinition>,
    snapshot: Snapshot,
}

/// Tolerance for the times of tokens that another replica has issued.
const LEEWAY: Duration = Duration::from_secs(5);

impl Gate {
    pub(super) fn new() -> Self {
        let desk = || -> Result<ProofDesk, ids::NoRandomness> {
            let settings = ProofSettings {
                entries: 10_000,
                ..ProofSettings::default()
            };
            let keys: [[u8; 32]; 2] = [ids::random()?, ids::random()?];
            let [memory, nonce] = keys;
            Ok(ProofDesk::new(&settings, &memory, &nonce))
        };
        Self {
            compiled: ArcSwapOption::empty(),
            proofs: desk().ok(),
        }
    }

    /// Whether a request may be served, and as what.
    pub(super) fn decide(&self, authority: &Authority, request: &Request) -> Result<Admitted, Refusal> {
        let tenant = authority.state().tenant();
        let compiled = self.compiled(authority, &tenant)?;
        let head = RequestHead {
            method: &request.method,
            // The table knows no hosts.
            authority: "authority",
            path: &request.path,
            query: None,
            headers: &request.headers,
        };
        let shown = request
            .tls
            .as_ref()
            .and_then(|tls| tls.client_certificate.as_deref());
        let direct = Direct {
            proofs: self.proofs.as_ref(),
            certificate: shown.map(Thumbprint::of),
        };
        let table = &compiled.snapshot.table;
        let permit = match decide(table, head, &direct, unix_now()) {
            Decision::Forward(permit) => permit,
            Decision::Refuse(denial) => return Err(refusal(&compiled.snapshot, &denial, request)),
        };
        let route = ROUTES.get(permit.route().0).ok_or(Refusal::NoRoute)?;
        Ok(Admitted {
            operation: route.operation,
            pattern: route.path,
            principal: permit.principal().cloned(),
            tenant,
        })
    }

    fn compiled(&self, authority: &Authority, tenant: &Tenant) -> Result<Arc<Compiled>, Refusal> {
        let api = tenant
            .api_of(&authority.settings().management_audience())
            .ok_or_else(|| {
                tracing::error!("the store has no Management API");
                Refusal::Internal
            })?;
        if let Some(compiled) = self.compiled.load_full()
            && Arc::ptr_eq(&compiled.definition, &api.definition)
            && compiled.has_keys_of(tenant)
        {
            return Ok(compiled);
        }
        let compiled = Compiled::make(authority, tenant, api)
            .map(Arc::new)
            .map_err(|error| {
                tracing::error!(%error, "the Management API cannot be enforced");
                Refusal::Internal
            })?;
        self.compiled.store(Some(Arc::clone(&compiled)));
        Ok(compiled)
    }
}

impl Compiled {
    fn has_keys_of(&self, tenant: &Tenant) -> bool {
        let mine = self.keys.iter().map(|(kid, state)| (kid.as_str(), *state));
        mine.eq(tenant.keys().map(|key| (key.kid.as_str(), key.state)))
    }

    fn make(authority: &Authority, tenant: &Tenant, api: &Api) -> Result<Self, String> {
        let settings = authority.settings();
        let jwks = signing::jwks(tenant, &authority.signers).map_err(|error| error.to_string())?;
        let (set, _) = KeySet::from_jwks(jwks.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let keys = IssuerKeys {
            keys: Some(Arc::new(set)),
            misses: KeyMisses::unchanging(),
        };
        let keys = HashMap::from([(settings.issuer.clone(), keys)]);
        let compile_settings = CompileSettings {
            generation: tenant.revision(),
            config_hash: "management".into(),
            max_token_bytes: Limits::default().token_bytes,
            claims: ClaimsOf::Tokens,
        };
        let snapshot =
            compile(&plan(settings, &api.definition)?, &keys, &compile_settings).map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                faults.join("; ")
            })?;
        Ok(Self {
            keys: tenant.keys().map(|key| (key.kid.clone(), key.state)).collect(),
            definition: Arc::clone(&api.definition),
            snapshot,
        })
    }
}

fn plan(settings: &AuthoritySettings, definition: &Arc<ApiDefinition>) -> Result<Plan, String> {
    let routes = ROUTES
        .iter()
        .map(|route| {
            let pattern = PathPattern::parse(route.path).map_err(|error| error.to_string())?;
            Ok(RoutePlan {
                pattern,
                methods: vec![route.method.clone()],
                require: if route.any_of.is_empty() {
                    RequirementPlan::Public
                } else {
                    RequirementPlan::Token(Conditions {
                        any_of: route.any_of.iter().map(|&scope| scope.into()).collect(),
                        ..Conditions::default()
                    })
                },
                mode: None,
                timeout: None,
                max_body: None,
                idle_timeout: None,
                upgrade: None,
                on_expiry: OnExpiry::default(),
                // An identifier is an address most often, and stands in a path percent-encoded, once or twice.
                allow: if route.path.contains('{') {
                    PathForm::ALL.map(|(form, _)| form).into()
                } else {
                    Vec::new()
                },
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(Plan {
        issuers: vec![settings.issuer.clone()],
        apis: vec![ApiPlan {
            token_places: Vec::new(),
            definition: Arc::clone(definition),
            // A store of an earlier version may lack permissions that the table asks for: nobody has them then.
            origin: DefinitionOrigin::Followed,
            issuers: vec![settings.issuer.as_str().into()],
            signing_secret: None,
            encryption: None,
            introspection: None,
            api_keys: None,
            hosts: Vec::new(),
            public_url: Some(settings.issuer.trim_end_matches('/').to_owned()),
            mode: Mode::Enforce,
            max_age: None,
            leeway: LEEWAY,
            upstream: nowhere(),
            forward: ForwardPlan::default(),
            routes,
        }],
    })
}

/// What is allowed is served here.
fn nowhere() -> UpstreamPlan {
    UpstreamPlan {
        servers: Vec::new(),
        protocol: UpstreamProtocol::default(),
        tls: None,
        connect_timeout: Duration::ZERO,
        timeout: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        health: None,
        ejection: EjectionPlan::default(),
        waiting: WaitingPlan::default(),
    }
}

/// Verifies without a cache: a signature is cheap beside a commit.
struct Direct<'a> {
    proofs: Option<&'a ProofDesk>,
    certificate: Option<Thumbprint>,
}

impl VerifyToken<PolicyApi> for Direct<'_> {
    fn verify(&self, api: &PolicyApi, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        api.verifier.verify(token, now).map(Arc::new)
    }

    fn proofs(&self) -> Option<&ProofDesk> {
        self.proofs
    }

    fn certificate(&self) -> Option<Thumbprint> {
        self.certificate
    }
}

/// A denial in the words of the Management API.
fn refusal(snapshot: &Snapshot, denial: &Denial, request: &Request) -> Refusal {
    let challenge = challenge(snapshot, denial);
    match denial.reason {
        Reason::NoRoute => Refusal::NoRoute,
        Reason::MethodNotAllowed => Refusal::Method(denial.allow.clone()),
        Reason::BadPath | Reason::BadRequest => {
            Refusal::Uri("'The path can be read in more than one way'".into())
        }
        Reason::MalformedAuthorization | Reason::MultipleTokens => Refusal::BadHeader(challenge),
        Reason::MalformedToken if !has_three_parts(request) => Refusal::BadHeader(challenge),
        Reason::MissingToken => Refusal::Token {
            message: "Missing authentication",
            challenge,
        },
        Reason::Expired => Refusal::Token {
            message: "Expired token received for JSON Web Token validation",
            challenge,
        },
        Reason::BadSignature => Refusal::Token {
            message: "Invalid signature received for JSON Web Token validation",
            challenge,
        },
        Reason::InsufficientScope | Reason::InsufficientPermission => Refusal::Scope {
            any_of: any_of(denial),
            challenge,
        },
        reason if reason.status().is_server_error() => Refusal::Internal,
        _ => Refusal::Token {
            message: "Invalid token",
            challenge,
        },
    }
}

fn any_of(denial: &Denial) -> String {
    let route = denial.route.and_then(|route| ROUTES.get(route.0));
    route.map_or_else(String::new, |route| route.any_of.join(","))
}

fn challenge(snapshot: &Snapshot, denial: &Denial) -> Option<HeaderValue> {
    let route = snapshot.table.route(denial.route?)?;
    let api = snapshot.table.api(route.api)?;
    Challenge::value(denial.reason, &api.realm, denial.scheme, Some(&route.requirement))
}

fn has_three_parts(request: &Request) -> bool {
    let field = request.headers.get(AUTHORIZATION);
    field.is_some_and(|field| field.as_bytes().iter().filter(|&&byte| byte == b'.').count() == 2)
}
