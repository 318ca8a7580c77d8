//! A document as a tree in which every value knows where it was written.
//!
//! `config` parses YAML and JSON into this tree; the definition here, and the configuration there, are read out of it.
//! The tree is what makes it possible to report every fault of a file at once, each with its place. It must never
//! open files, and its `Debug` must never show a text: a text can be a secret.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where something was written. Line and column count from 1, in characters; both are 0 where nothing is known.
///
/// Places are ordered by file, then line, then column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl Place {
    /// The file as a whole.
    pub fn whole(file: impl Into<Arc<Path>>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.line {
            0 => write!(f, "{file}"),
            line => write!(f, "{file}:{line}:{}", self.column),
        }
    }
}

/// Something, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// Where.
    pub place: Place,
    /// What.
    pub value: T,
}

impl<T> Located<T> {
    /// Puts the two together.
    pub fn new(place: &Place, value: T) -> Self {
        Self {
            place: place.clone(),
            value,
        }
    }
}

/// One value of a document.
#[derive(Clone)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// The kinds of value that YAML and JSON share.
#[derive(Clone)]
pub enum Value {
    /// `null`, `~`, or nothing at all.
    Null,
    /// `true` or `false`; `yes` and `off` are texts.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the document. Keys are unique: the parser refuses a repeated key.
    Map(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub place: Place,
    /// What it is set to.
    pub node: Node,
}

impl Node {
    /// The kind of the value, for a sentence such as "must be text, not a list".
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value of a key, where this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// The entries, where this is a mapping.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The elements, where this is a list.
    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, where this is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing was written.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The same value without places. A number that JSON cannot carry becomes `null`.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Integer(number) => i64::try_from(*number)
                .map(serde_json::Value::from)
                .or_else(|_| u64::try_from(*number).map(serde_json::Value::from))
                .unwrap_or_default(),
            Value::Float(number) => (*number).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.to_json()))
                .collect(),
        }
    }

    /// A tree of which every value has the same place: for documents that did not come from a file.
    pub fn from_json(place: &Place, json: &serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(flag) => Value::Bool(*flag),
            serde_json::Value::Number(number) => match number.as_i128() {
                Some(whole) => Value::Integer(whole),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(items) => {
                Value::List(items.iter().map(|item| Self::from_json(place, item)).collect())
            }
            serde_json::Value::Object(members) => Value::Map(
                members
                    .iter()
                    .map(|(key, member)| Entry {
                        key: key.clone(),
                        place: place.clone(),
                        node: Self::from_json(place, member),
                    })
                    .collect(),
            ),
        };
        Self {
            place: place.clone(),
            value,
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind(), self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_text() {
        let place = Place::whole(Path::new("a.json"));
        let node = Node::from_json(&place, &serde_json::json!({"signing_secret": "hush"}));
        assert_eq!(format!("{node:?}"), "a mapping at a.json");
        assert_eq!(
            format!("{:?}", node.get("signing_secret")),
            "Some(text at a.json)"
        );
    }

    #[test]
    fn json_survives_the_round_trip() {
        let json = serde_json::json!({"a": [1, -2, u64::MAX, 1.5, "x", true, null], "b": {}});
        assert_eq!(
            Node::from_json(&Place::whole(Path::new("a")), &json).to_json(),
            json
        );
    }
}
