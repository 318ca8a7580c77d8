//! Whether an endpoint is asked at all: after some failures in a row nobody asks for a while, then one question is tried.
//!
//! Requests that meet an endpoint in trouble are told so at once, and do not pile up behind its timeouts. Only desks use
//! it, and only for tokens that nothing is known of.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

/// Leave to ask. It must be told how that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// As everybody has it.
    Usual,
    /// To find out whether the endpoint is well again.
    Trial,
}

/// The state of one endpoint.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    cooldown: Duration,
    state: Mutex<State>,
    /// 0: closed, 1: one question is being tried, 2: open.
    gauge: IntGauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Everybody asks. Failures in a row.
    Closed(u32),
    /// Nobody asks before this.
    Open(Instant),
    /// One question is under way, and everybody waits for how it ends.
    Probing,
}

impl Breaker {
    pub(super) fn new(failures: u32, cooldown: Duration, gauge: IntGauge) -> Self {
        gauge.set(0);
        Self {
            failures,
            cooldown,
            state: Mutex::new(State::Closed(0)),
            gauge,
        }
    }

    /// Leave to ask, after which one of the others must be called; or how long there is none.
    pub(super) fn admit(&self, now: Instant) -> Result<Leave, Duration> {
        let mut state = self.state();
        match *state {
            State::Closed(_) => Ok(Leave::Usual),
            State::Open(until) if now < until => Err(until - now),
            State::Open(_) => {
                self.set(&mut state, State::Probing);
                Ok(Leave::Trial)
            }
            State::Probing => Err(self.cooldown),
        }
    }

    /// Whether a question that had to wait may still be asked.
    pub(super) fn still_admits(&self, leave: Leave) -> bool {
        leave == Leave::Trial || matches!(*self.state(), State::Closed(_))
    }

    /// The question was not asked after all.
    pub(super) fn returned(&self, leave: Leave, now: Instant) {
        if leave == Leave::Trial {
            let mut state = self.state();
            self.set(&mut state, State::Open(now));
        }
    }

    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        self.set(&mut state, State::Closed(0));
    }

    /// The question failed. Should nobody ask any more for that, then for `cooldown` at least.
    pub(super) fn failed(&self, leave: Leave, now: Instant, cooldown: Duration) {
        let cooldown = cooldown.max(self.cooldown);
        let mut state = self.state();
        let next = match (*state, leave) {
            (State::Closed(failures), Leave::Usual) if failures + 1 < self.failures => {
                State::Closed(failures + 1)
            }
            (State::Closed(_), Leave::Usual) | (_, Leave::Trial) => State::Open(now + cooldown),
            // What began before says nothing new.
            (state @ (State::Open(_) | State::Probing), Leave::Usual) => state,
        };
        self.set(&mut state, next);
    }

    fn set(&self, state: &mut State, next: State) {
        *state = next;
        self.gauge.set(match next {
            State::Closed(_) => 0,
            State::Probing => 1,
            State::Open(_) => 2,
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(1);

    fn breaker() -> (Breaker, IntGauge) {
        let gauge = IntGauge::new("a", "a").unwrap();
        (Breaker::new(3, COOLDOWN, gauge.clone()), gauge)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_tries_one_question() {
        let (breaker, gauge) = breaker();
        let start = Instant::now();
        for _ in 0..2 {
            assert_eq!(breaker.admit(start), Ok(Leave::Usual));
            breaker.failed(Leave::Usual, start, COOLDOWN);
        }
        breaker.succeeded();
        for _ in 0..3 {
            assert_eq!((breaker.admit(start), gauge.get()), (Ok(Leave::Usual), 0));
            breaker.failed(Leave::Usual, start, COOLDOWN);
        }
        assert_eq!((breaker.admit(start), gauge.get()), (Err(COOLDOWN), 2));
        assert!(!breaker.still_admits(Leave::Usual));
        // What was under way and fails later does not put the trial off.
        breaker.failed(Leave::Usual, start + COOLDOWN / 2, COOLDOWN);
        assert_eq!(breaker.admit(start + COOLDOWN), Ok(Leave::Trial));
        assert!(breaker.still_admits(Leave::Trial) && !breaker.still_admits(Leave::Usual));
        breaker.failed(Leave::Usual, start + COOLDOWN, COOLDOWN);
        assert_eq!((breaker.admit(start + COOLDOWN), gauge.get()), (Err(COOLDOWN), 1));
        breaker.failed(Leave::Trial, start + COOLDOWN, COOLDOWN);
        assert_eq!(breaker.admit(start + COOLDOWN), Err(COOLDOWN));
        let then = start + COOLDOWN * 2;
        assert_eq!(breaker.admit(then), Ok(Leave::Trial));
        // Whoever was to try it has gone: the next one does.
        breaker.returned(Leave::Trial, then);
        breaker.returned(Leave::Usual, then);
        assert_eq!(breaker.admit(then), Ok(Leave::Trial));
        breaker.succeeded();
        assert_eq!((breaker.admit(then), gauge.get()), (Ok(Leave::Usual), 0));
    }

    #[test]
    fn one_failure_can_be_enough() {
        let gauge = IntGauge::new("a", "a").unwrap();
        let breaker = Breaker::new(1, COOLDOWN, gauge);
        breaker.failed(Leave::Usual, Instant::now(), COOLDOWN);
        assert!(breaker.admit(Instant::now()).is_err());
    }
}
