//! One desk per endpoint: which questions are under way, who waits for them, and how many there may be.
//!
//! Shared by all workers; behind its locks are only look-ups, and only requests with a token that nothing is known of
//! come here.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::asked_about;
use super::breaker::{Breaker, Leave};
use super::known::{Known, KnownTokens};
use super::question::{Asker, QuestionFault};
use crate::clock::unix_now;
use crate::gateway::verified::Digest;
use crate::gateway::worker::{Shared, View};
use crate::policy::Denial;
use crate::snapshot::{IntrospectionEndpoint, Snapshot};
use crate::telemetry::{IntrospectionMetrics, Metrics};
use crate::token::IntrospectionAnswer;

/// The desks of all endpoints of the snapshot in force.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Desks(Mutex<Vec<Arc<Desk>>>);

/// Where requests ask one endpoint.
#[derive(Debug)]
pub(in crate::gateway) struct Desk {
    pub(super) endpoint: Arc<IntrospectionEndpoint>,
    /// One for each request that waits, and one for each question.
    pub(super) places: Arc<Semaphore>,
    /// One for each question under way.
    turns: Semaphore,
    breaker: Breaker,
    /// The questions, under way or waiting for a turn, and those who wait for each.
    questions: Mutex<HashMap<Digest, watch::Sender<Option<Outcome>>>>,
    /// What discovery gave, until a question fails.
    discovered: Mutex<Option<String>>,
    last_fault: Mutex<Option<QuestionFault>>,
    metrics: IntrospectionMetrics,
}

pub(super) type Outcome = Result<Known, Unavailable>;

/// Nobody can say now whether the token is good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unavailable {
    pub(super) retry_after: Duration,
}

impl Desks {
    /// The desks of a snapshot, by API; nothing where no API asks anybody. An endpoint that was there before keeps its
    /// desk.
    pub(in crate::gateway) fn of(&self, snapshot: &Snapshot, metrics: &Metrics) -> Vec<Option<Arc<Desk>>> {
        if snapshot.introspection.iter().all(Option::is_none) {
            return Vec::new();
        }
        let mut desks = locked(&self.0);
        desks.retain(|desk| {
            let mut endpoints = snapshot.introspection.iter().flatten();
            endpoints.any(|endpoint| Arc::ptr_eq(endpoint, &desk.endpoint))
        });
        let mut desk = |endpoint: &Arc<IntrospectionEndpoint>| {
            let mut there = desks.iter();
            if let Some(desk) = there.find(|desk| Arc::ptr_eq(&desk.endpoint, endpoint)) {
                return Arc::clone(desk);
            }
            let desk = Arc::new(Desk::new(endpoint, metrics));
            desks.push(Arc::clone(&desk));
            desk
        };
        let endpoints = snapshot.introspection.iter();
        endpoints
            .map(|endpoint| endpoint.as_ref().map(&mut desk))
            .collect()
    }
}

impl Desk {
    fn new(endpoint: &Arc<IntrospectionEndpoint>, metrics: &Metrics) -> Self {
        let metrics = metrics.introspection(&endpoint.issuer);
        Self {
            endpoint: Arc::clone(endpoint),
            places: Arc::new(Semaphore::new(endpoint.waiting)),
            turns: Semaphore::new(endpoint.concurrency),
            breaker: Breaker::new(endpoint.failures, endpoint.cooldown, metrics.breaker.clone()),
            questions: Mutex::default(),
            discovered: Mutex::default(),
            last_fault: Mutex::default(),
            metrics,
        }
    }

    /// Nobody is asked, for this reason.
    pub(super) fn not_asked(&self, why: &'static str, retry_after: Duration) -> Unavailable {
        self.metrics.results(why).inc();
        Unavailable { retry_after }
    }

    async fn ask(&self, token: &str) -> Result<IntrospectionAnswer, QuestionFault> {
        let asker = Asker::new(&self.endpoint, self.endpoint.timeout);
        let known = self
            .endpoint
            .address
            .clone()
            .or_else(|| locked(&self.discovered).clone());
        let address = match known {
            Some(address) => address,
            None => {
                let address = asker.discover().await?;
                *locked(&self.discovered) = Some(address.clone());
                address
            }
        };
        asker.ask(&address, token).await
    }

    fn succeeded(&self, answer: &IntrospectionAnswer) {
        self.breaker.succeeded();
        self.metrics
            .results(match answer {
                IntrospectionAnswer::Active(_) => "active",
                IntrospectionAnswer::Inactive => "inactive",
            })
            .inc();
        if locked(&self.last_fault).take().is_some() {
            tracing::info!(issuer = %self.endpoint.issuer, "the introspection endpoint answers again");
        }
    }

    fn failed(&self, leave: Leave, fault: QuestionFault) {
        self.breaker.failed(leave, Instant::now());
        self.metrics.results(fault.label()).inc();
        // The endpoint may have moved.
        locked(&self.discovered).take();
        // The same fault is not told again for each token; the metric counts them.
        let mut last = locked(&self.last_fault);
        if last.as_ref() != Some(&fault) {
            tracing::error!(issuer = %self.endpoint.issuer, %fault, "tokens cannot be introspected");
            *last = Some(fault);
        }
    }

