//! Watches over a stream or a tunnel that its token is not revoked while it goes on.
//!
//! There is one only where lists of revoked tokens are configured; what is over with its answer needs none.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use tokio::sync::watch;

use crate::clock::unix_now;
use crate::policy::{Mode, Permit, Route};
use crate::snapshot::Revocations;
use crate::token::Principal;

/// The token of one stream, and where to ask for it.
#[derive(Debug)]
pub(super) struct Vigil {
    principal: Arc<Principal>,
    revocations: Arc<Revocations>,
    changes: watch::Receiver<u64>,
}

impl Vigil {
    /// Over what is opened with this permit; `None` where no list could end it.
    pub(super) fn over(revocations: &Arc<Revocations>, route: &Route, permit: &Permit) -> Option<Box<Self>> {
        let changes = revocations.changes()?;
        // Where only reported is what would be refused, nothing is ended either.
        if route.mode == Mode::Report {
            return None;
        }
        Some(Box::new(Self {
            changes,
            principal: Arc::clone(permit.principal()?),
            revocations: Arc::clone(revocations),
        }))
    }

    /// Ends when the token is revoked.
    async fn end(mut self: Box<Self>) {
        while !self.revocations.is_revoked(&self.principal, unix_now()) {
            if self.changes.changed().await.is_err() {
                return pending().await;
            }
        }
    }
}

/// Ends when the token is revoked; never where there is no vigil.
pub(super) async fn revoked(vigil: Option<Box<Vigil>>) {
    match vigil {
        Some(vigil) => vigil.end().await,
        None => pending().await,
    }
}

/// A vigil over a stream, asked with each part of it.
pub(super) struct Watch {
    ending: RefCell<Pin<Box<dyn Future<Output = ()> + Send>>>,
    is_over: Cell<bool>,
}

impl Watch {
    /// Begins.
    pub(super) fn new(vigil: Box<Vigil>) -> Self {
        Self {
            ending: RefCell::new(Box::pin(vigil.end())),
            is_over: Cell::new(false),
        }
    }

    /// Whether the token is revoked by now. The task is woken when it is.
    pub(super) fn is_over(&self, cx: &mut Context<'_>) -> bool {
        if !self.is_over.get() {
            let polled = self.ending.borrow_mut().as_mut().poll(cx);
            self.is_over.set(polled.is_ready());
        }
        self.is_over.get()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch(is_over: {})", self.is_over.get())
    }
}
