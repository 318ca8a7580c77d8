//! HTTP of the authority: one listener, bounded requests, and which part answers which path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use prometheus::IntCounter;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{Authority, management, oauth};
use crate::net::{
    BoundListener, ClientSocket, ConnectionSettings, ConnectionSlots, DrainWatcher, Limits, Protocol,
    Timeouts, TlsListener, TlsPeer, accept_loop, serve_connection,
};

/// A whole request.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// As it was sent, percent-encoding and all.
    pub path: String,
    /// Behind the question mark, as it was sent; empty where there is none.
    pub query: String,
    /// Header fields.
    pub headers: HeaderMap,
    /// At most 1 MiB.
    pub body: Bytes,
    /// Who sent it.
    pub peer: SocketAddr,
    /// What is known of the TLS connection.
    pub tls: Option<Arc<TlsPeer>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A status without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// JSON. Nothing that the authority answers may be kept by a cache, unless it says so.
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
        }
        .with(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        )
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    /// Sets a header field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Serves until the drain begins. Must run on a local runtime of one thread.
///
/// # Errors
/// The listener cannot be attached to this runtime.
pub async fn serve_authority(
    authority: Arc<Authority>,
    listener: &BoundListener,
    tls: Option<Arc<TlsListener>>,
    drain: DrainWatcher,
) -> std::io::Result<()> {
    let listener = listener.attach()?;
    let refused = IntCounter::new("refused", "Connections over the limit.").map_err(std::io::Error::other)?;
    let slots = ConnectionSlots::new(CONNECTIONS, None, refused);
    let timeouts = Timeouts::default();
    let handshake = timeouts.handshake;
    let settings = Arc::new(ConnectionSettings::new(&Limits::default(), &timeouts));
    let watcher = drain.clone();
    accept_loop(listener, slots, drain, move |socket, peer| {
        let front = Front {
            authority: Arc::clone(&authority),
            settings: Arc::clone(&settings),
            drain: watcher.clone(),
            peer,
        };
        let tls = tls.clone();
        tokio::task::spawn_local(async move { front.open(socket, tls, handshake).await });
    })
    .await;
    Ok(())
}

/// What one connection is served with.
struct Front {
    authority: Arc<Authority>,
    settings: Arc<ConnectionSettings>,
    drain: DrainWatcher,
    peer: SocketAddr,
}

impl Front {
    async fn open(self, socket: ClientSocket, tls: Option<Arc<TlsListener>>, patience: Duration) {
        let Some(tls) = tls else {
            return self.speak(socket, Protocol::Http1OrHttp2Cleartext, None).await;
        };
        match tls.accept(socket, Instant::now() + patience).await {
            Ok((stream, protocol, peer)) => self.speak(stream, protocol, Some(Arc::new(peer))).await,
            Err(end) => tracing::debug!(peer = %self.peer, end = end.name(), "no TLS connection"),
        }
    }

    async fn speak<S>(self, stream: S, protocol: Protocol, tls: Option<Arc<TlsPeer>>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let Self {
            authority,
            settings,
            drain,
            peer,
        } = self;
        let service = service_fn(move |request| {
            let (authority, tls) = (Arc::clone(&authority), tls.clone());
            async move { Ok::<_, Infallible>(serve(&authority, request, peer, tls).await) }
        });
        let end = serve_connection(stream, protocol, &settings, service, drain).await;
        tracing::debug!(%peer, %end, "connection to the authority ended");
    }
}

async fn serve(
    authority: &Authority,
    request: http::Request<Incoming>,
    peer: SocketAddr,
    tls: Option<Arc<TlsPeer>>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let answer = match timeout(BODY_PATIENCE, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(body)) => {
            let request = Request {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                headers: head.headers,
                body: body.to_bytes(),
                peer,
                tls,
            };
            answer(authority, &request).await
        }
        Ok(Err(_too_large_or_broken)) => Answer::empty(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_elapsed) => Answer::empty(StatusCode::REQUEST_TIMEOUT),
    };
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// Which part answers.
async fn answer(authority: &Authority, request: &Request) -> Answer {
    let path = request.path.as_str();
    if path.starts_with("/api/v2/") {
        return management::answer(authority, request).await;
    }
    oauth::answer(authority, request).await
}

/// As the Management API documents it.
const LARGEST_BODY: usize = 1 << 20;
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// At a time.
const CONNECTIONS: usize = 1_000;
