//! Tokens of the authority for people: passwords, what roles and grants let them have, and refresh tokens.

use std::sync::Arc;
use std::thread;

use scopegate::definition::SigningAlg;
use serde_json::{Value, json};

use crate::harness::http1::Response;
use crate::harness::tenant::{SECRET, access_token, assert_refused, claims, members, refusal};
use crate::harness::{Prover, RunningAuthority, eventually};

const ITEMS: &str = "urn:items";
const PASSWORD: &str = "the password of ada";
const REALM: &str = "http://auth0.com/oauth/grant-type/password-realm";
const OFFLINE: &str = "offline_access read:items";

/// An API, an application for people, and a user, Ada.
struct World {
    authority: Arc<RunningAuthority>,
}

impl World {
    fn start() -> Self {
        let world = Self {
            authority: Arc::new(RunningAuthority::start()),
        };
        world.put_api(json!({}));
        world.put_app("app", json!({}));
        world.put_ada(&[], &[]);
        world
    }

    fn put_api(&self, rest: Value) {
        let mut api = json!({
            "identifier": ITEMS, "allow_offline_access": true,
            "scopes": [{ "value": "read:items" }, { "value": "write:items" }, { "value": "delete:items" }],
        });
        for (name, value) in members(rest) {
            api[name] = value;
        }
        self.authority.put_api(api);
    }

    /// An application whose refresh tokens rotate without leeway, unless `rest` says otherwise.
    fn put_app(&self, client_id: &str, rest: Value) {
        let mut document = json!({
            "grant_types": ["password", REALM, "refresh_token"],
            "refresh_token": {
                "rotation_type": "rotating", "expiration_type": "expiring", "leeway": 0,
                "token_lifetime": 1_000, "idle_token_lifetime": 500,
            },
        });
        for (name, value) in members(rest) {
            document[name] = value;
        }
        self.authority.put_client(client_id, document);
    }

    fn put_ada(&self, roles: &[&str], permissions: &[&str]) {
        let permissions: Vec<_> = permissions.iter().map(|name| (ITEMS, *name)).collect();
        let document = json!({
            "email": "ada@example.com", "username": "ada", "name": "Ada", "email_verified": true,
            "connection": "people",
        });
        self.authority.put_user(document, PASSWORD, roles, &permissions);
    }

    fn login(&self, client_id: &str, scope: &str) -> Response {
        self.login_as(client_id, &[("scope", scope)])
    }

    /// `change` replaces what would be right.
    fn login_as(&self, client_id: &str, change: &[(&str, &str)]) -> Response {
        let mut fields = vec![
            ("grant_type", "password"),
            ("client_id", client_id),
            ("client_secret", SECRET),
            ("audience", ITEMS),
            ("username", "ada@example.com"),
            ("password", PASSWORD),
        ];
        for (name, value) in change {
            fields.retain(|field| field.0 != *name);
            fields.push((name, value));
        }
        self.authority.ask(&fields)
    }

    /// The refresh token of a login.
    #[track_caller]
    fn offline(&self) -> String {
        refresh_token(&self.login("app", OFFLINE))
    }

    fn refresh(&self, token: &str) -> Response {
        self.refresh_as("app", token, &[])
    }

    fn refresh_as(&self, client_id: &str, token: &str, more: &[(&str, &str)]) -> Response {
        refresh(&self.authority, client_id, token, more)
    }

    #[track_caller]
    fn refused(&self, token: &str) {
        refused(&self.refresh(token));
    }
}

fn refresh(authority: &RunningAuthority, client_id: &str, token: &str, more: &[(&str, &str)]) -> Response {
    let mut fields = vec![
        ("grant_type", "refresh_token"),
        ("client_id", client_id),
        ("client_secret", SECRET),
        ("refresh_token", token),
    ];
    fields.extend(more);
    authority.ask(&fields)
}

