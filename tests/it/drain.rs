//! The end of a gateway: not ready first, then what is in flight, and nothing is lost that had begun.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::head;
use crate::harness::gateway::items;
use crate::harness::{Behaviour, Client, Gateway, Issuer, Process, Upstream, eventually};

const ROUTES: &str = "    routes: [{ path: \"/p/{*rest}\", require: public, timeout: 1m }]\n";

fn yaml(issuer: &Issuer, upstream: &Upstream, timeouts: &str) -> String {
    format!("timeouts: {timeouts}\n{}", items(issuer, upstream, ROUTES))
}

/// One request as a client behind a load balancer makes it. `None` where the gateway does not take the connection.
fn ask(address: SocketAddr, target: &str) -> Option<io::Result<u16>> {
    let mut client = Client::try_connect(address).ok()?;
    client.send(head("GET", target, &[], None));
    Some(match client.try_response_to("GET") {
        Ok(Some(response)) => Ok(response.status),
        Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) => Err(error),
    })
}

#[test]
fn a_signal_drains_without_a_failure() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    upstream.behave(Behaviour::Delay(
        Duration::from_millis(5),
        Box::new(Behaviour::Echo),
    ));
    let mut process = Process::start(&yaml(&issuer, &upstream, "{ drain: 10s, pre_drain: 3s }"));
    let (address, admin) = (process.address(), process.admin());
    let is_over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    // The balancer sends new connections for as long as the gateway is ready.
    let new_connections = || {
        let (is_over, count) = (Arc::clone(&is_over), Arc::clone(&count));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                let status = ask(address, "/p/new").expect("a connection while ready").unwrap();
                assert_eq!(status, 200);
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    // A connection that is kept and always busy: it must be told to go, not cut off.
    let kept_connections = || {
        let (is_over, count) = (Arc::clone(&is_over), Arc::clone(&count));
        std::thread::spawn(move || {
            let mut client = Client::connect(address);
            loop {
                let response = client.get("/p/kept", &[]);
                assert_eq!(response.status, 200);
                count.fetch_add(1, Ordering::SeqCst);
                let is_last = response
                    .head
                    .all("connection")
                    .iter()
                    .any(|value| value.eq_ignore_ascii_case("close"));
                if is_last {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    client = Client::connect(address);
                }
            }
        })
    };
    let threads = [
        new_connections(),
        new_connections(),
        kept_connections(),
        kept_connections(),
    ];
    eventually("load", || count.load(Ordering::SeqCst) > 100);
    process.signal("TERM");
    eventually("not ready", || {
        let ready = crate::harness::client::get(admin, "/readyz", &[]);
        ready.status == 503 && ready.text().contains("draining")
    });
    assert!(!process.has_ended());
    let before = count.load(Ordering::SeqCst);
    eventually("requests after that", || {
        count.load(Ordering::SeqCst) > before + 20
    });
    is_over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("a request failed");
    }
    assert!(
        !process.has_ended(),
        "the busy connections were told before anything was closed"
    );
    assert_eq!(process.exit_code(), Some(0), "{:?}", process.log());
    assert!(ask(address, "/p/late").is_none());
    let lines = process.folder.log();
    assert!(
        lines.len() >= count.load(Ordering::SeqCst),
        "every request is in the log"
    );
    let ended = process
        .log()
        .into_iter()
        .find(|line| line["message"] == "ended")
        .unwrap();
    assert_eq!(ended["cut"], 0, "{ended}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    upstream.behave(Behaviour::Hang);
    let mut process = Process::start(&yaml(&issuer, &upstream, "{ drain: 1h }"));
    let mut client = Client::connect(process.address());
    client.send(head("GET", "/p/hang", &[], None));
    upstream.wait_for_requests(1);
    process.signal("TERM");
    process.wait_for_log("draining");
    assert!(!process.has_ended());
    // The second may come before the process listens for it; whoever means it asks again.
    eventually("the end", || {
        process.signal("TERM");
        process.has_ended()
    });
    assert_eq!(process.exit_code(), Some(130));
}

#[test]
fn interrupt_drains_as_well() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let mut process = Process::start(&yaml(&issuer, &upstream, "{ drain: 5s }"));
    let _idle = Client::connect(process.address());
    process.signal("INT");
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn what_is_in_flight_ends_within_the_grace() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "{ drain: 15s, header: 1s }"));
    upstream.next(Behaviour::Chunks {
        chunks: vec![vec![b'x'; 1_000]; 10],
        pause: Duration::from_millis(100),
        trailers: vec![],
    });
    let mut idle = gateway.client();
    let mut long = gateway.client();
    long.send(head("GET", "/p/long", &[], None));
    upstream.wait_for_requests(1);
    let mut half = gateway.client();
    half.send("GET /p/half HTTP/1.1\r\nhost: a");
    let reading = std::thread::spawn(move || long.response());
    let began = Instant::now();
    assert_eq!(gateway.shut_down(), 0);
    assert!(began.elapsed() < Duration::from_secs(14));
    assert_eq!(reading.join().unwrap().body.len(), 10_000);
    assert!(idle.is_closed_within(Duration::from_secs(5)));
    assert!(half.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn what_takes_longer_is_cut() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "{ drain: 300ms }"));
    upstream.behave(Behaviour::Hang);
    let mut client = gateway.client();
    client.send(head("GET", "/p/hang", &[], None));
    upstream.wait_for_requests(1);
    let began = Instant::now();
    assert_eq!(gateway.shut_down(), 1);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(client.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn nobody_is_kept_waiting_at_the_door() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "{ drain: 15s }"));
    let address = gateway.address();
    upstream.next(Behaviour::Hold(Box::new(Behaviour::Echo)));
    let mut client = gateway.client();
    client.send(head("GET", "/p/held", &[], None));
    upstream.wait_for_requests(1);
    let draining = std::thread::spawn(move || gateway.shut_down());
    eventually("new connections to be refused", || {
        Client::try_connect(address).is_err()
    });
    upstream.release();
    assert_eq!(client.response().status, 200);
    assert_eq!(draining.join().unwrap(), 0);
}
