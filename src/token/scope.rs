//! Sets of scopes as bits: a definition's permissions get positions when it is compiled, so a requirement is a bit test.
//!
//! A scope that the definition does not define has no position and is dropped when a token is read: no route can ask
//! for it. Names match as a whole and by case (RFC 6749 section 3.3).

use std::collections::HashMap;

const WORDS: usize = 16;

/// A set over the positions of one [`ScopeTable`]; sets of different tables must not be mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet([u64; WORDS]);

impl ScopeSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Whether everything of `other` is in it.
    pub fn contains_all(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .all(|(mine, theirs)| theirs & !mine == 0)
    }

    /// Whether something of `other` is in it.
    pub fn contains_any(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .any(|(mine, theirs)| mine & theirs != 0)
    }

    /// What is in one or the other.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
        self
    }

    fn insert(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }
}

/// Which scope has which position.
#[derive(Clone, Debug, Default)]
pub struct ScopeTable {
    positions: HashMap<Box<str>, usize>,
}

/// The last position is no scope's: what asks for it, nobody has.
const NOBODY: usize = WORDS * 64 - 1;

/// More scopes than a table has room for; a definition's limit is 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API has at most {NOBODY} permissions")]
pub struct TooManyScopes;

impl ScopeTable {
    /// Gives each name a position, in order.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, TooManyScopes> {
        let mut table = Self::default();
        for name in names {
            let next = table.positions.len();
            table.positions.entry(name.into()).or_insert(next);
        }
        if table.positions.len() > NOBODY {
            return Err(TooManyScopes);
        }
        Ok(table)
    }

    /// The names in a set; in no order that means anything.
    pub fn names(&self, set: &ScopeSet) -> impl Iterator<Item = &str> {
        let set = *set;
        let is_in = move |position: usize| {
            let word = set.0.get(position / 64).copied().unwrap_or_default();
            word >> (position % 64) & 1 == 1
        };
        let names = self.positions.iter();
        names.filter_map(move |(name, &position)| is_in(position).then_some(&**name))
    }

    /// The set of those names that are defined.
    pub fn set<'a>(&self, names: impl Iterator<Item = &'a str>) -> ScopeSet {
        let mut set = ScopeSet::default();
        for name in names {
            if let Some(&position) = self.positions.get(name) {
                set.insert(position);
            }
        }
        set
    }

    /// The set of these names. In the place of those that are not defined stands one that nobody has.
    pub fn set_or_nobody<'a>(&self, names: impl Iterator<Item = &'a str>) -> ScopeSet {
        let mut set = ScopeSet::default();
        for name in names {
            set.insert(self.positions.get(name).copied().unwrap_or(NOBODY));
        }
        set
    }

    /// The set of these names, or the first that is not defined.
    pub fn exact_set<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<ScopeSet, &'a str> {
        let mut set = ScopeSet::default();
        for name in names {
            set.insert(*self.positions.get(name).ok_or(name)?);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_whole() {
        let table = ScopeTable::new(["read:items", "write:items", "read"].into_iter()).unwrap();
        let asked = table.exact_set(["read:items"].into_iter()).unwrap();
        for (held, expected) in [
            ("read:items", true),
            ("write:items read:items", true),
            ("read", false),
            ("read:item", false),
            ("READ:ITEMS", false),
            ("read:items2", false),
            ("", false),
        ] {
            assert_eq!(
                table.set(held.split(' ')).contains_all(&asked),
                expected,
                "{held}"
            );
        }
        assert_eq!(table.exact_set(["nope"].into_iter()), Err("nope"));
    }

    #[test]
    fn what_is_not_defined_nobody_has() {
        let table = ScopeTable::new(["read:items"].into_iter()).unwrap();
        let asked = table.set_or_nobody(["read:items", "gone"].into_iter());
        let held = table.set(["read:items", "gone"].into_iter());
        assert!(!held.contains_all(&asked) && held.contains_any(&asked));
        let gone = table.set_or_nobody(["gone"].into_iter());
        assert!(!gone.is_empty() && !held.contains_any(&gone));
    }

    #[test]
    fn thousand_scopes() {
        let names: Vec<String> = (0..1_000).map(|n| format!("s{n}")).collect();
        let table = ScopeTable::new(names.iter().map(String::as_str)).unwrap();
        let all = table.set(names.iter().map(String::as_str));
        for name in &names {
            let one = table.exact_set([name.as_str()].into_iter()).unwrap();
            assert!(all.contains_all(&one) && all.contains_any(&one) && !one.is_empty());
            assert!(!one.contains_all(&all));
        }
        let more: Vec<String> = (0..1_024).map(|n| format!("s{n}")).collect();
        assert!(ScopeTable::new(more.iter().map(String::as_str)).is_err());
    }
}
