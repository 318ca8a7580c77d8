//! What a client connection is doing, and until when it may go on doing so.
//!
//! hyper's header timer also runs between requests and is allocated anew for each of them, and nothing in hyper bounds
//! a silent client, a stalled reader or an idle HTTP/2 connection. So the stream, the service and the response body of
//! one connection write down here what happens, and `connection` keeps one lazily moved timer on [`Activity::deadline`].
//! A request on a kept connection costs two clock readings and no timer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::net::InFlight;
use crate::net::connection::Patience;
use crate::net::frames::{CALM_DOWN, Frames};

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
    /// Requests that have begun.
    begun: AtomicU32,
    /// Something of a request or a response has moved since the client's bytes were last looked at.
    moved: AtomicBool,
    /// The client makes work for nothing; its connection ends.
    flood: AtomicBool,
    /// When the client stopped taking what we write, likewise; `NEVER` while it takes it.
    stalled: AtomicU64,
    share: Share,
    /// Counts the connection for the drain, also after it has become a tunnel.
    pub(super) in_flight: InFlight,
}

/// What one connection may have before its client has to come back on another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) requests: u32,
    pub(super) age: Duration,
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
    /// Connections that were accepted together grow old apart: up to a tenth sooner or later than `share` says.
    pub(super) fn new(created: Instant, in_flight: InFlight, share: Share) -> Arc<Self> {
        // The multiples of the golden ratio spread evenly, however many there are.
        let spread = in_flight.number().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
        let spread = u32::try_from(spread).unwrap_or_default();
        let share = Share {
            age: share.age - share.age / 10 + share.age / 5 * (spread >> 10) / 1024,
            ..share
        };
        Arc::new(Self {
            share,
            created,
            phase: AtomicU8::new(Phase::FirstByte as u8),
            since: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            moved: AtomicBool::new(false),
            flood: AtomicBool::new(false),
            stalled: AtomicU64::new(NEVER),
            in_flight,
        })
    }

    /// When its share of time is used up.
    pub(super) fn old_at(&self) -> Instant {
        self.created + self.share.age
    }

    /// How many requests have begun beyond its share.
    pub(super) fn beyond_its_share(&self) -> Option<u32> {
        self.begun.load(Relaxed).checked_sub(self.share.requests)
    }

    /// How many requests have begun.
    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Relaxed)
    }

    /// Whether a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// Whether its frames were too many.
    pub(super) fn is_flood(&self) -> bool {
        self.flood.load(Relaxed)
    }

    /// Something of a response was handed over.
    pub(super) fn moved(&self) {
        self.moved.store(true, Relaxed);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(self.now(), Relaxed);
    }

    /// What ends next and when. `None` while a request is being answered: its body and its upstream have deadlines of
    /// their own. In a drain a head that has begun has a moment to end.
    pub(super) fn deadline(&self, patience: &Patience, drains: bool) -> Option<(Instant, Overdue)> {
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
            Phase::Head if drains => (patience.header.min(HEAD_IN_DRAIN), Overdue::Head),
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
    /// Whether an HTTP/1.1 client has to be told that this response is the last: the process is about to end, or the
    /// connection has had its share of requests or of time. Reads no clock: the head began when `since` says.
    pub(super) fn is_last(&self) -> bool {
        let activity = &self.0;
        activity.in_flight.is_leaving()
            || activity.begun.load(Relaxed) >= activity.share.requests
            || Duration::from_millis(activity.since.load(Relaxed)) >= activity.share.age
    }

    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        // All on one thread: a plain addition will do.
        activity
            .requests
            .store(activity.requests.load(Relaxed) + 1, Relaxed);
        activity
            .begun
            .store(activity.begun.load(Relaxed).saturating_add(1), Relaxed);
        activity.moved();
        Self(Arc::clone(activity))
    }

    /// Something of the response was handed over.
    pub(super) fn moved(&self) {
        self.0.moved();
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let left = self.0.requests.load(Relaxed).saturating_sub(1);
        self.0.requests.store(left, Relaxed);
        let was_last = left == 0;
        if was_last {
            match self.0.phase() {
                Phase::IdleFrames => self.0.enter(Phase::IdleFrames),
                Phase::FirstByte | Phase::Head | Phase::Idle => self.0.enter(Phase::Idle),
            }
        }
    }
}

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
        if !frames.is_flood(came, self.activity.moved.swap(false, Relaxed)) {
            return false;
        }
        self.activity.flood.store(true, Relaxed);
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
        if this.activity.is_flood() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.has_written(&written, &[io::IoSlice::new(buf)]);
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

const NEVER: u64 = u64::MAX;
/// How long a head that had begun before a drain may still take.
const HEAD_IN_DRAIN: Duration = Duration::from_millis(500);
/// Reads of 4 KiB of a flood before others have a turn.
const DROPS_AT_ONCE: usize = 16;
