//! Rules that hold among objects.

use serde_json::{Map, Value, json};

use super::*;

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("no object: {other}"),
    }
}

fn api(id: &str, identifier: &str, scopes: &[&str]) -> Api {
    let scopes: Vec<Value> = scopes.iter().map(|scope| json!({ "value": scope })).collect();
    Api::from_document(id, members(json!({ "identifier": identifier, "scopes": scopes }))).unwrap()
}

fn grant(id: &str, client: &str, audience: &str, scopes: &[&str]) -> Grant {
    serde_json::from_value(json!({ "id": id, "client_id": client, "audience": audience, "scope": scopes }))
        .unwrap()
}

fn permission(api: &str, name: &str) -> PermissionRef {
    PermissionRef {
        resource_server_identifier: api.into(),
        permission_name: name.into(),
    }
}

/// An API with a client, a grant, a role and a user.
fn furnished() -> Draft {
    let mut draft = Draft::of(&Tenant::default());
    draft
        .put_api(&api("a1", "urn:items", &["read", "write"]))
        .unwrap();
    draft.put_api(&api("a2", "urn:other", &["read"])).unwrap();
    draft
        .put_client(&Client::new(
            "c1",
            members(json!({ "name": "one" })),
            Some("hush"),
        ))
        .unwrap();
    draft
        .put_grant(&grant("g1", "c1", "urn:items", &["read", "write"]))
        .unwrap();
    draft
        .put_grant(&grant("g2", "c1", "urn:other", &["read"]))
        .unwrap();
    draft
        .put_role(&Role {
            id: "r1".into(),
            name: "reader".into(),
            description: None,
            permissions: vec![permission("urn:items", "write"), permission("urn:other", "read")],
        })
        .unwrap();
    draft
        .put_user(&User {
            user_id: "auth0|1".into(),
            document: Map::new(),
            roles: vec!["r1".into()],
            permissions: vec![permission("urn:items", "write"), permission("urn:items", "read")],
            password_hash: Some("$argon2id$".into()),
        })
        .unwrap();
    draft
}

#[test]
fn a_removed_permission_vanishes_from_grants_roles_and_users() {
    let mut draft = furnished();
    draft.put_api(&api("a1", "urn:items", &["read"])).unwrap();
    assert_eq!(draft.grant("g1").unwrap().scopes(), ["read"]);
    assert_eq!(
        draft.role("r1").unwrap().permissions,
        [permission("urn:other", "read")]
    );
    assert_eq!(
        draft.user("auth0|1").unwrap().permissions,
        [permission("urn:items", "read")]
    );
    // Those of another API stay.
    assert_eq!(draft.grant("g2").unwrap().scopes(), ["read"]);
}

#[test]
fn a_removed_api_takes_its_grants_along() {
    let mut draft = furnished();
    draft.remove_api("a1").unwrap();
    assert!(draft.api("urn:items").is_none() && draft.grant("g1").is_none());
    assert!(draft.grant("g2").is_some());
    assert_eq!(
        draft.role("r1").unwrap().permissions,
        [permission("urn:other", "read")]
    );
    // Its identifier is free again.
    draft.put_api(&api("a3", "urn:items", &[])).unwrap();
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut draft = furnished();
    assert_eq!(
        draft.put_api(&api("a9", "urn:items", &[])),
        Err(Fault::IdentifierTaken)
    );
    assert_eq!(
        draft.put_grant(&grant("g9", "c1", "urn:items", &[])),
        Err(Fault::GrantExists)
    );
    assert_eq!(
        draft.put_grant(&grant("g1", "c1", "urn:items", &["delete"])),
        Err(Fault::ScopeNotOfApi)
    );
    assert_eq!(
        draft.put_grant(&grant("g9", "c9", "urn:items", &[])),
        Err(Fault::NoClient)
    );
    assert_eq!(
        draft.put_grant(&grant("g9", "c1", "urn:none", &[])),
        Err(Fault::NoApi("urn:none".into()))
    );
    let before = furnished().into_changes().len();
    assert_eq!(draft.into_changes().len(), before);
}

#[test]
fn a_removed_client_and_a_removed_role_leave_nothing_behind() {
    let mut draft = furnished();
    draft.remove_client("c1").unwrap();
    assert_eq!(draft.grants().len(), 0);
    draft.remove_role("r1").unwrap();
    assert!(draft.user("auth0|1").unwrap().roles.is_empty());
    draft.remove_role("r1").unwrap();
}

