//! Bytes that an HTTP library would not send. Each of them has one known outcome, and the upstream sees either nothing
//! or exactly one request that can be read in one way.

use std::time::Duration;

use crate::harness::gateway::items;
use crate::harness::{Client, Gateway, Issuer, Upstream};

struct World {
    upstream: Upstream,
    gateway: Gateway,
    _issuer: Issuer,
}

impl World {
    fn start() -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let routes = "    routes:
      - { path: /, require: public }
      - { path: \"/p/{*rest}\", require: public }
      - { path: /guarded, require: read:items }
";
        let timeouts = "timeouts: { first_byte: 400ms, header: 600ms, idle: 800ms }\n";
        let yaml = format!("{timeouts}{}", items(&issuer, &upstream, routes));
        Self {
            gateway: Gateway::start(&yaml),
            upstream,
            _issuer: issuer,
        }
    }
}

/// What must come of some bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    /// This status, and nothing at the upstream.
    Refused(u16),
    /// Closed without an answer, and nothing at the upstream.
    Closed,
    /// One request at the upstream, with this start line and this body.
    Forwarded(&'static str, &'static [u8]),
}

use Expected::{Closed, Forwarded, Refused};

const TO_P: &str = "GET /p/a HTTP/1.1";
const POST_P: &str = "POST /p/a HTTP/1.1";

