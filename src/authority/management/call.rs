//! A request to an operation, read and held against the contract: ids of the path, query parameters, body.
//!
//! Clients put identifiers into paths percent-encoded once or twice, and some of these have percent signs of their own,
//! so an id has up to two readings, and the first that names something counts.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::contract::{self, Shape};
use super::gate::Admitted;
use super::refusal::Refusal;
use crate::authority::model::Tenant;
use crate::authority::{Authority, Request};
use crate::token::{Json, Principal};

/// A request that may be served and has the right shape.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) authority: &'a Authority,
    /// The state as it was when the request was decided on. Changes are made on what is there then.
    pub(super) tenant: Arc<Tenant>,
    principal: Option<Arc<Principal>>,
    ids: Vec<Id>,
    query: Map<String, Value>,
    body: Map<String, Value>,
}

/// An id of the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Id {
    once: String,
    /// Where another decoding makes another text of it.
    twice: Option<String>,
}

impl<'a> Call<'a> {
    pub(super) fn read(
        authority: &'a Authority,
        request: &Request,
        admitted: Admitted,
    ) -> Result<Self, Refusal> {
        let accepted = contract::of(admitted.operation)?;
        let ids = ids(admitted.pattern, &request.path, &accepted.path)?;
        let query = read_query(&request.query, &accepted.query)?;
        let body = match &accepted.body {
            None => Map::new(),
            Some(shape) => read_body(request, shape)?,
        };
        Ok(Self {
            authority,
            tenant: admitted.tenant,
            principal: admitted.principal,
            ids,
            query,
            body,
        })
    }

    /// The first id of the path.
    pub(super) fn id(&self) -> Result<&Id, Refusal> {
        self.ids.first().ok_or(Refusal::Internal)
    }

    /// The id at a position.
    pub(super) fn id_at(&self, position: usize) -> Result<&Id, Refusal> {
        self.ids.get(position).ok_or(Refusal::Internal)
    }

    /// The body. Its shape is right.
    pub(super) fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// A text of the query.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name)?.as_str()
    }

    /// A switch of the query.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.query.get(name)?.as_bool()
    }

    /// A number of the query.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        usize::try_from(self.query.get(name)?.as_u64()?).ok()
    }

    /// Texts of the query.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<&str>> {
        let items = self.query.get(name)?.as_array()?;
        Some(items.iter().filter_map(Value::as_str).collect())
    }

    /// Whether the token has a permission, beyond the one that the operation asks for.
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        let claim = self
            .principal
            .as_ref()
            .and_then(|principal| principal.claim("scope"));
        let scopes = claim.and_then(Json::as_str).unwrap_or_default();
        scopes.split(' ').any(|one| one == scope)
    }
}

impl Id {
    /// What it names, by the first reading that names anything.
    pub(super) fn find<T>(&self, look: impl Fn(&str) -> Option<T>) -> Option<T> {
        look(&self.once).or_else(|| look(self.twice.as_deref()?))
    }

    /// Reads a segment of a path. `None` where it is not UTF-8.
    fn read(segment: &str) -> Option<Self> {
        let once = decoded(segment)?;
        let twice = decoded(&once).filter(|twice| *twice != once);
        Some(Self { once, twice })
    }
}

fn ids(pattern: &str, path: &str, shape: &Shape) -> Result<Vec<Id>, Refusal> {
    let mut ids = Vec::new();
    for (name, segment) in pattern.split('/').zip(path.split('/')) {
        let Some(name) = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')) else {
            continue;
        };
        let id = Id::read(segment).ok_or_else(|| Refusal::Uri(format!("'Not UTF-8' on property {name}")))?;
        let longest = id.twice.as_ref().unwrap_or(&id.once);
        let values = Map::from_iter([(name.to_owned(), Value::from(longest.as_str()))]);
        let faults = shape.faults(&Value::Object(values));
        if !faults.is_empty() {
            return Err(Refusal::Uri(faults.join(" (also) ")));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// RFC 3986 section 2.1. What is no escape stays as it is.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return String::from_utf8(bytes).ok(),
            [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    after
                }
                _ => {
                    bytes.extend([b'%', *high, *low]);
                    after
                }
            },
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        };
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn read_query(query: &str, shape: &Shape) -> Result<Map<String, Value>, Refusal> {
    let mut values = Map::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        // Clients of other versions send parameters that are unknown here.
        let Some(schema) = shape.members().and_then(|members| members.get(&*name)) else {
            continue;
        };
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or("string");
        if kind == "array" {
            let items = values.entry(&*name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = items {
                items.push(Value::from(&*text));
            }
            continue;
        }
        let value = typed(kind, &text);
        if values.insert(name.to_string(), value).is_some() {
            return Err(Refusal::Query(format!(
                "'Given more than once' on property {name}"
            )));
        }
    }
    let values = Value::Object(values);
    let faults = shape.faults(&values);
    match values {
        Value::Object(values) if faults.is_empty() => Ok(values),
        _ => Err(Refusal::Query(faults.join(" (also) "))),
    }
}

/// A text as the type that is asked for; as it is where it is none of that type, which the schema then refuses.
fn typed(kind: &str, text: &str) -> Value {
    match (kind, text) {
        ("boolean", "true") => Value::Bool(true),
        ("boolean", "false") => Value::Bool(false),
        ("integer", text) => text
            .parse::<i64>()
            .map_or_else(|_error| Value::from(text), Value::from),
        (_, text) => Value::from(text),
    }
}

fn read_body(request: &Request, shape: &Shape) -> Result<Map<String, Value>, Refusal> {
    let body = if is_form(request) {
        let members = form_urlencoded::parse(&request.body);
        let members = members.map(|(name, text)| (name.into_owned(), Value::from(text)));
        Value::Object(members.collect())
    } else if request.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&request.body).map_err(|_error| Refusal::NotJson)?
    };
    checked(body, shape)
}

