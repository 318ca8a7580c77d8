//! Tokens from elsewhere than `Authorization`: each place is taken where it is configured and nowhere else, the token
//! goes no further than it must, and a cookie does not speak for another site.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::client::head;
use crate::harness::gateway::{Folder, ITEMS, decisions, run};
use crate::harness::http1::Response;
use crate::harness::{Behaviour, Gateway, Http2Client, Issuer, Upstream};

const ALL: &str = "[authorization, { header: X-Access-Token }, { header: X-Auth, scheme: Token }, \
                   { cookie: sid, origins: ['https://app.example.com'] }, { websocket_protocol: bearer }, \
                   { websocket_prefix: 'base64url.bearer.authorization.k8s.io.', encoding: base64url }, \
                   { query: access_token }]";
const OWN: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

fn yaml(issuer: &Issuer, upstream: &Upstream, from: &str, lines: &str) -> String {
    let (issuer, upstream) = (issuer.identifier(), upstream.url());
    format!(
        "issuers:
  - issuer: {issuer}
apis:
  - definition: {{ identifier: {ITEMS}, signing_alg: RS256, scopes: [{{ value: read:items }}] }}
    upstream: {upstream}
    tokens: {{ from: {from} }}
{lines}    routes:
      - {{ path: /items, require: read:items }}
      - {{ path: /chat, methods: [GET], require: read:items, upgrade: [websocket] }}
      - {{ path: /open, require: public }}
      - {{ path: /report, require: read:items, mode: report }}
"
    )
}

impl World {
    fn start(from: &str, lines: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let gateway = Gateway::start(&yaml(&issuer, &upstream, from, lines));
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn token(&self) -> String {
        self.issuer.token(ITEMS, "read:items")
    }

    fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
        self.gateway.client().request(method, target, fields, b"")
    }

    #[track_caller]
    fn passes(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
        let response = self.ask(method, target, fields);
        assert_eq!(response.status, 200, "{target} {fields:?} {}", response.text());
        response
    }

    #[track_caller]
    fn refused(&self, method: &str, target: &str, fields: &[(&str, &str)], status: u16, reason: &str) {
        let before = self.upstream.requests();
        let counted = decisions(
            &self.gateway.metrics(),
            &[("reason", reason), ("decision", "deny")],
        );
        let response = self.ask(method, target, fields);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (status, &json!(reason)),
            "{method} {target} {fields:?}"
        );
        assert_eq!(self.upstream.requests(), before, "{method} {target} {fields:?}");
        let labels = [("reason", reason), ("decision", "deny")];
        assert_eq!(decisions(&self.gateway.metrics(), &labels), counted + 1.0);
    }
}

