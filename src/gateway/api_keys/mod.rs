//! Exchanges API keys for tokens at their issuer (RFC 6749 section 4.4): each key once at a time, a bounded number of
//! exchanges, few wrong keys, and none at an issuer that is out of order.
//!
//! Only requests get here with a key that nothing is known of; the rest is that of every `desk`. What comes of a key is a
//! token, kept for a while under a keyed digest of the key, and verified for each request like any other. The key itself
//! goes to the issuer and nowhere else.

mod attempts;
mod question;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::{Answered, Asker, Joined, Known, Outcome, QuestionFault, Unavailable};
use super::record::Record;
use super::sanitize::SanitizedHead;
use super::verdict::{Judged, Verdict, Waiting, denial};
use super::verified::Digest;
use super::worker::{Shared, View, Worker};
use crate::clock::unix_now;
use crate::policy::{Api, ApiId, Denial, KeySpace};
use crate::snapshot::ExchangeEndpoint;
use crate::token::{ApiKey, Exchange, ExchangedToken, TokenAnswer, TokenError, UnixSeconds, Verifier};
use attempts::Admitted;
pub(super) use attempts::Attempts;
use question::ask;
pub use question::exchange_once;

/// Where requests have keys exchanged.
pub(super) type Desk = super::desk::Desk<ExchangeEndpoint, Arc<ExchangedToken>>;
/// The desks of all APIs that take keys.
pub(super) type Desks = super::desk::Desks<ExchangeEndpoint, Arc<ExchangedToken>>;

impl Worker {
    /// Exchanges the key of a request, and decides once more. `full` is what the request is told if nobody answers.
    pub(super) async fn exchange_and_decide(
        &self,
        full: Verdict,
        head: SanitizedHead<'_>,
        record: &Record,
    ) -> Verdict {
        let began = Instant::now();
        let outcome = match denial(&full.decision) {
            Some(denial) => self.exchange(&full.view, denial, head).await,
            None => None,
        };
        record.waited_for_exchange(began.elapsed());
        let exchange: Exchange = match outcome {
            Some(Ok(Known::Good(token))) => Ok(token),
            Some(Ok(Known::Refused(error))) => Err(error),
            Some(Err(Unavailable { retry_after })) => {
                return Verdict {
                    retry_after: Some(retry_after.as_millis().div_ceil(1_000).try_into().unwrap_or(1)),
                    ..full
                };
            }
            None => return full,
        };
        let head = head.with_exchange(&exchange);
        let view = self.view();
        let decision = self.decide_now(&view, head);
        match self.judge(view, decision, record) {
            Judged::Now(verdict) => verdict,
            Judged::Later(Waiting::Fetch(fetches)) => self.decide_again(fetches, None, head, record).await,
            Judged::Later(Waiting::Opening(full)) => self.open_and_decide(*full, head, record).await,
            Judged::Later(Waiting::Introspection(full)) => {
                self.introspect_and_decide(*full, head, record).await
            }
            // What was found out is at hand: there is nothing to exchange.
            Judged::Later(Waiting::Exchange(full)) => *full,
        }
    }

