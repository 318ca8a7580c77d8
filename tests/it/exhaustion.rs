//! Clients that want to use the gateway up: with slow heads, slow bodies, slow reading, too many connections, resets and
//! floods. Each of them meets its bound, and who is honest is served meanwhile.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::client::head;
use crate::harness::frames::{
    END_HEADERS, END_STREAM, FrameClient, GOAWAY, HEADERS, RST_STREAM, WINDOW_UPDATE, block, frame, get,
};
use crate::harness::gateway::items;
use crate::harness::{Behaviour, Client, DEADLINE, Gateway, Issuer, Metrics, Process, Upstream, eventually};

/// The answer to the PING with which h2 accompanies a goodbye.
const GOODBYE_HEARD: [u8; 17] = [
    0, 0, 8, 6, 1, 0, 0, 0, 0, 0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54,
];

const ROUTES: &str = "    routes: [{ path: \"/p/{*rest}\", require: public, timeout: 1m }]\n";

fn yaml(issuer: &Issuer, upstream: &Upstream, settings: &str) -> String {
    format!("{settings}\n{}", items(issuer, upstream, ROUTES))
}

fn errors(metrics: &Metrics, kind: &str) -> f64 {
    metrics.value("scopegate_connection_errors_total", &[("kind", kind)])
}

/// An honest client gets its answers, each in good time, on a connection of its own and on a kept one.
#[track_caller]
fn honest(address: SocketAddr, requests: usize) {
    let mut kept = Client::connect(address);
    let mut durations: Vec<Duration> = (0..requests)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(kept.get("/p/kept", &[]).status, 200);
            assert_eq!(Client::connect(address).get("/p/new", &[]).status, 200);
            began.elapsed()
        })
        .collect();
    durations.sort();
    // It takes a few milliseconds. A busy machine is given its time, once for all of them and more for a single one.
    assert!(
        durations[requests / 2] < Duration::from_millis(1_500),
        "{durations:?}"
    );
    assert!(durations[requests - 1] < Duration::from_secs(10), "{durations:?}");
}

#[test]
fn a_thousand_slow_heads() {
    scopegate::net::raise_open_files();
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let process = Process::start(&yaml(&issuer, &upstream, "timeouts: { header: 4s }"));
    let mut slow: Vec<Client> = (0..1_000)
        .map(|_| {
            let mut client = Client::connect(process.address());
            client.send("GET /p/slow HTTP/1.1\r\nhost: a.test\r\n");
            client
        })
        .collect();
    let began = Instant::now();
    // They trickle on, which must not buy them time.
    for _ in 0..3 {
        honest(process.address(), 10);
        slow.iter_mut().for_each(|client| client.send("x-a: b\r\n"));
    }
    eventually("every slow head to be closed", || {
        errors(&process.metrics(), "slow_head") == 1_000.0
    });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    for client in &mut slow {
        assert!(client.is_closed_within(Duration::from_secs(5)));
    }
    honest(process.address(), 1);
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.target() != "/p/slow"));
}

#[test]
fn two_hundred_slow_bodies() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "timeouts: { body: 60s }"));
    let mut slow: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = gateway.client();
            client.send(head("POST", "/p/slow", &[], Some(100_000)));
            client
        })
        .collect();
    let began = Instant::now();
    // A byte now and then keeps every pause short; the rate is what ends it, after its five seconds.
    while gateway.metrics().value("scopegate_http_requests_in_flight", &[]) > 0.0 {
        assert!(began.elapsed() < Duration::from_secs(20), "still in flight");
        honest(gateway.address(), 2);
        slow.iter_mut().for_each(|client| client.send("x"));
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    for client in &mut slow {
        // 408, or nothing, and then the end.
        assert!(!client.rest().starts_with(b"HTTP/1.1 2"));
    }
    assert!(upstream.seen().iter().all(|seen| seen.target() != "/p/slow"));
}

/// A connection whose client has little room for what is sent to it.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

#[test]
fn two_hundred_slow_readers() {
    use std::io::Write as _;
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "timeouts: { body: 2s }"));
    for _ in 0..200 {
        upstream.next(Behaviour::Respond(200, vec![], vec![b'x'; 3 << 20]));
    }
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = narrow(gateway.address());
            stream.write_all(&head("GET", "/p/large", &[], None)).unwrap();
            stream
        })
        .collect();
    upstream.wait_for_requests(200);
    honest(gateway.address(), 10);
    eventually("every slow reader to be closed", || {
        errors(&gateway.metrics(), "slow_reader") == 200.0
    });
    gateway.until_idle();
    honest(gateway.address(), 1);
    drop(slow);
}

