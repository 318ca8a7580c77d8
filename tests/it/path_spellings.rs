//! No spelling of a guarded path reaches the upstream without a token, whichever protocol carries it: the list in
//! `tests/corpus/paths.txt`, sent as it stands, byte for byte.

use crate::harness::corpus::{lines, unescape};
use crate::harness::frames::{FrameClient, HEADERS, get};
use crate::harness::gateway::{ITEMS, items};
use crate::harness::{DEADLINE, Gateway, Issuer, Upstream};

/// The sibling and the rest are public, as an operator would have it who wants one prefix guarded.
const ROUTES: &str = "    routes:
      - { path: /admin, require: admin:items }
      - { path: \"/admin/{*rest}\", require: admin:items }
      - { path: \"/public/{*rest}\", require: public }
      - { path: \"/{*rest}\", require: public }
";

struct World {
    upstream: Upstream,
    gateway: Gateway,
    issuer: Issuer,
}

impl World {
    fn start() -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        Self {
            gateway: Gateway::start(&items(&issuer, &upstream, ROUTES)),
            upstream,
            issuer,
        }
    }

    fn http1(&self, path: &[u8]) -> Option<u16> {
        let mut client = self.gateway.client();
        client.send([b"GET ", path, b" HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat());
        let response = client.try_response_to("GET").unwrap();
        response.map(|response| response.status)
    }

    /// The status, or `None` for a stream or a connection that was broken off.
    fn http2(&self, path: &[u8]) -> Option<u16> {
        let mut client = FrameClient::connect(self.gateway.http2_address());
        client.send(&get(1, path));
        let frame = client.next_of_interest(DEADLINE).unwrap()?;
        (frame.kind == HEADERS).then(|| frame.status().unwrap())
    }
}

fn spellings() -> Vec<(usize, String, Vec<u8>)> {
    let all: Vec<_> = lines("paths.txt")
        .into_iter()
        .map(|(line, text)| {
            let (_, path) = text.split_once('\t').expect("a source, a tab and a path");
            (line, path.to_owned(), unescape(path))
        })
        .collect();
    let mut different: Vec<&Vec<u8>> = all.iter().map(|(_, _, path)| path).collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), all.len(), "a path that is there twice");
    assert!(all.len() >= 300, "{}", all.len());
    all
}

fn none_gets_through(ask: impl Fn(&World, &[u8]) -> Option<u16>) {
    let world = World::start();
    let mut through = Vec::new();
    for (line, path, bytes) in spellings() {
        let before = world.upstream.requests();
        let status = ask(&world, &bytes);
        if !matches!(status, None | Some(400 | 401)) || world.upstream.requests() > before {
            through.push((line, path, status));
        }
    }
    assert!(through.is_empty(), "{through:#?}");
    assert_eq!((world.upstream.requests(), world.upstream.broken()), (0, 0));
    // The same world lets pass what it should: nothing above was refused for another reason.
    for path in [
        "/",
        "/public/",
        "/public/a/b",
        "/administrator",
        "/x/admin",
        "/public/%C3%A9?x=/../admin",
    ] {
        assert_eq!(ask(&world, path.as_bytes()), Some(200), "{path}");
    }
    assert_eq!(world.upstream.requests(), 6);
}

#[test]
fn no_spelling_gets_through_by_http1() {
    none_gets_through(World::http1);
}

#[test]
fn no_spelling_gets_through_by_http2() {
    none_gets_through(World::http2);
}

/// Each of them is refused for itself, or is the guarded path for everybody: with a token that opens it, what arrives at
/// the upstream is what was sent.
#[test]
fn with_a_token_what_arrives_is_what_was_sent() {
    let world = World::start();
    let token = world.issuer.token(ITEMS, "admin:items");
    let mut arrived = 0;
    for (line, path, bytes) in spellings() {
        let before = world.upstream.requests();
        let mut client = world.gateway.client();
        client.send(
            [
                b"GET ",
                bytes.as_slice(),
                b" HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer ",
            ]
            .concat(),
        );
        client.send(format!("{token}\r\n\r\n"));
        let status = client.response().status;
        if status == 200 {
            assert_eq!(world.upstream.last().target(), path, "line {line}");
            arrived += 1;
        } else {
            assert_eq!(status, 400, "line {line}: {path}");
            assert_eq!(world.upstream.requests(), before, "line {line}: {path}");
        }
    }
    assert!(arrived > 10, "{arrived}");
}
