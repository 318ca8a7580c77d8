//! HTTP/2 frames that should not be, from `tests/corpus/http2.txt`: a stream error, a connection error, a refusal, or
//! exactly one request, forwarded as it was given. What arrived is looked at at the upstream.

use std::time::{Duration, Instant};

use crate::harness::corpus::{lines, unescape};
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, FrameClient, GOAWAY, HEADERS, PREFACE, RST_STREAM,
    WINDOW_UPDATE, block, frame, get,
};
use crate::harness::gateway::items;
use crate::harness::upstream::Seen;
use crate::harness::{Behaviour, DEADLINE, Gateway, Issuer, Upstream};

const ROUTES: &str = "    routes:
      - { path: \"/p/{*rest}\", require: public }
      - { path: /guarded, require: read:items }
";
const TIMEOUTS: &str = "timeouts: { first_byte: 2s, header: 2s, idle: 20s, body: 2s }\n";

#[derive(Debug, Default)]
struct Case {
    line: usize,
    name: String,
    expected: String,
    steps: Vec<String>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (line, text) in lines("http2.txt") {
        if let Some(name) = text.strip_prefix('[') {
            cases.push(Case {
                line,
                name: name.trim_end_matches(']').to_owned(),
                ..Case::default()
            });
            continue;
        }
        let case = cases.last_mut().unwrap();
        match text.strip_prefix("= ") {
            Some(expected) => expected.clone_into(&mut case.expected),
            None => case.steps.push(text),
        }
    }
    cases
}

/// The bytes of one line of a case.
#[track_caller]
fn bytes_of(step: &str) -> Vec<u8> {
    let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
    if let Some(count) = word.strip_suffix('x').and_then(|count| count.parse().ok()) {
        return bytes_of(rest).repeat(count);
    }
    let words: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| -> u32 { words[at].parse().unwrap_or_else(|_| panic!("{step}")) };
    match word {
        "bytes" => unescape(rest),
        "preface" => PREFACE.to_vec(),
        "headers" => frame(HEADERS, flags(words[1]), number(0), &fields(&words[2..])),
        "continuation" => frame(CONTINUATION, flags(words[1]), number(0), &fields(&words[2..])),
        "data" => frame(DATA, flags(words[1]), number(0), &unescape(words[2])),
        "frame" => {
            let hexadecimal = |text| u8::from_str_radix(text, 16).unwrap();
            let mut payload = hex(words[3]);
            if words.get(4) == Some(&"@") {
                payload.extend(fields(&words[5..]));
            }
            frame(hexadecimal(words[0]), hexadecimal(words[1]), number(2), &payload)
        }
        "burst" => (0..number(0))
            .flat_map(|n| {
                [
                    get(2 * n + 1, b"/p/a"),
                    frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]),
                ]
                .concat()
            })
            .collect(),
        "updates" => (0..number(0))
            .flat_map(|n| {
                let head = fields(
                    &":method=POST :scheme=http :authority=a.test :path=/p/a"
                        .split(' ')
                        .collect::<Vec<_>>(),
                );
                let head = frame(HEADERS, END_HEADERS, 2 * n + 1, &head);
                [head, frame(WINDOW_UPDATE, 0, 2 * n + 1, &hex(words[1]))].concat()
            })
            .collect(),
        "concurrent" => (0..number(0)).flat_map(|n| get(2 * n + 1, b"/p/a")).collect(),
        "bomb" => {
            let mut bomb = fields(
                &":method=GET :scheme=http :authority=a.test :path=/p/a"
                    .split(' ')
                    .collect::<Vec<_>>(),
            );
            let large = block(&[(b"x-a", &vec![b'b'; number(1).try_into().unwrap()])]);
            // A literal that enters the table, then references to it.
            bomb.push(0x40);
            bomb.extend(&large[1..]);
            bomb.extend(vec![0xbe; number(2).try_into().unwrap()]);
            frame(HEADERS, END_STREAM | END_HEADERS, number(0), &bomb)
        }
        _ => panic!("what is `{step}`?"),
    }
}

