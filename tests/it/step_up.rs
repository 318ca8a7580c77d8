//! Step-up authentication through the front door (RFC 9470): who authenticated recently and strongly enough passes,
//! whoever did not is told what to ask for and never reaches the upstream.

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::{Value, json};

use crate::harness::gateway::{Folder, ITEMS, decisions, run};
use crate::harness::http1::Response;
use crate::harness::issuer::{Draft, now};
use crate::harness::{Gateway, Issuer, Upstream, eventually};

const MULTI_FACTOR: &str = "http://schemas.openid.net/pape/policies/2007/06/multi-factor";
const ROUTES: &str = "    step_up: require_2fa
    routes:
      - { path: /open, require: public }
      - { path: /items, require: read:items }
      - { path: /any, require: authenticated }
      - { path: /off, require: { all_of: [read:items], step_up: off } }
      - { path: /own, require: { step_up: { within: 5m } } }
      - { path: /gold, require: { step_up: { methods: [mfa], acr: [gold, silver] } } }
      - { path: /either, require: { step_up: { methods: [pin, hwk], acr: [gold], match: any } } }
      - { path: /machines, require: { step_up: { within: 15m, machines: include } } }
      - { path: /soon, require: { step_up: { within: 2s } } }
      - { path: /report, require: authenticated, mode: report }
";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    dialect: TokenDialect,
}

fn yaml(issuer: &Issuer, upstream: &Upstream, dialect: &str) -> String {
    let (issuer, upstream) = (issuer.identifier(), upstream.url());
    format!(
        "issuers:
  - issuer: {issuer}
apis:
  - definition:
      identifier: {ITEMS}
      signing_alg: RS256
      token_dialect: {dialect}
      scopes: [{{ value: read:items }}]
    upstream: {upstream}
{ROUTES}"
    )
}

impl World {
    fn start() -> Self {
        Self::of("access_token", TokenDialect::AccessToken)
    }

    fn of(name: &str, dialect: TokenDialect) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let gateway = Gateway::start(&yaml(&issuer, &upstream, name));
        Self {
            issuer,
            upstream,
            gateway,
            dialect,
        }
    }

    fn draft(&self) -> Draft {
        let draft = self.issuer.draft(SigningAlg::RS256, self.dialect, ITEMS);
        draft.claim("scope", "read:items")
    }

    /// With these members; `null` takes one away.
    fn token(&self, members: &Value) -> String {
        let mut draft = self.draft();
        for (name, value) in members.as_object().unwrap() {
            draft = match value {
                Value::Null => draft.without(name),
                value => draft.claim(name, value.clone()),
            };
        }
        self.issuer.sign(&draft)
    }

    fn ask(&self, path: &str, token: &str) -> Response {
        let bearer = format!("Bearer {token}");
        self.gateway.client().get(path, &[("authorization", &bearer)])
    }

    #[track_caller]
    fn passes(&self, path: &str, members: &Value) {
        let token = self.token(members);
        // The second time it comes from the cache.
        for _ in 0..2 {
            let response = self.ask(path, &token);
            assert_eq!(response.status, 200, "{path} {members} {}", response.text());
        }
    }

    #[track_caller]
    fn refused(&self, path: &str, members: &Value, reason: &str) -> Response {
        let token = self.token(members);
        let before = self.upstream.requests();
        let labels = [("reason", reason), ("decision", "deny"), ("route", path)];
        let counted = decisions(&self.gateway.metrics(), &labels);
        let mut last = None;
        for _ in 0..2 {
            let response = self.ask(path, &token);
            assert_eq!(
                (response.status, &response.json()["reason"]),
                (401, &json!(reason)),
                "{path} {members}"
            );
            last = Some(response);
        }
        assert_eq!(self.upstream.requests(), before, "{path} {members}");
        assert_eq!(decisions(&self.gateway.metrics(), &labels), counted + 2.0);
        last.unwrap()
    }
}

fn challenge(response: &Response) -> &str {
    response.field("www-authenticate").unwrap_or_default()
}

