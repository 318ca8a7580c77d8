//! A closed loop of requests over kept connections: one thread per few connections, no library that could be measured
//! along with the gateway.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is sent where.
pub(crate) struct Load {
    pub(crate) address: String,
    /// Sent in turn.
    pub(crate) requests: Vec<Vec<u8>>,
    /// Every answer must have it.
    pub(crate) status: u16,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
}

/// Runs a load; how many requests were answered in which time.
pub(crate) fn run_load(load: &Load) -> (usize, Duration) {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let threads = load.connections.min(4);
    let counts = thread::scope(|scope| {
        let loops: Vec<_> = (0..threads)
            .map(|index| {
                let next = &next;
                let mine = load.connections / threads + usize::from(index < load.connections % threads);
                scope.spawn(move || round_robin(load, mine, next, start))
            })
            .collect();
        loops
            .into_iter()
            .map(|handle| handle.join().expect("a load thread"))
            .sum()
    });
    (counts, start.elapsed())
}

/// Writes a request on each connection, then reads the answer of each: as many in flight as there are connections.
fn round_robin(load: &Load, connections: usize, next: &AtomicUsize, start: Instant) -> usize {
    let mut streams: Vec<TcpStream> = (0..connections)
        .map(|_| {
            let stream = TcpStream::connect(&load.address).expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .expect("a timeout");
            stream
        })
        .collect();
    let mut count = 0;
    let mut buffer = vec![0; 16 << 10];
    while start.elapsed() < load.duration {
        for stream in &mut streams {
            let number = next.fetch_add(1, Ordering::Relaxed);
            stream
                .write_all(&load.requests[number % load.requests.len()])
                .expect("a request is sent");
        }
        for stream in &mut streams {
            let status = read_answer(stream, &mut buffer);
            assert_eq!(status, load.status);
            count += 1;
        }
    }
    count
}

/// Reads one answer with a `Content-Length`; its status.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> u16 {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).expect("an answer");
        assert!(count > 0, "the connection was closed");
        filled += count;
        let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end]).expect("a head in ASCII");
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse::<usize>().expect("a length"));
        if filled >= end + 4 + length {
            return head[9..12].parse().expect("a status");
        }
    }
}
