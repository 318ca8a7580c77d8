//! Sockets: accepting, serving HTTP on them, connecting, draining. It knows nothing of tokens or routes.

mod settings;
mod drain;
mod open_files;
mod pressure;
mod slots;
mod listener;
mod balance;
mod frames;
mod interim;
mod activity;
mod streams;
mod watched;
pub(crate) mod http1;
mod connection;
mod proxy_protocol;
mod tls;
mod connector;
mod fetch;
mod probe;
mod throttle;

pub use activity::Overdue;
pub use balance::{Handed, Place, worker_places};
pub use connection::{ConnectionEnd, ConnectionSettings, Protocol, serve_client, serve_connection};
pub use connector::{
    AddressRule, Alpn, ClientTls, ConnectError, Destination, PemIdentity, TrustError, UpstreamStream, connect,
};
pub use drain::{DrainTrigger, DrainWatcher, InFlight, drain};
pub use fetch::{FetchError, Fetched, Fetcher};
pub use http1::{
    ClientBody, ClientBodyError, ClientRequest, ClientService, Fault as Http1Fault, Http1Body, OnUpgrade,
    Upgraded, client_service,
};
pub use interim::InterimAnswers;
pub use listener::{BoundListener, ClientSocket, accept_from_proxies, accept_loop};
pub use open_files::{connections_for, raise_open_files};
pub use pressure::{MemoryLevel, MemoryPressure};
pub use probe::{ProbeError, probe};
pub use proxy_protocol::{ProxyError, ProxyHeader, parse as parse_proxy_header, read_proxy_header};
pub use settings::{
    ClientCertificate, Limits, ListenerSettings, PairFiles, ProxyVersions, Timeouts, TlsSettings, TlsVersion,
    TrustedProxies,
};
pub use slots::ConnectionSlots;
pub use throttle::{Attempt, Rate, Throttle, network};
pub use tls::{
    Contents, Expiry, HandshakeEnd, Identities, PairFault, Role, ServerTls, TlsFault, TlsFile, TlsListener,
    TlsPeer, certificate_expiry,
};