#[test]
fn a_second_factor_not_older_than_fifteen_minutes() {
    let world = World::start();
    let recent = now() - 60;
    for path in ["/items", "/any"] {
        world.passes(path, &json!({"amr": ["pwd", "mfa"], "auth_time": recent}));
        world.passes(path, &json!({"acr": MULTI_FACTOR, "auth_time": recent}));
        let response = world.refused(path, &json!({}), "step_up_required");
        assert_eq!(
            challenge(&response),
            format!(
                "Bearer realm=\"{ITEMS}\", error=\"insufficient_user_authentication\", error_description=\"a more recent \
                 or stronger authentication is required\", max_age=\"900\", acr_values=\"{MULTI_FACTOR}\""
            )
        );
        for lacking in [
            json!({"amr": ["mfa"]}),
            json!({"auth_time": recent}),
            json!({"amr": ["mfa"], "auth_time": now() - 930}),
            json!({"amr": ["pwd"], "auth_time": recent}),
            json!({"amr": [], "acr": "gold", "auth_time": recent}),
            json!({"amr": ["MFA"], "auth_time": recent}),
            json!({"amr": ["mfa"], "auth_time": now() + 300}),
            json!({"amr": ["mfa"], "auth_time": i64::MAX}),
            json!({"amr": ["mfa"], "auth_time": i64::MIN}),
        ] {
            world.refused(path, &lacking, "step_up_required");
        }
        for malformed in [
            json!({"amr": "mfa", "auth_time": recent}),
            json!({"amr": ["mfa", 7], "auth_time": recent}),
            json!({"amr": {"mfa": true}, "auth_time": recent}),
            json!({"amr": ["mfa"], "acr": [MULTI_FACTOR], "auth_time": recent}),
            json!({"amr": ["mfa"], "acr": 2, "auth_time": recent}),
            json!({"amr": ["mfa"], "auth_time": recent.to_string()}),
            json!({"amr": ["mfa"], "auth_time": true}),
        ] {
            let response = world.refused(path, &malformed, "malformed_claim");
            assert!(challenge(&response).contains("error=\"invalid_token\""));
        }
    }
    // What the route asks first is told first.
    let token = world.token(&json!({"scope": ""}));
    assert_eq!(world.ask("/items", &token).json()["reason"], "insufficient_scope");
}

#[test]
fn a_route_overrides_what_the_api_asks() {
    let world = World::start();
    let recent = now() - 60;
    assert_eq!(world.gateway.client().get("/open", &[]).status, 200);
    world.passes("/off", &json!({}));
    world.passes("/off", &json!({"amr": "of no interest"}));
    world.passes("/own", &json!({"auth_time": recent}));
    let response = world.refused("/own", &json!({"auth_time": now() - 400}), "step_up_required");
    assert!(
        challenge(&response).ends_with(", max_age=\"300\""),
        "{}",
        challenge(&response)
    );
    world.passes("/gold", &json!({"amr": ["mfa"], "acr": "silver"}));
    let response = world.refused("/gold", &json!({"amr": ["mfa"]}), "step_up_required");
    assert!(challenge(&response).ends_with(", acr_values=\"gold silver\""));
    world.refused("/gold", &json!({"acr": "gold"}), "step_up_required");
    world.passes("/either", &json!({"acr": "gold"}));
    world.passes("/either", &json!({"amr": ["hwk", "pwd", "pin"]}));
    world.refused(
        "/either",
        &json!({"amr": ["hwk"], "acr": "silver"}),
        "step_up_required",
    );
    // A route that reports lets it pass, and says so.
    let token = world.token(&json!({}));
    assert_eq!(world.ask("/report", &token).status, 200);
    let labels = [
        ("reason", "step_up_required"),
        ("decision", "shadow_deny"),
        ("route", "/report"),
    ];
    assert_eq!(decisions(&world.gateway.metrics(), &labels), 1.0);
}

#[test]
fn nobody_sends_a_machine_to_a_login() {
    let world = World::start();
    let client = "0oaAbC";
    for machine in [
        json!({"sub": format!("{client}@clients"), "azp": client}),
        json!({"sub": "x", "gty": "client-credentials"}),
        json!({"sub": null, "gty": ["client-credentials"]}),
    ] {
        world.passes("/items", &machine);
        world.refused("/machines", &machine, "step_up_required");
    }
    for user in [
        // A name that somebody has chosen.
        json!({"sub": "auth0|me@clients"}),
        json!({"sub": "me@clients", "azp": client}),
        json!({"sub": "me@clients", "azp": null}),
        json!({"sub": client, "azp": client}),
        json!({"gty": "password"}),
        json!({"gty": ["refresh_token", "client-credentials"]}),
        json!({"gty": []}),
    ] {
        world.refused("/items", &user, "step_up_required");
    }
    // In RFC 9068 a client that acts for itself is its own subject.
    let world = World::of("rfc9068_profile", TokenDialect::Rfc9068);
    world.passes("/items", &json!({"sub": client, "client_id": client}));
    world.refused(
        "/items",
        &json!({"sub": "me", "client_id": client}),
        "step_up_required",
    );
}

