//! No secret stands where it does not belong.
//!
//! The built binary with an authority and a gateway, with all that can be logged, is led through what is allowed and what
//! is refused with secrets that can be recognised. Then all that came out of it is searched for each of them: standard
//! output and error, the access log, metrics, the configuration, the store, what the commands print, and each answer that
//! is not the one place where a secret is to be shown.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scopegate::definition::SigningAlg;
use serde_json::{Value, json};

use super::authority_tokens::spki;
use super::harness::authority_process::free_address;
use super::harness::gateway::{Folder, binary, signal};
use super::harness::http1::Response;
use super::harness::issuer::now;
use super::harness::{Client, Http2Client, Prover, Upstream, client, eventually};
use crate::support::forge::SigningKey;

/// 32 bytes in hexadecimal.
const STORE_KEY: &str = "ca7a41e5ca7a41e5ca7a41e5ca7a41e5ca7a41e5ca7a41e5ca7a41e5ca7a41e5";
const REALM: &str = "Username-Password-Authentication";
const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// One that nothing else looks like, and that no encoding changes.
fn canary(name: &str) -> String {
    format!("canary-{name}-5f1c0e7d9b3a4826a0f4d2c6e8b17359")
}

/// The class of a status: how exactly each request is refused is another test's affair.
#[track_caller]
fn is_like(answer: &Response, status: u16, what: &str) {
    assert_eq!(answer.status / 100, status / 100, "{what}: {}", answer.text());
}

/// What must not be seen, and everything that was.
#[derive(Default)]
struct Canaries {
    secrets: Vec<(String, String)>,
    seen: Vec<Seen>,
}

struct Seen {
    what: String,
    text: String,
    /// Names of secrets that are shown here.
    may: Vec<String>,
}

impl Canaries {
    fn secret(&mut self, name: &str, value: &str) {
        assert!(value.len() >= 20, "{name} is too short to be recognised");
        self.secrets.push((name.into(), value.into()));
    }

    /// A token is known by the beginning of its last part: a log that cut it off would be found as well.
    fn token(&mut self, name: &str, token: &str) {
        let last = token.rsplit('.').next().unwrap();
        self.secret(name, &last[..24.min(last.len())]);
    }

    fn saw(&mut self, what: &str, text: impl Into<String>, may: &[&str]) {
        self.seen.push(Seen {
            what: what.into(),
            text: text.into(),
            may: may.iter().map(|name| (*name).to_owned()).collect(),
        });
    }

    fn answered(&mut self, what: &str, answer: &Response, may: &[&str]) {
        let head = String::from_utf8_lossy(&answer.head.bytes).into_owned();
        self.saw(&format!("the answer to {what}"), head + &answer.text(), may);
    }

    /// Everything that stands where it does not belong; and whether each secret stands where it does.
    #[track_caller]
    fn search(&self) {
        let mut found = Vec::new();
        for seen in &self.seen {
            for (name, secret) in &self.secrets {
                let is_shown = seen.text.contains(secret.as_str());
                // Two tokens of one second may be the same one.
                let may = self
                    .secrets
                    .iter()
                    .any(|(other, value)| value == secret && seen.may.contains(other));
                if is_shown != may {
                    let word = if is_shown { "shows" } else { "should show" };
                    found.push(format!("{} {word} {name}", seen.what));
                }
            }
            if seen.text.contains("PRIVATE KEY") {
                found.push(format!("{} shows a private key", seen.what));
            }
        }
        assert!(found.is_empty(), "{found:#?}");
        assert!(self.secrets.len() > 20 && self.seen.len() > 60);
    }
}

/// The process, and what it is asked.
struct World {
    child: Child,
    folder: Folder,
    authority: SocketAddr,
    gateway: SocketAddr,
    admin: SocketAddr,
    canaries: Canaries,
}

