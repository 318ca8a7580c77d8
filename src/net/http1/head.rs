//! The head of a request, read (RFC 9112 sections 2 to 6). Pure: bytes in, a head and the framing of its body out.
//!
//! A head whose body could end in two places is no request, or it is the last of its connection. What else is wrong with
//! a request is not looked at here.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderName, Method, Uri, Version};

use super::fields::{BadField, Room, names_option, number, place};

/// What fits into an `http::Uri`, in bytes.
const MAX_URI: usize = u16::MAX as usize - 1;
/// The fields of a head for which there is room without an allocation.
const FIELDS: usize = 100;
/// What HTTP/2 begins with (RFC 9113 section 3.4), as far as it is the head of a request.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// How much a head may have.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct HeadBounds {
    /// Request line and fields, in bytes.
    pub(in crate::net) bytes: usize,
    pub(in crate::net) fields: usize,
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Box<Parts>,
    pub(super) framing: Framing,
    pub(super) terms: Terms,
}

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked,
}

/// What a request says of its response and of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// The connection may go on after it.
    pub(super) is_kept: bool,
    pub(super) is_http10: bool,
    pub(super) is_of_head: bool,
    /// Waits for `100 Continue` before it sends its body (RFC 9110 section 10.1.1).
    pub(super) expects_continue: bool,
    /// Would speak another protocol.
    pub(super) asks_to_switch: bool,
    /// Reads the trailers of a response (RFC 9110 section 6.5.1).
    pub(super) takes_trailers: bool,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    Malformed,
    TooLarge,
    UriTooLong,
    /// The client speaks HTTP/2, and would not understand an answer.
    Version,
}

impl From<BadField> for BadHead {
    fn from(BadField: BadField) -> Self {
        Self::Malformed
    }
}

/// Takes a head off the input; `None` where more has to be read first.
pub(super) fn read(
    input: &mut BytesMut,
    room: &mut Room,
    bounds: HeadBounds,
) -> Result<Option<Head>, BadHead> {
    let mut many = Vec::new();
    let mut few = [const { MaybeUninit::uninit() }; FIELDS];
    let places = match few.get_mut(..bounds.fields) {
        Some(few) => few,
        None => {
            many.resize(bounds.fields, MaybeUninit::uninit());
            &mut many
        }
    };
    let mut parsed = httparse::Request::new(&mut []);
    let parsing = httparse::ParserConfig::default();
    let length = match parsing.parse_request_with_uninit_headers(&mut parsed, input, places) {
        Ok(httparse::Status::Complete(length)) if length <= bounds.bytes => length,
        Ok(httparse::Status::Partial) if input.len() <= bounds.bytes => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLarge),
        Err(httparse::Error::Version) if input.starts_with(PREFACE) || PREFACE.starts_with(input) => {
            return Err(BadHead::Version);
        }
        Err(_) => return Err(BadHead::Malformed),
    };
    let method = parsed.method.map(str::as_bytes).unwrap_or_default();
    let method = Method::from_bytes(method).map_err(|_invalid| BadHead::Malformed)?;
    let target = place(input, parsed.path.unwrap_or_default().as_bytes());
    if target.1 - target.0 > MAX_URI {
        return Err(BadHead::UriTooLong);
    }
    let is_http10 = parsed.version != Some(1);
    room.note(input, parsed.headers);

    let head = input.split_to(length).freeze();
    let uri =
        Uri::from_maybe_shared(head.slice(target.0..target.1)).map_err(|_invalid| BadHead::Malformed)?;
    let mut said = Said::default();
    let mut parts = room.take_head(&head, |name, value| said.note(name, value))?;
    let (framing, is_kept) = said.framing(is_http10)?;
    let terms = Terms {
        is_kept,
        is_http10,
        is_of_head: method == Method::HEAD,
        expects_continue: said.expects_continue,
        asks_to_switch: said.asks_to_switch && !is_http10,
        takes_trailers: said.takes_trailers,
    };
    parts.method = method;
    parts.uri = uri;
    if is_http10 {
        parts.version = Version::HTTP_10;
    }
    Ok(Some(Head {
        parts,
        framing,
        terms,
    }))
}

