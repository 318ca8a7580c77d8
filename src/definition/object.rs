//! One mapping of a definition that is being read: values of each kind, with the faults that they can have.
//!
//! Used by `read`, which knows the fields. A value that cannot be read leaves a fault and is treated as absent.

use std::ops::RangeInclusive;

use super::document::{Located, Node, Value};
use super::fields::{Fields, Misshapen, wrong_kind};
use super::words::{Words, word};
use super::{InvalidDefinition, SubjectPolicy};

/// 30 days.
const LONGEST_LIFETIME: u32 = 2_592_000;

/// One mapping that is being read, and where its faults go.
pub(super) struct Object<'a, 'f> {
    fields: Fields<'a>,
    pub(super) faults: &'f mut Vec<Located<InvalidDefinition>>,
}

impl<'a, 'f> Object<'a, 'f> {
    pub(super) fn of(
        key: &str,
        node: &'a Node,
        faults: &'f mut Vec<Located<InvalidDefinition>>,
    ) -> Option<Self> {
        match Fields::of(key, node) {
            Ok(fields) => Some(Self { fields, faults }),
            Err(fault) => {
                faults.push(Located {
                    place: fault.place,
                    value: fault.value.into(),
                });
                None
            }
        }
    }

    pub(super) fn misshapen(&mut self, fault: Located<Misshapen>) {
        self.faults.push(Located {
            place: fault.place,
            value: fault.value.into(),
        });
    }

    /// A fault at the value of a key, or at the mapping where the key is absent.
    pub(super) fn fault_at(&mut self, key: &str, fault: InvalidDefinition) {
        let place = self
            .fields
            .entry(key)
            .map_or(self.fields.place(), |entry| &entry.node.place);
        self.faults.push(Located::new(place, fault));
    }

    pub(super) fn required(&mut self, key: &'static str) -> Option<&'a Node> {
        self.fields
            .require(key)
            .map_err(|fault| self.misshapen(fault))
            .ok()
    }

    /// A key that means the same when it is `null` as when it is absent.
    pub(super) fn nullable(&mut self, key: &'static str) -> Option<&'a Node> {
        self.fields.take(key).filter(|node| !node.is_null())
    }

    pub(super) fn text(
        &mut self,
        node: &Node,
        field: &'static str,
        bounds: RangeInclusive<usize>,
    ) -> Option<String> {
        let Some(text) = node.text() else {
            self.misshapen(wrong_kind(field, node, "text"));
            return None;
        };
        let length = text.chars().count();
        if !bounds.contains(&length) {
            let (min, max) = bounds.into_inner();
            let fault = InvalidDefinition::Length {
                field,
                length,
                min,
                max,
            };
            self.faults.push(Located::new(&node.place, fault));
        }
        Some(text.to_owned())
    }

    pub(super) fn optional_text(
        &mut self,
        key: &'static str,
        field: &'static str,
        bounds: RangeInclusive<usize>,
    ) -> Option<String> {
        let node = self.fields.take(key)?;
        self.text(node, field, bounds)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let node = self.fields.take(key)?;
        self.flag_of(node, key)
    }

    pub(super) fn flag_of(&mut self, node: &Node, key: &'static str) -> Option<bool> {
        match node.value {
            Value::Bool(flag) => Some(flag),
            _ => {
                self.misshapen(wrong_kind(key, node, "true or false"));
                None
            }
        }
    }

    pub(super) fn seconds(&mut self, key: &'static str) -> Option<u32> {
        let node = self.fields.take(key)?;
        self.seconds_of(node, key)
    }

    pub(super) fn seconds_of(&mut self, node: &Node, field: &'static str) -> Option<u32> {
        let Value::Integer(value) = node.value else {
            self.misshapen(wrong_kind(field, node, "a whole number"));
            return None;
        };
        let seconds = u32::try_from(value)
            .ok()
            .filter(|seconds| *seconds <= LONGEST_LIFETIME);
        if seconds.is_none() {
            let fault = InvalidDefinition::Range {
                field,
                value,
                min: 0,
                max: LONGEST_LIFETIME,
            };
            self.faults.push(Located::new(&node.place, fault));
        }
        seconds
    }

    pub(super) fn optional_word<W: Words>(&mut self, key: &'static str, field: &'static str) -> Option<W> {
        let node = self.fields.take(key)?;
        self.word(node, field)
    }

    pub(super) fn word<W: Words>(&mut self, node: &Node, field: &'static str) -> Option<W> {
        let Some(text) = node.text() else {
            self.misshapen(wrong_kind(field, node, "text"));
            return None;
        };
        match word(text) {
            Ok(value) => Some(value),
            Err(known) => {
                let value = text.chars().take(64).collect();
                self.faults.push(Located::new(
                    &node.place,
                    InvalidDefinition::NotOneOf { field, value, known },
                ));
                None
            }
        }
    }

    pub(super) fn nullable_object<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Object<'a, '_>) -> Option<T>,
    ) -> Option<T> {
        let node = self.nullable(key)?;
        Object::of(key, node, self.faults).and_then(read)
    }

    pub(super) fn subject_policy<P: Words>(
        &mut self,
        key: &'static str,
        field: &'static str,
    ) -> Option<SubjectPolicy<P>> {
        self.nullable_object(key, |mut object| {
            let policy = object.required("policy");
            let policy = policy.and_then(|node| object.word(node, field));
            object.finish(&[]);
            Some(SubjectPolicy { policy: policy? })
        })
    }

    pub(super) fn finish(self, tolerated: &[&str]) {
        let Self { fields, faults } = self;
        let unknown = fields.unknown(tolerated).into_iter();
        faults.extend(unknown.map(|fault| Located {
            place: fault.place,
            value: fault.value.into(),
        }));
    }
}