impl World {
    fn start(upstream: &Upstream) -> Self {
        let (authority, gateway, admin) = (free_address(), free_address(), free_address());
        let api = |identifier: &str, host: &str, rest: &str| {
            format!(
                "  - definition: {{ follow: '{identifier}' }}
    hosts: [{host}]
    upstream: {}
{rest}    routes: [{{ path: /items, require: read:items }}, {{ path: '/items/{{id}}', require: write:items }}]
",
                upstream.url()
            )
        };
        let apis = api("urn:items", "items.test", "")
            + &api("urn:signed", "signed.test", "")
            + &api("urn:bound", "bound.test", "    public_url: http://bound.test/\n");
        let folder = Folder::new("", &[]);
        let text = format!(
            "listeners: [{{ address: {gateway}, http2: true }}]
admin: {{ address: {admin} }}
access_log: {{ output: ./access.log, identities: plain }}
authority: {{ address: {authority}, issuer: 'http://{authority}/', store: 'sqlite:store.db', encryption_key: env:STORE_KEY }}
revocations: {{ push: {{ secret: env:PUSH }} }}
apis:
{apis}"
        );
        folder.write("scopegate.yaml", &text);
        let file = |name: &str| File::create(folder.path(name)).unwrap();
        let child = binary()
            .args([
                "run",
                "--log-format",
                "json",
                "--log-level",
                "debug,scopegate=trace",
                "--config",
            ])
            .arg(folder.config())
            .env("STORE_KEY", STORE_KEY)
            .env("PUSH", canary("push"))
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let mut canaries = Canaries::default();
        canaries.secret("encryption key", STORE_KEY);
        canaries.secret("push secret", &canary("push"));
        let world = Self {
            child,
            folder,
            authority,
            gateway,
            admin,
            canaries,
        };
        eventually("the authority", || {
            let asked = Client::try_connect(authority).and_then(|mut client| {
                client.send(client::head("GET", "/.well-known/jwks.json", &[], None));
                client.try_response_to("GET")
            });
            matches!(asked, Ok(Some(Response { status: 200, .. })))
        });
        world
    }

