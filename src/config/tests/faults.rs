//! What is wrong with each part of a file, in the words in which it is told.

use super::*;

#[test]
fn six_faults_are_six_lines() {
    let config = format!(
        "listeners:\n  - address: localhost:8080\n    tsl: {{}}\nissuers:\n  - issuer: '{ISSUER}'\n    jwsk: {{}}\napis:\n  - definition: items.json\n    upstream: http://127.0.0.1:3000\n    leeway: 10\n    routes:\n      - {{path: /a, require: read:item}}\n      - {{path: '/b/{{x}}', methods: [get], require: authenticated}}\n"
    );
    assert_eq!(
        Memory::with(&config).load().unwrap_err().to_string(),
        "etc/gate.yaml:2:14: `address` cannot be `localhost:8080` (write 127.0.0.1:8080)\n\
         etc/gate.yaml:3:5: unknown key `tsl` (known here: address, http2, proxy_protocol, tls)\n\
         etc/gate.yaml:6:5: unknown key `jwsk` (did you mean `jwks`?)\n\
         etc/gate.yaml:10:13: `leeway` must be a duration, not a whole number \
         (a whole number with ms, s, m, h or d, such as 15m)\n\
         etc/gate.yaml:12:29: `read:item` is not a permission of `urn:items` (did you mean `read:items`?)\n\
         etc/gate.yaml:13:36: no client sends the method `get` (did you mean `GET`?)"
    );
}

#[test]
fn faults_at_the_top() {
    bad_top("limit: {}", "unknown key `limit` (did you mean `limits`?)");
    bad_top("admin: on", "`admin` cannot be `on` (one of: off)");
    bad_top("admin: {address: 127.0.0.1:8080}", "collide");
    bad_top("workers: 0", "`workers` is 0; it must be 1 to 1024");
    bad_top("workers: two", "`workers` must be a whole number, not text");
    bad_top("workers:", "`workers` must be a whole number, not nothing");
    bad_top("limits: {headers: 201}", "`headers` is 201; it must be 1 to 200");
    bad_top(
        "limits: {header_bytes: 65KiB}",
        "`header_bytes` is 65KiB; it must be 1KiB to 64KiB",
    );
    bad_top(
        "limits: {header_bytes: 8KiB, token_bytes: 9KiB}",
        "`token_bytes` is more than `header_bytes`",
    );
    bad_top(
        "limits: {body_bytes: 10MB}",
        "`body_bytes` must be a size, not `10MB` (a whole number with B, KiB",
    );
    bad_top("limits: {body_bytes: 0B}", "`body_bytes` is 0B");
    bad_top("limits: []", "`limits` must be a mapping, not a list");
    bad_top(
        "timeouts: {header: 61s}",
        "`header` is 61s; it must be 10ms to 1m",
    );
    bad_top("timeouts: {idle: 0s}", "`idle` is 0s");
    bad_top("access_log: {output: ''}", "`output` must not be empty");
    bad_top(
        "access_log: {identities: hash}",
        "`identities` cannot be `hash` (did you mean `hashed`?)",
    );
    bad_top(
        "token_cache: {entries: -1}",
        "`entries` is -1; that is out of range",
    );
    let missing = Memory::with("{}").faults();
    let keys = ["listeners", "issuers", "apis"];
    assert_eq!(missing.len(), 3);
    assert!(
        keys.iter()
            .all(|key| missing.contains(&format!("etc/gate.yaml:1:1: `{key}` is missing")))
    );
    assert_eq!(Memory::with("").faults().len(), 1);
    assert_eq!(
        Memory::default().faults(),
        ["etc/gate.yaml: cannot read etc/gate.yaml: there is no such file"]
    );
    let huge = Memory::default().file("etc/gate.yaml", vec![b'#'; (4 << 20) + 1]);
    assert_eq!(
        huge.faults(),
        ["etc/gate.yaml: etc/gate.yaml is larger than 4MiB"]
    );
    assert_eq!(
        Memory::default().file("etc/gate.yaml", [0xff]).faults(),
        ["etc/gate.yaml: etc/gate.yaml is not UTF-8"]
    );
}

#[test]
fn faults_of_listeners() {
    let with = |listeners: &str| {
        let config = one_api("", &[ROUTE]).replace("[{address: 127.0.0.1:8080}]", listeners);
        Memory::with(&config).faults()
    };
    assert!(with("[]")[0].contains("`listeners` must not be empty"));
    assert!(with("[{}]")[0].contains("`address` is missing"));
    assert!(with("[{address: 0.0.0.0:80}, {address: 127.0.0.1:80}]")[0].contains("already taken"));
    assert!(
        with("[{address: 127.0.0.1:80, http2: yes}]")[0].contains("`http2` must be true or false, not text")
    );
    assert!(with("[{address: 127.0.0.1:9901}]")[0].contains("collide"));
    assert!(with("[{address: 0.0.0.0:3000}]")[0].contains("round in circles"));
}

