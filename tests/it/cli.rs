//! The commands, as the built binary: what they print, and with which code they end. `explain` says what the gateway
//! does.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::gateway::{Folder, ITEMS, items, run};
use crate::harness::{Issuer, Process, Upstream};

const ROUTES: &str = "    routes:
      - { path: /public, require: public }
      - { path: /items, methods: [GET], require: read:items }
      - { path: /items, methods: [POST], require: { all_of: [write:items], step_up: { within: 15m } } }
      - { path: /claim, require: { claims: { org_id: [org_1] } } }
";

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn path(folder: &Folder) -> String {
    folder.config().to_str().unwrap().to_owned()
}

#[test]
fn check_prints_every_fault_with_its_place() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let good = items(&issuer, &upstream, ROUTES);
    let folder = Folder::new(&good, &[]);
    let output = run(&["check", "--config", &path(&folder)], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("/items") && text(&output.stdout).contains("PUBLIC"));
    let output = run(&["check", "--config", &path(&folder), "--output", "json"], "");
    let report = json(&output);
    assert_eq!(
        (report["valid"].as_bool(), output.status.code()),
        (Some(true), Some(0))
    );
    assert_eq!(report["routes"].as_array().unwrap().len(), 4);

    let faulty = good
        .replace("require: read:items }", "require: read:itemz }")
        .replace("path: /public", "path: public")
        .replace("within: 15m", "within: 15x")
        .replace("signing_alg: RS256", "signing_alg: RS257")
        .replace("upstream: http://", "upstream: ftp://")
        + "      - { path: /claim, require: public }\n";
    let faulty = format!("{faulty}timeoutz: {{}}\n");
    folder.configure(&faulty);
    let output = run(&["check", "--config", &path(&folder)], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let printed = text(&output.stderr);
    let places: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains("scopegate.yaml:"))
        .filter(|line| !line.starts_with(' '))
        .collect();
    for line in &places {
        let (_, place) = line.split_once("scopegate.yaml:").unwrap();
        let mut numbers = place.split(':');
        let line_number: usize = numbers.next().unwrap().parse().unwrap();
        let column: usize = numbers.next().unwrap().parse().unwrap();
        assert!(line_number > 0 && column > 0, "{line}");
    }
    for word in ["public", "15x", "RS257", "ftp://", "/claim", "timeoutz"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    assert!(places.len() >= 6, "{printed}");
    let output = run(&["check", "--config", &path(&folder), "--output", "json"], "");
    let report = json(&output);
    assert_eq!(
        (report["valid"].as_bool(), output.status.code()),
        (Some(false), Some(1))
    );
    assert_eq!(report["faults"].as_array().unwrap().len(), places.len());

    let output = run(&["check", "--config", "/nowhere/scopegate.yaml"], "");
    assert_eq!(output.status.code(), Some(1));
    let output = run(&["run", "--config", &path(&folder)], "");
    assert_eq!(
        output.status.code(),
        Some(1),
        "a faulty configuration does not run"
    );
}

#[test]
fn explain_says_what_the_gateway_does() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let process = Process::start(&items(&issuer, &upstream, ROUTES));
    let config = path(&process.folder);
    let good = issuer.token(ITEMS, "read:items");
    let elsewhere = issuer.token("urn:other", "read:items");
    let lacking = issuer.token(ITEMS, "admin:items");
    let writer = issuer.token(ITEMS, "write:items");
    for (method, target, token) in [
        ("GET", "/items", Some(&good)),
        ("GET", "/items?x=1", Some(&good)),
        ("HEAD", "/items", Some(&good)),
        ("GET", "/public", None),
        ("GET", "/items", None),
        ("GET", "/items", Some(&elsewhere)),
        ("GET", "/items", Some(&lacking)),
        ("POST", "/items", Some(&writer)),
        ("PUT", "/items", Some(&writer)),
        ("GET", "/claim", Some(&good)),
        ("GET", "/nowhere", Some(&good)),
        ("GET", "/items%2f", Some(&good)),
        ("GET", "/public/../items", None),
        ("GET", "/items", Some(&"nonsense".to_owned())),
    ] {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let fields: Vec<(&str, &str)> = bearer
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        let before = upstream.requests();
        let live = crate::harness::Client::connect(process.address()).request(method, target, &fields, b"");
        let is_allowed = upstream.requests() > before;
        let request = format!("{method} {target}");
        let mut arguments = vec!["explain", "--config", &config, "--output", "json", &request];
        if token.is_some() {
            arguments.extend(["--token", "-"]);
        }
        let output = run(&arguments, token.map_or("", String::as_str));
        let told = json(&output);
        assert_eq!(
            output.status.code(),
            Some(if is_allowed { 0 } else { 3 }),
            "{request}: {output:?}"
        );
        assert_eq!(told["status"], live.status, "{request}");
        if !is_allowed && method != "HEAD" {
            assert_eq!(told["reason"], live.json()["reason"], "{request}");
        }
        assert_eq!(
            told["challenge"].as_str(),
            live.field("www-authenticate"),
            "{request}"
        );
        let failed = told["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["result"] == "fail")
            .count();
        assert_eq!(failed, usize::from(!is_allowed), "{request}: {told}");
        // For people: the same word.
        let position = arguments.iter().position(|argument| *argument == "json").unwrap();
        arguments[position] = "text";
        let output = run(&arguments, token.map_or("", String::as_str));
        assert!(
            text(&output.stdout).contains(told["reason"].as_str().unwrap()),
            "{request}"
        );
        if let Some(token) = token {
            assert!(
                !text(&output.stdout).contains(token.as_str()),
                "the token is not echoed"
            );
        }
    }
}

