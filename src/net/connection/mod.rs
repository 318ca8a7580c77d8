//! Serves HTTP on one client connection.
//!
//! Every listener (gateway, admin, authority) comes through here, so that none has weaker limits than another. It
//! tells the protocol, gives hyper explicit limits (hyper's own defaults let a client wait for ever before its first
//! byte, send 300 KB of headers, or keep a connection open without a request), and drains. It must never look at what
//! a request says: that is the service's work.

mod service;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::net::activity::{Activity, Overdue, Phase, ReadBefore, WatchedStream};
use crate::net::{DrainWatcher, Limits, Timeouts};
use service::WatchedService;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (and 1.0) only; an HTTP/2 preface is a bad request.
    Http1,
    /// HTTP/1.1, or HTTP/2 by prior knowledge (RFC 9113 section 3.3).
    Http1OrHttp2Cleartext,
    /// HTTP/2 and nothing else, as was agreed upon with TLS.
    Http2,
}

/// hyper with every limit set, made once per listener.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    http1: http1::Builder,
    http2: http2::Builder<LocalExecutor>,
    patience: Patience,
}

/// How long is waited for the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) first_byte: Duration,
    pub(super) header: Duration,
    pub(super) idle: Duration,
    pub(super) write: Duration,
}

/// How a connection came to its end. For logs.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionEnd {
    /// The client or the last response closed it, or it became a tunnel.
    #[error("closed")]
    Closed,
    /// The client took too long.
    #[error("the client took too long: {0:?}")]
    TimedOut(Overdue),
    /// The drain was over.
    #[error("cut at the end of the drain")]
    Cut,
    /// The client broke the protocol, or the connection broke.
    #[error("{0}")]
    Failed(#[from] hyper::Error),
    /// The connection broke before a protocol was known.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// Runs the streams of an HTTP/2 connection on the thread of the connection.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl ConnectionSettings {
    /// Limits and timeouts as configured; what is not configurable is in threats.md section 4.2.
    pub fn new(limits: &Limits, timeouts: &Timeouts) -> Self {
        Self {
            http1: http1_builder(limits),
            http2: http2_builder(limits),
            patience: Patience {
                first_byte: timeouts.first_byte.min(LONGEST_WAIT),
                header: timeouts.header.min(LONGEST_WAIT),
                idle: timeouts.idle.min(LONGEST_WAIT),
                write: timeouts.body.min(LONGEST_WAIT),
            },
        }
    }
}

/// Serves until the connection ends, the client takes too long, or a drain is over.
///
/// Runs on a `LocalSet` or a `LocalRuntime` where the protocol may be HTTP/2. Upgrades work; a tunnel goes on counting
/// for the drain, but whoever runs it must end it.
pub async fn serve_connection<T, S, B>(
    mut stream: T,
    protocol: Protocol,
    settings: &ConnectionSettings,
    service: S,
    drain: DrainWatcher,
) -> ConnectionEnd
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let accepted = Instant::now();
    let activity = Activity::new(accepted, drain.enter());
    let mut read_before = ReadBefore::default();
    let mut is_http2 = false;
    if protocol != Protocol::Http1 {
        let sniffing = read_preface(&mut stream, &mut read_before);
        let sniffed = tokio::select! {
            sniffed = timeout_at(accepted + settings.patience.first_byte, sniffing) => sniffed,
            () = silent_for_a_while(&drain) => return ConnectionEnd::Closed,
        };
        match sniffed {
            Ok(Ok(found)) => is_http2 = found,
            Ok(Err(error)) => return ConnectionEnd::Broken(error),
            Err(_) => return ConnectionEnd::TimedOut(Overdue::FirstByte),
        }
        if read_before.end == 0 || (protocol == Protocol::Http2 && !is_http2) {
            return ConnectionEnd::Closed;
        }
        activity.enter(if is_http2 { Phase::IdleFrames } else { Phase::Head });
    }

    let io = TokioIo::new(WatchedStream::new(stream, read_before, Arc::clone(&activity)));
    let service = WatchedService::new(service, Arc::clone(&activity));
    if is_http2 {
        drive(
            settings.http2.serve_connection(io, service),
            &activity,
            settings.patience,
            &drain,
        )
        .await
    } else {
        let connection = settings.http1.serve_connection(io, service).with_upgrades();
        drive(connection, &activity, settings.patience, &drain).await
    }
}