/// A client of HTTP/2 stalls a stream without a word by granting no window. That stream ends; the others of its
/// connection go on.
#[test]
fn a_stream_that_is_not_taken_is_reset_alone() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "timeouts: { body: 2s }"));
    let mut client = FrameClient::connect_with(gateway.http2_address(), &[(INITIAL_WINDOW_SIZE, 1_000)]);
    let large = |count| {
        (0..count).for_each(|_| upstream.next(Behaviour::Respond(200, vec![], vec![b'x'; 1 << 20])));
    };
    large(20);
    for stream in 0..20 {
        client.send(&get(2 * stream + 1, b"/p/large"));
    }
    upstream.wait_for_requests(20);
    let began = Instant::now();
    let mut resets = 0;
    let mut answers = 0;
    let mut next = 101;
    while resets < 20 {
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{resets} resets, {answers} answers"
        );
        // An answer that fits its window passes beside them.
        upstream.next(Behaviour::Respond(200, vec![], b"small".to_vec()));
        client.send(&get(next, b"/p/small"));
        let mut is_answered = false;
        while !is_answered {
            let found = client.next_of_interest(DEADLINE).unwrap().expect("closed");
            assert_ne!(found.kind, GOAWAY, "{found:?}");
            resets += usize::from(found.kind == RST_STREAM && found.stream < 100);
            is_answered = found.stream == next && found.flags & END_STREAM != 0;
        }
        answers += 1;
        next += 2;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(
        began.elapsed() >= Duration::from_millis(1_800),
        "{:?}",
        began.elapsed()
    );
    assert!(answers > 5, "{answers}");
    gateway.until_idle();
    // Who takes what comes, however little at a time, is not cut.
    large(1);
    client.send(&get(10_001, b"/p/large"));
    let mut taken = 0;
    while taken < 1 << 20 {
        let found = client.next_of_interest(DEADLINE).unwrap().expect("closed");
        assert_eq!(
            (found.stream, found.kind == RST_STREAM),
            (10_001, false),
            "after {taken}"
        );
        if found.kind != HEADERS {
            taken += found.payload.len();
            let window = u32::try_from(found.payload.len().max(1)).unwrap().to_be_bytes();
            client.send(&frame(WINDOW_UPDATE, 0, 0, &window));
            client.send(&frame(WINDOW_UPDATE, 0, 10_001, &(64_u32 << 10).to_be_bytes()));
        }
    }
}

/// What it takes in a second is less than the least, though each pause is short; the time in which there was nothing to
/// take is not its fault.
#[test]
fn a_response_that_is_taken_too_slowly_ends() {
    use std::io::{Read as _, Write as _};
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let settings = "limits: { response_rate: 1MiB }\ntimeouts: { body: 60s }";
    let gateway = Gateway::start(&yaml(&issuer, &upstream, settings));
    upstream.next(Behaviour::Respond(200, vec![], vec![b'x'; 64 << 20]));
    let mut slow = narrow(gateway.address());
    slow.write_all(&head("GET", "/p/large", &[], None)).unwrap();
    upstream.wait_for_requests(1);
    // An upstream that has little to say, for longer than the grace.
    upstream.next(Behaviour::Chunks {
        chunks: vec![b"part".to_vec(); 9],
        pause: Duration::from_secs(1),
        trailers: vec![],
    });
    let mut patient = gateway.client();
    patient.send(head("GET", "/p/events", &[], None));
    let began = Instant::now();
    let mut taken = vec![0; 16 << 10];
    while errors(&gateway.metrics(), "slow_reader") == 0.0 {
        assert!(
            began.elapsed() < Duration::from_secs(45),
            "it is still waited for"
        );
        slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        drop(slow.read(&mut taken));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(
        began.elapsed() >= Duration::from_millis(4_900),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(patient.response().body, b"part".repeat(9));
    // Who takes what comes gets all of it.
    upstream.next(Behaviour::Respond(200, vec![], vec![b'x'; 32 << 20]));
    assert_eq!(gateway.client().get("/p/large", &[]).body.len(), 32 << 20);
    assert_eq!(errors(&gateway.metrics(), "slow_reader"), 1.0);
    gateway.until_idle();
}

/// The same for one stream among others: small windows, one after the other.
#[test]
fn a_stream_that_is_taken_too_slowly_is_reset_alone() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let settings = "limits: { response_rate: 1MiB }\ntimeouts: { body: 60s }";
    let gateway = Gateway::start(&yaml(&issuer, &upstream, settings));
    let mut client = FrameClient::connect_with(gateway.http2_address(), &[(INITIAL_WINDOW_SIZE, 1_000)]);
    upstream.next(Behaviour::Respond(200, vec![], vec![b'x'; 4 << 20]));
    client.send(&get(1, b"/p/large"));
    upstream.wait_for_requests(1);
    // The upstream of this one is silent for longer than all of it takes.
    upstream.next(Behaviour::Hold(Box::new(Behaviour::Respond(
        200,
        vec![],
        b"late".to_vec(),
    ))));
    client.send(&get(3, b"/p/silent"));
    upstream.wait_for_requests(2);
    let began = Instant::now();
    loop {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it is still waited for"
        );
        client.send(&frame(WINDOW_UPDATE, 0, 1, &10_000_u32.to_be_bytes()));
        client.send(&frame(WINDOW_UPDATE, 0, 0, &10_000_u32.to_be_bytes()));
        match client.next_of_interest(Duration::from_millis(500)) {
            Ok(Some(found)) => {
                assert_ne!(found.kind, GOAWAY, "{found:?}");
                if found.kind == RST_STREAM {
                    assert_eq!(found.stream, 1);
                    break;
                }
            }
            Ok(None) => panic!("closed"),
            Err(_) => {}
        }
        std::thread::park_timeout(Duration::from_millis(300));
    }
    assert!(
        began.elapsed() >= Duration::from_millis(4_900),
        "{:?}",
        began.elapsed()
    );
    upstream.release();
    loop {
        let found = client.next_of_interest(DEADLINE).unwrap().expect("closed");
        assert_eq!((found.stream, found.kind == RST_STREAM), (3, false));
        if found.flags & END_STREAM != 0 {
            break;
        }
    }
    gateway.until_idle();
}

