//! WebSockets: a connection that becomes a tunnel, once its token is found good and its upstream has agreed.
//!
//! Nothing that the client sends after its head is read before that: it stays in the connection's buffer, as the next request
//! if the upstream does not agree, so an upstream never sees bytes that could be a request of their own. A tunnel holds
//! two small buffers, so that a side which does not read stops the other one. It ends by itself, when nothing moves,
//! when the token expires, and with the process; and only here.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, CONTENT_LENGTH, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body as _;
use tokio::io::{
    AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy, copy_bidirectional_with_sizes, sink,
};
use tokio::sync::Notify;

use super::body::ResponseBody;
use super::forward::Forwarded;
use super::headers;
use super::pool::OpenSlot;
use super::record::Record;
use super::upstream::Held;
use super::upstream::http1::Switched;
use super::vigil::{Vigil, revoked};
use super::websocket::{Asked, CloseCode, FramePosition, WEBSOCKET, has_agreed};
use super::worker::Worker;
use crate::net::{ClientBody, OnUpgrade, Upgraded};
use crate::policy::Reason;
use crate::telemetry::TunnelEnd;

/// Of each direction.
const BUFFER: usize = 8 << 10;
/// How long the client may take to get the answer that makes the tunnel.
const OPENING: Duration = Duration::from_secs(10);
/// Without a byte, once one side has ended: to the other one there is little left to say.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// How long both sides may take to take notice of a closing frame.
const FAREWELL: Duration = Duration::from_secs(1);

/// A client that asked, properly, for a WebSocket.
#[derive(Debug)]
pub(super) struct Handshake {
    client: OnUpgrade,
    /// The answer that proves that the upstream speaks WebSocket.
    accept: String,
}

/// How long a tunnel may go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct TunnelTimes {
    /// Without a byte in either direction.
    pub(super) idle: Duration,
    /// Until the token expires; `None`: for ever.
    pub(super) good_until: Option<Instant>,
}

impl Handshake {
    /// What a request on a route that allows WebSockets asks for; `None` where it is a request like any other.
    pub(super) fn take(parts: &mut Parts, body: &ClientBody) -> Result<Option<Box<Self>>, Reason> {
        let accept = match Asked::read(parts) {
            Asked::Nothing => return Ok(None),
            Asked::WebSocket(accept) if body.is_end_stream() => accept,
            Asked::WebSocket(_) | Asked::Malformed => return Err(Reason::BadRequest),
        };
        let client = body.on_upgrade().ok_or(Reason::Internal)?;
        Ok(Some(Box::new(Self { client, accept })))
    }

    /// Asks the upstream. The head has lost what concerns one connection only.
    pub(super) fn ask(fields: &mut HeaderMap) {
        fields.remove(TE);
        insert_upgrade(fields);
    }

    /// The upstream switches protocols: to the one that was asked for, or it is at fault. The tunnel runs by itself from
    /// here on, and takes the record along.
    pub(super) fn accept(
        self,
        worker: &Rc<Worker>,
        forwarded: Forwarded,
        (times, vigil): (TunnelTimes, Option<Box<Vigil>>),
        mut record: Record,
    ) -> Result<Response<ResponseBody>, Record> {
        let Forwarded {
            mut response, held, ..
        } = forwarded;
        if !has_agreed(response.status(), response.headers(), &self.accept) {
            return Err(record);
        }
        let Held::Http1(lease) = held else {
            return Err(record);
        };
        let Some((upstream, slot)) = lease.switch() else {
            return Err(record);
        };
        record.answered(response.status());
        let tunnel = Tunnel {
            worker: Rc::clone(worker),
            flow: Rc::default(),
            times,
            vigil,
            record,
            slot,
        };
        tokio::task::spawn_local(tunnel.run(self.client, upstream));
        let fields = response.headers_mut();
        headers::to_client(fields);
        fields.remove(CONTENT_LENGTH);
        insert_upgrade(fields);
        Ok(response.map(|()| ResponseBody::empty()))
    }
}

fn insert_upgrade(fields: &mut HeaderMap) {
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, WEBSOCKET);
}

/// An open tunnel.
struct Tunnel {
    worker: Rc<Worker>,
    flow: Rc<Flow>,
    times: TunnelTimes,
    vigil: Option<Box<Vigil>>,
    record: Record,
    /// Its place among the connections of the upstream.
    slot: OpenSlot,
}

/// What has gone through, and when it last did.
#[derive(Debug)]
struct Flow {
    from_client: Cell<u64>,
    to_client: Cell<u64>,
    moved: Cell<Instant>,
    /// One side has ended.
    is_half_closed: Cell<bool>,
    half_closed: Notify,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            from_client: Cell::new(0),
            to_client: Cell::new(0),
            moved: Cell::new(Instant::now()),
            is_half_closed: Cell::new(false),
            half_closed: Notify::new(),
        }
    }
}

impl Tunnel {
    async fn run(mut self, client: OnUpgrade, upstream: Switched) {
        let metrics = &self.worker.shared.metrics;
        let vigil = self.vigil.take();
        let opening = self.worker.deadlines.after(OPENING, Instant::now());
        let opened = opening.limit(client).await;
        drop(opening);
        let end = match opened {
            Some(Some(client)) => {
                metrics.upgrades_open.inc();
                let end = self.carry(client, upstream, vigil).await;
                metrics.upgrades_open.dec();
                end
            }
            // The client has gone before it got the answer.
            Some(None) | None => TunnelEnd::Broken,
        };
        metrics.upgrade_ended(end).inc();
        let ended_by = match end {
            TunnelEnd::Closed | TunnelEnd::Idle | TunnelEnd::Drained | TunnelEnd::Broken => None,
            TunnelEnd::Expired => Some(Reason::Expired),
            TunnelEnd::Revoked => Some(Reason::Revoked),
        };
        self.record
            .tunnelled(self.flow.from_client.get(), self.flow.to_client.get(), ended_by);
        drop(self.slot);
    }