/// Ends when a client that says nothing has been waited for long enough in a drain.
async fn silent_for_a_while(drain: &DrainWatcher) {
    drain.begun().await;
    tokio::time::sleep(SILENCE).await;
}

/// Reads until the bytes are the HTTP/2 preface, or cannot become it. An end of the stream is no preface.
async fn read_preface(stream: &mut (impl AsyncRead + Unpin), read: &mut ReadBefore) -> io::Result<bool> {
    loop {
        let Some(rest) = read.bytes.get_mut(read.end..) else {
            return Ok(true);
        };
        if rest.is_empty() {
            return Ok(true);
        }
        let count = stream.read(rest).await?;
        read.end += count;
        if count == 0 || !PREFACE.starts_with(read.unread()) {
            return Ok(false);
        }
    }
}

/// Polls a connection beside its one timer and the drain.
///
/// The timer is moved only when it would be late, and looked at only when it fires: between requests of a busy
/// connection it stays where it is.
async fn drive<C: Connection>(
    connection: C,
    activity: &Activity,
    patience: Patience,
    drain: &DrainWatcher,
) -> ConnectionEnd {
    let mut connection = pin!(connection);
    let mut timer = pin!(sleep_until(Instant::now() + patience.first_byte));
    let mut closing = None;
    let mut watches_drain = false;
    let mut is_finishing = false;
    poll_fn(|cx| {
        if !watches_drain {
            watches_drain = true;
            activity.in_flight.wake_on_drain(cx.waker());
        }
        loop {
            // First, so that a request that has arrived is seen before the connection is asked to end.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_or_else(ConnectionEnd::Failed, |()| ConnectionEnd::Closed));
            }
            if is_finishing || !drain.is_draining() {
                break;
            }
            let deadline = drain.deadline().unwrap_or_else(Instant::now);
            let is_silent = matches!(activity.deadline(&patience), Some((_, Overdue::FirstByte)));
            if is_silent && !C::SAYS_GOODBYE {
                // Its first request may be on the way, and nothing could tell the client to ask elsewhere.
                let end = || (deadline.min(Instant::now() + SILENCE), ConnectionEnd::Closed);
                closing.get_or_insert_with(end);
                break;
            }
            is_finishing = true;
            closing = Some((deadline, ConnectionEnd::Cut));
            connection.as_mut().finish();
        }
        loop {
            let now_due = ready!(poll_overdue(timer.as_mut(), cx, activity, patience, &closing));
            match now_due {
                None => return Poll::Ready(closing.take().map_or(ConnectionEnd::Cut, |(_, end)| end)),
                Some(Overdue::Idle) if C::SAYS_GOODBYE => {
                    // GOAWAY, so that a client which is about to send learns to use another connection.
                    is_finishing = true;
                    closing = Some((Instant::now() + GOODBYE, ConnectionEnd::TimedOut(Overdue::Idle)));
                    connection.as_mut().finish();
                    if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                        return Poll::Ready(
                            ended.map_or_else(ConnectionEnd::Failed, |()| ConnectionEnd::Closed),
                        );
                    }
                }
                Some(overdue) => return Poll::Ready(ConnectionEnd::TimedOut(overdue)),
            }
        }
    })
    .await
}

