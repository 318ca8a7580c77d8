//! What stands between an accepted socket and HTTP: a PROXY header, TLS.
//!
//! A worker opens every connection with it. What a listener does not ask for costs a connection nothing, and a request
//! never anything.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::gateway::{CertificateField, Connection, ForwardedFields, Worker};
use crate::net::{
    ClientSocket, ConnectionEnd, ConnectionSettings, DrainWatcher, HandshakeEnd, InFlight, Protocol,
    ProxyError, ProxyVersions, TlsListener, TlsPeer, TrustedProxies, client_service, read_proxy_header,
    serve_client,
};
use crate::telemetry::Metrics;

/// How the connections of one listener begin. Shared by all workers.
#[derive(Debug)]
pub(super) struct Front {
    /// In cleartext; with TLS it is agreed upon.
    pub(super) protocol: Protocol,
    pub(super) tls: Option<Arc<TlsListener>>,
    pub(super) proxy_protocol: Option<ProxyVersions>,
    pub(super) proxies: TrustedProxies,
    pub(super) fields: ForwardedFields,
    pub(super) certificate_field: Option<CertificateField>,
    /// Until HTTP may begin.
    pub(super) patience: Duration,
    pub(super) proxy_headers: ProxyHeaders,
    pub(super) metrics: Metrics,
}

/// Counters of connections that had to begin with a PROXY header.
#[derive(Clone, Debug)]
pub(super) struct ProxyHeaders {
    ok: IntCounter,
    untrusted: IntCounter,
    malformed: IntCounter,
    timed_out: IntCounter,
    gone: IntCounter,
}

/// What a connection is served with.
pub(super) struct Serving {
    pub(super) worker: Rc<Worker>,
    pub(super) settings: Rc<ConnectionSettings>,
    pub(super) drain: DrainWatcher,
}

impl Front {
    /// Those whose connections are their clients'.
    pub(super) fn speaks_for(&self) -> TrustedProxies {
        match self.proxy_protocol {
            Some(_) => self.proxies.clone(),
            None => TrustedProxies::default(),
        }
    }

    /// Serves a connection from its first byte to its end.
    pub(super) async fn serve(&self, socket: ClientSocket, peer: SocketAddr, serving: Serving) {
        if self.tls.is_none() && self.proxy_protocol.is_none() {
            return self.speak(socket, self.protocol, peer, None, serving).await;
        }
        // What only some connections need must not make the others larger.
        Box::pin(self.open(socket, peer, serving)).await;
    }

    async fn open(&self, mut socket: ClientSocket, peer: SocketAddr, serving: Serving) {
        let deadline = Instant::now() + self.patience;
        let opening: InFlight = serving.drain.enter();
        let peer = match self.named(&mut socket, peer, deadline).await {
            Ok(named) => named,
            Err(error) => return tracing::debug!(%peer, %error, "connection closed"),
        };
        let Some(tls) = &self.tls else {
            drop(opening);
            return self.speak(socket, self.protocol, peer, None, serving).await;
        };
        match tls.accept(socket, deadline).await {
            Ok((stream, protocol, tls)) => {
                drop(opening);
                self.speak(stream, protocol, peer, Some(tls), serving).await;
            }
            Err(end) => log_end(peer, end),
        }
    }

    /// The client, as the proxy in front names it.
    async fn named(
        &self,
        socket: &mut ClientSocket,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Result<SocketAddr, ProxyError> {
        let Some(versions) = self.proxy_protocol else {
            return Ok(peer);
        };
        let read = if self.proxies.contains(peer.ip()) {
            read_proxy_header(socket, versions, deadline).await
        } else {
            Err(ProxyError::Untrusted)
        };
        self.proxy_headers.count(&read.as_ref().err().copied());
        // A proxy that speaks for itself is bounded by nothing but the number of all connections.
        let Some(client) = read?.source else {
            return Ok(peer);
        };
        if socket.is_of(client.ip()) {
            Ok(client)
        } else {
            Err(ProxyError::TooMany)
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        protocol: Protocol,
        peer: SocketAddr,
        tls: Option<TlsPeer>,
        serving: Serving,
    ) {
        let Serving {
            worker,
            settings,
            drain,
        } = serving;
        let connection = Connection::new(peer, tls, &self.proxies, self.fields);
        let connection = connection.with_certificate_field(self.certificate_field);
        let service = |interim| {
            let connection = Rc::new(connection.with_interim_answers(interim));
            client_service(move |request| Rc::clone(&worker).serve(Rc::clone(&connection), request))
        };
        let end = serve_client(stream, protocol, &settings, service, drain).await;
        ended(&self.metrics, peer, &end);
    }
}

fn log_end(peer: SocketAddr, end: HandshakeEnd) {
    tracing::debug!(%peer, end = end.name(), "no TLS connection");
}

impl ProxyHeaders {
    /// The series of a family with the label `result`.
    pub(super) fn new(family: &IntCounterVec) -> Self {
        let result = |result| family.with_label_values(&[result]);
        Self {
            ok: result("ok"),
            untrusted: result("untrusted"),
            malformed: result("malformed"),
            timed_out: result("timeout"),
            gone: result("gone"),
        }
    }

    fn count(&self, error: &Option<ProxyError>) {
        match error {
            // What is wrong then is not the header.
            None | Some(ProxyError::TooMany) => self.ok.inc(),
            Some(ProxyError::Untrusted) => self.untrusted.inc(),
            Some(ProxyError::Malformed) => self.malformed.inc(),
            Some(ProxyError::TimedOut) => self.timed_out.inc(),
            Some(ProxyError::Gone) => self.gone.inc(),
        }
    }
}

/// Counts how a connection ended where that is worth knowing. What is no request shows here alone.
fn ended(metrics: &Metrics, peer: SocketAddr, end: &ConnectionEnd) {
    match end.kind() {
        Some(kind) => {
            metrics.connection_errors(kind).inc();
            tracing::debug!(%peer, kind, %end, "connection");
        }
        None => tracing::trace!(%peer, %end, "connection"),
    }
}
