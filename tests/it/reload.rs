//! Reload: a good configuration takes effect whole, a bad one not at all, and no request notices either.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::client::{get, get_with};
use crate::harness::gateway::{ITEMS, items};
use crate::harness::{Client, Gateway, Issuer, IssuerMode, Metrics, Process, Upstream, eventually};

const ROUTES: &str = "    routes: [{ path: /items, require: read:items }]\n";
const MORE: &str = "    routes: [{ path: /items, require: read:items }, { path: /more, require: public }]\n";
const FAULTY: &str = "    routes: [{ path: /items, require: read:itemz }]\n";

fn succeeded(metrics: &Metrics) -> bool {
    metrics.value("scopegate_config_last_reload_successful", &[]) == 1.0
}

/// Requests without a pause until the end; every one of them must succeed.
struct Load {
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(address: std::net::SocketAddr, token: &str) -> Self {
        let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..2).map(|_| {
            let (is_over, count) = (Arc::clone(&is_over), Arc::clone(&count));
            let bearer = format!("Bearer {token}");
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !is_over.load(Ordering::SeqCst) {
                    let response = client.get("/items", &[("authorization", &bearer)]);
                    assert_eq!(response.status, 200, "{}", response.text());
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self {
            threads: threads.collect(),
            is_over,
            count,
        }
    }

    /// Waits for some more requests.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.count.load(Ordering::SeqCst);
        eventually("requests under load", || {
            self.count.load(Ordering::SeqCst) > before + 40
        });
    }

    #[track_caller]
    fn end(self) {
        self.goes_on();
        self.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a request failed");
        }
    }
}

#[test]
fn changes_take_effect_and_faults_do_not() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&items(&issuer, &upstream, ROUTES));
    let token = issuer.token(ITEMS, "read:items");
    let load = Load::start(gateway.address(), &token);
    load.goes_on();
    assert_eq!(get(gateway.address(), "/more", &[]).status, 404);
    let generation = gateway.generation();
    let fetched = issuer.counts();

    gateway.configure(&items(&issuer, &upstream, MORE));
    eventually("the change", || {
        get(gateway.address(), "/more", &[]).status == 200
    });
    load.goes_on();
    let changed = gateway.generation();
    assert!(changed > generation && succeeded(&gateway.metrics()));

    // A fault, and what is no YAML at all: the last good configuration goes on.
    for text in [items(&issuer, &upstream, FAULTY), "{{{".to_owned(), String::new()] {
        gateway.configure(&text);
        eventually("the fault to be seen", || !succeeded(&gateway.metrics()));
        load.goes_on();
        assert_eq!(get(gateway.address(), "/more", &[]).status, 200);
        assert_eq!(gateway.generation(), changed);
        assert!(gateway.ready().is_ok(), "what is in force can be served");
        // Repaired: as it was.
        gateway.configure(&items(&issuer, &upstream, MORE));
        eventually("the repair", || succeeded(&gateway.metrics()));
    }
    assert_eq!(
        gateway.generation(),
        changed,
        "the same content publishes nothing"
    );
    gateway.reload();
    gateway.reload();
    load.end();
    assert_eq!(gateway.generation(), changed);
    assert_eq!(issuer.counts(), fetched, "the keys survive");
    assert_eq!(upstream.broken(), 0);
    gateway.until_idle();
}

#[test]
fn fetched_keys_survive_what_is_said_about_fetching() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let yaml = items(&issuer, &upstream, ROUTES);
    let gateway = Gateway::start(&yaml);
    let token = issuer.token(ITEMS, "read:items");
    issuer.set_mode(IssuerMode::Down);
    let generation = gateway.generation();
    let line = format!("  - issuer: {}\n", issuer.identifier());
    gateway.configure(&yaml.replace(&line, &format!("{line}    jwks: {{ ttl: 5m }}\n")));
    eventually("the change", || gateway.generation() > generation);
    assert!(gateway.ready().is_ok(), "the keys are there");
    assert_eq!(get_with(gateway.address(), "/items", &token).status, 200);
}

/// As the kubelet does it: `scopegate.yaml` leads through `..data` to a folder that is replaced as a whole.
#[test]
fn a_config_map_is_swapped() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&items(&issuer, &upstream, ROUTES));
    let path = |name: &str| gateway.folder.path(name);
    let prefix = "listeners: [{ address: 127.0.0.1:0 }]\nadmin: { address: 127.0.0.1:0 }\n";
    for (version, routes) in [("..1", ROUTES), ("..2", MORE), ("..3", ROUTES)] {
        std::fs::create_dir(path(version)).unwrap();
        let text = format!("{prefix}{}", items(&issuer, &upstream, routes));
        std::fs::write(path(version).join("scopegate.yaml"), text).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/scopegate.yaml", path("link")).unwrap();
    let generation = gateway.generation();
    std::fs::rename(path("link"), path("scopegate.yaml")).unwrap();
    eventually("the link", || gateway.generation() > generation);
    for (version, status) in [("..2", 200), ("..3", 404)] {
        symlink(version, path("..tmp")).unwrap();
        std::fs::rename(path("..tmp"), path("..data")).unwrap();
        eventually(version, || get(gateway.address(), "/more", &[]).status == status);
    }
}

#[test]
fn a_signal_reads_the_configuration_again() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let process = Process::start(&items(&issuer, &upstream, ROUTES));
    let token = issuer.token(ITEMS, "read:items");
    let load = Load::start(process.address(), &token);
    process.folder.configure(&items(&issuer, &upstream, FAULTY));
    process.signal("HUP");
    eventually("the fault to be seen", || !succeeded(&process.metrics()));
    process.wait_for_log("the configuration has faults; the last good one stays in force");
    let names_it = process
        .log()
        .iter()
        .any(|line| line.to_string().contains("read:itemz"));
    assert!(names_it, "{:?}", process.log());
    process.folder.configure(&items(&issuer, &upstream, MORE));
    process.signal("HUP");
    eventually("the change", || {
        get(process.address(), "/more", &[]).status == 200
    });
    assert!(succeeded(&process.metrics()));
    load.end();
    assert_eq!(get_with(process.address(), "/items", &token).status, 200);
}

/// What a route asks for is what the newest configuration says, also for a token that is in the cache.
#[test]
fn a_cached_token_is_asked_again() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&items(&issuer, &upstream, ROUTES));
    let token = issuer.token(ITEMS, "read:items");
    for _ in 0..3 {
        assert_eq!(get_with(gateway.address(), "/items", &token).status, 200);
    }
    let stricter = "    routes: [{ path: /items, require: [read:items, admin:items] }]\n";
    gateway.configure(&items(&issuer, &upstream, stricter));
    eventually("the change", || {
        get_with(gateway.address(), "/items", &token).status == 403
    });
    let other = items(&issuer, &upstream, ROUTES).replace("identifier: urn:items", "identifier: urn:renamed");
    gateway.configure(&other);
    eventually("the new audience", || {
        let response = get_with(gateway.address(), "/items", &token);
        response.status == 401 && response.json()["reason"] == "audience_mismatch"
    });
}
