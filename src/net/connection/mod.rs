//! Serves HTTP on one client connection.
//!
//! Every listener (gateway, admin, authority) comes through here, so that none has weaker limits than another. It
//! tells the protocol, gives HTTP/1.1 of the data path to `http1` and all else to hyper, with explicit limits (hyper's own defaults let a client wait for ever before its first
//! byte, send 300 KB of headers, or keep a connection open without a request), and drains. It must never look at what
//! a request says: that is the service's work.

mod begun;
mod drive;
mod service;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::net::activity::{Overdue, Share};
use crate::net::http1::{self, ClientRequest, ClientStream, Fault, HeadBounds};
use crate::net::streams::StreamExecutor;
use crate::net::watched::WatchedStream;
use crate::net::{DrainWatcher, InterimAnswers, Limits, Timeouts};
use begun::{Begun, OverHttp2};
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
    /// hyper's.
    http1: hyper::server::conn::http1::Builder,
    /// Ours.
    head: HeadBounds,
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
    /// The same in HTTP/1.1 on the data path.
    #[error("{0}")]
    Fault(#[from] Fault),
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
            Self::Fault(Fault::TooLarge | Fault::UriTooLong) => "too_large",
            Self::Fault(Fault::Malformed | Fault::Version) => "malformed",
            Self::Fault(Fault::Incomplete) => "incomplete",
            Self::Flood => "flood",
            Self::Failed(_) | Self::Fault(Fault::Answer | Fault::Io(_)) | Self::Broken(_) => "broken",
        })
    }
}

impl ConnectionSettings {
    /// Limits and timeouts as configured; what is not configurable is in threats.md section 4.2.
    pub fn new(limits: &Limits, timeouts: &Timeouts) -> Self {
        Self {
            http1: http1_builder(limits),
            head: HeadBounds {
                bytes: longest_head(limits),
                fields: limits.headers,
            },
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

/// Serves with hyper until the connection ends, the client takes too long, or a drain is over.
///
/// Runs on a `LocalSet` or a `LocalRuntime` where the protocol may be HTTP/2.
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
    let begun = match Begun::listen(&mut stream, protocol, settings, &drain).await {
        Ok(begun) => begun,
        Err(end) => return end,
    };
    if begun.is_http2 {
        return begun.serve_http2(stream, settings, service, &drain).await;
    }
    let Begun {
        activity,
        read_before,
        ..
    } = begun;
    let io = TokioIo::new(WatchedStream::new(
        stream,
        read_before,
        Arc::clone(&activity),
        None,
    ));
    let service = WatchedService::new(service, Arc::clone(&activity), None);
    let connection = settings.http1.serve_connection(io, service);
    Drive::new(&activity, settings.patience, &drain, None)
        .run(connection)
        .await
}

/// The same for the data path: HTTP/1.1 is spoken in our own words, and there the service may send interim answers; where
/// there are none, in HTTP/2, it is made without. A connection may become a tunnel, which goes on counting for the drain;
/// whoever runs it must end it.
pub async fn serve_client<T, S, B>(
    mut stream: T,
    protocol: Protocol,
    settings: &ConnectionSettings,
    make_service: impl FnOnce(Option<InterimAnswers>) -> S,
    drain: DrainWatcher,
) -> ConnectionEnd
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<ClientRequest, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let begun = match Begun::listen(&mut stream, protocol, settings, &drain).await {
        Ok(begun) => begun,
        Err(end) => return end,
    };
    if begun.is_http2 {
        let service = OverHttp2(make_service(None));
        // In boxes, both: the larger of the two must not be the size of each.
        return Box::pin(begun.serve_http2(stream, settings, service, &drain)).await;
    }
    let Begun {
        activity,
        read_before,
        ..
    } = begun;
    let interim = Some(InterimAnswers::of(&activity));
    let stream: Box<dyn ClientStream> = Box::new(stream);
    let stream = WatchedStream::new(stream, read_before, Arc::clone(&activity), None);
    let service = WatchedService::new(make_service(interim), Arc::clone(&activity), None);
    let connection = http1::serve(stream, settings.head, service);
    Box::pin(Drive::new(&activity, settings.patience, &drain, None).run(connection)).await
}

/// Half as much again as line and fields may have: what is over a limit of ours is refused by `gateway`, which says what
/// and why.
fn longest_head(limits: &Limits) -> usize {
    let both = limits.header_bytes.saturating_add(limits.uri_bytes);
    both.saturating_add(both / 2).max(SMALLEST_BUFFER)
}

fn http1_builder(limits: &Limits) -> hyper::server::conn::http1::Builder {
    let head = longest_head(limits);
    let mut builder = hyper::server::conn::http1::Builder::new();
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