#[test]
fn objects_come_back_as_they_were_and_hide_what_is_sealed() {
    let draft = furnished();
    let mut secretive = api("a4", "urn:hs", &[]);
    secretive = Api::from_document(
        "a4",
        members(json!({
            "identifier": "urn:hs", "signing_alg": "HS256", "signing_secret": "hush-hush-hush-hush", "name": "HS",
        })),
    )
    .unwrap_or(secretive);
    let mut draft = draft;
    draft.put_api(&secretive).unwrap();
    let expected = (*draft).clone();
    let changes = draft.into_changes();
    assert!(!format!("{changes:?}").contains("hush"));
    for object in &changes {
        let body = object.body.as_ref().unwrap();
        assert!(!serde_json::to_string(&body.open).unwrap().contains("hush"));
    }
    let again = Tenant::default().with(7, &changes).unwrap();
    assert_eq!(again.revision(), 7);
    assert_eq!(again.api("urn:hs"), expected.api("urn:hs"));
    assert_eq!(
        again
            .api("urn:hs")
            .unwrap()
            .whole_document()
            .get("signing_secret"),
        Some(&json!("hush-hush-hush-hush"))
    );
    assert_eq!(again.client("c1"), expected.client("c1"));
    assert!(again.client("c1").unwrap().has_secret("hush"));
    assert!(!again.client("c1").unwrap().has_secret("hus"));
    assert_eq!(again.user("auth0|1"), expected.user("auth0|1"));
    assert_eq!(again.role("r1"), expected.role("r1"));
    assert_eq!(again.grant("g1"), expected.grant("g1"));
}

#[test]
fn grants_and_users_are_found_by_what_they_have_now() {
    let client = SubjectType::Client;
    let mut draft = furnished();
    let found = |draft: &Draft, client_id: &str, audience: &str| {
        let grant = draft.grant_of(client_id, audience, client);
        grant.map(|grant| grant.id.clone())
    };
    assert_eq!(found(&draft, "c1", "urn:items").as_deref(), Some("g1"));
    assert_eq!(found(&draft, "c1", "urn:other").as_deref(), Some("g2"));
    assert!(draft.grant_of("c1", "urn:items", SubjectType::User).is_none());
    assert_eq!(found(&draft, "c2", "urn:items"), None);
    draft
        .put_grant(&grant("g1", "c1", "urn:items", &["read"]))
        .unwrap();
    assert_eq!(found(&draft, "c1", "urn:items").as_deref(), Some("g1"));
    draft.remove_grant("g1").unwrap();
    assert_eq!(found(&draft, "c1", "urn:items"), None);

    let user = |id: &str, document: Value| User {
        user_id: id.into(),
        document: members(document),
        roles: Vec::new(),
        permissions: Vec::new(),
        password_hash: None,
    };
    let called = |draft: &Draft, name: &str| -> Vec<String> {
        draft
            .users_called(name)
            .map(|user| user.user_id.clone())
            .collect()
    };
    draft
        .put_user(&user(
            "u2",
            json!({ "email": "Ada@Example.com", "username": "ada" }),
        ))
        .unwrap();
    draft
        .put_user(&user("u1", json!({ "username": "ADA@example.com" })))
        .unwrap();
    assert_eq!(called(&draft, "ada@example.com"), ["u1", "u2"]);
    assert_eq!(called(&draft, "ada"), ["u2"]);
    draft
        .put_user(&user("u2", json!({ "email": "other@example.com" })))
        .unwrap();
    assert_eq!(called(&draft, "ada@example.com"), ["u1"]);
    assert!(called(&draft, "ada").is_empty());
    draft.remove_user("u1").unwrap();
    assert!(called(&draft, "ada@example.com").is_empty());
    // What is read from a store is found as well.
    let again = Tenant::default().with(1, &furnished().into_changes()).unwrap();
    assert_eq!(
        again
            .grant_of("c1", "urn:other", client)
            .map(|grant| grant.id.as_str()),
        Some("g2")
    );
}

#[test]
fn system_apis_stay() {
    let mut draft = Draft::of(&Tenant::default());
    let document = members(json!({ "identifier": "urn:management", "is_system": true }));
    draft
        .put_api(&Api::from_document("a0", document).unwrap())
        .unwrap();
    assert_eq!(draft.remove_api("a0"), Err(Fault::SystemApi));
    assert_eq!(draft.remove_api("urn:management"), Err(Fault::SystemApi));
}
