//! Bytes that could be read in two ways, from `tests/corpus/http1.txt`: each is refused, or forwarded as exactly one
//! request that can be read in one way only. What arrived is looked at byte by byte at the upstream.

use std::io;
use std::time::Duration;

use crate::harness::corpus::{lines, unescape};
use crate::harness::gateway::items;
use crate::harness::http1::Response;
use crate::harness::upstream::Seen;
use crate::harness::{Client, Gateway, Issuer, Upstream, eventually};

const ROUTES: &str = "    routes:
      - { path: /, require: public }
      - { path: \"/p/{*rest}\", require: public }
      - { path: /guarded, require: read:items }
";
/// Short, since a few of the messages never end.
const TIMEOUTS: &str = "timeouts: { first_byte: 1s, header: 1s, idle: 2s, body: 1s }\n";

/// What must come of one request of a message.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Refused(u16),
    Forwarded { start: String, body: Option<Vec<u8>> },
    Closed,
    Broken,
}

struct Case {
    line: usize,
    name: String,
    /// One of these sequences.
    expected: Vec<Vec<Item>>,
    bytes: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let case = |(line, text): (usize, String)| {
        let mut columns = text.split('\t');
        let mut column = || {
            columns
                .next()
                .unwrap_or_else(|| panic!("line {line}: three columns"))
        };
        let (name, expected, bytes) = (column(), column(), column());
        Case {
            line,
            name: name.to_owned(),
            expected: expected
                .split(" | ")
                .map(|sequence| sequence.split(" + ").map(item).collect())
                .collect(),
            bytes: unescape(bytes),
        }
    };
    lines("http1.txt").into_iter().map(case).collect()
}

fn item(text: &str) -> Item {
    match text {
        "closed" => return Item::Closed,
        "broken" => return Item::Broken,
        _ => {}
    }
    if let Ok(status) = text.parse() {
        return Item::Refused(status);
    }
    let mut words = text.splitn(3, ' ').map(unescape);
    let mut word = || String::from_utf8(words.next().unwrap()).unwrap();
    Item::Forwarded {
        start: format!("{} {} HTTP/1.1", word(), word()),
        body: words.next(),
    }
}

/// What came of a message.
#[derive(Debug)]
struct Outcome {
    responses: Vec<Response>,
    /// The connection broke within a response.
    is_torn: bool,
    /// Bytes after the last response.
    rest: Vec<u8>,
    seen: Vec<Seen>,
}

fn send(gateway: &Gateway, upstream: &Upstream, case: &Case) -> Outcome {
    let before = upstream.requests();
    let mut client = gateway.client();
    client.send(&case.bytes);
    let mut outcome = Outcome {
        responses: Vec::new(),
        is_torn: false,
        rest: Vec::new(),
        seen: Vec::new(),
    };
    let longest = case.expected.iter().map(Vec::len).max().unwrap_or_default();
    while outcome.responses.len() < longest {
        let number = outcome.responses.len();
        let is_head = case.expected[0]
            .get(number)
            .is_some_and(|item| matches!(item, Item::Forwarded { start, .. } if start.starts_with("HEAD")));
        match client.try_response_to(if is_head { "HEAD" } else { "GET" }) {
            Ok(Some(response)) => outcome.responses.push(response),
            Ok(None) => break,
            // What we had still to send was not wanted any more.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(_) => {
                outcome.is_torn = true;
                break;
            }
        }
    }
    client.finish();
    outcome.rest = client.rest();
    outcome.seen = upstream.seen().split_off(before);
    outcome
}

impl Outcome {
    fn is(&self, expected: &[Item]) -> bool {
        let responses = expected
            .iter()
            .filter(|item| matches!(item, Item::Refused(_) | Item::Forwarded { .. }))
            .count();
        if expected.contains(&Item::Broken) {
            let is_refused = |response: &Response| response.status >= 400;
            return self.seen.is_empty()
                && self.rest.is_empty()
                && self.responses.len() < 2
                && self.responses.iter().all(is_refused);
        }
        if self.is_torn || !self.rest.is_empty() || self.responses.len() != responses {
            return false;
        }
        let mut seen = self.seen.iter();
        let mut responses = self.responses.iter();
        let is_as_expected = expected.iter().all(|item| match item {
            Item::Refused(status) => responses
                .next()
                .is_some_and(|response| response.status == *status),
            Item::Forwarded { start, body } => {
                responses.next().is_some_and(|response| response.status == 200)
                    && seen.next().is_some_and(|seen| {
                        seen.head.start == *start && body.as_ref().is_none_or(|body| seen.body == *body)
                    })
            }
            Item::Closed | Item::Broken => true,
        });
        is_as_expected && seen.next().is_none()
    }
}

