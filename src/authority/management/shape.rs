//! What is wrong with a value, in the words of the Management API: `'<reason>' on property <path> (<description>)`.
//!
//! The words are those that clients of it, and their users, have been shown for years.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

/// The words for one fault. `schema` is the one that was validated with, without references.
pub(super) fn text(error: &ValidationError<'_>, schema: &Value) -> String {
    let reason = reason(error);
    let path = property(error.instance_path().as_str());
    if path.is_empty() {
        return format!("'{reason}'");
    }
    match description(error.schema_path().as_str(), schema) {
        Some(description) => format!("'{reason}' on property {path} ({description})"),
        None => format!("'{reason}' on property {path}"),
    }
}

fn reason(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    let value = error.instance().as_ref();
    match error.kind() {
        Kind::Required { property } => {
            format!(
                "Missing required property: {}",
                property.as_str().unwrap_or_default()
            )
        }
        Kind::AdditionalProperties { unexpected } => {
            let names: Vec<&str> = unexpected.iter().map(|name| short(name)).collect();
            format!("Additional properties not allowed: {}", names.join(","))
        }
        Kind::Type { kind } => format!(
            "Expected type {} but found type {}",
            expected(kind),
            type_of(value)
        ),
        Kind::MinLength { limit } => {
            format!("String is too short ({} chars), minimum {limit}", length(value))
        }
        Kind::MaxLength { limit } => format!("String is too long ({} chars), maximum {limit}", length(value)),
        Kind::Pattern { pattern } => format!("String does not match pattern {pattern}"),
        Kind::Enum { .. } | Kind::Constant { .. } => match value.as_str() {
            Some(text) => format!("No enum match for: {}", short(text)),
            None => format!("No enum match for type {}", type_of(value)),
        },
        Kind::Minimum { limit } => format!("Value {value} is less than minimum {limit}"),
        Kind::Maximum { limit } => format!("Value {value} is greater than maximum {limit}"),
        Kind::MinItems { limit } => format!("Array is too short ({}), minimum {limit}", length(value)),
        Kind::MaxItems { limit } => format!("Array is too long ({}), maximum {limit}", length(value)),
        Kind::MinProperties { limit } => {
            format!("Too few properties defined ({}), minimum {limit}", length(value))
        }
        Kind::MaxProperties { limit } => {
            format!("Too many properties defined ({}), maximum {limit}", length(value))
        }
        Kind::UniqueItems => match equal_items(value) {
            Some((first, second)) => format!("Array items are not unique (indexes {first} and {second})"),
            None => "Array items are not unique".into(),
        },
        Kind::Format { format } => format!("Object didn't pass validation for format {format}"),
        other => format!("Does not match the schema ({})", other.keyword()),
    }
}

fn expected(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(several) => {
            let names: Vec<String> = several.iter().map(|one| one.to_string()).collect();
            names.join(",")
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Characters, items or members.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    }
}

fn equal_items(value: &Value) -> Option<(usize, usize)> {
    let items = value.as_array()?;
    items.iter().enumerate().find_map(|(second, item)| {
        let first = items.iter().take(second).position(|other| other == item)?;
        Some((first, second))
    })
}

/// What a client sent is given back in part only.
fn short(text: &str) -> &str {
    text.char_indices()
        .nth(100)
        .map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

/// `/scopes/0/value` → `scopes[0].value`
fn property(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            path.push_str(&format!("[{name}]"));
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(short(&name));
    }
    path
}

/// What the document says of the property: `schema_path` ends with the keyword that was not met.
fn description<'a>(schema_path: &str, schema: &'a Value) -> Option<&'a str> {
    let (place, _keyword) = schema_path.rsplit_once('/')?;
    let text = schema.pointer(place)?.get("description")?.as_str()?;
    Some(text.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(schema: &Value, value: &Value) -> Vec<String> {
        let validator = jsonschema::validator_for(schema).unwrap();
        validator
            .iter_errors(value)
            .map(|error| text(&error, schema))
            .collect()
    }

    #[test]
    fn faults_have_the_words_that_clients_know() {
        let schema = json!({
            "type": "object",
            "required": ["identifier"],
            "additionalProperties": false,
            "properties": {
                "identifier": { "type": "string", "minLength": 1, "maxLength": 3 },
                "name": { "type": "string", "pattern": "^[^<>]+$", "description": "The name." },
                "lifetime": { "type": "integer", "maximum": 10, "minimum": 1 },
                "word": { "type": ["string", "null"], "enum": ["a", null] },
                "scopes": { "type": "array", "maxItems": 2, "uniqueItems": true, "items": {
                    "type": "object", "required": ["value"], "description": "A permission",
                    "properties": { "value": { "type": "string", "minLength": 1, "description": "The name" } },
                } },
            },
        });
        for (value, expected) in [
            (json!({}), "'Missing required property: identifier'"),
            (json!([]), "'Expected type object but found type array'"),
            (
                json!({ "identifier": "a", "x": 1 }),
                "'Additional properties not allowed: x'",
            ),
            (
                json!({ "identifier": "" }),
                "'String is too short (0 chars), minimum 1' on property identifier",
            ),
            (
                json!({ "identifier": "äöüß" }),
                "'String is too long (4 chars), maximum 3' on property identifier",
            ),
            (
                json!({ "identifier": 1 }),
                "'Expected type string but found type integer' on property identifier",
            ),
            (
                json!({ "identifier": "a", "name": "<" }),
                "'String does not match pattern ^[^<>]+$' on property name (The name)",
            ),
            (
                json!({ "identifier": "a", "lifetime": 11 }),
                "'Value 11 is greater than maximum 10' on property lifetime",
            ),
            (
                json!({ "identifier": "a", "lifetime": 0 }),
                "'Value 0 is less than minimum 1' on property lifetime",
            ),
            (
                json!({ "identifier": "a", "word": "b" }),
                "'No enum match for: b' on property word",
            ),
            (
                json!({ "identifier": "a", "scopes": [{ "value": "" }] }),
                "'String is too short (0 chars), minimum 1' on property scopes[0].value (The name)",
            ),
            (
                json!({ "identifier": "a", "scopes": [{}] }),
                "'Missing required property: value' on property scopes[0] (A permission)",
            ),
            (
                json!({ "identifier": "a", "scopes": [{ "value": "v" }, { "value": "v" }] }),
                "'Array items are not unique (indexes 0 and 1)' on property scopes",
            ),
        ] {
            assert_eq!(faults(&schema, &value), [expected]);
        }
        let several = faults(&schema, &json!({ "lifetime": 0, "y": 1 }));
        assert_eq!(several.len(), 3, "{several:?}");
    }
}
