//! Responses that go on and on: each part reaches the client when it comes, silence is borne for as long as it may be,
//! and the end is told in the client's way.

use std::time::{Duration, Instant};

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::json;

use crate::harness::client::head;
use crate::harness::gateway::{ITEMS, items};
use crate::harness::issuer::now;
use crate::harness::{Behaviour, Client, Gateway, Http2Client, Issuer, Upstream};

const ROUTES: &str = "    leeway: 0s
    cors_preflight: forward
    routes:
      - { path: /events, methods: [GET], require: read:items }
      - { path: /quiet, require: public, idle_timeout: 300ms }
      - { path: /keep, require: read:items, on_expiry: continue }
      - { path: /slow, require: public, timeout: 300ms }
      - { path: \"/p/{*rest}\", require: public }
";
const EVENTS: &str = "content-type: text/event-stream; charset=utf-8\r\n";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn start() -> Self {
        Self::start_with("")
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

    fn bearer(&self, seconds: i64) -> String {
        let draft = self
            .issuer
            .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS)
            .claim("scope", "read:items")
            .claim("exp", now() + seconds);
        format!("Bearer {}", self.issuer.sign(&draft))
    }
}

/// Reads until this has come.
#[track_caller]
fn read_until(client: &mut Client, text: &mut String, wanted: &str) {
    while !text.contains(wanted) {
        let more = client.some_bytes();
        assert!(!more.is_empty(), "closed before {wanted}: {text}");
        text.push_str(&String::from_utf8(more).unwrap());
    }
}

#[test]
fn events_arrive_one_by_one() {
    let world = World::start();
    let events = || Behaviour::Steps {
        fields: EVENTS,
        chunks: vec!["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"],
    };
    let bearer = world.bearer(60);
    // The upstream does not send an event before the one before it has arrived.
    world.upstream.next(events());
    let mut client = world.gateway.client();
    client.send(head("GET", "/events", &[("authorization", &bearer)], None));
    let mut text = String::new();
    for number in 1..=3 {
        world.upstream.release();
        read_until(&mut client, &mut text, &format!("data: {number}\n\n"));
        assert!(!text.contains(&format!("data: {}", number + 1)));
    }

    world.upstream.next(events());
    let mut http2 = Http2Client::connect(world.gateway.http2_address());
    let mut stream = http2
        .open("GET", "/events", &[("authorization", &bearer)])
        .unwrap();
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream; charset=utf-8");
    for number in 1..=3 {
        world.upstream.release();
        let frame = http2.frame(&mut stream).unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {number}\n\n"));
    }
    let end = http2.frame(&mut stream);
    assert!(end.is_none_or(|frame| frame.unwrap().into_data().unwrap().is_empty()));
    world.gateway.until_idle();
}

#[test]
fn silence_is_borne_for_as_long_as_the_route_says() {
    let world = World::start_with("timeouts: { stream_idle: 1m }\n");
    let quiet = |fields| Behaviour::Steps {
        fields,
        chunks: vec!["data: 1\n\n", "data: 2\n\n"],
    };
    // A route's own time holds for any response.
    for fields in ["", EVENTS] {
        let world = World::start_with("timeouts: { stream_idle: 1m }\n");
        world.upstream.next(quiet(fields));
        let mut client = world.gateway.client();
        client.send(head("GET", "/quiet", &[], None));
        world.upstream.release();
        let text = String::from_utf8(client.rest()).unwrap();
        assert!(text.contains("data: 1") && !text.contains("\r\n0\r\n"), "{text}");
    }
    // A head that came in time is no stream's deadline.
    world.upstream.next(quiet(EVENTS));
    let mut client = world.gateway.client();
    client.send(head("GET", "/slow", &[], None));
    let head = String::from_utf8(client.some_bytes()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        !client.is_closed_within(Duration::from_millis(900)),
        "cut by the time that is for the head"
    );
    world.upstream.release();
    world.upstream.release();
    let mut text = String::new();
    read_until(&mut client, &mut text, "data: 2");
    world.gateway.until_idle();
}

