//! What the upstream gets and what the client gets back: bytes as they came, headers that are ours, bodies that stream,
//! and connections that are used again only where that is safe.

use std::time::{Duration, Instant};

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::json;

use crate::harness::client::head;
use crate::harness::gateway::{ITEMS, items};
use crate::harness::server::Server;
use crate::harness::{Behaviour, DEADLINE, Gateway, Http2Client, Issuer, Upstream, eventually};

const ROUTES: &str = "    forward:
      identity_headers: { X-Auth-Subject: sub, X-Auth-Client: client_id, X-Auth-Scopes: scope, X-Auth-Org: org_id }
    routes:
      - { path: \"/p/{*rest}\", require: public, max_body: 200MiB }
      - { path: \"/odd/{*rest}\", require: public, allow: [encoded_slash, double_slash, semicolon, encoded_percent] }
      - { path: \"/items/{*rest}\", require: read:items }
      - { path: /any, require: authenticated, mode: report }
";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn start() -> Self {
        Self::start_with("workers: 1\n")
    }

    fn start_with(settings: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let gateway = Gateway::start(&format!("{settings}{}", items(&issuer, &upstream, ROUTES)));
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.issuer.token(ITEMS, "read:items"))
    }
}

#[test]
fn the_target_arrives_byte_for_byte() {
    let world = World::start();
    let mut client = world.gateway.client();
    for target in [
        "/p/",
        "/p/a",
        "/p/a?",
        "/p/a?b=c&b=c",
        "/p/a?x=%2f%2F..//;&%zz?|^`{}\\",
        "/p/%61%C3%A9%7e~",
        "/p/a.b/c..d/...",
        "/p/a:b@c!$&'()*+,=",
        "/odd/a%2Fb//c;d=e/%25",
        "/odd/?/p/../x",
    ] {
        assert_eq!(client.get(target, &[]).status, 200, "{target}");
        assert_eq!(world.upstream.last().target(), target);
    }
    let mut http2 = Http2Client::connect(world.gateway.http2_address());
    for target in ["/p/%61?x=%2f..", "/odd/a%2Fb//c;d=e"] {
        assert_eq!(http2.request("GET", target, &[], b"").unwrap().status, 200);
        assert_eq!(world.upstream.last().target(), target);
    }
    for method in ["GET", "POST", "DELETE", "PATCH", "OPTIONS", "FROB", "get"] {
        assert_eq!(client.request(method, "/p/a", &[], b"").status, 200, "{method}");
        assert_eq!(world.upstream.last().method(), method);
    }
    assert_eq!(world.upstream.connections(), 1);
}

#[test]
fn bodies_and_fields_arrive_as_sent() {
    let world = World::start();
    let mut client = world.gateway.client();
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let fields = [
        ("X-One", "1"),
        ("x-many", "a"),
        ("x-many", "b"),
        ("accept", "text/html, */*;q=0.1"),
        ("content-type", "application/octet-stream"),
        ("x-latin", "\u{e9}"),
    ];
    client.request("POST", "/p/a", &fields, &body);
    let seen = world.upstream.last();
    assert_eq!(seen.body, body);
    assert_eq!(seen.field("content-length"), Some("100000"));
    assert_eq!(seen.head.all("x-many"), ["a", "b"]);
    assert_eq!(seen.field("accept"), Some("text/html, */*;q=0.1"));
    assert_eq!(seen.field("host"), Some("localhost"));

    world.upstream.next(Behaviour::Respond(
        418,
        vec![
            ("x-a", "1".into()),
            ("x-a", "2".into()),
            ("set-cookie", "a=b".into()),
            ("set-cookie", "c=d".into()),
        ],
        body.clone(),
    ));
    let response = client.get("/p/a", &[]);
    assert_eq!(response.status, 418);
    assert_eq!(response.body, body);
    assert_eq!(response.head.all("x-a"), ["1", "2"]);
    assert_eq!(response.head.all("set-cookie"), ["a=b", "c=d"]);
    assert_eq!(response.field("content-length"), Some("100000"));
}

