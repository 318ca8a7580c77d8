//! Interim answers to a request (RFC 9110 section 15.2), such as 103: heads that go to the client before the response.
//!
//! In HTTP/1.1 they are queued here by the service while it works on the request, and `watched` writes them where a message
//! may begin: when all that was to be written has been and the response has not begun, for which `connection` keeps the service waiting meanwhile. A client of HTTP/2 gets none:
//! its frames are hyper's alone.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};

use http::{HeaderMap, StatusCode};

use crate::net::activity::Activity;

/// Takes interim answers for the client of one HTTP/1.1 connection.
#[derive(Clone, Debug)]
pub struct InterimAnswers(Arc<Activity>);

/// Heads that wait to be written. All is on one thread; see `activity`.
#[derive(Debug, Default)]
pub(super) struct InterimQueue {
    is_waiting: AtomicBool,
    heads: Mutex<Heads>,
}

#[derive(Debug, Default)]
struct Heads {
    bytes: Vec<u8>,
    written: usize,
}

impl InterimAnswers {
    pub(super) fn of(activity: &Arc<Activity>) -> Self {
        Self(Arc::clone(activity))
    }

    /// Sends one to the client before anything else. Only the future of the request that is being answered may call it,
    /// only for a client of HTTP/1.1, and it has to wake its task: it is polled again once all is written. `status` is
    /// informational, and neither 100, which is `http1`'s, nor 101, which is a response.
    pub fn send(&self, status: StatusCode, fields: &HeaderMap) {
        self.0.interim.push(status, fields);
    }
}

impl InterimQueue {
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Relaxed)
    }

    /// Whether part of it is written already.
    pub(super) fn has_begun(&self) -> bool {
        self.heads().written > 0
    }

    fn push(&self, status: StatusCode, fields: &HeaderMap) {
        let bytes = &mut self.heads().bytes;
        bytes.extend_from_slice(b"HTTP/1.1 ");
        bytes.extend_from_slice(status.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        bytes.extend_from_slice(b"\r\n");
        for (name, value) in fields {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        self.is_waiting.store(true, Relaxed);
    }

    /// The response begins: what has not begun by then comes too late.
    pub(super) fn close(&self) {
        if self.is_waiting() && !self.has_begun() {
            self.clear();
        }
    }

    /// Writes what is left.
    pub(super) fn poll_write(
        &self,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        let mut heads = self.heads();
        while let Some(left) = heads.bytes.get(heads.written..).filter(|left| !left.is_empty()) {
            match ready!(write(left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => heads.written += count,
            }
        }
        drop(heads);
        self.clear();
        Poll::Ready(Ok(()))
    }

    fn clear(&self) {
        *self.heads() = Heads::default();
        self.is_waiting.store(false, Relaxed);
    }

    fn heads(&self) -> MutexGuard<'_, Heads> {
        // Nothing under this lock can panic half-way.
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> InterimQueue {
        let queue = InterimQueue::default();
        let fields = HeaderMap::from_iter([
            (http::header::LINK, http::HeaderValue::from_static("</a>")),
            (http::header::LINK, http::HeaderValue::from_static("</b>")),
        ]);
        queue.push(StatusCode::EARLY_HINTS, &fields);
        queue
    }

    const HEAD: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n";

    #[test]
    fn a_head_is_written_whole_however_slowly() {
        let queue = queue();
        let mut written = Vec::new();
        let mut turn = 0;
        loop {
            let polled = queue.poll_write(|bytes| {
                turn += 1;
                if turn % 2 == 0 {
                    return Poll::Pending;
                }
                written.push(bytes[0]);
                Poll::Ready(Ok(1))
            });
            match polled {
                Poll::Ready(end) => break end.unwrap(),
                // What has begun is never dropped.
                Poll::Pending => queue.close(),
            }
            assert!(queue.is_waiting() && queue.has_begun());
        }
        assert_eq!(written, HEAD);
        assert!(!queue.is_waiting() && !queue.has_begun());
    }

    #[test]
    fn what_comes_too_late_is_not_written() {
        let queue = queue();
        queue.close();
        assert!(!queue.is_waiting());
        let nothing = queue.poll_write(|_| panic!("something is written"));
        assert!(matches!(nothing, Poll::Ready(Ok(()))));
    }
}
