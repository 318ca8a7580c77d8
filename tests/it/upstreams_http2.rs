//! Upstreams that speak HTTP/2: what they are told, how many connections they get, and that nothing is said twice that
//! may have been heard.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::harness::gateway::ITEMS;
use crate::harness::http1::Wire;
use crate::harness::http2_upstream::{Http2Behaviour, Http2Upstream};
use crate::harness::server::Server;
use crate::harness::{Client, Gateway, Http2Client, Issuer, Upstream, client, eventually};

/// One worker, one public route, and this upstream.
fn gateway(issuer: &Issuer, url: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "workers: 1
issuers:
  - issuer: {issuer}
apis:
  - definition: {{ identifier: {ITEMS}, signing_alg: RS256, scopes: [{{ value: read:items }}] }}
    upstream: {{ servers: ['{url}'], http2: true{more} }}
    routes: [{{ path: '/p/{{*rest}}', require: public, max_body: 10MiB }}, {{ path: /items, require: read:items }}]
",
        issuer = issuer.identifier(),
    ))
}

#[test]
fn both_protocols_become_http2() {
    let (issuer, upstream) = (Issuer::start(), Http2Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    let fields = [
        ("te", "trailers"),
        ("x-a", "1"),
        ("connection", "x-gone"),
        ("x-gone", "1"),
    ];
    let response = gateway.client().request("POST", "/p/a?b=c", &fields[..], b"body");
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = upstream.last();
    assert_eq!(seen.head.uri, "http://localhost/p/a?b=c");
    assert_eq!(seen.body, b"body");
    assert_eq!(seen.head.headers["te"], "trailers");
    assert_eq!(seen.head.headers["content-length"], "4");
    assert_eq!(seen.head.headers["via"], "1.1 scopegate");
    for gone in ["host", "connection", "x-gone", "transfer-encoding"] {
        assert!(!seen.head.headers.contains_key(gone), "{gone}");
    }
    let mut http2 = Http2Client::connect(gateway.http2_address());
    let response = http2
        .request("PUT", "/p/b", &[("te", "trailers")], b"two")
        .unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.trailers.unwrap()["x-trailer"], "1");
    assert_eq!(upstream.last().head.headers["via"], "2.0 scopegate");
    assert_eq!((upstream.requests(), upstream.connections()), (2, 1));
    // Refused requests do not get there.
    assert_eq!(client::get(gateway.address(), "/items", &[]).status, 401);
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn large_bodies_pass_both_ways() {
    let (issuer, upstream) = (Issuer::start(), Http2Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    let body = "0123456789".repeat(200_000);
    let response = gateway.client().request("POST", "/p/a", &[], body.as_bytes());
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["body"], json!(body));
}

#[test]
fn many_requests_share_few_connections() {
    let (issuer, upstream) = (Issuer::start(), Http2Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    upstream.behave(Http2Behaviour::Hold);
    let mut clients: Vec<Client> = (0..150).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send("GET /p/a HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }
    upstream.wait_for_requests(150);
    upstream.release();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!((upstream.connections(), upstream.requests()), (2, 150));
}

#[test]
fn what_the_server_allows_is_kept_to() {
    let (issuer, upstream) = (Issuer::start(), Http2Upstream::allowing(3));
    let gateway = gateway(&issuer, &upstream.url(), "");
    let mut clients: Vec<Client> = (0..40).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send("POST /p/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(upstream.requests(), 40);
}

#[test]
fn only_what_was_never_looked_at_is_sent_again() {
    let (issuer, upstream) = (Issuer::start(), Http2Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    let mut client = gateway.client();
    upstream.next(Http2Behaviour::Refuse);
    assert_eq!(client.get("/p/a", &[]).status, 200);
    assert_eq!(upstream.requests(), 2, "refused, and sent again");
    // Its body is gone.
    upstream.next(Http2Behaviour::Refuse);
    let response = client.request("POST", "/p/a", &[], b"body");
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (502, &json!("upstream_protocol"))
    );
    assert_eq!(upstream.requests(), 3);
    // What is left of its body may cost the client its connection.
    let mut client = gateway.client();
    upstream.next(Http2Behaviour::Reset);
    assert_eq!(client.get("/p/a", &[]).status, 502);
    assert_eq!(upstream.requests(), 4, "it may have been looked at");
    // Not for ever.
    for _ in 0..5 {
        upstream.next(Http2Behaviour::Refuse);
    }
    assert_eq!(client.get("/p/a", &[]).status, 502);
    assert_eq!(upstream.requests(), 7);
    assert_eq!(upstream.connections(), 1, "a reset stream takes no other with it");
}

#[test]
fn a_body_that_breaks_off_does_not_end_well() {
    let (issuer, upstream) = (Issuer::start(), Http2Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    upstream.next(Http2Behaviour::BreakOff);
    let mut client = gateway.client();
    client.send("GET /p/a HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(client.try_response_to("GET").is_err(), "a clean end");
    let mut http2 = Http2Client::connect(gateway.http2_address());
    upstream.next(Http2Behaviour::BreakOff);
    assert!(http2.request("GET", "/p/a", &[], b"").is_err(), "a clean end");
    assert_eq!(http2.request("GET", "/p/a", &[], b"").unwrap().status, 200);
}

#[test]
fn http1_servers_are_not_taken_for_http2() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = gateway(&issuer, &upstream.url(), "");
    let response = client::get(gateway.address(), "/p/a", &[]);
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(upstream.seen().iter().all(|seen| seen.target() != "/p/a"));
}

/// A server that speaks frames as a test says.
fn frames(serve: impl Fn(&mut Frames, usize) -> io::Result<()> + Send + Sync + 'static) -> Server {
    Server::start(move |wire, number| {
        let mut frames = Frames { wire };
        let _ = frames.begin().and_then(|()| serve(&mut frames, number));
    })
}

struct Frames {
    wire: Wire,
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

impl Frames {
    /// The preface, and empty settings both ways.
    fn begin(&mut self) -> io::Result<()> {
        self.wire.exact(24)?;
        self.send(SETTINGS, 0, 0, &[])
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.wire.send(&[&head[..], payload].concat())
    }

    /// The stream of the next request.
    fn request(&mut self) -> io::Result<u32> {
        loop {
            let head = self.wire.exact(9)?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            self.wire.exact(length)?;
            if head[3] == HEADERS {
                return Ok(u32::from_be_bytes(head[5..9].try_into().unwrap()));
            }
            if head[3] == SETTINGS && head[4] == 0 {
                self.send(SETTINGS, 1, 0, &[])?;
            }
        }
    }

    /// `:status: 200` and nothing else.
    fn answer(&mut self, stream: u32) -> io::Result<()> {
        self.send(HEADERS, 5, stream, &[0x88])
    }

    fn go_away(&mut self, last: u32) -> io::Result<()> {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
    }
}

#[test]
fn goaway_ends_a_connection_and_no_request() {
    let issuer = Issuer::start();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let server = frames(move |frames, number| {
        loop {
            let stream = frames.request()?;
            count.fetch_add(1, Ordering::SeqCst);
            match (number, stream) {
                // It was there before the GOAWAY, and is answered after it.
                (1, 3) => {
                    frames.go_away(3)?;
                    frames.answer(stream)?;
                }
                // It comes too late.
                (2, _) => frames.go_away(0)?,
                _ => frames.answer(stream)?,
            }
        }
    });
    let gateway = gateway(&issuer, &format!("http://{}", server.address()), "");
    let mut client = gateway.client();
    assert_eq!(client.get("/p/1", &[]).status, 200);
    assert_eq!(client.get("/p/2", &[]).status, 200);
    assert_eq!((server.connections(), requests.load(Ordering::SeqCst)), (1, 2));
    assert_eq!(client.get("/p/3", &[]).status, 200);
    assert_eq!(
        (server.connections(), requests.load(Ordering::SeqCst)),
        (3, 4),
        "the second connection was left for a third"
    );
    gateway.until_idle();
}

#[test]
fn a_connection_that_breaks_takes_its_requests_with_it_and_none_is_said_twice() {
    let issuer = Issuer::start();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let server = frames(move |frames, number| {
        loop {
            let stream = frames.request()?;
            count.fetch_add(1, Ordering::SeqCst);
            if number == 1 {
                return Ok(());
            }
            frames.answer(stream)?;
        }
    });
    let gateway = gateway(&issuer, &format!("http://{}", server.address()), "");
    let mut client = gateway.client();
    assert_eq!(client.get("/p/1", &[]).status, 502);
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    assert_eq!(client.get("/p/2", &[]).status, 200);
    assert_eq!((server.connections(), requests.load(Ordering::SeqCst)), (2, 2));
}

#[test]
fn a_server_that_is_gone_without_a_word_is_left() {
    let issuer = Issuer::start();
    let server = frames(|frames, number| {
        loop {
            let stream = frames.request()?;
            if number > 1 {
                frames.answer(stream)?;
            }
        }
    });
    let gateway = gateway(
        &issuer,
        &format!("http://{}", server.address()),
        ", timeout: 100ms",
    );
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.get("/p/a", &[]).status, 504);
    }
    eventually("another connection", || client.get("/p/a", &[]).status == 200);
    assert_eq!(server.connections(), 2);
}