#[rustfmt::skip]
const TABLE: &[(&str, &[u8], Expected)] = &[
    ("plain", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Forwarded(TO_P, b"")),
    ("empty line first", b"\r\nGET /p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Forwarded(TO_P, b"")),
    // M8: both framings. Refused, or forwarded with one of them, never with both.
    ("CL then TE", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", Refused(400)),
    ("TE then CL", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1\r\nx\r\n0\r\n\r\n", Refused(400)),
    // M9: transfer codings.
    ("gzip, chunked", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked, chunked", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked twice", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked, identity", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", Refused(400)),
    ("xchunked", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("identity", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity\r\n\r\n", Refused(400)),
    ("Chunked in capitals", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n", Forwarded(POST_P, b"x")),
    ("chunked with a vertical tab", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked before a space and colon", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("chunked in HTTP/1.0", b"POST /p/a HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400)),
    ("a chunk size beyond 64 bits", b"POST /guarded HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nx", Refused(401)),
    // Content-Length.
    ("CL +1", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nContent-Length: +1\r\n\r\nx", Refused(400)),
    ("CL -1", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\nx", Refused(400)),
    ("CL 1, 1", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1, 1\r\n\r\nx", Refused(400)),
    ("CL empty", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nContent-Length:\r\n\r\n", Refused(400)),
    ("CL 0x1", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0x1\r\n\r\nx", Refused(400)),
    ("CL twice, different", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", Refused(400)),
    ("CL twice, the same", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", Refused(400)),
    // M5: hosts.
    ("two hosts", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", Refused(400)),
    ("the same host twice", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("no host", b"GET /p/a HTTP/1.1\r\n\r\n", Refused(400)),
    ("an empty host", b"GET /p/a HTTP/1.1\r\nHost:\r\n\r\n", Refused(400)),
    ("an odd host", b"GET /p/a HTTP/1.1\r\nHost: a/b@c,d\r\n\r\n", Refused(400)),
    ("a host with a user", b"GET /p/a HTTP/1.1\r\nHost: user@a.test\r\n\r\n", Refused(400)),
    ("a host with a bad port", b"GET /p/a HTTP/1.1\r\nHost: a.test:80x\r\n\r\n", Refused(400)),
    ("a host beyond ASCII", b"GET /p/a HTTP/1.1\r\nHost: \xc3\xa9.test\r\n\r\n", Refused(400)),
    // M6, M7: target forms.
    ("absolute form", b"GET http://a.test/p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Forwarded(TO_P, b"")),
    ("absolute form, another host", b"GET http://b.test/p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("absolute form, another port", b"GET http://a.test:81/p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("absolute form, no host", b"GET http://a.test/p/a HTTP/1.1\r\n\r\n", Refused(400)),
    ("absolute form, a user", b"GET http://user:pw@a.test/p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("absolute form, no path", b"GET http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", Forwarded("GET / HTTP/1.1", b"")),
    ("absolute form, another scheme", b"GET ftp://a.test/p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("a host as target", b"GET evil:80 HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("a word as target", b"GET admin HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("a star", b"GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("no target", b"GET HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("two spaces", b"GET  /p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("two targets", b"GET /p/a /p/b HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    // The library drops a fragment before anybody can see it; what is decided on is what is forwarded.
    ("a fragment", b"GET /p/a#/guarded HTTP/1.1\r\nHost: a.test\r\n\r\n", Forwarded(TO_P, b"")),
    ("a backslash", b"GET /p\\a HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("a bad escape", b"GET /p/%zz HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("dot segments", b"GET /p/../guarded HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("a path beyond ASCII", b"GET /p/\xc3\xa9 HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("a NUL", b"GET /p/a\0 HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(400)),
    // M10: lenient line ends are made canonical.
    ("bare LF", b"GET /p/a HTTP/1.1\nHost: a.test\n\n", Forwarded(TO_P, b"")),
    ("bare CR in a value", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nX-A: b\rc\r\n\r\n", Refused(400)),
    ("NUL in a value", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nX-A: b\0c\r\n\r\n", Refused(400)),
    ("a folded line", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n c\r\n\r\n", Refused(400)),
    ("a space before the colon", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nX-A : b\r\n\r\n", Refused(400)),
    ("a line without a name", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\n: b\r\n\r\n", Refused(400)),
    ("a chunk size with a space", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n", Forwarded(POST_P, b"x")),
    ("a chunk extension", b"POST /p/a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n", Forwarded(POST_P, b"x")),
    // Methods.
    ("a method in small letters", b"get /guarded HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(401)),
    ("CONNECT", b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", Refused(405)),
    ("CONNECT with a path", b"CONNECT /p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(405)),
    ("TRACE", b"TRACE /p/a HTTP/1.1\r\nHost: a.test\r\n\r\n", Refused(405)),
    // M11: names.
    ("an underscore", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nX_User: 1\r\n\r\n", Refused(400)),
    // Versions.
    ("HTTP/1.0", b"GET /p/a HTTP/1.0\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("HTTP/1.0 without a host", b"GET /p/a HTTP/1.0\r\n\r\n", Refused(400)),
    ("HTTP/1.2", b"GET /p/a HTTP/1.2\r\nHost: a.test\r\n\r\n", Refused(400)),
    ("no version", b"GET /p/a\r\n\r\n", Refused(400)),
    ("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Closed),
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Refused(400)),
    ("Connection names the token", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nConnection: close, Authorization\r\n\r\n", Refused(400)),
    ("an upgrade to h2c", b"GET /p/a HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", Forwarded(TO_P, b"")),
];

#[test]
fn odd_bytes_have_one_outcome() {
    let world = World::start();
    for (name, bytes, expected) in TABLE {
        let before = world.upstream.seen().len();
        let mut client = world.gateway.client();
        client.send(bytes);
        let method = if bytes.starts_with(b"HEAD") { "HEAD" } else { "GET" };
        let response = client.try_response_to(method).unwrap();
        if *expected == Closed {
            assert_eq!(response, None, "{name}");
            assert_eq!(world.upstream.seen().len(), before, "{name}");
            continue;
        }
        let response = response.unwrap_or_else(|| panic!("{name}: closed without an answer"));
        // Whatever may still be read as a second request must have no answer, or be closed.
        client.finish();
        let rest = client.rest();
        assert!(rest.is_empty(), "{name}: {}", String::from_utf8_lossy(&rest));
        let seen = world.upstream.seen();
        match expected {
            Closed => unreachable!("looked at above"),
            Refused(status) => {
                assert_eq!(response.status, *status, "{name}: {}", response.text());
                // RFC 9110 section 15.5.6.
                assert!(*status != 405 || response.field("allow").is_some(), "{name}");
                assert_eq!(seen.len(), before, "{name}");
            }
            Forwarded(start, body) => {
                assert_eq!(response.status, 200, "{name}: {}", response.text());
                assert_eq!(seen.len(), before + 1, "{name}");
                let seen = seen.last().unwrap();
                assert_eq!(seen.head.start, *start, "{name}");
                assert_eq!(seen.body, *body, "{name}");
                assert_canonical(name, &seen.head.bytes);
                let framings =
                    seen.head.all("content-length").len() + seen.head.all("transfer-encoding").len();
                assert!(framings < 2, "{name}: {:?}", seen.head.fields);
                assert_eq!(seen.field("host"), Some("a.test"), "{name}");
            }
        }
        assert_eq!(world.upstream.broken(), 0, "{name}");
    }
    world.gateway.until_idle();
}

/// CR LF line ends, one space in the start line, no folding, no control bytes.
fn assert_canonical(name: &str, head: &[u8]) {
    let text = std::str::from_utf8(head).unwrap();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "{name}");
    assert_eq!(text.matches('\r').count(), text.matches("\r\n").count(), "{name}");
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    assert_eq!(lines.next().unwrap().split(' ').count(), 3, "{name}");
    for line in lines {
        let (field, _) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("{name}: {line:?}"));
        assert!(!field.contains([' ', '_', '\t']), "{name}: {line:?}");
    }
}

#[test]
fn what_follows_a_refused_body_is_no_request() {
    let world = World::start();
    let smuggled = "GET /p/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for head in [
        format!(
            "POST /guarded HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
            smuggled.len()
        ),
        format!(
            "POST /guarded HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            smuggled.len()
        ),
        format!(
            "POST /guarded HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
            smuggled.len() + 100_000
        ),
    ] {
        let mut client = world.gateway.client();
        client.send(format!("{head}{smuggled}"));
        assert_eq!(client.response_to("POST").status, 401);
        client.finish();
        client.rest();
    }
    assert_eq!(world.upstream.requests(), 0);
    // A body that was read whole is followed by the next request.
    let mut client = world.gateway.client();
    client.send("POST /guarded HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(client.response_to("POST").status, 401);
    world.gateway.until_idle();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::start();
    let mut client = world.gateway.client();
    let many: String = (0..20)
        .map(|n| {
            let target = if n % 3 == 0 {
                "/guarded".to_owned()
            } else {
                format!("/p/{n}")
            };
            format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")
        })
        .collect();
    client.send(many);
    for n in 0..20 {
        let response = client.response();
        if n % 3 == 0 {
            assert_eq!(response.status, 401, "{n}");
        } else {
            assert_eq!(response.json()["target"], format!("/p/{n}"));
        }
    }
    assert_eq!(world.upstream.requests(), 13);
}

#[test]
fn large_heads_are_refused() {
    let world = World::start();
    let head = |fields: &str| format!("GET /p/a HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    let lines = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    for (name, bytes, status) in [
        (
            "300 KB in one line",
            head(&format!("X-A: {}\r\n", "x".repeat(300_000))),
            431,
        ),
        (
            "33 KB in one line",
            head(&format!("X-A: {}\r\n", "x".repeat(33_000))),
            431,
        ),
        (
            "31 KB in one line",
            head(&format!("X-A: {}\r\n", "x".repeat(31_000))),
            200,
        ),
        ("101 lines", head(&lines(100)), 431),
        ("90 lines", head(&lines(89)), 200),
        (
            "70,000 bytes of target",
            format!("GET /p/{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(70_000)),
            414,
        ),
        (
            "9,000 bytes of target",
            format!("GET /p/{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(9_000)),
            414,
        ),
        (
            "8,000 bytes of target",
            format!("GET /p/{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(8_000)),
            200,
        ),
    ] {
        let before = world.upstream.requests();
        let mut client = world.gateway.client();
        client.send(bytes);
        let got = client.response().status;
        // What the library refuses by itself it does not tell apart.
        let is_too_large = |status| status == 431 || status == 414;
        assert!(
            got == status || is_too_large(got) && is_too_large(status),
            "{name}: {got}"
        );
        let expected = usize::from(status == 200);
        assert_eq!(world.upstream.requests() - before, expected, "{name}");
    }
}

#[test]
fn who_stalls_is_closed() {
    let world = World::start();
    let stalled = |address, bytes: &[u8]| {
        let mut client = Client::connect(address);
        client.send(bytes);
        client
    };
    let http1 = world.gateway.address();
    let http2 = world.gateway.http2_address();
    let mut clients = vec![
        ("silent", stalled(http1, b"")),
        ("silent before a protocol", stalled(http2, b"")),
        ("half a preface", stalled(http2, b"PRI")),
        (
            "a preface and nothing else",
            stalled(http2, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ),
        ("half a head", stalled(http1, b"GET /p/a HTTP/1.1\r\nHost: a.te")),
        (
            "half a head, after the sniff",
            stalled(http2, b"GET /p/a HTTP/1.1\r\nHost: a.te"),
        ),
        ("an empty line", stalled(http1, b"\r\n")),
    ];
    let mut idle = world.gateway.client();
    assert_eq!(idle.get("/p/a", &[]).status, 200);
    clients.push(("idle", idle));
    for (name, client) in &mut clients {
        // A preface is answered with SETTINGS, and at the end with GOAWAY.
        let began = std::time::Instant::now();
        client.rest();
        assert!(began.elapsed() < Duration::from_secs(10), "{name}");
    }
    assert_eq!(world.upstream.requests(), 1);
    world.gateway.until_idle();
}

/// A head that trickles in has the time of a head, not that time again for each byte.
#[test]
fn a_trickle_is_no_head() {
    let world = World::start();
    let mut client = world.gateway.client();
    client.send("GET /p/a HTTP/1.1\r\nHost: a.test\r\n");
    let began = std::time::Instant::now();
    while !client.is_closed_within(Duration::from_millis(100)) {
        client.send("X-A: b\r\n");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(world.upstream.requests(), 0);
}