#[test]
fn an_event_stream_may_be_silent_for_longer_than_a_file() {
    let is_closed_within = |time, fields| {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let servers = format!(
            "upstream: {{ servers: [\"{}\"], idle_timeout: 300ms }}",
            upstream.url()
        );
        let yaml =
            items(&issuer, &upstream, ROUTES).replace(&format!("upstream: {}", upstream.url()), &servers);
        let gateway = Gateway::start(&yaml);
        upstream.next(Behaviour::Steps {
            fields,
            chunks: vec!["one", "two"],
        });
        let mut client = gateway.client();
        client.send(head("GET", "/p/a", &[], None));
        upstream.release();
        let mut text = String::new();
        read_until(&mut client, &mut text, "one");
        client.is_closed_within(time)
    };
    assert!(!is_closed_within(Duration::from_millis(1_000), EVENTS));
    assert!(is_closed_within(
        Duration::from_secs(10),
        "content-type: text/plain\r\n"
    ));
}

#[test]
fn an_event_stream_does_not_outlive_its_token() {
    for (target, is_cut) in [("/events", true), ("/keep", false)] {
        let world = World::start();
        world.upstream.next(Behaviour::Steps {
            fields: EVENTS,
            chunks: vec!["data: 1\n\n", "data: 2\n\n"],
        });
        let mut client = world.gateway.client();
        let bearer = world.bearer(3);
        client.send(head("GET", target, &[("authorization", &bearer)], None));
        world.upstream.release();
        let mut text = String::new();
        read_until(&mut client, &mut text, "data: 1");
        let patience = if is_cut { 15 } else { 5 };
        assert_eq!(
            client.is_closed_within(Duration::from_secs(patience)),
            is_cut,
            "{target}"
        );
        if is_cut {
            let line = world.gateway.folder.log_line("route", "/events");
            assert_eq!(
                (&line["status"], &line["reason"]),
                (&json!(200), &json!("expired"))
            );
        }
    }
    // What has a length is no stream, and ends whole.
    let world = World::start();
    world.upstream.next(Behaviour::Delay(
        Duration::from_secs(3),
        Box::new(Behaviour::Respond(
            200,
            vec![("content-type", "text/event-stream".into())],
            b"late".to_vec(),
        )),
    ));
    let bearer = world.bearer(2);
    let response = world
        .gateway
        .client()
        .get("/events", &[("authorization", &bearer)]);
    assert_eq!((response.status, response.text().as_str()), (200, "late"));
}

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

#[test]
fn a_call_ends_when_its_client_has_said() {
    let world = World::start();
    let mut client = Http2Client::connect(world.gateway.http2_address());
    // Before the head of the answer: trailers only.
    world.upstream.next(Behaviour::Hang);
    let began = Instant::now();
    let mut fields = GRPC.to_vec();
    fields.push(("grpc-timeout", "400m"));
    let response = client.request("POST", "/p/a", &fields, b"").unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400) && began.elapsed() < Duration::from_secs(14));
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["grpc-status"], "4");
    assert_eq!(
        response.headers["grpc-message"],
        "upstream_timeout: the upstream did not answer in time"
    );
    // After it: in the trailers of what has come.
    world.upstream.next(Behaviour::Steps {
        fields: "content-type: application/grpc\r\n",
        chunks: vec!["one", "two"],
    });
    let mut stream = client.open("POST", "/p/a", &fields).unwrap();
    world.upstream.release();
    let frame = client.frame(&mut stream).unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "one");
    let frame = client.frame(&mut stream).unwrap().unwrap();
    let trailers = frame.into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    // One that cannot be read, or is there twice, is refused.
    let contacted = world.upstream.requests();
    for timeouts in [&["5s"][..], &["123456789S"], &["1S", "2S"], &[""]] {
        let mut fields = GRPC.to_vec();
        fields.extend(timeouts.iter().map(|timeout| ("grpc-timeout", *timeout)));
        let response = client.request("POST", "/p/a", &fields, b"").unwrap();
        assert_eq!(response.headers["grpc-status"], "3", "{timeouts:?}");
        assert_eq!(
            response.headers["grpc-message"],
            "bad_request: the request is malformed"
        );
    }
    assert_eq!(world.upstream.requests(), contacted);
    // It is no call of gRPC: the field means nothing.
    let response = client
        .request("POST", "/p/a", &[("grpc-timeout", "5s")], b"")
        .unwrap();
    assert_eq!(
        (response.status.as_u16(), response.headers.get("grpc-status")),
        (200, None)
    );
    world.gateway.until_idle();
}