/// Framing, not the method, says whether there is a body (RFC 9112 section 6).
#[test]
fn a_body_in_chunks_arrives_whatever_the_method() {
    let world = World::start();
    let mut client = world.gateway.client();
    for method in ["GET", "DELETE", "POST"] {
        client.send(head(method, "/p/a", &[("transfer-encoding", "chunked")], None));
        client.send(b"3\r\nabc\r\n2;x=1\r\nde\r\n0\r\n\r\n");
        assert_eq!(client.response_to(method).status, 200, "{method}");
        let seen = world.upstream.last();
        assert_eq!((seen.method(), &*seen.body), (method, &b"abcde"[..]));
        assert_eq!(seen.field("transfer-encoding"), Some("chunked"), "{method}");
        assert_eq!(seen.field("content-length"), None, "{method}");
    }
    assert_eq!(world.upstream.broken(), 0, "no body was read as a request");
}

#[test]
fn hop_by_hop_fields_end_here() {
    let world = World::start();
    let mut client = world.gateway.client();
    let fields = [
        ("connection", "keep-alive, X-Own, x-auth-subject"),
        ("keep-alive", "timeout=5"),
        ("x-own", "1"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic x"),
        ("te", "gzip"),
        ("upgrade", "websocket"),
        ("x-kept", "1"),
    ];
    assert_eq!(client.get("/p/a", &fields).status, 200);
    let seen = world.upstream.last();
    for gone in [
        "connection",
        "keep-alive",
        "x-own",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
    ] {
        assert!(seen.head.all(gone).is_empty(), "{gone}");
    }
    assert_eq!(seen.field("x-kept"), Some("1"));

    world.upstream.next(Behaviour::Respond(
        200,
        vec![
            ("connection", "keep-alive, x-own".into()),
            ("keep-alive", "timeout=5".into()),
            ("proxy-authenticate", "Basic".into()),
            ("x-own", "1".into()),
            ("x-kept", "1".into()),
        ],
        b"x".to_vec(),
    ));
    let response = client.get("/p/a", &[]);
    for gone in ["connection", "keep-alive", "proxy-authenticate", "x-own"] {
        assert!(response.head.all(gone).is_empty(), "{gone}");
    }
    assert_eq!(response.field("x-kept"), Some("1"));

    let before = world.upstream.requests();
    for named in [
        "authorization",
        "close, Authorization",
        "Host",
        "content-length",
        "keep-alive,AUTHORIZATION ,x",
        "cookie",
    ] {
        let response = client.get("/p/a", &[("connection", named)]);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (400, &json!("bad_request")),
            "{named}"
        );
        client = world.gateway.client();
    }
    assert_eq!(world.upstream.requests(), before);
}

