//! Sets of scopes as bits: a definition's permissions get positions when it is compiled, so a requirement is a bit test.
//!
//! A scope that the definition does not define has no position and is dropped when a token is read: no route can ask
//! for it. Names match as a whole and by case (RFC 6749 section 3.3).

use std::collections::BTreeMap;

/// How many positions there are beyond those of the first word.
const MORE_WORDS: usize = 15;

/// A set over the positions of one [`ScopeTable`]; sets of different tables must not be mixed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet {
    /// Hardly any definition has more than 64 scopes, and each remembered token has two sets.
    first: u64,
    /// There when something is in it.
    more: Option<Box<[u64; MORE_WORDS]>>,
}

impl ScopeSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.first == 0 && self.more.is_none()
    }

    /// Whether everything of `other` is in it.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.first & !self.first == 0
            && match (&self.more, &other.more) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(mine), Some(theirs)) => {
                    let mut words = mine.iter().zip(theirs.iter());
                    words.all(|(mine, theirs)| theirs & !mine == 0)
                }
            }
    }

    /// Whether something of `other` is in it.
    pub fn contains_any(&self, other: &Self) -> bool {
        let in_more = || match (&self.more, &other.more) {
            (Some(mine), Some(theirs)) => mine
                .iter()
                .zip(theirs.iter())
                .any(|(mine, theirs)| mine & theirs != 0),
            _ => false,
        };
        self.first & other.first != 0 || in_more()
    }

    /// What is in one or the other.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.first |= other.first;
        if let Some(theirs) = &other.more {
            let mine = self.more.get_or_insert_default();
            for (mine, theirs) in mine.iter_mut().zip(theirs.iter()) {
                *mine |= theirs;
            }
        }
        self
    }

    fn insert(&mut self, position: usize) {
        let bit = 1 << (position % 64);
        match (position / 64).checked_sub(1) {
            None => self.first |= bit,
            Some(word) if word < MORE_WORDS => {
                if let Some(word) = self.more.get_or_insert_default().get_mut(word) {
                    *word |= bit;
                }
            }
            Some(_) => {}
        }
    }

    fn contains(&self, position: usize) -> bool {
        let word = match (position / 64).checked_sub(1) {
            None => Some(&self.first),
            Some(word) => self.more.as_ref().and_then(|more| more.get(word)),
        };
        word.is_some_and(|word| word >> (position % 64) & 1 == 1)
    }
}

/// Which scope has which position.
#[derive(Clone, Debug, Default)]
pub struct ScopeTable {
    positions: BTreeMap<Box<str>, usize>,
}

/// The last position is no scope's: what asks for it, nobody has.
const NOBODY: usize = (1 + MORE_WORDS) * 64 - 1;

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
    pub fn names<'a>(&'a self, set: &'a ScopeSet) -> impl Iterator<Item = &'a str> {
        let names = self.positions.iter();
        names.filter_map(move |(name, &position)| set.contains(position).then_some(&**name))
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
        let (low, high) = names.split_at(500);
        let [low, high] = [low, high].map(|names| table.set(names.iter().map(String::as_str)));
        assert!(!low.contains_any(&high) && !low.contains_all(&high) && !high.contains_all(&low));
        assert_eq!(low.clone().union(&high), all);
        assert!(table.set(["s3"].into_iter()).union(&high).contains_any(&low));
        assert_eq!(table.names(&all).count(), 1_000);
        assert!(
            table
                .names(&high)
                .all(|name| !names[..500].iter().any(|low| low == name))
        );
        let more: Vec<String> = (0..1_024).map(|n| format!("s{n}")).collect();
        assert!(ScopeTable::new(more.iter().map(String::as_str)).is_err());
    }
}
