//! What comes of looking at a request: a verdict, or something to wait for before the next look.
//!
//! `service`, `decryption`, `introspection` and `api_keys` make these values and act on them; nothing is decided here.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::worker::View;
use crate::clock::unix_now;
use crate::policy::{Decision, Denial, Reason};
use crate::token::{SealedToken, UnixSeconds};

/// What came of a look at a request.
pub(super) enum Judged {
    Now(Verdict),
    Later(Waiting),
}

/// What a request waits for.
pub(super) enum Waiting {
    /// Only a key is lacking, and it is being fetched.
    Fetch(watch::Receiver<u64>),
    /// The token is encrypted. What the request is told if nobody can open it.
    Opening(Box<Verdict>),
    /// The token is opaque. What the request is told if its issuer cannot be asked.
    Introspection(Box<Verdict>),
    /// There is an API key in place of a token. What the request is told if it cannot be exchanged.
    Exchange(Box<Verdict>),
}

/// A decision and the view that it belongs to.
pub(super) struct Verdict {
    pub(super) view: Rc<View>,
    pub(super) decision: Decision,
    pub(super) retry_after: Option<u64>,
}

impl Verdict {
    pub(super) fn new(view: Rc<View>, decision: Decision) -> Self {
        Self {
            view,
            decision,
            retry_after: None,
        }
    }

    pub(super) fn of(view: Rc<View>, denial: Denial) -> Self {
        Self::new(view, Decision::Refuse(denial))
    }

    /// Too many API keys were wrong.
    pub(super) fn throttled(view: Rc<View>, decision: Decision, until: UnixSeconds) -> Self {
        let left = until.saturating_sub(unix_now());
        Self {
            view,
            decision,
            retry_after: u64::try_from(left).ok(),
        }
    }

    /// Nobody can say yet whether the token is good.
    pub(super) fn keys_unavailable(view: Rc<View>, denial: Denial, retry_after: Duration) -> Self {
        let denial = Denial {
            reason: Reason::KeysUnavailable,
            ..denial
        };
        Self {
            view,
            decision: Decision::Refuse(denial),
            retry_after: Some(retry_after.as_secs() + 1),
        }
    }
}

/// What is, or would be, refused.
pub(super) fn denial(decision: &Decision) -> Option<&Denial> {
    match decision {
        Decision::Refuse(denial) => Some(denial),
        Decision::Forward(permit) => permit.shadow(),
    }
}

/// The encrypted token that stands in the way of a decision.
pub(super) fn sealed(decision: &Decision) -> Option<&Arc<SealedToken>> {
    denial(decision)?.sealed()
}

/// What a request waits for that was, or would be, refused: what its token says when it is opened or asked about, or its
/// token itself. `None`: none of these would make another verdict.
pub(super) fn waiting_for(denial: &Denial) -> Option<fn(Box<Verdict>) -> Waiting> {
    if denial.sealed().is_some() {
        Some(Waiting::Opening)
    } else if denial.opaque().is_some() {
        Some(Waiting::Introspection)
    } else {
        denial.unexchanged().map(|_| Waiting::Exchange as fn(_) -> _)
    }
}
