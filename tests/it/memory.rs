//! Near the limit of its memory the gateway takes on less: first no requests, then no connections. What the kernel would
//! say of control groups is in a folder of the test.

use std::time::Duration;

use crate::harness::client::head;
use crate::harness::gateway::{Folder, decisions, items};
use crate::harness::{Behaviour, Client, Gateway, Http2Client, Issuer, Upstream, eventually};

const ROUTES: &str = "    routes: [{ path: \"/p/{*rest}\", require: public, timeout: 1m }]\n";

/// Starts with a limit of 1000 bytes.
fn start(issuer: &Issuer, upstream: &Upstream) -> Gateway {
    let yaml = items(issuer, upstream, ROUTES);
    let stat = ("memory.stat", "anon 1\ninactive_file 100\n");
    let folder = Folder::new(&yaml, &[("memory.max", "1000\n"), stat]);
    // With the file cache, as the kernel counts it.
    folder.write("memory.current", "600\n");
    let cgroups = folder.config().with_file_name("");
    let gateway = Gateway::start_in(folder, |settings| settings.cgroups = cgroups);
    eventually("the gateway to be ready", || gateway.ready().is_ok());
    gateway
}

/// Says how much of the limit is used, and waits until the gateway has seen it.
#[track_caller]
fn uses(gateway: &Gateway, percent: u32, level: f64) {
    let with_cache = percent * 10 + 100;
    gateway.folder.write("memory.current", &format!("{with_cache}\n"));
    eventually("the level of memory", || {
        gateway.metrics().value("scopegate_memory_pressure", &[]) == level
    });
}

#[test]
fn requests_are_refused_near_the_limit_and_connections_kept() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = start(&issuer, &upstream);
    let (mut kept, mut in_flight) = (gateway.client(), gateway.client());
    let mut http2 = Http2Client::connect(gateway.http2_address());
    assert_eq!(kept.get("/p/1", &[]).status, 200);
    assert_eq!(http2.request("GET", "/p/2", &[], b"").unwrap().status, 200);
    upstream.next(Behaviour::Hold(Box::default()));
    in_flight.send(head("GET", "/p/3", &[], None));
    upstream.wait_for_requests(3);

    uses(&gateway, 90, 1.0);
    for _ in 0..3 {
        for response in [
            kept.get("/p/refused", &[]),
            gateway.client().get("/p/refused", &[]),
            gateway.client().request("POST", "/p/refused", &[], b"body"),
            // Nothing else is told of a request that is not looked at.
            gateway.client().get("/unknown", &[]),
        ] {
            assert_eq!(response.status, 503);
            assert_eq!(response.field("retry-after"), Some("1"));
            assert_eq!(response.json()["reason"], "overloaded");
        }
    }
    let refused = http2.request("GET", "/p/refused", &[], b"").unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "1");
    let counted = [("decision", "deny"), ("reason", "overloaded"), ("route", "")];
    assert_eq!(decisions(&gateway.metrics(), &counted), 13.0);
    eventually("the refusals in the access log", || {
        let log = gateway.folder.log();
        log.iter().filter(|line| line["reason"] == "overloaded").count() == 13
    });
    assert_eq!(upstream.requests(), 3);

    // What was taken on before is not cut.
    upstream.release();
    assert_eq!(in_flight.response().status, 200);

    // A little below where it began is not enough.
    uses(&gateway, 95, 2.0);
    uses(&gateway, 88, 1.0);
    assert_eq!(kept.get("/p/refused", &[]).status, 503);
    uses(&gateway, 86, 0.0);
    assert_eq!(kept.get("/p/4", &[]).status, 200);
    assert_eq!(http2.request("GET", "/p/5", &[], b"").unwrap().status, 200);
    assert_eq!(upstream.requests(), 5);
    assert!(upstream.seen().iter().all(|seen| seen.target() != "/p/refused"));
}

#[test]
fn connections_wait_while_memory_is_out() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = start(&issuer, &upstream);
    let mut kept = gateway.client();
    assert_eq!(kept.get("/p/1", &[]).status, 200);

    uses(&gateway, 95, 2.0);
    let mut waiting: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = gateway.client();
            client.send(head("GET", "/p/waited", &[], None));
            client
        })
        .collect();
    assert_eq!(kept.get("/p/refused", &[]).status, 503);
    // Nobody answers them, and nobody closes them.
    for client in &mut waiting {
        assert!(!client.is_closed_within(Duration::from_millis(20)));
    }
    assert_eq!(upstream.requests(), 1);

    // Who had been accepted would have got 503.
    uses(&gateway, 50, 0.0);
    for client in &mut waiting {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(upstream.requests(), 21);
    assert_eq!(kept.get("/p/2", &[]).status, 200);
}

#[test]
fn a_drain_does_not_wait_for_memory() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = start(&issuer, &upstream);
    uses(&gateway, 99, 2.0);
    let mut waiting = gateway.client();
    waiting.send(head("GET", "/p/waited", &[], None));
    assert_eq!(gateway.shut_down(), 0);
    assert!(
        waiting
            .try_response_to("GET")
            .is_ok_and(|response| response.is_none())
            || waiting.rest().is_empty()
    );
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn without_a_limit_nothing_is_held_back() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = start(&issuer, &upstream);
    uses(&gateway, 100, 2.0);
    gateway.folder.write("memory.max", "max\n");
    eventually("enough memory", || {
        gateway.metrics().value("scopegate_memory_pressure", &[]) == 0.0
    });
    assert_eq!(gateway.client().get("/p/1", &[]).status, 200);
}
