//! Protected-resource metadata (RFC 9728): what an API says of itself, where, and that challenges name it.

use serde_json::{Value, json};

use crate::harness::gateway::decisions;
use crate::harness::http1::Response;
use crate::harness::{Gateway, Issuer, Upstream};

const ROOT: &str = "/.well-known/oauth-protected-resource";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    /// `apis` is a list of definition, further lines, and routes.
    fn start(apis: &[(&str, &str, &str)]) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let (issuer_url, upstream_url) = (issuer.identifier(), upstream.url());
        let mut yaml = format!("issuers:\n  - issuer: {issuer_url}\napis:\n");
        for (definition, lines, routes) in apis {
            yaml.push_str(&format!(
                "  - definition: {definition}\n    upstream: {upstream_url}\n"
            ));
            for line in lines.lines() {
                yaml.push_str(&format!("    {line}\n"));
            }
            yaml.push_str(&format!("    routes: {routes}\n"));
        }
        let gateway = Gateway::start(&yaml);
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn ask(&self, method: &str, target: &str, host: &str) -> Response {
        self.gateway
            .client()
            .request(method, target, &[("host", host)], b"")
    }
}

fn challenge(response: &Response) -> &str {
    response.field("www-authenticate").unwrap_or_default()
}

const ITEMS: &str = "{ identifier: 'https://items.example.com/mcp', name: Items, signing_alg: RS256, scopes: [{ value: read:items }, { value: write:items }] }";
const ROUTES: &str = "[{ path: '/mcp', require: read:items }, { path: '/{*rest}', require: authenticated }]";

