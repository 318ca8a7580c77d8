//! Asks issuers about tokens that say nothing themselves (RFC 7662): each token once at a time, a bounded number of
//! questions, and none to an endpoint that is out of order.
//!
//! Only requests with a token that nothing is known of get here. Workers share one desk per endpoint; the question itself
//! is a task of the worker whose request came first, and goes on should that request go away. A request that gets no
//! answer is told to come again: that says nothing about its token.

mod breaker;
mod desk;
mod known;
mod question;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::record::Record;
use super::sanitize::SanitizedHead;
use super::verdict::{Verdict, denial};
use super::verified::IntrospectedVerifier;
use super::worker::{View, Worker};
use crate::clock::unix_now;
use crate::policy::{Api, Decision, Denial, decide};
use crate::snapshot::IntrospectionEndpoint;
use crate::token::{IntrospectionAnswer, OpaqueToken};
pub(super) use desk::{Desk, Desks};
use desk::{Joined, Outcome, Unavailable};
pub(super) use known::{Known, KnownTokens};
use question::Asker;

impl Worker {
    /// Asks about the token of a request, and decides once more. `full` is what the request is told if nobody answers.
    pub(super) async fn introspect_and_decide(
        &self,
        full: Verdict,
        head: SanitizedHead<'_>,
        record: &Record,
    ) -> Verdict {
        let began = Instant::now();
        let outcome = match denial(&full.decision) {
            Some(denial) => self.introspect(&full.view, denial).await,
            None => None,
        };
        record.waited_for_introspection(began.elapsed());
        match outcome {
            Some(Ok(known)) => {
                let decision = self.decide_introspected(&full.view, head, &known);
                Verdict::new(full.view, decision)
            }
            Some(Err(Unavailable { retry_after })) => Verdict {
                retry_after: Some(retry_after.as_millis().div_ceil(1_000).try_into().unwrap_or(1)),
                ..full
            },
            None => full,
        }
    }

    /// What is known of a token once its issuer was asked; `None` where there was nobody to ask, or no time.
    async fn introspect(&self, view: &Rc<View>, denial: &Denial) -> Option<Outcome> {
        let (token, api) = asked_about(view, denial)?;
        let desk = view.desk(api.id)?;
        let tokens = &self.shared.tokens;
        tokens.introspected.metrics.misses.inc();
        let digest = tokens.digest(view.snapshot.generation, api, token.expose())?;
        let Ok(place) = Arc::clone(&desk.places).try_acquire_owned() else {
            return Some(Err(desk.not_asked("full", desk.endpoint.cooldown)));
        };
        // Held by the question, or by this request while it waits for that of another.
        let mut place = Some(place);
        let mut waiting = match desk.join(digest, &tokens.introspected, &mut place) {
            Joined::Known(known) => return Some(Ok(known)),
            Joined::Refused(unavailable) => return Some(Err(unavailable)),
            Joined::Wait(waiting) => waiting,
            Joined::Ask(question, waiting) => {
                let asking = question.run(Arc::clone(&self.shared), Rc::clone(view), denial.clone());
                tokio::task::spawn_local(asking);
                waiting
            }
        };
        // A question ends by itself; this is for whoever joins it late.
        let deadline = self.deadlines.after(desk.endpoint.timeout, Instant::now());
        let told = deadline.limit(waiting.wait_for(Option::is_some)).await?.ok()?;
        told.clone()
    }

    fn decide_introspected(&self, view: &View, head: SanitizedHead<'_>, known: &Known) -> Decision {
        let verifier = IntrospectedVerifier {
            cached: self.verifier(view, head),
            known,
        };
        decide(&view.snapshot.table, head.request_head(), &verifier, unix_now())
    }
}

/// The token that stands in the way of a decision, and the API that it is for.
fn asked_about<'a>(view: &'a View, denial: &'a Denial) -> Option<(&'a OpaqueToken, &'a Api)> {
    let table = &view.snapshot.table;
    let route = table.route(denial.route?)?;
    Some((denial.opaque()?, table.api(route.api)?))
}

/// Asks an issuer about a token, once. For `explain`.
///
/// # Errors
/// What is wrong, in words.
pub async fn introspect_once(
    endpoint: &IntrospectionEndpoint,
    token: &str,
) -> Result<IntrospectionAnswer, String> {
    let asker = Asker::new(endpoint, endpoint.timeout);
    let address = match &endpoint.address {
        Some(address) => address.clone(),
        None => asker.discover().await.map_err(|fault| fault.to_string())?,
    };
    let answer = asker.ask(&address, token).await;
    answer.map_err(|fault| fault.to_string())
}
