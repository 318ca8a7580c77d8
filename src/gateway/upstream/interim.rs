//! Interim answers of an HTTP/1.1 upstream, such as 103: seen in passing, and kept for the client.
//!
//! hyper's client reads them and drops them; its hook for them costs every request several allocations, whether one comes
//! or not. So the stream beneath hyper is looked at from the moment a request is sent until the first head that is a
//! response: one comparison for most. Nothing is taken out or changed, so that what is seen here has no bearing on how hyper
//! reads the message, and it is read with hyper's own parser. What that cannot read is not forwarded.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::header::{CONTENT_LENGTH, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gateway::headers;

/// Of one response; further ones are dropped.
const MOST: usize = 16;
/// Of one of them.
const MAX_HEAD: usize = 16 << 10;
/// Of all before one response.
const MAX_HEADS: usize = 64 << 10;
const MAX_FIELDS: usize = 100;
const BEGINNING: &[u8] = b"HTTP/1.1 1";

/// A stream that is looked at.
#[derive(Debug)]
pub(super) struct Overheard<T> {
    stream: T,
    heads: Arc<InterimHeads>,
}

/// What was seen on one connection. All is on one thread; hyper wants what it drives to be `Send`.
#[derive(Debug, Default)]
pub(super) struct InterimHeads {
    looking: AtomicU8,
    /// There was one before the last response.
    was_any: AtomicBool,
    is_any: AtomicBool,
    seen: Mutex<Seen>,
}

/// What the next bytes are; the values of `looking`.
const NO_MATTER: u8 = 0;
const BEGINNING_OF_HEAD: u8 = 1;
const REST_OF_HEAD: u8 = 2;

#[derive(Debug, Default)]
struct Seen {
    /// Of a head that is not whole.
    bytes: Vec<u8>,
    /// Heads and bytes of them before this response so far.
    count: usize,
    length: usize,
    heads: Vec<(StatusCode, HeaderMap)>,
}

/// What a look at some bytes has shown.
enum Look {
    /// A whole head of so many bytes, with what of it is for the client.
    Interim(usize, Option<(StatusCode, HeaderMap)>),
    /// There must be more to tell.
    Partial,
    /// A response, or nothing that can be read.
    Other,
}

impl<T> Overheard<T> {
    pub(super) fn new(stream: T, heads: &Arc<InterimHeads>) -> Self {
        Self {
            stream,
            heads: Arc::clone(heads),
        }
    }
}

impl InterimHeads {
    /// A request is sent: what comes next is its response, or an interim answer.
    pub(super) fn begin(&self) {
        if self.was_any.load(Relaxed) {
            self.forget();
        }
        self.looking.store(BEGINNING_OF_HEAD, Relaxed);
    }

    /// Whether there are any that nobody has taken.
    pub(super) fn are_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    /// Takes them.
    pub(super) fn take(&self) -> Vec<(StatusCode, HeaderMap)> {
        self.is_any.store(false, Relaxed);
        std::mem::take(&mut self.seen().heads)
    }

    fn came(&self, bytes: &[u8]) {
        let is_response = self.looking.load(Relaxed) == BEGINNING_OF_HEAD
            && bytes.get(BEGINNING.len() - 1).is_some_and(|byte| *byte != b'1');
        if is_response {
            self.looking.store(NO_MATTER, Relaxed);
        } else if !bytes.is_empty() {
            self.look_at(bytes);
        }
    }

    #[cold]
    fn forget(&self) {
        *self.seen() = Seen::default();
        self.was_any.store(false, Relaxed);
        self.is_any.store(false, Relaxed);
    }