#[test]
fn an_api_says_what_a_client_needs() {
    let world = World::start(&[(ITEMS, "public_url: https://items.example.com/", ROUTES)]);
    let expected = json!({
        "resource": "https://items.example.com/mcp",
        "authorization_servers": [world.issuer.identifier()],
        "scopes_supported": ["read:items", "write:items"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Items",
    });
    let own = format!("{ROOT}/mcp");
    for target in [own.as_str(), &format!("{own}?x=1"), ROOT] {
        let response = world.ask("GET", target, "items.example.com");
        assert_eq!(
            (response.status, response.json()),
            (200, expected.clone()),
            "{target}"
        );
        assert_eq!(response.field("content-type"), Some("application/json"));
        assert_eq!(response.field("cache-control"), Some("public, max-age=300"));
        assert_eq!(response.field("access-control-allow-origin"), Some("*"));
    }
    let mut client = world.gateway.client();
    client.send(format!("HEAD {own} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
    let head = client.response_to("HEAD");
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some(expected.to_string().len().to_string().as_str()))
    );
    assert_eq!(client.get(&own, &[]).status, 200, "the connection goes on");
    let post = world.ask("POST", &own, "items.example.com");
    assert_eq!((post.status, post.field("allow")), (405, Some("GET, HEAD")));
    // Beside it, the routes of the API count.
    assert_eq!(world.ask("GET", &format!("{own}/x"), "a.test").status, 401);
    assert_eq!(world.upstream.requests(), 0, "nobody else was asked");
    let labels = [
        ("route", own.as_str()),
        ("reason", "public"),
        ("decision", "allow"),
    ];
    assert_eq!(decisions(&world.gateway.metrics(), &labels), 4.0);
}

#[test]
fn every_challenge_names_it() {
    let world = World::start(&[(ITEMS, "public_url: https://items.example.com", ROUTES)]);
    let named = r#"realm="https://items.example.com/mcp", resource_metadata="https://items.example.com/.well-known/oauth-protected-resource/mcp""#;
    let bearer = |token: String| format!("Bearer {token}");
    for (authorization, status) in [
        (None, 401),
        (Some("Bearer a b".to_owned()), 400),
        (Some("Bearer nonsense".to_owned()), 401),
        (
            Some(bearer(
                world.issuer.token("https://items.example.com/mcp", "write:items"),
            )),
            403,
        ),
    ] {
        let fields: Vec<(&str, &str)> = authorization
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        let response = world.gateway.client().get("/mcp", &fields);
        assert_eq!(response.status, status);
        let challenge = challenge(&response);
        assert!(challenge.starts_with(&format!("Bearer {named}")), "{challenge}");
    }
}

#[test]
fn each_host_has_its_own_and_what_is_bound_is_said() {
    let of = |proof: &str| {
        format!(
            "{{ identifier: 'urn:{}', signing_alg: RS256, proof_of_possession: {proof} }}",
            proof.len()
        )
    };
    let dpop = of("{ mechanism: dpop, required: true }");
    let optional = of("{ mechanism: dpop, required: false }");
    let mtls = of("{ mechanism: mtls, required: true }");
    let public = "[{ path: /a, require: authenticated }]";
    let world = World::start(&[
        (&dpop, "hosts: [dpop.test]\npublic_url: https://dpop.test", public),
        (
            &optional,
            "hosts: [optional.test]\npublic_url: https://optional.test/v1/",
            public,
        ),
        (&mtls, "hosts: [mtls.test]\npublic_url: https://mtls.test", public),
        (
            "{ identifier: 'https://none.test', signing_alg: RS256 }",
            "hosts: [none.test]",
            public,
        ),
    ]);
    let get = |target: &str, host: &str| world.ask("GET", target, host);
    let algs = json!(["ES256", "ES384", "EdDSA", "PS256", "RS256"]);
    let of = |host: &str, members: Value| {
        let mut document = get(ROOT, host).json();
        assert_eq!(
            document["resource"].as_str().unwrap().split('/').nth(2),
            Some(host)
        );
        let document = document.as_object_mut().unwrap();
        for common in ["resource", "authorization_servers", "bearer_methods_supported"] {
            assert!(document.remove(common).is_some(), "{common}");
        }
        assert_eq!(Value::Object(document.clone()), members, "{host}");
    };
    of(
        "dpop.test",
        json!({"dpop_signing_alg_values_supported": algs, "dpop_bound_access_tokens_required": true}),
    );
    of(
        "optional.test",
        json!({"dpop_signing_alg_values_supported": algs}),
    );
    of(
        "mtls.test",
        json!({"tls_client_certificate_bound_access_tokens": true}),
    );
    // Without a public address there is nothing to say it under.
    assert_eq!(get(ROOT, "none.test").status, 404);
    assert!(!challenge(&get("/a", "none.test")).contains("resource_metadata"));
    // The path of a public address stands behind the well-known one.
    let document = get(&format!("{ROOT}/v1"), "optional.test").json();
    assert_eq!(document["resource"], "https://optional.test/v1");
    assert_eq!(get(&format!("{ROOT}/v1"), "dpop.test").status, 404);
    let named = r#"DPoP realm="urn:35", resource_metadata="https://dpop.test/.well-known/oauth-protected-resource", algs="#;
    let nobody = get("/a", "dpop.test");
    assert!(challenge(&nobody).starts_with(named), "{}", challenge(&nobody));
}

#[test]
fn a_route_of_the_api_at_that_path_goes_first() {
    let routes = format!("[{{ path: {ROOT}, require: authenticated }}, {{ path: /a, require: public }}]");
    let world = World::start(&[(
        "{ identifier: 'urn:items', signing_alg: RS256 }",
        "public_url: https://items.example.com",
        &routes,
    )]);
    assert_eq!(world.ask("GET", ROOT, "a.test").status, 401);
    let token = format!("Bearer {}", world.issuer.token("urn:items", ""));
    let response = world
        .gateway
        .client()
        .get(ROOT, &[("authorization", token.as_str())]);
    assert_eq!(response.status, 200);
    assert_eq!(world.upstream.last().target(), ROOT);
}

#[test]
fn two_apis_of_one_host_have_one_each() {
    let api = |name: &str| format!("{{ identifier: 'https://a.test/{name}', signing_alg: RS256 }}");
    let (one, two) = (api("one"), api("two"));
    let world = World::start(&[
        (
            &one,
            "public_url: https://a.test",
            "[{ path: /one, require: authenticated }]",
        ),
        (
            &two,
            "public_url: https://a.test",
            "[{ path: /two, require: authenticated }]",
        ),
    ]);
    for name in ["one", "two"] {
        let document = world.ask("GET", &format!("{ROOT}/{name}"), "a.test").json();
        assert_eq!(document["resource"], format!("https://a.test/{name}"));
    }
    assert_eq!(
        world.ask("GET", ROOT, "a.test").json()["resource"],
        "https://a.test/one"
    );
}
