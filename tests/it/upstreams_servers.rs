//! Several servers, servers that come and go, sockets in the file system, and requests that wait.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::client::head;
use crate::harness::gateway::ITEMS;
use crate::harness::http2_upstream::{Http2Behaviour, Http2Upstream};
use crate::harness::server::Server;
use crate::harness::{Behaviour, Client, DEADLINE, Gateway, Issuer, Upstream, eventually};

/// One worker and one public route. `upstream` is the value of the key.
fn configuration(issuer: &Issuer, upstream: &str, settings: &str) -> String {
    format!(
        "{settings}workers: 1
issuers: [{{ issuer: {issuer} }}]
apis:
  - definition: {{ identifier: {ITEMS}, signing_alg: RS256 }}
    upstream: {upstream}
    routes: [{{ path: '/p/{{*rest}}', require: public }}]
",
        issuer = issuer.identifier(),
    )
}

fn gateway(issuer: &Issuer, upstream: &str) -> Gateway {
    Gateway::start(&configuration(issuer, upstream, ""))
}

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn sent(gateway: &Gateway, upstream: &str, result: &str) -> f64 {
    let labels = [("upstream", upstream), ("result", result)];
    gateway
        .metrics()
        .value("scopegate_upstream_requests_total", &labels)
}

fn is_healthy(gateway: &Gateway, upstream: &str) -> bool {
    let healthy = gateway
        .metrics()
        .value("scopegate_upstream_healthy", &[("upstream", upstream)]);
    healthy == 1.0
}

#[test]
fn equal_servers_take_turns_and_busy_ones_are_spared() {
    let issuer = Issuer::start();
    let servers = [Upstream::start(), Upstream::start(), Upstream::start()];
    let urls: Vec<String> = servers.iter().map(Upstream::url).collect();
    let gateway = gateway(&issuer, &format!("{{ servers: ['{}'] }}", urls.join("', '")));
    let mut client = gateway.client();
    for _ in 0..90 {
        assert_eq!(client.get("/p/a", &[]).status, 200);
    }
    let counts: Vec<usize> = servers.iter().map(Upstream::requests).collect();
    assert_eq!(counts, [30, 30, 30]);

    // One that does not answer keeps what it has, and gets little more than that: it is taken only where it is compared
    // with one that has as many.
    servers[0].behave(Behaviour::Hang);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = gateway.client();
        client.send(head("GET", "/p/slow", &[], None));
        waiting.push(client);
        eventually("each to be sent", || {
            servers.iter().map(Upstream::requests).sum::<usize>() == 90 + waiting.len()
        });
    }
    let hung = servers[0].requests() - 30;
    assert!((1..=10).contains(&hung), "{hung} of 20");
}

#[test]
fn where_there_is_no_connection_another_server_is_asked() {
    let (issuer, alive, dead) = (Issuer::start(), Upstream::start(), nowhere());
    let gateway = gateway(
        &issuer,
        &format!(
            "{{ servers: ['http://{dead}', '{}'], ejection: {{ failures: 0 }} }}",
            alive.url()
        ),
    );
    for n in 1..=20 {
        let response = gateway.client().request("POST", "/p/a", &[], b"body");
        assert_eq!((response.status, &response.json()["body"]), (200, &json!("body")));
        assert_eq!(alive.requests(), n, "sent once");
    }
    assert_eq!(sent(&gateway, &alive.address().to_string(), "ok"), 20.0);
    assert!(sent(&gateway, &dead, "connect") >= 9.0, "never passed over");
    assert_eq!(sent(&gateway, &dead, "ok"), 0.0);
    let line = gateway.folder.log().pop().unwrap();
    assert_eq!(line["upstream"], alive.address().to_string());

    // What was sent to one server is not sent to another.
    alive.next(Behaviour::Close);
    let response = gateway.client().get("/p/a", &[]);
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (502, &json!("upstream_protocol"))
    );
    assert_eq!(alive.requests(), 21);
}

#[test]
fn all_servers_down_is_told_at_once() {
    let issuer = Issuer::start();
    let servers: Vec<String> = (0..4).map(|_| format!("'http://{}'", nowhere())).collect();
    let gateway = gateway(&issuer, &format!("{{ servers: [{}] }}", servers.join(", ")));
    for _ in 0..30 {
        let response = gateway.client().get("/p/a", &[]);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (502, &json!("upstream_connect"))
        );
    }
    assert_eq!(gateway.ready(), Ok(()), "readiness does not depend on upstreams");
}

