//! The access log while somebody floods it, and while somebody moves its file away.

use std::time::Instant;

use crate::harness::gateway::{Folder, ITEMS, items};
use crate::harness::{Issuer, Process, Upstream, eventually};

const ROUTES: &str = "    routes: [{ path: /items, require: read:items }]\n";

fn yaml(issuer: &Issuer, upstream: &Upstream, log: &str) -> String {
    format!("access_log: {log}\n{}", items(issuer, upstream, ROUTES))
}

#[test]
fn a_flood_of_refusals_fills_no_log_and_hides_nothing_else() {
    const FLOOD: usize = 300;
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let log = "{ output: ./access.log, denials_per_second: 7 }";
    let process = Process::start(&yaml(&issuer, &upstream, log));
    let bearer = format!("Bearer {}", issuer.token(ITEMS, "read:items"));
    let mut client = crate::harness::Client::connect(process.address());
    let began = Instant::now();
    for number in 0..FLOOD {
        assert_eq!(client.get("/items", &[]).status, 401);
        if number % 100 == 0 {
            // Of another kind, and allowed.
            assert_eq!(client.get("/nowhere", &[]).status, 404);
            assert_eq!(client.get("/items", &[("authorization", &bearer)]).status, 200);
        }
    }
    // A second that began before and one that ends after are two more.
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    let suppressed = || {
        let labels = [("reason", "missing_token")];
        process
            .metrics()
            .value("scopegate_access_log_suppressed_total", &labels)
    };
    let of = |reason: &str| {
        process
            .folder
            .log()
            .iter()
            .filter(|line| line["reason"] == reason)
            .count()
    };
    eventually("all lines", || {
        f64::from(u32::try_from(FLOOD - of("missing_token")).unwrap()) == suppressed()
    });
    let lines = of("missing_token");
    assert!((7..=7 * seconds).contains(&lines), "{lines} in {seconds} s");
    assert_eq!((of("no_route"), of("ok")), (3, 3));
    // Told in the log of the process, each of them once.
    let message = "lines about refused requests were left out of the access log";
    let told = || -> u64 {
        let log = process.log();
        let lines = log.iter().filter(|line| line["message"] == message);
        lines.map(|line| line["count"].as_u64().unwrap()).sum()
    };
    process.wait_for_log(message);
    eventually("the whole number", || {
        usize::try_from(told()).unwrap() == FLOOD - lines
    });
    assert_eq!(upstream.requests(), 3);
}

#[test]
fn a_log_file_may_be_moved_away() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let process = Process::start(&yaml(&issuer, &upstream, "{ output: ./access.log }"));
    let mut client = crate::harness::Client::connect(process.address());
    let mut sent = 0;
    let mut ask = || {
        assert_eq!(client.get("/items", &[]).status, 401);
        sent += 1;
        sent
    };
    ask();
    eventually("the first line", || process.folder.log().len() == 1);
    std::fs::rename(
        process.folder.path("access.log"),
        process.folder.path("access.log.1"),
    )
    .unwrap();
    eventually("a new file", || {
        ask();
        !process.folder.log().is_empty()
    });
    let sent = ask();
    let old = std::fs::read_to_string(process.folder.path("access.log.1")).unwrap();
    assert!(old.ends_with('\n'), "half a line: {old}");
    // Nothing is lost and nothing is there twice.
    eventually("the last line", || {
        old.lines().count() + process.folder.log().len() == sent
    });
}

#[test]
fn a_bound_that_is_none_is_a_fault_with_its_place() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    for (value, fault) in [
        (
            "1000001",
            "`denials_per_second` is 1000001; it must be 0 to 1000000",
        ),
        ("many", "denials_per_second"),
    ] {
        let log = format!("{{ output: ./access.log, denials_per_second: {value} }}");
        let folder = Folder::new(&yaml(&issuer, &upstream, &log), &[]);
        let faults = scopegate::config::load(&folder.config())
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(faults.contains(fault) && faults.contains(".yaml:"), "{faults}");
    }
}
