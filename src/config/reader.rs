//! Reading the mirror of the configuration out of a tree, with every fault of it at once.
//!
//! `file` says which keys there are; this file knows how a value of each kind is read. A value that cannot be read
//! leaves a fault behind and is treated as absent, so that the reading goes on.

use std::borrow::Cow;
use std::collections::HashSet;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::faults::Fault;
use super::values::{PERIOD_HINT, Period, SIZE_HINT, Size};
use crate::definition::{Fields, Located, Misshapen, Node, Place, Value, Words, nearest, word, wrong_kind};

/// A value that can be read out of a tree.
pub(super) trait FromNode: Sized {
    /// Reads the value of `key`; where there is a fault, adds it and answers `None`.
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self>;
}

/// A mapping of which all keys are known.
pub(super) trait Mirror: Sized {
    /// Takes every key there is.
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self>;
}

/// A value, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// One mapping that is being read.
pub(super) struct Keys<'a, 'f> {
    fields: Fields<'a>,
    faults: &'f mut Vec<Fault>,
    unsupported: Vec<&'static str>,
}

impl Keys<'_, '_> {
    /// Whether nothing at all was written between the braces.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether a key was written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.entry(key).is_some()
    }

    /// A key that may be absent.
    pub(super) fn optional<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        let node = self.fields.take(key)?;
        T::from_node(key, node, self.faults)
    }

    /// A key that must be there.
    pub(super) fn required<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        match self.fields.require(key) {
            Ok(node) => T::from_node(key, node, self.faults),
            Err(fault) => {
                self.faults.push(misshapen(&fault));
                None
            }
        }
    }

    /// Keys that a later version will know: a clear word is better than "unknown key".
    pub(super) fn unsupported(&mut self, keys: &[&'static str]) {
        for key in keys {
            if let Some(entry) = self.fields.entry(key) {
                let message = format!("`{key}` is not supported by this version");
                self.faults.push(Fault::new(&entry.place, message));
            }
        }
        self.unsupported.extend(keys);
    }

    /// A key of a part that this build was made without.
    #[cfg(not(feature = "authority"))]
    pub(super) fn left_out(&mut self, key: &'static str) {
        if let Some(entry) = self.fields.entry(key) {
            let message = format!("`{key}` is left out of this build");
            let hint = "build it with its default features";
            self.faults
                .push(Fault::new(&entry.place, message).with_hint(hint));
        }
        self.unsupported.push(key);
    }
}

/// The fault of a value that does not have the expected shape.
pub(super) fn misshapen(fault: &Located<Misshapen>) -> Fault {
    Fault::new(&fault.place, fault.value.to_string()).with_any_hint(fault.value.hint())
}

impl<T: Mirror> FromNode for T {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        let fields = Fields::of(key, node)
            .map_err(|fault| faults.push(misshapen(&fault)))
            .ok()?;
        let mut keys = Keys {
            fields,
            faults,
            unsupported: Vec::new(),
        };
        let value = T::read(&mut keys);
        let Keys {
            fields,
            faults,
            unsupported,
        } = keys;
        faults.extend(fields.unknown(&unsupported).iter().map(misshapen));
        value
    }
}

impl<T: FromNode> FromNode for Placed<T> {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        T::from_node(key, node, faults).map(|value| Self {
            place: node.place.clone(),
            value,
        })
    }
}

/// An empty list is a fault: where one may be left out, leaving it out says so. The unreadable elements are left out.
impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        let Some(items) = node.list() else {
            faults.push(misshapen(&wrong_kind(key, node, "a list")));
            return None;
        };
        if items.is_empty() {
            faults.push(Fault::new(&node.place, format!("`{key}` must not be empty")));
            return None;
        }
        Some(
            items
                .iter()
                .filter_map(|item| T::from_node(key, item, faults))
                .collect(),
        )
    }
}

impl FromNode for bool {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Bool(flag) => Some(flag),
            _ => {
                faults.push(misshapen(&wrong_kind(key, node, "true or false")));
                None
            }
        }
    }
}

/// Texts are not empty, have no space at either end and no control character.
impl FromNode for String {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        let Some(text) = node.text() else {
            faults.push(misshapen(&wrong_kind(key, node, "text")));
            return None;
        };
        match broken_rule(text) {
            None => Some(text.to_owned()),
            Some(rule) => {
                faults.push(Fault::new(&node.place, format!("`{key}` {rule}")));
                None
            }
        }
    }
}

