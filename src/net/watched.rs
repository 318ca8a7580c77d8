//! The stream of a client's connection, as whoever speaks HTTP on it gets it: it notes down what happens on it.
//!
//! `connection` makes one for each connection. It gives back what was read to tell the protocol, ends the conversation
//! with a client that floods it, and writes interim answers. It must never change a byte of what is read or written through
//! it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::activity::Activity;
use crate::net::frames::{CALM_DOWN, Frames};

/// A client's stream that notes down what happens on it, and that first gives back what was read from it to tell the
/// protocol. Where its client floods it with HTTP/2 frames, nothing more passes: the client is told to calm down, and
/// what it goes on sending is read and dropped, so that it can see that.
#[derive(Debug)]
pub(super) struct WatchedStream<T> {
    stream: T,
    read_before: ReadBefore,
    activity: Arc<Activity>,
    /// `None` for HTTP/1.1.
    frames: Option<Box<Frames>>,
}

/// Bytes that were read before the protocol was known: at most an HTTP/2 preface.
#[derive(Debug, Default)]
pub(super) struct ReadBefore {
    pub(super) bytes: [u8; 24],
    pub(super) end: usize,
    start: usize,
}

impl ReadBefore {
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl<T> WatchedStream<T> {
    pub(super) fn new(
        stream: T,
        read_before: ReadBefore,
        activity: Arc<Activity>,
        frames: Option<Frames>,
    ) -> Self {
        Self {
            stream,
            read_before,
            activity,
            frames: frames.map(Box::new),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WatchedStream<T> {
    /// Looks at the frames that came; ends the conversation where they are too many.
    fn check_frames(&mut self, cx: &mut Context<'_>, came: &[u8]) -> bool {
        let Some(frames) = &mut self.frames else {
            return false;
        };
        if !frames.is_flood(came, self.activity.has_moved()) {
            return false;
        }
        self.activity.is_flooded();
        if frames.is_between_frames() {
            // As much as a client that does not read gets of it.
            let _ = Pin::new(&mut self.stream).poll_write(cx, &CALM_DOWN);
        }
        true
    }

    /// Reads what is there and drops it; the end of the stream is passed on.
    fn drop_what_comes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        for _ in 0..DROPS_AT_ONCE {
            let mut buf = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf);
            if !matches!(read, Poll::Ready(Ok(()))) || buf.filled().is_empty() {
                return read;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One that has begun is ended before anything else is written.
    fn end_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.interim.is_waiting() && self.activity.interim.has_begun() {
            return self.write_interim(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn write_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, activity, .. } = self;
        ready!(activity.interim.poll_write(|bytes| {
            let written = Pin::new(&mut *stream).poll_write(cx, bytes);
            activity.wrote(&written);
            written
        }))?;
        // The response waits for this.
        cx.waker().wake_by_ref();
        Poll::Ready(Ok(()))
    }

    fn has_written(&mut self, written: &Poll<io::Result<usize>>, bufs: &[io::IoSlice<'_>]) {
        self.activity.wrote(written);
        if let (Some(frames), Poll::Ready(Ok(written))) = (&mut self.frames, written) {
            let mut left = *written;
            for buf in bufs {
                let part = buf.get(..left).unwrap_or(buf);
                frames.wrote(part);
                left -= part.len();
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for WatchedStream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read_before.start < this.read_before.end {
            let unread = this.read_before.unread();
            let given = unread.get(..buf.remaining()).unwrap_or(unread);
            buf.put_slice(given);
            this.read_before.start += given.len();
            return Poll::Ready(Ok(()));
        }
        if this.frames.is_some() && this.activity.is_flood() {
            return this.drop_what_comes(cx);
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.activity.bytes_came();
            let came = buf.filled().get(before..).unwrap_or_default();
            if this.check_frames(cx, came) {
                buf.set_filled(before);
                return this.drop_what_comes(cx);
            }
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.end_interim(cx))?;
        if this.activity.is_flood() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.has_written(&written, &[io::IoSlice::new(buf)]);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.interim.is_waiting() {
            // `http1` flushes while it waits for a response, and has written all that it had: what came before is whole,
            // and nothing of the response has begun.
            ready!(this.write_interim(cx))?;
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.end_interim(cx))?;
        if this.activity.is_flood() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.has_written(&written, bufs);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Reads of 4 KiB of a flood before others have a turn.
const DROPS_AT_ONCE: usize = 16;
