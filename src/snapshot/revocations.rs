//! The other seam of the two planes: the lists of revoked tokens, replaced by `control` and asked by the gateway.
//!
//! They are no part of a snapshot: a new list must not make a worker forget the tokens that it has verified. Where there
//! is nothing on the lists, asking is one branch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::token::{Principal, RevocationList, UnixSeconds};

/// What is in force. Shared by everybody.
#[derive(Debug)]
pub struct Revocations {
    /// Looked at first: nothing on any list.
    is_empty: AtomicBool,
    lists: ArcSwap<Lists>,
    /// Tells what goes on for longer than a request that it has to ask again; `None` where there will never be a list.
    changes: Option<watch::Sender<u64>>,
}

/// The lists, by where they come from.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Of the file.
    pub file: Arc<RevocationList>,
    /// Pushed to the admin listener.
    pub pushed: Arc<RevocationList>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            is_empty: AtomicBool::new(true),
            lists: ArcSwap::from_pointee(Lists::default()),
            changes: None,
        }
    }
}

impl Revocations {
    /// With lists to come. The default is without, and asking it is one branch for ever.
    pub fn configured() -> Self {
        Self {
            changes: Some(watch::Sender::new(0)),
            ..Self::default()
        }
    }

    /// Puts lists in force: for every worker, with its next request.
    pub fn replace(&self, lists: Lists) {
        let is_empty = lists.file.is_empty() && lists.pushed.is_empty();
        self.lists.store(Arc::new(lists));
        self.is_empty.store(is_empty, Ordering::Release);
        if let Some(changes) = &self.changes {
            changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Whether the token of this principal was revoked.
    pub fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> bool {
        if self.is_empty.load(Ordering::Acquire) {
            return false;
        }
        let lists = self.lists.load();
        lists.file.is_revoked(principal, now) || lists.pushed.is_revoked(principal, now)
    }

    /// Changes with each new list.
    pub fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.changes.as_ref().map(watch::Sender::subscribe)
    }
}
