//! HTTP/2 frames on a socket, as they are: what is sent need not be allowed.
//!
//! Written apart from h2, so that a fault of the gateway's HTTP library cannot hide behind the same fault here. Header
//! blocks are written as literals without an index; of those that come only the status is read.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::DEADLINE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The status in a header block, where it stands first, as it has to.
    pub(crate) fn status(&self) -> Option<u16> {
        let mut block = self.payload.as_slice();
        // Changes of the size of the dynamic table.
        while let [first, rest @ ..] = block
            && first & 0xe0 == 0x20
        {
            block = rest;
        }
        match block {
            [first @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)]),
            // A literal with the name of entry 8 of the static table.
            [0x48 | 0x08 | 0x18, length, rest @ ..] => {
                let text = rest.get(..usize::from(length & 0x7f))?;
                match length & 0x80 {
                    0 => std::str::from_utf8(text).ok()?.parse().ok(),
                    _ => digits(text).parse().ok(),
                }
            }
            _ => None,
        }
    }

    /// The error code of a RST_STREAM or a GOAWAY.
    pub(crate) fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().unwrap()))
    }
}

/// Digits in the Huffman code of RFC 7541: `0` to `2` have five bits, the others six.
fn digits(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let mut text = String::new();
    let mut at = 0;
    let number = |from: usize, count: usize| {
        bits.get(from..from + count)
            .map(|bits| bits.iter().fold(0, |number, bit| number << 1 | bit))
    };
    while let Some(five) = number(at, 5) {
        if five < 3 {
            text.push(char::from(b'0' + five));
            at += 5;
        } else if let Some(six @ 25..=31) = number(at, 6) {
            text.push(char::from(b'3' + six - 25));
            at += 6;
        } else {
            break;
        }
    }
    text
}

/// One frame; the length is that of the payload.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals.
pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(*text);
        }
    }
    bytes
}

/// An integer with a prefix of seven bits.
fn length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
        return;
    }
    bytes.push(127);
    let mut left = length - 127;
    while left >= 128 {
        bytes.push(u8::try_from(left % 128).unwrap() | 128);
        left /= 128;
    }
    bytes.push(u8::try_from(left).unwrap());
}

/// `GET` for a path at `a.test`.
pub(crate) fn get(stream: u32, path: &[u8]) -> Vec<u8> {
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"a.test"),
        (b":path", path),
    ];
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields))
}

/// A connection.
#[derive(Debug)]
pub(crate) struct FrameClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl FrameClient {
    /// Connects and sends nothing.
    #[track_caller]
    pub(crate) fn bare(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect_timeout(&address, DEADLINE).unwrap(),
            buffer: Vec::new(),
        }
    }

    /// Connects and sends the preface and SETTINGS without a dynamic table, so that a status always stands as it is.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// The same, with more settings.
    #[track_caller]
    pub(crate) fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::bare(address);
        let mut payload = vec![0, 1, 0, 0, 0, 0];
        for (key, value) in settings {
            payload.extend(key.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat());
        client
    }

    /// Sends bytes; whether the other side still took them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.set_write_timeout(Some(DEADLINE)).unwrap();
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame within this time. `Ok(None)`: closed.
    pub(crate) fn next_within(&mut self, time: Duration) -> io::Result<Option<Frame>> {
        let end = Instant::now() + time;
        loop {
            if let Some(found) = self.take() {
                return Ok(Some(found));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut part = [0; 16 << 10];
            match self.stream.read(&mut part) {
                Ok(0) => return Ok(None),
                Ok(count) => self.buffer.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next frame that is not about the connection itself: SETTINGS, PING and WINDOW_UPDATE are passed over.
    pub(crate) fn next_of_interest(&mut self, time: Duration) -> io::Result<Option<Frame>> {
        let end = Instant::now() + time;
        loop {
            let found = self.next_within(end.saturating_duration_since(Instant::now()))?;
            match found {
                Some(Frame {
                    kind: SETTINGS | PING | WINDOW_UPDATE,
                    ..
                }) => {}
                found => return Ok(found),
            }
        }
    }

    /// The status of the next response.
    #[track_caller]
    pub(crate) fn status(&mut self) -> u16 {
        loop {
            let found = self.next_of_interest(DEADLINE).unwrap().expect("closed");
            if found.kind == HEADERS {
                return found.status().unwrap_or_else(|| panic!("no status: {found:?}"));
            }
            assert!(!matches!(found.kind, GOAWAY | RST_STREAM), "{found:?}");
        }
    }

    /// Reads to the end of the connection. Returns the code of the last GOAWAY.
    #[track_caller]
    pub(crate) fn until_closed(&mut self) -> Option<u32> {
        let mut code = None;
        loop {
            match self.next_within(DEADLINE) {
                Ok(None) => return code,
                Ok(Some(found)) if found.kind == GOAWAY => code = found.code(),
                Ok(Some(_)) => {}
                Err(error) => panic!("still open: {error}"),
            }
        }
    }

    /// No more bytes from this side.
    pub(crate) fn finish(&mut self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }

    fn take(&mut self) -> Option<Frame> {
        let [high, middle, low, kind, flags, a, b, c, d, ..] = *self.buffer.as_slice() else {
            return None;
        };
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff,
            payload,
        })
    }
}