    /// What comes of a key; `None` where there was nobody to ask, or no time.
    async fn exchange(
        &self,
        view: &Rc<View>,
        denial: &Denial,
        head: SanitizedHead<'_>,
    ) -> Option<Outcome<Arc<ExchangedToken>>> {
        let (key, api, space) = asked_for(view, denial)?;
        let desk = view.exchange_desk(api.id)?;
        let tokens = &self.shared.tokens;
        tokens.exchanged.metrics.misses.inc();
        let (text, form) = key.presented().text().ok()?;
        let digest = tokens.digest_key(space, text, form)?;
        let mut place = match desk.place() {
            Ok(place) => Some(place),
            Err(unavailable) => return Some(Err(unavailable)),
        };
        let admit = || match tokens.exchanged.get(&digest) {
            Some(known) => Err(known),
            // Whoever had it right not long ago does not guess.
            None if tokens.exchanged.was_good(&digest) => Ok(None),
            None => {
                let attempts = &self.shared.attempts;
                let admitted = attempts.admit(space, key.client_id(), head.client_address(), unix_now());
                admitted.map(Some).map_err(Known::Refused)
            }
        };
        let mut waiting = match desk.join(digest, &mut place, admit) {
            Joined::Known(known) => return Some(Ok(known)),
            Joined::Refused(unavailable) => return Some(Err(unavailable)),
            Joined::Wait(waiting) => waiting,
            Joined::Ask(question, waiting, admitted) => {
                let asking = Asking {
                    shared: Arc::clone(&self.shared),
                    view: Rc::clone(view),
                    desk: Arc::clone(desk),
                    api: api.id,
                    key: Arc::clone(key),
                    digest,
                    admitted,
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
}

/// An exchange, and where what comes of it goes.
struct Asking {
    shared: Arc<Shared>,
    view: Rc<View>,
    desk: Arc<Desk>,
    api: ApiId,
    key: Arc<ApiKey>,
    digest: Digest,
    /// Given back when this is dropped, unless the key was wrong.
    admitted: Option<Admitted>,
}

impl Asking {
    async fn ask(mut self) -> Result<Answered<Arc<ExchangedToken>>, QuestionFault> {
        let endpoint = &self.desk.endpoint;
        let api = self.view.snapshot.table.api(self.api);
        let api = api.ok_or(QuestionFault::NoEndpoint(endpoint.asked.kind))?;
        let asker = Asker::new(&endpoint.asked, endpoint.asked.timeout);
        let address = self.desk.address(&asker).await?;
        let answer = ask(&asker, endpoint, &address, &api.identifier, &self.key).await;
        let (known, ended, keep) = self.understood(answer, &api.verifier)?;
        if let (Known::Refused(TokenError::WrongKey), Some(admitted)) = (&known, &mut self.admitted) {
            admitted.was_wrong();
        }
        self.shared.tokens.exchanged.put(self.digest, &known, keep);
        Ok(Answered { known, ended })
    }

    /// What an answer means, how the question ended with it, and how long it is believed.
    fn understood(
        &self,
        answer: Result<TokenAnswer, QuestionFault>,
        verifier: &Verifier,
    ) -> Result<Understood, QuestionFault> {
        let asked = &self.desk.endpoint.asked;
        let refused = |error, result| (Known::Refused(error), Ok(result), asked.negative_ttl);
        Ok(match answer {
            Ok(TokenAnswer::Granted(token, expires_in)) => {
                let serves = verifier.serves_for(&token, expires_in, unix_now());
                let serves = serves.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
                let keep = serves.map_or(asked.ttl, |serves| serves.min(asked.ttl));
                (Known::Good(token), Ok("granted"), keep)
            }
            Ok(TokenAnswer::WrongKey) => refused(TokenError::WrongKey, "wrong"),
            Ok(TokenAnswer::NotGranted) => refused(TokenError::KeyNotGranted, "not_granted"),
            Ok(TokenAnswer::NotBearer) => {
                tracing::warn!(issuer = %asked.issuer, "{}", TokenError::KeyNotBearer);
                refused(TokenError::KeyNotBearer, "not_bearer")
            }
            // This key is not asked about before the issuer wants to be. Many of those, and nobody asks.
            Err(fault @ QuestionFault::Throttled(wait)) => {
                let seconds = UnixSeconds::try_from(wait.as_secs()).unwrap_or(1);
                let until = unix_now().saturating_add(seconds);
                (
                    Known::Refused(TokenError::KeyThrottled { until }),
                    Err(fault),
                    wait,
                )
            }
            Err(fault) => return Err(fault),
        })
    }
}

type Understood = (
    Known<Arc<ExchangedToken>>,
    Result<&'static str, QuestionFault>,
    Duration,
);

/// The key that stands in the way of a decision, the API that it is for, and what it is remembered under.
fn asked_for<'a>(view: &'a View, denial: &'a Denial) -> Option<(&'a Arc<ApiKey>, &'a Api, KeySpace)> {
    let table = &view.snapshot.table;
    let api = table.api(table.route(denial.route?)?.api)?;
    let keys = api.places.as_ref()?.keys()?;
    Some((denial.unexchanged()?, api, keys.space))
}
