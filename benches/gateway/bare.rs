//! The upstream, and the bare forward: the gateway's own listeners and connections and a raw pool, with nothing decided,
//! nothing edited and nothing counted.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use scopegate::net::{
    BoundListener, ConnectionSettings, ConnectionSlots, DrainWatcher, Limits, Protocol, Timeouts,
    accept_loop, drain, serve_connection,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Answers every request with 70 bytes of JSON.
pub(crate) fn upstream() {
    on_a_worker(|listener, slots, settings, drain| async move {
        let watcher = drain.clone();
        accept_loop(listener, slots, drain, move |stream, _peer| {
            let (settings, watcher) = (Rc::clone(&settings), watcher.clone());
            tokio::task::spawn_local(async move {
                let service = service_fn(|_request: Request<Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 70]))))
                });
                serve_connection(stream, Protocol::Http1, &settings, service, watcher).await
            });
        })
        .await;
    });
}

/// Forwards every request.
pub(crate) fn forward(upstream: &str, protocol: Protocol) {
    let upstream: SocketAddr = upstream.parse().expect("an address");
    on_a_worker(move |listener, slots, settings, drain| async move {
        let pool = Pool::default();
        let watcher = drain.clone();
        accept_loop(listener, slots, drain, move |stream, _peer| {
            let (settings, watcher, pool) = (Rc::clone(&settings), watcher.clone(), Rc::clone(&pool));
            tokio::task::spawn_local(async move {
                serve(stream, protocol, pool, upstream, &settings, watcher).await;
            });
        })
        .await;
    });
}

/// Serves one connection.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    protocol: Protocol,
    pool: Pool,
    upstream: SocketAddr,
    settings: &ConnectionSettings,
    watcher: DrainWatcher,
) {
    let service = service_fn(move |request| {
        let pool = Rc::clone(&pool);
        async move { Ok::<_, Infallible>(send(request, &pool, upstream).await) }
    });
    serve_connection(stream, protocol, settings, service, watcher).await;
}

async fn send(mut request: Request<Incoming>, idle: &Pool, upstream: SocketAddr) -> Response<Lent> {
    if request.version() == Version::HTTP_2 {
        to_http1(&mut request);
    }
    // It is about the client's connection, and would end the one to the upstream.
    request.headers_mut().remove(CONNECTION);
    let mut sender = take(idle, upstream).await;
    let response = sender.send_request(request).await.expect("an answer");
    let idle = Rc::clone(idle);
    response.map(|incoming| Lent {
        incoming,
        lease: Some((sender, idle)),
    })
}

/// A connection that stands: one from the pool, or a new one.
async fn take(idle: &Pool, upstream: SocketAddr) -> SendRequest<Incoming> {
    loop {
        let pooled = idle.borrow_mut().pop();
        let Some(mut sender) = pooled else {
            return connect(upstream).await;
        };
        if sender.ready().await.is_ok() {
            return sender;
        }
    }
}

/// What HTTP/2 asks of a forward: HTTP/1.1 has the host in a header.
fn to_http1(request: &mut Request<Incoming>) {
    let host = request.uri().authority().expect("an authority").as_str();
    let host = HeaderValue::from_str(host).expect("a host");
    request.headers_mut().insert(HOST, host);
    let path = request.uri().path_and_query().expect("a path").clone();
    *request.uri_mut() = Uri::from(path);
}

async fn connect(upstream: SocketAddr) -> SendRequest<Incoming> {
    let stream = TcpStream::connect(upstream).await.expect("the upstream");
    stream.set_nodelay(true).expect("no delay");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::task::spawn_local(async move { drop(connection.await) });
    sender
}

pub(crate) type Pool = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

/// A response body that gives its connection back at its end.
struct Lent {
    incoming: Incoming,
    lease: Option<(SendRequest<Incoming>, Pool)>,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, hyper::Error>>> {
        std::pin::Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((sender, idle)) = self.lease.take()
            && http_body::Body::is_end_stream(&self.incoming)
        {
            idle.borrow_mut().push(sender);
        }
    }
}

/// Runs one worker as `app` does, and says where it listens.
fn on_a_worker<F: Future<Output = ()>>(
    serve: impl FnOnce(tokio::net::TcpListener, Arc<ConnectionSlots>, Rc<ConnectionSettings>, DrainWatcher) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime");
    runtime.block_on(async {
        let listener = BoundListener::bind("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        let refused =
            prometheus::IntCounter::new("refused", "Connections over the limit.").expect("a counter");
        let (_trigger, watcher) = drain();
        // A load keeps its connections.
        let limits = Limits {
            requests_per_connection: u32::MAX,
            ..Limits::default()
        };
        let settings = Rc::new(ConnectionSettings::new(&limits, &Timeouts::default()));
        let attached = listener.attach().expect("a socket");
        println!("{}", listener.address());
        serve(
            attached,
            ConnectionSlots::new(10_000, None, refused),
            settings,
            watcher,
        )
        .await;
    });
}
