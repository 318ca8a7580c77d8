//! What a route asks, compiled against a definition: names have become bits.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use super::{ClaimTest, Conditions, Profile, Reason, RequirementPlan, StepUp};
use crate::token::{GrantedBy, Json, Principal, ScopeSet, ScopeTable, UnixSeconds};

/// What a route asks of a request.
#[derive(Debug)]
pub enum Requirement {
    /// Nothing; no token is looked at.
    Public,
    /// Nothing; the gateway itself answers, with this JSON.
    Metadata(Arc<str>),
    /// A valid token that meets the conditions.
    Token(Box<TokenRequirement>),
}

/// The conditions of a route, compiled. Empty conditions mean that any valid token will do.
#[derive(Debug)]
pub struct TokenRequirement {
    /// For people: what the definition says. A principal knows it of its issuer.
    source: GrantedBy,
    profile: Profile,
    all_of: ScopeSet,
    any_of: Option<ScopeSet>,
    claims: Vec<ClaimTest>,
    clients: Vec<String>,
    step_up: Option<StepUp>,
    /// For the `scope` of a challenge: every name that the route mentions, separated by spaces.
    asked: Box<str>,
    names: Names,
}

/// The names behind the bits, for people.
#[derive(Debug)]
struct Names {
    all_of: Vec<String>,
    any_of: Vec<String>,
}

/// What becomes of a scope that a route asks for and the definition does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undefined {
    /// The policy is at fault.
    Refused,
    /// Nobody has it: the definition is changed elsewhere, and must be enforced as it is now.
    Unmeetable,
}

impl Requirement {
    /// Compiles a plan. Fails with the first name that the table does not have, where that is refused.
    pub fn compile<'a>(
        plan: &'a RequirementPlan,
        scopes: &ScopeTable,
        source: GrantedBy,
        undefined: Undefined,
        profile: Profile,
    ) -> Result<Self, &'a str> {
        let RequirementPlan::Token(conditions) = plan else {
            return Ok(Self::Public);
        };
        let Conditions {
            all_of,
            any_of,
            claims,
            clients,
            step_up,
        } = conditions;
        let mut names: Vec<&str> = Vec::new();
        for name in all_of.iter().chain(any_of) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let set = |names: &'a [String]| {
            let names = names.iter().map(String::as_str);
            match undefined {
                Undefined::Refused => scopes.exact_set(names),
                Undefined::Unmeetable => Ok(scopes.set_or_nobody(names)),
            }
        };
        Ok(Self::Token(Box::new(TokenRequirement {
            source,
            profile,
            all_of: set(all_of)?,
            any_of: match any_of.as_slice() {
                [] => None,
                names => Some(set(names)?),
            },
            claims: claims.clone(),
            clients: clients.clone(),
            step_up: step_up.clone(),
            asked: names.join(" ").into(),
            names: Names {
                all_of: all_of.clone(),
                any_of: any_of.clone(),
            },
        })))
    }
}

impl TokenRequirement {
    /// Whether the principal meets every condition at `now`; the reason of the first that it does not.
    ///
    /// Scopes go first, so that a client learns what it lacks before it bothers a person with a new login.
    pub fn check(&self, principal: &Principal, now: UnixSeconds) -> Result<(), Reason> {
        let both;
        let (held, lacking) = match principal.granted_by() {
            GrantedBy::Scope => (principal.scopes(), Reason::InsufficientScope),
            GrantedBy::Permissions => (principal.permissions(), Reason::InsufficientPermission),
            GrantedBy::Either => {
                both = principal.scopes().clone().union(principal.permissions());
                (&both, Reason::InsufficientPermission)
            }
        };
        if !held.contains_all(&self.all_of) || self.any_of.as_ref().is_some_and(|any| !held.contains_any(any))
        {
            return Err(lacking);
        }
        if !self.clients.is_empty()
            && !principal
                .client_id()
                .is_some_and(|client| self.clients.iter().any(|allowed| allowed == client))
        {
            return Err(Reason::ClientNotAllowed);
        }
        if !self
            .claims
            .iter()
            .all(|test| has_one_of(principal.claim(&test.claim), &test.values))
        {
            return Err(Reason::ClaimMismatch);
        }
        match &self.step_up {
            Some(step_up) => step_up.check(principal, self.profile, now),
            None => Ok(()),
        }
    }

    /// The `scope` parameter of a challenge.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// What a step-up challenge asks for.
    pub fn step_up(&self) -> Option<&StepUp> {
        self.step_up.as_ref()
    }
}

impl fmt::Display for TokenRequirement {
    /// For people: `all of read:items write:items (in \`scope\`)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            GrantedBy::Scope => "scope",
            GrantedBy::Permissions => "permissions",
            GrantedBy::Either => "scope` or `permissions",
        };
        let mut parts = Vec::new();
        if !self.names.all_of.is_empty() {
            parts.push(format!("{} (in `{source}`)", self.names.all_of.join(" and ")));
        }
        if !self.names.any_of.is_empty() {
            parts.push(format!("{} (in `{source}`)", self.names.any_of.join(" or ")));
        }
        for test in &self.claims {
            parts.push(format!("{} one of {}", test.claim, test.values.join(", ")));
        }
        if !self.clients.is_empty() {
            parts.push(format!("client one of {}", self.clients.join(", ")));
        }
        if let Some(step_up) = &self.step_up {
            parts.push(step_up.to_string());
        }
        if parts.is_empty() {
            f.write_str("a valid token")
        } else {
            f.write_str(&parts.join("; "))
        }
    }
}

fn has_one_of(claim: Option<&Json<'_>>, values: &[String]) -> bool {
    let is_one = |json: &Json<'_>| values.iter().any(|value| json.is_text(value));
    match claim {
        None => false,
        Some(Json::Array(elements)) => elements.iter().any(is_one),
        Some(scalar) => is_one(scalar),
    }
}

/// `text` as a header value, with what is not visible ASCII left out.
pub(super) fn visible(text: &str) -> HeaderValue {
    let text: String = text.chars().filter(|c| matches!(c, ' '..='~')).collect();
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
}
