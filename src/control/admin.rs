//! The admin listener: `/metrics`, `/livez`, `/readyz`, `/config`, and `/revocations` where it was asked for.
//!
//! Runs on the control runtime, so that a large scrape never slows a request. It shows and, but for revocations, changes
//! nothing; the
//! configuration that it shows was redacted by `config`. It binds to loopback unless it is told otherwise, and there it
//! answers only requests whose `Host` is this machine: a web page that has its name resolve to 127.0.0.1 (DNS rebinding)
//! sends its own name.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use prometheus::IntCounter;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::push::revocations;
use super::revocations::RevocationDesk;
use crate::net::{
    BoundListener, ConnectionSettings, ConnectionSlots, DrainWatcher, Limits, Protocol, Timeouts,
    accept_loop, serve_connection,
};
use crate::telemetry::{Metrics, Readiness};

/// What the admin listener shows.
#[derive(Clone, Debug)]
pub struct Admin {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/config`: JSON without secrets, replaced with each reload.
    pub config: Arc<ArcSwap<String>>,
    /// For `/revocations`.
    pub revocations: Option<Arc<RevocationDesk>>,
}

/// Serves until the drain begins. Must run on the control runtime.
///
/// # Errors
/// The listener cannot be attached to this runtime.
pub async fn serve_admin(listener: &BoundListener, admin: Admin, drain: DrainWatcher) -> std::io::Result<()> {
    let hosts = Hosts::for_address(listener.address());
    let listener: TcpListener = listener.attach()?;
    // Not `connections_refused_total`: that one is about clients of the gateway.
    let refused =
        IntCounter::new("refused", "Admin connections over the limit.").map_err(std::io::Error::other)?;
    let slots = ConnectionSlots::new(CONNECTIONS, None, refused);
    let settings = Arc::new(ConnectionSettings::new(&Limits::default(), &Timeouts::default()));
    let admin = Arc::new(admin);
    let watcher = drain.clone();
    accept_loop(listener, slots, drain, move |stream, peer| {
        let (admin, settings, watcher) = (Arc::clone(&admin), Arc::clone(&settings), watcher.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(admin.serve(request, hosts).await) }
            });
            let serving = serve_connection(stream, Protocol::Http1, &settings, service, watcher);
            if let Ok(end) = timeout(CONNECTION_LIFE, serving).await {
                tracing::trace!(%peer, %end, "admin connection");
            }
        });
    })
    .await;
    Ok(())
}

impl Admin {
    async fn serve(&self, request: Request<Incoming>, hosts: Hosts) -> Response<Full<Bytes>> {
        let desk = self
            .revocations
            .as_ref()
            .filter(|_| request.uri().path() == "/revocations" && hosts.allow(&request));
        match desk {
            None => self.answer(&request, hosts),
            Some(desk) => {
                let told = revocations(desk, request).await;
                let mut told = told.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "nobody may push here\n"));
                let no_store = http::HeaderValue::from_static("no-store");
                told.headers_mut().insert(CACHE_CONTROL, no_store);
                told
            }
        }
    }

    fn answer<B>(&self, request: &Request<B>, hosts: Hosts) -> Response<Full<Bytes>> {
        if !hosts.allow(request) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "this host name is not served here\n",
            );
        }
        let mut response = match request.uri().path() {
            "/metrics" | "/livez" | "/readyz" | "/config" if !is_read(request.method()) => {
                let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
                refused
                    .headers_mut()
                    .insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
                refused
            }
            "/metrics" => self.metrics(),
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(),
            "/config" => answer(StatusCode::OK, JSON, String::clone(&self.config.load())),
            _ => text(StatusCode::NOT_FOUND, "/metrics /livez /readyz /config\n"),
        };
        response
            .headers_mut()
            .insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
        response
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        match self.metrics.encode() {
            Ok(metrics) => answer(StatusCode::OK, prometheus::TEXT_FORMAT, metrics),
            Err(error) => {
                tracing::error!(%error, "cannot encode the metrics");
                text(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics\n")
            }
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        match self.readiness.ready() {
            Ok(()) => answer(StatusCode::OK, JSON, json!({ "ready": true }).to_string()),
            Err(missing) => {
                let body = json!({ "ready": false, "missing": missing });
                answer(StatusCode::SERVICE_UNAVAILABLE, JSON, body.to_string())
            }
        }
    }
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// hyper leaves the body of an answer to HEAD away by itself.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body.into())
}

/// Which `Host` is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hosts {
    /// Bound to loopback: `localhost` or a loopback address.
    ThisMachine,
    /// Bound elsewhere, on purpose: whoever can route to it may ask, by any name (a scraper may use the name of the
    /// pod). There rebinding gains nothing that the network does not already give.
    Any,
}

impl Hosts {
    fn for_address(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_loopback() {
            Self::ThisMachine
        } else {
            Self::Any
        }
    }

    /// Exactly one `Host`, and a name that is ours.
    fn allow<B>(self, request: &Request<B>) -> bool {
        let mut hosts = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let Some(authority) = host
            .to_str()
            .ok()
            .and_then(|host| host.parse::<http::uri::Authority>().ok())
        else {
            return false;
        };
        if self == Self::Any {
            return true;
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_local = host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback());
        is_local && !authority.as_str().contains('@')
    }
}

pub(super) const JSON: &str = "application/json";
/// At a time.
const CONNECTIONS: usize = 64;
/// A scraper that keeps its connection makes a new one now and then; a stuck one does not hold a place for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::net::drain;

    fn admin() -> Admin {
        Admin {
            metrics: Metrics::new(&Registry::new(), &["ok"]).unwrap(),
            readiness: Readiness::new(),
            config: Arc::new(ArcSwap::from_pointee(r#"{"secret":"[redacted]"}"#.into())),
            revocations: None,
        }
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn shows_what_there_is() {
        let bound = BoundListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.address();
        let (trigger, watcher) = drain();
        let admin = admin();
        let readiness = admin.readiness.clone();
        let serving = tokio::spawn(async move { serve_admin(&bound, admin, watcher).await });
        let get = async |path: &str| {
            ask(
                address,
                &format!("GET {path} HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n"),
            )
            .await
        };

        assert!(get("/livez").await.starts_with("HTTP/1.1 200"));
        let ready = get("/readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 200") && ready.ends_with(r#"{"ready":true}"#),
            "{ready}"
        );
        let missing = readiness.missing("issuer https://a/: no keys yet");
        let ready = get("/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        assert!(ready.contains("issuer https://a/: no keys yet"), "{ready}");
        drop(missing);
        assert!(get("/metrics").await.contains("scopegate_build_info{version="));
        assert!(get("/config?x=1").await.ends_with(r#"{"secret":"[redacted]"}"#));
        assert!(get("/").await.starts_with("HTTP/1.1 404"));

        let head = ask(
            address,
            "HEAD /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(
            head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        let post = ask(
            address,
            "POST /config HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(
            post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"),
            "{post}"
        );
        let rebound = ask(
            address,
            "GET /config HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(
            rebound.starts_with("HTTP/1.1 421") && !rebound.contains("redacted"),
            "{rebound}"
        );

        trigger.drain(Duration::from_secs(1)).await;
        serving.await.unwrap().unwrap();
    }

    #[test]
    fn host_names_that_are_this_machine() {
        let allowed = |hosts: Hosts, values: &[&str]| {
            let mut request = Request::get("/");
            for value in values {
                request = request.header(HOST, *value);
            }
            hosts.allow(&request.body(()).unwrap())
        };
        let local = Hosts::for_address("127.0.0.1:9901".parse().unwrap());
        for host in [
            "localhost",
            "LOCALHOST:9901",
            "127.0.0.1",
            "127.0.0.9:1",
            "[::1]:9901",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(allowed(local, &[host]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "user@localhost",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "",
            "a b",
        ] {
            assert!(!allowed(local, &[host]), "{host}");
        }
        assert!(!allowed(local, &[]));
        assert!(!allowed(local, &["localhost", "localhost"]));
        let open = Hosts::for_address("0.0.0.0:9901".parse().unwrap());
        assert!(allowed(open, &["10.0.0.1:9901"]) && allowed(open, &["pod.example"]));
        assert!(!allowed(open, &[]));
    }
}