#[track_caller]
fn refresh_token(response: &Response) -> String {
    access_token(response);
    response.json()["refresh_token"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(response: &Response) {
    assert_refused(
        response,
        403,
        "invalid_grant",
        "Unknown or invalid refresh token.",
    );
}

#[test]
fn a_password_and_what_else_it_takes() {
    let world = World::start();
    let response = world.login("app", "read:items openid profile email unknown:scope");
    let token = claims(&access_token(&response));
    let names: Vec<&String> = token.as_object().unwrap().keys().collect();
    assert_eq!(names, ["iss", "sub", "aud", "iat", "exp", "scope", "gty", "azp"]);
    assert_eq!(
        (&token["sub"], &token["gty"], &token["scope"]),
        (
            &json!("auth0|ada@example.com"),
            &json!("password"),
            &json!("read:items openid profile email")
        )
    );
    let userinfo = format!("{}userinfo", world.authority.issuer);
    assert_eq!(token["aud"], json!([ITEMS, userinfo]));
    let body = response.json();
    let names: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["access_token", "id_token", "scope", "expires_in", "token_type"]
    );
    let id = claims(body["id_token"].as_str().unwrap());
    assert_eq!(
        (
            &id["sub"],
            &id["aud"],
            &id["name"],
            &id["email"],
            &id["email_verified"]
        ),
        (
            &json!("auth0|ada@example.com"),
            &json!("app"),
            &json!("Ada"),
            &json!("ada@example.com"),
            &json!(true)
        )
    );
    assert!(id.get("connection").is_none() && id.get("username").is_none());

    for change in [[("username", "ADA@example.com")], [("username", "ada")]] {
        assert_eq!(world.login_as("app", &change).status, 200, "{change:?}");
    }
    let in_realm = |realm| world.login_as("app", &[("grant_type", REALM), ("realm", realm)]);
    let token = claims(&access_token(&in_realm("people")));
    assert_eq!(token["gty"], "password");
    assert!(token.get("scope").is_none(), "nothing was asked for");

    let wrong = (403, "invalid_grant", "Wrong email or password.");
    let missing = |name: &'static str| (400, "invalid_request", name);
    for (change, (status, error, description)) in [
        (vec![("password", "another")], wrong),
        (vec![("username", "nobody")], wrong),
        (vec![("grant_type", REALM), ("realm", "others")], wrong),
        (
            vec![("password", "")],
            missing("Missing required parameter: password"),
        ),
        (
            vec![("username", "")],
            missing("Missing required parameter: username"),
        ),
        (
            vec![("grant_type", REALM)],
            missing("Missing required parameter: realm"),
        ),
    ] {
        assert_refused(&world.login_as("app", &change), status, error, description);
    }
    world.authority.put_user(
        json!({ "email": "eve@example.com", "blocked": true }),
        PASSWORD,
        &[],
        &[],
    );
    let blocked = world.login_as("app", &[("username", "eve@example.com")]);
    assert_refused(&blocked, 403, "unauthorized", "user is blocked");
}

#[test]
fn guesses_of_a_password_are_bounded() {
    let world = World::start();
    for _ in 0..10 {
        let response = world.login_as("app", &[("password", "wrong")]);
        assert_eq!(refusal(&response).0, 403);
    }
    // The right one too, by whatever name of the user: each name counts for itself.
    let response = world.login("app", "");
    assert_eq!(
        (refusal(&response).0, refusal(&response).1.as_str()),
        (429, "too_many_requests")
    );
    assert!(response.field("retry-after").is_some());
    let response = world.login_as("app", &[("username", "ada")]);
    assert_eq!(response.status, 200);
}

#[test]
fn what_people_may_have() {
    let world = World::start();
    let authority = &world.authority;
    let all = "read:items write:items delete:items";
    let got = |client: &str, scope: &str| {
        let token = claims(&access_token(&world.login(client, scope)));
        let text = |name: &str| token.get(name).cloned().unwrap_or_default();
        (text("scope"), text("permissions"))
    };
    // Without policies, whatever the API defines.
    assert_eq!(got("app", all), (json!(all), Value::Null));
    // With them, what a person has of it, by roles and directly.
    authority.put_role("rol_writer", &[(ITEMS, "write:items")]);
    world.put_ada(&["rol_writer"], &["read:items"]);
    world.put_api(json!({ "enforce_policies": true, "token_dialect": "access_token_authz" }));
    let permissions = json!(["read:items", "write:items"]);
    assert_eq!(
        got("app", all),
        (json!("read:items write:items"), permissions.clone())
    );
    // All permissions are told, whatever was asked for.
    assert_eq!(got("app", "delete:items"), (Value::Null, permissions.clone()));
    assert_eq!(
        got("app", "write:items openid"),
        (json!("write:items openid"), permissions.clone())
    );
    // Permissions without policies.
    world.put_api(json!({ "token_dialect": "rfc9068_profile_authz" }));
    assert_eq!(got("app", all), (json!(all), permissions.clone()));

    // Only what the application has a grant for.
    world.put_api(json!({
        "enforce_policies": true, "token_dialect": "access_token_authz",
        "subject_type_authorization": { "user": { "policy": "require_client_grant" } },
    }));
    let response = world.login("app", all);
    assert_eq!(
        (refusal(&response).0, refusal(&response).1.as_str()),
        (403, "access_denied")
    );
    authority.put_grant(
        "app",
        ITEMS,
        json!({ "subject_type": "client", "scope": ["read:items"] }),
    );
    assert_eq!(
        world.login("app", all).status,
        403,
        "a grant for itself is none for people"
    );
    let user_grant = json!({ "subject_type": "user", "scope": ["read:items", "delete:items"] });
    authority.put_grant("app", ITEMS, user_grant);
    assert_eq!(got("app", all), (json!("read:items"), permissions));

    // A third-party application needs a grant whatever the policy says.
    world.put_api(json!({}));
    world.put_app("third", json!({ "is_first_party": false }));
    assert_eq!(world.login("third", all).status, 403);
    authority.put_grant(
        "third",
        ITEMS,
        json!({ "subject_type": "user", "allow_all_scopes": true }),
    );
    assert_eq!(got("third", all).0, json!(all));

    world.put_api(json!({ "subject_type_authorization": { "user": { "policy": "deny_all" } } }));
    let response = world.login("app", all);
    assert_eq!(
        (refusal(&response).0, refusal(&response).1.as_str()),
        (403, "access_denied")
    );
}

#[test]
fn refresh_tokens_are_for_those_who_ask_and_may() {
    let world = World::start();
    let has_one = |response: &Response| {
        access_token(response);
        let scope = response.json()["scope"].as_str().unwrap_or_default().to_owned();
        let has_one = response.json().get("refresh_token").is_some();
        assert_eq!(scope.contains("offline_access"), has_one, "{scope}");
        has_one
    };
    assert!(has_one(&world.login("app", OFFLINE)));
    assert!(!has_one(&world.login("app", "read:items")));
    world.put_app("without", json!({ "grant_types": ["password"] }));
    assert!(!has_one(&world.login("without", OFFLINE)));
    world.put_api(json!({ "allow_offline_access": false }));
    assert!(!has_one(&world.login("app", OFFLINE)));
    // Never for an application itself.
    world.authority.put_client("m2m", json!({}));
    world.authority.put_grant("m2m", ITEMS, json!({ "scope": [] }));
    let response = world.authority.ask_for("m2m", ITEMS, &[]);
    assert!(response.json().get("refresh_token").is_none());
}

#[test]
fn rotation_and_what_becomes_of_a_used_token() {
    let world = World::start();
    let first = world.offline();
    let response = world.refresh(&first);
    let token = claims(&access_token(&response));
    assert_eq!(
        (&token["gty"], &token["scope"], &token["sub"]),
        (
            &json!("refresh_token"),
            &json!(OFFLINE),
            &json!("auth0|ada@example.com")
        )
    );
    let second = refresh_token(&response);
    let third = refresh_token(&world.refresh(&second));
    assert!(first != second && second != third);
    // The first again: nobody can tell which of the two is the thief.
    world.refused(&first);
    world.refused(&third);
    world.refused(&second);

    // Another login is another family.
    let other = world.offline();
    world.refresh(&other);
    // Another client cannot use it, and does no harm by it.
    world.put_app("other", json!({}));
    let mine = world.offline();
    refused(&world.refresh_as("other", &mine, &[]));
    assert_eq!(world.refresh(&mine).status, 200);
    for nonsense in ["x", "v1.a.b", &"v1.".repeat(30), &mine[..mine.len() - 1]] {
        world.refused(nonsense);
    }
}

#[test]
fn of_two_uses_at_the_same_time_one_wins() {
    let world = World::start();
    for _ in 0..5 {
        let token = world.offline();
        let uses: Vec<_> = (0..4)
            .map(|_| {
                let (authority, token) = (Arc::clone(&world.authority), token.clone());
                thread::spawn(move || refresh(&authority, "app", &token, &[]).status)
            })
            .collect();
        let statuses: Vec<u16> = uses.into_iter().map(|one| one.join().unwrap()).collect();
        let won = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(won, 1, "{statuses:?}");
        assert!(
            statuses.iter().all(|status| [200, 403].contains(status)),
            "{statuses:?}"
        );
    }
}

#[test]
fn within_its_leeway_a_token_may_come_again() {
    let world = World::start();
    world.put_app(
        "app",
        json!({ "refresh_token": { "rotation_type": "rotating", "expiration_type": "expiring", "leeway": 60 } }),
    );
    let first = world.offline();
    let second = refresh_token(&world.refresh(&first));
    let again = refresh_token(&world.refresh(&first));
    assert_ne!(second, again);
    // Whichever of them the client has kept.
    let third = refresh_token(&world.refresh(&second));
    assert_eq!(world.refresh(&again).status, 200);
    // Two steps back is no slip.
    world.refused(&first);
    world.refused(&third);
}

#[test]
fn tokens_that_stay() {
    let world = World::start();
    world.put_app(
        "app",
        json!({ "refresh_token": { "rotation_type": "non-rotating" } }),
    );
    let token = world.offline();
    for _ in 0..3 {
        let response = world.refresh(&token);
        access_token(&response);
        assert!(response.json().get("refresh_token").is_none());
    }
    // The settings are those of now, not those of the login.
    world.put_app(
        "app",
        json!({ "refresh_token": {
            "rotation_type": "non-rotating", "expiration_type": "expiring", "token_lifetime": 0,
        } }),
    );
    world.refused(&token);
    world.put_app(
        "app",
        json!({ "refresh_token": { "rotation_type": "non-rotating" } }),
    );
    world.refused(&token);
}

#[test]
fn a_refresh_gives_no_more_than_there_is_by_then() {
    let world = World::start();
    let stays = json!({ "refresh_token": { "rotation_type": "non-rotating" } });
    world.put_app("app", stays.clone());
    let token = refresh_token(&world.login("app", "offline_access read:items write:items"));
    let scope = |more: &[(&str, &str)]| {
        let response = world.refresh_as("app", &token, more);
        claims(&access_token(&response)).get("scope").cloned()
    };
    assert_eq!(scope(&[]), Some(json!("offline_access read:items write:items")));
    assert_eq!(scope(&[("scope", "read:items")]), Some(json!("read:items")));
    assert_eq!(scope(&[("audience", ITEMS)]), scope(&[]));
    let refusal_of = |more: &[(&str, &str)]| {
        let (status, error, _) = refusal(&world.refresh_as("app", &token, more));
        (status, error)
    };
    assert_eq!(
        refusal_of(&[("scope", "delete:items")]),
        (400, "invalid_scope".into())
    );
    assert_eq!(
        refusal_of(&[("audience", "urn:other")]),
        (400, "invalid_request".into())
    );

    // What a person has no more.
    world.put_ada(&[], &["read:items"]);
    world.put_api(json!({ "enforce_policies": true }));
    assert_eq!(scope(&[]), Some(json!("offline_access read:items")));
    world.put_ada(&[], &[]);
    assert_eq!(scope(&[]), Some(json!("offline_access")));
    // What the API allows no more.
    world.put_api(json!({ "allow_offline_access": false }));
    world.refused(&token);
    world.put_api(json!({}));
    assert_eq!(world.refresh(&token).status, 200);
    // What the application may no more.
    world.put_app("app", json!({ "grant_types": ["password"] }));
    assert_eq!(refusal_of(&[]), (403, "unauthorized_client".into()));
    world.put_app("app", stays);
    // Who is there no more.
    world
        .authority
        .change(|draft| draft.remove_user("auth0|ada@example.com"));
    world.refused(&token);
}

#[test]
fn tokens_are_given_up() {
    let world = World::start();
    let revoke = |fields: &[(&str, &str)]| world.authority.send_form("/oauth/revoke", &[], fields);
    let as_app = |token: &str| revoke(&[("client_id", "app"), ("client_secret", SECRET), ("token", token)]);
    let (first, other) = (world.offline(), world.offline());
    let second = refresh_token(&world.refresh(&first));
    // Not without a credential, and not by another client.
    let wrong = revoke(&[
        ("client_id", "app"),
        ("client_secret", "wrong"),
        ("token", &second),
    ]);
    assert_refused(&wrong, 401, "access_denied", "Unauthorized");
    let missing = revoke(&[("client_id", "app"), ("client_secret", SECRET)]);
    assert_refused(
        &missing,
        400,
        "invalid_request",
        "Missing required parameter: token",
    );
    world.put_app("other", json!({}));
    let elsewhere = revoke(&[
        ("client_id", "other"),
        ("client_secret", SECRET),
        ("token", &second),
    ]);
    assert_eq!((elsewhere.status, elsewhere.body.len()), (200, 0));
    let third = refresh_token(&world.refresh(&second));
    // Whether there was one is not told.
    for token in [third.as_str(), &third, "unknown", &world.authority.client_id] {
        let response = as_app(token);
        assert_eq!((response.status, response.body.len()), (200, 0), "{token}");
        assert_eq!(response.field("cache-control"), Some("no-store"));
    }
    world.refused(&third);
    assert_eq!(world.refresh(&other).status, 200);
}

#[test]
fn public_clients_prove_a_key_with_a_nonce_of_the_authority() {
    let world = World::start();
    world.put_api(json!({ "proof_of_possession": {
        "mechanism": "dpop", "required": true, "required_for": "public_clients",
    } }));
    world.put_app("spa", json!({ "token_endpoint_auth_method": "none" }));
    let address = format!("{}oauth/token", world.authority.issuer);
    let prover = Prover::new(SigningAlg::ES256);
    let login = [
        ("grant_type", "password"),
        ("client_id", "spa"),
        ("audience", ITEMS),
        ("username", "ada"),
        ("password", PASSWORD),
        ("scope", OFFLINE),
    ];
    let ask = |prover: &Prover, nonce: Option<&str>, fields: &[(&str, &str)]| {
        let draft = prover.draft("POST", &address, "").without("ath");
        let draft = match nonce {
            Some(nonce) => draft.claim("nonce", nonce),
            None => draft,
        };
        world
            .authority
            .ask_with(&[("dpop", &prover.sign(&draft))], fields)
    };
    let unproven = world.authority.ask(&login);
    assert_refused(&unproven, 400, "invalid_request", "A DPoP proof is required");
    let nonceless = ask(&prover, None, &login);
    assert_refused(
        &nonceless,
        400,
        "use_dpop_nonce",
        "Authorization server requires nonce in DPoP proof",
    );
    let nonce = nonceless.field("dpop-nonce").unwrap().to_owned();
    let response = ask(&prover, Some(&nonce), &login);
    let token = refresh_token(&response);
    assert_eq!(response.json()["token_type"], "DPoP");
    let cnf = json!({ "jkt": prover.thumbprint() });
    assert_eq!(claims(&access_token(&response))["cnf"], cnf);
    // The refresh token is bound to the same key, since the client has nothing else.
    let renew = |prover: &Prover, token: &str| {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", "spa"),
            ("refresh_token", token),
        ];
        ask(prover, Some(&nonce), &fields)
    };
    refused(&renew(&Prover::another(SigningAlg::ES256), &token));
    assert_eq!(claims(&access_token(&renew(&prover, &token)))["cnf"], cnf);
    // A client with a secret needs no proof at this API, nor a nonce.
    assert_eq!(world.login("app", OFFLINE).json()["token_type"], "Bearer");
}