    #[cold]
    fn look_at(&self, bytes: &[u8]) {
        self.was_any.store(true, Relaxed);
        let mut seen = self.seen();
        seen.bytes.extend_from_slice(bytes);
        let next = loop {
            if seen.bytes.is_empty() {
                break BEGINNING_OF_HEAD;
            }
            match look(&seen.bytes) {
                Look::Interim(length, head) => {
                    seen.count += 1;
                    seen.length += length;
                    if seen.count > MOST || seen.length > MAX_HEADS {
                        break NO_MATTER;
                    }
                    seen.bytes.drain(..length);
                    if let Some(head) = head {
                        seen.heads.push(head);
                        self.is_any.store(true, Relaxed);
                    }
                }
                Look::Partial => break REST_OF_HEAD,
                Look::Other => break NO_MATTER,
            }
        };
        if next == NO_MATTER {
            *seen = Seen {
                heads: std::mem::take(&mut seen.heads),
                ..Seen::default()
            };
        }
        self.looking.store(next, Relaxed);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Nothing under this lock can panic half-way.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at bytes where a head begins.
fn look(bytes: &[u8]) -> Look {
    let known = bytes.len().min(BEGINNING.len());
    if bytes.get(..known) != BEGINNING.get(..known) {
        return Look::Other;
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => match head.code {
            // A response in all but name.
            Some(101) | None => Look::Other,
            // The client's expectation is the gateway's own matter, and the upstream never sees it.
            Some(100) => Look::Interim(length, None),
            Some(code) => Look::Interim(length, for_client(code, head.headers)),
        },
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => Look::Partial,
        _ => Look::Other,
    }
}

fn for_client(code: u16, parsed: &[httparse::Header<'_>]) -> Option<(StatusCode, HeaderMap)> {
    let mut fields = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    headers::to_client(&mut fields);
    // There is no body (RFC 9110 section 8.6).
    fields.remove(CONTENT_LENGTH);
    fields.remove(TRAILER);
    Some((StatusCode::from_u16(code).ok()?, fields))
}

impl<T: AsyncRead + Unpin> AsyncRead for Overheard<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.heads.looking.load(Relaxed) != NO_MATTER {
            this.heads.came(buf.filled().get(before..).unwrap_or_default());
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Overheard<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is for the client of these reads, and whether the next bytes matter.
    fn seen(reads: &[&[u8]]) -> (Vec<String>, bool) {
        let heads = InterimHeads::default();
        heads.begin();
        for read in reads {
            if heads.looking.load(Relaxed) != NO_MATTER {
                heads.came(read);
            }
        }
        assert_eq!(heads.are_any(), !heads.seen().heads.is_empty());
        let shown = heads.take().into_iter().map(|(status, fields)| {
            let fields = fields
                .iter()
                .map(|(name, value)| format!(" {name}={}", value.to_str().unwrap()));
            format!("{}{}", status.as_u16(), fields.collect::<String>())
        });
        (shown.collect(), heads.looking.load(Relaxed) != NO_MATTER)
    }

    #[test]
    fn wherever_the_reads_end() {
        let whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n\
            HTTP/1.1 102 X\r\nkeep-alive: 1\r\ncontent-length: 7\r\nconnection: x-own\r\nx-own: 1\r\nx-end: 2\r\n\r\n\
            HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 103 In The Body\r\n\r\n";
        for size in 1..=whole.len() {
            let reads: Vec<&[u8]> = whole.chunks(size).collect();
            let expected = vec!["103 link=</a> link=</b>".to_owned(), "102 x-end=2".to_owned()];
            assert_eq!(seen(&reads), (expected, false), "reads of {size}");
        }
        assert!(seen(&[&whole[..100]]).1);
    }

    #[test]
    fn what_is_no_interim_answer() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.0 103 Early Hints\r\n\r\n",
            b"HTTP/1.1 103 Early\r\n folded: 1\r\n\r\n",
            b"HTTP/1.1 103 Early\r\nna me: 1\r\n\r\n",
            b"HTTP/1.1 103 Early\r\nname: a\0b\r\n\r\n",
            b"HTTP/1.1 10x Early\r\n\r\n",
            b"nothing of HTTP",
        ] {
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(seen(&[bytes]), (vec![], false), "{shown}");
        }
    }

    #[test]
    fn each_response_has_its_own() {
        let heads = InterimHeads::default();
        for response in 0..3 {
            heads.begin();
            for _ in 0..MOST {
                heads.came(b"HTTP/1.1 103 X\r\na: b\r\n\r\n");
            }
            heads.came(b"HTTP/1.1 200 X\r\n\r\n");
            assert_eq!(heads.looking.load(Relaxed), NO_MATTER);
            assert_eq!(heads.seen().heads.len(), MOST, "before response {response}");
        }
    }

    #[test]
    fn their_number_and_their_size_are_bounded() {
        let many = b"HTTP/1.1 103 X\r\na: b\r\n\r\n".repeat(30);
        assert_eq!(seen(&[&many]).0.len(), MOST);
        let large = format!("HTTP/1.1 103 X\r\na: {}\r\n\r\n", "b".repeat(MAX_HEAD));
        assert_eq!(seen(&[large.as_bytes()]), (vec![], false));
        assert_eq!(
            seen(&large.as_bytes().chunks(1_000).collect::<Vec<_>>()),
            (vec![], false)
        );
        let sizable = format!("HTTP/1.1 103 X\r\na: {}\r\n\r\n", "b".repeat(MAX_HEAD - 100)).repeat(16);
        assert_eq!(seen(&[sizable.as_bytes()]).0.len(), MAX_HEADS / MAX_HEAD);
    }
}