    /// A line of what the first start prints.
    fn printed(&self, name: &str) -> String {
        let mut value = None;
        eventually(name, || {
            let text = fs::read_to_string(self.folder.path("stdout")).unwrap();
            let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
            value = lines
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value.to_owned());
            value.is_some()
        });
        value.unwrap()
    }

    /// Asks somebody, and remembers the answer. `may` are the secrets that it shows.
    #[track_caller]
    fn ask(
        &mut self,
        (address, method, target): (SocketAddr, &str, &str),
        fields: &[(&str, &str)],
        body: &str,
        may: &[&str],
    ) -> Response {
        let answer = Client::connect(address).request(method, target, fields, body.as_bytes());
        let what = format!("{method} {}", target.split('?').next().unwrap());
        self.canaries.answered(&what, &answer, may);
        answer
    }

    /// A request for a token with these parameters; expects a status of this class.
    #[track_caller]
    fn token(&mut self, status: u16, fields: &[(&str, &str)], body: &Value, may: &[&str]) -> Value {
        let all: Vec<(&str, &str)> = fields.iter().copied().chain([JSON]).collect();
        let answer = self.ask(
            (self.authority, "POST", "/oauth/token"),
            &all,
            &body.to_string(),
            &[],
        );
        is_like(&answer, status, "a token");
        let body = answer.json();
        for (member, name) in ["access_token", "refresh_token", "id_token"].into_iter().zip(may) {
            if let Some(token) = body[member].as_str().filter(|_| !name.is_empty()) {
                self.canaries.token(name, token);
            }
        }
        let may = may
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| (*name).to_owned());
        self.canaries.seen.last_mut().unwrap().may = may.collect();
        body
    }

    /// A call of the Management API; expects a status of this class.
    #[track_caller]
    fn manage(
        &mut self,
        status: u16,
        (method, path): (&str, &str),
        token: &str,
        body: &Value,
        may: &[&str],
    ) -> Value {
        let authorization = format!("Bearer {token}");
        let fields = [("authorization", authorization.as_str()), JSON];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let target = format!("/api/v2{path}");
        let answer = self.ask((self.authority, method, &target), &fields, &body, may);
        is_like(&answer, status, &format!("{method} {path}"));
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    /// A request to the gateway; expects a status of this class.
    #[track_caller]
    fn call(&mut self, status: u16, host: &str, target: &str, fields: &[(&str, &str)]) {
        let all: Vec<(&str, &str)> = fields.iter().copied().chain([("host", host)]).collect();
        let answer = Client::connect(self.gateway).request("GET", target, &all, b"");
        is_like(&answer, status, &format!("{host}{target}"));
        // What the upstream says is its own affair: it echoes.
        if status != 200 {
            self.canaries.answered(&format!("{host} {status}"), &answer, &[]);
        }
    }

    /// What a command prints.
    fn command(&mut self, arguments: &[&str], environment: &[(&str, &str)], may: &[&str]) {
        let output = binary()
            .args(arguments)
            .current_dir(self.folder.path("."))
            .env("STORE_KEY", STORE_KEY)
            .env("PUSH", canary("push"))
            .envs(environment.iter().copied())
            .env("SCOPEGATE_LOG_LEVEL", "debug")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!text.is_empty(), "{arguments:?}");
        self.canaries
            .saw(&format!("the command {}", arguments[..2].join(" ")), text, may);
    }

    /// Ends the process, and looks at all that it leaves.
    fn end(mut self) {
        signal(self.child.id(), "TERM");
        let mut status = None;
        eventually("the end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success());
        for (name, may) in [
            ("stdout", &["administrator secret"][..]),
            ("stderr", &[]),
            ("access.log", &[]),
        ] {
            let text = fs::read_to_string(self.folder.path(name)).unwrap();
            assert!(text.lines().count() > 3, "{name}: {text}");
            self.canaries.saw(name, text, may);
        }
        let log = &self.canaries.seen[self.canaries.seen.len() - 2].text;
        assert!(
            log.contains("\"DEBUG\"") && log.contains("\"WARN\""),
            "not all is logged"
        );
        let files = fs::read_dir(self.folder.path(".")).unwrap();
        let mut stored = 0;
        for entry in files.map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("store.db") {
                stored += 1;
                let bytes = fs::read(entry.path()).unwrap();
                self.canaries.saw(&name, String::from_utf8_lossy(&bytes), &[]);
            }
        }
        assert!(stored > 0);
        self.canaries.search();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

fn unique(what: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Who there is once [`furnished`].
struct People {
    manager: String,
    issuer: String,
    /// Client ids.
    service: String,
    signer: String,
    app: String,
    limited: String,
}

fn asked(client_id: &str, secret: &str, audience: &str) -> Value {
    json!({
        "grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "audience": audience,
    })
}

/// APIs, applications with known secrets, and a user.
fn furnished(world: &mut World, signing: &SigningKey) -> People {
    let issuer = format!("http://{}/", world.authority);
    let (id, secret) = (
        world.printed("SCOPEGATE_CLIENT_ID"),
        world.printed("SCOPEGATE_CLIENT_SECRET"),
    );
    world.canaries.secret("administrator secret", &secret);
    let management = format!("{issuer}api/v2/");
    let token = world.token(
        200,
        &[],
        &asked(&id, &secret, &management),
        &["administrator token"],
    );
    let manager = text(&token["access_token"]);
    world.canaries.secret("signing secret", &canary("signing"));
    let scopes = json!([{ "value": "read:items" }, { "value": "write:items" }]);
    for (api, may) in [
        (
            json!({ "identifier": "urn:items", "scopes": scopes, "allow_offline_access": true }),
            &[][..],
        ),
        (
            json!({ "identifier": "urn:signed", "scopes": scopes, "signing_alg": "HS256", "signing_secret": canary("signing") }),
            &["signing secret"],
        ),
        (
            json!({
                "identifier": "urn:bound", "scopes": scopes,
                "proof_of_possession": { "mechanism": "dpop", "required": true },
            }),
            &[],
        ),
    ] {
        world.manage(201, ("POST", "/resource-servers"), &manager, &api, may);
    }
    let mut app = |name: &str, more: Value| {
        let secret = canary(name);
        let shown = format!("secret of {name}");
        world.canaries.secret(&shown, &secret);
        let mut body = json!({ "name": name, "app_type": "non_interactive", "client_secret": secret });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let made = world.manage(201, ("POST", "/clients"), &manager, &body, &[&shown]);
        text(&made["client_id"])
    };
    let machine = json!({ "grant_types": ["client_credentials"] });
    let service = app("service", machine.clone());
    let limited = app("limited", machine.clone());
    let signer = app("signer", machine);
    let rotating = json!({ "rotation_type": "rotating", "expiration_type": "expiring", "leeway": 0 });
    let app = app(
        "app",
        json!({ "grant_types": ["password", "refresh_token"], "refresh_token": rotating }),
    );
    for (client, audience, scope) in [
        (&service, "urn:items", &["read:items"][..]),
        (&service, "urn:signed", &["read:items"]),
        (&service, "urn:bound", &["read:items"]),
        (&signer, "urn:items", &["read:items"]),
        (
            &limited,
            &management,
            &[
                "read:clients",
                "read:resource_servers",
                "read:users",
                "read:client_credentials",
            ],
        ),
    ] {
        let grant = json!({ "client_id": client, "audience": audience, "scope": scope });
        world.manage(201, ("POST", "/client-grants"), &manager, &grant, &[]);
    }
    let credential =
        json!({ "name": "key", "credential_type": "public_key", "alg": "RS256", "pem": spki(signing) });
    let path = format!("/clients/{signer}/credentials");
    let made = world.manage(201, ("POST", &path), &manager, &credential, &[]);
    let methods = json!({
        "token_endpoint_auth_method": null,
        "client_authentication_methods": { "private_key_jwt": { "credentials": [{ "id": made["id"] }] } },
    });
    let path = format!("/clients/{signer}");
    world.manage(200, ("PATCH", &path), &manager, &methods, &["secret of signer"]);
    world.canaries.secret("password", &canary("password"));
    let user = json!({ "connection": REALM, "email": "ada@example.com", "password": canary("password") });
    world.manage(201, ("POST", "/users"), &manager, &user, &[]);
    People {
        manager,
        issuer,
        service,
        signer,
        app,
        limited,
    }
}

/// Every way to a token, and each with something wrong.
fn tokens(world: &mut World, people: &People, signing: &SigningKey) -> (String, String) {
    let secret = canary("service");
    let wrong = canary("wrong");
    world.canaries.secret("wrong secret", &wrong);
    let right = asked(&people.service, &secret, "urn:items");
    let token = text(&world.token(200, &[], &right, &["token"])["access_token"]);
    let signed = asked(&people.service, &secret, "urn:signed");
    let signed = text(&world.token(200, &[], &signed, &["HS256 token"])["access_token"]);
    let basic = STANDARD.encode(format!("{}:{secret}", people.service));
    world.canaries.secret("basic credentials", &basic);
    let basic = format!("Basic {basic}");
    let bare = json!({ "grant_type": "client_credentials", "audience": "urn:items" });
    world.token(200, &[("authorization", &basic)], &bare, &["token of a header"]);
    world.token(401, &[], &asked(&people.service, &wrong, "urn:items"), &[]);
    world.token(403, &[], &asked(&people.service, &secret, "urn:none"), &[]);
    world.token(
        403,
        &[],
        &asked(&people.limited, &canary("limited"), "urn:items"),
        &[],
    );
    let mut unknown = right.clone();
    unknown["grant_type"] = json!(wrong);
    world.token(403, &[], &unknown, &[]);

    // An assertion, and one that another key has signed.
    let claims = || {
        json!({
            "iss": people.signer, "sub": people.signer, "aud": people.issuer, "iat": now(), "exp": now() + 60,
            "jti": unique("assertion"),
        })
    };
    let header = json!({ "alg": "RS256" });
    for (key, status, name) in [
        (signing, 200, "assertion"),
        (&SigningKey::fixture(SigningAlg::RS256, 1), 401, "wrong assertion"),
    ] {
        let assertion = key.token(SigningAlg::RS256, &header, &claims());
        world.canaries.token(name, &assertion);
        let body = json!({
            "grant_type": "client_credentials", "audience": "urn:items", "client_assertion": assertion,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        });
        let may = if status == 200 {
            &["token by assertion"][..]
        } else {
            &[]
        };
        world.token(status, &[], &body, may);
    }

    // A password, refresh tokens, one of them twice.
    let login = |password: &str| {
        json!({
            "grant_type": "password", "client_id": people.app, "client_secret": canary("app"),
            "audience": "urn:items", "scope": "openid offline_access", "username": "ada@example.com",
            "password": password,
        })
    };
    let shown = ["token of Ada", "first refresh token", "ID token of Ada"];
    let first = text(&world.token(200, &[], &login(&canary("password")), &shown)["refresh_token"]);
    world.token(403, &[], &login(&wrong), &[]);
    let refresh = |token: &str| {
        json!({
            "grant_type": "refresh_token", "client_id": people.app, "client_secret": canary("app"),
            "refresh_token": token,
        })
    };
    let shown = [
        "second token of Ada",
        "second refresh token",
        "second ID token of Ada",
    ];
    let second = text(&world.token(200, &[], &refresh(&first), &shown)["refresh_token"]);
    world.token(403, &[], &refresh(&first), &[]);
    world.token(403, &[], &refresh(&second), &[]);
    let revoke = json!({ "client_id": people.app, "client_secret": canary("app"), "token": second });
    for (body, status) in [
        (revoke, 200),
        (
            json!({ "client_id": people.app, "client_secret": wrong, "token": second }),
            401,
        ),
    ] {
        let address = world.authority;
        let answer = world.ask(
            (address, "POST", "/oauth/revoke"),
            &[JSON],
            &body.to_string(),
            &[],
        );
        is_like(&answer, status, "a revocation");
    }
    (token, signed)
}

/// A DPoP-bound token and its proofs, at the token endpoint and at the gateway.
fn proofs(world: &mut World, people: &People) {
    let prover = Prover::new(SigningAlg::ES256);
    let endpoint = format!("{}oauth/token", people.issuer);
    let asked = asked(&people.service, &canary("service"), "urn:bound");
    let for_token = |method: &str| prover.sign(&prover.draft(method, &endpoint, "").without("ath"));
    let (right, wrong) = (for_token("POST"), for_token("PUT"));
    world.canaries.token("proof", &right);
    world.canaries.token("wrong proof", &wrong);
    let bound = text(&world.token(200, &[("dpop", &right)], &asked, &["bound token"])["access_token"]);
    world.token(400, &[("dpop", &wrong)], &asked, &[]);
    world.token(400, &[("dpop", &right)], &asked, &[]);
    let authorization = format!("DPoP {bound}");
    for (name, address, status) in [
        ("proof of a request", "http://bound.test/items", 200),
        ("wrong proof of a request", "http://bound.test/other", 401),
    ] {
        let proof = prover.proof("GET", address, &bound);
        world.canaries.token(name, &proof);
        let fields = [
            ("authorization", authorization.as_str()),
            ("dpop", proof.as_str()),
        ];
        world.call(status, "bound.test", "/items", &fields);
    }
}

/// Requests that cannot be understood, with a secret in each.
fn nonsense(world: &mut World, people: &People) {
    let (secret, stray) = (canary("service"), canary("stray"));
    world.canaries.secret("stray", &stray);
    let authority = world.authority;
    let right = asked(&people.service, &secret, "urn:items").to_string();
    let cut = &right[..right.len() - 1];
    let in_query = format!("/oauth/token?client_secret={secret}&access_token={stray}");
    let form = format!("grant_type=client_credentials&client_secret={secret}&client_secret={stray}&=%zz");
    for (method, target, fields, body) in [
        ("POST", "/oauth/token", &[JSON][..], cut),
        ("POST", "/oauth/token", &[JSON], &format!("[\"{secret}\"]")),
        (
            "POST",
            "/oauth/token",
            &[JSON],
            &format!("{{\"client_secret\":{{\"{secret}\":1}}}}"),
        ),
        ("POST", "/oauth/token", &[("content-type", "text/plain")], &right),
        ("POST", "/oauth/token", &[FORM], &form),
        (
            "POST",
            "/oauth/token",
            &[("authorization", &format!("Basic {stray}"))],
            "",
        ),
        ("POST", "/oauth/token", &[("dpop", &stray), JSON], &right),
        ("POST", &in_query, &[FORM], ""),
        ("GET", &in_query, &[], ""),
        ("PUT", "/oauth/token", &[JSON], &right),
        ("DELETE", "/oauth/revoke", &[JSON], &right),
        ("POST", &format!("/oauth/{secret}"), &[JSON], &right),
        (
            "GET",
            &format!("/{stray}?token={secret}"),
            &[("cookie", &format!("token={stray}"))],
            "",
        ),
        (
            "GET",
            "/api/v2/clients",
            &[("authorization", &format!("Bearer {stray}"))],
            "",
        ),
        (
            "GET",
            "/api/v2/clients",
            &[("authorization", &format!("{stray} {secret}"))],
            "",
        ),
        ("GET", &format!("/api/v2/clients?access_token={stray}"), &[], ""),
    ] {
        let answer = world.ask((authority, method, target), fields, body, &[]);
        // Some of it is put up with; what is shown with a token is looked at elsewhere.
        match answer.status {
            200 => drop(world.canaries.seen.pop()),
            status => assert!((400..500).contains(&status), "{method} {target} {body}: {status}"),
        }
    }

    let manager = &people.manager;
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let middle = key.lines().nth(1).unwrap().to_owned();
    world.canaries.secret("private key", &middle);
    let credentials = format!("/clients/{}/credentials", people.signer);
    let number = json!({ "identifier": "urn:x", "signing_alg": "HS256", "signing_secret": [stray] });
    for (method, path, body) in [
        (
            "POST",
            credentials.as_str(),
            json!({ "credential_type": "public_key", "pem": key }),
        ),
        (
            "POST",
            "/clients",
            json!({ "name": "x", "client_secret": { "is": stray } }),
        ),
        ("POST", "/clients", json!({ "name": "x", "unknown": stray })),
        ("POST", "/resource-servers", number),
        (
            "PATCH",
            "/resource-servers/urn%3Aitems",
            json!({ "signing_secret": stray }),
        ),
        (
            "POST",
            "/users",
            json!({ "connection": REALM, "email": "no address", "password": [stray] }),
        ),
        (
            "POST",
            "/users",
            json!({ "connection": REALM, "email": "ada@example.com", "password": stray }),
        ),
        ("GET", &format!("/clients/{stray}"), Value::Null),
        ("GET", &format!("/{stray}"), Value::Null),
    ] {
        let authorization = format!("Bearer {manager}");
        let fields = [("authorization", authorization.as_str()), JSON];
        let sent = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = world.ask(
            (authority, method, &format!("/api/v2{path}")),
            &fields,
            &sent,
            &[],
        );
        assert!(
            (400..500).contains(&answer.status),
            "{method} {path} {body}: {}",
            answer.text()
        );
    }
}

/// What is listed and shown, by whom it may be and by whom it may not.
fn reading(world: &mut World, people: &People) {
    let management = format!("{}api/v2/", people.issuer);
    let limited = asked(&people.limited, &canary("limited"), &management);
    let limited = text(&world.token(200, &[], &limited, &["token of limited"])["access_token"]);
    let secrets = [
        "administrator secret",
        "secret of service",
        "secret of limited",
        "secret of signer",
        "secret of app",
    ];
    for (token, shown) in [(&people.manager, &secrets[..]), (&limited, &[])] {
        let one: &[&str] = if shown.is_empty() {
            &[]
        } else {
            &["secret of service"]
        };
        for (path, may) in [
            ("/clients".to_owned(), shown),
            (format!("/clients/{}", people.service), one),
            (format!("/clients/{}/credentials", people.signer), &[]),
            // Whoever may read APIs reads what their tokens are signed with, as at Auth0.
            ("/resource-servers".to_owned(), &["signing secret"]),
            ("/resource-servers/urn%3Asigned".to_owned(), &["signing secret"]),
            ("/resource-servers/urn%3Aitems".to_owned(), &[]),
            ("/users".to_owned(), &[]),
        ] {
            world.manage(200, ("GET", &path), token, &Value::Null, may);
        }
    }
    let manager = &people.manager;
    world.manage(200, ("GET", "/client-grants"), manager, &Value::Null, &[]);
    world.manage(201, ("POST", "/keys/signing/rotate"), manager, &Value::Null, &[]);
    world.manage(200, ("GET", "/keys/signing"), manager, &Value::Null, &[]);
    world.manage(403, ("GET", "/keys/signing"), &limited, &Value::Null, &[]);
    let authority = world.authority;
    for target in [
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
        "/api/v2/openapi.json",
    ] {
        let answer = world.ask((authority, "GET", target), &[], "", &[]);
        assert_eq!(answer.status, 200, "{target}");
        assert!(!answer.text().contains("\"d\":"), "{target}");
    }
}

/// Requests to the gateway, allowed and refused, and one of HTTP/2 to each.
fn requests(world: &mut World, token: &str, signed: &str) {
    let stray = canary("stray");
    let (right, right_signed) = (format!("Bearer {token}"), format!("Bearer {signed}"));
    let spoiled = format!("{right}{stray}");
    let twice = [
        ("authorization", right.as_str()),
        ("authorization", spoiled.as_str()),
    ];
    for (status, host, target, fields) in [
        (
            200,
            "items.test",
            "/items",
            &[("authorization", right.as_str())][..],
        ),
        (200, "signed.test", "/items", &[("authorization", &right_signed)]),
        (403, "items.test", "/items/7", &[("authorization", &right)]),
        (401, "items.test", "/items", &[("authorization", &spoiled)]),
        (401, "signed.test", "/items", &[("authorization", &right)]),
        (401, "items.test", "/items", &[("authorization", &stray)]),
        (401, "items.test", "/items", &[("cookie", &stray)]),
        (400, "items.test", "/items", &twice),
        (401, "items.test", &format!("/items?access_token={stray}"), &[]),
        (
            404,
            "items.test",
            &format!("/{stray}"),
            &[("authorization", &right)],
        ),
        (
            400,
            "items.test",
            &format!("/%2e%2e/{stray}"),
            &[("authorization", &right)],
        ),
        (404, &stray, "/items", &[("authorization", &right)]),
    ] {
        world.call(status, host, target, fields);
    }
    let mut gateway = Http2Client::connect(world.gateway);
    let answer = gateway.request(
        "GET",
        "/items",
        &[("authorization", &spoiled), ("host", "items.test")],
        b"",
    );
    world
        .canaries
        .saw("the gateway's HTTP/2", format!("{answer:?}"), &[]);
    let mut authority = Http2Client::connect(world.authority);
    let answer = authority.request(
        "POST",
        "/oauth/token",
        &[("authorization", &spoiled), JSON],
        stray.as_bytes(),
    );
    world
        .canaries
        .saw("the authority's HTTP/2", format!("{answer:?}"), &[]);

    let admin = world.admin;
    let push = json!({ "revoked": [{ "jti": "none", "until": now() + 60 }] }).to_string();
    for (secret, is_right) in [(canary("push"), true), (stray, false)] {
        let authorization = format!("Bearer {secret}");
        let fields = [("authorization", authorization.as_str()), JSON];
        let answer = world.ask((admin, "POST", "/revocations"), &fields, &push, &[]);
        assert_eq!(answer.status == 401, !is_right, "{}", answer.text());
    }
    for target in ["/metrics", "/config", "/readyz", "/livez", "/nowhere"] {
        world.ask((admin, "GET", target), &[], "", &[]);
    }
}

/// What people see at a terminal.
fn commands(world: &mut World, people: &People, token: &str) {
    let (id, secret) = (
        world.printed("SCOPEGATE_CLIENT_ID"),
        world.printed("SCOPEGATE_CLIENT_SECRET"),
    );
    let environment = [
        ("SCOPEGATE_ISSUER", people.issuer.as_str()),
        ("SCOPEGATE_CLIENT_ID", id.as_str()),
        ("SCOPEGATE_CLIENT_SECRET", secret.as_str()),
    ];
    let config = world.folder.config().to_str().unwrap().to_owned();
    for output in ["text", "json"] {
        world.command(&["check", "--config", &config, "--output", output], &[], &[]);
        let explain = [
            "explain",
            "--config",
            &config,
            "--output",
            output,
            "GET /items",
            "--host",
            "items.test",
            "--token",
        ];
        for token in [token, &canary("stray")] {
            world.command(&[&explain[..], &[token]].concat(), &[], &[]);
        }
        for arguments in [
            &["keys", "list"][..],
            &["grant", "list"],
            &["api", "show", "urn:items"],
        ] {
            world.command(&[arguments, &["--output", output]].concat(), &environment, &[]);
        }
    }
    world.command(&["app", "list"], &environment, &[]);
    world.command(&["api", "list"], &environment, &[]);
    world.command(
        &["app", "show", &people.service],
        &environment,
        &["secret of service"],
    );
    let wrong = canary("wrong");
    let asked = [
        "token",
        "--api",
        "urn:items",
        "--app",
        &people.service,
        "--secret",
        &wrong,
    ];
    world.command(&asked, &environment, &[]);
    let mut refused = environment;
    refused[2].1 = &wrong;
    world.command(&["app", "list"], &refused, &[]);
}

#[test]
fn no_secret_stands_where_it_does_not_belong() {
    let upstream = Upstream::start();
    let mut world = World::start(&upstream);
    let signing = SigningKey::fixture(SigningAlg::RS256, 0);
    let people = furnished(&mut world, &signing);
    let admin = world.admin;
    eventually("the gateway to be ready", || {
        client::get(admin, "/readyz", &[]).status == 200
    });
    let (token, signed) = tokens(&mut world, &people, &signing);
    proofs(&mut world, &people);
    nonsense(&mut world, &people);
    requests(&mut world, &token, &signed);
    reading(&mut world, &people);
    commands(&mut world, &people, &token);
    world.end();
}