/// Every place of [`ALL`], with the token in it: the target, and a header field.
fn places(token: &str) -> Vec<(String, Option<(&'static str, String)>)> {
    let at = |name, value: String| ("/items".to_owned(), Some((name, value)));
    vec![
        at("authorization", format!("Bearer {token}")),
        at("x-access-token", token.to_owned()),
        at("x-auth", format!("token {token}")),
        at("cookie", format!("a=1; sid={token}; b=2")),
        at("sec-websocket-protocol", format!("chat, bearer, {token}")),
        at(
            "sec-websocket-protocol",
            format!(
                "base64url.bearer.authorization.k8s.io.{}, v5",
                URL_SAFE_NO_PAD.encode(token)
            ),
        ),
        (format!("/items?a=1&access_token={token}&b=2"), None),
    ]
}

fn fields<'a>(field: &'a Option<(&'static str, String)>) -> Vec<(&'a str, &'a str)> {
    field
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[test]
fn each_place_is_taken_where_it_is_configured() {
    let world = World::start(ALL, "");
    let token = world.token();
    for (target, field) in places(&token) {
        let fields = fields(&field);
        let response = world.passes("GET", &target, &fields);
        let expected = match fields.first() {
            Some(("authorization", _)) => None,
            _ => Some("private"),
        };
        assert_eq!(response.field("cache-control"), expected, "{fields:?}");
    }
    assert_eq!(world.upstream.requests(), 7);
    world.refused("GET", "/items", &[], 401, "missing_token");
    let spoiled = format!("{token}A");
    for (target, field) in places(&spoiled) {
        world.refused("GET", &target, &fields(&field), 401, "bad_signature");
    }
    for (target, field) in places("a b") {
        let target = target.replace(' ', "%20");
        // In base64url it is one word, and no token inside.
        world.refused("GET", &target, &fields(&field), 400, "malformed_authorization");
    }
    // Where only `Authorization` is configured nothing else is looked at.
    let plain = World::start("[authorization]", "");
    let token = plain.token();
    for (target, field) in places(&token).into_iter().skip(1) {
        plain.refused("GET", &target, &fields(&field), 401, "missing_token");
    }
}

#[test]
fn two_tokens_are_refused() {
    let world = World::start(ALL, "");
    let token = world.token();
    let places = places(&token);
    for (first, (target, one)) in places.iter().enumerate() {
        for (other_target, other) in places.iter().skip(first + 1) {
            let target = if target == "/items" { other_target } else { target };
            let fields: Vec<_> = fields(one).into_iter().chain(fields(other)).collect();
            world.refused("GET", target, &fields, 400, "multiple_tokens");
        }
    }
    let twice = |value: &str| value.replace("TOKEN", &token);
    for (target, fields) in [
        ("/items", vec![("cookie", twice("sid=TOKEN; sid=TOKEN"))]),
        (
            "/items",
            vec![("cookie", twice("sid=TOKEN")), ("cookie", twice("sid=x"))],
        ),
        ("/items", vec![("cookie", twice("SID=x; sid=TOKEN"))]),
        ("/items", vec![("cookie", twice("x=\"sid=y\"; sid=TOKEN"))]),
        (
            "/items",
            vec![
                ("x-access-token", token.clone()),
                ("x-access-token", token.clone()),
            ],
        ),
        (
            "/items",
            vec![("sec-websocket-protocol", twice("bearer, TOKEN, bearer, TOKEN"))],
        ),
        ("/items?access_token=TOKEN&access_token=TOKEN", vec![]),
        ("/items?access_token=TOKEN&access_token[]=x", vec![]),
        ("/items?access_token=TOKEN&Access_Token=x", vec![]),
        ("/items?a=1;access_token=x&access_token=TOKEN", vec![]),
    ] {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        world.refused("GET", &twice(target), &fields, 400, "multiple_tokens");
    }
    // A field of its own has nothing else in it.
    world.refused(
        "GET",
        "/items",
        &[("x-auth", "Basic eA==")],
        400,
        "malformed_authorization",
    );
    // Of another scheme, `Authorization` is no token, and is none of our business.
    let basic = [
        ("authorization", "Basic eDp5"),
        ("x-access-token", token.as_str()),
    ];
    world.passes("GET", "/items", &basic);
    assert_eq!(world.upstream.last().field("authorization"), Some("Basic eDp5"));
}

#[test]
fn a_token_goes_no_further_than_it_must() {
    for strip in [false, true] {
        let lines = if strip {
            "    forward: { token: strip }\n"
        } else {
            ""
        };
        let world = World::start(ALL, lines);
        let token = world.token();
        let bearer = format!("Bearer {token}");
        for (index, (target, field)) in places(&token).into_iter().enumerate() {
            world.passes("GET", &target, &fields(&field));
            let seen = world.upstream.last();
            let kept = |value: Option<&str>| value.filter(|_| !strip).map(str::to_owned);
            let got = |name: &str| seen.field(name).map(str::to_owned);
            // Out of the query and of the sub-protocols it comes as `Authorization`.
            let authorization = [0, 4, 5, 6].contains(&index).then_some(bearer.as_str());
            assert_eq!(got("authorization"), kept(authorization), "{index}");
            let own = format!("token {token}");
            let cookie = if strip {
                "a=1; b=2".to_owned()
            } else {
                format!("a=1; sid={token}; b=2")
            };
            assert_eq!(
                got("x-access-token"),
                kept((index == 1).then_some(token.as_str()))
            );
            assert_eq!(got("x-auth"), kept((index == 2).then_some(own.as_str())));
            assert_eq!(got("cookie"), (index == 3).then_some(cookie));
            let protocols = match index {
                4 => Some("chat".to_owned()),
                5 => Some("v5".to_owned()),
                _ => None,
            };
            assert_eq!(got("sec-websocket-protocol"), protocols);
            let target = if index == 6 { "/items?a=1&b=2" } else { "/items" };
            assert_eq!(seen.target(), target);
            if strip {
                assert!(!format!("{:?}", seen.head).contains(&token), "{index}");
            }
        }
        // The only cookie, the only parameter.
        let cookie = format!("sid={token}");
        world.passes("GET", "/items", &[("cookie", &cookie)]);
        assert_eq!(world.upstream.last().field("cookie").is_some(), !strip);
        world.passes("GET", &format!("/items?access_token={token}"), &[]);
        assert_eq!(world.upstream.last().target(), "/items");
    }
}

#[test]
fn a_token_in_the_query_is_seen_by_nobody() {
    let world = World::start("[{ query: access_token }]", "");
    let token = world.token();
    let secret = token.split('.').next_back().unwrap();
    let target = format!("/items?a=%20&%61ccess_token={token}");
    let referer = format!("https://items.example.com/x?access_token={token}&page=2");
    let unverified = [
        ("authorization", "Bearer of-nobody"),
        ("referer", referer.as_str()),
    ];
    let response = world.passes("GET", &target, &unverified);
    let seen = world.upstream.last();
    assert_eq!(seen.target(), "/items?a=%20");
    assert_eq!(seen.field("referer"), Some("https://items.example.com/x?page=2"));
    // What nobody has verified does not go on beside what was.
    assert_eq!(
        seen.field("authorization"),
        Some(format!("Bearer {token}").as_str())
    );
    assert_eq!(response.field("cache-control"), Some("private"));
    for (said, expected) in [
        ("public, max-age=60", vec!["public, max-age=60", "private"]),
        ("Private, max-age=5", vec!["Private, max-age=5"]),
        ("no-store", vec!["no-store"]),
    ] {
        let answer = vec![("cache-control", said.to_owned())];
        world.upstream.next(Behaviour::Respond(200, answer, Vec::new()));
        let response = world.passes("GET", &target, &[]);
        let got = response.head.all("cache-control");
        assert_eq!(got, expected);
    }
    // Over HTTP/2 it is the same.
    let mut client = Http2Client::connect(world.gateway.http2_address());
    let response = client.request("GET", &target, &[], b"").unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["cache-control"], "private");
    assert_eq!(world.upstream.last().target(), "/items?a=%20");
    // Nor does it go on where it was refused, or not looked at.
    world.passes("GET", &format!("/open?access_token={token}&b"), &[]);
    assert_eq!(world.upstream.last().target(), "/open?b");
    assert_eq!(world.upstream.last().field("authorization"), None);
    world.passes(
        "GET",
        &format!("/report?access_token={token}&Access_Token={token}"),
        &[],
    );
    assert_eq!(world.upstream.last().target(), "/report");
    world.refused(
        "GET",
        &format!("{target}&access_token=x"),
        &[],
        400,
        "multiple_tokens",
    );
    let refused = world.ask("GET", &format!("{target}x"), &[]);
    assert!(!refused.text().contains(secret) && refused.status == 401);
    world.upstream.next(Behaviour::Close);
    let failed = world.ask("GET", &target, &[]);
    assert!(!failed.text().contains(secret) && failed.status == 502);
    world.gateway.until_idle();
    let scraped = crate::harness::client::get(world.gateway.admin(), "/metrics", &[]);
    assert!(!scraped.text().contains(secret));
    let logged = std::fs::read_to_string(world.gateway.folder.path("access.log")).unwrap();
    assert!(
        logged.lines().count() >= 8 && !logged.contains(secret),
        "{logged}"
    );
}

#[test]
fn a_websocket_is_opened_with_a_sub_protocol() {
    let world = World::start(ALL, "");
    world.upstream.behave(Behaviour::Upgrade("websocket"));
    let token = world.token();
    let open = |protocols: &str, more: &[(&str, &str)]| {
        let mut fields = vec![
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", protocols),
        ];
        fields.extend(more);
        let mut client = world.gateway.client();
        client.send(head("GET", "/chat", &fields, None));
        let response = client.response();
        assert_eq!(response.status, 101, "{}", response.text());
        client.send([0x82, 0x81, 0, 0, 0, 0, b'x']);
        assert!(!client.some_bytes().is_empty());
        response
    };
    // The upstream chose none: the client offered what is no secret, and a browser wants an answer.
    let response = open(&format!("bearer, {token}"), &[]);
    assert_eq!(response.field("sec-websocket-protocol"), Some("bearer"));
    let seen = world.upstream.last();
    assert_eq!(seen.field("sec-websocket-protocol"), None);
    assert_eq!(
        seen.field("authorization"),
        Some(format!("Bearer {token}").as_str())
    );
    let encoded = URL_SAFE_NO_PAD.encode(&token);
    let response = open(
        &format!("v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}"),
        &[],
    );
    assert_eq!(response.field("sec-websocket-protocol"), None);
    let seen = world.upstream.last();
    assert_eq!(seen.field("sec-websocket-protocol"), Some("v5.channel.k8s.io"));
    // What the upstream chooses stays.
    let chosen = "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-protocol: chat\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nyes";
    world.upstream.next(Behaviour::Raw(chosen.into()));
    let response = open(&format!("bearer, {token}, chat"), &[]);
    assert_eq!(response.field("sec-websocket-protocol"), Some("chat"));
    // A cookie opens one only for our own pages.
    let cookie = format!("sid={token}");
    open(
        "chat",
        &[("cookie", &cookie), ("origin", "https://app.example.com")],
    );
    let cookie = ("cookie", cookie.as_str());
    for foreign in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let handshake = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            cookie,
            foreign,
        ];
        world.refused("GET", "/chat", &handshake, 403, "cross_site");
    }
}