#[test]
fn every_message_has_its_outcome() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&format!("{TIMEOUTS}{}", items(&issuer, &upstream, ROUTES)));
    let cases = cases();
    assert!(cases.len() >= 120, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let outcome = send(&gateway, &upstream, case);
        if !case.expected.iter().any(|expected| outcome.is(expected)) {
            wrong.push(format!(
                "line {}: {}: {}",
                case.line,
                case.name,
                summary(&outcome)
            ));
        }
        for seen in &outcome.seen {
            assert_canonical(&case.name, seen);
        }
        assert_eq!(upstream.broken(), 0, "line {}: {}", case.line, case.name);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // What was odd has left nothing behind: neither in flight, nor in a connection to the upstream.
    gateway.until_idle();
    for _ in 0..4 {
        let mut client = gateway.client();
        assert_eq!(client.get("/p/a", &[("host", "a.test")]).json()["body"], "");
    }
}

fn summary(outcome: &Outcome) -> String {
    let statuses: Vec<u16> = outcome.responses.iter().map(|response| response.status).collect();
    let seen: Vec<String> = outcome
        .seen
        .iter()
        .map(|seen| {
            format!(
                "{:.60} {:?}",
                seen.head.start,
                String::from_utf8_lossy(&seen.body)
            )
        })
        .collect();
    let rest: String = String::from_utf8_lossy(&outcome.rest).chars().take(60).collect();
    format!(
        "{statuses:?} torn {} rest {rest:?} upstream {seen:?}",
        outcome.is_torn
    )
}

/// One framing at most, the one host, CR LF line ends, no folding, no control bytes, nothing that is ours to say.
fn assert_canonical(name: &str, seen: &Seen) {
    let text: String = seen.head.bytes.iter().map(|&byte| char::from(byte)).collect();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "{name}");
    assert_eq!(text.matches('\r').count(), text.matches("\r\n").count(), "{name}");
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    assert_eq!(lines.next().unwrap().split(' ').count(), 3, "{name}");
    for line in lines {
        let (field, value) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("{name}: {line:?}"));
        assert!(
            field
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "{name}: {line:?}"
        );
        assert!(
            !value.contains(|byte| byte < ' ' || byte == '\x7f'),
            "{name}: {line:?}"
        );
    }
    let framings = seen.head.all("content-length").len() + seen.head.all("transfer-encoding").len();
    assert!(framings < 2, "{name}: {:?}", seen.head.fields);
    assert!(seen.field("host").is_some_and(|host| !host.is_empty()), "{name}");
    for gone in [
        "upgrade",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "x-auth-subject",
    ] {
        assert_eq!(seen.field(gone), None, "{name}");
    }
    assert_eq!(seen.trailers, [], "{name}");
}

/// What hyper refuses by itself has no line in the access log; it shows in a metric of its own.
#[test]
fn what_is_no_request_is_counted() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&format!("{TIMEOUTS}{}", items(&issuer, &upstream, ROUTES)));
    let count = |kind: &str| {
        gateway
            .metrics()
            .value("scopegate_connection_errors_total", &[("kind", kind)])
    };
    let long = format!(
        "GET /p/a HTTP/1.1\r\nHost: a.test\r\nX-A: {}\r\n\r\n",
        "b".repeat(100_000)
    );
    for (kind, bytes, is_finished) in [
        ("silent", &b""[..], false),
        ("slow_head", b"GET /p/a HT", false),
        ("malformed", b"GET /p/a HTTP/1.1\r\nHost : a.test\r\n\r\n", false),
        ("too_large", long.as_bytes(), false),
        ("incomplete", b"GET /p/a HTTP/1.1\r\nHost: a.te", true),
    ] {
        assert_eq!(count(kind), 0.0, "{kind}");
        let mut client: Client = gateway.client();
        client.send(bytes);
        if is_finished {
            client.finish();
        }
        eventually(kind, || count(kind) == 1.0);
    }
    assert_eq!(count("broken"), 0.0);
    // A client that goes when it likes is no fault of anybody's.
    let mut client = gateway.client();
    assert_eq!(client.get("/p/a", &[]).status, 200);
    drop(client);
    assert!(Client::connect(gateway.address()).is_closed_within(Duration::from_secs(10)));
    eventually("the second silent one", || count("silent") == 2.0);
}
