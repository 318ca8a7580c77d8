//! By what else than its id an object is found: one word leads to the ids of all that have it.

use std::collections::{BTreeSet, HashMap};

/// Words with ids, which come in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index(HashMap<String, BTreeSet<String>>);

impl Index {
    pub(super) fn add(&mut self, word: &str, id: &str) {
        self.0.entry(word.to_owned()).or_default().insert(id.to_owned());
    }

    pub(super) fn remove(&mut self, word: &str, id: &str) {
        if let Some(ids) = self.0.get_mut(word) {
            ids.remove(id);
            if ids.is_empty() {
                self.0.remove(word);
            }
        }
    }

    pub(super) fn find(&self, word: &str) -> impl Iterator<Item = &String> {
        self.0.get(word).into_iter().flatten()
    }
}
