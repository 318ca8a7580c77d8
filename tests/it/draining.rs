//! The end of the real process, for each kind of connection that it can hold: zero failed requests, nothing kept longer
//! than it has to be, and exit code 0. `drain.rs` has the order of things; here stand the protocols.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::head;
use crate::harness::frames::{FrameClient, GOAWAY, get};
use crate::harness::gateway::items;
use crate::harness::{Behaviour, Client, Http2Client, Issuer, Process, Upstream, eventually};

const ROUTES: &str = "    routes: [{ path: \"/p/{*rest}\", require: public, timeout: 1m }]\n";

fn yaml(issuer: &Issuer, upstream: &Upstream, timeouts: &str) -> String {
    format!("timeouts: {timeouts}\n{}", items(issuer, upstream, ROUTES))
}

/// How many connections were cut, as the last line of the log says. The process may have ended before that was read.
fn cut(process: &Process) -> u64 {
    let ended = || {
        let log = process.log();
        let ended = log.iter().find(|line| line["message"] == "ended")?;
        ended["cut"].as_u64()
    };
    eventually("the last line of the log", || ended().is_some());
    ended().unwrap()
}

#[test]
fn no_request_of_http2_fails_while_the_gateway_leaves() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let slow = Duration::from_millis(5);
    upstream.behave(Behaviour::Delay(slow, Box::new(Behaviour::Echo)));
    let mut process = Process::start(&yaml(&issuer, &upstream, "{ drain: 15s, pre_drain: 1s }"));
    let address = process.http2_address();
    let (is_leaving, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (is_leaving, count) = (Arc::clone(&is_leaving), Arc::clone(&count));
            std::thread::spawn(move || {
                let mut client = Http2Client::connect(address);
                loop {
                    match client.request("GET", "/p/a", &[], b"") {
                        Ok(response) => {
                            assert_eq!(response.status, 200);
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        // Told to go before it had sent anything: it may ask again elsewhere.
                        Err(error) => {
                            assert!(is_leaving.load(Ordering::SeqCst), "{error}");
                            let is_unsent = error.is_canceled() || error.is_closed();
                            assert!(is_unsent, "{error:?}");
                            return;
                        }
                    }
                }
            })
        })
        .collect();
    eventually("load", || count.load(Ordering::SeqCst) > 100);
    is_leaving.store(true, Ordering::SeqCst);
    process.signal("TERM");
    let before = count.load(Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("a request failed");
    }
    // Through the pause before the drain they went on as before.
    assert!(count.load(Ordering::SeqCst) > before + 20);
    assert_eq!(process.exit_code(), Some(0), "{:?}", process.log());
    assert_eq!(cut(&process), 0);
}

#[test]
fn a_download_ends_whole_within_the_deadline() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let mut process = Process::start(&yaml(&issuer, &upstream, "{ drain: 15s }"));
    let chunks = || Behaviour::Chunks {
        chunks: vec![vec![b'x'; 10_000]; 20],
        pause: Duration::from_millis(50),
        trailers: vec![],
    };
    upstream.behave(chunks());
    let mut http1 = Client::connect(process.address());
    http1.send(head("GET", "/p/long", &[], None));
    let mut http2 = FrameClient::connect(process.http2_address());
    http2.send(&get(1, b"/p/long"));
    upstream.wait_for_requests(2);
    process.signal("TERM");
    process.wait_for_log("draining");
    let response = http1.response();
    assert_eq!((response.status, response.body.len()), (200, 200_000));
    let mut taken = 0;
    while let Some(found) = http2.next_of_interest(Duration::from_secs(15)).unwrap() {
        if found.kind == crate::harness::frames::DATA {
            taken += found.payload.len();
            let window = [0, 0, 0xff, 0xff];
            http2.send(&crate::harness::frames::frame(8, 0, 1, &window));
            http2.send(&crate::harness::frames::frame(8, 0, 0, &window));
        }
        if taken == 200_000 {
            http2.finish();
        }
    }
    assert_eq!(taken, 200_000);
    assert_eq!(process.exit_code(), Some(0));
    assert_eq!(cut(&process), 0);
}