#[test]
fn a_cookie_does_not_speak_for_another_site() {
    let world = World::start(ALL, "    public_url: https://items.example.com/v1\n");
    let cookie = format!("sid={}", world.token());
    let with = |more: &[(&'static str, &'static str)]| {
        let mut fields = vec![("cookie", cookie.clone())];
        fields.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        fields
    };
    let own: [&[(&str, &str)]; 8] = [
        &[],
        &OWN,
        &[("sec-fetch-site", "none")],
        &[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://items.example.com"),
        ],
        &[("origin", "https://items.example.com")],
        &[("origin", "https://ITEMS.example.com")],
        &[("origin", "https://app.example.com")],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://app.example.com"),
        ],
    ];
    let foreign: [&[(&str, &str)]; 10] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "Same-Origin")],
        &[
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://items.example.com"),
        ],
        &[("origin", "https://evil.example")],
        &[("origin", "http://items.example.com")],
        &[("origin", "https://items.example.com:8443")],
        &[("origin", "null")],
        &[
            ("origin", "https://items.example.com"),
            ("origin", "https://evil.example"),
        ],
    ];
    fn borrowed<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
        fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect()
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE"] {
        for more in own {
            world.passes(method, "/items", &borrowed(&with(more)));
        }
        for more in foreign {
            world.refused(method, "/items", &borrowed(&with(more)), 403, "cross_site");
        }
    }
    // What changes nothing may be asked for from anywhere: nobody else can read the answer.
    for method in ["GET", "HEAD", "OPTIONS"] {
        let fields = with(foreign[0]);
        assert_eq!(
            world.ask(method, "/items", &borrowed(&fields)).status,
            200,
            "{method}"
        );
    }
    // Whoever can send a header is no foreign page.
    let bearer = format!("Bearer {}", world.token());
    world.passes(
        "POST",
        "/items",
        &[("authorization", &bearer), ("sec-fetch-site", "cross-site")],
    );
    // Without a public address, the host that was asked for counts.
    let world = World::start("[{ cookie: sid }]", "");
    let cookie = format!("sid={}", world.token());
    for (host, origin, is_own) in [
        ("a.test", "http://a.test", true),
        ("a.test:80", "http://a.test", true),
        ("a.test:8080", "http://a.test:8080", true),
        ("a.test", "https://A.test", true),
        ("a.test", "http://b.test", false),
        ("a.test:8080", "http://a.test", false),
        ("a.test", "http://a.test:8080", false),
    ] {
        let fields = [("host", host), ("origin", origin), ("cookie", cookie.as_str())];
        if is_own {
            world.passes("POST", "/items", &fields);
        } else {
            world.refused("POST", "/items", &fields, 403, "cross_site");
        }
    }
}

