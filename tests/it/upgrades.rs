//! WebSockets: nothing changes protocol before its token is found good and its upstream has agreed, no byte overtakes
//! that, and a tunnel ends when it has to.

use std::time::{Duration, Instant};

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::json;

use crate::harness::client::head;
use crate::harness::gateway::{Folder, ITEMS, items};
use crate::harness::issuer::now;
use crate::harness::{Behaviour, Client, Gateway, Http2Client, Issuer, Upstream, eventually};

const ROUTES: &str = "    leeway: 0s
    routes:
      - { path: /chat, methods: [GET], require: read:items, upgrade: [websocket] }
      - { path: /idle, require: read:items, upgrade: [websocket], idle_timeout: 300ms }
      - { path: /keep, require: read:items, upgrade: [websocket], on_expiry: continue }
      - { path: /open, require: public, upgrade: [websocket] }
      - { path: /plain, require: public }
";

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];
/// `x`, masked, as a client sends it.
const FRAME: &[u8] = &[0x82, 0x81, 0, 0, 0, 0, b'x'];
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];
const POLICY_VIOLATION: &[u8] = &[0x88, 2, 0x03, 0xf0];

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
        upstream.behave(Behaviour::Upgrade("websocket"));
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn handshake(&self, target: &str, token: &str) -> Vec<u8> {
        let bearer = format!("Bearer {token}");
        let mut fields = HANDSHAKE.to_vec();
        fields.push(("authorization", &bearer));
        head("GET", target, &fields, None)
    }

    fn good(&self, target: &str) -> Vec<u8> {
        self.handshake(target, &self.issuer.token(ITEMS, "read:items"))
    }

    /// A tunnel that echoes.
    #[track_caller]
    fn tunnel(&self, handshake: &[u8]) -> Client {
        let mut client = self.gateway.client();
        client.send(handshake);
        let response = client.response();
        assert_eq!(response.status, 101, "{}", response.text());
        client
    }

    /// A token that is good for so many seconds.
    fn short_lived(&self, seconds: i64) -> String {
        let draft = self
            .issuer
            .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS)
            .claim("scope", "read:items")
            .claim("exp", now() + seconds);
        self.issuer.sign(&draft)
    }

    fn ended(&self, end: &str) -> f64 {
        let metrics = self.gateway.metrics();
        metrics.value("scopegate_upgrades_total", &[("end", end)])
    }
}

