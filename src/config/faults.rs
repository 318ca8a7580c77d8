//! What is wrong with a configuration: every fault, each with its place and what to do about it.
//!
//! Made by everything in `config`, printed by `cli`. It must never carry the content of a secret.

use std::fmt;
use std::path::PathBuf;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::definition::Place;

/// One fault. Faults are ordered by place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, in one line.
    pub hint: Option<String>,
}

impl Fault {
    pub(super) fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            place: place.clone(),
            message: one_line(message.into()),
            hint: None,
        }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(one_line(hint.into()));
        self
    }

    pub(super) fn with_any_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.map(one_line);
        self
    }
}

/// Names come from files: a line break or an escape sequence in one must not forge a line of output.
fn one_line(text: String) -> String {
    if text.chars().any(char::is_control) {
        return text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
    }
    text
}

/// `file:line:column: message (hint)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// `{"file", "line", "column", "message", "hint"}`; the last is absent where there is none.
impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Fault", 5)?;
        object.serialize_field("file", &self.place.file.to_string_lossy())?;
        object.serialize_field("line", &self.place.line)?;
        object.serialize_field("column", &self.place.column)?;
        object.serialize_field("message", &self.message)?;
        match &self.hint {
            Some(hint) => object.serialize_field("hint", hint)?,
            None => object.skip_field("hint")?,
        }
        object.end()
    }
}

/// Every fault of a configuration, sorted by place. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    faults: Vec<Fault>,
    files: Vec<PathBuf>,
}

impl Faults {
    /// Sorts the faults, and drops those that say the same of the same place.
    pub(super) fn new(mut faults: Vec<Fault>, files: Vec<PathBuf>) -> Self {
        faults.sort();
        faults.dedup();
        Self { faults, files }
    }

    /// Every file that was read, or should have been: a change of one of them may mend the configuration.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The faults in order of their places.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A list of the faults.
impl Serialize for Faults {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.faults.serialize(serializer)
    }
}

/// One fault per line.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn faults_are_sorted_and_printed_one_per_line() {
        let at = |line| Place {
            file: Path::new("a.yaml").into(),
            line,
            column: 3,
        };
        let faults = Faults::new(
            vec![
                Fault::new(&at(12), "late").with_hint("sooner"),
                Fault::new(&at(2), "early\nforged"),
                Fault::new(&at(2), "early\nforged"),
            ],
            Vec::new(),
        );
        assert_eq!(
            faults.to_string(),
            "a.yaml:2:3: early\u{fffd}forged\na.yaml:12:3: late (sooner)"
        );
        assert_eq!(
            serde_json::to_value(&faults).unwrap()[1],
            serde_json::json!({"file": "a.yaml", "line": 12, "column": 3, "message": "late", "hint": "sooner"})
        );
    }
}
