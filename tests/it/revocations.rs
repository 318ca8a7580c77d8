//! Revoked tokens: from a file and pushed, at once and for every worker, also where a token is cached, over reloads and
//! restarts; and who may push.

use std::time::{Duration, Instant};

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::{Value, json};

use crate::harness::client::{get, get_with, head};
use crate::harness::gateway::{Folder, ITEMS, items, run};
use crate::harness::http1::Response;
use crate::harness::issuer::{Draft, now};
use crate::harness::{Behaviour, Client, Gateway, Issuer, Upstream, eventually};

const SECRET: &str = "kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1S";
const ROUTES: &str = "    routes: [{ path: /items, require: read:items }, { path: /socket, require: read:items, upgrade: [websocket] }]\n";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

/// A configuration with these lists.
fn yaml(issuer: &Issuer, upstream: &Upstream, revocations: &str) -> String {
    format!("revocations: {revocations}\n{}", items(issuer, upstream, ROUTES))
}

fn document(entries: &[Value]) -> String {
    json!({ "revocations": entries }).to_string()
}

impl World {
    fn start(revocations: &str, files: &[(&str, &str)]) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let gateway = Gateway::start_with(&yaml(&issuer, &upstream, revocations), files);
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn pushed() -> Self {
        Self::start(
            "{ push: { secret: 'file:secret', store: pushed.json } }",
            &[("secret", SECRET)],
        )
    }