#[track_caller]
fn echoes(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        let more = client.some_bytes();
        assert!(!more.is_empty(), "it closed after {} bytes", got.len());
        got.extend(more);
    }
    assert!(
        got == bytes,
        "{} bytes came back, others than were sent",
        got.len()
    );
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_is_recorded() {
    let world = World::start();
    let mut client = world.gateway.client();
    client.send(world.good("/chat"));
    let response = client.response();
    assert_eq!(response.status, 101);
    assert_eq!(response.field("upgrade"), Some("websocket"));
    assert_eq!(response.field("connection"), Some("upgrade"));
    assert_eq!(
        response.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert!(response.head.all("content-length").is_empty());
    let seen = world.upstream.last();
    assert_eq!(seen.field("upgrade"), Some("websocket"));
    assert_eq!(seen.field("connection"), Some("upgrade"));
    assert_eq!(seen.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    echoes(&mut client, FRAME);
    echoes(&mut client, &vec![7; 1 << 20]);
    let metrics = world.gateway.metrics();
    assert_eq!(metrics.value("scopegate_upgrades_open", &[]), 1.0);
    assert_eq!(metrics.value("scopegate_http_requests_in_flight", &[]), 1.0);
    client.finish();
    assert_eq!(client.rest(), b"");
    eventually("the end of the tunnel", || world.ended("closed") == 1.0);
    assert_eq!(world.gateway.metrics().value("scopegate_upgrades_open", &[]), 0.0);
    let line = world.gateway.folder.log_line("route", "/chat");
    let bytes = (1 << 20) + FRAME.len();
    assert_eq!(
        (
            &line["status"],
            &line["reason"],
            &line["bytes_in"],
            &line["bytes_out"]
        ),
        (&json!(101), &json!("ok"), &json!(bytes), &json!(bytes)),
        "{line}"
    );
    world.gateway.until_idle();
}

#[test]
fn half_a_close_leaves_the_other_half_open() {
    let world = World::start();
    let mut client = world.tunnel(&world.good("/chat"));
    // The upstream answers with what it has read when there is no more to read; then both halves are closed.
    client.send(vec![9; 300_000]);
    client.finish();
    assert_eq!(client.rest().len(), 300_000);
    eventually("the end of the tunnel", || world.ended("closed") == 1.0);
}

#[test]
fn a_refusal_comes_before_any_upgrade() {
    let world = World::start();
    let mut client = world.gateway.client();
    client.send(head("GET", "/chat", &HANDSHAKE, None));
    let response = client.response();
    assert_eq!(response.status, 401);
    assert_eq!(response.json()["reason"], "missing_token");
    assert_eq!(
        response.field("www-authenticate"),
        Some(&*format!("Bearer realm=\"{ITEMS}\""))
    );
    // The connection goes on as HTTP.
    let weak = world.issuer.token(ITEMS, "write:items");
    client.send(world.handshake("/chat", &weak));
    let response = client.response();
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (403, &json!("insufficient_scope"))
    );
    client.send(world.handshake("/chat", &world.short_lived(-5)));
    assert_eq!(client.response().json()["reason"], "expired");
    assert_eq!((world.upstream.requests(), world.upstream.connections()), (0, 0));
    assert_eq!(world.gateway.metrics().value("scopegate_upgrades_open", &[]), 0.0);
}

#[test]
fn early_bytes_wait_for_the_upstream_to_agree() {
    let world = World::start();
    world
        .upstream
        .next(Behaviour::Hold(Box::new(Behaviour::Upgrade("websocket"))));
    let mut client = world.gateway.client();
    let mut bytes = world.good("/chat");
    bytes.extend(b"GET /admin HTTP/1.1\r\nhost: localhost\r\n\r\n");
    client.send(&bytes);
    world.upstream.wait_for_requests(1);
    assert!(!client.is_closed_within(Duration::from_millis(100)));
    world.upstream.release();
    assert_eq!(client.response().status, 101);
    assert_eq!(
        client.some_bytes(),
        b"GET /admin HTTP/1.1\r\nhost: localhost\r\n\r\n"
    );
    assert_eq!(world.upstream.requests(), 1, "in the tunnel they were no request");

    // Where it does not agree they are the next request, and decided on as such.
    world.upstream.next(Behaviour::Respond(
        426,
        vec![("x-own", "1".into())],
        b"no".to_vec(),
    ));
    let mut client = world.gateway.client();
    let mut bytes = world.good("/chat");
    bytes.extend(head("GET", "/nowhere", &[], None));
    bytes.extend(head("GET", "/chat", &[], None));
    client.send(&bytes);
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (426, "no"));
    assert_eq!(response.field("x-own"), Some("1"));
    assert!(response.head.all("upgrade").is_empty());
    assert_eq!(client.response().json()["reason"], "no_route");
    assert_eq!(client.response().json()["reason"], "missing_token");
    assert_eq!((world.upstream.requests(), world.upstream.broken()), (2, 0));
}

#[test]
fn an_answer_that_only_looks_like_agreement_is_none() {
    let world = World::start();
    let head = |fields: &str| format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n").into_bytes();
    let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    for fields in [
        String::new(),
        format!("connection: upgrade\r\nupgrade: h2c\r\n{accept}"),
        format!("connection: upgrade\r\n{accept}"),
        format!("upgrade: websocket\r\n{accept}"),
        "connection: upgrade\r\nupgrade: websocket\r\n".to_owned(),
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n".to_owned(),
        format!("connection: upgrade\r\nupgrade: websocket\r\nupgrade: h2c\r\n{accept}"),
    ] {
        world.upstream.next(Behaviour::Raw(head(&fields)));
        let mut client = world.gateway.client();
        client.send(world.good("/chat"));
        let response = client.response();
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (502, &json!("upstream_protocol")),
            "{fields}"
        );
        // What comes next is a request, not a tunnel.
        client.send("GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.response().status, 404, "{fields}");
    }
    // Nobody has asked for another protocol.
    let sound = format!("connection: upgrade\r\nupgrade: websocket\r\n{accept}");
    for target in ["/plain", "/open"] {
        world.upstream.next(Behaviour::Raw(head(&sound)));
        assert_eq!(world.gateway.client().get(target, &[]).status, 502, "{target}");
    }
    assert_eq!(world.gateway.metrics().value("scopegate_upgrades_open", &[]), 0.0);
}

