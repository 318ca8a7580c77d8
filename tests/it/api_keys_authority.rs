//! API keys against the authority itself: what is registered and granted there lets its holder in, and what is taken
//! back there does so no longer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::following::Manager;
use super::harness::http1::Response;
use super::harness::{Gateway, RunningAuthority, Upstream, eventually};

struct World {
    manager: Manager,
    upstream: Upstream,
    gateway: Gateway,
    app: (String, String),
    grant: String,
    _authority: RunningAuthority,
}

impl World {
    fn start(options: &str) -> Self {
        let (authority, upstream) = (RunningAuthority::start(), Upstream::start());
        let manager = Manager::elsewhere(&authority);
        let (id, secret, grant) = manager.furnish_app();
        let issuer = &authority.issuer;
        let yaml = format!(
            "issuers: [{{ issuer: '{issuer}' }}]
definitions: {{ issuer: '{issuer}', client_id: {}, client_secret: 'file:secret' }}
apis:
  - definition: {{ follow: 'urn:items' }}
    upstream: {}
    api_keys: {{ {options} }}
    routes: [{{ path: /items, require: read:items }}]
",
            authority.client_id,
            upstream.url()
        );
        let gateway = Gateway::start_with(&yaml, &[("secret", authority.client_secret.as_str())]);
        Self {
            manager,
            upstream,
            gateway,
            app: (id, secret),
            grant,
            _authority: authority,
        }
    }

    fn ask(&self, id: &str, secret: &str) -> Response {
        let value = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        self.gateway.client().get("/items", &[("authorization", &value)])
    }

    fn status(&self) -> u16 {
        self.ask(&self.app.0, &self.app.1).status
    }

    #[track_caller]
    fn refused(&self, id: &str, secret: &str, status: u16, reason: &str) {
        let before = self.upstream.requests();
        let response = self.ask(id, secret);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (status, &json!(reason))
        );
        assert_eq!(self.upstream.requests(), before);
    }
}

#[test]
fn an_application_of_the_authority_is_let_in_by_its_credentials() {
    let world = World::start("ttl: 1h");
    let (id, secret) = (&world.app.0, &world.app.1);
    assert_eq!(world.status(), 200);
    let seen = world.upstream.last();
    let token = seen
        .field("authorization")
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap();
    assert_eq!(token.split('.').count(), 3);
    assert!(!String::from_utf8_lossy(&seen.head.bytes).contains(secret.as_str()));
    world.refused(id, "wrong", 401, "bad_api_key");
    world.refused("nobody", secret, 401, "bad_api_key");
    let other = world.manager.call(
        "POST",
        "/clients",
        &json!({ "name": "other", "app_type": "non_interactive", "grant_types": ["client_credentials"] }),
    );
    let text = |name: &str| other[name].as_str().unwrap().to_owned();
    world.refused(
        &text("client_id"),
        &text("client_secret"),
        403,
        "api_key_not_granted",
    );

    // The API loses the permission: at once, whatever was exchanged for how long.
    world.manager.set_scopes(&[]);
    eventually("the permission to be gone", || world.status() == 403);
    world.refused(id, secret, 403, "insufficient_scope");
}

#[test]
fn what_is_taken_back_ends_with_the_time_that_was_configured() {
    let world = World::start("ttl: 1s, negative_ttl: 1s");
    let (id, secret) = (&world.app.0, &world.app.1);
    assert_eq!(world.status(), 200);
    let rotated = world
        .manager
        .call("POST", &format!("/clients/{id}/rotate-secret"), &json!({}));
    let new = rotated["client_secret"].as_str().unwrap();
    eventually("the old secret to be refused", || world.status() == 401);
    world.refused(id, secret, 401, "bad_api_key");
    assert_eq!(world.ask(id, new).status, 200);
    world
        .manager
        .call("DELETE", &format!("/client-grants/{}", world.grant), &Value::Null);
    eventually("the grant to be gone", || world.ask(id, new).status == 403);
    world.refused(id, new, 403, "api_key_not_granted");
}

#[test]
fn a_flood_of_wrong_keys_does_not_use_up_what_the_authority_gives_the_gateway() {
    let world = World::start("negative_ttl: 1m");
    let statuses: Vec<u16> = (0..150)
        .map(|number| world.ask(&format!("client-{number}"), "wrong").status)
        .collect();
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 429)),
        "{statuses:?}"
    );
    let reached = statuses.iter().filter(|status| **status == 401).count();
    assert!((20..100).contains(&reached), "{reached}");
    assert_eq!(world.upstream.requests(), 0);
    // The address of the gateway is as good as before there: its next key is exchanged as soon as it may be tried.
    eventually("the key to be tried", || {
        std::thread::park_timeout(Duration::from_millis(100));
        world.status() == 200
    });
}
