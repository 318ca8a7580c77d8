//! Whether whoever sent a token holds what it is bound to: asked of every request, also where the token is a cached one.
//!
//! `decide` calls it between verifying and authorizing, and `authorize` takes what it makes: a bound token whose binding
//! was not looked at cannot be authorised. An API whose definition has no `proof_of_possession` pays one branch.

use std::sync::Arc;

use http::HeaderName;

use super::{Api, RequestHead};
use crate::definition::{ApiDefinition, PopMechanism, PopRequiredFor};
use crate::token::{
    BearerToken, Binding, KnownHeader, Principal, ProofError, ProofScope, Scheme, Thumbprint, UnixSeconds,
    VerifyToken, check_proof,
};

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// What an API asks beside the token: the definition's `proof_of_possession`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Possession {
    mechanism: Mechanism,
    /// Whether a token that is not bound is refused.
    is_required: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mechanism {
    /// RFC 9449. What clients see before the path of a request; without it no proof is right.
    Dpop(Option<Box<str>>),
    /// RFC 8705.
    Certificate,
}

/// A principal whose token came from whoever it is bound to, or is bound to nobody where that is allowed.
#[derive(Debug)]
pub(super) struct Held {
    principal: Arc<Principal>,
    scheme: Scheme,
}

impl Held {
    pub(super) fn into_parts(self) -> (Arc<Principal>, Scheme) {
        (self.principal, self.scheme)
    }
}

impl Possession {
    /// What a definition says; `None`: nothing. `public_url` is what clients see, without a slash at its end.
    pub fn of(definition: &ApiDefinition, public_url: Option<&str>) -> Option<Self> {
        let asked = definition.proof_of_possession?;
        Some(Self {
            mechanism: match asked.mechanism {
                PopMechanism::Dpop => Mechanism::Dpop(public_url.map(Box::from)),
                PopMechanism::Mtls => Mechanism::Certificate,
            },
            // Nothing in a token says whether its client is a public one: that is left to who issues it.
            is_required: asked.required && asked.required_for != Some(PopRequiredFor::PublicClients),
        })
    }

    /// Whether tokens may come with the scheme `DPoP`.
    pub fn takes_proofs(&self) -> bool {
        matches!(self.mechanism, Mechanism::Dpop(_))
    }

    /// Whether a token that is not bound is refused.
    pub fn is_required(&self) -> bool {
        self.is_required
    }
}

/// Holds a verified token against the request that it came with.
pub(super) fn hold(
    api: &Api,
    head: RequestHead<'_>,
    token: BearerToken<'_>,
    principal: Arc<Principal>,
    verify: &impl VerifyToken<Api>,
    now: UnixSeconds,
) -> Result<Held, ProofError> {
    // Without it the verifier has refused every token that is bound.
    if let Some(asked) = &api.possession {
        check(asked, head, token, &principal, verify, now)?;
    }
    let scheme = token.scheme();
    Ok(Held { principal, scheme })
}

fn check(
    asked: &Possession,
    head: RequestHead<'_>,
    token: BearerToken<'_>,
    principal: &Principal,
    verify: &impl VerifyToken<Api>,
    now: UnixSeconds,
) -> Result<(), ProofError> {
    match (principal.binding(), token.scheme()) {
        (None, Scheme::Bearer) if !asked.is_required => Ok(()),
        (None, _) => Err(ProofError::Unbound),
        (Some(Binding::Key(_)), Scheme::Bearer) => Err(ProofError::Downgrade),
        (Some(Binding::Key(key)), Scheme::Dpop) => {
            let bound = (key, principal.known_header());
            check_dpop(asked, head, token, bound, verify, now)
        }
        (Some(Binding::Certificate(bound)), _) => check_certificate(*bound, verify.certificate()),
    }
}

fn check_dpop(
    asked: &Possession,
    head: RequestHead<'_>,
    token: BearerToken<'_>,
    (key, known): (&Thumbprint, &KnownHeader),
    verify: &impl VerifyToken<Api>,
    now: UnixSeconds,
) -> Result<(), ProofError> {
    let mut values = head.headers.get_all(DPOP).iter();
    let text = values.next().ok_or(ProofError::Missing)?;
    if values.next().is_some() {
        return Err(ProofError::Invalid("there is more than one DPoP header"));
    }
    let text = text.to_str();
    let text = text.map_err(|_not_visible| ProofError::Invalid("the header is not ASCII"))?;
    let (Mechanism::Dpop(Some(base)), Some(desk)) = (&asked.mechanism, verify.proofs()) else {
        return Err(ProofError::Invalid("this API has no public address"));
    };
    let scope = ProofScope {
        method: head.method.as_str(),
        base,
        path: head.path,
        token: token.as_str(),
        key,
        known,
    };
    let proof = check_proof(text, scope, desk.times(), now)?;
    desk.take(&proof, key, now)
}

fn check_certificate(bound: Thumbprint, shown: Option<Thumbprint>) -> Result<(), ProofError> {
    match shown {
        None => Err(ProofError::NoCertificate),
        Some(shown) if shown == bound => Ok(()),
        Some(_) => Err(ProofError::WrongCertificate),
    }
}
