//! Step-up authentication: what a word or a rule means.

use std::time::Duration;

use super::super::bounds::period;
use super::super::faults::Fault;
use super::super::file::{StepUp as Written, StepUpRule, StepUpWord};
use super::super::reader::Placed;
use super::DAY;
use super::requirement::texts;
use crate::policy::{Matching, StepUp};

/// What is asked; `None`: nothing.
pub(super) fn step_up(written: &Placed<Written>, faults: &mut Vec<Fault>) -> Option<StepUp> {
    let rule = match &written.value {
        Written::Word(word) => {
            return match word.0 {
                StepUpWord::Off => None,
                StepUpWord::Require2fa => Some(StepUp::require_2fa()),
            };
        }
        Written::Rule(rule) => rule,
    };
    if rule.is_empty() {
        let fault = Fault::new(&written.place, "`step_up` has no condition");
        faults.push(fault.with_hint("one or more of: within, methods, acr"));
        return None;
    }
    let StepUpRule {
        within,
        methods,
        acr,
        matching,
        machines,
    } = rule;
    let matching = matching.map(|word| word.0).unwrap_or_default();
    if matching == Matching::Any && (methods.is_none() || acr.is_none()) {
        let message = "`match: any` needs both `methods` and `acr`: there is nothing to choose from";
        faults.push(Fault::new(&written.place, message));
    }
    let bounds = (Duration::from_secs(1), DAY * 30);
    let mut names = |key, names: &Option<Vec<_>>| {
        names
            .as_ref()
            .map(|names| texts(key, names, faults))
            .unwrap_or_default()
    };
    let (methods, acr) = (names("methods", methods), names("acr", acr));
    let within = within
        .as_ref()
        .map(|_| period("within", within.as_ref(), DAY, bounds, faults));
    Some(StepUp {
        within,
        methods,
        acr,
        matching,
        machines: machines.map(|word| word.0).unwrap_or_default(),
    })
}