    /// How long what was said is believed. A good answer ends with the token, whatever tolerance there is for clocks.
    fn keep(&self, known: &Known) -> Duration {
        match known {
            Known::Refused(_) => self.endpoint.negative_ttl,
            Known::Good(principal) => {
                let end = u64::try_from(principal.expires_at()).unwrap_or(0);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let left = Duration::from_secs(end).saturating_sub(now);
                left.min(self.endpoint.ttl)
            }
        }
    }
}

/// A question on its way. Whatever becomes of it, those who wait for it learn that it is over.
pub(super) struct Question {
    desk: Arc<Desk>,
    digest: Digest,
    leave: Leave,
    /// Whether the breaker has been told how it ended.
    is_settled: bool,
    /// Whether those who wait have been told.
    is_told: bool,
    /// Until it is over, whether the request that began it waits or not.
    _place: OwnedSemaphorePermit,
}

/// What a request does about a token.
pub(super) enum Joined {
    Known(Known),
    Wait(watch::Receiver<Option<Outcome>>),
    Ask(Question, watch::Receiver<Option<Outcome>>),
    Refused(Unavailable),
}

impl Question {
    /// Asks, and tells everybody who waits.
    pub(super) async fn run(mut self, shared: Arc<Shared>, view: Rc<View>, denial: Denial) {
        let Some((token, api)) = asked_about(&view, &denial) else {
            return;
        };
        let (desk, began) = (Arc::clone(&self.desk), Instant::now());
        let waited = timeout(desk.endpoint.timeout, desk.turns.acquire()).await;
        let Ok(Ok(_turn)) = waited else {
            return self.gave_up("full");
        };
        if self.nobody_waits() {
            return;
        }
        if !desk.breaker.still_admits(self.leave) {
            return self.gave_up("open");
        }
        let left = desk.endpoint.timeout.saturating_sub(began.elapsed());
        let asked = Instant::now();
        let answer = timeout(left, desk.ask(token.expose())).await;
        let answer = answer.unwrap_or(Err(QuestionFault::TimedOut));
        desk.metrics.duration.observe(asked.elapsed().as_secs_f64());
        self.is_settled = true;
        match answer {
            Ok(answer) => {
                desk.succeeded(&answer);
                let verified = api.verifier.verify_introspected(answer, unix_now());
                let known = match verified {
                    Ok(principal) => Known::Good(Arc::new(principal)),
                    Err(error) => Known::Refused(error),
                };
                // Before the question is over: whoever comes then finds it here.
                let keep = desk.keep(&known);
                shared.tokens.introspected.put(self.digest, &known, keep);
                self.tell(Ok(known));
            }
            Err(fault) => {
                desk.failed(self.leave, fault);
                let retry_after = desk.endpoint.cooldown;
                self.tell(Err(Unavailable { retry_after }));
            }
        }
    }

    /// The endpoint was not asked.
    fn gave_up(&mut self, why: &'static str) {
        let unavailable = self.desk.not_asked(why, self.desk.endpoint.cooldown);
        self.tell(Err(unavailable));
    }

    /// Whether everybody has gone; then the question is over.
    fn nobody_waits(&mut self) -> bool {
        let mut questions = locked(&self.desk.questions);
        let is_lonely = questions
            .get(&self.digest)
            .is_none_or(|waiting| waiting.receiver_count() == 0);
        if is_lonely {
            questions.remove(&self.digest);
            self.is_told = true;
        }
        is_lonely
    }

    fn tell(&mut self, outcome: Outcome) {
        self.is_told = true;
        let waiting = locked(&self.desk.questions).remove(&self.digest);
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(outcome));
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.is_settled {
            self.desk.breaker.returned(self.leave, Instant::now());
        }
        if !self.is_told {
            // Those who wait learn that nothing comes any more.
            locked(&self.desk.questions).remove(&self.digest);
        }
    }
}

impl Desk {
    /// What to do about a token that nothing is known of. The place goes to the question, where there has to be one.
    pub(super) fn join(
        self: &Arc<Self>,
        digest: Digest,
        tokens: &KnownTokens,
        place: &mut Option<OwnedSemaphorePermit>,
    ) -> Joined {
        let mut questions = locked(&self.questions);
        if let Some(waiting) = questions.get(&digest) {
            return Joined::Wait(waiting.subscribe());
        }
        // Whoever asked may have had an answer since this request looked.
        if let Some(known) = tokens.get(&digest) {
            return Joined::Known(known);
        }
        let Some(place) = place.take() else {
            return Joined::Refused(self.not_asked("full", self.endpoint.cooldown));
        };
        let leave = match self.breaker.admit(Instant::now()) {
            Ok(leave) => leave,
            Err(wait) => return Joined::Refused(self.not_asked("open", wait)),
        };
        let (told, waiting) = watch::channel(None);
        questions.insert(digest, told);
        let question = Question {
            desk: Arc::clone(self),
            digest,
            leave,
            is_settled: false,
            is_told: false,
            _place: place,
        };
        Joined::Ask(question, waiting)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can leave a value half-changed, so a poisoned lock is as good as another.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
