//! An authorised request through the gateway beside a bare forward of the same bytes through the same stack.
//!
//!     cargo bench --bench gateway                      # about a minute
//!     cargo bench --bench gateway -- --rounds 9 --seconds 3 --connections 64
//!     cargo bench --bench gateway -- --case "cached RS256"     # that one and the bare forward: for a profiler
//!
//! The parent makes keys and a configuration, starts an upstream, the bare forward and the gateway as processes of their
//! own (this binary again, in another role, each with one worker and, with a second core, a core apart from the load), loads them in turn, and reads the CPU time of each
//! from the kernel. What is compared is CPU per request within one run: requests per second depend on what else the
//! machine does. Everything is on loopback, bounded, and ended by process id.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measurement that cannot go on should stop"
)]

mod bare;
mod load;
mod material;
mod process;

use std::path::Path;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use scopegate::net::Protocol;

use load::{Load, run_load};
use process::Child;

const AUDIENCE: &str = "https://items.example.com";
const ISSUER: &str = "https://issuer.example.com/";

/// What is measured, in the order of the table. The first is what the others are compared with.
const CASES: [&str; 6] = [
    "bare forward",
    "public route",
    "cached RS256",
    "distinct RS256",
    "refused, bad signature",
    "refused, no token",
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("role-upstream") => bare::upstream(),
        Some("role-bare") => bare::forward(&arguments.next().expect("an upstream"), Protocol::Http1),
        // From here on for `benches/peers/run`.
        Some("role-bare-http2") => bare::forward(
            &arguments.next().expect("an upstream"),
            Protocol::Http1OrHttp2Cleartext,
        ),
        Some("role-material") => material::write(
            Path::new(&arguments.next().expect("a folder")),
            arguments
                .next()
                .and_then(|count| count.parse().ok())
                .expect("a number of tokens"),
        ),
        Some("role-verification-cost") => println!("{:.3}", material::verification_cost()),
        Some("role-gateway") => gateway(&arguments.next().expect("a configuration")),
        Some("--test") => compare(&Options {
            case: None,
            rounds: 1,
            seconds: 0.2,
            connections: 2,
            distinct: 10,
        }),
        first => compare(&Options::read(
            first.map(str::to_owned).into_iter().chain(arguments),
        )),
    }
}

struct Options {
    case: Option<String>,
    rounds: usize,
    seconds: f64,
    connections: usize,
    distinct: usize,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            case: None,
            rounds: 7,
            seconds: 1.0,
            connections: 32,
            distinct: 20_000,
        };
        while let Some(name) = arguments.next() {
            let text = arguments.next().expect("a value");
            let value = || text.parse::<f64>().expect("a number");
            match name.as_str() {
                "--case" => options.case = Some(text.clone()),
                "--rounds" => options.rounds = value() as usize,
                "--seconds" => options.seconds = value(),
                "--connections" => options.connections = value() as usize,
                "--distinct" => options.distinct = value() as usize,
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

/// The production gateway with one worker, until the parent ends it.
fn gateway(configuration: &str) {
    let settings =
        scopegate::config::load(Path::new(configuration)).unwrap_or_else(|faults| panic!("{faults}"));
    let running = scopegate::app::start(&settings, None).expect("the gateway starts");
    while running.ready().is_err() {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    println!("{}", running.addresses()[0]);
    loop {
        std::thread::park();
    }
}

fn compare(options: &Options) {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = Tokens::new(options.distinct, folder.path());
    let upstream = Child::start("1", &["role-upstream"]);
    let bare = Child::start("0", &["role-bare", &upstream.address]);
    let configuration = configuration(folder.path(), &upstream.address);
    let gateway = Child::start("0", &["role-gateway", &configuration]);

    let request = |path: &str, token: Option<&str>| {
        let authorization = token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        format!("GET {path} HTTP/1.1\r\nHost: items.example.com\r\nAccept: */*\r\n{authorization}\r\n")
            .into_bytes()
    };
    let cached = vec![request("/items", Some(&tokens.good))];
    let distinct: Vec<_> = tokens
        .distinct
        .iter()
        .map(|token| request("/items", Some(token)))
        .collect();
    let loads = [
        (&bare, cached.clone(), 200),
        (&gateway, vec![request("/public", Some(&tokens.good))], 200),
        (&gateway, cached, 200),
        (&gateway, distinct, 200),
        (&gateway, vec![request("/items", Some(&tokens.forged))], 401),
        (&gateway, vec![request("/items", None)], 401),
    ];

    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); CASES.len()];
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); CASES.len()];
    for round in 0..=options.rounds {
        for (index, (child, requests, status)) in loads.iter().enumerate() {
            if index > 0 && options.case.as_ref().is_some_and(|case| *case != CASES[index]) {
                continue;
            }
            let load = Load {
                address: child.address.clone(),
                requests: requests.clone(),
                status: *status,
                connections: options.connections,
                duration: Duration::from_secs_f64(options.seconds),
            };
            let before: Duration = child.cpu_of_threads().values().sum();
            let (count, elapsed) = run_load(&load);
            let cpu = child.cpu_of_threads().values().sum::<Duration>() - before;
            // The first round warms caches, pools and the branch predictor.
            if round > 0 {
                costs[index].push(cpu.as_secs_f64() * 1e6 / count as f64);
                rates[index].push(count as f64 / elapsed.as_secs_f64());
            }
        }
    }
    print_table(options, &costs, &rates);
}

