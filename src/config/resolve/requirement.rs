//! Requirements: what a route asks, held against the permissions that the definition has.

use super::super::faults::Fault;
use super::super::file::{Require, Rule};
use super::super::reader::{Placed, repeated};
use super::step_up::step_up;
use crate::definition::{ApiDefinition, nearest};
use crate::policy::{ClaimTest, Conditions, RequirementPlan, StepUp};

/// What `require` means; `None` where it is at fault. `default` is what the API asks of the authentication.
pub(super) fn requirement(
    written: &Placed<Require>,
    definition: Option<&ApiDefinition>,
    default: Option<&StepUp>,
    faults: &mut Vec<Fault>,
) -> Option<RequirementPlan> {
    let conditions = match &written.value {
        Require::Word(word) if word == "public" => return Some(RequirementPlan::Public),
        Require::Word(word) if word == "authenticated" => Conditions::default(),
        Require::Word(word) => {
            let name = Placed {
                place: written.place.clone(),
                value: word.clone(),
            };
            defined(&[name], definition, &["public", "authenticated"], faults);
            Conditions {
                all_of: vec![word.clone()],
                ..Conditions::default()
            }
        }
        Require::AllOf(names) => Conditions {
            all_of: permissions("require", names, definition, faults),
            ..Conditions::default()
        },
        Require::Rule(rule) => rule_conditions(written, rule, definition, faults)?,
    };
    let is_own = matches!(&written.value, Require::Rule(rule) if rule.step_up.is_some());
    Some(RequirementPlan::Token(Conditions {
        step_up: if is_own {
            conditions.step_up
        } else {
            default.cloned()
        },
        ..conditions
    }))
}

fn rule_conditions(
    written: &Placed<Require>,
    rule: &Rule,
    definition: Option<&ApiDefinition>,
    faults: &mut Vec<Fault>,
) -> Option<Conditions> {
    let Rule {
        all_of,
        any_of,
        claims,
        clients,
        step_up: written_step_up,
    } = rule;
    let names = |key, names: &Option<Vec<_>>, faults: &mut Vec<_>| {
        names
            .as_ref()
            .map(|names| permissions(key, names, definition, faults))
            .unwrap_or_default()
    };
    let conditions = Conditions {
        all_of: names("all_of", all_of, faults),
        any_of: names("any_of", any_of, faults),
        claims: claims
            .iter()
            .flat_map(|claims| &claims.0)
            .map(|(claim, values)| ClaimTest {
                claim: claim.value.clone(),
                values: texts("claims", &values.0, faults),
            })
            .collect(),
        clients: clients
            .as_ref()
            .map(|clients| texts("clients", clients, faults))
            .unwrap_or_default(),
        step_up: written_step_up
            .as_ref()
            .and_then(|written| step_up(written, faults)),
    };
    // A rule that says nothing would let everybody pass who has a token.
    if rule.is_empty() {
        let fault = Fault::new(&written.place, "the rule has no condition");
        faults.push(fault.with_hint("write `authenticated` where any valid token will do"));
        return None;
    }
    Some(conditions)
}

fn permissions(
    key: &str,
    names: &[Placed<String>],
    definition: Option<&ApiDefinition>,
    faults: &mut Vec<Fault>,
) -> Vec<String> {
    defined(names, definition, &[], faults);
    texts(key, names, faults)
}

/// A permission that the definition does not define is one that nobody can have.
pub(super) fn defined(
    names: &[Placed<String>],
    definition: Option<&ApiDefinition>,
    words: &[&str],
    faults: &mut Vec<Fault>,
) {
    let Some(definition) = definition else { return };
    for name in names.iter().filter(|name| !definition.defines(&name.value)) {
        let known = definition
            .permissions
            .iter()
            .map(|permission| permission.value.as_str());
        let hint = match nearest(&name.value, known.chain(words.iter().copied())) {
            Some(known) => format!("did you mean `{known}`?"),
            None if definition.permissions.is_empty() => "the definition has no `scopes`".into(),
            None => "add it to the `scopes` of the definition".into(),
        };
        let message = format!(
            "`{}` is not a permission of `{}`",
            name.value, definition.identifier
        );
        faults.push(Fault::new(&name.place, message).with_hint(hint));
    }
}

pub(super) fn texts(key: &str, written: &[Placed<String>], faults: &mut Vec<Fault>) -> Vec<String> {
    faults.extend(repeated(written, key));
    written.iter().map(|text| text.value.clone()).collect()
}
