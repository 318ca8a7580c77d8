//! A requirement as it was written: validated, but not yet compiled against a definition.
//!
//! `config` makes these values, `snapshot::compile` consumes them. They hold names, never bit positions.

use super::StepUp;

/// Whether a denial is enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Refuse what is denied.
    #[default]
    Enforce,
    /// Decide, count and log, but let the request pass (shadow mode).
    Report,
}

/// What a route asks of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequirementPlan {
    /// No token is looked at.
    Public,
    /// A valid token that meets the conditions. Empty conditions mean `authenticated`.
    Token(Conditions),
}

impl RequirementPlan {
    /// The names of the claims that are looked at by name when it is decided on.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let conditions = match self {
            Self::Public => None,
            Self::Token(conditions) => Some(conditions),
        };
        conditions.into_iter().flat_map(Conditions::named_claims)
    }
}

/// All of these must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Permission names that must all be there.
    pub all_of: Vec<String>,
    /// Permission names of which one must be there; empty means no such condition.
    pub any_of: Vec<String>,
    /// Claims that must have one of the listed values.
    pub claims: Vec<ClaimTest>,
    /// The only clients (`azp` / `client_id`) that may call; empty means any.
    pub clients: Vec<String>,
    /// Recent or strong authentication (RFC 9470).
    pub step_up: Option<StepUp>,
}

impl Conditions {
    fn named_claims(&self) -> impl Iterator<Item = &str> {
        let tests = self.claims.iter().map(|test| test.claim.as_str());
        tests.chain(self.step_up.iter().flat_map(StepUp::claims))
    }
}

/// A claim, and the values of which the token must carry one: as the claim itself or as an element of its array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTest {
    /// The name of a top-level claim.
    pub claim: String,
    /// Scalars in their JSON text without quotes: `org_1`, `true`, `7`.
    pub values: Vec<String>,
}

/// Another protocol that a connection may change to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

/// What becomes of a WebSocket or of a stream when the token that it was opened with expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnExpiry {
    /// It is closed.
    #[default]
    Close,
    /// It goes on.
    Continue,
}

/// A spelling of a path that is refused unless a route allows it. The bytes are forwarded as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathForm {
    /// `%2F`
    EncodedSlash,
    /// `%5C`
    EncodedBackslash,
    /// `%25`
    EncodedPercent,
    /// `//`
    DoubleSlash,
    /// `;name=value` in a segment
    Semicolon,
}

impl PathForm {
    /// Every form, with the name that configuration uses.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::EncodedSlash, "encoded_slash"),
        (Self::EncodedBackslash, "encoded_backslash"),
        (Self::EncodedPercent, "encoded_percent"),
        (Self::DoubleSlash, "double_slash"),
        (Self::Semicolon, "semicolon"),
    ];
}
