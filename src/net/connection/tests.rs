//! Clients that misbehave, on real sockets. Times are short, so each case states a lower and an upper bound.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::net::{ClientBody, DrainTrigger, client_service, drain};

/// Short, and each different, so that a test sees which one fired.
const PATIENCE: Timeouts = Timeouts {
    handshake: Duration::from_secs(5),
    stream_idle: Duration::from_secs(60),
    first_byte: Duration::from_millis(200),
    header: Duration::from_millis(300),
    idle: Duration::from_millis(600),
    connection_age: Duration::from_secs(3600),
    body: Duration::from_millis(400),
    drain: Duration::from_secs(1),
    pre_drain: Duration::ZERO,
};

type Ended = tokio::sync::mpsc::UnboundedReceiver<String>;

/// Whose HTTP/1.1 it is.
#[derive(Clone, Copy, Debug)]
enum By {
    Hyper,
    Us,
}

async fn answer<B: Body>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let slow = request.uri().path() == "/slow";
    let large = request.uri().path() == "/large";
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    if slow {
        sleep(Duration::from_millis(900)).await;
    }
    let body = if large {
        Bytes::from(vec![b'x'; 64 << 20])
    } else {
        body
    };
    Ok(Response::new(Full::new(body)))
}

async fn serve(by: By, protocol: Protocol) -> (SocketAddr, DrainTrigger, Ended) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, watcher) = drain();
    let (tell, ended) = tokio::sync::mpsc::unbounded_channel();
    tokio::task::spawn_local(async move {
        let settings = ConnectionSettings::new(&Limits::default(), &PATIENCE);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (settings, watcher, tell) = (settings.clone(), watcher.clone(), tell.clone());
            tokio::task::spawn_local(async move {
                // Not Send, as the services of the gateway are.
                let calls = Rc::new(Cell::new(0));
                let count = move || calls.set(calls.get() + 1);
                let end = match by {
                    By::Hyper => {
                        let service = service_fn(move |request| {
                            count();
                            answer(request)
                        });
                        serve_connection(stream, protocol, &settings, service, watcher).await
                    }
                    By::Us => {
                        let service = |_interim| {
                            client_service(move |request| {
                                count();
                                answer(Request::from(request))
                            })
                        };
                        serve_client(stream, protocol, &settings, service, watcher).await
                    }
                };
                let _ = tell.send(end.to_string());
            });
        }
    });
    (address, trigger, ended)
}

fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let test: Pin<Box<dyn Future<Output = F::Output> + '_>> = Box::pin(test);
    LocalSet::new().block_on(&runtime, test)
}

fn both(test: impl AsyncFn(By)) {
    for by in [By::Hyper, By::Us] {
        local(test(by));
    }
}

/// Reads until the server closes; `None` when it did not within two seconds.
async fn until_closed(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let read = timeout(Duration::from_secs(2), stream.read_to_end(&mut bytes))
        .await
        .ok()?;
    let _ = read;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

async fn closed_within(stream: &mut TcpStream, from: u64, to: u64) {
    let begin = Instant::now();
    assert!(until_closed(stream).await.is_some(), "still open");
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(from) && took < Duration::from_millis(to),
        "{took:?}"
    );
}

#[test]
fn a_silent_client_is_closed() {
    for protocol in [Protocol::Http1, Protocol::Http1OrHttp2Cleartext] {
        both(async |by| {
            let (address, _trigger, mut ended) = serve(by, protocol).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            closed_within(&mut stream, 150, 1_500).await;
            assert!(ended.recv().await.unwrap().contains("FirstByte"));
        });
    }
}

#[test]
fn a_partial_preface_is_closed() {
    both(async |by| {
        let (address, _trigger, mut ended) = serve(by, Protocol::Http1OrHttp2Cleartext).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HT").await.unwrap();
        closed_within(&mut stream, 150, 1_500).await;
        assert!(ended.recv().await.unwrap().contains("FirstByte"));
    });
}

#[test]
fn a_dribbled_head_is_closed() {
    for protocol in [Protocol::Http1, Protocol::Http1OrHttp2Cleartext] {
        both(async |by| {
            let (address, _trigger, mut ended) = serve(by, protocol).await;
            let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
            let begin = Instant::now();
            let dribble = tokio::task::spawn_local(async move {
                for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
                    if write.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            });
            let _ = timeout(Duration::from_secs(2), read.read(&mut [0; 64]))
                .await
                .expect("still open");
            let took = begin.elapsed();
            assert!(
                took >= Duration::from_millis(250) && took < Duration::from_millis(1_500),
                "{took:?}"
            );
            assert!(ended.recv().await.unwrap().contains("Head"));
            dribble.abort();
        });
    }
}

