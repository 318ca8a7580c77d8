//! How many instructions a decision and a whole request take, counted by valgrind: a figure that does not depend on what
//! else the machine does, so that a check can hold it.
//!
//!     cargo bench --bench instructions                 # counts, and fails where a count is over 5 % above the baseline
//!     cargo bench --bench instructions -- --bless      # writes the baseline
//!     cargo bench --bench instructions -- --only request
//!
//! Each case runs twice under callgrind, with few and with many repetitions; the difference is what the repetitions cost,
//! without the start. Only instructions of user space are counted: what the kernel does for the sockets is not in it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on should stop"
)]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the gateway bench uses the rest")]
#[path = "../gateway/bare.rs"]
mod bare;
mod decision;
mod material;
mod request;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use material::Material;

/// What is counted, with the numbers of repetitions whose difference is taken.
const CASES: [(&str, Run, u32, u32); 11] = [
    ("decide, cached token", decision::cached, 1_000, 11_000),
    ("decide, new RS256 token", decision::new_rs256, 50, 250),
    ("decide, new HS256 token", decision::new_hs256, 100, 1_100),
    ("decide, no token", decision::no_token, 1_000, 11_000),
    ("decide, no scope", decision::no_scope, 1_000, 11_000),
    ("request, bare forward", request::bare, 1_000, 4_000),
    ("request, public route", request::public, 1_000, 4_000),
    ("request, cached token", request::cached, 1_000, 4_000),
    (
        "request, cached encrypted token",
        request::cached_encrypted,
        1_000,
        4_000,
    ),
    // From the first to the last the cache, of 1,000 tokens, is full.
    ("request, new HS256 token", request::new_hs256, 1_500, 4_500),
    ("request, refused", request::refused, 1_000, 4_000),
];

/// Does the work so many times.
type Run = fn(&Material, u32);

/// How much a count may grow.
const TOLERANCE: f64 = 0.05;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["run", case, times, folder] => {
            let (_, run, ..) = CASES
                .iter()
                .find(|(name, ..)| name == case)
                .expect("a case of the list");
            run(
                &Material::read(Path::new(folder)),
                times.parse().expect("a number"),
            );
            ExitCode::SUCCESS
        }
        // `cargo test --benches`: that it runs, not what it costs.
        ["--test"] => {
            let folder = tempfile::tempdir().expect("a folder");
            Material::make(folder.path());
            let material = Material::read(folder.path());
            for (_, run, ..) in &CASES {
                run(&material, 2);
            }
            ExitCode::SUCCESS
        }
        [] => check(&count_all("")),
        ["--only", part] => check(&count_all(part)),
        ["--bless"] => {
            let text = count_all("")
                .iter()
                .fold(String::new(), |mut text, (case, count)| {
                    let _ = writeln!(text, "{count:>9.0}  {case}");
                    text
                });
            std::fs::write(baseline_path(), text).expect("the baseline is written");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: instructions [--bless | --only PART-OF-A-NAME]");
            ExitCode::from(2)
        }
    }
}

/// Compares with the baseline. A case that it lacks is a failure: it would never be held.
fn check(counts: &[(&str, f64)]) -> ExitCode {
    let text = std::fs::read_to_string(baseline_path()).unwrap_or_default();
    let baseline: BTreeMap<&str, f64> = text
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(count, case)| (case, count.parse().expect("a count")))
        .collect();
    let mut has_grown = false;
    println!(
        "{:<32} {:>12} {:>12} {:>8}",
        "case", "instructions", "baseline", "change"
    );
    for (case, count) in counts {
        let Some(before) = baseline.get(case) else {
            println!("{case:<32} {count:>12.0} {:>12} {:>8}", "none", "");
            has_grown = true;
            continue;
        };
        let change = count / before - 1.0;
        let verdict = if change > TOLERANCE { "  too much" } else { "" };
        has_grown |= change > TOLERANCE;
        println!(
            "{case:<32} {count:>12.0} {before:>12.0} {:>+7.1}%{verdict}",
            change * 100.0
        );
    }
    if has_grown {
        println!(
            "\nMore than the baseline allows. If that is what it has to cost, say why and run with --bless."
        );
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.txt")
}

fn count_all(part: &str) -> Vec<(&'static str, f64)> {
    let folder = tempfile::tempdir().expect("a folder");
    Material::make(folder.path());
    CASES
        .iter()
        .filter(|(case, ..)| case.contains(part))
        .map(|&(case, _, few, many)| {
            eprintln!("counting: {case}");
            let [few_count, many_count] = [few, many].map(|times| count(case, times, folder.path()));
            let difference = many_count.checked_sub(few_count).expect("more work takes more");
            (case, difference as f64 / f64::from(many - few))
        })
        .collect()
}

/// The instructions of a whole process that does a case so many times.
fn count(case: &str, times: u32, folder: &Path) -> u64 {
    let out = folder.join("counts");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("this program"))
        .args(["run", case, &times.to_string()])
        .arg(folder)
        .status()
        .expect("valgrind runs; on Debian: apt-get install valgrind");
    assert!(status.success(), "{case}: {status}");
    std::fs::read_to_string(&out)
        .expect("the counts")
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .and_then(|total| total.trim().parse().ok())
        .expect("a total")
}
