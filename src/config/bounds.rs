//! Numbers, durations and sizes within their bounds.
//!
//! Used by `resolve` for everything that has a default and a largest value.

use std::time::Duration;

use super::faults::Fault;
use super::reader::Placed;
use super::values::{Period, Size, show_period, show_size};

/// The shortest duration that is not plainly a mistake.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);

/// What was written where it is within bounds, else the default and a fault.
pub(super) fn period(
    key: &str,
    written: Option<&Placed<Period>>,
    default: Duration,
    bounds: (Duration, Duration),
    faults: &mut Vec<Fault>,
) -> Duration {
    let Some(written) = written else { return default };
    let value = written.value.0;
    if value < bounds.0 || value > bounds.1 {
        let (min, max) = (show_period(bounds.0), show_period(bounds.1));
        faults.push(outside(key, written, &show_period(value), &min, &max));
        return default;
    }
    value
}

/// The same for sizes in bytes.
pub(super) fn size(
    key: &str,
    written: Option<&Placed<Size>>,
    default: u64,
    bounds: (u64, u64),
    faults: &mut Vec<Fault>,
) -> u64 {
    let Some(written) = written else { return default };
    let value = written.value.0;
    if value < bounds.0 || value > bounds.1 {
        let (min, max) = (show_size(bounds.0), show_size(bounds.1));
        faults.push(outside(key, written, &show_size(value), &min, &max));
        return default;
    }
    value
}

/// The same for numbers.
pub(super) fn count<N: Copy + TryFrom<u64>>(
    key: &str,
    written: Option<&Placed<u64>>,
    default: N,
    bounds: (u64, u64),
    faults: &mut Vec<Fault>,
) -> N {
    let Some(written) = written else { return default };
    let value = written.value;
    let within = (bounds.0..=bounds.1).contains(&value);
    N::try_from(value).ok().filter(|_| within).unwrap_or_else(|| {
        let (min, max) = (bounds.0.to_string(), bounds.1.to_string());
        faults.push(outside(key, written, &value.to_string(), &min, &max));
        default
    })
}

fn outside<T>(key: &str, written: &Placed<T>, value: &str, min: &str, max: &str) -> Fault {
    Fault::new(
        &written.place,
        format!("`{key}` is {value}; it must be {min} to {max}"),
    )
}
