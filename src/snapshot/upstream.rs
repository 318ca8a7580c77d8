//! Upstreams as they were configured: the servers of an API, how they are spoken to, and how long they may take.
//!
//! `config::resolve` makes them, the gateway connects with them, `control` checks them. Plain data: a TLS client is
//! only carried through, and no address is resolved here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::uri::PathAndQuery;
use rustls::ClientConfig;

/// The servers of an API, and how long they may take.
#[derive(Clone, Debug)]
pub struct UpstreamPlan {
    /// At least one.
    pub servers: Vec<ServerAddress>,
    /// What the servers speak.
    pub protocol: UpstreamProtocol,
    /// Present exactly where the servers are `https`.
    pub tls: Option<Arc<UpstreamTls>>,
    /// Until a connection stands, with its TLS handshake. Default 1 s.
    pub connect_timeout: Duration,
    /// Until the response head is there. Default 15 s.
    pub timeout: Duration,
    /// Between two parts of a body. Default 60 s.
    pub idle_timeout: Duration,
    /// How the servers are asked whether they are well. `None`: they are not asked.
    pub health: Option<HealthPlan>,
    /// When a server is passed over because of what requests met there.
    pub ejection: EjectionPlan,
    /// How requests wait for a connection.
    pub waiting: WaitingPlan,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN where there is TLS, by prior knowledge where there is none.
    Http2,
}

/// Where one upstream server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// A TCP port.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// 80 or 443 where none was written.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A TLS client with its trusted authorities, its certificate and its ALPN.
///
/// Equal to another that was made of the same files in the same way, whenever that was: connections outlive a reload.
pub struct UpstreamTls {
    /// SHA-256 over everything that the client was made of.
    pub identity: [u8; 32],
    /// The client itself.
    pub client: Arc<ClientConfig>,
    /// The name that certificates must be for. `None`: the host of each server.
    pub server_name: Option<String>,
    /// The files, to be shown.
    pub files: TlsFiles,
}

/// The files that a TLS client was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// The client's own certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub private_key: Option<PathBuf>,
}

/// How a server is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthPlan {
    /// What is asked for, with GET.
    pub path: PathAndQuery,
    /// Between two checks, give or take a tenth. Default 10 s.
    pub interval: Duration,
    /// From connect to the response head. Default 2 s.
    pub timeout: Duration,
    /// So many good answers in a row make a server well again. Default 2.
    pub healthy: u32,
    /// So many bad ones make it unwell. Default 3.
    pub unhealthy: u32,
    /// Good answers; empty: every 2xx.
    pub statuses: Vec<StatusCode>,
}

/// When a server is passed over because of what requests met there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionPlan {
    /// So many connections refused or broken off in a row; 0: never. Default 5.
    pub failures: u32,
    /// For how long the first time; doubled each further time until a request is answered. Default 10 s.
    pub time: Duration,
    /// The longest time. Default 5 min.
    pub max_time: Duration,
}

/// How requests wait where a server has as many connections as are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingPlan {
    /// At most so many, per server and worker. Default 1024.
    pub requests: usize,
    /// At most so long. Default 1 s.
    pub timeout: Duration,
}

/// One server with everything that a connection to it depends on: connections to equal endpoints are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it is.
    pub address: ServerAddress,
    /// What it speaks.
    pub protocol: UpstreamProtocol,
    /// How its certificate is checked; `None`: cleartext.
    pub tls: Option<Arc<UpstreamTls>>,
}

impl UpstreamPlan {
    /// HTTP/1.1 in cleartext to these servers, everything else by default.
    pub fn to(servers: Vec<ServerAddress>) -> Self {
        Self {
            servers,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            health: None,
            ejection: EjectionPlan::default(),
            waiting: WaitingPlan::default(),
        }
    }

    /// The endpoint at one of the addresses.
    pub fn endpoint(&self, address: &ServerAddress) -> Endpoint {
        Endpoint {
            address: address.clone(),
            protocol: self.protocol,
            tls: self.tls.clone(),
        }
    }
}

impl Default for EjectionPlan {
    fn default() -> Self {
        Self {
            failures: 5,
            time: Duration::from_secs(10),
            max_time: Duration::from_secs(300),
        }
    }
}

impl Default for WaitingPlan {
    fn default() -> Self {
        Self {
            requests: 1_024,
            timeout: Duration::from_secs(1),
        }
    }
}

impl ServerAddress {
    /// A TCP port.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp {
            host: host.into(),
            port,
        }
    }

    /// The host; `None` for a socket in the file system.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix(_) => None,
        }
    }

    /// The path of a socket in the file system.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl std::fmt::Display for ServerAddress {
    /// `host:port`, with brackets around an IPv6 address, or `unix:/path`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity && self.server_name == other.server_name
    }
}

impl Eq for UpstreamTls {}

impl std::hash::Hash for UpstreamTls {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
        self.server_name.hash(state);
    }
}

impl std::fmt::Debug for UpstreamTls {
    /// Without the client, which holds a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("server_name", &self.server_name)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
