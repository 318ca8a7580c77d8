//! Where requests wait for what an issuer says: which questions are under way, who waits for them, how many there may
//! be, and that an endpoint that is out of order is left alone.
//!
//! `introspection` asks about tokens, `api_keys` for tokens; both use one desk per endpoint, shared by all workers. The
//! question itself is a task of the worker whose request came first, and goes on should that request go away. Behind
//! the locks are only look-ups, and only requests come here about which nothing is known.

mod asker;
mod breaker;
mod known;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::verified::Digest;
use crate::snapshot::{AskedEndpoint, EndpointKind};
use crate::telemetry::QuestionMetrics;
pub(super) use asker::{Asker, Form, QuestionFault, basic, signed};
use breaker::{Breaker, Leave};
pub(super) use known::{Known, KnownAnswers};

/// The desks of all endpoints of one kind of the snapshot in force.
#[derive(Debug)]
pub(super) struct Desks<E, T>(Mutex<Vec<Arc<Desk<E, T>>>>);

/// Where requests ask one endpoint.
#[derive(Debug)]
pub(super) struct Desk<E, T> {
    pub(super) endpoint: Arc<E>,
    /// One for each request that waits, and one for each question.
    places: Arc<Semaphore>,
    /// One for each question under way.
    turns: Semaphore,
    breaker: Breaker,
    /// The questions, under way or waiting for a turn, and those who wait for each.
    questions: Mutex<HashMap<Digest, Waiters<T>>>,
    /// What discovery gave, until a question fails.
    discovered: Mutex<Option<String>>,
    last_fault: Mutex<Option<QuestionFault>>,
    metrics: QuestionMetrics,
}

/// What a request learns.
pub(super) type Outcome<T> = Result<Known<T>, Unavailable>;
type Waiters<T> = watch::Sender<Option<Outcome<T>>>;
pub(super) type Waiting<T> = watch::Receiver<Option<Outcome<T>>>;

/// Nobody can say now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unavailable {
    pub(super) retry_after: Duration,
}

/// What came of a question.
#[derive(Debug)]
pub(super) struct Answered<T> {
    pub(super) known: Known<T>,
    /// How it ended: with a word for the metric, or with a fault of the endpoint that is no reason to wait for it.
    pub(super) ended: Result<&'static str, QuestionFault>,
}

/// What a request does about what it does not know.
pub(super) enum Joined<E, T, G> {
    Known(Known<T>),
    Wait(Waiting<T>),
    Ask(Question<E, T>, Waiting<T>, G),
    Refused(Unavailable),
}

/// A question on its way. Whatever becomes of it, those who wait for it learn that it is over.
pub(super) struct Question<E, T> {
    desk: Arc<Desk<E, T>>,
    digest: Digest,
    leave: Leave,
    /// Whether the breaker has been told how it ended.
    is_settled: bool,
    /// Whether those who wait have been told.
    is_told: bool,
    /// Until it is over, whether the request that began it waits or not.
    _place: OwnedSemaphorePermit,
}

impl<E, T> Default for Desks<E, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: AsRef<AskedEndpoint>, T> Desks<E, T> {
    /// The desks of a snapshot, by API; nothing where no API asks anybody. An endpoint that was there before keeps its
    /// desk.
    pub(super) fn of(
        &self,
        endpoints: &[Option<Arc<E>>],
        metrics: impl Fn(usize, &E) -> QuestionMetrics,
    ) -> Vec<Option<Arc<Desk<E, T>>>> {
        if endpoints.iter().all(Option::is_none) {
            return Vec::new();
        }
        let mut desks = locked(&self.0);
        desks.retain(|desk| {
            let mut named = endpoints.iter().flatten();
            named.any(|endpoint| Arc::ptr_eq(endpoint, &desk.endpoint))
        });
        let mut desk = |(position, endpoint): (usize, &Arc<E>)| {
            let mut there = desks.iter();
            if let Some(desk) = there.find(|desk| Arc::ptr_eq(&desk.endpoint, endpoint)) {
                return Arc::clone(desk);
            }
            let desk = Arc::new(Desk::new(endpoint, metrics(position, endpoint)));
            desks.push(Arc::clone(&desk));
            desk
        };
        let by_api = endpoints.iter().enumerate();
        by_api
            .map(|(position, endpoint)| Some(desk((position, endpoint.as_ref()?))))
            .collect()
    }
}

impl<E: AsRef<AskedEndpoint>, T> Desk<E, T> {
    fn new(endpoint: &Arc<E>, metrics: QuestionMetrics) -> Self {
        let asked = (**endpoint).as_ref();
        Self {
            places: Arc::new(Semaphore::new(asked.waiting)),
            turns: Semaphore::new(asked.concurrency),
            breaker: Breaker::new(asked.failures, asked.cooldown, metrics.breaker.clone()),
            questions: Mutex::default(),
            discovered: Mutex::default(),
            last_fault: Mutex::default(),
            metrics,
            endpoint: Arc::clone(endpoint),
        }
    }

    pub(super) fn asked(&self) -> &AskedEndpoint {
        (*self.endpoint).as_ref()
    }

