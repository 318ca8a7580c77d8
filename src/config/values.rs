//! Durations and sizes as the configuration writes them: `15m`, `32KiB`.
//!
//! Read by `reader`, used by the mirror in `file`. A bare number is refused: nobody should have to know its unit.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A duration: a whole number with `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period(pub(super) Duration);

/// A number of bytes: a whole number with `B`, `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// What a duration should look like.
pub(super) const PERIOD_HINT: &str = "a whole number with ms, s, m, h or d, such as 15m";
/// What a size should look like.
pub(super) const SIZE_HINT: &str = "a whole number with B, KiB, MiB or GiB, such as 32KiB";

impl Period {
    /// Reads `15m`; `None` where it is anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number
            .checked_mul(milliseconds)
            .map(Duration::from_millis)
            .map(Self)
    }
}

impl Size {
    /// Reads `32KiB`; `None` where it is anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let bytes = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(bytes).map(Self)
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// A duration as the configuration writes it, in the largest unit that fits.
pub(super) fn show_period(period: Duration) -> String {
    let milliseconds = period.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds > 0 && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    if milliseconds == 0 {
        "0s".into()
    } else {
        format!("{milliseconds}ms")
    }
}

/// A size as the configuration writes it, in the largest unit that fits.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": PERIOD_HINT})
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "description": SIZE_HINT})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0s", Some(0)),
            ("1ms", Some(1)),
            ("10s", Some(10_000)),
            ("15m", Some(900_000)),
            ("24h", Some(86_400_000)),
            ("30d", Some(2_592_000_000)),
            ("007s", Some(7_000)),
            ("", None),
            ("15", None),
            ("m", None),
            ("-1s", None),
            ("+1s", None),
            ("1.5s", None),
            ("1 s", None),
            (" 1s", None),
            ("1S", None),
            ("1M", None),
            ("1min", None),
            ("1h30m", None),
            ("1µs", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            let parsed = Period::parse(text).map(|period| period.0.as_millis());
            assert_eq!(parsed, milliseconds, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0B", Some(0)),
            ("512B", Some(512)),
            ("32KiB", Some(32_768)),
            ("10MiB", Some(10_485_760)),
            ("2GiB", Some(2_147_483_648)),
            ("", None),
            ("32", None),
            ("32KB", None),
            ("32kb", None),
            ("32K", None),
            ("KiB", None),
            ("1.5MiB", None),
            ("1 MiB", None),
            ("17179869184GiB", None),
        ] {
            assert_eq!(Size::parse(text).map(|size| size.0), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read() {
        for milliseconds in [
            0, 1, 999, 1_000, 61_000, 60_000, 3_600_000, 86_400_000, 90_000_000,
        ] {
            let period = Duration::from_millis(milliseconds);
            assert_eq!(Period::parse(&show_period(period)), Some(Period(period)));
        }
        for bytes in [0, 1, 1023, 1024, 1025, 1 << 20, 3 << 30] {
            assert_eq!(Size::parse(&show_size(bytes)), Some(Size(bytes)));
        }
    }
}
