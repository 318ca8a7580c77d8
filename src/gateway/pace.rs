//! How long a body is waited for: its longest pause, and the rate that its sender has to keep on the whole.
//!
//! `body` asks when nothing came. Waiting takes a slot among the deadlines of the worker, and only once there is something
//! to wait for; a body that is there costs nothing.

use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};

use super::deadline::{Deadlines, Patience};

/// Before the rate of a body is looked at.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// How fast a client has to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The longest pause.
    pub(super) pause: Duration,
    /// Bytes in a second; 0 for any.
    pub(super) rate: u32,
}

/// A client that has to keep a rate beside its pauses. Only the time counts in which it was waited for: what the
/// upstream takes its time for is no fault of the client's.
#[derive(Debug)]
pub(super) struct SenderPatience {
    patience: Patience,
    pause: Duration,
    rate: u32,
    waited: Duration,
    waits_since: Option<Instant>,
    /// This wait is shorter than a pause.
    is_short: bool,
}

impl SenderPatience {
    pub(super) fn new(pace: Pace, deadlines: &Rc<Deadlines>) -> Self {
        Self {
            patience: Patience::new(pace.pause, deadlines),
            pause: pace.pause,
            rate: pace.rate,
            waited: Duration::ZERO,
            waits_since: None,
            is_short: false,
        }
    }

    /// The client has sent something.
    pub(super) fn came(&mut self, now: Instant) {
        self.patience.renew();
        self.is_short = false;
        if let Some(since) = self.waits_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// Nothing came after so many bytes; whether that has lasted too long. Registers for being woken. Once the upstream
    /// answers, the two may talk as slowly as they like, with pauses within bounds.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>, bytes: u64, is_answered: bool) -> bool {
        if self.patience.is_over(cx) {
            if !(self.is_short && is_answered) {
                return true;
            }
            self.is_short = false;
            self.patience.wait_for(self.pause, Instant::now());
            return self.patience.is_over(cx);
        }
        if self.rate == 0 || is_answered || self.waits_since.is_some() {
            return false;
        }
        let now = Instant::now();
        self.waits_since = Some(now);
        let earned = Duration::from_secs(bytes / u64::from(self.rate));
        let left = (RATE_GRACE + earned).saturating_sub(self.waited);
        if left < self.pause {
            self.is_short = true;
            self.patience.wait_for(left, now);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    /// What a sender may take that has sent so many bytes, and was waited for so long before.
    async fn overdue_after(bytes: u64, waited: Duration, answered_at: Option<Duration>) -> Option<Duration> {
        let deadlines = Rc::new(Deadlines::default());
        let ticking = Rc::clone(&deadlines);
        let ticking = tokio::task::spawn_local(async move { ticking.tick().await });
        let pace = Pace {
            pause: PAUSE,
            rate: 240,
        };
        let mut patience = SenderPatience::new(pace, &deadlines);
        patience.waited = waited;
        let began = Instant::now();
        let over = poll_fn(|cx| {
            let is_answered = answered_at.is_some_and(|at| began.elapsed() >= at);
            match patience.is_over(cx, bytes, is_answered) {
                true => Poll::Ready(began.elapsed()),
                false => Poll::Pending,
            }
        });
        let over = tokio::time::timeout(Duration::from_secs(2), over).await.ok();
        ticking.abort();
        over
    }

    fn on_a_worker(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default());
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn who_was_slow_so_far_is_waited_for_no_longer() {
        on_a_worker(async {
            let slow = Duration::from_secs(14);
            // 2,400 bytes earn ten seconds beside the five of grace.
            let took = overdue_after(2_400, slow, None).await.unwrap();
            assert!(took >= Duration::from_millis(950), "{took:?}");
            assert_eq!(overdue_after(24_000, slow, None).await, None);
            assert!(overdue_after(0, slow, None).await.unwrap() < Duration::from_secs(1));
        });
    }

    #[test]
    fn an_answer_frees_the_sender() {
        on_a_worker(async {
            let slow = Duration::from_millis(14_500);
            let answered = Some(Duration::from_millis(100));
            assert_eq!(overdue_after(2_400, slow, answered).await, None);
            assert_eq!(overdue_after(2_400, slow, Some(Duration::ZERO)).await, None);
        });
    }
}