#[test]
fn what_breaks_off_a_call_is_told_in_its_trailers() {
    let world = World::start();
    let mut client = Http2Client::connect(world.gateway.http2_address());
    world.upstream.next(Behaviour::RawAndClose(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n".to_vec(),
    ));
    let response = client.request("POST", "/p/a", &GRPC, b"").unwrap();
    assert_eq!(response.body, "one");
    assert_eq!(response.trailers.unwrap()["grpc-status"], "14");
    // A token that expires ends a stream, and says so.
    world.upstream.next(Behaviour::Steps {
        fields: "content-type: application/grpc\r\n",
        chunks: vec!["one", "two"],
    });
    let bearer = world.bearer(3);
    let mut fields = GRPC.to_vec();
    fields.push(("authorization", &bearer));
    let mut stream = client.open("GET", "/events", &fields).unwrap();
    world.upstream.release();
    let frame = client.frame(&mut stream).unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "one");
    let frame = client.frame(&mut stream).unwrap().unwrap();
    let trailers = frame.into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "16");
    assert_eq!(trailers["grpc-message"], "expired: the token has expired");
    world.gateway.until_idle();
}

#[test]
fn grpc_is_what_says_so_over_http2() {
    let world = World::start();
    let mut client = Http2Client::connect(world.gateway.http2_address());
    for (content_type, is_grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;x=y", true),
        ("application/grpc-web+proto", false),
        ("application/grpcish", false),
        ("application/json", false),
    ] {
        let fields = [("content-type", content_type)];
        let response = client.request("GET", "/events", &fields, b"").unwrap();
        let expected = if is_grpc { (200, true) } else { (401, false) };
        let found = (
            response.status.as_u16(),
            response.headers.contains_key("grpc-status"),
        );
        assert_eq!(found, expected, "{content_type}");
        assert_eq!(
            response.headers["www-authenticate"],
            format!("Bearer realm=\"{ITEMS}\"").as_str(),
            "{content_type}: the challenge is there in either form"
        );
    }
    let response = world.gateway.client().get("/events", &GRPC[..1]);
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (401, &json!("missing_token"))
    );
    assert_eq!(world.upstream.requests(), 0);
}

#[test]
fn trailers_of_a_response_are_cleaned() {
    let world = World::start();
    world.upstream.next(Behaviour::Chunks {
        chunks: vec![b"abc".to_vec()],
        pause: Duration::ZERO,
        trailers: vec![
            ("x-sum", "3"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("content-length", "7"),
            ("upgrade", "websocket"),
        ],
    });
    let mut http2 = Http2Client::connect(world.gateway.http2_address());
    let response = http2.request("GET", "/p/a", &[("te", "trailers")], b"").unwrap();
    let trailers = response.trailers.unwrap();
    assert_eq!(
        trailers.keys().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["x-sum"]
    );
    // HTTP/1.1 carries what was announced, to those who can read it.
    world.upstream.next(Behaviour::Raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 3\r\n\
          x-other: 1\r\n\r\n"
            .to_vec(),
    ));
    let mut client = world.gateway.client();
    let response = client.get("/p/a", &[("te", "trailers"), ("connection", "te")]);
    assert_eq!(response.trailers, [("x-sum".to_owned(), "3".to_owned())]);
    assert_eq!(client.get("/p/b", &[]).status, 200);
}

