//! One line of JSON, written member by member into a buffer that is used again.
//!
//! Only `access_log` uses it. Whatever a text holds, the line stays one line, is valid JSON and has a bounded length.

use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The buffer. `begin`, members, `end`.
#[derive(Debug)]
pub(super) struct Line {
    bytes: Vec<u8>,
    /// The second that `date` shows: most lines of a busy worker share it.
    second: u64,
    date: String,
}

impl Line {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            second: u64::MAX,
            date: String::new(),
        }
    }

    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.push(b'{');
    }

    /// The finished line with its newline.
    pub(super) fn end(&mut self) -> &[u8] {
        self.bytes.extend_from_slice(b"}\n");
        &self.bytes
    }

    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        self.bytes.push(b'"');
        let mut room = LONGEST;
        for character in text.chars() {
            let Some(left) = room.checked_sub(character.len_utf8()) else {
                break;
            };
            room = left;
            self.character(character);
        }
        self.bytes.push(b'"');
    }

    pub(super) fn optional(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn address(&mut self, name: &'static str, address: IpAddr) {
        self.name(name);
        self.print(format_args!("\"{address}\""));
    }

    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        self.print(format_args!("{number}"));
    }

    /// Milliseconds with three decimals.
    pub(super) fn milliseconds(&mut self, name: &'static str, duration: Duration) {
        self.name(name);
        let micros = duration.as_micros();
        self.print(format_args!("{}.{:03}", micros / 1_000, micros % 1_000));
    }

    pub(super) fn hexadecimal(&mut self, name: &'static str, bytes: &[u8]) {
        self.name(name);
        self.bytes.push(b'"');
        for byte in bytes {
            self.print(format_args!("{byte:02x}"));
        }
        self.bytes.push(b'"');
    }

    /// RFC 3339 with milliseconds, UTC.
    pub(super) fn time(&mut self, name: &'static str, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            let date = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
            self.date = date.to_string();
        }
        self.name(name);
        self.bytes.push(b'"');
        self.bytes
            .extend_from_slice(self.date.trim_end_matches('Z').as_bytes());
        self.print(format_args!(".{:03}Z\"", since.subsec_millis()));
    }

    fn name(&mut self, name: &'static str) {
        if self.bytes.len() > 1 {
            self.bytes.push(b',');
        }
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    fn character(&mut self, character: char) {
        match character {
            '"' | '\\' => self.print(format_args!("\\{character}")),
            // Also those above ASCII: a terminal obeys U+009B as it does ESC [.
            control if control.is_control() => self.print(format_args!("\\u{:04x}", u32::from(control))),
            ascii if ascii.is_ascii() => self.bytes.extend(u8::try_from(ascii)),
            other => self
                .bytes
                .extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }

    fn print(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a Vec cannot fail.
        let _ = self.bytes.write_fmt(arguments);
    }
}

/// Bytes of one text; what is beyond is cut.
const LONGEST: usize = 256;
