//! Random request heads through a real gateway: what `decide` allows arrives byte for byte, what it refuses never
//! arrives, and what arrived would be decided in the same way again.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use scopegate::policy::{Decision, Mode, RequestHead, decide};
use scopegate::snapshot::Snapshot;

use crate::harness::http1::{Head, Response};
use crate::harness::{Client, Gateway, Issuer, Upstream};
use crate::support::api::TestApi;
use crate::support::routes::{Untouched, api_plan, guarded, public, snapshot, with_methods};

use scopegate::definition::{SigningAlg, TokenDialect};

const CASES: u32 = 1_500;

/// The routes of the gateway, twice: as it reads them, and as `decide` is asked here.
const YAML: &str = "    hosts: [a.test, localhost]
    routes:
      - { path: /, require: public }
      - { path: /pub, methods: [GET], require: public }
      - { path: \"/pub/{*rest}\", require: public }
      - { path: /admin, require: admin:items }
      - { path: \"/admin/{*rest}\", require: admin:items }
      - { path: \"/{id}/own\", methods: [GET, POST], require: public }
";

fn oracle() -> Snapshot {
    let api = TestApi::new(SigningAlg::RS256, TokenDialect::AccessToken);
    let routes = vec![
        public("/"),
        with_methods(public("/pub"), &["GET"]),
        public("/pub/{*rest}"),
        guarded("/admin", &["admin:items"]),
        guarded("/admin/{*rest}", &["admin:items"]),
        with_methods(public("/{id}/own"), &["GET", "POST"]),
    ];
    snapshot(vec![api_plan(api, &["a.test", "localhost"], routes)], None).unwrap()
}

/// A request head as bytes could say it.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    query: Option<String>,
    host: String,
    fields: Vec<(String, String)>,
}

fn paths() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => prop::sample::select(vec!["pub", "admin", "own", "a", "b.c", "x"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "", ".", "..", "%2e", "%2E%2e", "..;", ";", "a;b", "%61dmin", "adm%69n", "ADMIN", "%2f", "%5c", "\\", "%",
            "%zz", "%25", "%252e%252e", "%00", "%0a", "a%20b", "%C3%A9", "~", "@", ":", "*", "{id}", "pub%3B", "admin;x",
        ])
        .prop_map(str::to_owned),
        1 => "[a-zA-Z0-9%./;\\\\:@!$&'()*+,=_~-]{0,6}",
    ];
    prop::collection::vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn asked() -> impl Strategy<Value = Asked> {
    let method = prop_oneof![
        6 => Just("GET"), 2 => Just("POST"), 1 => Just("HEAD"), 1 => Just("OPTIONS"), 1 => Just("get"),
        1 => Just("TRACE"), 1 => Just("FROB"),
    ];
    let query = prop::option::of("[a-z0-9=&%/?.;:@+-]{0,12}");
    let host = prop_oneof![
        6 => Just("a.test"), 1 => Just("A.Test"), 1 => Just("a.test:80"), 1 => Just("a.test."), 1 => Just("b.test"),
        1 => Just("a.test@b.test"), 1 => Just(""), 1 => Just("a.test:x"), 1 => Just("a,b"), 1 => Just("[::1]"),
    ];
    let name = prop_oneof![
        6 => "[xX]-[a-zA-Z0-9]{1,6}",
        1 => Just("x_under".to_owned()),
        1 => Just("x-auth-subject".to_owned()),
        1 => Just("X-Forwarded-For".to_owned()),
        1 => Just("Accept".to_owned()),
        1 => Just("Cookie".to_owned()),
    ];
    let fields = prop::collection::vec((name, "[!-~]([ -~]{0,10}[!-~])?"), 0..4);
    (method, paths(), query, host, fields).prop_map(|(method, path, query, host, fields)| Asked {
        method: method.to_owned(),
        path,
        query,
        host: host.to_owned(),
        fields,
    })
}

impl Asked {
    fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method,
            self.target(),
            self.host
        );
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// The word of the pure core.
fn verdict(
    snapshot: &Snapshot,
    method: &str,
    path: &str,
    host: &str,
    fields: &[(String, String)],
) -> Option<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_bytes(value.as_bytes()).ok()?,
        );
    }
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let head = RequestHead {
        method: &method,
        authority: host,
        path,
        query: None,
        headers: &headers,
    };
    Some(match decide(&snapshot.table, head, &Untouched, 0) {
        Decision::Forward(permit) => permit.reason().name().to_owned(),
        Decision::Refuse(denial) => denial.reason.name().to_owned(),
    })
}

