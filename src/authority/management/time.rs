//! Times as the Management API writes and reads them (RFC 3339, in UTC, with milliseconds).

use jiff::Timestamp;

/// A moment.
pub(super) fn text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Now.
pub(super) fn now() -> String {
    text(Timestamp::now())
}

/// A moment in unix seconds.
pub(super) fn of_seconds(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(text)
}

/// A moment that a client wrote.
pub(super) fn read(written: &str) -> Option<Timestamp> {
    written.parse().ok()
}
