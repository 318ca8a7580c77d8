//! A response as bytes: its head, and the framing of its body (RFC 9112 sections 4, 6 and 7).
//!
//! What says how long the body is, and whether the connection goes on after it, is said here and nowhere else.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderName, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::ext::ReasonPhrase;

use super::fields::{announced, closes, number, write_field};
use super::head::Terms;
use super::output::Output;
use crate::clock::unix_now;

/// What is still to be written of the body of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Encoder {
    Over,
    /// So many bytes.
    Length(u64),
    /// With the trailers that the head has announced; a chunk may lack the end of its line.
    Chunked(Vec<HeaderName>, LineEnd),
    /// Whatever comes, until the connection closes.
    UntilClose,
}

/// The end of the line behind a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    Written,
    Owed,
}

/// The body is not as long as was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLength;

/// Writes the head. Says how the body goes on, and whether the connection does after it.
pub(super) fn write_head(
    response: &Parts,
    size: &SizeHint,
    terms: Terms,
    bytes: &mut Vec<u8>,
) -> (Encoder, bool) {
    let Parts { status, headers, .. } = response;
    let version = if terms.is_http10 {
        b"HTTP/1.0 "
    } else {
        b"HTTP/1.1 "
    };
    bytes.extend_from_slice(version);
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    match response.extensions.get::<ReasonPhrase>() {
        Some(phrase) => bytes.extend_from_slice(phrase.as_bytes()),
        None => bytes.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes()),
    }
    bytes.extend_from_slice(b"\r\n");
    let (mut length, mut is_dated, mut says_close) = (None, false, false);
    for (name, value) in headers {
        if *name == CONTENT_LENGTH {
            // Said once, even where the upstream has said it twice.
            if length.is_some() {
                continue;
            }
            length = number(value.as_bytes());
        } else if *name == TRANSFER_ENCODING {
            continue;
        } else if *name == DATE {
            is_dated = true;
        } else if *name == CONNECTION {
            says_close |= closes(headers);
        }
        write_field(name.as_str(), value.as_bytes(), bytes);
    }
    let is_switch = *status == StatusCode::SWITCHING_PROTOCOLS;
    let has_body = !terms.is_of_head
        && !is_switch
        && !matches!(*status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let encoder = match (length, size.exact()) {
        _ if !has_body => Encoder::Over,
        (Some(length), known) => Encoder::of_length(known.unwrap_or(length)),
        (None, Some(length)) => {
            let _ = write!(bytes, "content-length: {length}\r\n");
            Encoder::of_length(length)
        }
        (None, None) if terms.is_http10 => Encoder::UntilClose,
        (None, None) => {
            write_field("transfer-encoding", b"chunked", bytes);
            let trailers = terms.takes_trailers.then(|| announced(headers));
            Encoder::Chunked(trailers.unwrap_or_default(), LineEnd::Written)
        }
    };
    if !is_dated {
        write_date(bytes);
    }
    let is_kept = terms.is_kept && !says_close && encoder != Encoder::UntilClose;
    if !is_kept && !says_close && !is_switch {
        write_field("connection", b"close", bytes);
    }
    bytes.extend_from_slice(b"\r\n");
    (encoder, is_kept)
}

impl Encoder {
    fn of_length(length: u64) -> Self {
        if length == 0 {
            Self::Over
        } else {
            Self::Length(length)
        }
    }

