//! A name whose address changes, seen by the real binary through the system's resolver.
//!
//! The gateway asks `getaddrinfo`, which reads `/etc/hosts` each time. The process gets a mount namespace of its own, in
//! which that is a file of the test: it takes root on Linux, and the machine's own file is not touched.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::client::get;
use crate::harness::gateway::{Folder, binary, items};
use crate::harness::{Client, Issuer, Process, Upstream};

const SKIPPED: &str = "skipped: a mount namespace takes root and unshare(1)";
const NAME: &str = "moving.scopegate.test";

struct World {
    _issuer: Issuer,
    old: Upstream,
    new: Upstream,
    process: Process,
}

impl World {
    /// `None` where this cannot be tested.
    fn start() -> Option<Self> {
        let can = Command::new("unshare").args(["--mount", "true"]).output();
        if !can.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let (issuer, old) = (Issuer::start(), Upstream::start());
        let port = old.address().port();
        let new = Upstream::start_at(SocketAddr::from(([127, 0, 0, 3], port)));
        let routes = "    routes: [{ path: \"/p/{*rest}\", require: public }]\n";
        let by_name = format!("http://{NAME}:{port}");
        let yaml = items(&issuer, &old, routes).replace(&old.url(), &by_name);
        let folder = Folder::new(&format!("workers: 1\n{yaml}"), &[("hosts", &hosts("127.0.0.1"))]);
        let mut command = Command::new("unshare");
        let program = binary();
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/hosts && exec \"$@\"",
        ]);
        command.arg(folder.path("hosts")).arg(program.get_program());
        Some(Self {
            process: Process::start_by(command, folder),
            _issuer: issuer,
            old,
            new,
        })
    }

    /// In place: what is mounted is this very file.
    fn moves_to(&self, address: &str) {
        std::fs::write(self.process.folder.path("hosts"), hosts(address)).unwrap();
    }
}

fn hosts(address: &str) -> String {
    format!("127.0.0.1 localhost\n{address} {NAME}\n")
}

#[test]
fn a_server_that_has_gone_is_looked_for_anew() {
    let Some(world) = World::start() else {
        return println!("{SKIPPED}");
    };
    let address = world.process.address();
    assert_eq!(get(address, "/p/a", &[]).status, 200);
    assert_eq!((world.old.requests(), world.new.requests()), (1, 0));
    world.moves_to("127.0.0.3");
    let World {
        old, new, process, ..
    } = &world;
    old.stop();
    // A look-up is at most a second old when the next is made.
    let (began, mut has_failed) = (Instant::now(), false);
    loop {
        let response = get(process.address(), "/p/b", &[]);
        if response.status == 200 {
            break;
        }
        // The connection that was kept may break under the first request; what was sent is not sent again.
        let reason = response.json()["reason"].clone();
        let broke = !std::mem::replace(&mut has_failed, true) && reason == "upstream_protocol";
        assert!(broke || reason == "upstream_connect", "{}", response.text());
        assert!(began.elapsed() < Duration::from_secs(20), "it is not found");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    assert_eq!(new.last().target(), "/p/b");
    assert_eq!(new.last().field("host"), Some("localhost"));
}

#[test]
fn a_name_that_moves_is_followed_without_a_failure() {
    let Some(world) = World::start() else {
        return println!("{SKIPPED}");
    };
    let mut client = Client::connect(world.process.address());
    assert_eq!(client.get("/p/a", &[]).status, 200);
    world.moves_to("127.0.0.3");
    // The old server goes on as if nothing were, and its connection is in use all the time.
    let began = Instant::now();
    while world.new.requests() == 0 {
        assert_eq!(client.get("/p/b", &[]).status, 200);
        assert!(
            began.elapsed() < Duration::from_secs(75),
            "the old server has kept it"
        );
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let before = world.old.requests();
    for _ in 0..20 {
        assert_eq!(client.get("/p/c", &[]).status, 200);
    }
    assert_eq!(world.old.requests(), before);
}