#[test]
fn faults_of_issuers() {
    let with = |issuers: &str| {
        let config = one_api("", &[ROUTE]).replace(&format!("[{{issuer: '{ISSUER}'}}]"), issuers);
        let faults = Memory::with(&config)
            .file("etc/keys.json", "{\"keys\": []}")
            .faults();
        assert_eq!(faults.len(), 1, "{faults:#?}");
        faults.concat()
    };
    for (issuers, fault) in [
        (
            "[{issuer: tenant.eu.auth0.com}]",
            "`issuer` must begin with https:// or http://",
        ),
        (
            "[{issuer: 'http://tenant.eu.auth0.com/'}]",
            "`issuer` must begin with https:// (whoever",
        ),
        ("[{issuer: 'https://a/?b'}]", "`issuer` must not have a query"),
        (
            "[{issuer: 'https://a/'}, {issuer: 'https://a/'}]",
            "issuer `https://a/` is already named at etc/gate.yaml:2:20",
        ),
        (
            "[{issuer: 'https://a/', jwks_uri: 'http://a/b'}]",
            "`jwks_uri` must begin with https://",
        ),
        (
            "[{issuer: 'https://a/', jwks_uri: 'https://a/b', jwks_inline: {keys: [{kty: RSA}]}}]",
            "only one of",
        ),
        (
            "[{issuer: 'https://a/', jwks_file: none.json}]",
            "cannot read etc/none.json",
        ),
        (
            "[{issuer: 'https://a/', jwks_file: keys.json}]",
            "etc/keys.json:1:1: a key set is",
        ),
        (
            "[{issuer: 'https://a/', jwks_inline: {keys: [{kty: oct, k: hush}]}}]",
            "symmetric key",
        ),
        (
            "[{issuer: 'https://a/', jwks: {ttl: 2h}}]",
            "`ttl` is 2h; it must be 1s to 1h",
        ),
        (
            "[{issuer: 'https://a/', jwks: {ttl: 10m, max_stale: 1m}}]",
            "`max_stale` must not be less than `ttl`",
        ),
        (
            "[{issuer: 'https://a/', jwks: {ca: items.json}}]",
            "items.json is not a file of PEM certificates",
        ),
    ] {
        let found = with(issuers);
        assert!(found.contains(fault), "{issuers}: {found}");
    }
    let allowed = "[{issuer: 'http://idp.internal/', jwks: {allow_http: true}}]";
    let config = one_api("", &[ROUTE]).replace(&format!("[{{issuer: '{ISSUER}'}}]"), allowed);
    assert!(Memory::with(&config).load().is_ok());
    let many: String = (0..65).map(|n| format!("{{issuer: 'https://i{n}/'}},")).collect();
    assert!(with(&format!("[{many}]")).contains("there are 65 issuers; the most is 64"));
}

#[test]
fn faults_of_apis() {
    bad_api(
        "issuers: ['https://tenant.eu.auth0.com']",
        "did you mean `https://tenant.eu.auth0.com/`?",
    );
    bad_api("issuers: []", "`issuers` must not be empty");
    bad_api("hosts: ['*.example.com']", "wildcard");
    bad_api("hosts: [a.example, A.example]", "`a.example` is twice in `hosts`");
    bad_api(
        "public_url: items.example.com",
        "`public_url` must begin with https:// or http://",
    );
    bad_api(
        "mode: enforced",
        "`mode` cannot be `enforced` (did you mean `enforce`?)",
    );
    bad_api("leeway: 6m", "`leeway` is 6m; it must be 0s to 5m");
    bad_api("max_age: 0s", "`max_age` is 0s");
    bad_api(
        "openapi: openapi.yaml",
        "`openapi` is not supported by this version",
    );
    bad_api("decryption_keys: []", "`decryption_keys` must not be empty");
    bad_api("decryption_keys: [a]", "`decryption_keys` must refer to a secret");
    bad_api(
        "accept_unencrypted: true",
        "`accept_unencrypted` is only for APIs with `decryption_keys`",
    );
    bad_api("forward: {token: drop}", "`token` cannot be `drop`");
    for header in [
        "Authorization",
        "Host",
        "content-length",
        "Connection",
        "X-Forwarded-For",
        "Cookie",
        "TE",
    ] {
        bad_api(
            &format!("forward: {{identity_headers: {{{header}: sub}}}}"),
            "has a meaning of its own",
        );
    }
    bad_api(
        "forward: {identity_headers: {X_Sub: sub}}",
        "must not contain `_`",
    );
    bad_api(
        "forward: {identity_headers: {X-Sub: sub, x-sub: sub}}",
        "is there twice",
    );
    bad_api(
        "forward: {identity_headers: {'X Sub': sub}}",
        "is not a header name",
    );
    bad_api(
        "forward: {identity_headers: {X-Sub: ''}}",
        "`X-Sub` must not be empty",
    );
    for (upstream, fault) in [
        ("ftp://items", "must begin with https:// or http://"),
        ("http://items/api", "must not have a path"),
        ("items:3000", "(http://host:port, https://host:port or unix:PATH)"),
        ("http://127.0.0.1:9901", "is the admin listener"),
        ("http://localhost:8080", "round in circles"),
        ("{servers: [http://a, http://a:80]}", "is twice in `servers`"),
        (
            "{servers: [http://a], tls: {}}",
            "`tls` is of use with https:// servers only",
        ),
        ("{server: [http://a]}", "`servers` is missing"),
        (
            "[http://a]",
            "`upstream` must be an address or a mapping, not a list",
        ),
    ] {
        let config = one_api("", &[ROUTE]).replace("http://127.0.0.1:3000", upstream);
        let faults = Memory::with(&config).faults();
        assert!(
            faults.iter().any(|found| found.contains(fault)),
            "{upstream}: {faults:#?}"
        );
    }
}

