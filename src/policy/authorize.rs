//! `authorize`: a route and a principal in, a [`Permit`] or a [`Denial`] out.
//!
//! A `Permit` is proof: its fields are private and only this file makes one. `gateway::forward` takes it by value, so a
//! request that was not authorised cannot be forwarded: it does not compile.

use std::sync::Arc;

use http::HeaderValue;

use super::possession::Held;
use super::table::{Api, ApiId, Preflight, Route, RouteId};
use super::{Mode, Reason, Requirement};
use crate::token::{
    ApiKey, ExchangedToken, OpaqueToken, Principal, ProofError, Scheme, SealedToken, TokenError, UnixSeconds,
};

/// Leave to forward one request.
#[derive(Debug)]
pub struct Permit {
    route: RouteId,
    api: ApiId,
    reason: Reason,
    principal: Option<Arc<Principal>>,
    /// For which token a key was exchanged.
    exchanged: Option<Arc<ExchangedToken>>,
    shadow: Option<Denial>,
}

/// A refusal, with what is needed to answer and to record it.
#[derive(Clone, Debug)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The route, where one matched.
    pub route: Option<RouteId>,
    /// Whom the token speaks for, where it was verified.
    pub principal: Option<Arc<Principal>>,
    /// What the log may say beyond the reason. Never the token.
    pub detail: Option<TokenError>,
    /// For `Allow`, where the method is not allowed.
    pub allow: Option<HeaderValue>,
    /// With which scheme the token came.
    pub scheme: Scheme,
}

/// A key that an issuer may have by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMiss<'a> {
    /// The issuer identifier.
    pub issuer: &'a Arc<str>,
    /// The `kid` of the token.
    pub kid: &'a str,
}

impl Permit {
    /// The route that matched.
    pub fn route(&self) -> RouteId {
        self.route
    }

    /// The API of the route.
    pub fn api(&self) -> ApiId {
        self.api
    }

    /// `ok` or `public`.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whom the token speaks for; `None` on a public route.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The token that stands for the key of the request, which the upstream never sees.
    pub fn exchanged(&self) -> Option<&Arc<ExchangedToken>> {
        self.exchanged.as_ref()
    }

    /// The same, for a request whose key was exchanged.
    pub(super) fn with_exchanged(mut self, exchanged: Option<Arc<ExchangedToken>>) -> Self {
        if exchanged.is_some() {
            self.exchanged = exchanged;
        }
        self
    }

    /// What would have been refused, where the route only reports.
    pub fn shadow(&self) -> Option<&Denial> {
        self.shadow.as_ref()
    }
}

impl Denial {
    /// A refusal before any route is known.
    pub fn of(reason: Reason) -> Self {
        Self {
            reason,
            route: None,
            principal: None,
            detail: None,
            allow: None,
            scheme: Scheme::Bearer,
        }
    }

    /// A refusal on a route.
    pub fn on(route: &Route, reason: Reason) -> Self {
        Self {
            route: Some(route.id),
            ..Self::of(reason)
        }
    }

    /// A refusal of the token itself, or of whoever sent it.
    pub(super) fn of_token(route: &Route, scheme: Scheme, error: TokenError) -> Self {
        let reason = Reason::from(&error);
        Self {
            detail: Some(error),
            scheme,
            ..Self::on(route, reason)
        }
    }

    /// The nonce that the next proof must have, for `DPoP-Nonce` (RFC 9449 section 9).
    pub fn nonce(&self) -> Option<&str> {
        match &self.detail {
            Some(TokenError::Proof(ProofError::NonceWanted { nonce })) => Some(nonce),
            _ => None,
        }
    }

    /// The key that would have to be fetched for another verdict.
    pub fn key_miss(&self) -> Option<KeyMiss<'_>> {
        match &self.detail {
            Some(TokenError::UnknownKid { issuer, kid }) if !kid.is_empty() => Some(KeyMiss { issuer, kid }),
            _ => None,
        }
    }

    /// The encrypted token that would have to be opened for another verdict.
    pub fn sealed(&self) -> Option<&Arc<SealedToken>> {
        match &self.detail {
            Some(TokenError::Sealed(token)) => Some(token),
            _ => None,
        }
    }

    /// The token that an issuer would have to be asked about for another verdict.
    pub fn opaque(&self) -> Option<&Arc<OpaqueToken>> {
        match &self.detail {
            Some(TokenError::Opaque(token)) => Some(token),
            _ => None,
        }
    }

    /// The key that would have to be exchanged for another verdict.
    pub fn unexchanged(&self) -> Option<&Arc<ApiKey>> {
        match &self.detail {
            Some(TokenError::Unexchanged(key)) => Some(key),
            _ => None,
        }
    }

    /// When the client may come again with a key, where too many were wrong.
    pub fn throttled_until(&self) -> Option<UnixSeconds> {
        match self.detail {
            Some(TokenError::KeyThrottled { until }) => Some(until),
            _ => None,
        }
    }

    /// A permit all the same, where the route only reports what it would refuse.
    pub(super) fn waived(self, route: &Route) -> Result<Permit, Self> {
        match route.mode {
            Mode::Enforce => Err(self),
            Mode::Report => Ok(Permit {
                route: route.id,
                api: route.api,
                reason: Reason::Ok,
                principal: self.principal.clone(),
                exchanged: None,
                shadow: Some(self),
            }),
        }
    }
}

/// Leave for a public route.
pub(super) fn authorize_anonymous(route: &Route) -> Option<Permit> {
    match route.requirement {
        Requirement::Public | Requirement::Metadata(_) => Some(anonymous(route)),
        Requirement::Token(_) => None,
    }
}

/// Leave for a CORS preflight, where the API passes them on.
pub(super) fn authorize_preflight(api: &Api, route: &Route) -> Option<Permit> {
    match api.preflight {
        Preflight::Forward => Some(anonymous(route)),
        Preflight::Decide => None,
    }
}

/// Leave for a principal that meets what the route asks.
pub(super) fn authorize(route: &Route, held: Held, now: UnixSeconds) -> Result<Permit, Denial> {
    let (principal, scheme) = held.into_parts();
    if let Requirement::Token(requirement) = &route.requirement
        && let Err(reason) = requirement.check(&principal, now)
    {
        return Err(Denial {
            principal: Some(principal),
            scheme,
            ..Denial::on(route, reason)
        });
    }
    Ok(Permit {
        route: route.id,
        api: route.api,
        reason: Reason::Ok,
        principal: Some(principal),
        exchanged: None,
        shadow: None,
    })
}

fn anonymous(route: &Route) -> Permit {
    Permit {
        route: route.id,
        api: route.api,
        reason: Reason::Public,
        principal: None,
        exchanged: None,
        shadow: None,
    }
}