#[test]
fn an_expectation_is_answered_before_the_body_or_not_at_all() {
    let world = World::start();
    for (expect, status) in [("200-ok", 417), ("100-continue, x", 417), ("", 417)] {
        let mut client = world.gateway.client();
        client.send(head("POST", "/p/a", &[("expect", expect)], Some(5)));
        let response = client.response_to("POST");
        assert_eq!(
            (response.status, response.informational.len()),
            (status, 0),
            "{expect}"
        );
        assert_eq!(response.json()["reason"], "expectation_failed");
    }
    assert_eq!(world.upstream.requests(), 0);
    // Any case; and the connection is in step afterwards.
    let mut client = world.gateway.client();
    client.send(head("POST", "/p/a", &[("expect", "100-Continue")], Some(5)));
    let mut early = client.some_bytes();
    while !early.ends_with(b"\r\n\r\n") {
        early.extend(client.some_bytes());
    }
    assert!(early.starts_with(b"HTTP/1.1 100"));
    client.send("hello");
    assert_eq!(client.response_to("POST").json()["body"], "hello");
    assert_eq!(client.get("/p/b", &[]).json()["target"], "/p/b");
    // A refusal before the body: what comes afterwards is not taken for a request.
    let mut client = world.gateway.client();
    client.send(head("GET", "/events", &[("expect", "100-continue")], Some(32)));
    let refused = client.response();
    assert_eq!((refused.status, refused.informational.len()), (401, 0));
    client.send("GET /p/smuggled HTTP/1.1\r\n\r\n    ");
    drop(client.try_response_to("GET"));
    assert!(
        world
            .upstream
            .seen()
            .iter()
            .all(|seen| seen.target() != "/p/smuggled")
    );
}

#[test]
fn a_body_after_head_does_not_put_the_connection_out_of_step() {
    let world = World::start();
    let mut client = world.gateway.client();
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\nx-smuggled: 1\r\n\r\nwrong!",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n",
    ] {
        world.upstream.next(Behaviour::Raw(answer.as_bytes().to_vec()));
        let response = client.request("HEAD", "/p/a", &[], b"");
        assert_eq!((response.status, response.body.len()), (200, 0));
        let response = client.get("/p/next", &[]);
        assert_eq!(response.json()["target"], "/p/next", "{answer}");
        assert!(response.head.all("x-smuggled").is_empty());
    }
}

#[test]
fn a_preflight_is_what_has_all_three_of_its_marks() {
    let world = World::start();
    let preflight = [
        ("origin", "https://app.test"),
        ("access-control-request-method", "GET"),
    ];
    let mut client = world.gateway.client();
    let response = client.request("OPTIONS", "/events", &preflight, b"");
    assert_eq!(response.json()["method"], "OPTIONS");
    let contacted = world.upstream.requests();
    // Each of them alone is a request like any other: the route has no OPTIONS, and GET needs a token.
    for (method, fields, status) in [
        ("OPTIONS", &preflight[..1], 405),
        ("OPTIONS", &preflight[1..], 405),
        ("GET", &preflight[..], 401),
        (
            "OPTIONS",
            &[("origin", "x"), ("access-control-request-method", "DELETE")][..],
            405,
        ),
        (
            "OPTIONS",
            &[("origin", "x"), ("access-control-request-method", "GET, POST")][..],
            405,
        ),
        (
            "OPTIONS",
            &[("origin", "x"), ("access-control-request-method", "")][..],
            405,
        ),
    ] {
        let response = client.request(method, "/events", fields, b"");
        assert_eq!(response.status, status, "{method} {fields:?}");
    }
    assert_eq!(client.request("OPTIONS", "/nowhere", &preflight, b"").status, 404);
    assert_eq!(world.upstream.requests(), contacted);
}
