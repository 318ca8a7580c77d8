//! How many lines about refused requests the access log takes in a second, reason by reason.
//!
//! Whoever sends junk writes the log of those who are attacked. Each reason has a bound of its own, so that a flood of one
//! kind hides no other; what is left out is counted. `access_log` asks before it builds a line; a line about a request
//! that was allowed is never left out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::IntCounter;

/// The bound, and what it has left out.
#[derive(Debug)]
pub struct DenialLines {
    /// Lines in a second; 0: any number.
    most: u32,
    /// By the index of the reason.
    reasons: Vec<Lines>,
}

#[derive(Debug)]
struct Lines {
    reason: &'static str,
    /// The second in the upper half, and how many lines were taken in it.
    window: AtomicU64,
    /// Since that was last told.
    left_out: AtomicU64,
    total: IntCounter,
}

impl DenialLines {
    /// At most so many lines a second for each of these reasons, which are in the order of their index.
    pub fn new(most: u32, reasons: impl IntoIterator<Item = (&'static str, IntCounter)>) -> Self {
        let lines = |(reason, total)| Lines {
            reason,
            window: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            total,
        };
        Self {
            most,
            reasons: reasons.into_iter().map(lines).collect(),
        }
    }

    /// Whether a line about a refusal is written.
    pub(super) fn takes(&self, reason: usize, at: SystemTime) -> bool {
        let Some(lines) = self.reasons.get(reason).filter(|_| self.most > 0) else {
            return true;
        };
        let since = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let is_taken = lines.take(since & SECONDS, self.most);
        if !is_taken {
            lines.left_out.fetch_add(1, Relaxed);
            lines.total.inc();
        }
        is_taken
    }

    /// Says what was left out since it last did. Called every few seconds.
    pub(super) fn tell(&self) {
        for lines in &self.reasons {
            let count = match lines.left_out.load(Relaxed) {
                0 => continue,
                _ => lines.left_out.swap(0, Relaxed),
            };
            // Somebody else may have been here in between.
            if count > 0 {
                let reason = lines.reason;
                tracing::warn!(
                    reason,
                    count,
                    "lines about refused requests were left out of the access log"
                );
            }
        }
    }
}

impl Lines {
    fn take(&self, second: u64, most: u32) -> bool {
        let taken = self.window.fetch_update(Relaxed, Relaxed, |window| {
            let (begun, count) = (window >> 32, window & COUNT);
            // A record of the second before counts with those of this one; a clock that was set back begins anew.
            let is_same = second <= begun && begun - second <= LATE;
            if !is_same {
                return Some(second << 32 | 1);
            }
            (count < u64::from(most)).then_some(window + 1)
        });
        taken.is_ok()
    }
}

/// 32 bits: until the year 2106, and then from the beginning.
const SECONDS: u64 = 0xffff_ffff;
const COUNT: u64 = 0xffff_ffff;
/// How late a record may be that belongs to a window which has gone by.
const LATE: u64 = 60;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn denials(most: u32) -> (DenialLines, [IntCounter; 2]) {
        let counters = ["a", "b"].map(|name| IntCounter::new(name, name).unwrap());
        let lines = DenialLines::new(most, ["a", "b"].into_iter().zip(counters.clone()));
        (lines, counters)
    }

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second)
    }

    #[test]
    fn each_reason_has_its_own_bound_in_each_second() {
        let (lines, [a, b]) = denials(3);
        let taken = |reason, second| (0..5).filter(|_| lines.takes(reason, at(second))).count();
        assert_eq!(taken(0, 0), 3);
        assert_eq!((a.get(), b.get()), (2, 0));
        assert_eq!(taken(1, 0), 3);
        assert_eq!(taken(0, 1), 3);
        // Records come a little out of order, and that frees nothing.
        assert_eq!(taken(0, 0), 0);
        assert_eq!(taken(0, 1), 0);
        assert_eq!((a.get(), b.get()), (14, 2));
        // The clock was set back by an hour.
        assert!(lines.takes(0, at(0) - Duration::from_secs(3_600)));
        assert!(lines.takes(7, at(0)), "an unknown reason is nobody's flood");
    }

    #[test]
    fn zero_is_no_bound() {
        let (lines, [a, _]) = denials(0);
        assert!((0..10_000).all(|_| lines.takes(0, at(0))));
        assert_eq!(a.get(), 0);
    }

    #[test]
    fn what_was_left_out_is_told_once() {
        let (lines, _) = denials(1);
        assert_eq!((0..5).filter(|_| lines.takes(0, at(0))).count(), 1);
        assert_eq!(lines.reasons[0].left_out.load(Relaxed), 4);
        lines.tell();
        assert_eq!(lines.reasons[0].left_out.load(Relaxed), 0);
    }
}