#[test]
fn a_server_that_fails_is_passed_over_and_comes_back() {
    let (issuer, good, bad) = (Issuer::start(), Upstream::start(), Upstream::start());
    let gateway = gateway(
        &issuer,
        &format!(
            "{{ servers: ['{}', '{}'], ejection: {{ failures: 3, time: 3s }} }}",
            good.url(),
            bad.url()
        ),
    );
    bad.behave(Behaviour::Close);
    let mut failures = 0;
    let began = Instant::now();
    while bad.requests() < 3 {
        failures += usize::from(gateway.client().get("/p/a", &[]).status == 502);
    }
    assert_eq!(failures, 3);
    // From now on everything goes well, and nothing goes there, until its time is over.
    bad.behave(Behaviour::Echo);
    let bad_name = bad.address().to_string();
    let mut passed_over = 0;
    while began.elapsed() < Duration::from_secs(2) {
        assert_eq!(gateway.client().get("/p/a", &[]).status, 200);
        passed_over += 1;
    }
    assert!(passed_over > 2);
    assert_eq!(bad.requests(), 3);
    eventually("the metric", || {
        !is_healthy(&gateway, &bad_name) || began.elapsed().as_secs() > 2
    });
    eventually("the server to be used again", || {
        assert_eq!(gateway.client().get("/p/a", &[]).status, 200);
        bad.requests() > 5
    });
    eventually("the metric", || is_healthy(&gateway, &bad_name));
    assert!(is_healthy(&gateway, &good.address().to_string()));
}

#[test]
fn checks_take_servers_out_and_back() {
    let (issuer, one, two) = (Issuer::start(), Upstream::start(), Upstream::start());
    let health = "health: { path: '/healthz?a=b', interval: 100ms, timeout: 5s, healthy: 2, unhealthy: 2 }";
    let yaml = configuration(
        &issuer,
        &format!("{{ servers: ['{}', '{}'], {health} }}", one.url(), two.url()),
        "",
    );
    let gateway = Gateway::start(&yaml);
    let names = [one.address().to_string(), two.address().to_string()];
    let checks = |upstream: &Upstream| {
        let seen = upstream.seen();
        seen.iter().filter(|seen| seen.target() == "/healthz?a=b").count()
    };
    let requests = |upstream: &Upstream| upstream.requests() - checks(upstream);
    eventually("checks of both", || checks(&one) > 2 && checks(&two) > 2);
    let seen = one
        .seen()
        .into_iter()
        .find(|seen| seen.target() == "/healthz?a=b")
        .unwrap();
    assert_eq!((seen.method(), seen.field("host")), ("GET", Some(&*names[0])));
    assert!(is_healthy(&gateway, &names[0]) && is_healthy(&gateway, &names[1]));

    one.behave(Behaviour::Respond(500, vec![], vec![]));
    eventually("the first to be taken out", || !is_healthy(&gateway, &names[0]));
    let before = requests(&one);
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(client.get("/p/a", &[]).status, 200);
    }
    assert_eq!(requests(&one), before, "nothing but checks");
    // A reload that changes something else leaves that as it is.
    let generation = gateway.generation();
    gateway.configure(&yaml.replace("require: public", "require: public, timeout: 7s"));
    eventually("the reload", || gateway.generation() > generation);
    for _ in 0..20 {
        assert_eq!(client.get("/p/a", &[]).status, 200);
    }
    assert_eq!(requests(&one), before);

    two.behave(Behaviour::Respond(503, vec![], vec![]));
    eventually("both to be taken out", || !is_healthy(&gateway, &names[1]));
    let (first, second) = (requests(&one), requests(&two));
    let response = client.get("/p/a", &[]);
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (503, &json!("upstream_unhealthy"))
    );
    assert!(response.field("retry-after").is_some());
    assert_eq!(
        (requests(&one), requests(&two)),
        (first, second),
        "nobody was asked"
    );
    assert_eq!(gateway.ready(), Ok(()));

    one.behave(Behaviour::Echo);
    eventually("the first to come back", || is_healthy(&gateway, &names[0]));
    for _ in 0..10 {
        assert_eq!(client.get("/p/a", &[]).json()["target"], "/p/a");
    }
    // A server that is gone from the configuration is asked no more, and leaves the metrics.
    gateway.configure(&yaml.replace(&format!(", '{}'", two.url()), ""));
    eventually("its series to go", || {
        let metrics = gateway.metrics();
        metrics
            .get("scopegate_upstream_healthy", &[("upstream", &names[1])])
            .is_none()
    });
    let settled = checks(&two);
    let asked = checks(&one);
    eventually("more checks of the first", || checks(&one) > asked + 5);
    assert!(checks(&two) <= settled + 1);
}

