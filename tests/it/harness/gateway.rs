//! The gateway itself: in this process through the composition root, or as the built binary.
//!
//! A test writes its `issuers` and `apis`; listeners with ports of their own, the admin listener and an access log in a
//! file of its own are added where the text does not have them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scopegate::app::{self, Running};
use scopegate::config::{self, Settings};
use serde_json::Value;
use tempfile::TempDir;

use super::server::Watched;
use super::{Client, DEADLINE, Issuer, Metrics, Upstream, client, eventually};

const LOG: &str = "access.log";

/// The identifier of the API of most tests.
pub(crate) const ITEMS: &str = "urn:items";

/// A configuration with one API, [`ITEMS`]: RS256, the Auth0 profile, permissions `read:items`, `write:items` and
/// `admin:items`. `rest` is what else the API says, each line with four spaces before it, and ends with its routes.
pub(crate) fn items(issuer: &Issuer, upstream: &Upstream, rest: &str) -> String {
    let (issuer, upstream) = (issuer.identifier(), upstream.url());
    format!(
        "issuers:
  - issuer: {issuer}
apis:
  - definition:
      identifier: {ITEMS}
      signing_alg: RS256
      scopes: [{{ value: read:items }}, {{ value: write:items }}, {{ value: admin:items }}]
    upstream: {upstream}
{rest}"
    )
}

/// A folder with a configuration, and the files that it names.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    /// With `scopegate.yaml`, completed.
    pub(crate) fn new(yaml: &str, files: &[(&str, &str)]) -> Self {
        let folder = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for (name, text) in files {
            folder.write(name, text);
        }
        folder.configure(yaml);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("scopegate.yaml")
    }

    /// Replaces a file at once, as deployments do it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!(".{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    pub(crate) fn configure(&self, yaml: &str) {
        self.write("scopegate.yaml", &completed(yaml));
    }

    /// The lines of the access log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path(LOG)).unwrap_or_default();
        // The last line may be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// The one line with this value, once it is there.
    #[track_caller]
    pub(crate) fn log_line(&self, name: &str, value: &str) -> Value {
        let mut found = Vec::new();
        eventually("a line of the access log", || {
            found = self.log();
            found.retain(|line| line[name] == value);
            !found.is_empty()
        });
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

/// Adds what a test does not care about.
fn completed(yaml: &str) -> String {
    let mut text = yaml.to_owned();
    for (key, line) in [
        (
            "listeners:",
            "listeners: [{ address: 127.0.0.1:0 }, { address: 127.0.0.1:0, http2: true }]",
        ),
        ("admin:", "admin: { address: 127.0.0.1:0 }"),
        ("workers:", "workers: 2"),
        (
            "access_log:",
            "access_log: { output: ./access.log, identities: plain }",
        ),
    ] {
        if !yaml.lines().any(|own| own.starts_with(key)) {
            text = format!("{line}\n{text}");
        }
    }
    text
}

/// A gateway in this process. Shut down when it is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    running: Option<Running>,
    pub(crate) folder: Folder,
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
}