/// CVE-2023-44487 at a pace at which each request reaches the upstream before it is reset.
#[test]
fn rapid_reset() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "limits: { http2_resets: 50 }"));
    let mut attacker = FrameClient::connect(gateway.http2_address());
    upstream.behave(Behaviour::Hang);
    for number in 0..=50 {
        attacker.send(&get(2 * number + 1, b"/p/hang"));
        upstream.wait_for_requests(usize::try_from(number).unwrap() + 1);
        attacker.send(&frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8]));
    }
    // What comes after it is dropped unread.
    for number in 51..400 {
        attacker.send(&get(2 * number + 1, b"/p/hang"));
    }
    const ENHANCE_YOUR_CALM: u32 = 11;
    assert_eq!(attacker.until_closed(), Some(ENHANCE_YOUR_CALM));
    gateway.until_idle();
    assert_eq!(upstream.requests(), 51);
    assert_eq!(errors(&gateway.metrics(), "flood"), 1.0);
    upstream.behave(Behaviour::Echo);
    honest(gateway.address(), 3);
}

/// Ten seconds of ordinary cancelling are no attack.
#[test]
fn resets_below_the_bound_are_nobodys_fault() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, ""));
    upstream.behave(Behaviour::Hang);
    let mut client = FrameClient::connect(gateway.http2_address());
    for number in 0..150 {
        client.send(&get(2 * number + 1, b"/p/hang"));
        upstream.wait_for_requests(usize::try_from(number).unwrap() + 1);
        client.send(&frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8]));
    }
    upstream.behave(Behaviour::Echo);
    client.send(&get(1_001, b"/p/a"));
    assert_eq!(client.status(), 200);
    assert_eq!(errors(&gateway.metrics(), "flood"), 0.0);
}

#[test]
fn connections_over_the_limit_are_closed_and_the_others_kept() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "limits: { connections: 50 }"));
    let refused = || {
        gateway
            .metrics()
            .value("scopegate_connections_refused_total", &[])
    };
    let mut kept: Vec<Client> = (0..50).map(|_| gateway.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/p/a", &[]).status, 200);
    }
    for _ in 0..200 {
        assert!(gateway.client().is_closed_within(Duration::from_secs(10)));
    }
    assert_eq!(refused(), 200.0);
    for client in &mut kept {
        assert_eq!(client.get("/p/a", &[]).status, 200);
    }
    drop(kept);
    eventually("a free place", || {
        let mut client = gateway.client();
        client.send(head("GET", "/p/a", &[], None));
        matches!(client.try_response_to("GET"), Ok(Some(response)) if response.status == 200)
    });
}

#[test]
fn one_address_leaves_room_for_others() {
    use std::io::{Read as _, Write as _};
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(
        &issuer,
        &upstream,
        "limits: { connections_per_address: 5 }",
    ));
    let from = |address: [u8; 4]| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket
            .bind(&SocketAddr::new(IpAddr::from(address), 0).into())
            .unwrap();
        socket.connect(&gateway.address().into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut first = [0; 12];
        let is_served = stream.write_all(&head("GET", "/p/a", &[], None)).is_ok()
            && stream.read_exact(&mut first).is_ok()
            && first == *b"HTTP/1.1 200";
        (stream, is_served)
    };
    let held: Vec<_> = (0..5).map(|_| from([127, 0, 0, 2])).collect();
    assert!(held.iter().all(|(_, is_served)| *is_served));
    assert!(!from([127, 0, 0, 2]).1);
    assert!(from([127, 0, 0, 3]).1);
    drop(held);
    eventually("a free place", || from([127, 0, 0, 2]).1);
}

