//! What `config` fills in for the sockets. Defaults are the hardened ones.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

/// One address to accept connections on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Port 0 takes any free port.
    pub address: SocketAddr,
    /// HTTP/2 beside HTTP/1.1: by ALPN where there is TLS, by prior knowledge otherwise.
    pub http2: bool,
    /// `None`: cleartext.
    pub tls: Option<TlsSettings>,
    /// What a proxy in front must send before anything else; `None`: nothing.
    pub proxy_protocol: Option<ProxyVersions>,
}

/// TLS on one listener. The files are read again when they change; what is written here changes with a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// At least one; the first is shown to clients that ask for no name that another is for.
    pub pairs: Vec<PairFiles>,
    /// PEM certificates of the authorities that issue client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_certificate: ClientCertificate,
    /// The lowest version that is spoken.
    pub min_version: TlsVersion,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// PEM: the certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub private_key: PathBuf,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None is asked for.
    #[default]
    Off,
    /// One is asked for. Who has none may still come; one that is not good ends the handshake.
    Optional,
    /// Who has none is turned away.
    Required,
}

/// A version of TLS; there are none below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246, with forward secrecy and AEAD only.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// Which versions of the PROXY protocol are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersions {
    /// Text.
    V1,
    /// Binary.
    V2,
    /// Either.
    Any,
}

/// The peers that may speak for others. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Those within one of these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The networks.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }

    /// Whether this peer is trusted. An IPv4 address that is written as one of IPv6 is the IPv4 address.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }
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
    /// Bytes per second of a response, on average over the time in which its client does not take what is there; 0 for
    /// any.
    pub response_rate: u32,
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
            response_rate: 240,
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
    /// From the accept to the end of the TLS handshake; a PROXY header has to come in it as well.
    pub handshake: Duration,
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
            handshake: Duration::from_secs(5),
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