    /// Adds a frame of the body; only to an output that is not full.
    pub(super) fn push(&mut self, frame: Frame<Bytes>, output: &mut Output) -> Result<(), BadLength> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let (Self::Chunked(announced, end), Ok(trailers)) = (&mut *self, frame.into_trailers()) {
                    end.write(output);
                    output.bytes().extend_from_slice(b"0\r\n");
                    for (name, value) in &trailers {
                        if announced.contains(name) {
                            write_field(name.as_str(), value.as_bytes(), output.bytes());
                        }
                    }
                    output.bytes().extend_from_slice(b"\r\n");
                    *self = Self::Over;
                }
                return Ok(());
            }
        };
        match self {
            Self::Over if data.is_empty() => {}
            Self::Over => return Err(BadLength),
            Self::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(BadLength)?;
                if *left == 0 {
                    *self = Self::Over;
                }
                output.push(data);
            }
            // An empty chunk would be the last.
            Self::Chunked(..) if data.is_empty() => {}
            Self::Chunked(_, end) => {
                end.write(output);
                let _ = write!(output.bytes(), "{:x}\r\n", data.len());
                output.push(data);
                *end = LineEnd::Owed;
                end.write(output);
            }
            Self::UntilClose => output.push(data),
        }
        Ok(())
    }

    /// Adds what is owed, where there is room for it.
    pub(super) fn settle(&mut self, output: &mut Output) {
        if let Self::Chunked(_, end) = self {
            end.write(output);
        }
    }

    /// There is no more.
    pub(super) fn end(&mut self, output: &mut Output) -> Result<(), BadLength> {
        match self {
            Self::Over | Self::UntilClose => {}
            Self::Length(_) => return Err(BadLength),
            Self::Chunked(_, end) => {
                end.write(output);
                output.bytes().extend_from_slice(b"0\r\n\r\n");
            }
        }
        *self = Self::Over;
        Ok(())
    }
}

impl LineEnd {
    /// Unless a large part stands before it, behind which there is no room.
    fn write(&mut self, output: &mut Output) {
        if *self == Self::Owed && !output.has_part() {
            output.bytes().extend_from_slice(b"\r\n");
            *self = Self::Written;
        }
    }
}