/// What the gateway refuses before it looks for a route, `explain` refuses too.
#[test]
fn explain_looks_at_the_head() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let process = Process::start(&items(&issuer, &upstream, ROUTES));
    let config = path(&process.folder);
    let long = format!("/{}", "a".repeat(9_000));
    let large = "a".repeat(20_000);
    for (target, fields, reason) in [
        ("/public", &[][..], "public"),
        ("/public", &[("x_user", "1")][..], "bad_request"),
        ("/public", &[("connection", "authorization")][..], "bad_request"),
        ("/public", &[("host", "a"), ("host", "b")][..], "bad_request"),
        (&long, &[][..], "uri_too_long"),
        (
            "/public",
            &[("x-one", &*large), ("x-two", &*large)][..],
            "headers_too_large",
        ),
    ] {
        let request = format!("GET {target}");
        let lines: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let mut arguments = vec!["explain", "--config", &config, "--output", "json", &request];
        for line in &lines {
            arguments.extend(["--header", line]);
        }
        let output = run(&arguments, "");
        assert_eq!(json(&output)["reason"], reason, "{fields:?}");
        if !fields.iter().any(|(name, _)| *name == "host") {
            let live = crate::harness::Client::connect(process.address()).request("GET", target, fields, b"");
            assert_eq!(json(&output)["status"], live.status, "{fields:?}");
        }
    }
}

#[test]
fn explain_takes_claims() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let folder = Folder::new(&items(&issuer, &upstream, ROUTES), &[]);
    let config = path(&folder);
    for (request, claims, code, reason) in [
        ("GET /items", json!({"scope": "read:items"}), 0, "ok"),
        ("GET /items", json!({"scope": "other"}), 3, "insufficient_scope"),
        (
            "GET /items",
            json!({"scope": "read:items", "exp": 1}),
            3,
            "expired",
        ),
        (
            "GET /items",
            json!({"scope": "read:items", "aud": "urn:other"}),
            3,
            "audience_mismatch",
        ),
        ("GET /claim", json!({"org_id": "org_1"}), 0, "ok"),
        ("GET /claim", json!({"org_id": "org_2"}), 3, "claim_mismatch"),
        (
            "POST /items",
            json!({"scope": "write:items"}),
            3,
            "step_up_required",
        ),
    ] {
        folder.write("claims.json", &claims.to_string());
        let file = folder.path("claims.json");
        for from in [file.to_str().unwrap(), "-"] {
            let arguments = [
                "explain", "--config", &config, "--output", "json", request, "--claims", from,
            ];
            let output = run(&arguments, &claims.to_string());
            assert_eq!(output.status.code(), Some(code), "{request} {claims}: {output:?}");
            assert_eq!(json(&output)["reason"], reason, "{request} {claims}");
        }
    }
    assert_eq!(issuer.counts().jwks, 0, "claims need no keys of the issuer");
}

#[test]
fn schema_is_a_schema() {
    let output = run(&["schema"], "");
    assert_eq!(output.status.code(), Some(0));
    let schema = json(&output);
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(!validator.is_valid(&json!({"listeners": []})));
    let committed = include_str!("../../config/scopegate.schema.json");
    // The committed one is for editors, which know nothing of builds.
    #[cfg(feature = "authority")]
    assert_eq!(schema, serde_json::from_str::<Value>(committed).unwrap());
    #[cfg(not(feature = "authority"))]
    assert!(committed.contains("\"authority\"") && schema["properties"]["authority"].is_null());
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let folder = Folder::new(&items(&issuer, &upstream, ROUTES), &[]);
    let config = path(&folder);
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["check", "--frob"],
        &["check", "--output", "xml"],
        &["explain", "--config", &config],
        &["explain", "--config", &config, "nonsense"],
        &[
            "explain",
            "--config",
            &config,
            "GET /items",
            "--header",
            "no colon",
        ],
        &[
            "explain",
            "--config",
            &config,
            "GET /items",
            "--token",
            "a",
            "--claims",
            "b",
        ],
        &["explain", "--config", &config, "GET /items", "--claims", "-"],
        &["health", "--admin", "nowhere"],
        &["--log-level", "a=b=c", "schema"],
    ] {
        let output = run(arguments, "not json");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert_eq!(run(arguments, "").status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn health_asks_a_running_gateway() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let process = Process::start(&items(&issuer, &upstream, ROUTES));
    let admin = process.admin().to_string();
    for live in [&[][..], &["--live"]] {
        let arguments = [&["health", "--admin", &admin], live].concat();
        assert_eq!(run(&arguments, "").status.code(), Some(0), "{arguments:?}");
    }
    // Not an admin listener, and nobody at all.
    let gateway = process.address().to_string();
    assert_eq!(run(&["health", "--admin", &gateway], "").status.code(), Some(1));
    drop(process);
    assert_eq!(run(&["health", "--admin", &admin], "").status.code(), Some(1));
}