fn checked(mut body: Value, shape: &Shape) -> Result<Map<String, Value>, Refusal> {
    // That something unknown is not there is no fault of a body.
    if let (Value::Object(members), Some(known)) = (&mut body, shape.members()) {
        members.retain(|name, value| !value.is_null() || known.contains_key(name));
    }
    let faults = shape.faults(&body);
    match body {
        Value::Object(members) if faults.is_empty() => Ok(members),
        _ => Err(Refusal::body(&faults)),
    }
}

fn is_form(request: &Request) -> bool {
    let field = request.headers.get(CONTENT_TYPE);
    let text = field.and_then(|field| field.to_str().ok()).unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::operation::Operation;
    use super::*;

    fn encoded(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    fn query(text: &str) -> Result<Map<String, Value>, Refusal> {
        read_query(text, &contract::of(Operation::ListResourceServers)?.query)
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let name = prop_oneof![
                "[a-z_]{1,8}",
                prop::sample::select(vec![
                    "value",
                    "description",
                    "user",
                    "client",
                    "policy",
                    "mechanism",
                    "format"
                ])
                .prop_map(str::to_owned),
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((name, inner), 0..4).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_body_has_what_the_document_knows_or_is_refused(value in any_json(), at in 0..64_usize) {
            for operation in [Operation::CreateResourceServer, Operation::UpdateClient, Operation::CreateUser] {
                let shape = contract::of(operation).unwrap().body.as_ref().unwrap();
                let known = shape.members().unwrap();
                let name = known.keys().nth(at % known.len()).unwrap();
                let mut body = Map::from_iter([(name.clone(), value.clone())]);
                for (required, text) in [("identifier", "urn:a"), ("email", "a@b.example")] {
                    if known.contains_key(required) && required != name {
                        body.insert(required.into(), Value::from(text));
                    }
                }
                match checked(Value::Object(body), shape) {
                    Ok(members) => prop_assert!(members.keys().all(|name| known.contains_key(name))),
                    Err(Refusal::Body(reason)) => prop_assert!(reason.starts_with('\'') && reason.len() < 4_000),
                    Err(other) => prop_assert!(false, "{:?}", other),
                }
                match checked(value.clone(), shape) {
                    Ok(members) => prop_assert!(members.keys().all(|name| known.contains_key(name))),
                    Err(refusal) => prop_assert!(matches!(refusal, Refusal::Body(_))),
                }
            }
        }

        #[test]
        fn an_id_is_found_by_its_name_encoded_once_or_twice(name in "\\PC{1,40}") {
            let look = |id: &str| (id == name).then_some(());
            let once = encoded(&name);
            prop_assert!(Id::read(&once).unwrap().find(look).is_some());
            // Only the percent signs have to be encoded again, and all may be.
            for twice in [once.replace('%', "%25"), encoded(&once)] {
                prop_assert!(Id::read(&twice).unwrap().find(look).is_some());
            }
        }

        #[test]
        fn no_path_and_no_query_is_too_odd_to_read(path in "\\PC{0,60}", text in "\\PC{0,80}") {
            let shape = &contract::of(Operation::GetResourceServer).unwrap().path;
            let _ = ids("/api/v2/resource-servers/{id}", &format!("/api/v2/resource-servers/{path}"), shape);
            let _ = query(&text);
        }

        #[test]
        fn numbers_of_a_query_are_those_that_were_sent(page in any::<i64>(), per_page in -5_i64..200) {
            let read = query(&format!("page={page}&per_page={per_page}&unknown=%ff"));
            let is_good = (0..=10_000_000).contains(&page) && (1..=100).contains(&per_page);
            match read {
                Ok(values) => {
                    prop_assert!(is_good);
                    prop_assert_eq!(&values["page"], &Value::from(page));
                    prop_assert_eq!(&values["per_page"], &Value::from(per_page));
                }
                Err(refusal) => {
                    prop_assert!(!is_good);
                    prop_assert!(matches!(refusal, Refusal::Query(_)));
                }
            }
        }
    }

    #[test]
    fn a_name_with_a_percent_sign_is_not_taken_for_another() {
        let names = ["urn:a%2Fb", "urn:a/b"];
        let look = |id: &str| names.iter().find(|name| **name == id).copied();
        assert_eq!(Id::read("urn%3Aa%252Fb").unwrap().find(look), Some("urn:a%2Fb"));
        assert_eq!(Id::read("urn%3Aa%2Fb").unwrap().find(look), Some("urn:a/b"));
        assert_eq!(Id::read("%ff"), None);
        assert_eq!(
            Id::read("50%").unwrap().find(|id| (id == "50%").then_some(())),
            Some(())
        );
    }

    #[test]
    fn what_is_wrong_with_a_query_is_told() {
        for (text, told) in [
            (
                "page=x",
                "'Expected type integer but found type string' on property page (The page, from 0)",
            ),
            (
                "per_page=0",
                "'Value 0 is less than minimum 1' on property per_page (Entries of a page)",
            ),
            ("page=1&page=2", "'Given more than once' on property page"),
            (
                "include_totals=1",
                "'Expected type boolean but found type string' on property include_totals (Whether the answer is an object with the total)",
            ),
        ] {
            assert_eq!(query(text), Err(Refusal::Query(told.into())));
        }
        let eleven: String = (0..11).map(|n| format!("identifiers={n}&")).collect();
        assert!(query(&eleven).is_err());
        assert_eq!(
            query("identifiers=a&identifiers=b%20c").unwrap()["identifiers"],
            serde_json::json!(["a", "b c"])
        );
    }
}