    /// A place for a request that may have to wait.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Unavailable> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_none_left| self.not_asked("full", self.asked().cooldown))
    }

    /// Where the endpoint is.
    pub(super) async fn address(&self, asker: &Asker<'_>) -> Result<String, QuestionFault> {
        let configured = self.asked().address.clone();
        if let Some(address) = configured.or_else(|| locked(&self.discovered).clone()) {
            return Ok(address);
        }
        let address = asker.discover().await?;
        *locked(&self.discovered) = Some(address.clone());
        Ok(address)
    }

    /// What to do about something that nothing was known of a moment ago. `admit` says what is known by now, or lets a
    /// question through; it is asked while nobody else can begin the same question. The place goes to the question,
    /// where there has to be one.
    pub(super) fn join<G>(
        self: &Arc<Self>,
        digest: Digest,
        place: &mut Option<OwnedSemaphorePermit>,
        admit: impl FnOnce() -> Result<G, Known<T>>,
    ) -> Joined<E, T, G> {
        let mut questions = locked(&self.questions);
        if let Some(waiting) = questions.get(&digest) {
            return Joined::Wait(waiting.subscribe());
        }
        // Whoever asked may have had an answer since this request looked.
        let admitted = match admit() {
            Ok(admitted) => admitted,
            Err(known) => return Joined::Known(known),
        };
        let Some(place) = place.take() else {
            return Joined::Refused(self.not_asked("full", self.asked().cooldown));
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
        Joined::Ask(question, waiting, admitted)
    }

    /// Nobody is asked, for this reason.
    fn not_asked(&self, why: &'static str, retry_after: Duration) -> Unavailable {
        self.metrics.results(why).inc();
        Unavailable { retry_after }
    }

    fn succeeded(&self, result: &'static str) {
        self.breaker.succeeded();
        self.metrics.results(result).inc();
        if locked(&self.last_fault).take().is_some() {
            let AskedEndpoint { issuer, kind, .. } = self.asked();
            match kind {
                EndpointKind::Introspection => {
                    tracing::info!(%issuer, "the introspection endpoint answers again");
                }
                EndpointKind::Token => tracing::info!(%issuer, "the token endpoint answers again"),
            }
        }
    }

    /// Returns how long nobody should come again.
    fn failed(&self, leave: Leave, fault: QuestionFault) -> Duration {
        let AskedEndpoint {
            issuer,
            kind,
            cooldown,
            ..
        } = self.asked();
        let cooldown = fault.retry_after().max(*cooldown);
        self.breaker.failed(leave, Instant::now(), cooldown);
        self.metrics.results(fault.label()).inc();
        // The endpoint may have moved.
        locked(&self.discovered).take();
        // The same fault is not told again for each question; the metric counts them.
        let mut last = locked(&self.last_fault);
        if last.as_ref() != Some(&fault) {
            match kind {
                EndpointKind::Introspection => {
                    tracing::error!(%issuer, %fault, "tokens cannot be introspected");
                }
                EndpointKind::Token => tracing::error!(%issuer, %fault, "API keys cannot be exchanged"),
            }
            *last = Some(fault);
        }
        cooldown
    }
}

impl<E: AsRef<AskedEndpoint>, T> Question<E, T> {
    /// Waits for a turn, asks, and tells everybody who waits. What `ask` finds out it has put by before it ends: whoever
    /// comes then must find it.
    pub(super) async fn run(mut self, ask: impl Future<Output = Result<Answered<T>, QuestionFault>>) {
        let (desk, began) = (Arc::clone(&self.desk), Instant::now());
        let patience = desk.asked().timeout;
        let waited = timeout(patience, desk.turns.acquire()).await;
        let Ok(Ok(_turn)) = waited else {
            return self.gave_up("full");
        };
        if self.nobody_waits() {
            return;
        }
        if !desk.breaker.still_admits(self.leave) {
            return self.gave_up("open");
        }
        let left = patience.saturating_sub(began.elapsed());
        let asked = Instant::now();
        let answer = timeout(left, ask).await;
        let answer = answer.unwrap_or(Err(QuestionFault::TimedOut));
        desk.metrics.duration.observe(asked.elapsed().as_secs_f64());
        self.is_settled = true;
        match answer {
            Ok(Answered { known, ended }) => {
                match ended {
                    Ok(result) => desk.succeeded(result),
                    Err(fault) => drop(desk.failed(self.leave, fault)),
                }
                self.tell(Ok(known));
            }
            Err(fault) => {
                let retry_after = desk.failed(self.leave, fault);
                self.tell(Err(Unavailable { retry_after }));
            }
        }
    }

    /// The endpoint was not asked.
    fn gave_up(&mut self, why: &'static str) {
        let unavailable = self.desk.not_asked(why, self.desk.asked().cooldown);
        self.tell(Err(unavailable));
    }
}

impl<E, T> Question<E, T> {
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

    fn tell(&mut self, outcome: Outcome<T>) {
        self.is_told = true;
        let waiting = locked(&self.desk.questions).remove(&self.digest);
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(outcome));
        }
    }
}

impl<E, T> Drop for Question<E, T> {
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can leave a value half-changed, so a poisoned lock is as good as another.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