#[test]
fn a_longer_one_is_cut_at_the_deadline() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let mut process = Process::start(&yaml(&issuer, &upstream, "{ drain: 1s }"));
    upstream.behave(Behaviour::Chunks {
        chunks: vec![vec![b'x'; 100]; 2_000],
        pause: Duration::from_millis(50),
        trailers: vec![],
    });
    let mut client = Client::connect(process.address());
    client.send(head("GET", "/p/long", &[], None));
    upstream.wait_for_requests(1);
    process.signal("TERM");
    process.wait_for_log("draining");
    let began = Instant::now();
    // Broken off, so that nobody takes a part for the whole.
    assert!(client.try_response_to("GET").is_err());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(process.exit_code(), Some(0));
    assert_eq!(cut(&process), 1);
}

/// Nobody waits for those who have nothing in flight: not for idle ones, and not for the rest of a head.
#[test]
fn who_has_nothing_in_flight_is_closed_at_once() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let mut process = Process::start(&yaml(
        &issuer,
        &upstream,
        "{ drain: 1m, header: 1m, first_byte: 1m }",
    ));
    let mut idle = Client::connect(process.address());
    assert_eq!(idle.get("/p/a", &[]).status, 200);
    let _silent = [
        Client::connect(process.address()),
        Client::connect(process.http2_address()),
    ];
    let mut half = Client::connect(process.address());
    half.send("GET /p/half HTTP/1.1\r\nhost: a");
    let mut half_behind_the_sniff = Client::connect(process.http2_address());
    half_behind_the_sniff.send("GET /p/half HTTP/1.1\r\nhost: a");
    let mut http2 = FrameClient::connect(process.http2_address());
    http2.send(&get(1, b"/p/a"));
    assert_eq!(http2.status(), 200);
    let began = Instant::now();
    process.signal("TERM");
    loop {
        // The rest of the answer comes first.
        let found = http2
            .next_of_interest(Duration::from_secs(15))
            .unwrap()
            .expect("a goodbye");
        if found.kind == GOAWAY {
            assert_eq!(found.code(), Some(0));
            break;
        }
    }
    drop(http2);
    assert_eq!(process.exit_code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(idle.is_closed_within(Duration::from_secs(5)));
    assert!(half.is_closed_within(Duration::from_secs(5)));
    assert!(half_behind_the_sniff.is_closed_within(Duration::from_secs(5)));
    assert_eq!(cut(&process), 0);
}

/// A head that had begun and ends in time is served: it was on its way.
#[test]
fn a_head_that_was_on_its_way_is_served() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let mut process = Process::start(&yaml(&issuer, &upstream, "{ drain: 10s }"));
    // It must be read before the drain begins; the answer on the same connection shows that the gateway reads.
    let mut client = Client::connect(process.address());
    assert_eq!(client.get("/p/a", &[]).status, 200);
    client.send("GET /p/half HTTP/1.1\r\nhost: a");
    std::thread::park_timeout(Duration::from_millis(100));
    process.signal("TERM");
    client.send(".test\r\n\r\n");
    // Whether it is told to close depends on which of the two was first; that it is served does not.
    assert_eq!(client.response().status, 200);
    assert_eq!(process.exit_code(), Some(0));
}

/// The second signal counts from the moment of the first, whichever comes when.
#[test]
fn a_second_signal_is_never_missed() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    for (first, second) in [("TERM", "INT"), ("INT", "TERM")] {
        upstream.behave(Behaviour::Hang);
        let mut process = Process::start(&yaml(&issuer, &upstream, "{ drain: 1h }"));
        let before = upstream.requests();
        let mut client = Client::connect(process.address());
        client.send(head("GET", "/p/hang", &[], None));
        // `Hang` never reads on, so the request counts once its head is there.
        upstream.wait_for_requests(before + 1);
        process.signal(first);
        process.signal(second);
        assert_eq!(process.exit_code(), Some(130));
    }
}
