//! The OpenAPI document: served as it is, and what paths, queries and bodies are held against.
//!
//! Compiled once. A document that does not compile is found by the tests; at run time an operation without its part of
//! the document serves nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::operation::Operation;
use super::refusal::Refusal;
use super::shape;
use crate::authority::Answer;

static TEXT: &str = include_str!("openapi.json");
static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::read(TEXT).unwrap_or_default());

/// What each operation accepts, by its id.
#[derive(Debug, Default)]
pub(super) struct Contract {
    operations: HashMap<String, Accepted>,
    system_api: Option<Shape>,
}

/// What an operation accepts.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) path: Shape,
    pub(super) query: Shape,
    pub(super) body: Option<Shape>,
}

/// A schema, to be read and to be validated with.
#[derive(Debug)]
pub(super) struct Shape {
    schema: Value,
    validator: Validator,
}

/// The contract of an operation.
pub(super) fn of(operation: Operation) -> Result<&'static Accepted, Refusal> {
    CONTRACT.operations.get(operation.id()).ok_or(Refusal::Internal)
}

/// What may be changed of an API that belongs to the authority itself.
pub(super) fn of_system_api() -> Result<&'static Shape, Refusal> {
    CONTRACT.system_api.as_ref().ok_or(Refusal::Internal)
}

/// The document itself. It is the same everywhere and says nothing about this authority, so anybody may have it.
pub(super) fn document(_call: &Call<'_>) -> Result<Answer, Refusal> {
    let answer = Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::from_static(TEXT.as_bytes()),
    };
    Ok(answer.with(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    ))
}

impl Contract {
    fn read(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut operations = HashMap::new();
        let paths = document.get("paths").and_then(Value::as_object);
        for methods in paths
            .into_iter()
            .flat_map(Map::values)
            .filter_map(Value::as_object)
        {
            for operation in methods.values() {
                let id = operation.get("operationId").and_then(Value::as_str);
                let id = id.ok_or("an operation without an id")?;
                let operation = resolved(&document, operation)?;
                operations.insert(id.to_owned(), Accepted::read(&operation)?);
            }
        }
        let system_api = document.pointer("/components/schemas/UpdateSystemResourceServer");
        let system_api = resolved(&document, system_api.ok_or("no schema of system APIs")?)?;
        Ok(Self {
            operations,
            system_api: Some(Shape::new(system_api)?),
        })
    }
}

impl Accepted {
    fn read(operation: &Value) -> Result<Self, String> {
        let body = operation.pointer("/requestBody/content/application~1json/schema");
        Ok(Self {
            path: Shape::of_parameters(operation, "path")?,
            query: Shape::of_parameters(operation, "query")?,
            body: body.cloned().map(Shape::new).transpose()?,
        })
    }
}

impl Shape {
    fn new(schema: Value) -> Result<Self, String> {
        let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string())?;
        Ok(Self { schema, validator })
    }

    /// An object with the parameters as its members. Others are let through: clients send parameters that are newer than
    /// this document.
    fn of_parameters(operation: &Value, place: &str) -> Result<Self, String> {
        let parameters = operation.get("parameters").and_then(Value::as_array);
        let members: Map<String, Value> = parameters
            .into_iter()
            .flatten()
            .filter(|parameter| parameter.get("in").is_some_and(|stands| stands == place))
            .filter_map(|parameter| {
                let name = parameter.get("name")?.as_str()?;
                Some((name.to_owned(), parameter.get("schema")?.clone()))
            })
            .collect();
        Self::new(json!({ "type": "object", "properties": members }))
    }

    /// The members that it knows, each with its schema.
    pub(super) fn members(&self) -> Option<&Map<String, Value>> {
        self.schema.get("properties")?.as_object()
    }

    /// Everything that is wrong with a value, in the words that clients expect.
    pub(super) fn faults(&self, value: &Value) -> Vec<String> {
        self.validator
            .iter_errors(value)
            .map(|error| shape::text(&error, &self.schema))
            .collect()
    }
}

/// A part of the document with every reference replaced by what it refers to.
fn resolved(document: &Value, part: &Value) -> Result<Value, String> {
    Ok(match part {
        Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let found = reference
                    .strip_prefix('#')
                    .and_then(|pointer| document.pointer(pointer));
                resolved(
                    document,
                    found.ok_or_else(|| format!("{reference} leads nowhere"))?,
                )?
            }
            None => Value::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), resolved(document, value)?)))
                    .collect::<Result<_, String>>()?,
            ),
        },
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| resolved(document, item))
                .collect::<Result<_, _>>()?,
        ),
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes::{ROUTES, SCOPES};
    use super::*;

    #[test]
    fn the_document_says_what_the_table_says() {
        let document: Value = serde_json::from_str(TEXT).unwrap();
        let mut told = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let scopes: Vec<String> = operation["security"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|one| one["bearer"][0].as_str().unwrap().to_owned())
                    .collect();
                let id = operation["operationId"].as_str().unwrap().to_owned();
                told.insert((path.clone(), method.to_uppercase(), id, scopes));
            }
        }
        let table: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| {
                let scopes = route.any_of.iter().map(|&scope| scope.to_owned()).collect();
                (
                    route.path.to_owned(),
                    route.method.to_string(),
                    route.operation.id().to_owned(),
                    scopes,
                )
            })
            .collect();
        assert_eq!(told, table);
        for scope in ROUTES.iter().flat_map(|route| route.any_of) {
            assert!(SCOPES.contains(scope), "{scope}");
        }
    }

    #[test]
    fn the_document_compiles_and_describes_every_parameter() {
        let contract = Contract::read(TEXT).unwrap();
        assert_eq!(contract.operations.len(), ROUTES.len());
        for route in &ROUTES {
            let accepted = &contract.operations[route.operation.id()];
            let named: Vec<&str> = route
                .path
                .split('/')
                .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            let described: Vec<&String> = accepted.path.members().unwrap().keys().collect();
            assert_eq!(
                described
                    .iter()
                    .map(|name| name.as_str())
                    .collect::<BTreeSet<_>>(),
                named.into_iter().collect::<BTreeSet<_>>(),
                "{}",
                route.path
            );
            let has_body = !matches!(
                route.operation,
                Operation::RotateClientSecret | Operation::RotateSigningKeys | Operation::RevokeSigningKey
            ) && ["POST", "PATCH"].contains(&route.method.as_str());
            assert!(!has_body || accepted.body.is_some(), "{}", route.path);
        }
    }
}
