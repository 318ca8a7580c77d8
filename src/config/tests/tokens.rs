//! Where tokens come from: every place in its form, and what no token can stand in.

use serde_json::json;

use super::*;

fn from(places: &str) -> String {
    format!("tokens: {{from: {places}}}")
}

#[track_caller]
fn bad_place(place: &str, fault: &str) {
    bad_api(&from(&format!("[{place}]")), fault);
}

#[test]
fn every_place_is_read_and_shown() {
    let places = "[authorization, {header: X-Access-Token}, {header: x-auth, scheme: Token}, {cookie: sid}, \
                  {cookie: __Host-s, origins: ['https://app.example.com', 'http://localhost:3000']}, \
                  {websocket_protocol: bearer}, {websocket_prefix: b64., encoding: base64url}, {query: access_token}]";
    let settings = Memory::with(&one_api(&from(places), &[ROUTE])).load().unwrap();
    assert_eq!(
        redacted(&settings)["apis"][0]["tokens"]["from"],
        json!([
            "authorization",
            {"header": "x-access-token", "scheme": null},
            {"header": "x-auth", "scheme": "Token"},
            {"cookie": "sid", "origins": []},
            {"cookie": "__Host-s", "origins": ["https://app.example.com", "http://localhost:3000"]},
            {"websocket_protocol": "bearer"},
            {"websocket_prefix": "b64.", "encoding": "base64url"},
            {"query": "access_token"},
        ])
    );
    let settings = Memory::with(&one_api("", &[ROUTE])).load().unwrap();
    assert_eq!(
        redacted(&settings)["apis"][0]["tokens"]["from"],
        json!(["authorization"])
    );
}

#[test]
fn what_is_no_place() {
    let faults = Memory::with(&one_api(&from("[{header: Cookie}]"), &[ROUTE])).faults();
    assert_eq!(
        faults,
        ["etc/gate.yaml:6:30: header `Cookie` carries more than a token (write `cookie: NAME`)"]
    );
    bad_api("tokens: {}", "`from` is missing");
    bad_api("tokens: {from: []}", "`from` must not be empty");
    bad_api("tokens: {from: cookie}", "`from` must be a list, not text");
    bad_api(
        "tokens: {from: [authorization], place: query}",
        "unknown key `place`",
    );
    bad_place("authorisation", "did you mean `authorization`?");
    bad_place("7", "`from` must be `authorization` or a mapping");
    bad_place("{}", "a place of tokens is exactly one of these");
    bad_place(
        "{header: X-A, cookie: sid}",
        "a place of tokens is exactly one of these",
    );
    for (alone, fault) in [
        ("scheme: Token", "`scheme` belongs to `header`"),
        ("origins: ['https://a']", "`origins` belongs to `cookie`"),
        ("encoding: plain", "`encoding` belongs to `websocket_prefix`"),
    ] {
        let faults = Memory::with(&one_api(&from(&format!("[{{{alone}}}]")), &[ROUTE])).faults();
        assert!(faults.iter().any(|found| found.contains(fault)), "{faults:?}");
    }
    bad_place("{body: access_token}", "unknown key `body`");
    bad_place("authorization, authorization", "this place is twice in `from`");
    bad_place(
        "{header: X-A}, {header: x-a, scheme: T}",
        "this place is twice in `from`",
    );
    bad_place(
        "{cookie: a}, {cookie: a, origins: ['https://a']}",
        "this place is twice in `from`",
    );
    let nine: Vec<_> = (0..9).map(|number| format!("{{cookie: c{number}}}")).collect();
    bad_place(&nine.join(", "), "`from` has more than 8 places");
    for (header, fault) in [
        ("Authorization", "(write `authorization` in place of the mapping)"),
        ("X_Token", "must not contain `_`"),
        ("X Token", "is not a header name"),
        ("Connection", "has a meaning of its own"),
        ("Proxy-Authorization", "has a meaning of its own"),
        ("Transfer-Encoding", "has a meaning of its own"),
        ("Host", "has a meaning of its own"),
        ("DPoP", "has a meaning of its own"),
        ("X-Forwarded-Access-Token", "has a meaning of its own"),
        ("Sec-WebSocket-Protocol", "has a meaning of its own"),
        ("Client-Cert", "has a meaning of its own"),
        ("X-Original-URL", "has a meaning of its own"),
        ("Referer", "has a meaning of its own"),
    ] {
        bad_place(&format!("{{header: {header}}}"), fault);
    }
    bad_api(
        "forward: {identity_headers: {X-Sub: sub}}\ntokens: {from: [{header: x-sub}]}",
        "header `x-sub` is an identity header, which no client can send",
    );
    bad_place(
        "{header: X-A, scheme: DPoP}",
        "`DPoP` cannot be the scheme of another header",
    );
    bad_place(
        "{header: X-A, scheme: 'a b'}",
        "`a b` cannot be the scheme of another header",
    );
    bad_place("{cookie: sid, scheme: Token}", "`scheme` belongs to `header`");
    bad_place(
        "{header: X-A, origins: ['https://a']}",
        "`origins` belongs to `cookie`",
    );
    bad_place(
        "{websocket_protocol: a, encoding: plain}",
        "`encoding` belongs to `websocket_prefix`",
    );
    bad_place(
        "{websocket_prefix: a, encoding: base64}",
        "did you mean `base64url`?",
    );
    for (place, name) in [
        ("cookie", "a;b"),
        ("cookie", "a=b"),
        ("websocket_protocol", "a,b"),
        ("websocket_prefix", "a b"),
        ("query", "a&b"),
        ("query", "a[]"),
        ("query", "a%20"),
    ] {
        bad_place(
            &format!("{{{place}: '{name}'}}"),
            &format!("`{place}` cannot be `{name}`"),
        );
    }
    for origin in ["app.example.com", "https://a/b", "https://a/", "https://a?b"] {
        bad_place(
            &format!("{{cookie: sid, origins: ['{origin}']}}"),
            &format!("origin `{origin}` must"),
        );
    }
}
