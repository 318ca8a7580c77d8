//! What happens when something panics: it is counted and its place logged, and a process that goes on panicking ends.
//!
//! `scopegate run` sets the hook. tokio ends the task that panicked and nothing else, so one bad request costs its own
//! connection. The message of a panic may hold what a client sent, so it is never shown.

use std::collections::VecDeque;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

/// The hook: counts in `counter`, and calls `end` with each panic that is one too many.
pub(super) fn hook(
    counter: IntCounter,
    end: impl Fn() + Send + Sync + 'static,
) -> impl Fn(&PanicHookInfo<'_>) + Send + Sync + 'static {
    let recent = Mutex::new(Recent::default());
    move |panic| {
        counter.inc();
        let place = panic
            .location()
            .map(|place| format!("{}:{}", place.file(), place.line()));
        let thread = std::thread::current();
        tracing::error!(
            place = place.as_deref().unwrap_or("unknown"),
            thread = thread.name().unwrap_or("unnamed"),
            "something has panicked, which is a fault of scopegate; please report the place"
        );
        let is_too_many = recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_too_many(Instant::now());
        if is_too_many {
            tracing::error!("more than {MOST} panics within a minute: the process ends, to be started anew");
            end();
        }
    }
}

/// When the last panics were, the oldest first.
#[derive(Debug, Default)]
struct Recent(VecDeque<Instant>);

impl Recent {
    /// Notes one more, and says whether more than [`MOST`] were within [`WINDOW`].
    fn is_too_many(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        while self
            .0
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= WINDOW)
        {
            self.0.pop_front();
        }
        // No more than these are ever needed.
        while self.0.len() > MOST + 1 {
            self.0.pop_front();
        }
        self.0.len() > MOST
    }
}

const MOST: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_eleventh_within_a_minute_is_too_many() {
        let begin = Instant::now();
        let mut recent = Recent::default();
        for second in 0..10 {
            assert!(!recent.is_too_many(begin + Duration::from_secs(second)));
        }
        // The first is a minute old by then, so these are ten again.
        assert!(!recent.is_too_many(begin + Duration::from_secs(60)));
        assert!(recent.is_too_many(begin + Duration::from_secs(60)));
        for _ in 0..1_000 {
            assert!(recent.is_too_many(begin + Duration::from_secs(60)));
        }
        assert!(recent.0.len() <= MOST + 1);
        assert!(!recent.is_too_many(begin + Duration::from_secs(120)));
    }

    #[test]
    fn one_every_seven_seconds_goes_on() {
        let begin = Instant::now();
        let mut recent = Recent::default();
        assert!((0..1_000).all(|number| !recent.is_too_many(begin + Duration::from_secs(7 * number))));
    }

    /// The hook is that of the whole process, so one test does all of it.
    #[test]
    fn counts_shows_the_place_and_ends() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let counter = IntCounter::new("panics", "panics").unwrap();
        let ends = Arc::new(AtomicUsize::new(0));
        let (for_hook, for_log) = (Arc::clone(&ends), Arc::clone(&written));
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Lines(Arc::clone(&for_log)))
            .finish();
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(hook(counter.clone(), move || {
            for_hook.fetch_add(1, Ordering::Relaxed);
        })));
        tracing::subscriber::with_default(log, || {
            for number in 0..12 {
                let panicked = std::panic::catch_unwind(|| panic!("the secret of the client: {number}"));
                assert!(panicked.is_err());
                assert_eq!(ends.load(Ordering::Relaxed), usize::max(number, 9) - 9);
            }
        });
        std::panic::set_hook(former);
        assert_eq!(counter.get(), 12);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(written.matches("src/app/panics.rs:").count(), 12, "{written}");
        assert_eq!(written.matches("more than 10 panics").count(), 2, "{written}");
        assert!(!written.contains("secret"), "{written}");
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