#[test]
fn only_websockets_and_only_where_the_route_says_so() {
    let world = World::start();
    world.upstream.behave(Behaviour::Echo);
    for (target, protocol) in [
        ("/plain", "websocket"),
        ("/plain", "h2c"),
        ("/open", "h2c"),
        ("/open", "TLS/1.2"),
    ] {
        let fields = [
            ("connection", "upgrade, http2-settings"),
            ("upgrade", protocol),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        assert_eq!(world.gateway.client().get(target, &fields).status, 200);
        let seen = world.upstream.last();
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert!(seen.head.all(gone).is_empty(), "{target} {protocol} {gone}");
        }
    }
}

#[test]
fn a_handshake_that_is_none_is_refused() {
    let world = World::start();
    let contacted = world.upstream.requests();
    let with = |index: usize, value: &'static str| {
        let mut fields = HANDSHAKE;
        fields[index].1 = value;
        fields
    };
    for fields in [
        with(0, "close"),
        with(1, "websocket, h2c"),
        with(2, "short"),
        with(3, "8"),
    ] {
        let response = world.gateway.client().get("/open", &fields);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (400, &json!("bad_request")),
            "{fields:?}"
        );
    }
    // A body before a tunnel is one that somebody will misread.
    let response = world
        .gateway
        .client()
        .request("GET", "/open", &HANDSHAKE, b"body");
    assert_eq!(response.status, 400);
    let response = world.gateway.client().request("POST", "/open", &HANDSHAKE, b"");
    assert_eq!(response.status, 400);
    assert_eq!(world.upstream.requests(), contacted);
}

