//! Whether the gateway is ready, and if not, what is missing.
//!
//! Parts of the control loop and the composition root hold conditions; the admin listener asks. A condition is a guard,
//! so that a part which ends, for whatever reason, cannot leave one behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ready when nobody holds a condition and nothing is lost. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    missing: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// Not ready until this is dropped.
#[derive(Debug)]
#[must_use = "the condition ends when this is dropped"]
pub struct Missing {
    readiness: Readiness,
    condition: String,
}

impl Readiness {
    /// Nothing is missing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something is missing, in the words that `/readyz` shows: `issuer https://…: no keys yet`, `draining`.
    pub fn missing(&self, condition: impl Into<String>) -> Missing {
        let condition = condition.into();
        self.lost(condition.clone());
        Missing {
            readiness: self.clone(),
            condition,
        }
    }

    /// Something is missing for good, in such words.
    pub fn lost(&self, condition: impl Into<String>) {
        let condition = condition.into();
        let mut missing = self.lock();
        let held = missing.entry(condition).or_default();
        *held = held.saturating_add(1);
    }

    /// # Errors
    /// Everything that is missing, sorted, each once.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        let missing = self.lock();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing.keys().cloned().collect())
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // Nothing under this lock can panic half-way.
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Missing {
    fn drop(&mut self) {
        let mut missing = self.readiness.lock();
        if let Some(held) = missing.get_mut(&self.condition) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                missing.remove(&self.condition);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_nothing_is_missing() {
        let readiness = Readiness::new();
        assert_eq!(readiness.ready(), Ok(()));
        let draining = readiness.missing("draining");
        let first = readiness.missing("b");
        let second = readiness.missing("b");
        assert_eq!(readiness.ready(), Err(vec!["b".into(), "draining".into()]));
        drop((draining, first));
        assert_eq!(readiness.ready(), Err(vec!["b".into()]));
        drop(second);
        assert_eq!(readiness.ready(), Ok(()));
        readiness.lost("b");
        drop(readiness.missing("b"));
        assert_eq!(readiness.ready(), Err(vec!["b".into()]));
    }
}