    /// Copies until something ends it, and says goodbye where neither side did.
    async fn carry(&self, client: Upgraded, upstream: Switched, vigil: Option<Box<Vigil>>) -> TunnelEnd {
        let mut client = Side::new(client, &self.flow, &self.flow.to_client);
        let mut upstream = Side::new(upstream, &self.flow, &self.flow.from_client);
        let end = {
            let copying = pin!(copy_bidirectional_with_sizes(
                &mut client,
                &mut upstream,
                BUFFER,
                BUFFER
            ));
            self.watch(copying, pin!(revoked(vigil))).await
        };
        let code = match end {
            TunnelEnd::Closed | TunnelEnd::Broken => return end,
            TunnelEnd::Idle | TunnelEnd::Drained => CloseCode::GoingAway,
            TunnelEnd::Expired | TunnelEnd::Revoked => CloseCode::PolicyViolation,
        };
        let mut mask = [0; 4];
        // Whether it is random or not, the payload is known.
        let _ = getrandom::fill(&mut mask);
        let farewell = self.worker.deadlines.after(FAREWELL, Instant::now());
        let (to_client, to_upstream) = (code.to_client(), code.to_upstream(mask));
        let farewells = async { tokio::join!(client.farewell(&to_client), upstream.farewell(&to_upstream)) };
        farewell.limit(farewells).await;
        end
    }

    /// Polls the copying beside everything that may end it before.
    async fn watch(
        &self,
        mut copying: Pin<&mut impl Future<Output = io::Result<(u64, u64)>>>,
        mut revoked: Pin<&mut impl Future<Output = ()>>,
    ) -> TunnelEnd {
        let drain = &self.worker.drain;
        let mut deadline = self.worker.deadlines.after(self.times.idle, Instant::now());
        let mut cut = None;
        loop {
            let (at, end) = self.next_end(cut);
            let now = Instant::now();
            let Some(left) = at.checked_duration_since(now).filter(|left| !left.is_zero()) else {
                return end;
            };
            deadline.renew(left, now);
            let step = async {
                tokio::select! {
                    biased;
                    () = revoked.as_mut() => Some(Err(TunnelEnd::Revoked)),
                    copied = copying.as_mut() => Some(copied.map_err(|_broken| TunnelEnd::Broken)),
                    () = drain.begun(), if cut.is_none() => None,
                    () = self.flow.half_closed.notified() => None,
                }
            };
            match deadline.limit(step).await {
                Some(Some(Ok(_))) => return TunnelEnd::Closed,
                Some(Some(Err(end))) => return end,
                Some(None) if cut.is_none() && drain.is_draining() => {
                    cut = Some(before_the_end(drain.deadline()));
                }
                // Something else may end it first by now.
                Some(None) | None => {}
            }
        }
    }

    /// What will end it next if nothing moves, and when.
    fn next_end(&self, cut: Option<Instant>) -> (Instant, TunnelEnd) {
        let moved = self.flow.moved.get();
        let idle = if self.flow.is_half_closed.get() {
            (moved + self.times.idle.min(HALF_CLOSED), TunnelEnd::Closed)
        } else {
            (moved + self.times.idle, TunnelEnd::Idle)
        };
        let expiry = self.times.good_until.map(|at| (at, TunnelEnd::Expired));
        let drain = cut.map(|at| (at, TunnelEnd::Drained));
        [Some(idle), expiry, drain]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
            .unwrap_or(idle)
    }
}

/// A drain ends for a tunnel a little before it ends for the process, so that both sides still hear of it.
fn before_the_end(deadline: Option<tokio::time::Instant>) -> Instant {
    let now = Instant::now();
    let left = deadline.map_or(Duration::ZERO, |deadline| {
        deadline.into_std().saturating_duration_since(now)
    });
    now + left.saturating_sub((FAREWELL * 2).min(left / 2))
}

/// One side of a tunnel.
struct Side<'a, T> {
    stream: T,
    flow: &'a Flow,
    /// What has been written to this side.
    written: &'a Cell<u64>,
    frames: FramePosition,
}

impl<'a, T: AsyncRead + AsyncWrite + Unpin> Side<'a, T> {
    fn new(stream: T, flow: &'a Flow, written: &'a Cell<u64>) -> Self {
        Self {
            stream,
            flow,
            written,
            frames: FramePosition::default(),
        }
    }

    /// Says goodbye, if it is the moment for it, and listens for a while: to close on bytes that were not read would
    /// reset the connection, and the farewell might be lost with it.
    async fn farewell(&mut self, frame: &[u8]) {
        if !self.frames.is_between_frames() {
            return;
        }
        if self.stream.write_all(frame).await.is_ok() && self.stream.shutdown().await.is_ok() {
            // Whatever comes is too late.
            let _ = copy(&mut self.stream, &mut sink()).await;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Side<'_, T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_ready() {
            this.flow.moved.set(Instant::now());
            if buf.filled().len() == before {
                this.flow.is_half_closed.set(true);
                this.flow.half_closed.notify_one();
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Side<'_, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            this.flow.moved.set(Instant::now());
            this.written.set(this.written.get() + count as u64);
            this.frames.advance(bytes.get(..count).unwrap_or(bytes));
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
