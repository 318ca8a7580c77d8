//! Serves HTTP on one client connection.
//!
//! Every listener (gateway, admin, authority) comes through here, so that none has weaker limits than another. It
//! tells the protocol, gives hyper explicit limits (hyper's own defaults let a client wait for ever before its first
//! byte, send 300 KB of headers, or keep a connection open without a request), and drains. It must never look at what
//! a request says: that is the service's work.

mod drive;
mod service;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::net::activity::{Activity, Overdue, Phase, Share};
use crate::net::frames::Frames;
use crate::net::streams::{StreamExecutor, Streams};
use crate::net::watched::{ReadBefore, WatchedStream};
use crate::net::{DrainWatcher, InterimAnswers, Limits, Timeouts};
use drive::Drive;
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
    http2: Http2Limits,
    patience: Patience,
    share: Share,
}

/// How long is waited for the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) first_byte: Duration,
    pub(super) header: Duration,
    pub(super) idle: Duration,
    pub(super) write: Duration,
    /// The least rate at which what is written is taken, in bytes per second; 0 for any.
    pub(super) rate: u32,
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
    /// An HTTP/2 client made work for nothing: resets, control frames, or requests after the goodbye.
    #[error("too many HTTP/2 frames for nothing")]
    Flood,
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

/// What of HTTP/2 is configured.
#[derive(Clone, Copy, Debug)]
struct Http2Limits {
    streams: u32,
    /// As SETTINGS_MAX_HEADER_LIST_SIZE counts it.
    head_list: u32,
    resets: u32,
}

impl ConnectionEnd {
    /// Every word of [`Self::kind`].
    pub const KINDS: [&'static str; 8] = [
        "silent",
        "slow_head",
        "slow_reader",
        "malformed",
        "too_large",
        "incomplete",
        "flood",
        "broken",
    ];

    /// What was wrong, for metrics: one of [`Self::KINDS`]. `None` where nothing was.
    pub fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Closed | Self::TimedOut(Overdue::Idle) | Self::Cut => return None,
            Self::TimedOut(Overdue::FirstByte) => "silent",
            Self::TimedOut(Overdue::Head) => "slow_head",
            Self::TimedOut(Overdue::Write) => "slow_reader",
            Self::Failed(error) if error.is_parse_too_large() => "too_large",
            Self::Failed(error) if error.is_parse() => "malformed",
            Self::Failed(error) if error.is_incomplete_message() => "incomplete",
            Self::Flood => "flood",
            Self::Failed(_) | Self::Broken(_) => "broken",
        })
    }
}

impl ConnectionSettings {
    /// Limits and timeouts as configured; what is not configurable is in threats.md section 4.2.
    pub fn new(limits: &Limits, timeouts: &Timeouts) -> Self {
        Self {
            http1: http1_builder(limits),
            http2: Http2Limits::new(limits),
            share: Share {
                requests: limits.requests_per_connection,
                age: timeouts.connection_age.min(LONGEST_WAIT * 365),
            },
            patience: Patience {
                first_byte: timeouts.first_byte.min(LONGEST_WAIT),
                header: timeouts.header.min(LONGEST_WAIT),
                idle: timeouts.idle.min(LONGEST_WAIT),
                write: timeouts.body.min(LONGEST_WAIT),
                rate: limits.response_rate,
            },
        }
    }
}

/// Serves until the connection ends, the client takes too long, or a drain is over.
///
/// Runs on a `LocalSet` or a `LocalRuntime` where the protocol may be HTTP/2. Upgrades work; a tunnel goes on counting
/// for the drain, but whoever runs it must end it.
pub async fn serve_connection<T, S, B>(
    stream: T,
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
    serve_client(stream, protocol, settings, |_| service, drain).await
}

/// The same for a service that may send interim answers; where there are none, in HTTP/2, it is made without.
pub async fn serve_client<T, S, B>(
    mut stream: T,
    protocol: Protocol,
    settings: &ConnectionSettings,
    make_service: impl FnOnce(Option<InterimAnswers>) -> S,
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
    let activity = Activity::new(accepted, drain.enter(), settings.share);
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

    let streams = is_http2.then(Arc::<Streams>::default);
    let frames = is_http2.then(|| Frames::new(PREFACE.len() - read_before.end, settings.http2.resets));
    let io = TokioIo::new(WatchedStream::new(
        stream,
        read_before,
        Arc::clone(&activity),
        frames,
    ));
    let interim = (!is_http2).then(|| InterimAnswers::of(&activity));
    let service = WatchedService::new(make_service(interim), Arc::clone(&activity), streams.clone());
    let drive = Drive::new(&activity, settings.patience, &drain, streams.as_deref());
    match &streams {
        Some(streams) => {
            let executor = StreamExecutor(Arc::clone(streams));
            drive
                .run(settings.http2.builder(executor).serve_connection(io, service))
                .await
        }
        None => {
            let connection = settings.http1.serve_connection(io, service).with_upgrades();
            drive.run(connection).await
        }
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

fn http1_builder(limits: &Limits) -> http1::Builder {
    // Half as much again as both may be: what is over a limit of ours is refused by `gateway`, which says what and why.
    let both = limits.header_bytes.saturating_add(limits.uri_bytes);
    let head = both.saturating_add(both / 2).max(SMALLEST_BUFFER);
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

impl Http2Limits {
    fn new(limits: &Limits) -> Self {
        // Counts the target, and 32 bytes per line beside its text (RFC 9113 section 6.5.2). What is over a limit of
        // ours by less is refused by `gateway`, which answers in the client's way and counts it.
        let head_list = limits
            .header_bytes
            .saturating_add(limits.uri_bytes)
            .saturating_add(limits.headers.saturating_mul(32));
        Self {
            streams: limits.http2_streams,
            head_list: u32::try_from(head_list).unwrap_or(u32::MAX),
            resets: limits.http2_resets,
        }
    }

    fn builder(&self, executor: StreamExecutor) -> http2::Builder<StreamExecutor> {
        let mut builder = http2::Builder::new(executor);
        builder
            .timer(TokioTimer::new())
            .adaptive_window(false)
            .max_concurrent_streams(self.streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .header_table_size(HPACK_TABLE)
            .max_header_list_size(self.head_list)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(256)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_send_buf_size(64 << 10);
        // CONNECT with `:protocol` (RFC 8441) stays off, as it is in hyper unless it is switched on.
        builder
    }
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
/// How long the first request of a connection is waited for once a drain has begun.
const SILENCE: Duration = Duration::from_secs(1);
#[cfg(test)]
mod tests;
