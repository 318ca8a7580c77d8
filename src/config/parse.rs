//! From the text of a YAML or JSON file to a tree with places.
//!
//! Called by `source` for every document. JSON is read as the subset of YAML that it is. Budgets hold against files that are
//! small on disk and huge in memory; a repeated key is a fault, as is a merge key, since both make a policy say
//! something else than what a reader of it sees.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Options, Spanned};

use super::faults::Fault;
use crate::definition::{Entry, Node, Place, Value};

/// Parses one document. `file` is the name that places carry.
pub(super) fn parse(file: &Arc<Path>, text: &str) -> Result<Node, Vec<Fault>> {
    // A byte-order mark is legal at the start of either format, and nothing but a nuisance to the parser.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tree: Spanned<Raw> =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| vec![syntax(file, &error)])?;
    let mut faults = Vec::new();
    let node = place(file, tree, &mut faults);
    if faults.is_empty() { Ok(node) } else { Err(faults) }
}

fn options() -> Options {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.merge_keys = MergeKeyPolicy::Error;
    // `admin: off` is a word, and `country: no` is Norway.
    options.strict_booleans = true;
    options.with_snippet = false;
    options.alias_limits.max_total_replayed_events = 100_000;
    let mut budget = serde_saphyr::Budget::default();
    budget.max_depth = 32;
    budget.flow_nesting_limit = 32;
    budget.max_nodes = 500_000;
    budget.max_documents = 2;
    options.budget = Some(budget);
    options
}

fn syntax(file: &Arc<Path>, error: &serde_saphyr::Error) -> Fault {
    let error = error.without_snippet();
    let place = match error.location() {
        Some(location) => at(file, location),
        None => Place::whole(Arc::clone(file)),
    };
    Fault::new(&place, format!("cannot be parsed: {}", message(error)))
}

/// The first line of what the parser says, without the place: the fault has one.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let end = line
        .find(" at line ")
        .or_else(|| line.find(" (line "))
        .unwrap_or(line.len());
    line.get(..end)
        .unwrap_or(line)
        .trim_start_matches("error: ")
        .to_owned()
}

fn at(file: &Arc<Path>, location: serde_saphyr::Location) -> Place {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Place {
        file: Arc::clone(file),
        line: number(location.line()),
        column: number(location.column()),
    }
}

/// Gives every value its place, and finds repeated keys.
fn place(file: &Arc<Path>, tree: Spanned<Raw>, faults: &mut Vec<Fault>) -> Node {
    let here = at(file, tree.referenced);
    let value = match tree.value {
        Raw::Null => Value::Null,
        Raw::Bool(flag) => Value::Bool(flag),
        Raw::Integer(number) => Value::Integer(number),
        Raw::Float(number) => Value::Float(number),
        Raw::Text(text) => Value::Text(text),
        Raw::List(items) => Value::List(items.into_iter().map(|item| place(file, item, faults)).collect()),
        Raw::Map(entries) => {
            let mut first: HashMap<String, Place> = HashMap::new();
            let mut unique = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key_place = at(file, key.referenced);
                let node = place(file, value, faults);
                if let Some(first) = first.get(&key.value) {
                    let message = format!("key `{}` is already set at {first}", key.value);
                    faults.push(Fault::new(&key_place, message));
                    continue;
                }
                first.insert(key.value.clone(), key_place.clone());
                unique.push(Entry {
                    key: key.value,
                    place: key_place,
                    node,
                });
            }
            Value::Map(unique)
        }
    };
    Node { place: here, value }
}

/// What the parser found.
enum Raw {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_parse(text: &str) -> Result<Node, Vec<String>> {
        parse(&Arc::from(Path::new("f.yaml")), text)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_value_has_its_place() {
        let node = try_parse("a:\n  - x\n  - {b: 1, \"c\": off}\nd: null\n").unwrap();
        let list = node.get("a").unwrap().list().unwrap();
        assert_eq!(list[0].place.to_string(), "f.yaml:2:5");
        let entries = list[1].entries().unwrap();
        assert_eq!(entries[0].place.to_string(), "f.yaml:3:6");
        assert_eq!(entries[1].place.to_string(), "f.yaml:3:12");
        assert_eq!(entries[1].node.place.to_string(), "f.yaml:3:17");
        assert_eq!(entries[1].node.text(), Some("off"));
        assert!(node.get("d").unwrap().is_null());
    }

    #[test]
    fn json_is_read_as_it_is() {
        let json = "{\n\t\"a\": [1, -2, 18446744073709551615, 1.5e3, true, null, \"\\u00e9\\/\\ud83d\\ude00\\n\"],\n\t\"b\": {}\n}";
        let node = try_parse(json).unwrap();
        assert_eq!(
            node.to_json(),
            serde_json::from_str::<serde_json::Value>(json).unwrap()
        );
        assert_eq!(node.get("b").unwrap().place.to_string(), "f.yaml:3:7");
        assert!(try_parse("\u{feff}{\"a\":1}").is_ok());
    }

    #[test]
    fn repeated_and_merged_keys_are_faults() {
        assert_eq!(
            try_parse("a: 1\nb: {c: 1, c: 2}\na: 2\n").unwrap_err(),
            [
                "f.yaml:2:11: key `c` is already set at f.yaml:2:5",
                "f.yaml:3:1: key `a` is already set at f.yaml:1:1"
            ]
        );
        let faults = try_parse("x: &x {a: 1}\ny:\n  <<: *x\n").unwrap_err();
        assert!(faults[0].starts_with("f.yaml:3:"), "{faults:?}");
    }

    #[test]
    fn faults_of_syntax_have_a_place() {
        for text in [
            "a: [1, 2\nb: 3",
            "a: 'x",
            "{",
            "a: b: c",
            "? {a: 1}\n: 2",
            "a: 1\n--- \nb: 2",
            "a: *nope",
        ] {
            let faults = try_parse(text).unwrap_err();
            println!("{faults:?}");
            assert_eq!(faults.len(), 1);
            assert!(faults[0].starts_with("f.yaml:"), "{faults:?}");
            assert!(!faults[0].contains('\n'));
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            laughs.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                below.trim_end_matches(", ")
            ));
        }
        for bomb in [
            laughs,
            "[".repeat(100_000),
            "- ".repeat(10_000),
            "{a: ".repeat(5_000),
        ] {
            let faults = try_parse(&bomb).unwrap_err();
            println!("{faults:?}");
            assert_eq!(faults.len(), 1);
        }
    }
}