struct World {
    upstream: Upstream,
    gateway: Gateway,
    client: RefCell<Option<Client>>,
    _issuer: Issuer,
}

impl World {
    fn ask(&self, asked: &Asked) -> Response {
        let mut slot = self.client.borrow_mut();
        // What the library refuses by itself ends the connection.
        let mut client = slot.take().unwrap_or_else(|| self.gateway.client());
        client.send(asked.bytes());
        let response = client
            .try_response_to(&asked.method)
            .unwrap()
            .unwrap_or_else(|| panic!("no answer to {asked:?}"));
        let is_closed = response.head.all("connection").contains(&"close");
        if !is_closed {
            *slot = Some(client);
        }
        response
    }
}

fn check_forwarded(oracle: &Snapshot, asked: &Asked, seen: &Head) {
    let mut start = seen.start.split(' ');
    assert_eq!(start.next(), Some(asked.method.as_str()));
    let target = start.next().unwrap();
    assert_eq!(target, asked.target(), "byte for byte");
    assert_eq!(seen.field("host"), Some(asked.host.as_str()));
    let is_ours = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["host", "via", "x-request-id", "traceparent"].contains(&name.as_str())
            || name.starts_with("x-forwarded-")
    };
    let mut kept: Vec<(String, String)> = asked
        .fields
        .iter()
        .filter(|(name, _)| !is_ours(name) && !name.eq_ignore_ascii_case("x-auth-subject"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    let mut arrived: Vec<(String, String)> = seen
        .fields
        .iter()
        .filter(|(name, _)| !is_ours(name))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    kept.sort();
    arrived.sort();
    assert_eq!(kept, arrived);
    // Decided on again, it is the same request.
    let path = target.split('?').next().unwrap();
    let again = verdict(
        oracle,
        &asked.method,
        path,
        seen.field("host").unwrap(),
        &seen.fields,
    );
    assert_eq!(again.as_deref(), Some("public"));
}

fn check(world: &World, oracle: &Snapshot, asked: &Asked) {
    let before = world.upstream.requests();
    let response = world.ask(asked);
    let arrived = world.upstream.requests() - before;
    let word = verdict(oracle, &asked.method, &asked.path, &asked.host, &asked.fields).unwrap();
    let has_underscore = asked.fields.iter().any(|(name, _)| name.contains('_'));
    if word == "public" && !has_underscore {
        assert_eq!(
            (response.status, arrived),
            (200, 1),
            "{asked:?}: {}",
            response.text()
        );
        check_forwarded(oracle, asked, &world.upstream.last().head);
        return;
    }
    assert_eq!(
        arrived, 0,
        "{asked:?} reached the upstream, and {word} was decided"
    );
    assert!(response.status >= 400, "{asked:?}: {}", response.status);
    if response.body.is_empty() {
        // To HEAD, or by the library, which has no words.
        return;
    }
    let expected = if has_underscore {
        "bad_request"
    } else {
        word.as_str()
    };
    assert_eq!(response.json()["reason"], expected, "{asked:?}");
}

#[test]
fn what_is_decided_is_what_arrives() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let forward = "    forward: { identity_headers: { X-Auth-Subject: sub } }\n";
    let yaml = crate::harness::gateway::items(&issuer, &upstream, &format!("{forward}{YAML}"));
    let world = World {
        gateway: Gateway::start(&format!("workers: 1\n{yaml}")),
        upstream,
        client: RefCell::new(None),
        _issuer: issuer,
    };
    let oracle = oracle();
    assert!(
        oracle
            .table
            .routes()
            .iter()
            .all(|route| route.mode == Mode::Enforce)
    );
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    // The same cases in every run: a failure is one for everybody.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    runner
        .run(&asked(), |asked| {
            check(&world, &oracle, &asked);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let forwarded = world.upstream.requests();
    assert!(
        forwarded > CASES as usize / 20,
        "only {forwarded} requests were allowed"
    );
    assert_eq!(world.upstream.broken(), 0);
    world.gateway.until_idle();
}
