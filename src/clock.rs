//! The clocks, read in one place. The pure core stands above it in the map and is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::token::UnixSeconds;

/// What the kernel noted down at its last tick, some milliseconds ago: reading that takes a fifth of the time.
#[cfg(target_os = "linux")]
const COARSE: (ClockId, ClockId) = (ClockId::MonotonicCoarse, ClockId::RealtimeCoarse);
#[cfg(not(target_os = "linux"))]
const COARSE: (ClockId, ClockId) = (ClockId::Monotonic, ClockId::Realtime);

/// Seconds since 1970; 0 before that.
pub fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
}

/// The same, up to ten milliseconds late: for what nobody decides by.
pub fn coarse_unix_now() -> UnixSeconds {
    clock_gettime(COARSE.1).tv_sec
}

/// Milliseconds of a clock that is never set, up to ten of them late. Where it began is unknown.
pub fn coarse_millis() -> u64 {
    let now = clock_gettime(COARSE.0);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000 + nanos.unwrap_or_default() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    #[tokio::test]
    async fn coarse_clocks_go_with_the_others() {
        let before = unix_now();
        let coarse = coarse_unix_now();
        assert!((before - 1..=unix_now()).contains(&coarse), "{coarse} {before}");
        let before = coarse_millis();
        sleep(Duration::from_millis(100)).await;
        let passed = coarse_millis() - before;
        assert!((80..10_000).contains(&passed), "{passed}");
    }
}
