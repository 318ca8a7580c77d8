//! Interim answers (102, 103 …): they reach the HTTP/1.1 client whole, in their order, before the response and never
//! within another message; whatever they are, the response is what it would be without them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::client::head;
use crate::harness::gateway::items;
use crate::harness::http2_upstream::{Http2Behaviour, Http2Upstream};
use crate::harness::{Behaviour, Client, DEADLINE, Gateway, Http2Client, Issuer, Upstream};

const ROUTES: &str = "    routes:
      - { path: \"/p/{*rest}\", require: public }
      - { path: /items, require: read:items }
      - { path: /chat, require: public, upgrade: [websocket] }
";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>\r\n\r\n";
/// What the client gets of it.
const HINTED: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n";

struct World {
    _issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn start() -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let gateway = Gateway::start(&format!("workers: 1\n{}", items(&issuer, &upstream, ROUTES)));
        Self {
            _issuer: issuer,
            upstream,
            gateway,
        }
    }
}

/// Bytes up to and with the end of a head.
fn until_head(client: &mut Client) -> String {
    let mut bytes = client.some_bytes();
    while !bytes.ends_with(b"\r\n\r\n") {
        let more = client.some_bytes();
        assert!(!more.is_empty(), "the connection ended within {bytes:?}");
        bytes.extend(more);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn they_arrive_while_the_response_is_still_made() {
    let world = World::start();
    let mut client = world.gateway.client();
    // From the second time on over a connection to the upstream that is used again, and more often than what one response
    // may have before it.
    for turn in 0..20 {
        let held = Behaviour::Hold(Box::new(Behaviour::Echo));
        world
            .upstream
            .next(Behaviour::Informational(vec![HINTS], Box::new(held)));
        client.send(head("GET", "/p/a", &[], None));
        assert_eq!(until_head(&mut client), HINTED, "turn {turn}");
        world.upstream.release();
        let response = client.response();
        assert_eq!((response.status, response.informational.len()), (200, 0));
        assert_eq!(response.json()["target"], "/p/a");
    }
    assert_eq!(world.upstream.connections(), 1);
    // Nothing is left for those who come later.
    let response = client.get("/p/b", &[]);
    assert_eq!((response.status, response.informational.len()), (200, 0));
}

#[test]
fn they_come_before_a_response_that_comes_with_them() {
    let world = World::start();
    for method in ["GET", "HEAD"] {
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </a>\r\nConnection: X-Own\r\nX-Own: 1\r\n\
            Keep-Alive: 1\r\nContent-Length: 9\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Odd\r\nA:b\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\n";
        world.upstream.next(Behaviour::Raw(answer.into()));
        let response = world.gateway.client().request(method, "/p/a", &[], b"");
        assert_eq!(response.status, 204);
        let heads: Vec<&[u8]> = response
            .informational
            .iter()
            .map(|head| &head.bytes[..])
            .collect();
        assert_eq!(
            heads,
            [
                &b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"[..],
                b"HTTP/1.1 102 Processing\r\n\r\n",
                b"HTTP/1.1 199 \r\na: b\r\n\r\n",
            ],
            "{method}"
        );
    }
}

#[test]
fn of_many_the_first_sixteen_pass() {
    let world = World::start();
    let mut client = world.gateway.client();
    let heads: Vec<&'static str> = (0..30)
        .map(|number| {
            &*Box::leak(format!("HTTP/1.1 103 Early Hints\r\nnumber: {number}\r\n\r\n").into_boxed_str())
        })
        .collect();
    world
        .upstream
        .next(Behaviour::Informational(heads, Box::new(Behaviour::Echo)));
    let response = client.get("/p/a", &[]);
    assert_eq!(response.status, 200);
    let numbers: Vec<&str> = response
        .informational
        .iter()
        .map(|head| head.field("number").unwrap())
        .collect();
    let expected: Vec<String> = (0..16).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
    assert_eq!(client.get("/p/b", &[]).json()["target"], "/p/b");
    assert_eq!(world.upstream.connections(), 1);
}

#[test]
fn one_that_cannot_be_read_is_no_answer_at_all() {
    let world = World::start();
    let large = format!(
        "HTTP/1.1 103 X\r\na: {}\r\n\r\nHTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n",
        "b".repeat(20 << 10)
    );
    for (bytes, status) in [
        (&b"HTTP/1.1 103 X\r\nna me: 1\r\n\r\nHTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n"[..], 502),
        (b"HTTP/1.1 103 X\r\nname: a\0b\r\n\r\nHTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 103 X\r\nset-cookie: a=b\r\n folded\r\n\r\nHTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n", 502),
        // Sound, and larger than is passed on.
        (large.as_bytes(), 200),
    ] {
        world.upstream.next(Behaviour::Raw(bytes.to_vec()));
        let response = world.gateway.client().get("/p/a", &[]);
        assert_eq!((response.status, response.informational.len()), (status, 0));
    }
}

#[test]
fn an_upstream_that_dies_after_one_is_a_bad_gateway() {
    let world = World::start();
    let mut client = world.gateway.client();
    for last in [
        HINTS.to_owned(),
        format!("{HINTS}HTTP/1.1 103 Early Hi"),
        format!("{HINTS}HTTP/1.1 20"),
    ] {
        world.upstream.next(Behaviour::RawAndClose(last.into_bytes()));
        let response = client.get("/p/a", &[]);
        assert_eq!((response.status, response.informational.len()), (502, 1));
        assert_eq!(response.informational[0].bytes, HINTED.as_bytes());
        assert_eq!(response.json()["reason"], "upstream_protocol");
    }
    assert_eq!(client.get("/p/b", &[]).status, 200);
    // What is dropped was sent once.
    assert_eq!(world.upstream.requests(), 4);
}

#[test]
fn requests_of_one_connection_keep_their_order() {
    let world = World::start();
    let mut client = world.gateway.client();
    let requests: Vec<u8> = (0..20)
        .flat_map(|number| head("GET", &format!("/p/{number}"), &[], None))
        .collect();
    for _ in 0..20 {
        world.upstream.next(Behaviour::Informational(
            vec![HINTS, HINTS],
            Box::new(Behaviour::Echo),
        ));
    }
    client.send(requests);
    for number in 0..20 {
        let response = client.response();
        assert_eq!(
            (response.status, response.informational.len()),
            (200, 2),
            "{number}"
        );
        assert!(
            response
                .informational
                .iter()
                .all(|head| head.bytes == HINTED.as_bytes())
        );
        assert_eq!(response.json()["target"], format!("/p/{number}"));
    }
}

/// The socket takes nothing more while a response goes out, the interim answers to the next request are there, and so
/// is their response: every message stays whole.
#[test]
fn a_slow_reader_gets_whole_messages() {
    const LARGE: usize = 6 << 20;
    let world = World::start();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&world.gateway.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let hint: &'static str = Box::leak(
        format!("HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n", "y".repeat(15 << 10)).into_boxed_str(),
    );
    let large = Behaviour::Respond(200, vec![], vec![b'x'; LARGE]);
    let mut expected = Vec::new();
    for _ in 0..3 {
        world.upstream.next(Behaviour::Informational(
            vec![hint, hint, hint],
            Box::new(large.clone()),
        ));
        stream.write_all(&head("GET", "/p/large", &[], None)).unwrap();
    }
    world.upstream.wait_for_requests(1);
    // Until the socket is full.
    std::thread::park_timeout(Duration::from_millis(300));
    let (mut read, mut part) = (Vec::new(), vec![0; 64 << 10]);
    while expected.len() < 3 {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "the connection ended");
        read.extend_from_slice(&part[..count]);
        if read.len() < LARGE {
            continue;
        }
        let Some(body) = read
            .windows(LARGE.min(64))
            .position(|window| window == [b'x'; 64])
        else {
            continue;
        };
        if read.len() >= body + LARGE {
            let message: Vec<u8> = read.drain(..body + LARGE).collect();
            assert!(message[body..].iter().all(|byte| *byte == b'x'));
            expected.push(String::from_utf8(message[..body].to_vec()).unwrap());
        }
    }
    for heads in expected {
        let rest = heads.strip_prefix(&hint.repeat(3)).expect("three whole hints");
        assert!(
            rest.starts_with("HTTP/1.1 200 ") && rest.ends_with("\r\n\r\n"),
            "{rest}"
        );
        assert_eq!(rest.matches("\r\n\r\n").count(), 1);
    }
}

