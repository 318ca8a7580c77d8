//! Which architecture forwards at the least cost: threads that share a runtime, or threads with one each; one socket to
//! accept on, or one each; hyper-util's pooled client, or connections that are kept by hand.
//!
//!     cargo run --release --manifest-path benches/runtimes/Cargo.toml                # a thread: on one core, the load on the other
//!     cargo run --release --manifest-path benches/runtimes/Cargo.toml -- --threads 2 # two, on two cores, the load on both
//!
//! The same bare forward in each: hyper's server, nothing decided, nothing edited. Every shape is a process; they are
//! loaded in turn, and compared is the CPU time of the process for one request, round by round. Loopback only, bounded,
//! ended by process id.

mod forward;
#[path = "../../gateway/load.rs"]
mod load;
#[path = "../../gateway/process.rs"]
mod process;

use std::time::Duration;

use forward::{Accepting, Client, Runtime, Shape};
use load::{Load, run_load};
use process::Child;

/// What is compared, with the first.
const SHAPES: [(&str, Shape); 6] = [
    (
        "own runtimes, one socket, connections by hand",
        Shape(Runtime::Own, Accepting::OneSocket, Client::ByHand),
    ),
    (
        "own runtimes, own sockets, connections by hand",
        Shape(Runtime::Own, Accepting::OwnSockets, Client::ByHand),
    ),
    (
        "own runtimes, one socket, hyper-util's client",
        Shape(Runtime::Own, Accepting::OneSocket, Client::HyperUtil),
    ),
    (
        "own runtimes, own sockets, hyper-util's client",
        Shape(Runtime::Own, Accepting::OwnSockets, Client::HyperUtil),
    ),
    (
        "shared runtime, one socket, connections by hand",
        Shape(Runtime::Shared, Accepting::OneSocket, Client::ByHand),
    ),
    (
        "shared runtime, one socket, hyper-util's client",
        Shape(Runtime::Shared, Accepting::OneSocket, Client::HyperUtil),
    ),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["role-upstream"] => forward::upstream(),
        ["role-forward", index, threads, upstream] => {
            let index: usize = index.parse().expect("a shape");
            forward::run(
                SHAPES[index].1,
                threads.parse().expect("a number"),
                upstream.parse().expect("an address"),
            );
        }
        _ => compare(&Options::read(&words)),
    }
}

struct Options {
    threads: usize,
    rounds: usize,
    seconds: f64,
    connections: usize,
}

impl Options {
    fn read(words: &[&str]) -> Self {
        let mut options = Self {
            threads: 1,
            rounds: 20,
            seconds: 1.0,
            connections: 64,
        };
        for pair in words.chunks(2) {
            let [name, value] = pair else {
                panic!("{pair:?} has no value")
            };
            let value: f64 = value.parse().expect("a number");
            match *name {
                "--threads" => options.threads = value as usize,
                "--rounds" => options.rounds = value as usize,
                "--seconds" => options.seconds = value,
                "--connections" => options.connections = value as usize,
                other => {
                    panic!("unknown option {other}; there are --threads, --rounds, --seconds, --connections")
                }
            }
        }
        options
    }
}

/// What one load on a shape has cost.
struct Figures {
    /// CPU µs of a request.
    cost: f64,
    /// Requests in a second.
    rate: f64,
    /// The part of the CPU time that the busiest thread took.
    share: f64,
}

fn compare(options: &Options) {
    let (gateway_cores, load_cores) = if options.threads == 1 {
        ("1", "0")
    } else {
        ("0,1", "0,1")
    };
    pin(load_cores);
    let upstream = Child::start(load_cores, &["role-upstream"]);
    let threads = options.threads.to_string();
    let children: Vec<Child> = (0..SHAPES.len())
        .map(|index| {
            Child::start(
                gateway_cores,
                &["role-forward", &index.to_string(), &threads, &upstream.address],
            )
        })
        .collect();
    let mut found: Vec<Vec<Figures>> = SHAPES.iter().map(|_| Vec::new()).collect();
    for round in 0..=options.rounds {
        let mut order: Vec<usize> = (0..SHAPES.len()).collect();
        order.rotate_left(round % SHAPES.len());
        for index in order {
            let figures = measure(&children[index], options);
            // The first round warms up.
            if round > 0 {
                found[index].push(figures);
            }
        }
        eprintln!("round {round} of {}", options.rounds);
    }
    println!(
        "{} threads, {} rounds of {} s, {} connections; medians, and the mean of the rounds' ratios\n",
        options.threads, options.rounds, options.seconds, options.connections
    );
    println!(
        "{:<48} {:>10} {:>16} {:>8} {:>14}",
        "", "CPU us/req", "x the first", "req/s", "busiest thread"
    );
    for (index, (name, _)) in SHAPES.iter().enumerate() {
        let of = |figure: fn(&Figures) -> f64| found[index].iter().map(figure).collect::<Vec<f64>>();
        let ratios: Vec<f64> = found[index]
            .iter()
            .zip(&found[0])
            .map(|(one, first)| one.cost / first.cost)
            .collect();
        let (mean, error) = mean(&ratios);
        println!(
            "{name:<48} {:>10.1} {:>16} {:>8.0} {:>13.0}%",
            median(of(|figures| figures.cost)),
            format!("{mean:.3} ± {error:.3}"),
            median(of(|figures| figures.rate)),
            median(of(|figures| figures.share)) * 100.0,
        );
    }
}

fn measure(child: &Child, options: &Options) -> Figures {
    let load = Load {
        address: child.address.clone(),
        requests: vec![b"GET /items HTTP/1.1\r\nHost: items.example.com\r\nAccept: */*\r\n\r\n".to_vec()],
        status: 200,
        connections: options.connections,
        duration: Duration::from_secs_f64(options.seconds),
    };
    let before = child.cpu_of_threads();
    let (count, elapsed) = run_load(&load);
    let after = child.cpu_of_threads();
    let spent: Vec<f64> = after
        .iter()
        .map(|(thread, cpu)| (*cpu - before.get(thread).copied().unwrap_or_default()).as_secs_f64())
        .collect();
    let all: f64 = spent.iter().sum();
    Figures {
        cost: all * 1e6 / count as f64,
        rate: count as f64 / elapsed.as_secs_f64(),
        share: spent.iter().copied().fold(0.0, f64::max) / all,
    }
}

/// This process onto these cores; what wanders finds its caches cold.
fn pin(cores: &str) {
    let process = std::process::id().to_string();
    let _left_where_it_is = std::process::Command::new("taskset")
        .args(["-a", "-p", "-c", cores, &process])
        .stdout(std::process::Stdio::null())
        .status();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// With its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0).max(1.0) / count).sqrt())
}