/// The limit of the process is lowered below what it has open already, which is worse than reaching it.
#[test]
fn without_file_descriptors_it_waits_and_goes_on() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let process = Process::start(&yaml(&issuer, &upstream, ""));
    let limit = |files: &str| {
        let set = Command::new("prlimit")
            .args([
                "--pid",
                &process.id().to_string(),
                &format!("--nofile={files}:20000"),
            ])
            .status();
        assert!(set.unwrap().success());
    };
    let mut kept = Client::connect(process.address());
    assert_eq!(kept.get("/p/a", &[]).status, 200);
    limit("8");
    let mut waiting: Vec<Client> = (0..20).map(|_| Client::connect(process.address())).collect();
    for client in &mut waiting {
        client.send(head("GET", "/p/waiting", &[], None));
    }
    process.wait_for_log("cannot accept connections");
    // What is open goes on, over the connection to the upstream that is open.
    for _ in 0..20 {
        assert_eq!(kept.get("/p/a", &[]).status, 200);
    }
    limit("20000");
    for client in &mut waiting {
        assert_eq!(client.response().status, 200);
    }
    assert!(process.is_ready());
    // It backed off instead of spinning: with 10 to 500 ms between two attempts there are few of them.
    let attempts = process
        .log()
        .iter()
        .filter(|line| line["message"] == "cannot accept connections")
        .count();
    assert!(attempts < 500, "{attempts}");
}

#[test]
fn a_connection_has_a_share_of_requests() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(
        &issuer,
        &upstream,
        "limits: { requests_per_connection: 3 }",
    ));
    let mut client = gateway.client();
    for number in 1..=3 {
        let response = client.get("/p/a", &[]);
        assert_eq!(response.status, 200);
        assert_eq!(
            response.head.field("connection"),
            (number == 3).then_some("close")
        );
    }
    assert!(client.is_closed_within(Duration::from_secs(10)));

    let mut client = FrameClient::connect(gateway.http2_address());
    for number in 0..3 {
        client.send(&get(2 * number + 1, b"/p/a"));
        assert_eq!(client.status(), 200);
    }
    // NO_ERROR: come again on another. It ends once its PING is answered.
    client.send(&GOODBYE_HEARD);
    assert!(matches!(client.until_closed(), None | Some(0)));
    assert_eq!(upstream.requests(), 6);
}

#[test]
fn an_old_connection_ends_with_its_response() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream, "timeouts: { connection_age: 1s }"));
    let mut client = gateway.client();
    assert_eq!(client.get("/p/a", &[]).head.field("connection"), None);
    upstream.next(Behaviour::Delay(
        Duration::from_secs(3),
        Box::new(Behaviour::Echo),
    ));
    let mut http2 = FrameClient::connect(gateway.http2_address());
    http2.send(&get(1, b"/p/long"));
    upstream.wait_for_requests(2);
    std::thread::park_timeout(Duration::from_millis(1_200));
    let response = client.get("/p/a", &[]);
    assert_eq!(
        (response.status, response.head.field("connection")),
        (200, Some("close"))
    );
    assert!(client.is_closed_within(Duration::from_secs(10)));
    // HTTP/2 is told at once, and what is in flight goes on.
    let goodbye = http2.next_of_interest(DEADLINE).unwrap().unwrap();
    assert_eq!((goodbye.kind, goodbye.code()), (GOAWAY, Some(0)));
    http2.send(&GOODBYE_HEARD);
    let mut status = None;
    while let Some(found) = http2.next_of_interest(DEADLINE).unwrap() {
        status = status.or(found.status().filter(|_| found.kind == HEADERS));
    }
    assert_eq!(status, Some(200));
}

/// A client that never answers our goodbye may not go on for ever.
#[test]
fn a_goodbye_is_not_ignored_for_ever() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(
        &issuer,
        &upstream,
        "limits: { requests_per_connection: 1 }",
    ));
    let mut client = FrameClient::connect(gateway.http2_address());
    // One stream is kept open, so that the connection is not idle.
    upstream.next(Behaviour::Hang);
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"a.test"),
        (b":path", b"/p/hang"),
    ];
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields)));
    upstream.wait_for_requests(1);
    let mut is_closed = false;
    for number in 1..3_000 {
        // Refused ones are enough, and faster.
        client.send(&get(2 * number + 1, b"/nowhere"));
        let found = client.next_of_interest(DEADLINE);
        if matches!(found, Ok(None)) {
            is_closed = true;
            break;
        }
    }
    assert!(is_closed);
}
