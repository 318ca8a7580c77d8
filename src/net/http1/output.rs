//! Bytes on their way out of a connection, in order. It knows nothing of what they say.
//!
//! Both codecs of HTTP/1.1 write with it, towards clients and towards upstreams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use super::spare::Spare;

/// A part of a body that is larger is written from where it is.
const LARGE: usize = 8 << 10;

thread_local! {
    static SPARE: Spare<Vec<u8>> = const { Spare::none() };
}

/// What is to be written: bytes of ours, then a part of a body.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    /// So many of them are written.
    written: usize,
    part: Bytes,
}

impl Output {
    /// The bytes of ours, to be added to while there is no part of a body behind them.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0
            && let Some(spare) = Spare::take(&SPARE)
        {
            self.bytes = spare;
        }
        &mut self.bytes
    }

    /// Whether there is enough to be written before more is fetched.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= LARGE || !self.part.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.part.is_empty()
    }

    /// Whether a large part of a body is there: nothing comes behind it.
    pub(crate) fn has_part(&self) -> bool {
        !self.part.is_empty()
    }

    /// Whether nothing has been written of what there is.
    pub(crate) fn is_whole(&self) -> bool {
        self.written == 0
    }

    /// Adds a part of a body; only where it is not full.
    pub(crate) fn push(&mut self, part: Bytes) {
        if part.len() < LARGE {
            self.bytes().extend_from_slice(&part);
        } else {
            self.part = part;
        }
    }

    /// Writes all of it.
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let bytes = self.bytes.get(self.written..).unwrap_or_default();
            let stream = Pin::new(&mut *stream);
            let count = match (bytes, &*self.part) {
                ([], part) => ready!(stream.poll_write(cx, part))?,
                (bytes, []) => ready!(stream.poll_write(cx, bytes))?,
                (bytes, part) => {
                    ready!(stream.poll_write_vectored(cx, &[IoSlice::new(bytes), IoSlice::new(part)]))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_bytes = count.min(bytes.len());
            self.written += of_bytes;
            self.part.advance(count - of_bytes);
            if self.part.is_empty() {
                // Its room may be read into again.
                self.part = Bytes::new();
            }
            if self.written == self.bytes.len() {
                self.written = 0;
                let mut bytes = std::mem::take(&mut self.bytes);
                bytes.clear();
                if (1..=2 * LARGE).contains(&bytes.capacity()) {
                    Spare::give(&SPARE, bytes);
                }
            }
        }
        Pin::new(stream).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use std::task::Waker;

    /// So that the next read, and the next connection, can use the room.
    #[test]
    fn what_is_written_is_let_go() {
        let mut read = BytesMut::from(&[b'x'; LARGE][..]);
        let mut output = Output::default();
        output.bytes().extend_from_slice(b"head ");
        output.push(read.split().freeze());
        assert!(output.has_part() && !read.try_reclaim(LARGE));
        let mut written = Vec::new();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(output.poll_write(&mut written, cx).is_ready());
        assert!(written.starts_with(b"head x") && written.len() == 5 + LARGE);
        assert!(output.is_empty() && output.bytes.capacity() == 0);
        assert!(read.try_reclaim(LARGE));
        output.bytes().extend_from_slice(b"next");
        assert_eq!(output.bytes, b"next");
    }
}