/// Whether a head that had not ended so far may have ended with what has come since, from `start` on: a head that comes
/// byte by byte must not be read anew for each of them.
pub(super) fn may_have_ended(input: &[u8], start: usize) -> bool {
    // An end is two line ends, and a line end LF alone or with a CR before it.
    let come = input.get(start.saturating_sub(2)..).unwrap_or(input);
    come.iter().enumerate().any(|(at, byte)| {
        *byte == b'\n' && matches!(come.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..]))
    })
}

/// What the fields say of the message itself.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    /// Whether the last coding is `chunked`, which it has to be.
    coding: Option<bool>,
    closes: bool,
    expects_continue: bool,
    asks_to_switch: bool,
    takes_trailers: bool,
}

impl Said {
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), BadHead> {
        if *name == CONTENT_LENGTH {
            let length = number(value).ok_or(BadHead::Malformed)?;
            if self.length.is_some_and(|other| other != length) {
                return Err(BadHead::Malformed);
            }
            self.length = Some(length);
        } else if *name == TRANSFER_ENCODING {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            self.coding = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        } else if *name == CONNECTION {
            self.closes |= names_option(value, "close");
        } else if *name == EXPECT {
            self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        } else if *name == UPGRADE {
            self.asks_to_switch = true;
        } else if *name == TE {
            self.takes_trailers |= names_option(value, "trailers");
        }
        Ok(())
    }

    /// Where the body ends, and whether the connection may go on after it (RFC 9112 sections 6.3 and 9.3). Nothing that
    /// comes after a message with two framings may be taken for a request, whatever the service says to this one.
    fn framing(&self, is_http10: bool) -> Result<(Framing, bool), BadHead> {
        let is_kept = !is_http10 && !self.closes;
        match (self.coding, self.length) {
            (None, length) => Ok((Framing::Length(length.unwrap_or(0)), is_kept)),
            (Some(true), length) if !is_http10 => Ok((Framing::Chunked, is_kept && length.is_none())),
            (Some(_), _) => Err(BadHead::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: HeadBounds = HeadBounds {
        bytes: 1_000,
        fields: 100,
    };

    fn of(head: &str) -> Result<Option<Head>, BadHead> {
        read(&mut BytesMut::from(head), &mut Room::default(), BOUNDS)
    }

    fn framing(fields: &str) -> Result<(String, bool), BadHead> {
        let head = of(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n"))?.unwrap();
        let ends = match head.framing {
            Framing::Length(length) => length.to_string(),
            Framing::Chunked => "chunked".to_owned(),
        };
        Ok((ends, head.terms.is_kept))
    }

    #[test]
    fn wherever_the_reads_end() {
        let whole = "\r\nPUT /a?b=%20 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nx-a: 1\r\nX-A:  2 \r\nx-empty:\r\n\r\nhello";
        let end = whole.len() - 5;
        for length in 0..end {
            let mut input = BytesMut::from(&whole[..length]);
            let found = read(&mut input, &mut Room::default(), BOUNDS);
            assert!(found.unwrap().is_none(), "{length}");
            assert_eq!(input, whole[..length], "nothing is taken");
            assert!(!may_have_ended(&input, 0), "{length}");
        }
        for start in 0..end {
            assert!(may_have_ended(&whole.as_bytes()[..end], start), "{start}");
        }
        let mut input = BytesMut::from(whole);
        let head = read(&mut input, &mut Room::default(), BOUNDS).unwrap().unwrap();
        assert_eq!(input, "hello");
        assert_eq!(
            (head.parts.method, head.parts.version),
            (Method::PUT, Version::HTTP_11)
        );
        assert_eq!(head.parts.uri, "/a?b=%20");
        let shown: Vec<String> = head
            .parts
            .headers
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        assert_eq!(
            shown,
            ["host=x", "content-length=5", "x-a=1", "x-a=2", "x-empty="]
        );
    }

    #[test]
    fn where_a_body_ends() {
        for (fields, ends, kept) in [
            ("Host: x", "0", true),
            ("Content-Length: 7", "7", true),
            ("Content-Length: 7\r\nContent-Length: 7", "7", true),
            ("Transfer-Encoding: Chunked", "chunked", true),
            ("Transfer-Encoding: gzip, chunked", "chunked", true),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 7",
                "chunked",
                false,
            ),
            (
                "Content-Length: 7\r\nTransfer-Encoding: chunked",
                "chunked",
                false,
            ),
            ("Content-Length: 7\r\nConnection: x, Close", "7", false),
            ("Connection: keep-alive\r\nConnection: close", "0", false),
        ] {
            assert_eq!(framing(fields).unwrap(), (ends.to_owned(), kept), "{fields}");
        }
        for fields in [
            "Content-Length: 7\r\nContent-Length: 8",
            "Content-Length: +7",
            "Content-Length: 7, 7",
            "Content-Length:",
            "Content-Length: 18446744073709551616",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding:",
        ] {
            assert_eq!(framing(fields), Err(BadHead::Malformed), "{fields}");
        }
    }

    #[test]
    fn terms() {
        let terms = |head: &str| of(head).unwrap().unwrap().terms;
        let kept = Terms {
            is_kept: true,
            ..Terms::default()
        };
        assert_eq!(terms("GET / HTTP/1.1\r\n\r\n"), kept);
        assert_eq!(
            terms("HEAD / HTTP/1.1\r\nTE: gzip, trailers\r\nExpect: 100-Continue\r\nUpgrade: x\r\n\r\n"),
            Terms {
                is_of_head: true,
                expects_continue: true,
                asks_to_switch: true,
                takes_trailers: true,
                ..kept
            }
        );
        assert_eq!(
            terms("GET / HTTP/1.0\r\nConnection: keep-alive\r\nUpgrade: x\r\n\r\n"),
            Terms {
                is_http10: true,
                ..Terms::default()
            }
        );
    }

    #[test]
    fn what_is_no_head() {
        let long = "a".repeat(1_000);
        let mut bounds = BOUNDS;
        bounds.fields = 2;
        let three = "GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n";
        let found = read(&mut BytesMut::from(three), &mut Room::default(), bounds);
        assert_eq!(found.unwrap_err(), BadHead::TooLarge);
        bounds.fields = 200;
        assert!(
            read(&mut BytesMut::from(three), &mut Room::default(), bounds)
                .unwrap()
                .is_some()
        );
        for (head, fault) in [
            ("GET / HTTP/2.0\r\n\r\n", BadHead::Malformed),
            ("PRI * HTTP/2.0", BadHead::Version),
            ("PRI * HTTP/2.0\r\n\r\n", BadHead::Version),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BadHead::Version),
            ("G(T / HTTP/1.1\r\n\r\n", BadHead::Malformed),
            ("GET  / HTTP/1.1\r\n\r\n", BadHead::Malformed),
            ("GET /\x01 HTTP/1.1\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\r\na : 1\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\r\na: 1\r\n b\r\n\r\n", BadHead::Malformed),
            ("GET / HTTP/1.1\r\na: \x01\r\n\r\n", BadHead::Malformed),
            (&format!("GET /{long} HTTP/1.1\r\n\r\n"), BadHead::TooLarge),
            (&format!("GET /{long}"), BadHead::TooLarge),
        ] {
            assert_eq!(of(head).unwrap_err(), fault, "{head:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let mut input = BytesMut::from(&bytes[..]);
            if let Ok(None) = read(&mut input, &mut Room::default(), BOUNDS) {
                proptest::prop_assert_eq!(&input[..], &bytes[..]);
            }
        }
    }
}