fn print_table(options: &Options, costs: &[Vec<f64>], rates: &[Vec<f64>]) {
    println!(
        "{} rounds of {} s, {} connections, one worker; CPU of the process per request, medians\n",
        options.rounds, options.seconds, options.connections
    );
    println!(
        "{:<24} {:>10} {:>17} {:>8} {:>10}",
        "case", "CPU us/req", "min-max", "x bare", "req/s"
    );
    for (index, case) in CASES.iter().enumerate() {
        if costs[index].is_empty() {
            continue;
        }
        // Ratios per round, then their median: neighbours in time share what else the machine does.
        let ratios: Vec<f64> = costs[index]
            .iter()
            .zip(&costs[0])
            .map(|(cost, bare)| cost / bare)
            .collect();
        let low = costs[index].iter().copied().fold(f64::INFINITY, f64::min);
        let high = costs[index].iter().copied().fold(0.0, f64::max);
        println!(
            "{case:<24} {:>10.1} {:>17} {:>8.2} {:>10.0}",
            median(&costs[index]),
            format!("{low:.1}-{high:.1}"),
            median(&ratios),
            median(&rates[index]),
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Tokens of a fresh key, whose public half is written beside the configuration.
struct Tokens {
    good: String,
    forged: String,
    distinct: Vec<String>,
}

impl Tokens {
    fn new(distinct: usize, folder: &Path) -> Self {
        let (key, _) = material::signing_key();
        let jwks = material::key_set(&key, Algorithm::RS256);
        std::fs::write(folder.join("jwks.json"), jwks).expect("a file");
        let lifetime = Duration::from_secs(7_200);
        let sign = |number| material::sign(&key, Algorithm::RS256, &material::claims(number, lifetime));
        let good = sign(0);
        let other = sign(1);
        let (start, _) = good.rsplit_once('.').expect("three parts");
        let (_, signature) = other.rsplit_once('.').expect("three parts");
        let forged = format!("{start}.{signature}");
        Self {
            forged,
            distinct: (2..distinct + 2).map(sign).collect(),
            good,
        }
    }
}

fn configuration(folder: &Path, upstream: &str) -> String {
    let path = folder.join("bench.yaml");
    let text = format!(
        r#"
listeners: [{{ address: "127.0.0.1:0" }}]
admin: off
workers: 1
issuers: [{{ issuer: "{ISSUER}", jwks_file: jwks.json }}]
access_log: {{ output: off }}
token_cache: {{ entries: 10000 }}
limits: {{ requests_per_connection: 1000000000 }}
apis:
  - definition:
      name: Items
      identifier: {AUDIENCE}
      signing_alg: RS256
      scopes: [{{ value: "read:items" }}, {{ value: "write:items" }}]
    upstream: http://{upstream}
    routes:
      - {{ path: /public, methods: [GET], require: public }}
      - {{ path: /items, methods: [GET], require: read:items }}
"#
    );
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}