#[test]
fn identity_is_ours_to_say() {
    let world = World::start();
    let bearer = world.bearer();
    let spoofed = [
        ("X-Auth-Subject", "root"),
        ("x-auth-subject", "root"),
        ("X-AUTH-CLIENT", "root"),
        ("x-Auth-scopes", "admin"),
        ("x-auth-org", "org_1"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("x-forwarded-host", "evil.test"),
        ("X-Forwarded-Proto", "https"),
        ("x-forwarded-user", "root"),
        ("Forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("via", "1.1 evil"),
        ("x-request-id", "evil"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("proxy", "http://evil"),
    ];
    for (target, subject) in [("/p/a", None), ("/items/1", Some("auth0|user")), ("/any", None)] {
        let mut fields = spoofed.to_vec();
        if subject.is_some() {
            fields.push(("authorization", &bearer));
        }
        for is_http2 in [false, true] {
            if is_http2 {
                let mut client = Http2Client::connect(world.gateway.http2_address());
                assert_eq!(client.request("GET", target, &fields, b"").unwrap().status, 200);
            } else {
                assert_eq!(world.gateway.client().get(target, &fields).status, 200);
            }
            let seen = world.upstream.last();
            let text = String::from_utf8(seen.head.bytes.clone()).unwrap();
            for word in ["root", "evil", "6.6.6.6", "org_1", "/admin", "DELETE"] {
                assert!(!text.contains(word), "{target}: {word} in {text}");
            }
            assert_eq!(seen.field("x-auth-subject"), subject, "{target}");
            assert_eq!(seen.field("x-auth-client"), subject.map(|_| "client"), "{target}");
            assert_eq!(
                seen.field("x-auth-scopes"),
                subject.map(|_| "read:items"),
                "{target}"
            );
            assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
            assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
            assert_eq!(seen.field("x-forwarded-host"), seen.field("host"));
            assert_eq!(
                seen.field("via"),
                Some(if is_http2 {
                    "2.0 scopegate"
                } else {
                    "1.1 scopegate"
                })
            );
            let id = seen.field("x-request-id").unwrap();
            assert_eq!(world.gateway.folder.log_line("request_id", id)["status"], 200);
        }
    }
    let before = world.upstream.requests();
    for name in ["X_Auth_Subject", "x-auth_subject", "x_forwarded_for"] {
        for target in ["/p/a", "/items/1", "/any"] {
            let fields = [(name, "root"), ("authorization", bearer.as_str())];
            assert_eq!(
                world.gateway.client().get(target, &fields).status,
                400,
                "{name} {target}"
            );
        }
    }
    assert_eq!(world.upstream.requests(), before);
}

#[test]
fn claims_become_headers_that_cannot_break_out() {
    let world = World::start();
    let draft = || {
        let draft = world
            .issuer
            .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
        draft.claim("scope", "read:items")
    };
    for (value, expected) in [
        (json!("org_1"), Some("org_1")),
        (json!("a\r\nX-Admin: 1"), Some("a%0D%0AX-Admin: 1")),
        (json!("caf\u{e9}"), Some("caf%C3%A9")),
        (json!(["a", "b c"]), Some("a b%20c")),
        (json!(7), Some("7")),
        (json!({"a": 1}), None),
        (json!("x".repeat(5_000)), None),
    ] {
        let bearer = format!(
            "Bearer {}",
            world.issuer.sign(&draft().claim("org_id", value.clone()))
        );
        let fields = [("authorization", bearer.as_str()), ("x-auth-org", "mine")];
        assert_eq!(world.gateway.client().get("/items/1", &fields).status, 200);
        let seen = world.upstream.last();
        assert_eq!(seen.field("x-auth-org"), expected, "{value}");
        assert!(seen.head.all("x-admin").is_empty());
    }
}

#[test]
fn the_token_is_kept_or_stripped() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    for (word, is_kept) in [("keep", true), ("strip", false)] {
        let rest = format!(
            "    forward: {{ token: {word} }}\n    routes: [{{ path: /items, require: read:items }}, {{ path: /p, require: public }}]\n"
        );
        let gateway = Gateway::start(&items(&issuer, &upstream, &rest));
        let bearer = format!("Bearer {}", issuer.token(ITEMS, "read:items"));
        for target in ["/items", "/p"] {
            assert_eq!(
                gateway.client().get(target, &[("authorization", &bearer)]).status,
                200
            );
            let expected = is_kept.then_some(bearer.as_str());
            assert_eq!(
                upstream.last().field("authorization"),
                expected,
                "{word} {target}"
            );
        }
    }
}

#[test]
fn http2_becomes_http1() {
    let world = World::start();
    let mut client = Http2Client::connect(world.gateway.http2_address());
    let fields = [
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("te", "trailers"),
        ("x-a", "1"),
    ];
    let response = client
        .request("POST", "http://Items.Test:81/p/a?b", &fields, b"body")
        .unwrap();
    assert_eq!(response.status, 200);
    let seen = world.upstream.last();
    assert_eq!(seen.head.start, "POST /p/a?b HTTP/1.1");
    assert_eq!(seen.field("cookie"), Some("a=b; c=d"));
    assert_eq!(seen.field("host"), Some("Items.Test:81"));
    assert_eq!(seen.field("te"), Some("trailers"));
    assert_eq!(seen.body, b"body");
    // `host` beside `:authority` must say the same.
    for (host, status) in [("localhost:1", 400), ("evil.test", 400), ("items.test", 200)] {
        let response = client
            .request("GET", "http://items.test/p/a", &[("host", host)], b"")
            .unwrap();
        assert_eq!(response.status, status, "{host}");
        if status == 200 {
            assert_eq!(world.upstream.last().field("host"), Some("items.test"));
        }
    }
    for (target, status) in [("ftp://items.test/p/a", 400), ("http://user@items.test/p/a", 400)] {
        assert_eq!(
            client.request("GET", target, &[], b"").unwrap().status,
            status,
            "{target}"
        );
    }
    let refused = client.request("HEAD", "/nowhere", &[], b"").unwrap();
    assert_eq!((refused.status.as_u16(), refused.body.len()), (404, 0));
    world.upstream.next(Behaviour::Respond(
        200,
        vec![("x-a", "1".into())],
        b"12345".to_vec(),
    ));
    let response = client.request("HEAD", "/p/a", &[], b"").unwrap();
    assert_eq!((response.status.as_u16(), response.body.len()), (200, 0));
    assert_eq!(response.headers["content-length"], "5");
}

#[test]
fn the_host_is_kept_and_absolute_targets_must_agree() {
    let world = World::start();
    for (target, host, forwarded) in [
        ("/p/a", "LocalHost:99", Some("LocalHost:99")),
        ("http://localhost/p/a", "localhost", Some("localhost")),
        ("http://LOCALHOST/p/a", "localhost", Some("localhost")),
        ("http://localhost/p/a", "other.test", None),
        ("http://localhost:80/p/a", "localhost", None),
    ] {
        let before = world.upstream.requests();
        let response = world.gateway.client().get(target, &[("host", host)]);
        match forwarded {
            Some(expected) => {
                assert_eq!(response.status, 200, "{target} {host}");
                let seen = world.upstream.last();
                assert_eq!((seen.field("host"), seen.target()), (Some(expected), "/p/a"));
            }
            None => assert_eq!(
                (response.status, world.upstream.requests()),
                (400, before),
                "{target} {host}"
            ),
        }
    }
}

#[test]
fn responses_without_bodies_have_none() {
    let world = World::start();
    let mut client = world.gateway.client();
    for status in [204, 304] {
        world.upstream.next(Behaviour::Respond(
            status,
            vec![("etag", "\"a\"".into())],
            Vec::new(),
        ));
        let response = client.get("/p/a", &[]);
        assert_eq!((response.status, response.body.len()), (status, 0));
        assert_eq!(response.field("etag"), Some("\"a\""));
        assert!(response.head.all("transfer-encoding").is_empty());
    }
    world
        .upstream
        .next(Behaviour::Respond(200, vec![], b"12345".to_vec()));
    let response = client.request("HEAD", "/p/a", &[], b"");
    assert_eq!(response.field("content-length"), Some("5"));
    assert_eq!(client.get("/p/b", &[]).json()["target"], "/p/b");
    assert_eq!(world.upstream.connections(), 1);
    // A body where none may be: not forwarded, and the connection is not used again.
    world
        .upstream
        .next(Behaviour::Raw(b"HTTP/1.1 204 No Content\r\n\r\nsurplus".to_vec()));
    assert_eq!(client.get("/p/a", &[]).status, 204);
    assert_eq!(client.get("/p/c", &[]).json()["target"], "/p/c");
    assert_eq!(world.upstream.connections(), 2);
}

#[test]
fn informational_responses_and_trailers_pass() {
    let world = World::start();
    let mut client = world.gateway.client();
    world.upstream.next(Behaviour::Informational(
        vec![
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n",
        ],
        Box::new(Behaviour::Echo),
    ));
    let response = client.get("/p/a", &[]);
    assert_eq!((response.status, response.informational.len()), (200, 2));
    world.upstream.next(Behaviour::Chunks {
        chunks: vec![b"a".to_vec(), b"bc".to_vec()],
        pause: Duration::ZERO,
        trailers: vec![("x-sum", "3")],
    });
    client.send(head(
        "GET",
        "/p/a",
        &[("te", "trailers"), ("connection", "te")],
        None,
    ));
    let response = client.response();
    assert_eq!(response.body, b"abc");
    // Request trailers: what may not be a trailer does not become one.
    client.send(
        "POST /p/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         3\r\nabc\r\n0\r\nx-sum: 3\r\nauthorization: Bearer x\r\nx-auth-subject: root\r\nx_auth_subject: root\r\n\
         content-length: 5\r\nhost: evil\r\n\r\n",
    );
    assert_eq!(client.response_to("POST").status, 200);
    let seen = world.upstream.last();
    assert_eq!(seen.body, b"abc");
    let names: Vec<&str> = seen.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-sum"]);
    // HTTP/2 needs no announcement.
    world.upstream.next(Behaviour::Chunks {
        chunks: vec![b"abc".to_vec()],
        pause: Duration::ZERO,
        trailers: vec![("x-sum", "3")],
    });
    let mut http2 = Http2Client::connect(world.gateway.http2_address());
    let response = http2.request("GET", "/p/a", &[("te", "trailers")], b"").unwrap();
    assert_eq!(response.body, "abc");
    assert_eq!(response.trailers.unwrap()["x-sum"], "3");
}

#[test]
fn expectations_are_answered_after_the_decision() {
    let world = World::start();
    let fields = [("expect", "100-continue")];
    let mut client = world.gateway.client();
    client.send(head("POST", "/items/1", &fields, Some(5)));
    let refused = client.response_to("POST");
    assert_eq!(
        (refused.status, refused.informational.len()),
        (401, 0),
        "no 100 before a refusal"
    );
    assert_eq!(world.upstream.requests(), 0);

    let mut client = world.gateway.client();
    client.send(head("POST", "/p/a", &fields, Some(5)));
    let mut early = client.some_bytes();
    while !early.ends_with(b"\r\n\r\n") {
        early.extend(client.some_bytes());
    }
    assert!(
        early.starts_with(b"HTTP/1.1 100"),
        "{}",
        String::from_utf8_lossy(&early)
    );
    client.send("hello");
    assert_eq!(client.response_to("POST").status, 200);
    let seen = world.upstream.last();
    assert_eq!(
        (seen.body.as_slice(), seen.head.all("expect").len()),
        (&b"hello"[..], 0)
    );
}

#[test]
fn bodies_stream_both_ways() {
    let world = World::start();
    // Up: the response comes before the request has ended, chunk by chunk.
    world.upstream.next(Behaviour::Chunks {
        chunks: vec![b"first".to_vec(), b"second".to_vec()],
        pause: Duration::from_secs(2),
        trailers: vec![],
    });
    let mut client = world.gateway.client();
    let began = Instant::now();
    client.send(head("GET", "/p/a", &[], None));
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("first") {
        text.extend(client.some_bytes());
    }
    assert!(
        began.elapsed() < Duration::from_millis(1_900),
        "held back until the end"
    );
    assert!(!String::from_utf8_lossy(&text).contains("second"));

    // 64 MiB down and up, through a gateway that holds little of it.
    let large = vec![b'x'; 48 << 20];
    let resident = || {
        world
            .gateway
            .metrics()
            .value("process_resident_memory_bytes", &[])
    };
    world
        .upstream
        .next(Behaviour::Respond(200, vec![], large.clone()));
    let before = resident();
    let mut client = world.gateway.client();
    client.send(head("GET", "/p/a", &[], None));
    world.upstream.wait_for_requests(2);
    // Nobody reads: what is on its way is bounded by buffers, not by the body.
    std::thread::park_timeout(Duration::from_millis(300));
    let while_stalled = resident();
    let held = while_stalled - before;
    assert!(held < f64::from(24 << 20), "{held} bytes more while nobody reads");
    assert_eq!(client.response().body.len(), large.len());
    let response = client.request("POST", "/p/a", &[], &large[..32 << 20]);
    assert_eq!(response.status, 200);
    assert_eq!(world.upstream.last().body.len(), 32 << 20);
    world.gateway.until_idle();
}

#[test]
fn a_connection_is_used_again_after_an_exact_end_only() {
    let world = World::start();
    let mut client = world.gateway.client();
    for n in 0..200 {
        let target = format!("/p/{n}");
        let response = if n % 2 == 0 {
            client.get(&target, &[])
        } else {
            client.request("POST", &target, &[], b"body")
        };
        assert_eq!(response.json()["target"], target);
    }
    assert_eq!(
        (world.upstream.connections(), world.upstream.requests()),
        (1, 200)
    );

    // Longer than it said: what is left over is no response to the next request.
    let surplus =
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for n in 0..10 {
        world.upstream.next(Behaviour::Raw(surplus.to_vec()));
        assert_eq!(client.get("/p/a", &[]).body, b"ok");
        let next = client.get("/p/next", &[]);
        assert_eq!(next.json()["target"], "/p/next", "{n}");
    }
    // Shorter than it said: the client must not take it for whole.
    world.upstream.next(Behaviour::ShortBody {
        said: 10,
        sent: b"abc".to_vec(),
    });
    client.send(head("GET", "/p/a", &[], None));
    client.try_response_to("GET").expect_err("cut short");
    let mut client = world.gateway.client();
    assert_eq!(client.get("/p/b", &[]).json()["target"], "/p/b");

    // An answer before the request body was read: the connection is in an unknown state.
    let before = world.upstream.connections();
    world.upstream.next(Behaviour::Early(Box::new(Behaviour::Respond(
        403,
        vec![],
        b"no".to_vec(),
    ))));
    let mut early = world.gateway.client();
    early.send(head("POST", "/p/a", &[], Some(1_000)));
    assert_eq!(early.response_to("POST").status, 403);
    drop(early);
    assert_eq!(client.get("/p/b", &[]).status, 200);
    assert!(world.upstream.connections() <= before + 1);

    // The upstream says that it closes.
    world.upstream.next(Behaviour::Respond(
        200,
        vec![("connection", "close".into())],
        b"x".to_vec(),
    ));
    assert_eq!(client.get("/p/a", &[]).body, b"x");
    assert_eq!(client.get("/p/b", &[]).status, 200);
    assert_eq!(world.upstream.broken(), 0);
    world.gateway.until_idle();
}

/// An upstream that answers before it has read the request body, and does not close. The next request must not wait
/// behind a body that may never end, and must not be read as part of it.
#[test]
fn a_request_that_is_not_over_keeps_its_connection() {
    let upstream = Server::start(|mut wire, _number| {
        while let Ok(Some(_head)) = wire.within(DEADLINE).head() {
            if wire
                .send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .is_err()
            {
                return;
            }
        }
    });
    let issuer = Issuer::start();
    let yaml = format!(
        "workers: 1
issuers: [{{ issuer: {} }}]
apis:
  - definition: {{ identifier: {ITEMS} }}
    upstream: http://{}
    routes: [{{ path: /p, require: public, timeout: 2s }}]
",
        issuer.identifier(),
        upstream.address()
    );
    let gateway = Gateway::start(&yaml);
    let mut early = gateway.client();
    early.send(head("POST", "/p", &[], Some(1_000)));
    early.send("some of it");
    assert_eq!(early.response_to("POST").body, b"ok");
    assert_eq!(gateway.client().get("/p", &[]).body, b"ok");
    assert_eq!(upstream.connections(), 2);
    // After an exact end a connection is used again.
    assert_eq!(gateway.client().get("/p", &[]).body, b"ok");
    assert_eq!(upstream.connections(), 2);
    drop(early);
    gateway.until_idle();
}

#[test]
fn responses_that_can_be_read_twice_are_no_responses() {
    let world = World::start();
    for (name, bytes) in [
        (
            "two lengths",
            &b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"[..],
        ),
        ("no status", b"HELLO\r\n\r\n"),
        ("a bad length", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
        (
            "a length in words",
            b"HTTP/1.1 200 OK\r\ncontent-length: one\r\n\r\n",
        ),
        ("a bad name", b"HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n"),
        ("a NUL", b"HTTP/1.1 200 OK\r\nx-a: a\0b\r\n\r\n"),
        ("a bare CR", b"HTTP/1.1 200 OK\r\nx-a: a\rb\r\n\r\n"),
        (
            "an upgrade nobody asked for",
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ),
        (
            "both framings",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "another coding",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("many lines", b"HTTP/1.1 200 OK\r\n"),
        ("nothing", b""),
    ] {
        let bytes = if name == "many lines" {
            let lines: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
            [bytes, lines.as_bytes(), b"\r\n"].concat()
        } else {
            bytes.to_vec()
        };
        world.upstream.next(Behaviour::RawAndClose(bytes));
        let before = world.upstream.requests();
        let response = world.gateway.client().get("/p/a", &[]);
        assert_eq!(response.status, 502, "{name}");
        assert_eq!(response.json()["reason"], "upstream_protocol", "{name}");
        assert_eq!(world.upstream.requests() - before, 1, "{name}: sent once");
    }
    assert_eq!(world.gateway.client().get("/p/b", &[]).json()["target"], "/p/b");
    world.gateway.until_idle();
}

#[test]
fn a_client_that_leaves_takes_its_request_along() {
    let world = World::start();
    let chunks = vec![vec![b'x'; 10]; 1_000];
    for (n, behaviour) in [
        Behaviour::Hang,
        Behaviour::Chunks {
            chunks,
            pause: Duration::from_millis(50),
            trailers: vec![],
        },
    ]
    .into_iter()
    .enumerate()
    {
        world.upstream.next(behaviour.clone());
        let mut client = world.gateway.client();
        client.send(head("GET", "/p/left", &[], None));
        world.upstream.wait_for_requests(n + 1);
        if !matches!(behaviour, Behaviour::Hang) {
            client.some_bytes();
        }
        drop(client);
        world.gateway.until_idle();
        // The connection ended with the request: the next one needs another.
        assert_eq!(world.upstream.connections(), n + 1);
    }
    eventually("a line of the access log about the client that left", || {
        world
            .gateway
            .folder
            .log()
            .iter()
            .any(|line| line["status"] == 499)
    });
    assert_eq!(world.gateway.client().get("/p/a", &[]).status, 200);
    assert_eq!(world.upstream.connections(), 3);
}

#[test]
fn an_idle_connection_that_closes_is_no_error() {
    let world = World::start();
    let mut client = world.gateway.client();
    for n in 0..30 {
        assert_eq!(
            client.request("POST", &format!("/p/{n}"), &[], b"x").status,
            200,
            "{n}"
        );
        world.upstream.disconnect_all();
        if n % 3 == 0 {
            // Give the gateway the time to notice, or not.
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
    // Nothing was sent twice.
    let targets: Vec<String> = world
        .upstream
        .seen()
        .iter()
        .map(|seen| seen.target().to_owned())
        .collect();
    let expected: Vec<String> = (0..30).map(|n| format!("/p/{n}")).collect();
    assert_eq!(targets, expected);
}

#[test]
fn what_was_sent_is_never_sent_again() {
    let world = World::start();
    let mut client = world.gateway.client();
    assert_eq!(client.get("/p/warm", &[]).status, 200);
    for method in ["GET", "POST", "PUT"] {
        world.upstream.next(Behaviour::Close);
        let before = world.upstream.requests();
        let response = client.request(method, "/p/once", &[], b"");
        assert_eq!(response.status, 502, "{method}");
        assert_eq!(world.upstream.requests() - before, 1, "{method}");
        assert_eq!(client.get("/p/warm", &[]).status, 200);
    }
}

#[test]
fn a_slow_upload_is_not_the_fault_of_the_upstream() {
    let settings = "workers: 1\ntimeouts: { body: 5s }\n";
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let routes = "    routes: [{ path: /slow, require: public, timeout: 600ms }]\n";
    let gateway = Gateway::start(&format!("{settings}{}", items(&issuer, &upstream, routes)));
    let mut client = gateway.client();
    client.send(head("POST", "/slow", &[], Some(8)));
    for _ in 0..8 {
        std::thread::park_timeout(Duration::from_millis(200));
        client.send("x");
    }
    let response = client.response_to("POST");
    assert_eq!(response.status, 200, "{}", response.text());
    // And one that stops is told that it stopped.
    let mut client = gateway.client();
    client.send(head("POST", "/slow", &[], Some(8)));
    client.send("x");
    let response = client.response_to("POST");
    assert_eq!(response.json()["reason"], "request_timeout");
    eventually("the failure to be counted", || {
        let metrics = gateway.metrics();
        metrics.value("scopegate_upstream_requests_total", &[("result", "timeout")]) == 0.0
    });
}