#[test]
fn a_tunnel_on_which_nothing_moves_is_closed() {
    let world = World::start();
    let mut client = world.tunnel(&world.good("/idle"));
    let began = Instant::now();
    // For as long as something moves it stays.
    while began.elapsed() < Duration::from_millis(900) {
        echoes(&mut client, FRAME);
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(world.ended("idle"), 0.0);
    assert_eq!(client.rest(), GOING_AWAY);
    eventually("the end of the tunnel", || world.ended("idle") == 1.0);

    // In the middle of a frame nothing can be said.
    let mut client = world.tunnel(&world.good("/idle"));
    echoes(&mut client, &FRAME[..4]);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_tunnel_does_not_outlive_its_token() {
    let world = World::start();
    let mut client = world.tunnel(&world.handshake("/chat", &world.short_lived(3)));
    let mut kept = world.tunnel(&world.handshake("/keep", &world.short_lived(3)));
    let mut longer = world.tunnel(&world.good("/chat"));
    echoes(&mut client, FRAME);
    assert_eq!(client.rest(), POLICY_VIOLATION);
    eventually("the end of the tunnel", || world.ended("expired") == 1.0);
    let line = world.gateway.folder.log_line("reason", "expired");
    assert_eq!((&line["status"], &line["route"]), (&json!(101), &json!("/chat")));
    echoes(&mut kept, FRAME);
    echoes(&mut longer, FRAME);
    assert_eq!(world.gateway.metrics().value("scopegate_upgrades_open", &[]), 2.0);
}

#[test]
fn a_drain_lets_tunnels_go_on_and_then_says_goodbye() {
    let world = World::start_with("timeouts: { drain: 4s }\n");
    let mut client = world.tunnel(&world.good("/chat"));
    let address = world.gateway.address();
    let gateway = world.gateway;
    let draining = std::thread::spawn(move || gateway.shut_down());
    eventually("the drain to begin", || Client::try_connect(address).is_err());
    echoes(&mut client, FRAME);
    assert_eq!(client.rest(), GOING_AWAY);
    assert_eq!(draining.join().unwrap(), 0, "it was told, not cut");
}

#[test]
fn a_tunnel_keeps_its_place() {
    let world = World::start_with("limits: { connections: 1 }\n");
    let mut client = world.tunnel(&world.good("/chat"));
    let mut second = world.gateway.client();
    assert!(second.is_closed_within(Duration::from_secs(10)));
    echoes(&mut client, FRAME);
    client.finish();
    assert_eq!(client.rest(), b"");
    eventually("the place to be free", || {
        let mut third = world.gateway.client();
        third.send(head("GET", "/nowhere", &[], None));
        matches!(third.try_response_to("GET"), Ok(Some(response)) if response.status == 404)
    });
}

#[test]
fn a_side_that_breaks_takes_the_other_along() {
    let world = World::start();
    let mut client = world.tunnel(&world.good("/chat"));
    echoes(&mut client, FRAME);
    world.upstream.disconnect_all();
    assert_eq!(client.rest(), b"");
    // This side stays open, and nobody is there any more to speak to: that is not waited out for long.
    world.gateway.until_idle();
    assert_eq!((world.ended("closed"), world.ended("idle")), (1.0, 0.0));
    let mut client = world.tunnel(&world.good("/chat"));
    echoes(&mut client, FRAME);
    drop(client);
    world.gateway.until_idle();
    assert_eq!(world.gateway.metrics().value("scopegate_upgrades_open", &[]), 0.0);
}

#[test]
fn websockets_over_http2_are_not_offered_and_refused() {
    let world = World::start();
    let mut client = Client::connect(world.gateway.http2_address());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // Literal fields without indexing (RFC 7541 section 6.2.2).
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/open"),
        (":authority", "localhost"),
        ("sec-websocket-version", "13"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    let length = u8::try_from(block.len()).unwrap();
    client.send([&[0, 0, length, 1, 0x4, 0, 0, 0, 1], &block[..]].concat());
    let mut bytes = Vec::new();
    let refusal = loop {
        let more = client.some_bytes();
        assert!(!more.is_empty(), "closed: {bytes:?}");
        bytes.extend(more);
        let mut rest = &bytes[..];
        let mut found = None;
        while let Some((head, after)) = rest.split_at_checked(9) {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some((payload, after)) = after.split_at_checked(length) else {
                break;
            };
            match head[3] {
                // ENABLE_CONNECT_PROTOCOL (RFC 8441 section 3) is not among the settings.
                4 => assert!(payload.chunks(6).all(|setting| setting[..2] != [0, 8])),
                1 | 3 if head[8] == 1 => found = Some((head[3], payload.to_vec())),
                _ => {}
            }
            rest = after;
        }
        if let Some(found) = found {
            break found;
        }
    };
    // RST_STREAM with PROTOCOL_ERROR: it was not offered, so it is malformed (RFC 8441 section 4).
    assert_eq!(refusal, (3, vec![0, 0, 0, 1]));
    assert_eq!(world.upstream.requests(), 0);
    // Without `:protocol` it is a request for a tunnel, and told so.
    let mut http2 = Http2Client::connect(world.gateway.http2_address());
    for (name, value) in HANDSHAKE.iter().filter(|(name, _)| name.starts_with("sec-")) {
        let response = http2.request("GET", "/open", &[(name, value)], b"").unwrap();
        assert_ne!(response.status, 101);
    }
}

#[test]
fn a_route_that_could_never_begin_one_is_a_fault() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let faults = |route: &str| {
        let routes = format!("    routes: [{route}]\n");
        let folder = Folder::new(&items(&issuer, &upstream, &routes), &[]);
        scopegate::config::load(&folder.config())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let text = faults("{ path: /a, methods: [POST], require: public, upgrade: [websocket] }");
    assert!(
        text.contains("a WebSocket begins with GET") && text.contains("add GET to `methods`"),
        "{text}"
    );
    let text = faults("{ path: /a, require: public, upgrade: [h2c] }");
    assert!(text.contains("websocket"), "{text}");
}
