//! The wall clock, read in one place. The pure core stands above it in the map and is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::token::UnixSeconds;

/// Seconds since 1970; 0 before that.
pub fn unix_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
}