    fn draft(&self) -> Draft {
        self.issuer
            .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS)
            .claim("scope", "read:items")
    }

    /// A good token: id, subject and client.
    fn token(&self, id: &str, subject: &str, client: &str) -> String {
        let draft = self
            .draft()
            .claim("jti", id)
            .claim("sub", subject)
            .claim("azp", client);
        self.issuer.sign(&draft)
    }

    #[allow(clippy::needless_pass_by_value, reason = "what is given is made on the spot")]
    fn entry(&self, members: Value) -> Value {
        let mut entry = json!({"issuer": self.issuer.identifier()});
        entry
            .as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        entry
    }

    /// The status, and that the upstream was asked exactly where it is 200.
    #[track_caller]
    fn status(&self, token: &str) -> u16 {
        let before = self.upstream.requests();
        let response = get_with(self.gateway.address(), "/items", token);
        let forwarded = self.upstream.requests() - before;
        assert_eq!(
            forwarded,
            usize::from(response.status == 200),
            "{}",
            response.text()
        );
        if response.status != 200 {
            assert_eq!(response.json()["reason"], "revoked");
            let challenge = response.field("www-authenticate").unwrap();
            assert!(
                challenge
                    .contains("error=\"invalid_token\", error_description=\"the access token was revoked\""),
                "{challenge}"
            );
        }
        response.status
    }

    /// Over both workers, often enough to meet each of them, and what it has at hand.
    #[track_caller]
    fn statuses(&self, token: &str) -> Vec<u16> {
        let mut all: Vec<u16> = (0..12).map(|_| self.status(token)).collect();
        all.dedup();
        all
    }

    fn ask(&self, method: &str, secret: Option<&str>, body: &str) -> Response {
        let authorization = secret.map(|secret| format!("Bearer {secret}"));
        let fields: Vec<(&str, &str)> = authorization
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        Client::connect(self.gateway.admin()).request(method, "/revocations", &fields, body.as_bytes())
    }

    #[track_caller]
    fn push(&self, entries: &[Value]) {
        let response = self.ask("POST", Some(SECRET), &document(entries));
        assert_eq!(response.status, 200, "{}", response.text());
    }

    #[track_caller]
    fn withdraw(&self, entries: &[Value]) {
        let response = self.ask("DELETE", Some(SECRET), &document(entries));
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

#[test]
fn a_pushed_entry_counts_with_the_next_request() {
    let world = World::pushed();
    let token = world.token("t1", "jo", "web");
    let others = [world.token("t2", "jo", "web"), world.token("t3", "al", "cli")];
    assert_eq!(world.statuses(&token), [200]);
    for entry in [json!({"jti": "t1"}), json!({"jti": "t1", "until": now() + 60})] {
        let entry = world.entry(entry);
        world.push(std::slice::from_ref(&entry));
        // No waiting: both workers have the token at hand, and refuse it.
        assert_eq!(world.statuses(&token), [401]);
        assert_eq!(others.each_ref().map(|other| world.status(other)), [200, 200]);
        world.withdraw(std::slice::from_ref(&entry));
        assert_eq!(world.statuses(&token), [200]);
    }
    for (entry, expected) in [
        (json!({"sub": "jo"}), [401, 401, 200]),
        (json!({"client": "web"}), [401, 401, 200]),
        (json!({"client": "cli"}), [200, 200, 401]),
        (json!({"sub": "JO"}), [200, 200, 200]),
        (json!({"sub": "t1"}), [200, 200, 200]),
        (json!({"issued_before": now() + 5}), [401, 401, 401]),
        (json!({"issued_before": now() - 600}), [200, 200, 200]),
        (json!({"sub": "jo", "issued_before": now() + 5}), [401, 401, 200]),
        (
            json!({"sub": "jo", "issued_before": now() - 600}),
            [200, 200, 200],
        ),
        (
            json!({"client": "web", "issued_before": now() + 5}),
            [401, 401, 200],
        ),
        (json!({"sub": "jo", "until": now() - 1}), [200, 200, 200]),
        (
            json!({"sub": "jo", "issuer": "https://another.example/"}),
            [200, 200, 200],
        ),
    ] {
        let entry = world.entry(entry);
        world.push(std::slice::from_ref(&entry));
        let met = [&token, &others[0], &others[1]].map(|token| world.status(token));
        assert_eq!(met, expected, "{entry}");
        world.withdraw(&[entry]);
        assert_eq!(world.status(&token), 200);
    }
    let metrics = world.gateway.metrics();
    assert_eq!(
        metrics.value("scopegate_revocations", &[("source", "pushed")]),
        0.0
    );
    let denied = [("reason", "revoked"), ("decision", "deny")];
    assert!(metrics.value("scopegate_auth_decisions_total", &denied) > 20.0);
}

/// `iat` is compared as it is: earlier is refused, the very second is not, and a token without it is an old one.
#[test]
fn issued_before_is_a_bound_to_the_second() {
    let world = World::pushed();
    let at = now() - 100;
    world.push(&[world.entry(json!({"issued_before": at}))]);
    for (issued, expected) in [
        (Some(at - 1), 401),
        (Some(at), 200),
        (Some(at + 1), 200),
        (None, 401),
    ] {
        let draft = match issued {
            Some(issued) => world.draft().claim("iat", issued),
            None => world.draft().without("iat"),
        };
        assert_eq!(world.status(&world.issuer.sign(&draft)), expected, "{issued:?}");
    }
}

#[test]
fn entries_end_by_themselves() {
    let world = World::pushed();
    let token = world.token("t1", "jo", "web");
    world.push(&[world.entry(json!({"jti": "t1", "until": now() + 2}))]);
    assert_eq!(world.status(&token), 401);
    eventually("the entry to be over", || world.status(&token) == 200);
}

#[test]
fn what_is_pushed_survives_a_reload_and_a_restart() {
    let world = World::pushed();
    let token = world.token("t1", "jo", "web");
    world.push(&[
        world.entry(json!({"jti": "t1"})),
        world.entry(json!({"client": "x"})),
    ]);
    let before = world.gateway.generation();
    world.gateway.configure(&yaml(
        &world.issuer,
        &world.upstream,
        "{ push: { secret: 'file:secret', store: pushed.json } }\ntoken_cache: { entries: 5 }",
    ));
    world.gateway.reload();
    eventually("the reload", || world.gateway.generation() > before);
    assert_eq!(world.statuses(&token), [401]);
    let stored = std::fs::read_to_string(world.gateway.folder.path("pushed.json")).unwrap();
    let World {
        issuer,
        upstream,
        gateway,
    } = world;
    gateway.shut_down();
    let gateway = Gateway::start_with(
        &yaml(
            &issuer,
            &upstream,
            "{ push: { secret: 'file:secret', store: pushed.json } }",
        ),
        &[("secret", SECRET), ("pushed.json", &stored)],
    );
    let world = World {
        issuer,
        upstream,
        gateway,
    };
    assert_eq!(world.status(&token), 401);
    let shown = world.ask("GET", Some(SECRET), "").json();
    assert_eq!(shown["revocations"].as_array().unwrap().len(), 2);
}

#[test]
fn a_file_is_followed_and_a_bad_one_changes_nothing() {
    let world = World::start(
        "{ file: revoked.json }",
        &[("revoked.json", r#"{"revocations":[]}"#)],
    );
    let token = world.token("t1", "jo", "web");
    assert_eq!(world.statuses(&token), [200]);
    let generation = world.gateway.generation();
    let revoke = document(&[world.entry(json!({"sub": "jo"}))]);
    let began = Instant::now();
    world.gateway.folder.write("revoked.json", &revoke);
    eventually("the file to count", || world.status(&token) == 401);
    // Within a second on a machine that has time; five where the file system says nothing.
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    assert_eq!(world.statuses(&token), [401]);
    let loaded = |value: f64| {
        eventually("the metric", || {
            world
                .gateway
                .metrics()
                .value("scopegate_revocations_last_load_successful", &[])
                == value
        });
    };
    loaded(1.0);
    for bad in [
        "{",
        r#"{"revocations":[{"issuer":"i"}]}"#,
        r#"{"revocations":[],"x":1}"#,
        "",
    ] {
        world.gateway.folder.write("revoked.json", bad);
        loaded(0.0);
        assert_eq!(world.statuses(&token), [401], "{bad}");
        world.gateway.folder.write("revoked.json", &revoke);
        loaded(1.0);
    }
    let metrics = world.gateway.metrics();
    assert_eq!(metrics.value("scopegate_revocations", &[("source", "file")]), 1.0);
    // A list is no configuration: tokens that were verified still are.
    assert_eq!(world.gateway.generation(), generation);
    world
        .gateway
        .folder
        .write("revoked.json", r#"{"revocations":[]}"#);
    eventually("the empty file to count", || world.status(&token) == 200);
}

#[test]
fn nobody_pushes_without_the_secret() {
    let world = World::pushed();
    let token = world.token("t1", "jo", "web");
    let entries = document(&[world.entry(json!({"sub": "jo"}))]);
    for method in ["GET", "POST", "DELETE", "PUT"] {
        for secret in [
            None,
            Some(""),
            Some("x"),
            Some(&SECRET[1..]),
            Some(&format!("{SECRET}x")),
        ] {
            let response = world.ask(method, secret, if method == "GET" { "" } else { &entries });
            assert_eq!(response.status, 401, "{method} {secret:?}");
            assert_eq!(
                response.field("www-authenticate"),
                Some("Bearer realm=\"revocations\"")
            );
        }
    }
    assert_eq!(world.status(&token), 200);
    assert_eq!(world.ask("PUT", Some(SECRET), &entries).status, 405);
    // Nor is there anything where it was not asked for, or through the front door.
    let closed = World::start(
        "{ file: revoked.json }",
        &[("revoked.json", r#"{"revocations":[]}"#)],
    );
    assert_eq!(closed.ask("POST", Some(SECRET), &entries).status, 404);
    let response = get(world.gateway.address(), "/revocations", &[]);
    assert_eq!(response.status, 404);
    // The name of another machine, as a web page would send it.
    let fields = [
        ("host", "evil.example"),
        ("authorization", &*format!("Bearer {SECRET}")),
    ];
    let rebound =
        Client::connect(world.gateway.admin()).request("POST", "/revocations", &fields, entries.as_bytes());
    assert_eq!(rebound.status, 421);
    assert_eq!(world.status(&token), 200);
}

#[test]
fn all_of_a_push_or_nothing() {
    let world = World::start(
        "{ entries: 3, push: { secret: 'file:secret' } }",
        &[("secret", SECRET)],
    );
    let token = world.token("t1", "jo", "web");
    let good = world.entry(json!({"sub": "jo"}));
    for (body, told) in [
        ("".to_owned(), "EOF"),
        ("[]".into(), "invalid"),
        (
            document(&[good.clone(), json!({"jti": "x"})]),
            "missing field `issuer`",
        ),
        (
            document(&[good.clone(), world.entry(json!({"jti": "x", "sub": "y"}))]),
            "only one of",
        ),
        (document(&[good.clone(), good.clone()]), "entry 2"),
    ] {
        let response = world.ask("POST", Some(SECRET), &body);
        assert_eq!(response.status, 400, "{body}");
        assert!(response.text().contains(told), "{}", response.text());
        assert_eq!(world.status(&token), 200);
    }
    let four: Vec<Value> = (0..3)
        .map(|n| world.entry(json!({"jti": format!("x{n}")})))
        .chain([good.clone()])
        .collect();
    let full = world.ask("POST", Some(SECRET), &document(&four));
    assert_eq!(full.status, 507);
    assert!(
        full.text()
            .contains("there would be 4 entries, and the most is 3; see revocations.entries")
    );
    assert_eq!(world.status(&token), 200);
    // The same again takes no more room.
    world.push(&four[1..]);
    world.push(&four[1..]);
    assert_eq!(
        world.ask("GET", Some(SECRET), "").json()["revocations"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(world.status(&token), 401);
    let huge = format!("{}{}", " ".repeat(5 << 20), document(&[good]));
    let response = world.ask("POST", Some(SECRET), &huge);
    assert_eq!(response.status, 400);
}

#[test]
fn a_list_that_cannot_be_read_keeps_the_gateway_from_starting() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let bad = r#"{"revocations":[{"issuer":"i","jti":"a","until":"never"}]}"#;
    let checked = |revocations: &str, files: &[(&str, &str)]| {
        let folder = Folder::new(&yaml(&issuer, &upstream, revocations), files);
        let config = folder.config();
        let command = |name: &str| {
            let output = run(&[name, "--config", config.to_str().unwrap()], "");
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        (command("check"), command("run"))
    };
    let (check, run) = checked("{ file: revoked.json }", &[("revoked.json", bad)]);
    for (code, told) in [check, run] {
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("revoked.json is no list of revocations"), "{told}");
    }
    let push = "{ push: { secret: 'file:secret', store: pushed.json } }";
    let (_, (code, told)) = checked(push, &[("secret", SECRET), ("pushed.json", bad)]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("pushed.json"), "{told}");
}

#[test]
fn a_route_that_only_reports_lets_revoked_tokens_pass() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let routes = "    mode: report\n    routes: [{ path: /items, require: read:items }]\n";
    let yaml = format!(
        "revocations: {{ file: revoked.json }}\n{}",
        items(&issuer, &upstream, routes)
    );
    let entries = document(&[json!({"issuer": issuer.identifier(), "issued_before": now() + 1_000})]);
    let gateway = Gateway::start_with(&yaml, &[("revoked.json", &entries)]);
    let response = get_with(gateway.address(), "/items", &issuer.token(ITEMS, "read:items"));
    assert_eq!((response.status, upstream.requests()), (200, 1));
    let labels = [("decision", "shadow_deny"), ("reason", "revoked")];
    assert_eq!(
        gateway.metrics().value("scopegate_auth_decisions_total", &labels),
        1.0
    );
}

#[test]
fn explain_shows_the_check() {
    let world = World::start(
        "{ file: revoked.json }",
        &[("revoked.json", r#"{"revocations":[]}"#)],
    );
    let config = world.gateway.folder.config();
    let ask = || {
        let claims =
            json!({"iss": world.issuer.identifier(), "sub": "jo", "scope": "read:items"}).to_string();
        let output = run(
            &[
                "explain",
                "--config",
                config.to_str().unwrap(),
                "GET /items",
                "--claims",
                "-",
            ],
            &claims,
        );
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let told = ask();
    assert!(
        told.contains("pass  revocation") && told.contains("allow: ok"),
        "{told}"
    );
    let entries = document(&[world.entry(json!({"sub": "jo"}))]);
    world.gateway.folder.write("revoked.json", &entries);
    let told = ask();
    assert!(
        told.contains("FAIL  revocation               the token was revoked"),
        "{told}"
    );
    assert!(told.contains("deny: revoked, status 401"), "{told}");
}

/// What goes on is ended where the next request would be refused, and nothing else is.
#[test]
fn tunnels_and_streams_of_a_revoked_token_end() {
    let world = World::pushed();
    let bearer = |subject: &str| format!("Bearer {}", world.token("t", subject, "web"));
    let (revoked, other) = (bearer("jo"), bearer("al"));
    let handshake = |bearer: &str| {
        let fields = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("authorization", bearer),
        ];
        world.upstream.next(Behaviour::Upgrade("websocket"));
        let mut client = world.gateway.client();
        client.send(head("GET", "/socket", &fields, None));
        assert_eq!(client.response().status, 101);
        client
    };
    let events = |bearer: &str, seen: usize| {
        world.upstream.next(Behaviour::Steps {
            fields: "content-type: text/event-stream\r\n",
            chunks: vec!["data: 1\n\n", "data: 2\n\n"],
        });
        let mut client = world.gateway.client();
        client.send(head("GET", "/items", &[("authorization", bearer)], None));
        world.upstream.wait_for_requests(seen);
        world.upstream.release();
        let mut text = String::new();
        while !text.contains("data: 1") {
            let more = client.some_bytes();
            assert!(!more.is_empty(), "{text}");
            text.push_str(&String::from_utf8_lossy(&more));
        }
        client
    };
    let (mut ended_socket, mut other_socket) = (handshake(&revoked), handshake(&other));
    let mut ended_stream = events(&revoked, 3);
    // Somebody else's entry ends nothing.
    world.push(&[world.entry(json!({"sub": "nobody"}))]);
    assert!(!ended_socket.is_closed_within(Duration::from_millis(300)));
    world.push(&[world.entry(json!({"sub": "jo"}))]);
    let policy_violation = [0x88, 2, 0x03, 0xf0];
    assert_eq!(ended_socket.rest(), policy_violation);
    // The stream breaks: its end is not that of an answer.
    assert!(!String::from_utf8_lossy(&ended_stream.rest()).ends_with("0\r\n\r\n"));
    eventually("the end of the tunnel", || {
        let ended = [("end", "revoked")];
        world.gateway.metrics().value("scopegate_upgrades_total", &ended) == 1.0
    });
    assert_eq!(
        world.gateway.folder.log_line("route", "/socket")["reason"],
        "revoked"
    );
    assert!(!other_socket.is_closed_within(Duration::from_millis(300)));
}