#[test]
fn a_later_head_that_stops_is_closed() {
    both(async |by| {
        let (address, _trigger, mut ended) = serve(by, Protocol::Http1).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .await
            .unwrap();
        let _answer = stream.read(&mut [0; 512]).await.unwrap();
        // The timer has fired for nothing meanwhile, and was set to the end of the pause; now it has to come sooner.
        sleep(PATIENCE.first_byte + Duration::from_millis(20)).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
        closed_within(&mut stream, 250, 1_500).await;
        assert!(ended.recv().await.unwrap().contains("Head"));
    });
}

#[test]
fn an_idle_connection_is_closed_later_than_a_silent_one() {
    for protocol in [Protocol::Http1, Protocol::Http1OrHttp2Cleartext] {
        both(async |by| {
            let (address, _trigger, mut ended) = serve(by, protocol).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            for _ in 0..3 {
                stream
                    .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
                    .await
                    .unwrap();
                let mut answer = [0; 512];
                let count = stream.read(&mut answer).await.unwrap();
                let answer = String::from_utf8_lossy(&answer[..count]);
                assert!(
                    answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"),
                    "{answer}"
                );
                sleep(Duration::from_millis(250)).await;
            }
            closed_within(&mut stream, 250, 1_500).await;
            assert!(ended.recv().await.unwrap().contains("Idle"));
        });
    }
}

#[test]
fn a_request_may_take_longer_than_every_wait_for_the_client() {
    both(async |by| {
        let (address, _trigger, _ended) = serve(by, Protocol::Http1).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        assert!(
            until_closed(&mut stream)
                .await
                .unwrap()
                .starts_with("HTTP/1.1 200")
        );
    });
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    both(async |by| {
        let (address, _trigger, mut ended) = serve(by, Protocol::Http1).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let end = timeout(Duration::from_secs(3), ended.recv())
            .await
            .expect("still open")
            .unwrap();
        assert!(end.contains("Write"), "{end}");
    });
}

#[test]
fn too_large_a_head_is_431() {
    both(async |by| {
        let (address, _trigger, _ended) = serve(by, Protocol::Http1).await;
        let many = "X-A: b\r\n".repeat(101);
        let long = format!("X-A: {}\r\n", "b".repeat(61 << 10));
        for headers in [many, long] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            let _ = stream.write_all(request.as_bytes()).await;
            let answer = until_closed(&mut stream).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    });
}

#[test]
fn http2_only_where_the_listener_has_it() {
    both(async |by| {
        let (address, _trigger, _ended) = serve(by, Protocol::Http1).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        // An HTTP/2 server would answer with SETTINGS.
        let answer = until_closed(&mut stream).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    });
}

#[test]
fn http2_serves_says_goodbye_when_idle_and_drains() {
    both(async |by| {
        let (address, trigger, mut ended) = serve(by, Protocol::Http1OrHttp2Cleartext).await;
        let connect = async || {
            let stream = TcpStream::connect(address).await.unwrap();
            let (sender, connection) =
                hyper::client::conn::http2::Builder::new(StreamExecutor(Arc::default()))
                    .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::task::spawn_local(connection);
            sender
        };
        let request = |path: &str| {
            Request::get(format!("http://a{path}"))
                .body(Empty::new())
                .unwrap()
        };

        let mut idle = connect().await;
        assert_eq!(idle.send_request(request("/")).await.unwrap().status(), 200);
        // The request takes 900 ms, longer than the idle time; then the idle time begins.
        assert_eq!(idle.send_request(request("/slow")).await.unwrap().status(), 200);
        let begin = Instant::now();
        let end = timeout(Duration::from_secs(3), ended.recv())
            .await
            .expect("still open")
            .unwrap();
        assert_eq!(end, "closed");
        assert!(
            begin.elapsed() >= Duration::from_millis(500),
            "{:?}",
            begin.elapsed()
        );

        let mut busy = connect().await;
        let in_flight = tokio::task::spawn_local(busy.send_request(request("/slow")));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(trigger.drain(Duration::from_secs(5)).await, 0);
        assert_eq!(in_flight.await.unwrap().unwrap().status(), 200);
        sleep(Duration::from_millis(20)).await;
        assert!(busy.send_request(request("/")).await.is_err());
    });
}

