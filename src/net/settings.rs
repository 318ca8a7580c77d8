//! What `config` fills in for the sockets. Defaults are the hardened ones.

use std::net::SocketAddr;
use std::time::Duration;

/// One address to accept connections on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Port 0 takes any free port.
    pub address: SocketAddr,
    /// HTTP/2 in cleartext, by prior knowledge, beside HTTP/1.1.
    pub http2: bool,
}

/// Upper bounds on what a client may send or hold. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All header lines of a request together.
    pub header_bytes: usize,
    /// Number of header lines.
    pub headers: usize,
    /// The request target.
    pub uri_bytes: usize,
    /// The compact token, before anything of it is read.
    pub token_bytes: usize,
    /// A request body; a route can set its own.
    pub body_bytes: u64,
    /// Open client connections of the process.
    pub connections: usize,
    /// Likewise from one address (of IPv6: from one /64); `None`: no such bound.
    pub connections_per_address: Option<usize>,
    /// Requests of one connection before its client has to come back on another.
    pub requests_per_connection: u32,
    /// Bytes per second of a request body, on average over the time that its client is waited for; 0 for any.
    pub body_rate: u32,
    /// Streams that the client of one HTTP/2 connection may reset within ten seconds.
    pub http2_resets: u32,
    /// Concurrent streams of one HTTP/2 connection.
    pub http2_streams: u32,
    /// Open connections to one upstream server, per worker.
    pub upstream_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 << 10,
            headers: 100,
            uri_bytes: 8 << 10,
            token_bytes: 16 << 10,
            body_bytes: 10 << 20,
            connections: 10_000,
            connections_per_address: None,
            requests_per_connection: 10_000,
            body_rate: 240,
            http2_resets: 200,
            http2_streams: 100,
            upstream_connections: 1_024,
        }
    }
}

/// How long a client may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the accept or the end of the previous request to the first byte: see `idle` for the latter.
    pub first_byte: Duration,
    /// From the first byte of a request head to its last.
    pub header: Duration,
    /// Between two requests of one connection.
    pub idle: Duration,
    /// Age at which a connection ends with its next response, give or take a tenth.
    pub connection_age: Duration,
    /// Between two parts of a request body; also how long a client may leave what was sent to it unread.
    pub body: Duration,
    /// How long a stream or a tunnel may be silent, both ways.
    pub stream_idle: Duration,
    /// How long requests in flight may take once a drain has begun.
    pub drain: Duration,
    /// How long the gateway goes on accepting after it has said that it is not ready.
    pub pre_drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            connection_age: Duration::from_secs(3600),
            body: Duration::from_secs(30),
            stream_idle: Duration::from_secs(300),
            drain: Duration::from_secs(30),
            pre_drain: Duration::ZERO,
        }
    }
}
