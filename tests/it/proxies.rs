//! Proxies in front: the PROXY protocol, `X-Forwarded-*`, request ids and traces, from those that are trusted and from
//! everybody else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::harness::client::head;
use crate::harness::gateway::items;
use crate::harness::tls::{Authority, TlsClient};
use crate::harness::{Client, DEADLINE, Gateway, Issuer, Upstream, eventually};

const ROUTES: &str = "    routes: [{ path: \"/p/{*rest}\", require: public }]\n";

struct World {
    _issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn start(settings: &str, files: &[(&str, &str)]) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let gateway = Gateway::start_with(&format!("{settings}{}", items(&issuer, &upstream, ROUTES)), files);
        Self {
            _issuer: issuer,
            upstream,
            gateway,
        }
    }

    fn headers(&self, result: &str) -> f64 {
        let labels = [("result", result)];
        self.gateway
            .metrics()
            .value("scopegate_proxy_headers_total", &labels)
    }

    /// A request after some bytes. `None`: the connection was closed without an answer.
    fn after(&self, header: &[u8]) -> Option<u16> {
        let mut client = Client::connect(self.gateway.address());
        client.send([header, &head("GET", "/p/a", &[], None)].concat());
        client
            .try_response_to("GET")
            .ok()
            .flatten()
            .map(|response| response.status)
    }

    fn client_seen(&self) -> String {
        self.upstream.last().field("x-forwarded-for").unwrap().to_owned()
    }
}

fn binary(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, fields].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];

