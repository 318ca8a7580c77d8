//! Opens encrypted tokens away from the workers, a bounded number at a time.
//!
//! A private-key operation takes as long as dozens of verifications, and anybody can ask for one with junk. So a few
//! threads of a lower priority do them, requests queue for a turn, and whoever finds the queue full is told to come
//! again; the requests that a worker serves beside them notice nothing. Used for tokens that are not in the cache.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::record::Record;
use super::sanitize::SanitizedHead;
use super::verdict::{Judged, Verdict, Waiting, sealed};
use super::worker::Worker;
use crate::token::{OpenedToken, SealedToken};

/// Requests that may wait for a turn, in the whole process.
const QUEUE: usize = 128;

/// How long a request waits for its token to be opened, the queue included.
const PATIENCE: Duration = Duration::from_secs(2);

/// Added to the niceness of the process: a worker that has something to do goes first.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

/// The threads that decrypt, and the turns on them.
#[derive(Debug)]
pub(super) struct Decryption {
    threads: usize,
    /// One for each request that has a turn or waits for one.
    places: Semaphore,
    /// One for each thread.
    turns: Arc<Semaphore>,
    /// There from the first encrypted token on; `None` where no thread could be started.
    jobs: OnceLock<Option<Sender<Job>>>,
}

#[derive(Debug)]
struct Job {
    token: Arc<SealedToken>,
    turn: OwnedSemaphorePermit,
    reply: oneshot::Sender<Opened>,
}

/// An opened token. Its turn lasts until it is dropped, so that the next in the queue finds in the cache what came of it.
#[derive(Debug)]
struct Opened {
    token: OpenedToken,
    _turn: OwnedSemaphorePermit,
}

impl Decryption {
    /// For a process with so many processors; starts nothing.
    pub(super) fn new(processors: usize) -> Self {
        let threads = (processors / 4).clamp(1, 4);
        Self {
            threads,
            places: Semaphore::new(threads + QUEUE),
            turns: Arc::new(Semaphore::new(threads)),
            jobs: OnceLock::new(),
        }
    }

    /// Opens a token on one of the threads, in a turn.
    async fn open(&self, token: Arc<SealedToken>, turn: OwnedSemaphorePermit) -> Option<Opened> {
        let jobs = self.jobs.get_or_init(|| start(self.threads)).as_ref()?;
        let (reply, opened) = oneshot::channel();
        jobs.send(Job { token, turn, reply }).ok()?;
        opened.await.ok()
    }
}

/// The threads end when the last sender is gone.
fn start(threads: usize) -> Option<Sender<Job>> {
    let (jobs, received) = channel();
    let received = Arc::new(Mutex::new(received));
    let mut started = 0;
    for index in 0..threads {
        let received = Arc::clone(&received);
        let thread = thread::Builder::new().name(format!("decrypt-{index}"));
        match thread.spawn(move || work(&received)) {
            Ok(_detached) => started += 1,
            Err(error) => tracing::error!(%error, "cannot start a thread for encrypted tokens"),
        }
    }
    (started > 0).then_some(jobs)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    // On Linux this is a matter of the calling thread alone.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::getpriority_process(None)
        .and_then(|nice| rustix::process::setpriority_process(None, nice.saturating_add(NICER)))
    {
        tracing::warn!(%error, "encrypted tokens are opened at the priority of requests");
    }
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { token, turn, reply }) = job else {
            return;
        };
        // A client that has gone needs nothing.
        if !reply.is_closed() {
            let token = token.open();
            // Gone meanwhile: the turn ends here.
            let _ = reply.send(Opened { token, _turn: turn });
        }
    }
}

impl Worker {
    /// Has a token opened, and decides once more. `full` is what a request is told that finds no place, or waits for
    /// too long.
    pub(super) async fn open_and_decide(
        &self,
        full: Verdict,
        head: SanitizedHead<'_>,
        record: &Record,
    ) -> Verdict {
        let decryption = &self.shared.decryption;
        let Ok(_place) = decryption.places.try_acquire() else {
            return full;
        };
        let began = Instant::now();
        let deadline = self.deadlines.after(PATIENCE, began);
        let Some(Ok(turn)) = deadline
            .limit(Arc::clone(&decryption.turns).acquire_owned())
            .await
        else {
            return full;
        };
        // Whoever had the turn before may have opened the same token.
        let view = self.view();
        let decision = self.decide_now(&view, head);
        let Some(token) = sealed(&decision).map(Arc::clone) else {
            drop(turn);
            return match self.judge(view, decision, record) {
                Judged::Now(verdict) => verdict,
                Judged::Later(Waiting::Fetch(fetches)) => {
                    self.decide_again(fetches, None, head, record).await
                }
                Judged::Later(
                    Waiting::Opening(full) | Waiting::Introspection(full) | Waiting::Exchange(full),
                ) => *full,
            };
        };
        let Some(Some(opened)) = deadline.limit(decryption.open(token, turn)).await else {
            return full;
        };
        record.waited_for_decryption(began.elapsed());
        let decision = self.decide_opened(&view, head, &opened.token);
        match self.judge(view, decision, record) {
            Judged::Now(verdict) => verdict,
            Judged::Later(Waiting::Fetch(fetches)) => {
                let Opened { token, _turn } = opened;
                drop(_turn);
                self.decide_again(fetches, Some(&token), head, record).await
            }
            Judged::Later(
                Waiting::Opening(full) | Waiting::Introspection(full) | Waiting::Exchange(full),
            ) => *full,
        }
    }
}