#[test]
fn a_drain_lets_a_request_end_and_closes_idle_connections_at_once() {
    both(async |by| {
        let (address, trigger, _ended) = serve(by, Protocol::Http1).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(idle.read(&mut [0; 512]).await.unwrap() > 0);
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        sleep(Duration::from_millis(100)).await;

        let begin = Instant::now();
        let drained = tokio::task::spawn_local(trigger.drain(Duration::from_secs(5)));
        closed_within(&mut idle, 0, 600).await;
        closed_within(&mut silent, 0, 600).await;
        let answer = until_closed(&mut busy).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
            "{answer}"
        );
        assert_eq!(drained.await.unwrap(), 0);
        assert!(begin.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn a_first_request_that_was_on_the_way_is_answered_in_a_drain() {
    for protocol in [Protocol::Http1, Protocol::Http1OrHttp2Cleartext] {
        both(async |by| {
            let (address, trigger, _ended) = serve(by, protocol).await;
            let mut late = TcpStream::connect(address).await.unwrap();
            let mut silent = TcpStream::connect(address).await.unwrap();
            // Until both are being served.
            while trigger.in_flight() < 2 {
                sleep(Duration::from_millis(1)).await;
            }
            let drained = tokio::task::spawn_local(trigger.drain(Duration::from_secs(5)));
            sleep(Duration::from_millis(20)).await;
            late.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            let answer = until_closed(&mut late).await.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
                "{protocol:?}: {answer}"
            );
            assert_eq!(until_closed(&mut silent).await.unwrap(), "");
            assert_eq!(drained.await.unwrap(), 0);
        });
    }
}

#[test]
fn a_drain_cuts_at_its_deadline() {
    both(async |by| {
        let (address, trigger, mut ended) = serve(by, Protocol::Http1).await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        sleep(Duration::from_millis(100)).await;
        trigger.drain(Duration::from_millis(200)).await;
        assert_eq!(until_closed(&mut busy).await.unwrap(), "");
        assert!(ended.recv().await.unwrap().contains("cut"));
    });
}

#[test]
fn an_upgraded_connection_goes_on_counting() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (trigger, watcher) = drain();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let settings = ConnectionSettings::new(&Limits::default(), &PATIENCE);
        let service = |_interim| {
            client_service(|request| async move {
                let upgrade = request.body.on_upgrade().unwrap();
                tokio::task::spawn_local(async move {
                    let mut tunnel = upgrade.await.unwrap();
                    let mut bytes = [0; 4];
                    tunnel.read_exact(&mut bytes).await.unwrap();
                    tunnel.write_all(&bytes).await.unwrap();
                    // Until the client closes.
                    let _ = tunnel.read(&mut bytes).await;
                });
                let response = Response::builder()
                    .status(101)
                    .header("upgrade", "echo")
                    .header("connection", "upgrade");
                Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
            })
        };
        let serving = async {
            serve_client(stream, Protocol::Http1, &settings, service, watcher).await;
            assert_eq!(trigger.in_flight(), 1);
        };
        let asking = async {
            let head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            client.write_all(head).await.unwrap();
            let mut answer = vec![0; 512];
            let count = client.read(&mut answer).await.unwrap();
            assert!(answer[..count].starts_with(b"HTTP/1.1 101"));
            sleep(Duration::from_millis(800)).await;
            client.write_all(b"ping").await.unwrap();
            client.read_exact(&mut answer[..4]).await.unwrap();
            assert_eq!(&answer[..4], b"ping");
        };
        tokio::join!(serving, asking);
        drop(client);
        sleep(Duration::from_millis(50)).await;
        assert_eq!(trigger.in_flight(), 0);
    });
}

/// Its body is over, and the next request has one of its own.
#[test]
fn a_body_that_is_kept_takes_nothing_from_the_next_request() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (_trigger, watcher) = drain();
        tokio::task::spawn_local(async move {
            let settings = ConnectionSettings::new(&Limits::default(), &PATIENCE);
            let kept = Rc::new(Cell::new(None));
            let service = |_interim| {
                client_service(move |request| {
                    let kept = Rc::clone(&kept);
                    async move {
                        let mut body = request.body;
                        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
                        if let Some(mut before) = kept.take() {
                            let before: &mut ClientBody = &mut before;
                            assert!(before.is_end_stream() && before.frame().await.is_none());
                        }
                        let rest = (&mut body).collect().await.unwrap().to_bytes();
                        kept.set(Some(body));
                        Ok::<_, Infallible>(Response::new(Full::new([first, rest].concat().into())))
                    }
                })
            };
            serve_client(stream, Protocol::Http1, &settings, service, watcher).await;
        });
        for _ in 0..3 {
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhe";
            client.write_all(head).await.unwrap();
            sleep(Duration::from_millis(30)).await;
            client.write_all(b"y!").await.unwrap();
            let mut answer = [0; 512];
            let reading = timeout(Duration::from_secs(2), client.read(&mut answer));
            let count = reading.await.expect("an answer").unwrap();
            assert!(answer[..count].ends_with(b"hey!"), "{count}");
        }
    });
}

#[test]
fn an_http2_client_that_ignores_the_goodbye_is_cut() {
    both(async |by| {
        let (address, _trigger, mut ended) = serve(by, Protocol::Http1OrHttp2Cleartext).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        // SETTINGS, empty; it acknowledges nothing.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let begin = Instant::now();
        let end = timeout(Duration::from_secs(5), ended.recv())
            .await
            .expect("still open")
            .unwrap();
        assert!(
            begin.elapsed() >= Duration::from_millis(550),
            "{end} {:?}",
            begin.elapsed()
        );
        assert!(end == "closed" || end.contains("Idle"), "{end}");
    });
}
