//! The harness itself: what it says about a gateway is worth as much as what is shown here.

use std::io;
use std::time::Duration;

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::json;

use crate::harness::client::{self, get, head, post};
use crate::harness::issuer::{Counts, SOON};
use crate::harness::{Behaviour, Client, Http2Client, Issuer, IssuerMode, Metrics, Upstream};

#[test]
fn the_upstream_keeps_every_byte() {
    let upstream = Upstream::start();
    let mut client = Client::connect(upstream.address());
    let request = b"GET /a%20b?c=%zz HTTP/1.1\r\nHoSt:  x\r\nx-Odd: \xff\r\n\r\n";
    client.send(request);
    let echo = client.response();
    assert_eq!(echo.status, 200);
    assert_eq!(echo.json()["target"], "/a%20b?c=%zz");
    assert_eq!(upstream.last().head.bytes, request);
    client.request("POST", "/", &[], b"body");
    assert_eq!(upstream.last().body, b"body");
    assert_eq!((upstream.requests(), upstream.connections()), (2, 1));
    client.send(
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nx-t: 1\r\n\r\n",
    );
    client.response();
    let seen = upstream.last();
    assert_eq!(seen.body, b"abcd");
    assert_eq!(seen.trailers, [("x-t".to_owned(), "1".to_owned())]);
}

#[test]
fn the_upstream_behaves_as_told() {
    let upstream = Upstream::start();
    let address = upstream.address();
    upstream.next(Behaviour::Respond(
        418,
        vec![("x-a", "b".into())],
        b"tea".to_vec(),
    ));
    let response = get(address, "/", &[]);
    assert_eq!((response.status, response.field("x-a")), (418, Some("b")));
    assert_eq!(response.body, b"tea");

    upstream.next(Behaviour::Chunks {
        chunks: vec![b"a".to_vec(), b"bc".to_vec()],
        pause: Duration::ZERO,
        trailers: vec![("x-sum", "3")],
    });
    let response = get(address, "/", &[]);
    assert_eq!(response.body, b"abc");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "3".to_owned())]);

    upstream.next(Behaviour::Informational(
        vec!["HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"],
        Box::new(Behaviour::Echo),
    ));
    let response = get(address, "/", &[]);
    assert_eq!((response.status, response.informational.len()), (200, 1));

    upstream.next(Behaviour::ShortBody {
        said: 10,
        sent: b"abc".to_vec(),
    });
    let mut client = Client::connect(address);
    client.send(head("GET", "/", &[], None));
    let error = client.try_response_to("GET").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);

    upstream.next(Behaviour::Close);
    let mut client = Client::connect(address);
    client.send(head("GET", "/", &[], None));
    assert_eq!(client.try_response_to("GET").unwrap(), None);

    upstream.next(Behaviour::Hang);
    let mut client = Client::connect(address);
    client.send(head("GET", "/", &[], None));
    upstream.wait_for_requests(6);
    assert!(!client.is_closed_within(SOON));

    upstream.next(Behaviour::Hold(Box::new(Behaviour::Echo)));
    let mut client = Client::connect(address);
    client.send(head("GET", "/held", &[], None));
    upstream.wait_for_requests(7);
    upstream.release();
    assert_eq!(client.response().json()["target"], "/held");

    upstream.next(Behaviour::Early(Box::new(Behaviour::Respond(
        413,
        vec![],
        vec![],
    ))));
    let mut client = Client::connect(address);
    client.send(head("POST", "/", &[], Some(1_000)));
    assert_eq!(client.response_to("POST").status, 413);

    upstream.next(Behaviour::Upgrade("websocket"));
    let mut client = Client::connect(address);
    client.send(head(
        "GET",
        "/",
        &[("connection", "upgrade"), ("upgrade", "websocket")],
        None,
    ));
    assert_eq!(client.response().status, 101);
    client.send("ping");
    assert_eq!(client.some_bytes(), b"ping");

    upstream.next(Behaviour::RawAndClose(b"not http".to_vec()));
    let mut client = Client::connect(address);
    client.send(head("GET", "/", &[], None));
    assert_eq!(client.rest(), b"not http");
    assert_eq!(
        post(address, "/", &[("expect", "100-continue")], b"x")
            .informational
            .len(),
        1
    );
    client::get(address, "/", &[]);
    assert_eq!(upstream.broken(), 0);
}

