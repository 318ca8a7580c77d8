//! Who a verified token speaks for.
//!
//! A `Principal` is proof: its fields are private and `verify` and `introspection` alone make one, so whoever holds one
//! holds a token whose signature (or whose issuer's word), issuer, audience and type were right. Time is not part of the proof: it is asked for at each use.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::json::Json;
use super::{Binding, GrantedBy, KnownHeader, ScopeSet, TokenError, UnixSeconds};

/// The facts of a verified access token for one API.
#[derive(Clone, Debug)]
pub struct Principal {
    pub(super) issuer: Arc<str>,
    pub(super) subject: Option<Box<str>>,
    pub(super) client_id: Option<Box<str>>,
    pub(super) token_id: Option<Box<str>>,
    pub(super) scopes: ScopeSet,
    pub(super) permissions: ScopeSet,
    pub(super) granted_by: GrantedBy,
    pub(super) issued_at: Option<UnixSeconds>,
    pub(super) not_before: Option<UnixSeconds>,
    pub(super) expires_at: UnixSeconds,
    pub(super) auth_time: Option<UnixSeconds>,
    pub(super) binding: Option<Binding>,
    /// Of the key that `binding` names.
    pub(super) header: KnownHeader,
    pub(super) claims: Box<[(Box<str>, Json<'static>)]>,
}

/// Which top-level claims of a token are kept with its principal. What is not kept is never found again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeptClaims {
    /// All of them.
    #[default]
    All,
    /// Those of these names.
    Named(BTreeSet<Box<str>>),
}

/// What is asked of the times of a token. Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeRules {
    pub(super) leeway: i64,
    pub(super) max_age: Option<i64>,
}

impl KeptClaims {
    /// Those that can be found by one of these names with [`Principal::claim`].
    pub fn found_by<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut kept: BTreeSet<Box<str>> = names.into_iter().map(Box::from).collect();
        if kept.contains("client_id") {
            kept.insert("azp".into());
        }
        Self::Named(kept)
    }

    /// Of the claims of a token, those that are kept.
    pub(super) fn of(&self, claims: Json<'_>) -> Box<[(Box<str>, Json<'static>)]> {
        let Json::Object(members) = claims else {
            return Box::default();
        };
        let mut kept = Vec::new();
        for (name, value) in members {
            if self.keeps(&name) {
                kept.push((name.into(), value.into_owned()));
            }
        }
        kept.into()
    }

    fn keeps(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

impl Principal {
    /// `iss`
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`; a token of the Auth0 profile may lack it.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// `client_id` or `azp`: one thing under two names.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// `jti`, or what stands for it.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Of the scopes, what the definition defines.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Of the permissions, or of what the roles stand for, what the definition defines.
    pub fn permissions(&self) -> &ScopeSet {
        &self.permissions
    }

    /// Which of the two count.
    pub fn granted_by(&self) -> GrantedBy {
        self.granted_by
    }

    /// `iat`
    pub fn issued_at(&self) -> Option<UnixSeconds> {
        self.issued_at
    }

    /// `exp`; the end of time where the issuer of an opaque token names none.
    pub fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// `auth_time` (RFC 9068 section 2.2.1).
    pub fn auth_time(&self) -> Option<UnixSeconds> {
        self.auth_time
    }

    /// What the holder must have; only where the API checks it.
    pub fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// What proofs for this token have shown of their header.
    pub fn known_header(&self) -> &KnownHeader {
        &self.header
    }

    /// A top-level claim, where it was kept. `client_id` also finds `azp`. Where the issuer's tokens are read in a way of their own, `sub`,
    /// `client_id`, `scope` and `permissions` are what was read.
    pub fn claim(&self, name: &str) -> Option<&Json<'static>> {
        let kept = |name: &str| {
            let mut claims = self.claims.iter();
            claims.find(|(known, _)| **known == *name).map(|(_, value)| value)
        };
        match kept(name) {
            None if name == "client_id" => kept("azp"),
            found => found,
        }
    }

    /// The first moment at which [`Self::check_times`] will refuse it for its age.
    pub(super) fn good_until(&self, rules: TimeRules) -> UnixSeconds {
        let expiry = self.expires_at.saturating_add(rules.leeway);
        let oldest = rules.max_age.zip(self.issued_at).map(|(max_age, issued_at)| {
            issued_at
                .saturating_add(max_age)
                .saturating_add(rules.leeway)
                .saturating_add(1)
        });
        oldest.map_or(expiry, |oldest| expiry.min(oldest))
    }

    /// Whether the times are right at `now`: once when verified, and again on each hit of the cache.
    pub(super) fn check_times(&self, rules: TimeRules, now: UnixSeconds) -> Result<(), TokenError> {
        let latest = now.saturating_add(rules.leeway);
        let earliest = now.saturating_sub(rules.leeway);
        // RFC 7519 section 4.1.4: on or after `exp` it must not be accepted.
        if self.expires_at <= earliest {
            return Err(TokenError::Expired);
        }
        if self.not_before.is_some_and(|not_before| not_before > latest) {
            return Err(TokenError::NotYetValid);
        }
        if self.issued_at.is_some_and(|issued_at| issued_at > latest) {
            return Err(TokenError::IssuedInFuture);
        }
        match (rules.max_age, self.issued_at) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(TokenError::MissingClaim("iat")),
            (Some(max_age), Some(issued_at)) if issued_at < earliest.saturating_sub(max_age) => {
                Err(TokenError::TooOld)
            }
            (Some(_), Some(_)) => Ok(()),
        }
    }
}
