//! The head of a response, read (RFC 9112 sections 4 to 6). Pure: bytes in, a head and the framing of its body out.
//!
//! A response has one reading here or none: two lengths, a coding beside a length, or a coding that would be lost on the
//! way make it the upstream's fault.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use hyper::ext::ReasonPhrase;

use super::Broken;
use crate::gateway::headers;
use crate::net::http1::{BadField, Chunked, Room, names_option, number};

/// The longest head.
const MAX_HEAD: usize = 64 << 10;
const MAX_TRAILERS: usize = 16 << 10;
const MAX_FIELDS: usize = 100;

/// What the input begins with.
#[derive(Debug)]
pub(super) enum Head {
    /// Goes to the client before the response (RFC 9110 section 15.2). It was so many bytes long.
    Interim(StatusCode, HeaderMap, usize),
    /// Has nothing for the client.
    Continue,
    Final(Final),
}

#[derive(Debug)]
pub(super) struct Final {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// The connection may be used again once the body has ended.
    pub(super) is_kept: bool,
}

/// Where a body ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked(Chunked),
    /// Where the connection does.
    Close,
    /// There is none: the connection speaks another protocol from here on.
    Switched,
}

/// Takes a head off the input; `None` where more has to be read first. `is_of_head`: the request was `HEAD`.
pub(super) fn read(input: &mut BytesMut, room: &mut Room, is_of_head: bool) -> Result<Option<Head>, Broken> {
    let mut parsed = httparse::Response::new(&mut []);
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let parsing = httparse::ParserConfig::default();
    let length = match parsing.parse_response_with_uninit_headers(&mut parsed, input, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if input.len() <= MAX_HEAD => return Ok(None),
        _ => return Err(Broken::Head),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Broken::Head)?;
    let is_http11 = parsed.version == Some(1);
    let phrase = parsed
        .reason
        .filter(|phrase| !phrase.is_empty() && status.canonical_reason() != Some(phrase))
        .and_then(|phrase| ReasonPhrase::try_from(phrase.as_bytes()).ok());
    room.note(input, parsed.headers);
    let head = input.split_to(length).freeze();
    let mut said = Said::default();
    let mut fields = room.take(&head, |name, value| said.note(name, value))?;
    match status.as_u16() {
        // The client's expectation is the gateway's own matter, and the upstream never sees it.
        100 => return Ok(Some(Head::Continue)),
        102..=199 => {
            headers::to_client(&mut fields);
            // There is no body (RFC 9110 section 8.6).
            fields.remove(CONTENT_LENGTH);
            fields.remove(TRAILER);
            return Ok(Some(Head::Interim(status, fields, length)));
        }
        _ => {}
    }
    let framing = said.framing(status, is_http11, is_of_head)?;
    let is_kept = is_http11 && !matches!(framing, Framing::Close | Framing::Switched) && !said.closes;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    if let Some(phrase) = phrase {
        response.extensions_mut().insert(phrase);
    }
    Ok(Some(Head::Final(Final {
        response,
        framing,
        is_kept,
    })))
}

impl From<BadField> for Broken {
    fn from(BadField: BadField) -> Self {
        Self::Head
    }
}

/// What the fields say of the message itself.
#[derive(Debug, Default)]
struct Said {
    /// Said more than once it has to be the same each time, and alone each time.
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
}