#[test]
fn checks_speak_what_the_server_speaks_and_know_other_statuses() {
    let (issuer, http2, http1) = (Issuer::start(), Http2Upstream::start(), Upstream::start());
    http1.behave(Behaviour::Respond(418, vec![], vec![]));
    let check = "health: { path: /healthz, interval: 100ms, statuses: [204, 418] }";
    let first = gateway(
        &issuer,
        &format!(
            "{{ servers: ['{}'], http2: true, health: {{ path: /healthz, interval: 100ms }} }}",
            http2.url()
        ),
    );
    http2.wait_for_requests(2);
    assert_eq!(
        http2.last().head.uri.to_string(),
        format!("{}/healthz", http2.url())
    );
    assert_eq!(first.client().get("/p/a", &[]).status, 200);
    let second = gateway(&issuer, &format!("{{ servers: ['{}'], {check} }}", http1.url()));
    http1.wait_for_requests(3);
    assert_eq!(second.client().get("/p/a", &[]).status, 418);
    // 200 is not among them.
    http1.behave(Behaviour::Echo);
    eventually("the server to be taken out", || {
        second.client().get("/p/a", &[]).status == 503
    });
}

#[test]
fn too_many_requests_wait_in_turn_or_are_told_at_once() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let settings = "limits: { upstream_connections: 1 }\n";
    let plan = format!(
        "{{ servers: ['{}'], max_waiting: 2, waiting_timeout: 10s }}",
        upstream.url()
    );
    let gateway = Gateway::start(&configuration(&issuer, &plan, settings));
    upstream.behave(Behaviour::Hold(Box::new(Behaviour::Echo)));
    let begin = |target: &str| {
        let mut client = gateway.client();
        client.send(head("GET", target, &[], None));
        client
    };
    let in_flight = |count: f64| {
        eventually("requests in flight", || {
            gateway.metrics().value("scopegate_http_requests_in_flight", &[]) == count
        });
    };
    let mut first = begin("/p/1");
    upstream.wait_for_requests(1);
    let mut second = begin("/p/2");
    in_flight(2.0);
    let mut third = begin("/p/3");
    in_flight(3.0);
    let began = Instant::now();
    let refused = gateway.client().get("/p/4", &[]);
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (503, &json!("overloaded"))
    );
    assert!(refused.field("retry-after").is_some());
    assert!(began.elapsed() < Duration::from_secs(5), "not at once");
    for client in [&mut first, &mut second, &mut third] {
        upstream.release();
        assert_eq!(client.response().status, 200);
    }
    let targets: Vec<String> = upstream
        .seen()
        .iter()
        .map(|seen| seen.target().to_owned())
        .collect();
    assert_eq!(targets, ["/p/1", "/p/2", "/p/3"], "in turn, each once");
    assert_eq!(upstream.connections(), 1);

    // One that leaves gives its place up.
    let mut holder = begin("/p/5");
    upstream.wait_for_requests(4);
    drop((begin("/p/6"), begin("/p/7")));
    in_flight(1.0);
    let mut patient = begin("/p/8");
    in_flight(2.0);
    upstream.release();
    assert_eq!(holder.response().status, 200);
    upstream.release();
    assert_eq!(patient.response().status, 200);
    assert_eq!(upstream.last().target(), "/p/8");
}

#[test]
fn waiting_has_an_end() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let settings = "limits: { upstream_connections: 1 }\n";
    let plan = format!("{{ servers: ['{}'], waiting_timeout: 200ms }}", upstream.url());
    let gateway = Gateway::start(&configuration(&issuer, &plan, settings));
    upstream.behave(Behaviour::Hold(Box::new(Behaviour::Echo)));
    let mut holder = gateway.client();
    holder.send(head("GET", "/p/1", &[], None));
    upstream.wait_for_requests(1);
    let began = Instant::now();
    let mut waiting: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = gateway.client();
            client.send(head("GET", "/p/2", &[], None));
            client
        })
        .collect();
    for client in &mut waiting {
        let response = client.response();
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (503, &json!("overloaded"))
        );
    }
    assert!(began.elapsed() >= Duration::from_millis(190));
    upstream.release();
    assert_eq!(holder.response().status, 200);
    assert_eq!(upstream.requests(), 1);
    assert_eq!(
        sent(&gateway, &upstream.address().to_string(), "overloaded"),
        20.0
    );
}