#[test]
fn a_proxy_header_names_the_client() {
    let world = World::start(
        "trusted_proxies: [127.0.0.1]\nlisteners: [{ address: 127.0.0.1:0, proxy_protocol: any }]\n",
        &[],
    );
    for (header, client) in [
        (
            b"PROXY TCP4 192.0.2.7 192.0.2.2 56324 443\r\n".to_vec(),
            "192.0.2.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n".to_vec(),
            "2001:db8::7",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (binary(0x21, 0x11, &V4), "192.0.2.1"),
        (
            binary(0x21, 0x11, &[&V4[..], &[4, 0, 1, 7]].concat()),
            "192.0.2.1",
        ),
        (binary(0x20, 0x00, &[]), "127.0.0.1"),
    ] {
        assert_eq!(world.after(&header), Some(200));
        assert_eq!(world.client_seen(), client);
        world.gateway.folder.log_line("address", client);
        std::fs::write(world.gateway.folder.path("access.log"), "").unwrap();
    }
    // Byte by byte, and two requests behind it.
    let mut client = Client::connect(world.gateway.address());
    for byte in binary(0x21, 0x11, &V4) {
        client.send([byte]);
    }
    assert_eq!(client.get("/p/a", &[("x-forwarded-for", "6.6.6.6")]).status, 200);
    assert_eq!(client.get("/p/b", &[]).status, 200);
    assert_eq!(world.client_seen(), "192.0.2.1");
    assert_eq!(world.headers("ok"), 7.0);
    // Whom the header names is not trusted because the proxy is.
    assert!(
        world
            .upstream
            .seen()
            .iter()
            .all(|seen| !seen.field("x-forwarded-for").unwrap().contains("6.6.6.6"))
    );
    // A proxy behind the proxy may be.
    let header = b"PROXY TCP4 127.0.0.1 192.0.2.2 56324 443\r\n";
    let mut client = Client::connect(world.gateway.address());
    client.send(
        [
            &header[..],
            &head("GET", "/p/a", &[("x-forwarded-for", "192.0.2.99")], None),
        ]
        .concat(),
    );
    assert_eq!(client.response().status, 200);
    assert_eq!(world.client_seen(), "192.0.2.99, 127.0.0.1");
}

#[test]
fn without_a_good_header_there_is_no_connection() {
    let world = World::start(
        "trusted_proxies: [127.0.0.1]\ntimeouts: { handshake: 300ms }\nlisteners: [{ address: 127.0.0.1:0, proxy_protocol: v2 }]\n",
        &[],
    );
    for bad in [
        b"".to_vec(),
        b"PROXY TCP4 192.0.2.7 192.0.2.2 56324 443\r\n".to_vec(),
        binary(0x22, 0x11, &V4),
        binary(0x21, 0x12, &V4),
        binary(0x21, 0x11, &V4[..8]),
        binary(0x21, 0x11, &[0; 4000]),
    ] {
        assert_eq!(world.after(&bad), None, "{bad:?}");
    }
    eventually("the count", || world.headers("malformed") == 6.0);
    let mut silent = Client::connect(world.gateway.address());
    silent.send(&binary(0x21, 0x11, &V4)[..20]);
    assert!(silent.is_closed_within(DEADLINE));
    eventually("the count", || world.headers("timeout") == 1.0);
    let mut gone = Client::connect(world.gateway.address());
    gone.send(&binary(0x21, 0x11, &V4)[..20]);
    gone.finish();
    assert!(gone.is_closed_within(DEADLINE));
    eventually("the count", || world.headers("gone") == 1.0);

    // From elsewhere not even a good one is read.
    let mut stranger = connect_from([127, 0, 0, 2], world.gateway.address());
    stranger.write_all(&binary(0x21, 0x11, &V4)).unwrap();
    drop(stranger.write_all(&head("GET", "/p/a", &[], None)));
    let mut answer = Vec::new();
    drop(stranger.read_to_end(&mut answer));
    assert!(answer.is_empty());
    eventually("the count", || world.headers("untrusted") == 1.0);
    assert_eq!(world.upstream.requests(), 0);
    assert_eq!(world.after(&binary(0x21, 0x11, &V4)), Some(200));
}

#[test]
fn the_header_stands_before_tls() {
    let authority = Authority::new("servers");
    let pair = authority.issue(&["localhost"]);
    let world = World::start(
        "trusted_proxies: [127.0.0.1]\nlisteners: [{ address: 127.0.0.1:0, proxy_protocol: v1, tls: { certificate: a.crt, private_key: a.key } }]\n",
        &[("a.crt", &pair.certificate), ("a.key", &pair.key)],
    );
    let client = TlsClient::trusting(&authority);
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.2 56324 443\r\n";
    let mut session = client
        .connect_after(header, world.gateway.address(), "localhost")
        .unwrap();
    assert_eq!(session.get("/p/a", &[]).unwrap().0, 200);
    assert_eq!(world.client_seen(), "192.0.2.7");
    assert_eq!(world.upstream.last().field("x-forwarded-proto"), Some("https"));
    assert!(client.connect(world.gateway.address(), "localhost").is_err());
    assert_eq!(world.after(header), Some(400), "told that TLS is spoken");
    assert_eq!(world.upstream.requests(), 1);
}

#[test]
fn what_a_trusted_peer_says_is_kept_and_what_others_say_is_not() {
    let said = [
        ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public.test"),
        ("x-forwarded-prefix", "/admin"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("x-real-ip", "6.6.6.6"),
    ];
    for (trusted, is_trusted) in [("[127.0.0.1, 10.0.0.0/8]", true), ("[10.0.0.0/8]", false)] {
        let world = World::start(&format!("trusted_proxies: {trusted}\n"), &[]);
        assert_eq!(world.gateway.client().get("/p/a", &said).status, 200);
        let seen = world.upstream.last();
        let line = world.gateway.folder.log_line("route", "/p/{*rest}");
        let expected = if is_trusted {
            [
                "192.0.2.7, 10.1.1.1, 127.0.0.1",
                "https",
                "public.test",
                "192.0.2.7",
            ]
        } else {
            ["127.0.0.1", "http", "localhost", "127.0.0.1"]
        };
        let field = |name: &str| seen.field(name).unwrap().to_owned();
        assert_eq!(
            [
                field("x-forwarded-for"),
                field("x-forwarded-proto"),
                field("x-forwarded-host"),
                line["address"].as_str().unwrap().to_owned(),
            ],
            expected
        );
        for gone in ["x-forwarded-prefix", "forwarded", "x-real-ip"] {
            assert_eq!(seen.field(gone), None, "{gone}");
        }
        assert_eq!(field("x-request-id") == said[5].1, is_trusted);
        assert_eq!(line["request_id"], field("x-request-id"));
        // In a refusal too, where nothing that was not checked may stand.
        let refused = world.gateway.client().get("/none", &[("x-request-id", "abc-1")]);
        assert_eq!(refused.json()["request_id"] == "abc-1", is_trusted);
        let refused = world.gateway.client().get("/none", &[("x-request-id", "a\"b")]);
        assert_eq!(refused.json()["request_id"].as_str().unwrap().len(), 24);
    }
}

#[test]
fn forwarded_can_be_spoken_instead() {
    let world = World::start("trusted_proxies: [127.0.0.1]\nforwarded_fields: forwarded\n", &[]);
    let said = [
        (
            "forwarded",
            "for=6.6.6.6, for=192.0.2.7;proto=https;host=public.test",
        ),
        ("x-forwarded-for", "6.6.6.6"),
    ];
    assert_eq!(world.gateway.client().get("/p/a", &said).status, 200);
    let seen = world.upstream.last();
    assert_eq!(
        seen.field("forwarded"),
        Some("for=192.0.2.7;proto=https;host=\"public.test\", for=127.0.0.1")
    );
    assert_eq!(seen.field("x-forwarded-for"), None);
}

#[test]
fn every_request_belongs_to_a_trace() {
    let world = World::start("workers: 1\n", &[]);
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let mut client = world.gateway.client();
    assert_eq!(
        client
            .get("/p/a", &[("traceparent", good), ("tracestate", "a=1")])
            .status,
        200
    );
    let seen = world.upstream.last();
    assert_eq!(
        (seen.field("traceparent"), seen.field("tracestate")),
        (Some(good), Some("a=1"))
    );
    world
        .gateway
        .folder
        .log_line("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736");

    let mut ids = Vec::new();
    for said in [
        &[][..],
        &[("tracestate", "a=1")],
        &[("traceparent", "nonsense"), ("tracestate", "a=1")],
        &[
            ("traceparent", good),
            ("traceparent", good),
            ("tracestate", "a=1"),
        ],
    ] {
        assert_eq!(client.get("/p/a", said).status, 200);
        let seen = world.upstream.last();
        assert_eq!(seen.field("tracestate"), None, "{said:?}");
        let made = seen.field("traceparent").unwrap().to_owned();
        let parts: Vec<&str> = made.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(
            (lengths.as_slice(), parts[0]),
            (&[2, 32, 16, 2][..], "00"),
            "{made}"
        );
        world.gateway.folder.log_line("trace_id", parts[1]);
        ids.push(made);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "no two requests share a trace that was begun here");
}

/// The balancer has as many connections as its clients, and each of these its own share.
#[test]
fn connections_are_counted_with_the_client_that_a_proxy_header_names() {
    let world = World::start(
        "trusted_proxies: [127.0.0.1]\nlisteners: [{ address: 127.0.0.1:0, proxy_protocol: any }]\n\
         limits: { connections_per_address: 2 }\n",
        &[],
    );
    let refused = || {
        let metrics = world.gateway.metrics();
        metrics.value("scopegate_connections_refused_total", &[])
    };
    let from = |client: u8| {
        let header = format!("PROXY TCP4 192.0.2.{client} 192.0.2.200 56324 443\r\n");
        let mut connection = Client::connect(world.gateway.address());
        connection.send([header.as_bytes(), &head("GET", "/p/a", &[], None)].concat());
        let answer = connection.try_response_to("GET").ok().flatten();
        answer.map(|response| {
            assert_eq!(response.status, 200);
            connection
        })
    };
    let mut held: Vec<_> = (1..=4).flat_map(|client| [from(client), from(client)]).collect();
    assert!(held.iter().all(Option::is_some));
    assert_eq!((world.upstream.requests(), refused()), (8, 0.0));
    assert!(from(1).is_none());
    assert!(from(4).is_none());
    assert_eq!((world.upstream.requests(), refused()), (8, 2.0));
    // What speaks for nobody, such as a check of the balancer's own, is nobody's.
    let own: Vec<_> = (0..4)
        .map(|_| {
            let mut connection = Client::connect(world.gateway.address());
            connection.send([b"PROXY UNKNOWN\r\n", &head("GET", "/p/a", &[], None)[..]].concat());
            assert_eq!(connection.response().status, 200);
            connection
        })
        .collect();
    held.remove(0);
    eventually("a free place", || from(1).is_some());
    drop((own, held));
}

/// A connection from another address of this machine.
fn connect_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.into()
}