/// The rule of texts that a text breaks, as a predicate.
fn broken_rule(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("must not be empty")
    } else if text.contains(char::is_control) {
        Some("must not contain control characters")
    } else if text.trim() != text {
        Some("must not begin or end with a space")
    } else {
        None
    }
}

impl FromNode for u64 {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        let Value::Integer(number) = node.value else {
            faults.push(misshapen(&wrong_kind(key, node, "a whole number")));
            return None;
        };
        let whole = u64::try_from(number).ok();
        if whole.is_none() {
            faults.push(Fault::new(
                &node.place,
                format!("`{key}` is {number}; that is out of range"),
            ));
        }
        whole
    }
}

impl FromNode for Period {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        measured(key, node, faults, "a duration", PERIOD_HINT, Self::parse)
    }
}

impl FromNode for Size {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        measured(key, node, faults, "a size", SIZE_HINT, Self::parse)
    }
}

fn measured<T>(
    key: &str,
    node: &Node,
    faults: &mut Vec<Fault>,
    expected: &'static str,
    hint: &str,
    parse: fn(&str) -> Option<T>,
) -> Option<T> {
    let Some(text) = node.text() else {
        faults.push(misshapen(&wrong_kind(key, node, expected)).with_hint(hint));
        return None;
    };
    let parsed = parse(text);
    if parsed.is_none() {
        let message = format!("`{key}` must be {expected}, not `{}`", shorten(text));
        faults.push(Fault::new(&node.place, message).with_hint(hint));
    }
    parsed
}

/// A word of a closed list.
pub(super) fn read_word<W: Words>(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<W> {
    let Some(text) = node.text() else {
        faults.push(misshapen(&wrong_kind(key, node, "text")));
        return None;
    };
    match word(text) {
        Ok(value) => Some(value),
        Err(known) => {
            let hint = match nearest(text, known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("one of: {}", known.join(", ")),
            };
            let message = format!("`{key}` cannot be `{}`", shorten(text));
            faults.push(Fault::new(&node.place, message).with_hint(hint));
            None
        }
    }
}

/// A mapping whose keys are names, in the order of the file: each name with its place, and what it is set to.
#[derive(Clone, Debug)]
pub(super) struct Names<T>(pub(super) Vec<(Placed<String>, T)>);

impl<T: FromNode> FromNode for Names<T> {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        let Some(entries) = node.entries() else {
            faults.push(misshapen(&wrong_kind(key, node, "a mapping")));
            return None;
        };
        let before = faults.len();
        let mut names = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.key.is_empty() {
                faults.push(Fault::new(
                    &entry.place,
                    format!("a name in `{key}` must not be empty"),
                ));
                continue;
            }
            let name = Placed {
                place: entry.place.clone(),
                value: entry.key.clone(),
            };
            names.extend(T::from_node(&entry.key, &entry.node, faults).map(|value| (name, value)));
        }
        // A mapping that lost an entry must not be taken for one that never had it.
        (faults.len() == before).then_some(Self(names))
    }
}

impl<T: JsonSchema> JsonSchema for Names<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Map_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "object", "additionalProperties": generator.subschema_for::<T>()})
    }
}

/// Every value after the first that is equal to it.
pub(super) fn repeated<'a>(values: &'a [Placed<String>], key: &str) -> Vec<Fault> {
    let mut seen: HashSet<&'a str> = HashSet::new();
    let again = values.iter().filter(|value| !seen.insert(value.value.as_str()));
    again
        .map(|value| Fault::new(&value.place, format!("`{}` is twice in `{key}`", value.value)))
        .collect()
}

/// The beginning of a text that is quoted in a fault.
pub(super) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

/// One word of a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<W>(pub(super) W);

impl<W: Words> FromNode for Word<W> {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        read_word(key, node, faults).map(Self)
    }
}

impl<W: Words> JsonSchema for Word<W> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<_> = W::WORDS.iter().map(|(word, _)| *word).collect();
        schemars::json_schema!({"type": "string", "enum": words})
    }
}

/// Kept as it is, for what is read later or elsewhere.
impl FromNode for Node {
    fn from_node(_: &str, node: &Node, _: &mut Vec<Fault>) -> Option<Self> {
        Some(node.clone())
    }
}
