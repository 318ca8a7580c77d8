//! Members that old definitions still have, and that mean nothing any more.
//!
//! Read past in a definition; allowed by its schema.

/// The members.
pub(super) const IGNORED: &[&str] = &["verificationLocation", "verificationKey", "options"];

/// Adds the members to a schema that would otherwise refuse them.
pub(super) fn allow(schema: &mut schemars::Schema) {
    let Some(properties) = schema
        .get_mut("properties")
        .and_then(serde_json::Value::as_object_mut)
    else {
        return;
    };
    for member in IGNORED {
        properties.insert(
            (*member).into(),
            serde_json::json!({"description": "Legacy; ignored.", "deprecated": true}),
        );
    }
}
