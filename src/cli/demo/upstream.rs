//! The API of the demo: it answers what it was asked, on a thread of its own.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Map, Value, json};

use crate::net::{
    BoundListener, ConnectionSettings, ConnectionSlots, DrainWatcher, Limits, Protocol, Timeouts,
    accept_loop, serve_connection,
};

/// Serves on a free port until the drain. Returns its address.
pub(super) fn serve(drain: DrainWatcher) -> io::Result<SocketAddr> {
    let listener = BoundListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?;
    let address = listener.address();
    let refused = prometheus::IntCounter::new("refused", "Connections over the limit.");
    let slots = ConnectionSlots::new(1_000, None, refused.map_err(io::Error::other)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new().name("demo".into()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let Ok(listener) = listener.attach() else { return };
            let settings = Arc::new(ConnectionSettings::new(&Limits::default(), &Timeouts::default()));
            let watcher = drain.clone();
            accept_loop(listener, slots, drain, move |stream, _peer| {
                let (settings, watcher) = (Arc::clone(&settings), watcher.clone());
                tokio::task::spawn_local(async move {
                    let service = service_fn(|request| async move { Ok::<_, Infallible>(echo(&request)) });
                    serve_connection(stream, Protocol::Http1, &settings, service, watcher).await
                });
            })
            .await;
        });
    })?;
    Ok(address)
}

/// The request as it arrived, without the credential.
fn echo(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != http::header::AUTHORIZATION)
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), Value::from(value))
        })
        .collect();
    let body =
        json!({ "method": request.method().as_str(), "path": request.uri().path(), "headers": headers });
    let mut response = Response::new(Full::new(Bytes::from(format!("{body:#}\n"))));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