#[test]
fn faults_of_routes() {
    bad_route("{path: items, require: public}", "`path` cannot be `items`");
    bad_route("{path: /a}", "`require` is missing");
    bad_route("{path: /a, require: publik}", "did you mean `public`?");
    bad_route(
        "{path: /a, require: [public]}",
        "`public` is not a permission of `urn:items`",
    );
    bad_route(
        "{path: /a, require: {}}",
        "the rule has no condition (write `authenticated`",
    );
    bad_route("{path: /a, require: []}", "`require` must not be empty");
    bad_route(
        "{path: /a, require: true}",
        "`require` must be a word, a list or a mapping",
    );
    bad_route(
        "{path: /a, require: {all: [read:items]}}",
        "did you mean `all_of`?",
    );
    bad_route("{path: /a, require: {claims: {}}}", "the rule has no condition");
    bad_route(
        "{path: /a, require: {claims: {n: 1.5}}}",
        "`n` must be text, a whole number, or true or false",
    );
    bad_route("{path: /a, require: {claims: {n: []}}}", "`n` must not be empty");
    bad_route("{path: /a, require: {step_up: {}}}", "`step_up` has no condition");
    bad_route(
        "{path: /a, require: {step_up: {machines: include}}}",
        "`step_up` has no condition",
    );
    bad_route(
        "{path: /a, require: {step_up: {acr: [gold], match: any}}}",
        "`match: any` needs both `methods` and `acr`",
    );
    bad_route(
        "{path: /a, require: {step_up: require_2FA}}",
        "did you mean `require_2fa`?",
    );
    bad_route(
        "{path: /a, require: {step_up: 15}}",
        "`step_up` must be a word or a mapping",
    );
    bad_route(
        "{path: /a, require: [read:items, read:items]}",
        "`read:items` is twice in `require`",
    );
    bad_route(
        "{path: /a, require: public, methods: [CONNECT]}",
        "method CONNECT is never forwarded",
    );
    bad_route(
        "{path: /a, require: public, methods: [trace]}",
        "method TRACE is never forwarded",
    );
    bad_route(
        "{path: /a, require: public, methods: [GET, GET]}",
        "`GET` is twice in `methods`",
    );
    bad_route(
        "{path: /a, require: public, methods: ['G T']}",
        "`G T` is not a method",
    );
    bad_route(
        "{path: /a, require: public, allow: [encoded_slashes]}",
        "did you mean `encoded_slash`?",
    );
    bad_route(
        "{path: /a, require: public, upgrade: [h2c]}",
        "cannot be `h2c` (one of: websocket)",
    );
    bad_route("{path: /a, require: public, max_body: 0B}", "`max_body` is 0B");
    bad_route(
        "{path: /items, require: public}",
        "`/items` is already routed at etc/gate.yaml:7:16",
    );
}

#[test]
fn what_is_not_yaml_shows_no_value() {
    for value in [
        "*hush",
        "!hush hush",
        "&hush",
        "@hush",
        "`hush",
        "%hush",
        "'hush",
        "\"hush",
        "{hush",
        "[hush",
        "|hush",
        "!!int hush",
        "!!binary hush",
        "\"\\hush\"",
    ] {
        let faults = Memory::with(&one_api(&format!("signing_secret: {value}"), &[ROUTE]))
            .load()
            .unwrap_err();
        assert!(!faults.to_string().contains("hush"), "{faults}");
    }
}

#[test]
fn a_file_at_fault_is_watched() {
    let faults = Memory::with(&one_api("", &[ROUTE]).replace("items.json", "none.json"))
        .load()
        .unwrap_err();
    assert_eq!(
        faults.files(),
        [PathBuf::from("etc/gate.yaml"), PathBuf::from("etc/none.json")]
    );
}