#[test]
fn the_store_has_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authority.db");
    let world = World {
        authority: Arc::new(RunningAuthority::with(
            scopegate::authority::StoreAddress::Sqlite(path),
        )),
    };
    world.put_api(json!({}));
    world.put_app("app", json!({}));
    world.put_ada(&[], &[]);
    let first = world.offline();
    let second = refresh_token(&world.refresh(&first));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        found.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let has = |text: &str| found.windows(text.len()).any(|window| window == text.as_bytes());
    let family = first.split('.').nth(1).unwrap();
    assert!(has(family), "the family is there");
    for token in [&first, &second] {
        assert!(!has(token.split('.').nth(2).unwrap()));
    }
    assert!(!has(PASSWORD) && !has(SECRET));
}

#[test]
fn logins_that_have_ended_leave_the_store() {
    let world = World::start();
    world.put_app(
        "brief",
        json!({ "refresh_token": {
            "rotation_type": "rotating", "expiration_type": "expiring", "token_lifetime": 1, "leeway": 0,
        } }),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let sweep = || runtime.block_on(world.authority.authority.sweep()).unwrap();
    let stays = world.offline();
    let ends = refresh_token(&world.login("brief", OFFLINE));
    let mut removed = 0;
    eventually("the end of a login", || {
        removed += sweep();
        removed > 0
    });
    assert_eq!((removed, sweep()), (1, 0));
    refused(&world.refresh_as("brief", &ends, &[]));
    access_token(&world.refresh(&stays));
}