#[test]
fn an_authentication_grows_old_while_its_token_is_in_the_cache() {
    let world = World::start();
    let token = world.token(&json!({"auth_time": now()}));
    assert_eq!(world.ask("/soon", &token).status, 200);
    let mut answer = None;
    eventually("the authentication to be too old", || {
        let response = world.ask("/soon", &token);
        let is_refused = response.status == 401;
        answer = Some(response);
        is_refused
    });
    let answer = answer.unwrap();
    assert_eq!(answer.json()["reason"], "step_up_required");
    assert!(challenge(&answer).ends_with(", max_age=\"2\""));
    let before = world.upstream.requests();
    assert_eq!(world.ask("/soon", &token).status, 401);
    assert_eq!(world.upstream.requests(), before);
    // The token itself is as good as before.
    assert_eq!(world.ask("/off", &token).status, 200);
    let metrics = world.gateway.metrics();
    let verified = [("cache", "token"), ("result", "miss")];
    assert_eq!(metrics.value("scopegate_cache_requests_total", &verified), 1.0);
}

#[test]
fn check_and_explain_show_it() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let with_policy = |routes: &str| {
        yaml(&issuer, &upstream, "access_token")
            .replace(
                "      scopes:",
                "      authorization_policy: { policy_id: p }\n      scopes:",
            )
            .replace("    step_up: require_2fa\n", routes)
    };
    let folder = Folder::new(&with_policy("    step_up: require_2fa\n"), &[]);
    let config = folder.config().to_str().unwrap().to_owned();
    let checked = run(&["check", "--config", &config], "");
    let table = String::from_utf8(checked.stdout).unwrap();
    let row = |path: &str| {
        let row = table
            .lines()
            .find(|line| line.contains(&format!(" {path} ")))
            .unwrap();
        row.to_owned()
    };
    let second_factor =
        format!("authenticated within 900s and (authenticated with mfa or acr in [{MULTI_FACTOR}])");
    assert!(
        row("/items").contains(&format!("read:items and {second_factor}")),
        "{table}"
    );
    assert!(!row("/off").contains("within"), "{table}");
    assert!(row("/own").contains("authenticated within 300s "), "{table}");
    assert!(row("/machines").contains("within 900s (machines too)"), "{table}");
    assert!(
        !String::from_utf8(checked.stderr)
            .unwrap()
            .contains("authorization_policy")
    );

    let explain = |claims: &Value| {
        let arguments = [
            "explain",
            "--config",
            &config,
            "--output",
            "json",
            "GET /items",
            "--claims",
            "-",
        ];
        let output = run(&arguments, &claims.to_string());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let result = |told: &Value| {
        let checks = told["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["check"] == "step-up").unwrap();
        check["result"].clone()
    };
    let told = explain(&json!({"scope": "read:items", "amr": ["pwd"], "auth_time": 7}));
    assert_eq!(
        (&told["reason"], result(&told)),
        (&json!("step_up_required"), json!("fail"))
    );
    assert!(
        told["detail"]
            .as_str()
            .unwrap()
            .ends_with("its `auth_time`: 7, `amr`: pwd, `acr`: none")
    );
    let told = explain(&json!({"scope": "read:items", "amr": "mfa", "auth_time": now()}));
    assert_eq!(
        (&told["reason"], result(&told)),
        (&json!("malformed_claim"), json!("fail"))
    );
    let told = explain(&json!({"scope": "read:items", "amr": ["mfa"], "auth_time": now()}));
    assert_eq!((&told["reason"], result(&told)), (&json!("ok"), json!("pass")));

    // Whose definition speaks of a policy is told of the switch.
    let routes = "    routes: [{ path: /a, require: read:items }]\n";
    let text = with_policy("");
    let text = text.split("    routes:").next().unwrap();
    folder.configure(&format!("{text}{routes}"));
    let checked = run(&["check", "--config", &config], "");
    let notes = String::from_utf8(checked.stderr).unwrap();
    assert!(
        notes.contains("`step_up: require_2fa` asks for a second factor here as well"),
        "{notes}"
    );
}
