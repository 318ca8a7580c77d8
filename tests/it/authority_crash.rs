//! What was acknowledged stays: kill -9 in the middle of writes, and a disk without room.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::harness::authority_process::{call, folder, free_address, gently, identifiers, managed, token};
use super::harness::{AuthorityProcess, Client, PostgresServer, eventually, gateway};

const ROUNDS: usize = 20;
/// Acknowledged writes before each kill.
const WRITES: usize = 50;
const WRITERS: usize = 4;

/// What the writers of all rounds have asked for, and what they were told is there.
#[derive(Default)]
struct Written {
    next: AtomicUsize,
    acknowledged: Mutex<BTreeSet<String>>,
}

impl Written {
    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Makes APIs on one connection, until it breaks.
    fn write(&self, client: &mut Client, token: &str) {
        loop {
            let identifier = format!("urn:api:{}", self.next.fetch_add(1, Ordering::Relaxed));
            client.send(call(
                "POST",
                "/resource-servers",
                token,
                Some(&json!({ "identifier": identifier })),
            ));
            match client.try_response_to("POST") {
                Ok(Some(response)) => {
                    assert_eq!(response.status, 201, "{}", response.text());
                    self.acknowledged.lock().unwrap().insert(identifier);
                }
                Ok(None) | Err(_) => return,
            }
        }
    }
}

fn nothing_acknowledged_is_lost(store: &str, files: &[(&str, &str)]) {
    let address = free_address();
    let folder = folder(address, address, store, "");
    for (name, text) in files {
        folder.write(name, text);
    }
    let (mut process, credentials) = AuthorityProcess::start_first(gently(), &folder, address);
    let token = token(address, &credentials, &format!("http://{address}/api/v2/"));
    let written = Written::default();
    for round in 1..=ROUNDS {
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| written.write(&mut Client::connect(address), &token));
            }
            eventually("writes", || written.count() >= round * WRITES);
            process.kill();
        });
        process = AuthorityProcess::start(&folder, address);
        let found = identifiers(address, &token);
        let acknowledged = written.acknowledged.lock().unwrap();
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        // The Management API itself, and a write of each writer that was under way in each round.
        let more = found.len() - acknowledged.len();
        assert!(
            more <= 1 + round * WRITERS,
            "round {round}: {more} that nobody asked for"
        );
    }
    assert!(written.count() >= ROUNDS * WRITES);
}

#[test]
fn sqlite_keeps_what_it_acknowledged_through_twenty_kills() {
    nothing_acknowledged_is_lost("sqlite:./authority.db", &[]);
}

#[test]
fn postgresql_keeps_what_it_acknowledged_through_twenty_kills() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    drop(server.database("gate"));
    nothing_acknowledged_is_lost("file:./store", &[("store", &server.url("gate"))]);
}

/// Runs a command with a small disk of its own at `folder/disk`, which is gone with it.
fn on_a_small_disk(folder: &std::path::Path) -> Option<Command> {
    let disk = folder.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o size=2m tmpfs '{}'", disk.display());
    let allowed = Command::new("unshare")
        .args(["-Urm", "sh", "-c", &mount])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        super::harness::left_out("no file system can be mounted here");
        return None;
    }
    let mut command = Command::new("unshare");
    let script = format!(
        "{mount} && head -c 1000000 /dev/zero >'{}' && exec \"$0\" \"$@\"",
        disk.join("filler").display()
    );
    command.args(["-Urm", "sh", "-c", &script]);
    command.arg(gateway::binary().get_program());
    Some(command)
}

#[test]
fn a_full_disk_is_a_clear_error_and_reading_goes_on() {
    let address = free_address();
    let folder = folder(address, address, "sqlite:./disk/authority.db", "");
    let Some(command) = on_a_small_disk(&folder.path("")) else {
        return;
    };
    let (process, credentials) = AuthorityProcess::start_first(command, &folder, address);
    let audience = format!("http://{address}/api/v2/");
    let token_of = || token(address, &credentials, &audience);
    let manager = token_of();
    let create = |identifier: &str| {
        let scopes: Vec<_> = (0..200)
            .map(|at| json!({ "value": format!("read:{at:0>60}") }))
            .collect();
        let body = json!({ "identifier": identifier, "scopes": scopes });
        managed(address, "POST", "/resource-servers", &manager, Some(&body))
    };
    let mut kept = BTreeSet::new();
    // Twice: between the two, SQLite may move its log into the database, which makes some room again.
    for _ in 0..2 {
        let refused = loop {
            let identifier = format!("urn:api:{}", kept.len());
            let answer = create(&identifier);
            if answer.status != 201 {
                break answer;
            }
            kept.insert(identifier);
            assert!(kept.len() < 1000, "the disk never fills up");
        };
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.json()["message"], "Nothing can be stored at the moment");
        assert!(!kept.is_empty());

        // What is there can be read, and tokens are issued.
        let found = identifiers(address, &token_of());
        assert!(kept.is_subset(&found));
        assert_eq!(
            found.len(),
            kept.len() + 1,
            "nothing of the write that was refused"
        );
    }
    let log = std::fs::read_to_string(folder.path("stderr")).unwrap();
    assert!(log.contains("the disk of the store is full"), "{log}");

    // There is room again: writes go on without a restart.
    let filler = folder.path("disk/filler");
    let seen_by_it = format!("/proc/{}/root{}", process.id(), filler.display());
    std::fs::remove_file(seen_by_it).unwrap();
    assert_eq!(create("urn:room").status, 201);
    assert!(identifiers(address, &manager).contains("urn:room"));
}
