//! The authority: what a token costs, beside what its signature alone costs.
//!
//! `cargo bench --bench authority`. Over loopback on kept connections, so that the whole way counts: HTTP, the secret of
//! the client, its grant, the claims, the signature. The authority has one thread; `raw signature` is what that thread
//! could do if it did nothing else. `AUTHORITY_SECONDS=10` measures longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark that meets the unexpected fails where it stands"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use scopegate::authority::{Authority, AuthoritySettings, EncryptionKey, StoreAddress, serve_authority};
use scopegate::net::{BoundListener, drain};

fn main() {
    let seconds = std::env::var("AUTHORITY_SECONDS").ok();
    let time = Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(5));
    // Interleaved, so that whatever else the machine does counts for both.
    let (address, audience, client_id, client_secret, thread_time) = start();
    let body = format!(
        "grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}&audience={}",
        audience.replace(':', "%3A").replace('/', "%2F")
    );
    let request = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    for round in 1..=3 {
        let raw = raw_signatures(time);
        let (issued, cpu) = tokens(address, &request, time, &thread_time);
        let per_token = cpu.as_secs_f64() / issued;
        println!(
            "round {round}: raw signature {:.0} µs ({:.0}/s); token {:.0} µs of CPU of the authority ({:.0}/s per \
             core), {:.0}/s over loopback; ratio {:.3}",
            1e6 / raw,
            raw,
            per_token * 1e6,
            1.0 / per_token,
            issued / time.as_secs_f64(),
            1.0 / per_token / raw,
        );
    }
}

/// Signatures per second of CPU: RS256 with 2,048 bits over 600 bytes, on one thread.
fn raw_signatures(time: Duration) -> f64 {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let (message, random) = ([7; 600], SystemRandom::new());
    let mut signature = vec![0; pair.public_modulus_len()];
    let (begin, cpu) = (Instant::now(), thread_cpu());
    let mut count = 0.0;
    while begin.elapsed() < time {
        for _ in 0..50 {
            pair.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature)
                .unwrap();
        }
        count += 50.0;
    }
    count / (thread_cpu() - cpu).as_secs_f64()
}

/// How many tokens came in this time over two connections, and how much CPU the authority took for them.
fn tokens(address: SocketAddr, request: &str, time: Duration, cpu: &CpuOf) -> (f64, Duration) {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let before = cpu.now();
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, count, request) = (Arc::clone(&stop), Arc::clone(&count), request.to_owned());
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(request.as_bytes()).unwrap();
                    assert!(answer(&mut stream).contains("\"access_token\""));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    thread::park_timeout(time);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    let count = u32::try_from(count.load(Ordering::Relaxed)).unwrap();
    (f64::from(count), cpu.now() - before)
}

/// A whole answer with a length.
fn answer(stream: &mut TcpStream) -> String {
    let (mut text, mut part) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "the authority has closed the connection");
        text.extend(part.iter().take(read));
        let whole = String::from_utf8_lossy(&text);
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap() {
                return whole.into_owned();
            }
        }
    }
}

/// An authority on a thread of its own: address, audience, client, secret, and what its thread has taken of the CPU.
fn start() -> (SocketAddr, String, String, String, CpuOf) {
    let (started, has_started) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async move {
            let listener = BoundListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.address();
            let settings = AuthoritySettings {
                address,
                tls: None,
                issuer: format!("http://{address}/"),
                store: StoreAddress::Memory,
                encryption_key: EncryptionKey::Ephemeral,
            };
            let audience = settings.management_audience();
            let (authority, administrator) = Authority::open(settings).await.unwrap();
            let administrator = administrator.unwrap();
            let known = (
                address,
                audience,
                administrator.client_id,
                String::clone(&administrator.client_secret),
                CpuOf::this_thread(),
            );
            started.send(known).unwrap();
            let (_trigger, watcher) = drain();
            serve_authority(authority, &listener, None, watcher)
                .await
                .unwrap();
        });
    });
    has_started.recv().unwrap()
}

/// The CPU time of one thread of this process, as Linux tells it.
struct CpuOf(String);

impl CpuOf {
    fn this_thread() -> Self {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        Self(format!("/proc/{}/schedstat", link.display()))
    }

    fn now(&self) -> Duration {
        let text = std::fs::read_to_string(&self.0).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

fn thread_cpu() -> Duration {
    CpuOf::this_thread().now()
}