#[test]
fn http2_requests_wait_where_every_stream_is_taken() {
    let (issuer, upstream) = (Issuer::start(), Http2Upstream::start());
    let settings = "limits: { upstream_connections: 1 }\n";
    let plan = format!(
        "{{ servers: ['{}'], http2: true, waiting_timeout: 10s }}",
        upstream.url()
    );
    let gateway = Gateway::start(&configuration(&issuer, &plan, settings));
    upstream.behave(Http2Behaviour::Hold);
    let mut clients: Vec<Client> = (0..120)
        .map(|_| {
            let mut client = gateway.client();
            client.send(head("GET", "/p/a", &[], None));
            client
        })
        .collect();
    upstream.wait_for_requests(100);
    upstream.release();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!((upstream.requests(), upstream.connections()), (120, 1));
}

#[test]
fn a_socket_in_the_file_system_is_a_server() {
    let issuer = Issuer::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let connections = Arc::new(AtomicUsize::new(0));
    let serve = |listener: UnixListener, connections: Arc<AtomicUsize>| {
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut buffer = Vec::new();
                    let mut part = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut part) {
                        buffer.extend(&part[..count]);
                        if buffer.ends_with(b"\r\n\r\n") {
                            buffer.clear();
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsocket";
                            drop(stream.write_all(answer));
                        }
                    }
                });
            }
        });
    };
    let gateway = gateway(&issuer, &format!("unix:{}", path.display()));
    // Not there yet.
    let response = gateway.client().get("/p/a", &[]);
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (502, &json!("upstream_connect"))
    );
    serve(UnixListener::bind(&path).unwrap(), Arc::clone(&connections));
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(client.get("/p/a", &[]).body, b"socket");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let name = format!("unix:{}", path.display());
    assert_eq!(sent(&gateway, &name, "ok"), 10.0);
    assert!(is_healthy(&gateway, &name));
    let line = gateway.folder.log().pop().unwrap();
    assert_eq!(line["upstream"], json!(name));
}

#[test]
fn a_name_with_several_addresses_is_one_server() {
    // `localhost` may be both ::1 and 127.0.0.1; whoever listens at one of them is found.
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let port = upstream.address().port();
    let gateway = gateway(&issuer, &format!("http://localhost:{port}"));
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(gateway.client().get("/p/a", &[]).status, 200);
    }
    assert!(began.elapsed() < DEADLINE);
    assert_eq!(upstream.connections(), 1);
    let unknown = self::gateway(&issuer, "http://no-such-host.invalid");
    let response = unknown.client().get("/p/a", &[]);
    assert_eq!(
        (response.status, &response.json()["reason"]),
        (502, &json!("upstream_connect"))
    );
}

/// A server that was restarted is found again at once, without a failed request.
#[test]
fn a_restart_between_requests_costs_nothing() {
    let issuer = Issuer::start();
    let serve = || {
        Server::start(|mut wire, _number| {
            while let Ok(Some(_)) = wire.within(DEADLINE).head() {
                if wire
                    .send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .is_err()
                {
                    return;
                }
            }
        })
    };
    let (one, two) = (serve(), serve());
    let gateway = gateway(
        &issuer,
        &format!(
            "{{ servers: ['http://{}', 'http://{}'] }}",
            one.address(),
            two.address()
        ),
    );
    let mut client = gateway.client();
    for n in 0..50 {
        if n % 10 == 0 {
            one.disconnect_all();
        }
        assert_eq!(client.get("/p/a", &[]).status, 200, "{n}");
    }
    // While it goes, it may take a connection that it will never serve.
    let address = one.address();
    drop(one);
    eventually("the listener to be gone", || {
        std::net::TcpStream::connect(address).is_err()
    });
    for n in 0..50 {
        assert_eq!(client.get("/p/a", &[]).status, 200, "{n}");
    }
}
