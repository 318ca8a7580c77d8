//! What a client connection is doing, and until when it may go on doing so.
//!
//! hyper's header timer also runs between requests and is allocated anew for each of them, and nothing in hyper bounds
//! a silent client, a stalled reader or an idle HTTP/2 connection. So the stream, the service and the response body of
//! one connection write down here what happens, and `connection` keeps one lazily moved timer on [`Activity::deadline`].
//! A request on a kept connection costs two clock readings and no timer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::net::InFlight;
use crate::net::connection::Patience;

/// Shared by the parts of one connection. All of them run on one thread; the atomics are there because an upgraded
/// stream must be `Send`, and are never contended.
#[derive(Debug)]
pub(super) struct Activity {
    created: Instant,
    phase: AtomicU8,
    /// When the phase began, in milliseconds after `created`.
    since: AtomicU64,
    /// Requests whose response is not over.
    requests: AtomicU32,
    /// When the client stopped taking what we write, likewise; `NEVER` while it takes it.
    stalled: AtomicU64,
    /// Counts the connection for the drain, also after it has become a tunnel.
    pub(super) in_flight: InFlight,
}

/// What is waited for while no request is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The very first byte.
    FirstByte = 0,
    /// The rest of a request head.
    Head = 1,
    /// The next request.
    Idle = 2,
    /// HTTP/2: the next request; what is read meanwhile may be pings, so reading changes nothing.
    IdleFrames = 3,
}

/// Why a deadline is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The client sent nothing after connecting, or not enough to tell the protocol.
    FirstByte,
    /// The request head did not end.
    Head,
    /// No further request came.
    Idle,
    /// The client does not read the response.
    Write,
}

impl Activity {
    pub(super) fn new(created: Instant, in_flight: InFlight) -> Arc<Self> {
        Arc::new(Self {
            created,
            phase: AtomicU8::new(Phase::FirstByte as u8),
            since: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            stalled: AtomicU64::new(NEVER),
            in_flight,
        })
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.now(), Relaxed);
    }

    /// What ends next and when. `None` while a request is being answered: its body and its upstream have deadlines of
    /// their own.
    pub(super) fn deadline(&self, patience: &Patience) -> Option<(Instant, Overdue)> {
        let stalled = self.stalled.load(Relaxed);
        if stalled != NEVER {
            return Some((
                self.created + Duration::from_millis(stalled) + patience.write,
                Overdue::Write,
            ));
        }
        if self.requests.load(Relaxed) > 0 {
            return None;
        }
        let (allowed, overdue) = match self.phase() {
            Phase::FirstByte => (patience.first_byte, Overdue::FirstByte),
            Phase::Head => (patience.header, Overdue::Head),
            Phase::Idle | Phase::IdleFrames => (patience.idle, Overdue::Idle),
        };
        Some((
            self.created + Duration::from_millis(self.since.load(Relaxed)) + allowed,
            overdue,
        ))
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::FirstByte,
            1 => Phase::Head,
            2 => Phase::Idle,
            _ => Phase::IdleFrames,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    fn bytes_came(&self) {
        if self.requests.load(Relaxed) == 0 && matches!(self.phase(), Phase::FirstByte | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    fn wrote<T>(&self, written: &Poll<T>) {
        let is_stalled = self.stalled.load(Relaxed) != NEVER;
        match (written, is_stalled) {
            (Poll::Pending, false) => self.stalled.store(self.now(), Relaxed),
            (Poll::Ready(_), true) => self.stalled.store(NEVER, Relaxed),
            (Poll::Pending, true) | (Poll::Ready(_), false) => {}
        }
    }
}

/// One request, from the call of the service to the end of the response body.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<Activity>);

impl ActiveRequest {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let was_last = self.0.requests.fetch_sub(1, Relaxed) == 1;
        if was_last {
            match self.0.phase() {
                Phase::IdleFrames => self.0.enter(Phase::IdleFrames),
                Phase::FirstByte | Phase::Head | Phase::Idle => self.0.enter(Phase::Idle),
            }
        }
    }
}

/// A client's stream that notes down what happens on it, and that first gives back what was read from it to tell the
/// protocol.
#[derive(Debug)]
pub(super) struct WatchedStream<T> {
    stream: T,
    read_before: ReadBefore,
    activity: Arc<Activity>,
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
    pub(super) fn new(stream: T, read_before: ReadBefore, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            read_before,
            activity,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WatchedStream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read_before.start < this.read_before.end {
            let unread = this.read_before.unread();
            let given = unread.get(..buf.remaining()).unwrap_or(unread);
            buf.put_slice(given);
            this.read_before.start += given.len();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.activity.bytes_came();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.activity.wrote(&written);
        written
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
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.activity.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

const NEVER: u64 = u64::MAX;
