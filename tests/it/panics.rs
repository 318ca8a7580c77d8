//! A process that goes on panicking ends, and one that has panicked a few times goes on serving.
//!
//! Nothing that a client, an upstream or an operator does makes the gateway panic as far as is known, and nothing is built
//! into it that would. So a process of this test's own runs the same composition root with the same hook as
//! `scopegate run`, and panics in threads of its own: what is shown is the way from a panic to the exit code, not where
//! one might come from. That a panic in a request costs its connection alone is tokio's doing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use scopegate::app;
use scopegate::config;

use crate::harness::client::get;
use crate::harness::gateway::{Folder, items};
use crate::harness::server::Watched;
use crate::harness::{DEADLINE, Issuer, Metrics, Upstream};

const CONFIG: &str = "SCOPEGATE_TEST_CONFIG";

/// The other process: starts the gateway and panics once for each line that it reads.
#[test]
#[ignore = "a process of its own, started by the test below"]
fn a_process_that_panics() {
    let path = std::path::PathBuf::from(std::env::var(CONFIG).unwrap());
    let settings = config::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
    let running = app::start(&settings, Some(app::Origin::file(path))).unwrap();
    // As `scopegate run` does.
    running.end_process_after_panics(70);
    println!("\n{} {}", running.addresses()[0], running.admin().unwrap());
    for line in std::io::stdin().lines() {
        let secret = line.unwrap();
        let panicked = std::thread::spawn(move || panic!("{secret}")).join();
        assert!(panicked.is_err());
        println!("panicked");
    }
}

#[test]
fn the_eleventh_panic_within_a_minute_ends_the_process() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let routes = "    routes: [{ path: \"/p/{*rest}\", require: public }]\n";
    let folder = Folder::new(&items(&issuer, &upstream, routes), &[]);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "panics::a_process_that_panics",
            "--ignored",
            "--nocapture",
        ])
        .env(CONFIG, folder.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let said = Arc::new(Watched::<Vec<String>>::default());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let for_thread = Arc::clone(&said);
    std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .for_each(|line| for_thread.change(|said| said.push(line)))
    });
    let addresses = |line: &String| -> Option<(SocketAddr, SocketAddr)> {
        let (first, admin) = line.split_once(' ')?;
        Some((first.parse().ok()?, admin.parse().ok()?))
    };
    said.expect("the addresses", |said| {
        said.iter().any(|line| addresses(line).is_some())
    });
    let (address, admin) = said.read(|said| said.iter().find_map(addresses)).unwrap();
    for count in 1..=10 {
        writeln!(input, "the secret of a client").unwrap();
        let has_panicked =
            |said: &Vec<String>| said.iter().filter(|line| *line == "panicked").count() == count;
        said.expect("a panic", has_panicked);
    }
    assert_eq!(get(address, "/p/a", &[]).status, 200);
    assert_eq!(Metrics::scrape(admin).value("scopegate_panics_total", &[]), 10.0);
    assert_eq!(child.try_wait().unwrap(), None);
    writeln!(input, "the secret of a client").unwrap();
    let ended = Arc::new(Watched::new(None));
    let for_thread = Arc::clone(&ended);
    std::thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        for_thread.change(|ended| *ended = Some(output));
    });
    assert!(ended.wait(DEADLINE, Option::is_some), "it goes on");
    let output = ended.change(Option::take).unwrap();
    assert_eq!(output.status.code(), Some(70));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
}