#[test]
fn metadata_and_challenges_and_explain_follow() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let lines = "    public_url: https://items.example.com\n";
    for (from, methods) in [
        ("[authorization]", json!(["header"])),
        (
            "[authorization, { query: access_token }]",
            json!(["header", "query"]),
        ),
        ("[{ query: token }, { cookie: sid }]", json!([])),
    ] {
        let gateway = Gateway::start(&yaml(&issuer, &upstream, from, lines));
        let said = gateway
            .client()
            .get("/.well-known/oauth-protected-resource", &[])
            .json();
        assert_eq!(said["bearer_methods_supported"], methods, "{from}");
    }
    let claims = json!({"scope": "read:items"}).to_string();
    let token = "of-nobody";
    for (from, asked, reason) in [
        ("[{ query: access_token }]", "GET /items", "ok"),
        ("[{ query: access_token }]", "GET /items?a=1", "ok"),
        ("[{ header: X-Access-Token }]", "GET /items", "ok"),
        ("[{ cookie: sid }]", "POST /items", "ok"),
        ("[{ websocket_protocol: bearer }]", "GET /items", "ok"),
        (
            "[{ websocket_prefix: b64., encoding: base64url }]",
            "GET /items",
            "ok",
        ),
        (
            "[{ query: access_token }]",
            "GET /items?access_token=of-nobody",
            "multiple_tokens",
        ),
    ] {
        let folder = Folder::new(&yaml(&issuer, &upstream, from, ""), &[]);
        let config = folder.config().to_str().unwrap().to_owned();
        let arguments = [
            "explain", "--config", &config, "--output", "json", asked, "--claims", "-",
        ];
        let output = run(&arguments, &claims);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["reason"], reason, "{from} {asked} {told}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains(token));
    }
    let folder = Folder::new(&yaml(&issuer, &upstream, "[{ cookie: sid }]", ""), &[]);
    let config = folder.config().to_str().unwrap().to_owned();
    let arguments = [
        "explain",
        "--config",
        &config,
        "POST /items",
        "--claims",
        "-",
        "-H",
        "Sec-Fetch-Site: cross-site",
    ];
    let output = run(&arguments, &claims);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(told.contains("FAIL  same site"), "{told}");
}
