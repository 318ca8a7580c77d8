//! Definitions that an authority tells while the gateway runs.
//!
//! Whoever follows the authority replaces them; every reading of the configuration sees those of that moment. `app` ties
//! the two together.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use super::source::Sources;

/// The newest definitions by identifier: whole resource-server objects. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Followed(Arc<ArcSwap<Definitions>>);

/// Resource-server objects by identifier.
pub type Definitions = HashMap<String, Arc<Value>>;

impl Followed {
    /// Replaces all of them; says whether anything is different now.
    pub fn replace(&self, definitions: Definitions) -> bool {
        if **self.0.load() == definitions {
            return false;
        }
        self.0.store(Arc::new(definitions));
        true
    }
}

/// Sources with what is followed beside them.
pub(crate) struct Following<'s> {
    pub(crate) sources: &'s dyn Sources,
    pub(crate) followed: &'s Followed,
}

impl Sources for Following<'_> {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.sources.file(path)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.sources.variable(name)
    }

    fn followed(&self, identifier: &str) -> Option<Arc<Value>> {
        self.followed.0.load().get(identifier).cloned()
    }
}
