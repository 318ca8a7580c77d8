//! Counts the frames of an HTTP/2 connection that cost work and bring none.
//!
//! `activity` feeds it the bytes of both directions. h2 bounds what it has to remember (CONTINUATION, resets of streams
//! that nobody has taken yet, its own resets, empty DATA), but not how often a client makes it, and an upstream, work for
//! nothing: HEADERS, a moment, RST_STREAM, over and over (CVE-2023-44487), or control frames without end. Only types,
//! flags and lengths are looked at (RFC 9113 section 4.1); what a frame says is h2's business.

use std::time::Duration;

use tokio::time::Instant;

/// Both directions of one connection, and what its client has used up.
#[derive(Debug)]
pub(super) struct Frames {
    read: Boundaries,
    written: Boundaries,
    resets: Budget,
    control: Budget,
}

/// Follows the frames of one direction.
#[derive(Debug, Default)]
struct Boundaries {
    head: [u8; HEAD],
    /// How much of the next head is there.
    have: usize,
    /// How much of the current payload is to come.
    skip: usize,
}

/// So many within [`WINDOW`]. The clock is read only when they are used up.
#[derive(Debug)]
struct Budget {
    used: u32,
    limit: u32,
    since: Instant,
}

impl Frames {
    /// `preface_left` is how much of the preface is still to be read; `resets` how many RST_STREAM in ten seconds are
    /// too many.
    pub(super) fn new(preface_left: usize, resets: u32) -> Self {
        let since = Instant::now();
        Self {
            read: Boundaries {
                skip: preface_left,
                ..Boundaries::default()
            },
            written: Boundaries::default(),
            resets: Budget {
                used: 0,
                limit: resets,
                since,
            },
            control: Budget {
                used: 0,
                limit: CONTROL_FRAMES,
                since,
            },
        }
    }

    /// Whether it is too much with these bytes from the client. `moved` says that a request began or went on meanwhile,
    /// which is what control frames are for.
    pub(super) fn is_flood(&mut self, bytes: &[u8], moved: bool) -> bool {
        if moved {
            self.control.used = 0;
        }
        let (resets, control) = (&mut self.resets, &mut self.control);
        let mut is_flood = false;
        self.read.follow(bytes, |kind, flags, length| {
            is_flood |= match kind {
                DATA if length > 0 || flags & END_STREAM != 0 => {
                    control.used = 0;
                    false
                }
                HEADERS | CONTINUATION => false,
                RST_STREAM => resets.take(),
                _ => control.take(),
            };
        });
        is_flood
    }

    /// Bytes on their way to the client.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        self.written.follow(bytes, |_, _, _| {});
    }

    /// Whether a frame of ours would not fall into another.
    pub(super) fn is_between_frames(&self) -> bool {
        self.written.have == 0 && self.written.skip == 0
    }
}

impl Boundaries {
    fn follow(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(u8, u8, usize)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let taken = (HEAD - self.have).min(bytes.len());
            let (part, rest) = bytes.split_at(taken);
            if let Some(place) = self.head.get_mut(self.have..self.have + taken) {
                place.copy_from_slice(part);
            }
            self.have += taken;
            bytes = rest;
            if self.have == HEAD {
                let [high, middle, low, kind, flags, ..] = self.head;
                self.have = 0;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                on_frame(kind, flags, self.skip);
            }
        }
    }
}

impl Budget {
    fn take(&mut self) -> bool {
        self.used += 1;
        if self.used <= self.limit {
            return false;
        }
        let now = Instant::now();
        let is_flood = now.duration_since(self.since) < WINDOW;
        self.since = now;
        self.used = 0;
        is_flood
    }
}

/// GOAWAY with ENHANCE_YOUR_CALM. Which streams were looked at is left open, as in a graceful one.
pub(super) const CALM_DOWN: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11];

const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
/// PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA and unknown ones in a row, within the window.
const CONTROL_FRAMES: u32 = 1_000;
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(HEAD + payload, 0xff);
        bytes
    }

    #[test]
    fn boundaries_are_found_however_the_bytes_come() {
        let bytes = [vec![0xff; 24], frame(1, 4, 300), frame(6, 0, 8), frame(3, 0, 4)].concat();
        for size in 1..40 {
            let mut frames = Frames::new(24, 0);
            let floods = bytes
                .chunks(size)
                .filter(|part| frames.is_flood(part, false))
                .count();
            assert_eq!(floods, 1, "{size}");
            assert_eq!(frames.control.used, 1, "{size}");
        }
    }

    #[test]
    fn a_frame_of_ours_never_falls_into_another() {
        let mut frames = Frames::new(0, 0);
        assert!(frames.is_between_frames());
        let bytes = frame(0, 0, 20);
        frames.wrote(&bytes[..5]);
        assert!(!frames.is_between_frames());
        frames.wrote(&bytes[5..20]);
        assert!(!frames.is_between_frames());
        frames.wrote(&bytes[20..]);
        assert!(frames.is_between_frames());
    }

    #[test]
    fn control_frames_are_free_while_something_moves() {
        let mut frames = Frames::new(0, 10);
        for _ in 0..10 * CONTROL_FRAMES {
            assert!(!frames.is_flood(&frame(8, 0, 4), true));
            assert!(!frames.is_flood(&frame(0, 0, 1), false));
        }
        let ping = frame(6, 0, 8);
        let until_flood = (1..).find(|_| frames.is_flood(&ping, false)).unwrap();
        assert_eq!(until_flood, CONTROL_FRAMES + 1);
    }
}
