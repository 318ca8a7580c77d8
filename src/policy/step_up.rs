//! Step-up authentication (RFC 9470): whether the user of a token authenticated recently and strongly enough.
//!
//! `TokenRequirement` asks it of every request, also where the token is a cached one: an authentication grows old while
//! its token is still good. It reads claims that were verified, and never the clock.

use std::fmt;
use std::time::Duration;

use super::Reason;
use crate::definition::TokenDialect;
use crate::token::{Json, Principal, UnixSeconds};

/// `acr` of an authentication with several factors, as OpenID providers name it.
pub const MULTI_FACTOR: &str = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";

/// What is asked of the authentication of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepUp {
    /// The longest time since `auth_time`.
    pub within: Option<Duration>,
    /// `amr` must contain all of these, such as `mfa`.
    pub methods: Vec<String>,
    /// `acr` must be one of these.
    pub acr: Vec<String>,
    /// Whether methods and `acr` are asked for together.
    pub matching: Matching,
    /// Whether a client that acts for itself is asked, too.
    pub machines: Machines,
}

/// How `methods` and `acr` go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Matching {
    /// Both must be met, where both are asked for.
    #[default]
    All,
    /// One of the two will do.
    Any,
}

/// What is asked of a client that acts for itself. Nobody can be sent to a login for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Machines {
    /// Nothing.
    #[default]
    Exempt,
    /// The same as of a user, which it will hardly ever meet.
    Include,
}

/// What the claims of an API's tokens mean.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// That of the definition.
    pub dialect: TokenDialect,
    /// How far `auth_time` may lie in the future.
    pub leeway: Duration,
}

impl StepUp {
    /// The default policy "Require 2FA" of an API definition: a second factor that is not older than 15 minutes.
    pub fn require_2fa() -> Self {
        Self {
            within: Some(Duration::from_secs(900)),
            methods: vec!["mfa".into()],
            acr: vec![MULTI_FACTOR.into()],
            matching: Matching::Any,
            machines: Machines::Exempt,
        }
    }

    /// The names of the claims that [`Self::check`] looks at, beside those that every principal has.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        let grant = (self.machines == Machines::Exempt).then_some(GRANT);
        let methods = (!self.methods.is_empty()).then_some(METHODS);
        let context = (!self.acr.is_empty()).then_some(CONTEXT);
        [grant, methods, context].into_iter().flatten()
    }

    /// Whether the principal has authenticated as is asked, at `now`. `step_up_required` where another login would
    /// help; `malformed_claim` where what the token says of the login cannot be read.
    pub(super) fn check(
        &self,
        principal: &Principal,
        profile: Profile,
        now: UnixSeconds,
    ) -> Result<(), Reason> {
        if self.machines == Machines::Exempt && is_machine(principal, profile.dialect) {
            return Ok(());
        }
        let is_recent = self.within.is_none_or(|within| {
            // A time in the future is not a recent one: it would stay recent for as long as it lies ahead.
            principal.auth_time().is_some_and(|time| {
                time <= now.saturating_add(seconds(profile.leeway))
                    && now.saturating_sub(time) <= seconds(within)
            })
        });
        let has_methods = self.has_methods(principal)?;
        let has_acr = self.has_acr(principal)?;
        let is_strong = match self.matching {
            Matching::All => has_methods.unwrap_or(true) && has_acr.unwrap_or(true),
            Matching::Any => match (has_methods, has_acr) {
                (None, None) => true,
                (methods, acr) => methods == Some(true) || acr == Some(true),
            },
        };
        if is_recent && is_strong {
            Ok(())
        } else {
            Err(Reason::StepUpRequired)
        }
    }

    /// `None` where no method is asked for. `amr` is an array of strings (RFC 8176 section 1).
    fn has_methods(&self, principal: &Principal) -> Result<Option<bool>, Reason> {
        if self.methods.is_empty() {
            return Ok(None);
        }
        let used = match principal.claim(METHODS) {
            None => &[][..],
            Some(Json::Array(used)) if used.iter().all(|method| method.as_str().is_some()) => used,
            Some(_) => return Err(Reason::MalformedClaim),
        };
        let is_used = |asked: &String| used.iter().any(|method| method.as_str() == Some(asked));
        Ok(Some(self.methods.iter().all(is_used)))
    }

    /// `None` where no context is asked for. `acr` is a string (RFC 9068 section 2.2.1).
    fn has_acr(&self, principal: &Principal) -> Result<Option<bool>, Reason> {
        if self.acr.is_empty() {
            return Ok(None);
        }
        match principal.claim(CONTEXT) {
            None => Ok(Some(false)),
            Some(Json::String(acr)) => Ok(Some(self.acr.iter().any(|asked| **asked == **acr))),
            Some(_) => Err(Reason::MalformedClaim),
        }
    }
}

impl fmt::Display for StepUp {
    /// For people: `authenticated within 900s and (with mfa or acr in [gold])`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut how = Vec::new();
        if !self.methods.is_empty() {
            how.push(format!("authenticated with {}", self.methods.join(" and ")));
        }
        if !self.acr.is_empty() {
            how.push(format!("acr in [{}]", self.acr.join(", ")));
        }
        let how = match (self.matching, how.len()) {
            (Matching::Any, 2) => Some(format!("({})", how.join(" or "))),
            (_, 0) => None,
            _ => Some(how.join(" and ")),
        };
        let within = self
            .within
            .map(|within| format!("authenticated within {}s", within.as_secs()));
        let parts: Vec<String> = within.into_iter().chain(how).collect();
        f.write_str(&parts.join(" and "))?;
        match self.machines {
            Machines::Exempt => Ok(()),
            Machines::Include => f.write_str(" (machines too)"),
        }
    }
}

/// Whether a token speaks for a client and not for a user. A `sub` that only ends like one is not enough: in many a user
/// store people choose their names.
fn is_machine(principal: &Principal, dialect: TokenDialect) -> bool {
    let is_client_credentials =
        |grant: &Json<'_>| matches!(grant.as_str(), Some("client-credentials" | "client_credentials"));
    let granted = match principal.claim(GRANT) {
        None => false,
        Some(Json::Array(grants)) => !grants.is_empty() && grants.iter().all(is_client_credentials),
        Some(grant) => is_client_credentials(grant),
    };
    let is_itself = match (principal.subject(), principal.client_id()) {
        (Some(subject), Some(client)) => {
            subject.strip_suffix("@clients") == Some(client) || (dialect.is_rfc9068() && subject == client)
        }
        _ => false,
    };
    granted || is_itself
}

/// How the client came to its token, as Auth0 tells it.
const GRANT: &str = "gty";
/// RFC 8176 section 1.
const METHODS: &str = "amr";
/// RFC 9068 section 2.2.1.
const CONTEXT: &str = "acr";

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