fn flags(text: &str) -> u8 {
    text.split('+')
        .map(|flag| match flag {
            "es" => END_STREAM,
            "eh" => END_HEADERS,
            _ => 0,
        })
        .sum()
}

fn hex(text: &str) -> Vec<u8> {
    let digits = String::from_utf8(unescape(text)).unwrap();
    let digits = digits.trim_matches('-');
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn fields(words: &[&str]) -> Vec<u8> {
    let fields: Vec<(Vec<u8>, Vec<u8>)> = words
        .iter()
        .map(|field| {
            // The first `=` that is not the beginning of the name.
            let (name, value) = field.split_once('=').unwrap_or_else(|| panic!("{field}"));
            (unescape(name), unescape(value))
        })
        .collect();
    let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    block(&fields)
}

/// What came of a case.
#[derive(Debug, Default)]
struct Outcome {
    statuses: Vec<u16>,
    resets: Vec<u32>,
    goaway: Option<u32>,
    is_closed: bool,
    seen: Vec<Seen>,
}

impl Outcome {
    fn note(&mut self, found: Option<Frame>) {
        match found {
            None => self.is_closed = true,
            // Trailers and answers of the HTTP/1.1 kind have no status of ours.
            Some(found) if found.kind == HEADERS => self.statuses.extend(found.status()),
            // After an answer, NO_ERROR only says that the rest of the body is not wanted.
            Some(found) if found.kind == RST_STREAM && found.code() != Some(0) => {
                self.resets.extend(found.code());
            }
            Some(found) if found.kind == GOAWAY && found.code() != Some(0) => self.goaway = found.code(),
            Some(_) => {}
        }
    }

    /// Whether so many ends have come as there are items, or nothing more can come.
    fn is_whole(&self, items: usize) -> bool {
        self.is_closed || self.goaway.is_some() || self.statuses.len() + self.resets.len() >= items
    }

    fn is(&self, expected: &str) -> bool {
        let mut statuses = self.statuses.iter();
        let mut seen = self.seen.iter();
        let mut may_break = false;
        for item in expected.split(" + ") {
            let mut words = item.splitn(3, ' ');
            let (first, second, body) = (words.next().unwrap(), words.next(), words.next());
            let is_so = match (first, second) {
                ("error", _) => {
                    may_break = true;
                    !self.resets.is_empty() || self.goaway.is_some()
                }
                ("goaway", code) => {
                    may_break = true;
                    self.goaway.is_some() && code.is_none_or(|code| code.parse().ok() == self.goaway)
                }
                ("closed", _) => {
                    may_break = true;
                    self.is_closed
                }
                ("none", _) => true,
                (status, None) => statuses.next().copied() == status.parse().ok(),
                (method, Some(path)) => {
                    statuses.next() == Some(&200)
                        && seen.next().is_some_and(|seen| {
                            seen.head.start == format!("{method} {path} HTTP/1.1")
                                && body.is_none_or(|body| seen.body == unescape(body))
                        })
                }
            };
            if !is_so {
                return false;
            }
        }
        let is_unbroken = self.resets.is_empty() && self.goaway.is_none();
        statuses.next().is_none() && seen.next().is_none() && (may_break || is_unbroken)
    }
}

struct World {
    upstream: Upstream,
    gateway: Gateway,
    _issuer: Issuer,
}

impl World {
    fn start() -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        Self {
            gateway: Gateway::start(&format!("{TIMEOUTS}{}", items(&issuer, &upstream, ROUTES))),
            upstream,
            _issuer: issuer,
        }
    }

    fn play(&self, case: &Case) -> (FrameClient, Outcome) {
        let address = self.gateway.http2_address();
        let is_bare = case.steps.first().is_some_and(|step| step == "bare");
        let mut client = if is_bare {
            FrameClient::bare(address)
        } else {
            FrameClient::connect(address)
        };
        let bytes: Vec<u8> = case.steps[usize::from(is_bare)..]
            .iter()
            .flat_map(|step| bytes_of(step))
            .collect();
        let before = self.upstream.requests();
        client.send(&bytes);
        let first = case.expected.split(" | ").next().unwrap();
        let items = match first {
            "none" | "ok" => 0,
            "goaway" | "closed" => usize::MAX,
            _ if first.starts_with("goaway") => usize::MAX,
            items => items.split(" + ").count(),
        };
        let mut outcome = Outcome::default();
        let end = Instant::now()
            + if first == "none" {
                Duration::from_millis(300)
            } else {
                DEADLINE / 2
            };
        while (first == "none" || !outcome.is_whole(items)) && Instant::now() < end && !outcome.is_closed {
            match client.next_of_interest(end.saturating_duration_since(Instant::now())) {
                Ok(found) => outcome.note(found),
                Err(_) => break,
            }
        }
        outcome.seen = self.upstream.seen().split_off(before);
        (client, outcome)
    }

    fn is_as_expected(&self, case: &Case, client: &mut FrameClient, outcome: &Outcome) -> bool {
        let is_ok = |client: &mut FrameClient| {
            client.send(&get(1_001, b"/p/after"));
            let answer = client.next_of_interest(DEADLINE);
            matches!(answer, Ok(Some(answer)) if answer.status() == Some(200))
        };
        case.expected.split(" | ").any(|expected| match expected {
            "ok" => outcome.goaway.is_none() && outcome.resets.is_empty() && is_ok(client),
            expected => outcome.is(expected),
        })
    }
}