impl Said {
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Broken> {
        if *name == CONTENT_LENGTH {
            let length = number(value).ok_or(Broken::Head)?;
            if self.length.is_some_and(|other| other != length) {
                return Err(Broken::Head);
            }
            self.length = Some(length);
        } else if *name == TRANSFER_ENCODING {
            // Another coding would be lost on the way.
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Broken::Head);
            }
            self.is_chunked = true;
        } else if *name == CONNECTION {
            self.closes |= names_option(value, "close");
        }
        Ok(())
    }

    /// Where the body ends (RFC 9112 section 6.3).
    fn framing(&self, status: StatusCode, is_http11: bool, is_of_head: bool) -> Result<Framing, Broken> {
        // Such a response has been put together by hand, or by two who do not agree.
        if self.is_chunked && (self.length.is_some() || !is_http11) {
            return Err(Broken::Head);
        }
        Ok(match status {
            StatusCode::SWITCHING_PROTOCOLS => Framing::Switched,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Framing::Length(0),
            _ if is_of_head => Framing::Length(0),
            _ if self.is_chunked => Framing::Chunked(Chunked::new(MAX_TRAILERS)),
            _ => self.length.map_or(Framing::Close, Framing::Length),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Result<Option<Final>, Broken> {
        match read(&mut BytesMut::from(head), &mut Room::default(), false)? {
            Some(Head::Final(head)) => Ok(Some(head)),
            None => Ok(None),
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn wherever_the_reads_end() {
        let whole = "HTTP/1.1 299 Fine\r\nContent-Length: 5\r\nx-a: 1\r\nX-A:  2 \r\nx-empty:\r\n\r\nhello";
        let end = whole.len() - 5;
        for length in 0..end {
            let mut input = BytesMut::from(&whole[..length]);
            assert!(
                read(&mut input, &mut Room::default(), false).unwrap().is_none(),
                "{length}"
            );
            assert_eq!(input, whole[..length], "nothing is taken");
        }
        let mut input = BytesMut::from(whole);
        let Some(Head::Final(found)) = read(&mut input, &mut Room::default(), false).unwrap() else {
            panic!("no response")
        };
        assert_eq!(input, "hello");
        assert!(matches!(found.framing, Framing::Length(5)) && found.is_kept);
        let shown: Vec<String> = found
            .response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        assert_eq!(shown, ["content-length=5", "x-a=1", "x-a=2", "x-empty="]);
        let phrase = found.response.extensions().get::<ReasonPhrase>().unwrap();
        assert_eq!(phrase.as_bytes(), b"Fine");
    }

    #[test]
    fn where_a_body_ends() {
        for (head, of_head, ends, kept) in [
            ("1.1 200 OK\r\ncontent-length: 7", false, "7", true),
            ("1.1 200 OK\r\ncontent-length: 7", true, "0", true),
            (
                "1.1 200\r\ncontent-length: 7\r\ncontent-length: 7",
                false,
                "7",
                true,
            ),
            ("1.1 200 OK\r\ntransfer-encoding: Chunked", false, "chunked", true),
            ("1.1 200 OK\r\ntransfer-encoding: chunked", true, "0", true),
            ("1.1 204 No Content", false, "0", true),
            ("1.1 304 Not Modified\r\ncontent-length: 7", false, "0", true),
            ("1.1 200 OK", false, "close", false),
            (
                "1.1 200 OK\r\ncontent-length: 7\r\nconnection: x, Close",
                false,
                "7",
                false,
            ),
            (
                "1.0 200 OK\r\ncontent-length: 7\r\nconnection: keep-alive",
                false,
                "7",
                false,
            ),
            (
                "1.1 101 Switching Protocols\r\nupgrade: x",
                false,
                "switched",
                false,
            ),
        ] {
            let mut input = BytesMut::from(format!("HTTP/{head}\r\n\r\n").as_bytes());
            let Some(Head::Final(found)) = read(&mut input, &mut Room::default(), of_head).unwrap() else {
                panic!("{head}")
            };
            let found_end = match found.framing {
                Framing::Length(length) => length.to_string(),
                Framing::Chunked(_) => "chunked".to_owned(),
                Framing::Close => "close".to_owned(),
                Framing::Switched => "switched".to_owned(),
            };
            assert_eq!((found_end.as_str(), found.is_kept), (ends, kept), "{head}");
        }
    }

    #[test]
    fn what_has_two_readings_has_none() {
        for head in [
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-length: 8",
            "HTTP/1.1 200 OK\r\ncontent-length: 7, 7",
            "HTTP/1.1 200 OK\r\ncontent-length: +7",
            "HTTP/1.1 200 OK\r\ncontent-length: 0x7",
            "HTTP/1.1 200 OK\r\ncontent-length:",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999",
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: identity",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked",
            "HTTP/1.1 200 OK\r\ncontent-length : 7",
            "HTTP/1.1 200 OK\r\nx: 1\r\n folded",
            "HTTP/1.1 200 OK\r\nno colon",
            "HTTP/1.1 020 OK",
            "HTTP/2.0 200 OK",
            "ICY 200 OK",
        ] {
            let found = of(&format!("{head}\r\n\r\n"));
            assert!(matches!(found, Err(Broken::Head)), "{head}: {found:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(MAX_HEAD));
        assert!(matches!(of(&long), Err(Broken::Head)));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a:b\r\n".repeat(MAX_FIELDS + 1));
        assert!(matches!(of(&many), Err(Broken::Head)));
    }

    #[test]
    fn interim_heads_lose_what_is_of_no_matter() {
        let mut input = BytesMut::from(
            "HTTP/1.1 100 Continue\r\nx: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nlink: </b>\r\n\
             keep-alive: 1\r\ncontent-length: 7\r\nconnection: x-own\r\nx-own: 1\r\n\r\nHTTP/1.1 200",
        );
        assert!(matches!(
            read(&mut input, &mut Room::default(), false),
            Ok(Some(Head::Continue))
        ));
        let Ok(Some(Head::Interim(status, fields, _))) = read(&mut input, &mut Room::default(), false) else {
            panic!("no interim answer")
        };
        assert_eq!(status, 103);
        let links: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(links, [("link", "</a>"), ("link", "</b>")]);
        assert!(matches!(read(&mut input, &mut Room::default(), false), Ok(None)));
    }
}
