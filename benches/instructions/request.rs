//! A whole request, from the first byte of its head to the last of the answer, over a client's connection in memory. The
//! upstream is a thread with a socket that answers with the same bytes each time.

use std::io::{Read, Write};
use std::iter::repeat_n;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use scopegate::definition::SigningAlg;
use scopegate::gateway::{Connection, ForwardedFields, GatewaySettings, Shared, VerifiedTokens, Worker};
use scopegate::net::{
    ConnectionSettings, DrainWatcher, Limits, Protocol, Timeouts, TrustedProxies, client_service, drain,
    serve_client,
};
use scopegate::policy::Reason;
use scopegate::snapshot::Snapshot;
use scopegate::snapshot::handoff::handoff;
use scopegate::telemetry::{AccessLog, AccessLogOutput, AccessLogSettings, DenialLines, Metrics};
use scopegate::token::{ProofDesk, ProofSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::bare;
use super::material::Material;

/// What the upstream says.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nserver: upstream\r\ncontent-type: application/json\r\ncontent-length: 70\r\n\r\n\
0123456789012345678901234567890123456789012345678901234567890123456789";

pub(crate) fn bare(material: &Material, times: u32) {
    let upstream = upstream();
    on_a_worker(async {
        let (client, stream) = duplex(64 << 10);
        let (_trigger, watcher) = drain();
        tokio::task::spawn_local(async move {
            let pool = bare::Pool::default();
            bare::serve(stream, Protocol::Http1, pool, upstream, &settings(), watcher).await;
        });
        let request = head("/items", Some(&material.rs256));
        repeat(repeat_n(request.as_slice(), count(times)), client, b"200").await;
    });
}

pub(crate) fn public(material: &Material, times: u32) {
    signed(times, material, &head("/public", Some(&material.rs256)), b"200");
}

pub(crate) fn cached(material: &Material, times: u32) {
    signed(times, material, &head("/items", Some(&material.rs256)), b"200");
}

/// Like [`cached`], with the same token encrypted: it is longer, and is not decrypted again.
pub(crate) fn cached_encrypted(material: &Material, times: u32) {
    let snapshot = material.decrypting_snapshot(SigningAlg::RS256, upstream());
    let request = head("/items", Some(&material.sealed));
    through_the_gateway(repeat_n(request.as_slice(), count(times)), snapshot, b"200");
}

/// A token that was never seen before in each request, into a full cache: what there is to do beside the signature, which
/// is the cheapest here.
pub(crate) fn new_hs256(material: &Material, times: u32) {
    let requests: Vec<Vec<u8>> = material
        .new_hs256()
        .iter()
        .map(|token| head("/items", Some(token)))
        .collect();
    assert!(
        requests.len() >= count(times),
        "there is a token for each request"
    );
    let snapshot = material.snapshot(SigningAlg::HS256, upstream());
    let requests = requests.iter().map(Vec::as_slice);
    through_the_gateway(requests.take(count(times)), snapshot, b"200");
}

pub(crate) fn refused(material: &Material, times: u32) {
    signed(times, material, &head("/items", None), b"401");
}

fn signed(times: u32, material: &Material, request: &[u8], status: &[u8]) {
    let snapshot = material.snapshot(SigningAlg::RS256, upstream());
    through_the_gateway(repeat_n(request, count(times)), snapshot, status);
}

fn count(times: u32) -> usize {
    usize::try_from(times).unwrap()
}

fn head(path: &str, token: Option<&str>) -> Vec<u8> {
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: items.example.com\r\nAccept: */*\r\n{authorization}\r\n")
        .into_bytes()
}

fn through_the_gateway<'a>(requests: impl Iterator<Item = &'a [u8]>, snapshot: Snapshot, status: &[u8]) {
    let (_publisher, reader) = handoff(snapshot);
    let metrics = Metrics::new(&prometheus::Registry::new(), Reason::names()).unwrap();
    let log = AccessLogSettings {
        output: AccessLogOutput::Off,
        ..Default::default()
    };
    let shared = Shared::new(
        GatewaySettings::default(),
        VerifiedTokens::new(1_000, &metrics).unwrap(),
        ProofDesk::new(&ProofSettings::default(), &[0; 32], &[0; 32]),
        Arc::default(),
        Arc::new(metrics.clone()),
        AccessLog::start(
            &log,
            metrics.access_log_dropped.clone(),
            DenialLines::new(1_000, []),
        )
        .unwrap(),
        Arc::default(),
    );
    on_a_worker(async {
        let (_trigger, watcher) = drain();
        let worker = Worker::new(shared, reader, watcher.clone()).unwrap();
        let watching = Rc::clone(&worker);
        tokio::task::spawn_local(async move { watching.watch_deadlines().await });
        let (client, stream) = duplex(64 << 10);
        tokio::task::spawn_local(async move { serve(stream, worker, watcher).await });
        repeat(requests, client, status).await;
    });
}

async fn serve(stream: DuplexStream, worker: Rc<Worker>, watcher: DrainWatcher) {
    let connection = Connection::new(
        SocketAddr::from(([127, 0, 0, 1], 50_000)),
        None,
        &TrustedProxies::default(),
        ForwardedFields::default(),
    );
    let service = |interim| {
        let connection = Rc::new(connection.with_interim_answers(interim));
        client_service(move |request| Rc::clone(&worker).serve(Rc::clone(&connection), request))
    };
    serve_client(stream, Protocol::Http1, &settings(), service, watcher).await;
}

fn settings() -> ConnectionSettings {
    ConnectionSettings::new(&Limits::default(), &Timeouts::default())
}

/// Answers each head with [`ANSWER`], on one connection after the other.
fn upstream() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true).unwrap();
            let mut buffer = [0; 4_096];
            let mut end = 0;
            loop {
                match stream.read(&mut buffer[end..]) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => end += read,
                }
                if buffer[..end].ends_with(b"\r\n\r\n") {
                    end = 0;
                    stream.write_all(ANSWER).unwrap();
                }
            }
        }
    });
    address
}

fn on_a_worker(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap()
        .block_on(work);
}

/// Sends these requests over one connection, each after the answer to the one before. All answers are as long as the
/// first.
async fn repeat<'a>(requests: impl Iterator<Item = &'a [u8]>, mut client: DuplexStream, status: &[u8]) {
    let mut buffer = vec![0; 8 << 10];
    let mut length = None;
    for request in requests {
        client.write_all(request).await.unwrap();
        let mut end = 0;
        while length.is_none_or(|length| end < length) {
            let read = client.read(&mut buffer[end..]).await.unwrap();
            assert_ne!(read, 0, "the connection ended");
            end += read;
            length = length.or_else(|| length_of(&buffer[..end]));
        }
        assert_eq!(Some(end), length);
        assert_eq!(&buffer[9..12], status);
    }
}

/// The length of an answer, once its head is there.
fn length_of(answer: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(answer).unwrap().split_once("\r\n\r\n")?.0;
    let body = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .expect("a length");
    Some(head.len() + 4 + body.parse::<usize>().unwrap())
}
