//! A resource server: the document that the Management API keeps, and the definition that it says.
//!
//! The document has what was ever set and nothing else, since a member that nobody set is absent from an answer. The
//! definition is read out of it by the same code that reads definition files.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::object::{Body, Kind, Object, Unreadable};
use crate::definition::{ApiDefinition, Node, Place};

/// A resource server.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// 24 hexadecimal digits.
    pub id: String,
    /// As it was set, with `id` and without `signing_secret`.
    pub document: Map<String, Value>,
    /// What the document says.
    pub definition: Arc<ApiDefinition>,
    /// The HMAC key of an HS256 API; also in `definition`, but that one cannot be read back.
    secret: Option<Secret>,
}

/// A text that is never shown by accident.
#[derive(Clone, PartialEq, Eq)]
struct Secret(zeroize::Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

const SIGNING_SECRET: &str = "signing_secret";

impl Api {
    /// Reads a document; `signing_secret` may be a member of it.
    ///
    /// # Errors
    /// Everything that is wrong with it, in sentences.
    pub fn from_document(id: &str, mut document: Map<String, Value>) -> Result<Self, Vec<String>> {
        document.insert("id".into(), Value::from(id));
        let place = Place::whole(Path::new("resource server"));
        let node = Node::from_json(&place, &Value::Object(document.clone()));
        let definition = ApiDefinition::read(&node).map_err(|faults| {
            faults
                .iter()
                .map(|fault| fault.value.to_string())
                .collect::<Vec<_>>()
        })?;
        let secret = match document.remove(SIGNING_SECRET) {
            Some(Value::String(secret)) => Some(Secret(secret.into())),
            _ => None,
        };
        Ok(Self {
            id: id.to_owned(),
            document,
            definition: Arc::new(definition),
            secret,
        })
    }

    /// The document with the signing secret, for whoever may see it and for changes.
    pub fn whole_document(&self) -> Map<String, Value> {
        let mut document = self.document.clone();
        if let Some(secret) = &self.secret {
            document.insert(SIGNING_SECRET.into(), Value::from(secret.0.as_str()));
        }
        document
    }

    pub(super) fn from_body(id: &str, body: &Body) -> Result<Self, Unreadable> {
        let mut document = body.open.clone();
        if let Some(secret) = body.sealed_text(SIGNING_SECRET) {
            document.insert(SIGNING_SECRET.into(), Value::from(secret));
        }
        Self::from_document(id, document).map_err(|faults| Unreadable {
            kind: Kind::Api,
            id: id.to_owned(),
            why: faults.join("; "),
        })
    }

    pub(super) fn object(&self) -> Object {
        let body = Body {
            open: self.document.clone(),
            ..Body::default()
        };
        let secret = self.secret.as_ref().map(|secret| secret.0.as_str());
        Object::new(Kind::Api, &self.id, body.with_sealed(SIGNING_SECRET, secret))
    }
}