#[test]
fn the_issuer_publishes_rotates_and_fails() {
    let issuer = Issuer::start();
    let address = issuer.address();
    let discovery = get(address, "/.well-known/openid-configuration", &[]).json();
    assert_eq!(discovery["issuer"], issuer.identifier());
    assert_eq!(discovery["jwks_uri"], issuer.jwks_uri());
    let kids = || -> Vec<String> {
        let set = get(address, "/.well-known/jwks.json", &[]).json();
        let keys = set["keys"].as_array().unwrap();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kids(), ["rsa-1", "p256-1", "p384-1", "ed25519-1"]);
    let second = issuer.rotate();
    assert_eq!(kids().len(), 8);
    issuer.publish(&[second]);
    assert_eq!(kids(), ["rsa-2", "p256-2", "p384-2", "ed25519-2"]);
    issuer.wait_for_jwks(3);
    assert_eq!(
        issuer.counts(),
        Counts {
            discovery: 1,
            jwks: 3,
            other: 0
        }
    );
    issuer.set_openid(false);
    assert_eq!(get(address, "/.well-known/openid-configuration", &[]).status, 404);
    assert_eq!(
        get(address, "/.well-known/oauth-authorization-server", &[]).status,
        200
    );
    issuer.set_mode(IssuerMode::Garbage(b"<html>".to_vec()));
    assert_eq!(get(address, "/.well-known/jwks.json", &[]).body, b"<html>");
    issuer.set_mode(IssuerMode::Status(503));
    assert_eq!(get(address, "/.well-known/jwks.json", &[]).status, 503);
    for mode in [IssuerMode::Down, IssuerMode::Hang] {
        issuer.set_mode(mode.clone());
        let mut client = Client::connect(address);
        client.send(head("GET", "/.well-known/jwks.json", &[], None));
        assert_eq!(
            client.is_closed_within(SOON),
            mode == IssuerMode::Down,
            "{mode:?}"
        );
    }
    issuer.set_mode(IssuerMode::Up);
    issuer.set_cache_control(Some("max-age=1"));
    assert_eq!(
        get(address, "/.well-known/jwks.json", &[]).field("cache-control"),
        Some("max-age=1")
    );
}

#[test]
fn the_issuer_signs_for_its_own_keys() {
    use scopegate::token::{KeySet, VerificationKeys};
    let issuer = Issuer::start();
    issuer.rotate();
    let (set, skipped) = KeySet::from_jwks(issuer.jwks().as_bytes()).unwrap();
    assert_eq!((set.len(), skipped.len()), (8, 0));
    for alg in SigningAlg::ALL.into_iter().filter(|alg| !alg.is_symmetric()) {
        let draft = issuer
            .draft(alg, TokenDialect::Rfc9068, "urn:a")
            .claim("x", json!([1]));
        let token = issuer.sign(&draft);
        let (input, signature) = token.rsplit_once('.').unwrap();
        let signature = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, signature).unwrap();
        let keys = VerificationKeys::new(&set, &[alg]);
        let key = keys.find(alg, draft.header["kid"].as_str()).unwrap();
        assert!(key.verifies(input.as_bytes(), &signature), "{}", alg.name());
    }
}

#[test]
fn metrics_are_read() {
    let text = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\",d=\"e\\\"\\\\\\n\"} 3\na_total{b=\"f\",d=\"\"} 4\n\
                up 1\nh_bucket{le=\"+Inf\"} +Inf\n";
    let metrics = Metrics::parse(text).unwrap();
    assert_eq!(metrics.value("a_total", &[]), 7.0);
    assert_eq!(metrics.value("a_total", &[("d", "e\"\\\n")]), 3.0);
    assert_eq!(metrics.get("a_total", &[("b", "x")]), None);
    assert_eq!(metrics.value("up", &[]), 1.0);
    assert_eq!(metrics.families(), ["a_total"]);
    for text in ["a", "a{b=\"c\" 1", "a{b=c} 1", "a x", "a 1\na 2", "a-b 1"] {
        assert!(Metrics::parse(text).is_err(), "{text}");
    }
}

#[test]
fn http2_by_prior_knowledge() {
    use http_body_util::Full;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let service =
                hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(bytes::Bytes::from(
                        format!("{} {}", request.method(), request.uri().path()),
                    ))))
                });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    });
    let mut client = Http2Client::connect(address);
    for method in ["GET", "POST"] {
        let response = client.request(method, "/a", &[("x-a", "b")], b"").unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.body, format!("{method} /a"));
    }
    drop(client);
    server.join().unwrap();
}