#[test]
fn every_sequence_of_frames_has_its_outcome() {
    let world = World::start();
    let (cases, crowds): (Vec<Case>, Vec<Case>) =
        cases().into_iter().partition(|case| case.expected != "refused");
    assert!(cases.len() >= 60 && crowds.len() == 1, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let (mut client, outcome) = world.play(case);
        if !world.is_as_expected(case, &mut client, &outcome) {
            let seen: Vec<_> = outcome.seen.iter().map(|seen| &seen.head.start).collect();
            wrong.push(format!(
                "line {}: {}: expected {}: {:?} reset {:?} goaway {:?} closed {} upstream {seen:?}",
                case.line,
                case.name,
                case.expected,
                outcome.statuses,
                outcome.resets,
                outcome.goaway,
                outcome.is_closed
            ));
        }
        for seen in &outcome.seen {
            assert_canonical(&case.name, seen);
        }
        assert_eq!(world.upstream.broken(), 0, "{}", case.name);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    world.gateway.until_idle();
}

/// More streams than are allowed at once: those beyond are told so and may come again; the others are served.
#[test]
fn streams_beyond_the_limit_are_refused_and_the_others_served() {
    let world = World::start();
    let case = cases()
        .into_iter()
        .find(|case| case.expected == "refused")
        .unwrap();
    let slow = Duration::from_millis(300);
    world
        .upstream
        .behave(Behaviour::Delay(slow, Box::new(Behaviour::Echo)));
    let mut client = FrameClient::connect(world.gateway.http2_address());
    client.send(&bytes_of(&case.steps[0]));
    let mut outcome = Outcome::default();
    while outcome.statuses.len() + outcome.resets.len() < 150 {
        outcome.note(client.next_of_interest(DEADLINE).unwrap());
        assert!(!outcome.is_closed && outcome.goaway.is_none(), "{outcome:?}");
    }
    assert_eq!(outcome.statuses, vec![200; 100]);
    // REFUSED_STREAM.
    assert_eq!(outcome.resets, vec![7; 50]);
    assert_eq!(world.upstream.requests(), 100);
}

fn assert_canonical(name: &str, seen: &Seen) {
    let text: String = seen.head.bytes.iter().map(|&byte| char::from(byte)).collect();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "{name}");
    assert_eq!(text.matches('\r').count(), text.matches("\r\n").count(), "{name}");
    let framings = seen.head.all("content-length").len() + seen.head.all("transfer-encoding").len();
    assert!(framings < 2, "{name}: {:?}", seen.head.fields);
    assert_eq!(seen.field("host"), Some("a.test"), "{name}");
    assert!(seen.head.all("cookie").len() < 2, "{name}");
    for gone in ["http2-settings", "proxy", "upgrade", "x-auth-subject"] {
        assert_eq!(seen.field(gone), None, "{name}");
    }
    assert!(
        seen.trailers.is_empty() || name == "trailers after a body",
        "{name}"
    );
}