/// Ready when something is overdue: `None` is the end of a drain or of a goodbye. Keeps the timer armed otherwise.
fn poll_overdue(
    mut timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
    activity: &Activity,
    patience: Patience,
    closing: &Option<(Instant, ConnectionEnd)>,
) -> Poll<Option<Overdue>> {
    loop {
        let waited_for = activity.deadline(&patience);
        let next = match (waited_for, closing) {
            // An idle connection that was asked to close is on its way; only the cut matters to it.
            (Some((at, overdue)), Some((cut, _))) if at < *cut && overdue != Overdue::Idle => {
                Some((at, Some(overdue)))
            }
            (_, Some((cut, _))) => Some((*cut, None)),
            (Some((at, overdue)), None) => Some((at, Some(overdue))),
            (None, None) => None,
        };
        if let Some((at, _)) = next
            && at < timer.deadline()
        {
            timer.as_mut().reset(at);
        }
        ready!(timer.as_mut().poll(cx));
        let now = Instant::now();
        match next {
            Some((at, overdue)) if at <= now => return Poll::Ready(overdue),
            Some((at, _)) => timer.as_mut().reset(at),
            // A request is being answered. Look again later, in case nothing else wakes this task when it ends.
            None => timer.as_mut().reset(now + patience.idle),
        }
    }
}

/// What `drive` needs of hyper's two kinds of connection.
trait Connection: Future<Output = Result<(), hyper::Error>> {
    /// Whether the protocol can announce that the connection will close.
    const SAYS_GOODBYE: bool;
    /// Ends after the requests that have begun.
    fn finish(self: Pin<&mut Self>);
}

impl<T, S, B> Connection for http1::UpgradeableConnection<TokioIo<WatchedStream<T>>, WatchedService<S>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const SAYS_GOODBYE: bool = false;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<T, S, B> Connection for http2::Connection<TokioIo<WatchedStream<T>>, WatchedService<S>, LocalExecutor>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: 'static,
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const SAYS_GOODBYE: bool = true;

    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let head = limits
        .header_bytes
        .saturating_add(limits.uri_bytes)
        .max(SMALLEST_BUFFER);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `Activity` keeps this time, and the idle time that hyper does not tell from it.
        .header_read_timeout(None)
        .keep_alive(true)
        .half_close(false)
        .pipeline_flush(false)
        .max_header_size(head)
        .max_buf_size(head);
    if limits.headers != HYPER_HEADERS {
        // hyper allocates for each request when this is set at all.
        builder.max_headers(limits.headers);
    }
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<LocalExecutor> {
    // Counts the target, and 32 bytes per line beside its text (RFC 9113 section 6.5.2). What is over a limit of ours by
    // less is refused by `gateway`, which answers in the client's way and counts it.
    let head_list = limits
        .header_bytes
        .saturating_add(limits.uri_bytes)
        .saturating_add(limits.headers.saturating_mul(32));
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .max_concurrent_streams(limits.http2_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .header_table_size(HPACK_TABLE)
        .max_header_list_size(u32::try_from(head_list).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_send_buf_size(64 << 10);
    // CONNECT with `:protocol` (RFC 8441) stays off, as it is in hyper unless it is switched on.
    builder
}

/// RFC 9113 section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// hyper panics on less.
const SMALLEST_BUFFER: usize = 8_192;
/// What hyper allows when it is not told.
const HYPER_HEADERS: usize = 100;
const STREAM_WINDOW: u32 = 64 << 10;
/// Four times the profile of threats.md: h2 derives from this how many small DATA frames may wait unread, and cuts
/// a gRPC stream of tiny messages before a slow upstream at less. Still bounds a connection to 4 MiB.
const CONNECTION_WINDOW: u32 = 4 << 20;
const FRAME: u32 = 16 << 10;
const HPACK_TABLE: u32 = 4 << 10;
/// So that adding it to a time cannot overflow, whatever was configured.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Until an idle HTTP/2 connection is cut after its GOAWAY.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the first request of a connection is waited for once a drain has begun.
const SILENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
