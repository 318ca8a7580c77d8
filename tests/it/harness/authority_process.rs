//! The built binary with an authority: killed and started again on the same port.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use super::gateway::{Folder, binary};
use super::http1::Response;
use super::{Client, DEADLINE, client, eventually};

/// The key of every store of a test.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A process with an authority. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct AuthorityProcess {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// Who may administer an authority, as the first start tells it.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A configuration with an authority; `store` is written as it is, and `rest` follows.
pub(crate) fn folder(address: SocketAddr, issuer: SocketAddr, store: &str, rest: &str) -> Folder {
    let folder = Folder::new("", &[]);
    let text = format!(
        "admin: {{ address: 127.0.0.1:0 }}
authority:
  address: {address}
  issuer: http://{issuer}/
  store: {store}
  encryption_key: env:STORE_KEY
{rest}"
    );
    // Not completed: an authority may stand alone.
    folder.write("scopegate.yaml", &text);
    folder
}

/// A port that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl AuthorityProcess {
    /// Starts with a configuration, whose authority listens on this address, and waits until it answers.
    #[track_caller]
    pub(crate) fn start(folder: &Folder, address: SocketAddr) -> Self {
        Self::start_by(gently(), folder, address).0
    }

    /// The same for the first time: with the credentials that are shown then.
    #[track_caller]
    pub(crate) fn start_first(command: Command, folder: &Folder, address: SocketAddr) -> (Self, Credentials) {
        let (process, lines) = Self::start_by(command, folder, address);
        let next = |name: &str| loop {
            let line = lines.recv_timeout(DEADLINE).unwrap();
            if let Some((found, value)) = line.trim().split_once('=')
                && found == name
            {
                return value.to_owned();
            }
        };
        let credentials = Credentials {
            id: next("SCOPEGATE_CLIENT_ID"),
            secret: next("SCOPEGATE_CLIENT_SECRET"),
        };
        (process, credentials)
    }

    #[track_caller]
    fn start_by(
        mut command: Command,
        folder: &Folder,
        address: SocketAddr,
    ) -> (Self, mpsc::Receiver<String>) {
        let log = fs::File::create(folder.path("stderr")).unwrap();
        let mut child = command
            .args(["run", "--log-format", "json", "--config"])
            .arg(folder.config())
            .env("STORE_KEY", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (tell, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in output.map_while(Result::ok) {
                drop(tell.send(line));
            }
        });
        let mut process = Self { child, address };
        eventually("the authority", || {
            let ended = process.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{}",
                fs::read_to_string(folder.path("stderr")).unwrap()
            );
            let asked = Client::try_connect(address).and_then(|mut client| {
                client.send(client::head("GET", "/.well-known/jwks.json", &[], None));
                client.try_response_to("GET")
            });
            matches!(asked, Ok(Some(Response { status: 200, .. })))
        });
        (process, lines)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// As the kernel does when there is no memory left.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for AuthorityProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A token of an application.
#[track_caller]
pub(crate) fn token(address: SocketAddr, credentials: &Credentials, audience: &str) -> String {
    let body = json!({
        "grant_type": "client_credentials", "client_id": credentials.id, "client_secret": credentials.secret,
        "audience": audience,
    });
    let fields = [("content-type", "application/json")];
    let answer = client::post(address, "/oauth/token", &fields, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// The head and body of a call of the Management API.
pub(crate) fn call(method: &str, path: &str, token: &str, body: Option<&Value>) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let fields = [
        ("host", "127.0.0.1"),
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    let body = body.map(Value::to_string);
    let target = format!("/api/v2{path}");
    let mut bytes = client::head(method, &target, &fields, body.as_ref().map(String::len));
    bytes.extend(body.unwrap_or_default().as_bytes());
    bytes
}

/// A call of the Management API with its answer.
#[track_caller]
pub(crate) fn managed(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> Response {
    let mut client = Client::connect(address);
    client.send(call(method, path, token, body));
    client.response_to(method)
}

/// The identifiers of all APIs.
#[track_caller]
pub(crate) fn identifiers(address: SocketAddr, token: &str) -> std::collections::BTreeSet<String> {
    let mut found = std::collections::BTreeSet::new();
    for page in 0.. {
        let path = format!("/resource-servers?per_page=100&page={page}");
        let answer = managed(address, "GET", &path, token, None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let list = answer.json();
        let list = list.as_array().unwrap();
        found.extend(
            list.iter()
                .map(|api| api["identifier"].as_str().unwrap().to_owned()),
        );
        if list.len() < 100 {
            break;
        }
    }
    found
}

/// The binary, behind all other tests: what is killed twenty times over works hard, and those that look at how long
/// something takes run beside it.
pub(crate) fn gently() -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "15"]).arg(binary().get_program());
    command
}
