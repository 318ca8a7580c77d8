//! A PostgreSQL server of its own, from the programs of Debian's package, in a folder of its own.
//!
//! The server refuses to run as root, so it runs as `nobody` there. Where the programs are not installed, tests that ask
//! for one say so and do nothing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use scopegate::authority::{PostgresAddress, StoreAddress};
use tempfile::TempDir;

use super::eventually;
use super::gateway::signal;

/// The user and the group `nobody`.
const NOBODY: u32 = 65534;

/// A server with trust for `postgres` on its socket. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct PostgresServer {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    has_tls: bool,
    child: Option<Child>,
}

impl PostgresServer {
    /// Starts one on a socket; `None` where PostgreSQL is not installed.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        Self::new(false)
    }

    /// Starts one that speaks TLS on a port as well, as `localhost` with the certificate `tls.pem`, and asks for
    /// passwords there.
    #[track_caller]
    pub(crate) fn start_with_tls() -> Option<Self> {
        Self::new(true)
    }

    #[track_caller]
    fn new(has_tls: bool) -> Option<Self> {
        let Some(programs) = programs() else {
            super::left_out("PostgreSQL is not installed (apt-get install postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Self {
            programs,
            folder,
            port: probe.local_addr().unwrap().port(),
            has_tls,
            child: None,
        };
        drop(probe);
        server.give_away(server.folder.path());
        let mut command = server.command("initdb");
        command.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ]);
        let made = command.arg(server.path("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        if has_tls {
            let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            server.write("tls.pem", &pair.cert.pem());
            server.write("tls.key", &pair.signing_key.serialize_pem());
            server.write(
                "data/pg_hba.conf",
                "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
            );
        }
        server.start_again();
        Some(server)
    }

    /// Starts it where it was stopped, and waits until it answers.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        let mut command = self.command("postgres");
        let folder = self.folder.path().display().to_string();
        command.args([
            "-D",
            &format!("{folder}/data"),
            "-k",
            &folder,
            "-p",
            &self.port.to_string(),
        ]);
        let listen = if self.has_tls { "127.0.0.1" } else { "" };
        let mut settings = vec![
            format!("listen_addresses={listen}"),
            "fsync=off".into(),
            "shared_buffers=16MB".into(),
        ];
        if self.has_tls {
            settings.push("ssl=on".into());
            settings.push(format!("ssl_cert_file={folder}/tls.pem"));
            settings.push(format!("ssl_key_file={folder}/tls.key"));
        }
        for setting in settings {
            command.args(["-c", &setting]);
        }
        let log = fs::File::create(self.path("log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        eventually("PostgreSQL", || {
            self.psql("postgres", "SELECT 1")
                .output()
                .unwrap()
                .status
                .success()
        });
    }

    /// Ends it, with every connection.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "INT");
            drop(child.wait());
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Makes a database, and says where it is.
    #[track_caller]
    pub(crate) fn database(&self, name: &str) -> StoreAddress {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.address(name)
    }

    /// Where a database is.
    pub(crate) fn address(&self, name: &str) -> StoreAddress {
        StoreAddress::Postgres(Box::new(PostgresAddress::parse(&self.url(name)).unwrap()))
    }

    /// The same as it is written.
    pub(crate) fn url(&self, name: &str) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{folder}:{}/{name}", self.port)
    }

    /// What a statement answers, as text.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        let output = self.psql(database, text).output().unwrap();
        assert!(
            output.status.success(),
            "{text}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Begins statements, and ends them when it is dropped.
    pub(crate) fn sql_in_background(&self, database: &str, text: &str) -> Running {
        let mut command = self.psql(database, text);
        Running(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn psql(&self, database: &str, text: &str) -> Command {
        let mut command = self.command("psql");
        let folder = self.folder.path().display().to_string();
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", &folder]);
        command.args(["-p", &self.port.to_string(), "-d", database, "-c", text]);
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.stdin(Stdio::null()).current_dir(self.folder.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.give_away(&path);
    }

    fn give_away(&self, path: &Path) {
        if is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "QUIT");
            drop(child.wait());
        }
    }
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The folder of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").exists()).max()
}
