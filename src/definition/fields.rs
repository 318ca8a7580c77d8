//! Taking a mapping apart key by key, so that what nobody asked for is found.
//!
//! Used by the reading of definitions here and of the configuration in `config`. A key counts as known once it has
//! been asked for, so that the code which reads a mapping is the only list of its keys.

use super::document::{Entry, Located, Node, Place, Value};
use super::nearest::nearest;

/// A document that does not have the shape that its reader expects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misshapen {
    /// A value of the wrong kind.
    #[error("`{key}` must be {expected}, not {found}")]
    WrongKind {
        /// The key that it is the value of.
        key: String,
        /// What was expected, such as "a list".
        expected: &'static str,
        /// What was found: a [`Node::kind`].
        found: &'static str,
    },
    /// A key that must be there and is not.
    #[error("`{key}` is missing")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key that means nothing here.
    #[error("unknown key `{key}`")]
    Unknown {
        /// The key as it was written.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
        /// Every known key, in alphabetical order.
        known: Vec<&'static str>,
    },
}

impl Misshapen {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WrongKind {
                expected: "text",
                found,
                ..
            } if matches!(
                *found,
                "a whole number" | "true or false" | "a number with a fraction"
            ) =>
            {
                Some("put it in quotes".into())
            }
            Self::Unknown {
                nearest: Some(known), ..
            } => Some(format!("did you mean `{known}`?")),
            Self::Unknown { known, .. } if !known.is_empty() => {
                Some(format!("known here: {}", known.join(", ")))
            }
            _ => None,
        }
    }
}

/// The keys of one mapping that have not been looked at yet.
pub struct Fields<'a> {
    place: &'a Place,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Begins with a mapping. `key` names it in the fault that anything else is.
    pub fn of(key: &str, node: &'a Node) -> Result<Self, Located<Misshapen>> {
        match &node.value {
            Value::Map(entries) => Ok(Self {
                place: &node.place,
                entries,
                known: Vec::new(),
            }),
            _ => Err(wrong_kind(key, node, "a mapping")),
        }
    }

    /// Whether the mapping has no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where the mapping begins.
    pub fn place(&self) -> &'a Place {
        self.place
    }

    /// The value of a key that may be absent.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.entry(key).map(|entry| &entry.node)
    }

    /// The value of a key that must be there.
    pub fn require(&mut self, key: &'static str) -> Result<&'a Node, Located<Misshapen>> {
        let place = self.place;
        self.take(key)
            .ok_or_else(|| Located::new(place, Misshapen::Missing { key }))
    }

    /// The entry of a key without making the key a known one.
    pub fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// What nobody asked for. `tolerated` keys are passed over, and never suggested.
    pub fn unknown(mut self, tolerated: &[&str]) -> Vec<Located<Misshapen>> {
        self.known.sort_unstable();
        self.entries
            .iter()
            .filter(|entry| !self.known.contains(&entry.key.as_str()))
            .filter(|entry| !tolerated.contains(&entry.key.as_str()))
            .map(|entry| {
                let fault = Misshapen::Unknown {
                    key: entry.key.clone(),
                    nearest: nearest(&entry.key, self.known.iter().copied()),
                    known: self.known.clone(),
                };
                Located::new(&entry.place, fault)
            })
            .collect()
    }
}

/// The fault of a value that is not what its reader expects.
pub fn wrong_kind(key: &str, node: &Node, expected: &'static str) -> Located<Misshapen> {
    let found = node.kind();
    Located::new(
        &node.place,
        Misshapen::WrongKind {
            key: key.into(),
            expected,
            found,
        },
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_nobody_asked_for_is_unknown() {
        let json = serde_json::json!({"name": 1, "nmae": 2, "zzz": 3, "old": 4});
        let node = Node::from_json(&Place::whole(Path::new("a")), &json);
        let mut fields = Fields::of("it", &node).unwrap();
        assert!(fields.take("name").is_some());
        assert!(fields.require("identifier").is_err());
        let unknown = fields.unknown(&["old"]);
        let texts: Vec<_> = unknown
            .iter()
            .map(|fault| (fault.value.to_string(), fault.value.hint().unwrap()))
            .collect();
        assert_eq!(
            texts,
            [
                ("unknown key `nmae`".to_owned(), "did you mean `name`?".to_owned()),
                (
                    "unknown key `zzz`".to_owned(),
                    "known here: identifier, name".to_owned()
                ),
            ]
        );
    }
}