/// Writes the date of this second (RFC 9110 section 6.6.1).
pub(super) fn write_date(bytes: &mut Vec<u8>) {
    thread_local! {
        static DATE_OF: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = unix_now();
    DATE_OF.with_borrow_mut(|(second, date)| {
        if *second != now {
            let since = Duration::from_secs(u64::try_from(now).unwrap_or_default());
            *date = httpdate::fmt_http_date(UNIX_EPOCH + since);
            *second = now;
        }
        write_field("date", date.as_bytes(), bytes);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue, Response};

    const KEPT: Terms = Terms {
        is_kept: true,
        is_http10: false,
        is_of_head: false,
        expects_continue: false,
        asks_to_switch: false,
        takes_trailers: false,
    };

    fn head(
        status: u16,
        fields: &[(&'static str, &'static str)],
        size: SizeHint,
        terms: Terms,
    ) -> (String, Encoder, bool) {
        let (mut parts, ()) = Response::builder().status(status).body(()).unwrap().into_parts();
        for (name, value) in [("date", "now")].iter().chain(fields) {
            parts
                .headers
                .append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut bytes = Vec::new();
        let (encoder, is_kept) = write_head(&parts, &size, terms, &mut bytes);
        let text = String::from_utf8(bytes).unwrap().replace("date: now\r\n", "");
        (text, encoder, is_kept)
    }

    #[test]
    fn how_long_a_body_is_is_said_once() {
        let unknown = SizeHint::default;
        let old = Terms {
            is_http10: true,
            is_kept: false,
            ..KEPT
        };
        let of_head = Terms {
            is_of_head: true,
            ..KEPT
        };
        let chunked = Encoder::Chunked(Vec::new(), LineEnd::Written);
        for (status, fields, size, terms, text, encoder, is_kept) in [
            (
                200,
                &[][..],
                SizeHint::with_exact(3),
                KEPT,
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
                Encoder::Length(3),
                true,
            ),
            (
                200,
                &[],
                SizeHint::with_exact(0),
                KEPT,
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                Encoder::Over,
                true,
            ),
            (
                200,
                &[("content-length", "3"), ("content-length", "3")],
                SizeHint::with_exact(3),
                KEPT,
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
                Encoder::Length(3),
                true,
            ),
            (
                299,
                &[("transfer-encoding", "gzip")],
                unknown(),
                KEPT,
                "HTTP/1.1 299 \r\ntransfer-encoding: chunked\r\n\r\n",
                chunked,
                true,
            ),
            (
                200,
                &[],
                unknown(),
                old,
                "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n",
                Encoder::UntilClose,
                false,
            ),
            (
                200,
                &[("connection", "close")],
                SizeHint::with_exact(0),
                KEPT,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                Encoder::Over,
                false,
            ),
            (
                200,
                &[("content-length", "9")],
                SizeHint::with_exact(0),
                of_head,
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
                Encoder::Over,
                true,
            ),
            (
                200,
                &[],
                SizeHint::with_exact(0),
                of_head,
                "HTTP/1.1 200 OK\r\n\r\n",
                Encoder::Over,
                true,
            ),
            (
                304,
                &[("content-length", "9")],
                SizeHint::with_exact(0),
                KEPT,
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                Encoder::Over,
                true,
            ),
            (
                204,
                &[],
                SizeHint::with_exact(0),
                KEPT,
                "HTTP/1.1 204 No Content\r\n\r\n",
                Encoder::Over,
                true,
            ),
            (
                101,
                &[("connection", "upgrade")],
                SizeHint::with_exact(0),
                KEPT,
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
                Encoder::Over,
                true,
            ),
        ] {
            assert_eq!(
                head(status, fields, size, terms),
                (text.to_owned(), encoder, is_kept)
            );
        }
    }

    #[test]
    fn a_date_is_added() {
        let (parts, ()) = Response::new(()).into_parts();
        let mut bytes = Vec::new();
        write_head(&parts, &SizeHint::with_exact(0), KEPT, &mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let date = text
            .split("date: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next())
            .unwrap();
        let date = httpdate::parse_http_date(date).unwrap();
        assert!(date.elapsed().unwrap() < Duration::from_secs(5));
    }

    #[test]
    fn chunks_small_and_large() {
        let announced = vec![HeaderName::from_static("x-sum")];
        let mut encoder = Encoder::Chunked(announced, LineEnd::Written);
        let mut output = Output::default();
        encoder
            .push(Frame::data(Bytes::from_static(b"0123456789")), &mut output)
            .unwrap();
        encoder.push(Frame::data(Bytes::new()), &mut output).unwrap();
        assert_eq!(*output.bytes(), b"a\r\n0123456789\r\n");
        encoder
            .push(Frame::data(Bytes::from(vec![b'x'; 10_000])), &mut output)
            .unwrap();
        assert!(output.is_full() && output.bytes().ends_with(b"\r\n2710\r\n"));
        encoder.settle(&mut output);
        assert!(
            output.bytes().ends_with(b"\r\n2710\r\n"),
            "behind the part, not before it"
        );
        output = Output::default();
        encoder.settle(&mut output);
        encoder.settle(&mut output);
        let trailers = [("x-sum", "1"), ("x-other", "2")];
        let trailers =
            trailers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        encoder
            .push(Frame::trailers(HeaderMap::from_iter(trailers)), &mut output)
            .unwrap();
        assert_eq!(*output.bytes(), b"\r\n0\r\nx-sum: 1\r\n\r\n");
        assert_eq!(encoder, Encoder::Over);
    }

    #[test]
    fn a_body_of_another_length_is_none() {
        let three = || Frame::data(Bytes::from_static(b"abc"));
        let mut output = Output::default();
        assert_eq!(Encoder::Length(2).push(three(), &mut output), Err(BadLength));
        assert_eq!(Encoder::Over.push(three(), &mut output), Err(BadLength));
        assert!(output.is_empty());
        let mut encoder = Encoder::Length(4);
        encoder.push(three(), &mut output).unwrap();
        assert_eq!(encoder.end(&mut output), Err(BadLength));
        let mut encoder = Encoder::Length(3);
        encoder.push(three(), &mut output).unwrap();
        assert_eq!(
            (encoder.end(&mut output), output.bytes().as_slice()),
            (Ok(()), &b"abcabc"[..])
        );
    }
}
