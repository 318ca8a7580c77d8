//! Asks issuers about tokens that say nothing themselves (RFC 7662): each token once at a time, a bounded number of
//! questions, and none to an endpoint that is out of order.
//!
//! Only requests with a token that nothing is known of get here; the rest is that of every `desk`. A request that gets
//! no answer is told to come again: that says nothing about its token.

mod question;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::desk::{Answered, Asker, Joined, Known, Outcome, QuestionFault, Unavailable};
use super::record::Record;
use super::sanitize::SanitizedHead;
use super::verdict::{Verdict, denial};
use super::verified::{Digest, IntrospectedVerifier};
use super::worker::{Shared, View, Worker};
use crate::clock::unix_now;
use crate::policy::{Api, ApiId, Decision, Denial, decide};
use crate::snapshot::IntrospectionEndpoint;
use crate::token::{IntrospectionAnswer, OpaqueToken, Principal};
use question::ask;

/// Where requests ask about tokens.
pub(super) type Desk = super::desk::Desk<IntrospectionEndpoint, Arc<Principal>>;
/// The desks of all introspection endpoints.
pub(super) type Desks = super::desk::Desks<IntrospectionEndpoint, Arc<Principal>>;

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
    async fn introspect(&self, view: &Rc<View>, denial: &Denial) -> Option<Outcome<Arc<Principal>>> {
        let (token, api) = asked_about(view, denial)?;
        let desk = view.introspection_desk(api.id)?;
        let known = &self.shared.tokens.introspected;
        known.metrics.misses.inc();
        let tokens = &self.shared.tokens;
        let digest = tokens.digest(view.snapshot.generation, api, token.expose())?;
        // Held by the question, or by this request while it waits for that of another.
        let mut place = match desk.place() {
            Ok(place) => Some(place),
            Err(unavailable) => return Some(Err(unavailable)),
        };
        let admit = || known.get(&digest).map_or(Ok(()), Err);
        let mut waiting = match desk.join(digest, &mut place, admit) {
            Joined::Known(known) => return Some(Ok(known)),
            Joined::Refused(unavailable) => return Some(Err(unavailable)),
            Joined::Wait(waiting) => waiting,
            Joined::Ask(question, waiting, ()) => {
                let asking = Asking {
                    shared: Arc::clone(&self.shared),
                    view: Rc::clone(view),
                    desk: Arc::clone(desk),
                    api: api.id,
                    token: Arc::clone(token),
                    digest,
                };
                tokio::task::spawn_local(question.run(asking.ask()));
                waiting
            }
        };
        // A question ends by itself; this is for whoever joins it late.
        let deadline = self.deadlines.after(desk.asked().timeout, Instant::now());
        let told = deadline.limit(waiting.wait_for(Option::is_some)).await?.ok()?;
        told.clone()
    }

    fn decide_introspected(
        &self,
        view: &View,
        head: SanitizedHead<'_>,
        known: &Known<Arc<Principal>>,
    ) -> Decision {
        let verifier = IntrospectedVerifier {
            cached: self.verifier(view, head),
            known,
        };
        decide(&view.snapshot.table, head.request_head(), &verifier, unix_now())
    }
}

/// A question about a token, and where its answer goes.
struct Asking {
    shared: Arc<Shared>,
    view: Rc<View>,
    desk: Arc<Desk>,
    api: ApiId,
    token: Arc<OpaqueToken>,
    digest: Digest,
}

impl Asking {
    async fn ask(self) -> Result<Answered<Arc<Principal>>, QuestionFault> {
        let endpoint = &self.desk.endpoint;
        let asker = Asker::new(&endpoint.asked, endpoint.asked.timeout);
        let address = self.desk.address(&asker).await?;
        let answer = ask(&asker, endpoint, &address, self.token.expose()).await?;
        let result = match answer {
            IntrospectionAnswer::Active(_) => "active",
            IntrospectionAnswer::Inactive => "inactive",
        };
        let api = self.view.snapshot.table.api(self.api);
        let api = api.ok_or(QuestionFault::NoEndpoint(endpoint.asked.kind))?;
        let known = match api.verifier.verify_introspected(answer, unix_now()) {
            Ok(principal) => Known::Good(Arc::new(principal)),
            Err(error) => Known::Refused(error),
        };
        let keep = keep(endpoint, &known);
        self.shared.tokens.introspected.put(self.digest, &known, keep);
        Ok(Answered {
            known,
            ended: Ok(result),
        })
    }
}

/// How long what was said is believed. A good answer ends with the token, whatever tolerance there is for clocks.
fn keep(endpoint: &IntrospectionEndpoint, known: &Known<Arc<Principal>>) -> Duration {
    match known {
        Known::Refused(_) => endpoint.asked.negative_ttl,
        Known::Good(principal) => {
            let end = u64::try_from(principal.expires_at()).unwrap_or(0);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let left = Duration::from_secs(end).saturating_sub(now);
            left.min(endpoint.asked.ttl)
        }
    }
}

/// The token that stands in the way of a decision, and the API that it is for.
fn asked_about<'a>(view: &'a View, denial: &'a Denial) -> Option<(&'a Arc<OpaqueToken>, &'a Api)> {
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
    let asker = Asker::new(&endpoint.asked, endpoint.asked.timeout);
    let asked = async {
        let address = match &endpoint.asked.address {
            Some(address) => address.clone(),
            None => asker.discover().await?,
        };
        ask(&asker, endpoint, &address, token).await
    };
    asked.await.map_err(|fault: QuestionFault| fault.to_string())
}