#[test]
fn they_and_the_answer_to_an_expectation_are_two_things() {
    let world = World::start();
    world
        .upstream
        .next(Behaviour::Informational(vec![HINTS], Box::new(Behaviour::Echo)));
    let mut client = world.gateway.client();
    client.send(head("POST", "/p/a", &[("expect", "100-continue")], Some(5)));
    assert_eq!(until_head(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    let response = client.response_to("POST");
    assert_eq!((response.status, response.informational.len()), (200, 1));
    assert_eq!(response.json()["body"], "hello");
    // A refusal has none, and neither has a client of HTTP/1.0, which is refused.
    let refused = client.get("/items", &[]);
    assert_eq!((refused.status, refused.informational.len()), (401, 0));
    let before = world.upstream.requests();
    client.send("GET /p/a HTTP/1.0\r\nhost: localhost\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status, refused.informational.len()), (400, 0));
    assert_eq!(world.upstream.requests(), before);
}

#[test]
fn they_come_before_a_change_of_protocol() {
    let world = World::start();
    world.upstream.next(Behaviour::Informational(
        vec![HINTS],
        Box::new(Behaviour::Upgrade("websocket")),
    ));
    let mut client = world.gateway.client();
    let fields = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];
    client.send(head("GET", "/chat", &fields, None));
    let response = client.response();
    assert_eq!((response.status, response.informational.len()), (101, 1));
    assert_eq!(response.informational[0].bytes, HINTED.as_bytes());
    client.send([0x82, 0x81, 0, 0, 0, 0, b'x']);
    assert_eq!(client.some_bytes(), [0x82, 0x81, 0, 0, 0, 0, b'x']);
}

/// Where one side speaks HTTP/2 they are read and dropped, and the response is not touched.
#[test]
fn over_http2_the_response_comes_alone() {
    let world = World::start();
    world.upstream.behave(Behaviour::Informational(
        vec![HINTS; 20],
        Box::new(Behaviour::Echo),
    ));
    let mut client = Http2Client::connect(world.gateway.http2_address());
    for _ in 0..3 {
        let response = client.request("GET", "/p/a", &[], b"").unwrap();
        assert_eq!(response.status, 200);
        assert!(String::from_utf8_lossy(&response.body).contains("/p/a"));
    }
    // Nor does the next client of the same connection to the upstream get what was meant for these.
    world.upstream.behave(Behaviour::Echo);
    let response = world.gateway.client().get("/p/b", &[]);
    assert_eq!((response.status, response.informational.len()), (200, 0));
    assert_eq!(world.upstream.connections(), 1);

    let upstream = Http2Upstream::start();
    let issuer = Issuer::start();
    let routes = "    routes: [{ path: \"/p/{*rest}\", require: public }]\n";
    let mut yaml = items(&issuer, &world.upstream, routes);
    yaml = yaml.replace(
        &format!("upstream: {}", world.upstream.url()),
        &format!("upstream: {{ servers: [\"{}\"], http2: true }}", upstream.url()),
    );
    let gateway = Gateway::start(&yaml);
    upstream.next(Http2Behaviour::Hints(20));
    let response = gateway.client().get("/p/a", &[]);
    assert_eq!((response.status, response.informational.len()), (200, 0));
    assert!(response.text().contains("/p/a"));
}