impl Gateway {
    /// Starts, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_with(yaml, &[])
    }

    /// The same, with files beside the configuration.
    #[track_caller]
    pub(crate) fn start_with(yaml: &str, files: &[(&str, &str)]) -> Self {
        let gateway = Self::start_unready(yaml, files);
        eventually("the gateway to be ready", || gateway.ready().is_ok());
        gateway
    }

    /// Starts, whether it is ready or not.
    #[track_caller]
    pub(crate) fn start_unready(yaml: &str, files: &[(&str, &str)]) -> Self {
        let folder = Folder::new(yaml, files);
        // How much memory the machine of a test has left is no part of the test.
        let no_limits = folder.path("cgroups");
        Self::start_in(folder, |settings| settings.cgroups = no_limits)
    }

    /// Starts with settings that no configuration can say.
    #[track_caller]
    pub(crate) fn start_in(folder: Folder, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = config::load(&folder.config()).unwrap_or_else(|faults| panic!("{faults}"));
        change(&mut settings);
        let running = app::start(&settings, Some(app::Origin::file(folder.config()))).unwrap();
        Self {
            addresses: running.addresses().to_vec(),
            admin: running.admin().unwrap(),
            running: Some(running),
            folder,
        }
    }

    /// The first listener: HTTP/1.1.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The second listener: HTTP/2 as well.
    pub(crate) fn http2_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn ready(&self) -> Result<(), Vec<String>> {
        self.running().ready()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::scrape(self.admin)
    }

    /// The administrator that the authority of the configuration has made: id and secret.
    #[cfg(feature = "authority")]
    pub(crate) fn administrator(&self) -> (String, String) {
        let administrator = self.running().administrator().unwrap();
        (
            administrator.client_id.clone(),
            administrator.client_secret.as_str().to_owned(),
        )
    }

    /// The generation in force.
    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        let metrics = self.metrics();
        let labels = metrics.labels("scopegate_config_info");
        assert_eq!(labels.len(), 1, "{labels:?}");
        labels[0]["generation"].parse().unwrap()
    }

    /// Writes another configuration. It takes effect when its files were seen to have changed.
    pub(crate) fn configure(&self, yaml: &str) {
        self.folder.configure(yaml);
    }

    /// Tells it to read the configuration again.
    pub(crate) fn reload(&self) {
        self.running().reload();
    }

    /// Waits until no request is in flight: nothing was lost on the way.
    #[track_caller]
    pub(crate) fn until_idle(&self) {
        eventually("no request in flight", || {
            self.metrics().value("scopegate_http_requests_in_flight", &[]) == 0.0
        });
    }

    /// Drains. Returns how many connections were cut.
    pub(crate) fn shut_down(mut self) -> usize {
        self.running.take().unwrap().shut_down()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shut_down();
        }
    }
}

/// The status of `GET /items` with this token.
#[track_caller]
pub(crate) fn get(gateway: &Gateway, token: &str) -> u16 {
    client::get_with(gateway.address(), "/items", token).status
}

/// What one (api, route, decision, reason) has been counted.
#[track_caller]
pub(crate) fn decisions(metrics: &Metrics, labels: &[(&str, &str)]) -> f64 {
    metrics
        .get("scopegate_auth_decisions_total", labels)
        .unwrap_or_default()
}

/// The built binary.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SCOPEGATE_")) {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end, with this on its standard input.
#[track_caller]
pub(crate) fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = binary()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read has gone by then, which is no fault.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let done = Arc::new(Watched::new(false));
    let watch = Arc::clone(&done);
    let id = child.id();
    std::thread::spawn(move || {
        if !watch.wait(DEADLINE, |done| *done) {
            signal(id, "KILL");
        }
    });
    let output = child.wait_with_output().unwrap();
    done.change(|done| *done = true);
    output
}

/// Sends a signal to a process that a test has started.
pub(crate) fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &id.to_string()]).status();
    drop(sent);
}

/// A gateway in a process of its own. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) folder: Folder,
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    /// What it has written to standard error.
    log: Arc<Watched<Vec<Value>>>,
}

impl Process {
    /// Starts, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_by(binary(), Folder::new(yaml, &[]))
    }

    /// The same by a command that ends in the program.
    #[track_caller]
    pub(crate) fn start_by(mut command: Command, folder: Folder) -> Self {
        let mut child = command
            .args(["run", "--log-format", "json", "--config"])
            .arg(folder.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Watched::<Vec<Value>>::default());
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let for_thread = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                for_thread.change(|log| log.push(value));
            }
        });
        let is_admin = |line: &Value| line["message"] == "admin";
        let started = log.wait(DEADLINE, |log| log.iter().any(is_admin));
        let mut process = Self {
            child,
            folder,
            addresses: Vec::new(),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
        };
        assert!(started, "{:?}", process.log());
        let address = |line: &Value| line["address"].as_str().unwrap().parse().unwrap();
        for line in process.log() {
            match line["message"].as_str() {
                Some("listening") => process.addresses.push(address(&line)),
                Some("admin") => process.admin = address(&line),
                _ => {}
            }
        }
        eventually("the process to be ready", || process.is_ready());
        process
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn http2_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::scrape(self.admin)
    }

    pub(crate) fn is_ready(&self) -> bool {
        client::get(self.admin, "/readyz", &[]).status == 200
    }

    /// What it has written to standard error, line by line.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.read(Clone::clone)
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, message: &str) {
        self.log
            .expect(message, |log| log.iter().any(|line| line["message"] == message));
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end. Returns the exit code.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + DEADLINE * 2;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "the process does not end: {:?}", self.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
