//! Step-up authentication as it is written: a word or a rule, of an API or of a route.

use schemars::JsonSchema;

use super::super::faults::Fault;
use super::super::reader::{FromNode, Keys, Mirror, Placed, Word, misshapen};
use super::super::values::Period;
use crate::definition::{Node, Value, Words, refuse_null, wrong_kind};
use crate::policy::{Machines, Matching};

/// Recent or strong authentication (RFC 9470).
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum StepUp {
    /// `require_2fa`: a second factor that is not older than 15 minutes. `off`: nothing.
    Word(Word<StepUpWord>),
    /// What is asked of the authentication.
    Rule(StepUpRule),
}

impl FromNode for StepUp {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Text(_) => Word::from_node(key, node, faults).map(Self::Word),
            Value::Map(_) => StepUpRule::from_node(key, node, faults).map(Self::Rule),
            _ => {
                faults.push(misshapen(&wrong_kind(key, node, "a word or a mapping")));
                None
            }
        }
    }
}

/// What needs no rule of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum StepUpWord {
    Off,
    Require2fa,
}

impl Words for StepUpWord {
    const WORDS: &'static [(&'static str, Self)] = &[("off", Self::Off), ("require_2fa", Self::Require2fa)];
}

/// What is asked of the authentication of a user.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1), transform = refuse_null)]
pub(in super::super) struct StepUpRule {
    /// The longest time since the user authenticated (`auth_time`).
    pub(in super::super) within: Option<Placed<Period>>,
    /// Methods that must all have been used (`amr`), such as `mfa`.
    #[schemars(length(min = 1))]
    pub(in super::super) methods: Option<Vec<Placed<String>>>,
    /// The authentication contexts of which one is needed (`acr`).
    #[schemars(length(min = 1))]
    pub(in super::super) acr: Option<Vec<Placed<String>>>,
    /// `all` (the default): both `methods` and `acr`. `any`: one of the two.
    #[schemars(rename = "match")]
    pub(in super::super) matching: Option<Word<Matching>>,
    /// `exempt` (the default): nothing of this is asked of a client that acts for itself. `include`: it is.
    pub(in super::super) machines: Option<Word<Machines>>,
}

impl Mirror for StepUpRule {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let step_up = Self {
            within: keys.optional("within"),
            methods: keys.optional("methods"),
            acr: keys.optional("acr"),
            matching: keys.optional("match"),
            machines: keys.optional("machines"),
        };
        // Where no condition could be read, that is the fault; what only says how conditions are met is none.
        let is_said = step_up.matching.is_some() || step_up.machines.is_some();
        (keys.is_empty() || is_said || !step_up.is_empty()).then_some(step_up)
    }
}

impl StepUpRule {
    /// Whether no condition was written.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.within.is_none() && self.methods.is_none() && self.acr.is_none()
    }
}

impl Words for Matching {
    const WORDS: &'static [(&'static str, Self)] = &[("all", Self::All), ("any", Self::Any)];
}

impl Words for Machines {
    const WORDS: &'static [(&'static str, Self)] = &[("exempt", Self::Exempt), ("include", Self::Include)];
}
