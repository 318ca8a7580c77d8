//! Upstreams that are killed, hung, slow or lying: the client gets the right status or a body that visibly breaks off,
//! the request is sent once, and nothing of it is found in the next response.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::client::head;
use crate::harness::gateway::ITEMS;
use crate::harness::server::Server;
use crate::harness::{Behaviour, DEADLINE, Gateway, Issuer, Upstream, eventually};

/// One worker, public routes, and this upstream.
fn gateway(issuer: &Issuer, url: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "workers: 1
limits: {{ body_bytes: 64MiB }}
issuers: [{{ issuer: {issuer} }}]
apis:
  - definition: {{ identifier: {ITEMS}, signing_alg: RS256 }}
    upstream: {{ servers: ['{url}']{more} }}
    routes: [{{ path: '/p/{{*rest}}', require: public }}, {{ path: /short, require: public, timeout: 300ms }}]
",
        issuer = issuer.identifier(),
    ))
}

/// What a client sees of a response that was sent wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// `upstream_protocol`.
    BadGateway,
    /// The head, and then an end that cannot be taken for the end of the body.
    CutShort,
    /// This body, whole.
    Whole(&'static [u8]),
}

use Seen::{BadGateway, CutShort, Whole};

/// Responses as bytes, with what must become of each. Each is tried with the connection closed after it, and kept.
const LIES: [(&str, &str, &[u8], Seen); 31] = [
    // Framing that can be read twice, or not at all.
    ("two lengths", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", BadGateway),
    ("a list of lengths", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nxxx", BadGateway),
    ("a signed length", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nxx", BadGateway),
    ("a length that overflows", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\nxx", BadGateway),
    ("length and coding", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", BadGateway),
    ("coding and length", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n", BadGateway),
    ("chunked twice", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", BadGateway),
    ("another coding", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", BadGateway),
    ("chunked is not last", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", BadGateway),
    ("a folded line", "GET", b"HTTP/1.1 200 OK\r\nx-a: 1\r\n content-length: 1\r\ncontent-length: 2\r\n\r\nxx", BadGateway),
    ("a space before the colon", "GET", b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nxx", BadGateway),
    ("a bare CR", "GET", b"HTTP/1.1 200 OK\r\nx-a: 1\rcontent-length: 2\r\n\r\nxx", BadGateway),
    ("a NUL", "GET", b"HTTP/1.1 200 OK\r\nx-a: \0\r\ncontent-length: 2\r\n\r\nxx", BadGateway),
    ("no status", "GET", b"HTTP/1.1 OK\r\n\r\n", BadGateway),
    ("no version", "GET", b"200 OK\r\ncontent-length: 2\r\n\r\nxx", BadGateway),
    ("HTTP/2 in answer to HTTP/1.1", "GET", b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0", BadGateway),
    ("101 unasked", "GET", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nxx", BadGateway),
    // Chunks that are none.
    ("a chunk size in words", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\ncd\r\n0\r\n\r\n", CutShort),
    ("a chunk size that overflows", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n10000000000000002\r\ncd\r\n0\r\n\r\n", CutShort),
    ("a chunk longer than its size", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n", CutShort),
    ("a chunk with a sign", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n-1\r\ncd\r\n0\r\n\r\n", CutShort),
    // Bodies where there can be none.
    ("204 with a body", "GET", b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", Whole(b"")),
    ("304 with a body", "GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\npoison", Whole(b"")),
    ("HEAD with a body", "HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", Whole(b"")),
    // More than was said.
    ("a second response", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", Whole(b"ok")),
    ("surplus bytes", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokpoison", Whole(b"ok")),
    ("an empty body and more", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\npoison", Whole(b"")),
    ("a second response after chunks", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", Whole(b"ok")),
    // What is odd, and has one reading.
    ("two equal lengths", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", Whole(b"ok")),
    ("a chunk extension", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n", Whole(b"ok")),
    ("no reason phrase", "GET", b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok", Whole(b"ok")),
];

#[test]
fn lies_are_told_to_nobody() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    for (name, method, bytes, expected) in LIES {
        for closes in [true, false] {
            let what = format!("{name}, closes: {closes}");
            let behaviour = match closes {
                true => Behaviour::RawAndClose(bytes.to_vec()),
                false => Behaviour::Raw(bytes.to_vec()),
            };
            let before = upstream.requests();
            upstream.next(behaviour);
            let mut client = gateway.client();
            client.send(head(method, "/p/lie", &[], None));
            match (expected, client.try_response_to(method)) {
                (BadGateway, Ok(Some(response))) => {
                    assert_eq!(response.status, 502, "{what}");
                    assert_eq!(response.json()["reason"], "upstream_protocol", "{what}");
                }
                (CutShort, Err(_)) => {}
                (Whole(body), Ok(Some(response))) => {
                    assert!(response.status < 400, "{what}: {}", response.status);
                    assert_eq!(response.body, body, "{what}");
                }
                (_, seen) => panic!("{what}: {seen:?}"),
            }
            assert_eq!(upstream.requests() - before, 1, "{what}: sent once");
            // By the same client where it can be, and by another: nothing is left over on any connection.
            if expected != CutShort {
                assert_eq!(client.get("/p/next", &[]).json()["target"], "/p/next", "{what}");
            }
            let mut other = gateway.client();
            assert_eq!(other.get("/p/other", &[]).json()["target"], "/p/other", "{what}");
        }
    }
    assert_eq!(upstream.broken(), 0);
    gateway.until_idle();
}

/// Bytes that come on a connection that is idle answer a question that nobody has asked.
#[test]
fn a_response_before_its_request_is_not_used() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let poisoned = Arc::new(crate::harness::server::Watched::new(0));
    let told = Arc::clone(&poisoned);
    let upstream = Server::start(move |mut wire, _number| {
        while let Ok(Some(head)) = wire.within(DEADLINE).head() {
            count.fetch_add(1, Ordering::SeqCst);
            let target = head.start.split(' ').nth(1).unwrap().to_owned();
            let length = target.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{target}");
            if wire.send(answer.as_bytes()).is_err() {
                return;
            }
            // After the response is through, while nobody waits for anything.
            std::thread::park_timeout(Duration::from_millis(100));
            let _ = wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
            told.change(|told| *told += 1);
        }
    });
    let issuer = Issuer::start();
    let gateway = gateway(&issuer, &format!("http://{}", upstream.address()), "");
    let mut client = gateway.client();
    for n in 1..=5 {
        let target = format!("/p/{n}");
        assert_eq!(client.get(&target, &[]).text(), target);
        poisoned.expect("the poison", |told| *told >= n);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(requests.load(Ordering::SeqCst), 5, "each sent once");
}

#[test]
fn killed_in_the_head_or_in_the_body() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nx-a: b\r\n\r\n0123456789";
    let body_begins = whole.len() - 10;
    for at in [
        0,
        1,
        8,
        15,
        17,
        40,
        body_begins - 1,
        body_begins,
        body_begins + 1,
        whole.len() - 1,
    ] {
        for target in ["/p/killed", "/short"] {
            upstream.next(Behaviour::RawAndClose(whole[..at].to_vec()));
            let before = upstream.requests();
            let mut client = gateway.client();
            client.send(head("GET", target, &[], None));
            match client.try_response_to("GET") {
                Ok(Some(response)) => {
                    assert!(at < body_begins, "{at}: {response:?}");
                    assert_eq!(response.status, 502, "{at}");
                    assert_eq!(response.json()["reason"], "upstream_protocol");
                }
                seen => assert!(at >= body_begins, "{at}: {seen:?}"),
            }
            assert_eq!(upstream.requests() - before, 1, "{at}: sent once");
            assert_eq!(gateway.client().get("/p/next", &[]).json()["target"], "/p/next");
        }
    }
    // Chunks without their end, and a body without a length that ends where the connection does.
    for (bytes, body) in [
        (
            &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"[..],
            None,
        ),
        (
            &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"[..],
            None,
        ),
        (&b"HTTP/1.1 200 OK\r\n\r\nhello"[..], Some(&b"hello"[..])),
    ] {
        upstream.next(Behaviour::RawAndClose(bytes.to_vec()));
        let mut client = gateway.client();
        client.send(head("GET", "/p/killed", &[], None));
        let seen = client
            .try_response_to("GET")
            .ok()
            .flatten()
            .map(|response| response.body);
        assert_eq!(seen.as_deref(), body, "{}", String::from_utf8_lossy(bytes));
    }
    gateway.until_idle();
    let metrics = gateway.metrics();
    assert!(metrics.value("scopegate_upstream_requests_total", &[("result", "protocol")]) > 0.0);
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let gone = Arc::new(crate::harness::server::Watched::new(0));
    let told = Arc::clone(&gone);
    let upstream = Server::start(move |mut wire, _number| {
        if let Ok(Some(head)) = wire.within(DEADLINE).head() {
            if head.start.contains("drip") {
                // A head that never ends.
                let _ = wire.send(b"HTTP/1.1 200 OK\r\nx-a: ");
                while wire.send(b"x").is_ok() {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            } else if head.start.contains("1xx") {
                while wire.send(b"HTTP/1.1 103 Early Hints\r\nx-a: b\r\n\r\n").is_ok() {
                    std::thread::park_timeout(Duration::from_millis(5));
                }
            }
            // Nothing more comes from the gateway: it closes.
            let rest = wire.within(DEADLINE).read_to_end();
            assert!(
                rest.is_ok_and(|rest| rest.is_empty())
                    || head.start.contains('x')
                    || head.start.contains("drip")
            );
            told.change(|told| *told += 1);
        }
    });
    let issuer = Issuer::start();
    let url = format!("http://{}", upstream.address());
    let gateway = gateway(&issuer, &url, ", timeout: 400ms");
    for (n, target) in ["/p/hang", "/p/drip", "/p/1xx", "/short"].into_iter().enumerate() {
        let began = Instant::now();
        let response = gateway.client().get(target, &[]);
        assert_eq!(response.status, 504, "{target}");
        assert_eq!(response.json()["reason"], "upstream_timeout", "{target}");
        let least = if target == "/short" { 290 } else { 390 };
        assert!(
            began.elapsed() >= Duration::from_millis(least),
            "{target}: {:?}",
            began.elapsed()
        );
        gone.expect("the connection to be dropped", |gone| *gone > n);
    }
    assert_eq!(upstream.connections(), 4);
    gateway.until_idle();
}

#[test]
fn slow_but_alive_passes_and_silence_in_the_body_does_not() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), ", timeout: 5s, idle_timeout: 1s");
    // Slower as a whole than any of the limits, and never silent for so long.
    upstream.next(Behaviour::Chunks {
        chunks: vec![b"part".to_vec(); 10],
        pause: Duration::from_millis(250),
        trailers: vec![],
    });
    assert_eq!(gateway.client().get("/p/slow", &[]).body, b"part".repeat(10));
    upstream.next(Behaviour::Chunks {
        chunks: vec![b"part".to_vec(); 2],
        pause: DEADLINE,
        trailers: vec![],
    });
    let began = Instant::now();
    let mut client = gateway.client();
    client.send(head("GET", "/p/silent", &[], None));
    client.try_response_to("GET").expect_err("a clean end");
    assert!(
        began.elapsed() >= Duration::from_millis(950),
        "{:?}",
        began.elapsed()
    );
    assert!(began.elapsed() < DEADLINE);
    assert_eq!(gateway.client().get("/p/next", &[]).json()["target"], "/p/next");
}

#[test]
fn heads_without_measure_are_refused() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "x".repeat(300 << 10));
    for (name, lines) in [("many lines", many), ("a long line", long)] {
        upstream.next(Behaviour::Raw(
            format!("HTTP/1.1 200 OK\r\n{lines}content-length: 0\r\n\r\n").into_bytes(),
        ));
        let response = gateway.client().get("/p/huge", &[]);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (502, &json!("upstream_protocol")),
            "{name}"
        );
        assert_eq!(gateway.client().get("/p/next", &[]).json()["target"], "/p/next");
    }
    // A head that never ends is cut off by its size, not by the clock.
    let endless = Server::start(|mut wire, _number| {
        if let Ok(Some(_)) = wire.within(DEADLINE).head() {
            let _ = wire.send(b"HTTP/1.1 200 OK\r\n");
            while wire
                .send(b"x-a: 0123456789012345678901234567890123456789\r\n")
                .is_ok()
            {}
        }
    });
    let gateway = self::gateway(&issuer, &format!("http://{}", endless.address()), ", timeout: 1m");
    assert_eq!(gateway.client().get("/p/endless", &[]).status, 502);
}

/// A server that closes at the very moment at which a request is sent: what it has read is not sent again, and what it
/// has not read is.
#[test]
fn closing_exactly_when_a_request_is_sent_is_survived() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let upstream = Server::start(move |mut wire, _number| {
        // One request per connection, and the end without a word of warning.
        if let Ok(Some(_)) = wire.within(DEADLINE).head() {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let issuer = Issuer::start();
    let gateway = gateway(&issuer, &format!("http://{}", upstream.address()), "");
    let (mut good, mut bad) = (0, 0);
    for n in 0..300 {
        match gateway.client().get("/p/a", &[]).status {
            200 => good += 1,
            502 => bad += 1,
            status => panic!("{status}"),
        }
        if n % 7 == 0 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    assert_eq!(
        requests.load(Ordering::SeqCst),
        good,
        "answered, and counted, once each; {bad} were lost"
    );
    assert!(good >= 200, "{good} of 300");
}

#[test]
fn an_answer_before_the_body_is_passed_on_and_ends_the_connection() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    for n in 1..=3 {
        upstream.next(Behaviour::Early(Box::new(Behaviour::Respond(
            413,
            vec![],
            b"too much".to_vec(),
        ))));
        let mut client = gateway.client();
        client.send(head("POST", "/p/early", &[], Some(100_000)));
        client.send(b"the beginning");
        let response = client.response_to("POST");
        assert_eq!((response.status, &*response.text()), (413, "too much"));
        drop(client);
        assert_eq!(gateway.client().get("/p/next", &[]).json()["target"], "/p/next");
        assert_eq!(upstream.requests(), 2 * n);
    }
    assert_eq!(upstream.broken(), 0, "no request was read as part of a body");
}

#[test]
fn an_upload_goes_on_while_its_response_waits() {
    const SIZE: usize = 16 << 20;
    for framing in ["content-length", "transfer-encoding"] {
        // Answers at the head of a request, reads the body only then, and ends its answer when it has all of it.
        let upstream = Server::start(move |mut wire, _number| {
            let mut stream = wire.stream().try_clone().unwrap();
            if let Ok(Some(_)) = wire.within(DEADLINE).head() {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbe")
                    .unwrap();
                std::thread::park_timeout(Duration::from_millis(200));
                let mut left = SIZE - wire.take_buffer().len();
                let mut part = vec![0; 64 << 10];
                while left > 0 {
                    match stream.read(&mut part) {
                        Ok(0) | Err(_) => return,
                        Ok(count) => left = left.saturating_sub(count),
                    }
                }
                stream.write_all(b"gun").unwrap();
            }
        });
        let issuer = Issuer::start();
        let gateway = gateway(&issuer, &format!("http://{}", upstream.address()), "");
        let mut client = gateway.client();
        // Reads nothing before it has sent everything.
        if framing == "content-length" {
            client.send(head("POST", "/p/upload", &[], Some(SIZE)));
            client.send(vec![b'x'; SIZE]);
        } else {
            client.send(head(
                "POST",
                "/p/upload",
                &[("transfer-encoding", "chunked")],
                None,
            ));
            let chunk = [b"40000\r\n".as_slice(), &vec![b'x'; 0x40000], b"\r\n"].concat();
            for _ in 0..SIZE / 0x40000 {
                client.send(&chunk);
            }
            client.send(b"0\r\n\r\n");
        }
        let response = client.response_to("POST");
        assert_eq!((response.status, &*response.text()), (200, "begun"), "{framing}");
    }
}

#[test]
fn a_request_body_is_not_sent_twice() {
    let bodies = Arc::new(crate::harness::server::Watched::new(Vec::<Vec<u8>>::new()));
    let kept = Arc::clone(&bodies);
    let upstream = Server::start(move |mut wire, _number| {
        let mut stream = wire.stream().try_clone().unwrap();
        if let Ok(Some(head)) = wire.within(DEADLINE).head() {
            let mut body = wire.take_buffer();
            if head.start.starts_with("POST") && body.is_empty() {
                let mut part = [0; 1024];
                let count = stream.read(&mut part).unwrap_or_default();
                body.extend(&part[..count]);
            }
            kept.change(|kept| kept.push(body));
        }
        // Closes: a reset where the client has sent more.
    });
    let issuer = Issuer::start();
    let gateway = gateway(&issuer, &format!("http://{}", upstream.address()), "");
    for n in 1..=5 {
        let response = gateway.client().request("POST", "/p/a", &[], &b"x".repeat(2_000));
        assert_eq!(response.status, 502);
        assert_eq!(bodies.read(Vec::len), n);
    }
    eventually("no request in flight", || {
        gateway.metrics().value("scopegate_http_requests_in_flight", &[]) == 0.0
    });
}
