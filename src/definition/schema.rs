//! What the derived JSON Schemas get wrong, put right.
//!
//! Used by the definition here and by the mirror of the configuration in `config`.

use schemars::Schema;
use serde_json::{Value, json};

/// Members that old definitions still have, and that mean nothing any more.
pub(super) const IGNORED: &[&str] = &["verificationLocation", "verificationKey", "options"];

/// Members for which `null` means the same as absence.
const NULLABLE: &[&str] = &[
    "scopes",
    "token_lifetime_for_anonymous_access_tokens",
    "token_encryption",
    "consent_policy",
    "authorization_details",
    "proof_of_possession",
    "subject_type_authorization",
    "authorization_policy",
];

/// Allows the legacy members, and `null` only where it is read.
pub(super) fn of_definition(schema: &mut Schema) {
    refuse_null_except(schema, NULLABLE);
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for member in IGNORED {
        properties.insert(
            (*member).into(),
            json!({"description": "Legacy; ignored.", "deprecated": true}),
        );
    }
}

/// A derived schema lets an optional member be `null`; a reader that is strict does not.
pub fn refuse_null(schema: &mut Schema) {
    refuse_null_except(schema, &[]);
}

fn refuse_null_except(schema: &mut Schema, except: &[&str]) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (_, property) in properties
        .iter_mut()
        .filter(|(name, _)| !except.contains(&name.as_str()))
    {
        let Some(property) = property.as_object_mut() else {
            continue;
        };
        if let Some(Value::Array(types)) = property.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                property.insert("type".into(), only);
            }
        }
        if let Some(Value::Array(mut choices)) = property.remove("anyOf") {
            choices.retain(|choice| *choice != json!({"type": "null"}));
            match choices.as_slice() {
                [Value::Object(only)] => property.extend(only.clone()),
                _ => drop(property.insert("anyOf".into(), choices.into())),
            }
        }
    }
}
