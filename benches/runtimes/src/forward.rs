//! The bare forward, in each shape, and the upstream behind it. Everything that differs between two shapes is here.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape(pub(crate) Runtime, pub(crate) Accepting, pub(crate) Client);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Runtime {
    /// The multi-threaded one: tasks go to whichever thread is free.
    Shared,
    /// A current-thread one for each thread.
    Own,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Accepting {
    /// Every runtime accepts on the same socket.
    OneSocket,
    /// `SO_REUSEPORT`: the kernel deals connections out by a hash of their addresses.
    OwnSockets,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    /// Its pool.
    HyperUtil,
    /// `hyper::client::conn`, and a list of those that are idle.
    ByHand,
}

/// How requests go on; of a runtime.
#[derive(Clone)]
enum Upstream {
    HyperUtil(
        hyper_util::client::legacy::Client<HttpConnector, Incoming>,
        SocketAddr,
    ),
    ByHand(Idle, SocketAddr),
}

type Idle = Arc<Mutex<Vec<SendRequest<Incoming>>>>;

impl Upstream {
    fn new(client: Client, to: SocketAddr) -> Self {
        match client {
            Client::HyperUtil => {
                let mut connector = HttpConnector::new();
                connector.set_nodelay(true);
                Self::HyperUtil(
                    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector),
                    to,
                )
            }
            Client::ByHand => Self::ByHand(Idle::default(), to),
        }
    }

    async fn send(&self, mut request: Request<Incoming>) -> Response<Either<Incoming, Lent>> {
        match self {
            Self::HyperUtil(client, to) => {
                let path = request.uri().path_and_query().expect("a path").as_str();
                *request.uri_mut() = Uri::builder()
                    .scheme("http")
                    .authority(to.to_string())
                    .path_and_query(path)
                    .build()
                    .expect("a target");
                client
                    .request(request)
                    .await
                    .expect("an answer")
                    .map(Either::Left)
            }
            Self::ByHand(idle, to) => {
                let mut sender = take(idle, *to).await;
                let response = sender.send_request(request).await.expect("an answer");
                let idle = Arc::clone(idle);
                response.map(|incoming| {
                    Either::Right(Lent {
                        incoming,
                        lease: Some((sender, idle)),
                    })
                })
            }
        }
    }
}

/// One that stands, or a new one.
async fn take(idle: &Idle, to: SocketAddr) -> SendRequest<Incoming> {
    loop {
        let kept = idle.lock().expect("no panic").pop();
        let Some(mut sender) = kept else {
            let stream = TcpStream::connect(to).await.expect("the upstream");
            stream.set_nodelay(true).expect("no delay");
            let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
            tokio::spawn(async move { drop(connection.await) });
            return sender;
        };
        if sender.ready().await.is_ok() {
            return sender;
        }
    }
}

/// A body that gives its connection back at its end.
struct Lent {
    incoming: Incoming,
    lease: Option<(SendRequest<Incoming>, Idle)>,
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((sender, idle)) = self.lease.take()
            && self.incoming.is_end_stream()
        {
            idle.lock().expect("no panic").push(sender);
        }
    }
}

/// Forwards every request until the parent ends it; says first where it listens.
pub(crate) fn run(Shape(runtime, accepting, client): Shape, threads: usize, upstream: SocketAddr) {
    let first = listener("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    let address = first.local_addr().expect("an address");
    let mut listeners = vec![first];
    match runtime {
        Runtime::Shared => {
            println!("{address}");
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_all()
                .build()
                .expect("a runtime");
            let listener = listeners.remove(0);
            // On a worker, not on the thread that blocks here.
            let accepting =
                runtime.spawn(async move { serve(listener, Upstream::new(client, upstream)).await });
            runtime.block_on(accepting).expect("no panic");
        }
        Runtime::Own => {
            for _ in 1..threads {
                listeners.push(match accepting {
                    Accepting::OneSocket => listeners[0].try_clone().expect("a socket"),
                    Accepting::OwnSockets => listener(address).expect("a socket"),
                });
            }
            println!("{address}");
            thread::scope(|scope| {
                for listener in listeners {
                    scope.spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                        runtime
                            .expect("a runtime")
                            .block_on(serve(listener, Upstream::new(client, upstream)));
                    });
                }
            });
        }
    }
}

async fn serve(listener: StdListener, upstream: Upstream) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((stream, _peer)) = listener.accept().await else {
            continue;
        };
        stream.set_nodelay(true).expect("no delay");
        let upstream = upstream.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| async { Ok::<_, Infallible>(upstream.send(request).await) });
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

fn listener(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    Ok(socket.into())
}

/// Answers every request with 70 bytes.
pub(crate) fn upstream() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = listener("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        println!("{}", listener.local_addr().expect("an address"));
        let listener = TcpListener::from_std(listener).expect("a listener");
        loop {
            let Ok((stream, _peer)) = listener.accept().await else {
                continue;
            };
            stream.set_nodelay(true).expect("no delay");
            tokio::spawn(async move {
                let service = service_fn(|_request: Request<Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 70]))))
                });
                drop(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
}
