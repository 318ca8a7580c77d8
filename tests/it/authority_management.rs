//! The Management API through real sockets: what it accepts, what it answers, what it refuses.
//!
//! Texts and statuses are those that clients of the real one know; `tests/clients` has these clients themselves.

use serde_json::{Value, json};

use super::harness::http1::Response;
use super::harness::{Client, RunningAuthority, client};

/// An authority, and a token that may do everything in it.
struct Manager {
    authority: RunningAuthority,
    token: String,
}

/// A status and a body.
type Answer = (u16, Value);

impl Manager {
    fn start() -> Self {
        let authority = RunningAuthority::start();
        let (id, secret) = (authority.client_id.clone(), authority.client_secret.clone());
        let token = token(&authority, &id, &secret, &authority.management_audience());
        Self { authority, token }
    }

    /// A token of another application that has these permissions of the Management API.
    fn token_with(&self, scopes: &[&str]) -> String {
        let (status, client) = self.post(
            "/clients",
            &json!({ "name": "less", "app_type": "non_interactive" }),
        );
        assert_eq!(status, 201, "{client}");
        let audience = self.authority.management_audience();
        let grant = json!({ "client_id": client["client_id"], "audience": audience, "scope": scopes });
        let (status, grant) = self.post("/client-grants", &grant);
        assert_eq!(status, 201, "{grant}");
        let text = |name: &str| client[name].as_str().unwrap().to_owned();
        token(
            &self.authority,
            &text("client_id"),
            &text("client_secret"),
            &audience,
        )
    }

    fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        let target = format!("/api/v2{path}");
        Client::connect(self.authority.address).request(method, &target, fields, body)
    }

    fn call_as(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let authorization = format!("Bearer {token}");
        let body = body.map(Value::to_string).unwrap_or_default();
        let fields = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        read(&self.send(method, path, &fields, body.as_bytes()))
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call_as(&self.token, method, path, body)
    }

    fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body))
    }

    fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, Some(body))
    }

    fn delete(&self, path: &str) -> u16 {
        self.call("DELETE", path, None).0
    }

    /// Makes an API and returns its id.
    fn api(&self, body: &Value) -> String {
        let (status, api) = self.post("/resource-servers", body);
        assert_eq!(status, 201, "{api}");
        api["id"].as_str().unwrap().to_owned()
    }

    fn client(&self, body: &Value) -> Value {
        let (status, client) = self.post("/clients", body);
        assert_eq!(status, 201, "{client}");
        client
    }

    /// What a refused body is told.
    #[track_caller]
    fn refused(&self, answer: Answer, message: &str) {
        let (status, body) = answer;
        assert_eq!(
            (status, body["message"].as_str(), body["errorCode"].as_str()),
            (400, Some(message), Some("invalid_body")),
            "{body}"
        );
        assert_eq!(
            (&body["statusCode"], &body["error"]),
            (&json!(400), &json!("Bad Request"))
        );
    }
}

fn read(response: &Response) -> Answer {
    let body = if response.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&response.body).unwrap()
    };
    (response.status, body)
}

fn token(authority: &RunningAuthority, id: &str, secret: &str, audience: &str) -> String {
    let body = json!({
        "grant_type": "client_credentials", "client_id": id, "client_secret": secret, "audience": audience,
    });
    let fields = [("content-type", "application/json")];
    let answer = client::post(
        authority.address,
        "/oauth/token",
        &fields,
        body.to_string().as_bytes(),
    );
    let (status, body) = read(&answer);
    assert_eq!(status, 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

/// Every byte but letters and digits.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

fn names(list: &Value, member: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|item| item[member].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_new_api_has_what_clients_expect_and_nothing_else() {
    let manager = Manager::start();
    let (status, api) = manager.post(
        "/resource-servers",
        &json!({ "identifier": "https://api.example", "name": "My API" }),
    );
    assert_eq!(status, 201);
    let id = api["id"].as_str().unwrap();
    assert!(
        id.len() == 24 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte)),
        "{id}"
    );
    assert_eq!(
        api,
        json!({
            "id": id, "name": "My API", "identifier": "https://api.example",
            "allow_offline_access": false, "skip_consent_for_verifiable_first_party_clients": false,
            "subject_type_authorization": {
                "client": { "policy": "require_client_grant" }, "user": { "policy": "allow_all" },
            },
            "token_lifetime": 86_400, "token_lifetime_for_web": 7_200, "signing_alg": "RS256",
        })
    );
    assert_eq!(manager.get(&format!("/resource-servers/{id}")), (200, api));
}

#[test]
fn an_api_is_found_by_its_identifier_encoded_once_or_twice() {
    let manager = Manager::start();
    for identifier in [
        "https://api.example/v1/",
        "urn:a b?c#d%20e",
        "https://api.example/?q=1&r=%2F#top",
        "urn:bücher/ß;x=1",
        "a\\b+c",
        "100%",
    ] {
        let id = manager.api(&json!({ "identifier": identifier }));
        let once = encoded(identifier);
        for path in [once.clone(), encoded(&once), once.replace('%', "%25")] {
            let (status, api) = manager.get(&format!("/resource-servers/{path}"));
            assert_eq!((status, &api["id"]), (200, &json!(id)), "{identifier} as {path}");
            let (status, api) = manager.patch(&format!("/resource-servers/{path}"), &json!({ "name": path }));
            assert_eq!((status, &api["name"]), (200, &json!(path)));
        }
        assert_eq!(
            manager.delete(&format!("/resource-servers/{}", encoded(&once))),
            204
        );
        assert_eq!(manager.get(&format!("/resource-servers/{id}")).0, 404);
        // There is nothing to delete, and that is fine.
        assert_eq!(manager.delete(&format!("/resource-servers/{once}")), 204);
    }
    let (status, body) = manager.get("/resource-servers/%FF%FE");
    assert_eq!((status, &body["errorCode"]), (400, &json!("invalid_uri")));
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .starts_with("Path validation error: "),
        "{body}"
    );
}

#[test]
fn a_patch_changes_what_it_names() {
    let manager = Manager::start();
    let id = manager.api(&json!({
        "identifier": "urn:items", "name": "Items",
        "scopes": [{ "value": "read:items", "description": "Read" }, { "value": "write:items" }],
        "proof_of_possession": { "mechanism": "dpop", "required": true },
        "consent_policy": "transactional-authorization-with-mfa",
    }));
    let path = format!("/resource-servers/{id}");
    let (status, api) = manager.patch(
        &path,
        &json!({ "token_lifetime": 3_600, "enforce_policies": true }),
    );
    assert_eq!(status, 200);
    assert_eq!(
        (&api["name"], &api["token_lifetime"]),
        (&json!("Items"), &json!(3_600))
    );
    assert_eq!(api["token_lifetime_for_web"], 3_600, "it cannot be longer");
    assert_eq!(names(&api["scopes"], "value"), ["read:items", "write:items"]);
    // The whole list.
    let (_, api) = manager.patch(&path, &json!({ "scopes": [{ "value": "admin:items" }] }));
    assert_eq!(api["scopes"], json!([{ "value": "admin:items" }]));
    for nothing in [json!([]), json!({}), Value::Null] {
        manager.patch(&path, &json!({ "scopes": [{ "value": "again" }] }));
        let (status, api) = manager.patch(&path, &json!({ "scopes": nothing }));
        assert_eq!((status, &api["scopes"]), (200, &json!([])));
    }
    // `null` takes away, a mapping is replaced as a whole, and what is unknown and not there is no fault.
    let (status, api) = manager.patch(
        &path,
        &json!({ "consent_policy": null, "proof_of_possession": { "mechanism": "mtls", "required": false }, "odd": null }),
    );
    assert_eq!(status, 200, "{api}");
    assert_eq!(
        api["proof_of_possession"],
        json!({ "mechanism": "mtls", "required": false })
    );
    let (_, api) = manager.patch(&path, &json!({ "proof_of_possession": null }));
    let members = api.as_object().unwrap();
    assert!(
        !members.contains_key("proof_of_possession") && !members.contains_key("consent_policy"),
        "{api}"
    );
    // What is equal is no change.
    assert_eq!(manager.patch(&path, &json!({ "signing_alg": "RS256" })).0, 200);
    let (_, api) = manager.patch(
        &path,
        &json!({ "subject_type_authorization": { "client": { "policy": "deny_all" } } }),
    );
    assert_eq!(
        api["subject_type_authorization"],
        json!({ "client": { "policy": "deny_all" }, "user": { "policy": "allow_all" } })
    );
    assert_eq!(manager.get(&path), (200, api));
}

#[test]
fn what_an_api_cannot_be_is_refused_with_the_reason() {
    let manager = Manager::start();
    let id = manager.api(&json!({ "identifier": "urn:items" }));
    let path = format!("/resource-servers/{id}");
    for (body, message) in [
        (
            json!({}),
            "Payload validation error: 'Missing required property: identifier'.",
        ),
        (
            json!({ "identifier": "urn:a", "x": 1 }),
            "Payload validation error: 'Additional properties not allowed: x'.",
        ),
        (
            json!({ "identifier": "" }),
            "Payload validation error: 'String is too short (0 chars), minimum 1' on property identifier (What the aud of a token has. Cannot be changed).",
        ),
        (
            json!({ "identifier": "urn:a", "name": "<b>" }),
            "Payload validation error: 'String does not match pattern ^[^<>]+$' on property name (Shown to people. No < or >).",
        ),
        (
            json!({ "identifier": "urn:a", "token_lifetime": 2_592_001 }),
            "Payload validation error: 'Value 2592001 is greater than maximum 2592000' on property token_lifetime (Seconds for which an access token is good).",
        ),
        (
            json!({ "identifier": "urn:a", "token_lifetime": 60, "token_lifetime_for_web": 61 }),
            "Payload validation error: '`token_lifetime_for_web` is 61; it must not exceed `token_lifetime`, which is 60'.",
        ),
        (
            json!({ "identifier": "urn:a", "scopes": [{ "value": "openid" }] }),
            "Payload validation error: 'permission `openid` is a reserved name'.",
        ),
        (
            json!({ "identifier": "urn:a", "scopes": [{}] }),
            "Payload validation error: 'Missing required property: value' on property scopes[0] (A permission).",
        ),
        (
            json!({ "identifier": "urn:a", "signing_alg": "RS512" }),
            "Payload validation error: 'No enum match for: RS512' on property signing_alg (The algorithm that access tokens are signed with).",
        ),
        (
            json!({ "identifier": "urn:a", "signing_secret": "0123456789abcdef" }),
            "Payload validation error: 'signing_secret is for HS256 only'.",
        ),
        (
            json!({ "identifier": manager.authority.issuer }),
            "The selected identifier is reserved.",
        ),
        (
            json!({ "identifier": manager.authority.management_audience() }),
            "The selected identifier is reserved.",
        ),
    ] {
        manager.refused(manager.post("/resource-servers", &body), message);
    }
    for scopes in [
        json!([{ "value": "a" }, { "value": "a" }]),
        json!([{ "value": "a b" }]),
        json!([{ "value": "a", "extra": true }]),
        json!(
            (0..1_001)
                .map(|n| json!({ "value": format!("s{n}") }))
                .collect::<Vec<_>>()
        ),
    ] {
        assert_eq!(
            manager
                .post(
                    "/resource-servers",
                    &json!({ "identifier": "urn:a", "scopes": scopes })
                )
                .0,
            400
        );
        assert_eq!(manager.patch(&path, &json!({ "scopes": scopes })).0, 400);
    }
    manager.refused(
        manager.patch(&path, &json!({ "identifier": "urn:other" })),
        "Payload validation error: 'Additional properties not allowed: identifier'.",
    );
    manager.refused(
        manager.patch(&path, &json!({ "signing_alg": "PS256" })),
        "Payload validation error: 'signing_alg cannot be changed after creation'.",
    );
    let several = manager
        .patch(&path, &json!({ "name": "", "token_lifetime": -1 }))
        .1;
    assert_eq!(
        several["message"].as_str().unwrap().matches(" (also) ").count(),
        2,
        "{several}"
    );
    // Nothing of it has changed anything.
    assert_eq!(manager.get("/resource-servers").1.as_array().unwrap().len(), 2);
    assert_eq!(manager.get(&path).1.get("scopes"), None);
}

#[test]
fn a_second_api_of_an_identifier_is_refused_each_time() {
    let manager = Manager::start();
    manager.api(&json!({ "identifier": "urn:items" }));
    for _ in 0..3 {
        let fields = [("authorization", format!("Bearer {}", manager.token))];
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let response = manager.send(
            "POST",
            "/resource-servers",
            &fields,
            br#"{"identifier":"urn:items"}"#,
        );
        assert_eq!(
            read(&response),
            (
                409,
                json!({
                    "statusCode": 409, "error": "Conflict", "errorCode": "resource_conflict",
                    "message": "A resource server with the same identifier already exists.",
                })
            )
        );
        assert!(
            response.head.field("x-ratelimit-reset").is_none(),
            "there is nothing to wait for"
        );
    }
    manager.api(&json!({ "identifier": "urn:items/" }));
}

#[test]
fn secrets_and_keys_of_apis() {
    let manager = Manager::start();
    let id = manager.api(&json!({ "identifier": "urn:hs", "signing_alg": "HS256" }));
    let path = format!("/resource-servers/{id}");
    let (_, api) = manager.get(&path);
    assert_eq!(api["signing_secret"].as_str().unwrap().len(), 64);
    let (_, api) = manager.patch(&path, &json!({ "signing_secret": "0123456789abcdef" }));
    assert_eq!(api["signing_secret"], "0123456789abcdef");

    let encryption = |pem: &str| json!({ "format": "compact-nested-jwe", "encryption_key": { "name": "k", "alg": "RSA-OAEP-256", "pem": pem } });
    let (pem, thumbprint) = public_key();
    let id = manager.api(&json!({ "identifier": "urn:jwe", "token_encryption": encryption(&pem) }));
    let path = format!("/resource-servers/{id}");
    let (_, api) = manager.get(&path);
    assert_eq!(
        api["token_encryption"],
        json!({
            "format": "compact-nested-jwe",
            "encryption_key": { "name": "k", "alg": "RSA-OAEP-256", "thumbprint_sha256": thumbprint },
        })
    );
    // A change to something else keeps the key, which nobody can send back.
    let (status, api) = manager.patch(&path, &json!({ "name": "Encrypted" }));
    assert_eq!(
        (
            status,
            &api["token_encryption"]["encryption_key"]["thumbprint_sha256"]
        ),
        (200, &json!(thumbprint))
    );
    let kept = manager.authority.authority.state().tenant();
    let kept = kept
        .api(&id)
        .unwrap()
        .definition
        .token_encryption
        .clone()
        .unwrap();
    assert_eq!(kept.encryption_key.pem.as_deref(), Some(pem.as_str()));
    assert_eq!(
        manager
            .patch(&path, &json!({ "token_encryption": encryption("no key") }))
            .0,
        400
    );
    let (_, api) = manager.patch(&path, &json!({ "token_encryption": null }));
    assert_eq!(api.get("token_encryption"), None);
}

/// A public key of RSA in PEM, and its RFC 7638 thumbprint.
fn public_key() -> (String, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let pem = pair.public_key_pem();
    let thumbprint = scopegate::token::public_thumbprint(pem.as_bytes()).unwrap();
    (pem, thumbprint.into())
}

#[test]
fn apis_of_the_authority_itself() {
    let manager = Manager::start();
    let audience = manager.authority.management_audience();
    let path = format!("/resource-servers/{}", encoded(&audience));
    let (status, api) = manager.get(&path);
    assert_eq!(status, 200);
    assert_eq!(
        (&api["name"], &api["is_system"]),
        (&json!("Auth0 Management API"), &json!(true))
    );
    let (status, body) = manager.call("DELETE", &path, None);
    assert_eq!(
        (status, &body["message"]),
        (400, &json!("System resource servers cannot be deleted."))
    );
    manager.refused(
        manager.patch(&path, &json!({ "scopes": [] })),
        "Payload validation error: 'Additional properties not allowed: scopes'.",
    );
    let (status, api) = manager.patch(&path, &json!({ "token_lifetime": 3_600 }));
    assert_eq!(
        (status, &api["token_lifetime"], &api["token_lifetime_for_web"]),
        (200, &json!(3_600), &json!(3_600))
    );

    let my_account = format!("{}me/", manager.authority.issuer);
    let (status, api) = manager.post(
        "/resource-servers",
        &json!({ "identifier": my_account, "name": "Mine" }),
    );
    assert_eq!(status, 201, "{api}");
    assert_eq!(
        (&api["name"], &api["token_lifetime"]),
        (&json!("Auth0 My Account API"), &json!(600))
    );
    assert_eq!(api["is_system"], true);
    assert!(names(&api["scopes"], "value").contains(&"create:me:authentication_methods".to_owned()));
    assert_eq!(
        manager
            .patch(
                &format!("/resource-servers/{}", encoded(&my_account)),
                &json!({ "name": "x" })
            )
            .0,
        400
    );
    assert_eq!(
        manager.delete(&format!("/resource-servers/{}", encoded(&my_account))),
        204
    );
    assert_eq!(
        manager
            .get(&format!("/resource-servers/{}", encoded(&my_account)))
            .0,
        404
    );
}

#[test]
fn lists_have_three_shapes() {
    let manager = Manager::start();
    for n in 0..119 {
        manager.api(&json!({ "identifier": format!("urn:api:{n}") }));
    }
    let (_, list) = manager.get("/resource-servers");
    assert_eq!(list.as_array().unwrap().len(), 50);
    let mut all = Vec::new();
    for page in 0..3 {
        let (_, list) = manager.get(&format!(
            "/resource-servers?page={page}&per_page=50&include_totals=true"
        ));
        assert_eq!(
            (&list["total"], &list["start"], &list["limit"]),
            (&json!(120), &json!(page * 50), &json!(50))
        );
        all.extend(names(&list["resource_servers"], "id"));
    }
    // One page past the end is empty, and no error.
    let (status, list) = manager.get("/resource-servers?page=3&per_page=50");
    assert_eq!((status, list), (200, json!([])));
    let mut cursor = Vec::new();
    let mut next = String::new();
    for _ in 0..3 {
        let (status, list) = manager.get(&format!("/resource-servers?take=50{next}&include_totals=true"));
        assert_eq!(status, 200, "{list}");
        assert_eq!(list.get("total"), None);
        cursor.extend(names(&list["resource_servers"], "id"));
        next = list["next"]
            .as_str()
            .map(|next| format!("&from={next}"))
            .unwrap_or_default();
    }
    assert!(next.is_empty(), "the last page names no next one");
    assert_eq!((all.len(), &all), (120, &cursor));
    let wanted = "identifiers=urn%3Aapi%3A7&identifiers=urn%3Aapi%3A8&identifiers=urn%3Anone";
    let (_, list) = manager.get(&format!("/resource-servers?{wanted}"));
    let mut found = names(&list, "identifier");
    found.sort();
    assert_eq!(found, ["urn:api:7", "urn:api:8"]);
    for (query, parameter) in [
        ("per_page=101", "per_page"),
        ("page=-1", "page"),
        ("include_totals=yes", "include_totals"),
        ("take=0", "take"),
        ("from=%00", "from"),
    ] {
        let (status, body) = manager.get(&format!("/resource-servers?{query}"));
        assert_eq!(
            (status, &body["errorCode"]),
            (400, &json!("invalid_query_string")),
            "{query}"
        );
        let message = body["message"].as_str().unwrap();
        assert!(
            message.starts_with("Query validation error: '") && message.contains(parameter),
            "{message}"
        );
    }
    assert_eq!(manager.get("/resource-servers?per_page=1&newer=true").0, 200);
}

#[test]
fn an_application_has_what_clients_expect() {
    let manager = Manager::start();
    let client = manager.client(&json!({ "name": "svc", "app_type": "non_interactive" }));
    let id = client["client_id"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(client["client_secret"].as_str().unwrap().len(), 64);
    for (member, value) in [
        ("name", json!("svc")),
        ("global", json!(false)),
        ("is_first_party", json!(true)),
        ("oidc_conformant", json!(false)),
        (
            "jwt_configuration",
            json!({ "secret_encoded": false, "lifetime_in_seconds": 36_000 }),
        ),
        (
            "grant_types",
            json!([
                "authorization_code",
                "implicit",
                "refresh_token",
                "client_credentials"
            ]),
        ),
        ("custom_login_page_on", json!(true)),
    ] {
        assert_eq!(client[member], value, "{member}");
    }
    assert_eq!(client["refresh_token"]["idle_token_lifetime"], 2_592_000);
    let path = format!("/clients/{id}");
    // Some members are merged.
    let (status, changed) = manager.patch(
        &path,
        &json!({ "jwt_configuration": { "alg": "RS256" }, "description": "d" }),
    );
    assert_eq!(status, 200);
    assert_eq!(
        changed["jwt_configuration"],
        json!({ "secret_encoded": false, "lifetime_in_seconds": 36_000, "alg": "RS256" })
    );
    assert_eq!(changed["client_secret"], client["client_secret"]);
    let (_, changed) = manager.patch(&path, &json!({ "description": null }));
    assert_eq!(changed.get("description"), None);
    let (status, rotated) = manager.post(&format!("{path}/rotate-secret"), &json!({}));
    assert_eq!(status, 200);
    assert_ne!(rotated["client_secret"], client["client_secret"]);
    let (_, only) = manager.get(&format!("{path}?fields=client_id,name"));
    assert_eq!(only, json!({ "client_id": id, "name": "svc" }));
    let (_, without) = manager.get(&format!("{path}?fields=client_secret&include_fields=false"));
    assert!(without.get("client_secret").is_none() && without["name"] == "svc");
    for (body, message) in [
        (
            json!({}),
            "Payload validation error: 'Missing required property: name'.",
        ),
        (
            json!({ "name": "a", "token_endpoint_auth_method": "none", "grant_types": ["client_credentials"] }),
            "Invalid grant types: client_credentials",
        ),
        (
            json!({ "name": "a", "grant_types": ["magic"] }),
            "Invalid grant types: magic",
        ),
        (
            json!({ "name": "a", "client_id": "mine" }),
            "Payload validation error: 'Additional properties not allowed: client_id'.",
        ),
    ] {
        manager.refused(manager.post("/clients", &body), message);
    }
    assert_eq!(manager.delete(&path), 204);
    let (status, body) = manager.get(&path);
    assert_eq!(
        (status, body),
        (
            404,
            json!({
                "statusCode": 404, "error": "Not Found",
                "message": "The client does not exist", "errorCode": "inexistent_client",
            })
        )
    );
}

#[test]
fn applications_are_listed_by_what_they_are() {
    let manager = Manager::start();
    manager.client(&json!({ "name": "spa", "app_type": "spa", "token_endpoint_auth_method": "none" }));
    manager.client(&json!({ "name": "third", "app_type": "native", "is_first_party": false }));
    let named = |query: &str| {
        let (status, list) = manager.get(&format!("/clients?{query}"));
        assert_eq!(status, 200, "{list}");
        let mut found = names(&list, "name");
        found.sort();
        found
    };
    assert_eq!(named("is_global=false"), ["Administrator", "spa", "third"]);
    assert_eq!(named("app_type=spa,native"), ["spa", "third"]);
    assert_eq!(named("is_first_party=false"), ["third"]);
    assert_eq!(named("is_global=true"), ["All Applications"]);
    assert_eq!(
        manager.get("/clients?q=name%3Aspa").0,
        400,
        "rather than everything"
    );
    let (_, global) = manager.get("/clients?is_global=true");
    assert_eq!(global[0]["global"], true);
    let id = global[0]["client_id"].as_str().unwrap();
    assert_eq!(manager.get(&format!("/clients/{id}")).0, 200);
}

#[test]
fn keys_of_applications_come_in_and_do_not_go_out() {
    let manager = Manager::start();
    let (pem, kid) = public_key();
    let client = manager.client(&json!({
        "name": "signs",
        "client_authentication_methods": { "private_key_jwt": { "credentials": [
            { "name": "first", "credential_type": "public_key", "pem": pem, "alg": "RS256" },
        ] } },
    }));
    let path = format!("/clients/{}/credentials", client["client_id"].as_str().unwrap());
    let (_, list) = manager.get(&path);
    assert_eq!(
        (&list[0]["kid"], &list[0]["alg"], list[0].get("pem")),
        (&json!(kid), &json!("RS256"), None)
    );
    let id = list[0]["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("cred_"), "{id}");
    assert_eq!(
        client["client_authentication_methods"],
        json!({ "private_key_jwt": { "credentials": [{ "id": id }] } })
    );
    let (status, body) = manager.post(&path, &json!({ "credential_type": "public_key", "pem": pem }));
    assert_eq!(status, 409, "{body}");
    let (other, other_kid) = public_key();
    let (status, second) = manager.post(
        &path,
        &json!({ "credential_type": "public_key", "pem": other, "alg": "PS256", "expires_at": "2031-01-01T00:00:00+01:00" }),
    );
    assert_eq!(status, 201, "{second}");
    assert_eq!(
        (&second["kid"], &second["expires_at"]),
        (&json!(other_kid), &json!("2030-12-31T23:00:00.000Z"))
    );
    assert_eq!(second.get("pem"), None);
    let second = format!("{path}/{}", second["id"].as_str().unwrap());
    let (status, changed) = manager.patch(&second, &json!({ "expires_at": null }));
    assert_eq!((status, changed.get("expires_at")), (200, None));
    assert_eq!(manager.get(&second), (200, changed));
    let (third, _) = public_key();
    assert_eq!(
        manager
            .post(&path, &json!({ "credential_type": "public_key", "pem": third }))
            .0,
        403
    );
    for bad in [
        json!({ "credential_type": "public_key", "pem": "no key" }),
        json!({ "credential_type": "public_key", "pem": third, "alg": "HS256" }),
        json!({ "credential_type": "public_key", "pem": third, "expires_at": "tomorrow" }),
        json!({ "credential_type": "public_key", "pem": third, "parse_expiry_from_cert": true }),
        json!({ "pem": third }),
    ] {
        assert_eq!(manager.post(&path, &bad).0, 400, "{bad}");
    }
    // The one in use stays, the other goes.
    assert_eq!(manager.delete(&format!("{path}/{id}")), 400);
    assert_eq!(manager.delete(&second), 204);
    assert_eq!(manager.get(&second).0, 404);
    // A certificate may say when it expires.
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    assert_eq!(
        manager
            .post(
                &path,
                &json!({ "credential_type": "public_key", "pem": certificate.cert.pem() })
            )
            .0,
        400,
        "not RSA"
    );
}

#[test]
fn grants_follow_the_rules() {
    let manager = Manager::start();
    manager.api(&json!({ "identifier": "urn:items", "scopes": [{ "value": "read" }, { "value": "write" }] }));
    let client = manager.client(&json!({ "name": "svc" }));
    let id = &client["client_id"];
    let (status, grant) = manager.post(
        "/client-grants",
        &json!({ "client_id": id, "audience": "urn:items", "scope": ["read", "write"] }),
    );
    assert_eq!(status, 201);
    assert_eq!(
        grant,
        json!({
            "id": grant["id"], "client_id": id, "audience": "urn:items", "scope": ["read", "write"], "subject_type": "client",
        })
    );
    assert!(grant["id"].as_str().unwrap().starts_with("cgr_"));
    for (body, status, message) in [
        (
            json!({ "client_id": id, "audience": "urn:items", "scope": [] }),
            409,
            "A resource with type client_grant already exists.",
        ),
        (
            json!({ "client_id": id, "audience": "urn:none", "scope": [] }),
            404,
            "No resource with identifier urn:none",
        ),
        (
            json!({ "client_id": "nobody", "audience": "urn:items" }),
            404,
            "Client not found",
        ),
        (
            json!({ "client_id": id, "audience": "urn:items", "subject_type": "user", "scope": ["delete"] }),
            400,
            "Payload validation error: scope must be a subset of resource server scopes.",
        ),
        (
            json!({ "audience": "urn:items" }),
            400,
            "Payload validation error: 'Missing required property: client_id'.",
        ),
        (
            json!({ "client_id": id, "scope": [] }),
            400,
            "Payload validation error: 'Missing required property: audience'.",
        ),
        (
            json!({ "client_id": id, "audience": "urn:items", "authorization_details_types": ["pay"] }),
            400,
            "Payload validation error: 'authorization_details_types is for subject_type user only'.",
        ),
    ] {
        let (found, answer) = manager.post("/client-grants", &body);
        assert_eq!(
            (found, answer["message"].as_str()),
            (status, Some(message)),
            "{body}"
        );
    }
    let path = format!("/client-grants/{}", grant["id"].as_str().unwrap());
    let (_, all) = manager.patch(&path, &json!({ "allow_all_scopes": true }));
    assert_eq!((all.get("scope"), &all["allow_all_scopes"]), (None, &json!(true)));
    let (_, none) = manager.patch(&path, &json!({ "allow_all_scopes": false, "scope": [] }));
    assert_eq!(
        (&none["scope"], &none["allow_all_scopes"]),
        (&json!([]), &json!(false))
    );
    manager.refused(
        manager.patch(&path, &json!({ "audience": "urn:other" })),
        "Payload validation error: 'Additional properties not allowed: audience'.",
    );
    manager.patch(&path, &json!({ "scope": ["read", "write"] }));
    // A permission that the API has no more is granted no more.
    manager.patch(
        "/resource-servers/urn%3Aitems",
        &json!({ "scopes": [{ "value": "read" }] }),
    );
    assert_eq!(manager.get(&path).1["scope"], json!(["read"]));
    let (_, list) = manager.get(&format!(
        "/client-grants?audience=urn%3Aitems&client_id={}",
        id.as_str().unwrap()
    ));
    assert_eq!(names(&list, "id"), [grant["id"].as_str().unwrap()]);
    assert_eq!(manager.get("/client-grants?subject_type=user").1, json!([]));
    let (_, page) = manager.get("/client-grants?take=1");
    assert_eq!(page["client_grants"].as_array().unwrap().len(), 1);
    // An application takes its grants along.
    assert_eq!(manager.delete(&format!("/clients/{}", id.as_str().unwrap())), 204);
    let (status, body) = manager.get(&path);
    assert_eq!(
        (status, &body["message"]),
        (404, &json!("The grant does not exist."))
    );
    let (status, body) = manager.patch(&path, &json!({ "scope": [] }));
    assert_eq!(
        (status, &body["message"]),
        (404, &json!("The client grant does not exist."))
    );
    assert_eq!(manager.delete(&path), 204);
}

#[test]
fn roles_and_permissions_of_users() {
    let manager = Manager::start();
    manager.api(&json!({
        "identifier": "urn:items", "name": "Items",
        "scopes": [{ "value": "read", "description": "Read items" }, { "value": "write" }],
    }));
    let permission =
        |name: &str| json!({ "resource_server_identifier": "urn:items", "permission_name": name });
    let permissions = |name: &str| json!({ "permissions": [permission(name)] });
    let (status, role) = manager.post("/roles", &json!({ "name": "reader", "description": "Reads" }));
    assert_eq!((status, &role["name"]), (200, &json!("reader")));
    let role_id = role["id"].as_str().unwrap();
    assert!(role_id.starts_with("rol_"));
    assert_eq!(manager.post("/roles", &json!({ "name": "reader" })).0, 409);
    let role_path = format!("/roles/{role_id}");
    let (status, body) = manager.post(&format!("{role_path}/permissions"), &permissions("read"));
    assert_eq!((status, body), (201, json!({})));
    assert_eq!(
        manager
            .post(&format!("{role_path}/permissions"), &permissions("none"))
            .0,
        400
    );
    assert_eq!(
        manager.get(&format!("{role_path}/permissions")).1,
        json!([{
            "permission_name": "read", "description": "Read items",
            "resource_server_name": "Items", "resource_server_identifier": "urn:items",
        }])
    );
    let (status, user) = manager.post(
        "/users",
        &json!({ "email": "ada@example.com", "password": "correct horse", "connection": "Username-Password-Authentication" }),
    );
    assert_eq!(status, 201, "{user}");
    assert!(user.get("password").is_none() && !user.to_string().contains("argon2"));
    let user_path = format!("/users/{}", encoded(user["user_id"].as_str().unwrap()));
    assert_eq!(
        manager.post("/users", &json!({ "email": "ADA@example.com" })).0,
        409
    );
    assert_eq!(manager.post("/users", &json!({ "email": "nonsense" })).0, 400);
    assert_eq!(
        manager
            .post(
                "/users",
                &json!({ "email": "bob@example.com", "password": "short" })
            )
            .0,
        400
    );
    assert_eq!(
        manager
            .post(&format!("{user_path}/roles"), &json!({ "roles": [role_id] }))
            .0,
        204
    );
    assert_eq!(
        manager
            .post(&format!("{user_path}/roles"), &json!({ "roles": ["rol_none"] }))
            .0,
        404
    );
    assert_eq!(
        manager
            .post(&format!("{user_path}/permissions"), &permissions("write"))
            .0,
        201
    );
    assert_eq!(
        manager
            .post(&format!("{user_path}/permissions"), &permissions("read"))
            .0,
        201
    );
    let (_, list) = manager.get(&format!("{user_path}/permissions"));
    assert_eq!(names(&list, "permission_name"), ["write", "read"]);
    assert_eq!(
        list[1]["sources"],
        json!([
            { "source_id": "", "source_name": "", "source_type": "DIRECT" },
            { "source_id": role_id, "source_name": "reader", "source_type": "ROLE" },
        ])
    );
    let (_, list) = manager.get(&format!("{user_path}/roles?include_totals=true"));
    assert_eq!(
        (&list["total"], &list["roles"][0]["id"]),
        (&json!(1), &json!(role_id))
    );
    let (_, list) = manager.get(&format!("{role_path}/users"));
    assert_eq!(names(&list, "email"), ["ada@example.com"]);
    // A body in DELETE, as clients send it.
    assert_eq!(
        manager
            .call(
                "DELETE",
                &format!("{user_path}/permissions"),
                Some(&permissions("read"))
            )
            .0,
        204
    );
    assert_eq!(
        manager
            .call(
                "DELETE",
                &format!("{role_path}/permissions"),
                Some(&permissions("read"))
            )
            .0,
        204
    );
    assert_eq!(
        names(
            &manager.get(&format!("{user_path}/permissions")).1,
            "permission_name"
        ),
        ["write"]
    );
    // A permission that the API has no more is nobody's.
    manager.patch("/resource-servers/urn%3Aitems", &json!({ "scopes": [] }));
    assert_eq!(manager.get(&format!("{user_path}/permissions")).1, json!([]));
    let (status, changed) = manager.patch(&role_path, &json!({ "name": "watcher" }));
    assert_eq!((status, &changed["name"]), (200, &json!("watcher")));
    assert_eq!(
        names(&manager.get("/roles?name_filter=WATCH").1, "name"),
        ["watcher"]
    );
    assert_eq!(manager.call("DELETE", &role_path, None), (200, json!({})));
    assert_eq!(manager.get(&role_path).0, 404);
    assert_eq!(manager.get(&format!("{user_path}/roles")).1, json!([]));
    let (_, changed) = manager.patch(&user_path, &json!({ "user_metadata": { "a": 1, "b": 2 } }));
    assert_eq!(changed["user_metadata"], json!({ "a": 1, "b": 2 }));
    let (_, changed) = manager.patch(&user_path, &json!({ "user_metadata": { "a": null } }));
    assert_eq!(changed["user_metadata"], json!({ "b": 2 }));
    assert_eq!(manager.delete(&user_path), 204);
    assert_eq!(manager.get(&user_path).0, 404);
}

#[test]
fn signing_keys_are_rotated_and_revoked() {
    let manager = Manager::start();
    let (_, keys) = manager.get("/keys/signing");
    assert_eq!(keys.as_array().unwrap().len(), 2);
    assert!(!keys.to_string().contains("PRIVATE"));
    let (next, current) = (&keys[0], &keys[1]);
    assert_eq!((&next["next"], &current["current"]), (&json!(true), &json!(true)));
    let old = current["kid"].as_str().unwrap();
    let (status, body) = manager.call("PUT", &format!("/keys/signing/{old}/revoke"), None);
    assert_eq!(status, 400, "{body}");
    let (status, rotated) = manager.post("/keys/signing/rotate", &json!({}));
    assert_eq!(status, 201);
    assert!(
        ![&next["kid"], &current["kid"]].contains(&&rotated["kid"]),
        "{rotated}"
    );
    assert!(
        rotated["cert"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert_eq!(
        manager
            .get(&format!("/keys/signing/{}", next["kid"].as_str().unwrap()))
            .1["current"],
        true
    );
    // The token of before is still good: its key has been retired, not revoked.
    let (status, key) = manager.get(&format!("/keys/signing/{old}"));
    assert_eq!((status, &key["previous"]), (200, &json!(true)));
    let (id, secret) = (&manager.authority.client_id, &manager.authority.client_secret);
    let newer = token(
        &manager.authority,
        id,
        secret,
        &manager.authority.management_audience(),
    );
    let (status, _) = manager.call_as(&newer, "PUT", &format!("/keys/signing/{old}/revoke"), None);
    assert_eq!(status, 200);
    let (status, body) = manager.get("/keys/signing");
    assert_eq!((status, &body["message"]), (401, &json!("Invalid token")));
    assert_eq!(manager.call_as(&newer, "GET", "/keys/signing/none", None).0, 404);
    let (_, keys) = manager.call_as(&newer, "GET", "/keys/signing", None);
    assert_eq!(keys.as_array().unwrap().len(), 3);
    assert_eq!(keys[2]["revoked"], true);
}

#[test]
fn only_who_may_gets_in() {
    let manager = Manager::start();
    let list = "/resource-servers";
    let response = manager.send("GET", list, &[], b"");
    assert_eq!(
        read(&response),
        (
            401,
            json!({
                "statusCode": 401, "error": "Unauthorized", "message": "Missing authentication",
                "attributes": { "error": "Missing authentication" },
            })
        )
    );
    assert!(
        response
            .head
            .field("www-authenticate")
            .unwrap()
            .starts_with("Bearer ")
    );
    for bad in ["Bearer nonsense", "Bearer", "Basic YTpi", "Bearer a b"] {
        let (status, body) = read(&manager.send("GET", list, &[("authorization", bad)], b""));
        if bad == "Basic YTpi" {
            assert_eq!(status, 401, "{body}");
        } else {
            assert_eq!(
                (status, &body["message"]),
                (400, &json!("Bad HTTP authentication header format")),
                "{bad}"
            );
        }
    }
    let (head, signature) = manager.token.rsplit_once('.').unwrap();
    let mut forged: Vec<char> = signature.chars().collect();
    forged[9] = if forged[9] == 'A' { 'B' } else { 'A' };
    let forged = format!("{head}.{}", forged.into_iter().collect::<String>());
    let (status, body) = manager.call_as(&forged, "GET", list, None);
    assert_eq!(
        (status, &body["message"]),
        (
            401,
            &json!("Invalid signature received for JSON Web Token validation")
        )
    );
    // Another audience of the same issuer.
    manager.api(&json!({ "identifier": "urn:items", "scopes": [{ "value": "read:resource_servers" }] }));
    let grant = json!({ "client_id": manager.authority.client_id, "audience": "urn:items", "scope": ["read:resource_servers"] });
    assert_eq!(manager.post("/client-grants", &grant).0, 201);
    let other = token(
        &manager.authority,
        &manager.authority.client_id,
        &manager.authority.client_secret,
        "urn:items",
    );
    let (status, body) = manager.call_as(&other, "GET", list, None);
    assert_eq!((status, &body["message"]), (401, &json!("Invalid token")));
    // Too little.
    let reader = manager.token_with(&["read:resource_servers"]);
    assert_eq!(manager.call_as(&reader, "GET", list, None).0, 200);
    let (status, body) = manager.call_as(&reader, "POST", list, Some(&json!({ "identifier": "urn:mine" })));
    assert_eq!(
        (status, body),
        (
            403,
            json!({
                "statusCode": 403, "error": "Forbidden", "errorCode": "insufficient_scope",
                "message": "Insufficient scope, expected any of: create:resource_servers",
            })
        )
    );
    assert_eq!(
        manager.get("/resource-servers/urn%3Amine").0,
        404,
        "nothing was made"
    );
    let (status, body) = manager.call_as(&reader, "GET", "/clients", None);
    assert_eq!(
        (status, &body["message"]),
        (
            403,
            &json!(
                "Insufficient scope, expected any of: read:clients,read:client_keys,read:client_credentials,read:client_summary"
            )
        )
    );
}

#[test]
fn a_secret_is_shown_to_whoever_may_read_it() {
    let manager = Manager::start();
    let client = manager.client(&json!({ "name": "svc" }));
    let secret = client["client_secret"].as_str().unwrap();
    let path = format!("/clients/{}", client["client_id"].as_str().unwrap());
    let less = manager.token_with(&["read:clients", "update:clients", "read:client_credentials"]);
    for (method, path, body) in [
        ("GET", path.as_str(), None),
        ("GET", "/clients", None),
        ("GET", "/clients?include_totals=true", None),
        ("GET", "/clients?take=10", None),
        ("GET", &format!("{path}?fields=client_secret"), None),
        ("PATCH", &path, Some(json!({ "description": "changed" }))),
    ] {
        let (status, answer) = manager.call_as(&less, method, path, body.as_ref());
        assert_eq!(status, 200, "{answer}");
        let text = answer.to_string();
        assert!(
            !text.contains("client_secret") && !text.contains(secret),
            "{method} {path}: {text}"
        );
        assert!(
            !text.contains(&manager.authority.client_secret),
            "{method} {path}"
        );
    }
    assert_eq!(manager.get(&path).1["client_secret"], secret);
    let chosen = json!({ "client_secret": "chosen-by-somebody-else" });
    let (status, body) = manager.call_as(&less, "PATCH", &path, Some(&chosen));
    assert_eq!((status, &body["errorCode"]), (403, &json!("insufficient_scope")));
    assert_eq!(manager.get(&path).1["client_secret"], secret);
    assert_eq!(
        manager.patch(&path, &chosen).1["client_secret"],
        "chosen-by-somebody-else"
    );
}

#[test]
fn heads_of_answers() {
    let manager = Manager::start();
    let authorization = format!("Bearer {}", manager.token);
    let send = |method: &str, path: &str, fields: &[(&str, &str)]| {
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend(fields);
        manager.send(method, path, &all, b"")
    };
    let first = send("GET", "/roles", &[("x-correlation-id", "abc-123")]);
    assert_eq!(first.head.field("x-correlation-id"), Some("abc-123"));
    assert_eq!(
        first.head.field("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(first.head.field("cache-control"), Some("no-store"));
    let number = |name: &str| first.head.field(name).unwrap().parse::<i64>().unwrap();
    assert!(number("x-ratelimit-remaining") < number("x-ratelimit-limit"));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(
        (number("x-ratelimit-reset") - i64::try_from(now.as_secs()).unwrap()).abs() <= 5,
        "never far away"
    );
    let long = "x".repeat(65);
    assert_eq!(
        send("GET", "/roles", &[("x-correlation-id", &long)])
            .head
            .field("x-correlation-id"),
        None
    );
    let wrong = send("DELETE", "/resource-servers", &[]);
    assert_eq!(
        (wrong.status, wrong.head.field("allow")),
        (405, Some("GET, HEAD, POST"))
    );
    let nowhere = send("GET", "/nowhere", &[]);
    assert_eq!(
        read(&nowhere),
        (
            404,
            json!({ "statusCode": 404, "error": "Not Found", "message": "Not Found" })
        )
    );
}

#[test]
fn bodies_that_are_no_bodies() {
    let manager = Manager::start();
    let authorization = format!("Bearer {}", manager.token);
    let send = |kind: &str, body: &[u8]| {
        let fields = [("authorization", authorization.as_str()), ("content-type", kind)];
        read(&manager.send("POST", "/resource-servers", &fields, body))
    };
    for body in ["{", "nonsense", "{\"identifier\":}", "\u{0}"] {
        manager.refused(
            send("application/json", body.as_bytes()),
            "Invalid request payload JSON format",
        );
    }
    for (body, kind) in [
        ("", "null"),
        ("[]", "array"),
        ("\"x\"", "string"),
        ("1", "integer"),
    ] {
        manager.refused(
            send("application/json", body.as_bytes()),
            &format!("Payload validation error: 'Expected type object but found type {kind}'."),
        );
    }
    let (status, api) = send(
        "application/x-www-form-urlencoded",
        b"identifier=urn%3Aform&name=A+form",
    );
    assert_eq!((status, &api["name"]), (201, &json!("A form")));
    let large = format!(
        "{{\"identifier\":\"urn:a\",\"name\":\"{}\"}}",
        "x".repeat(1 << 20)
    );
    let fields = [("authorization", authorization.as_str())];
    assert_eq!(
        manager
            .send("POST", "/resource-servers", &fields, large.as_bytes())
            .status,
        413
    );
    let deep = "[".repeat(100_000);
    assert_eq!(send("application/json", deep.as_bytes()).0, 400);
}

#[test]
fn the_document_is_there_for_everybody() {
    let manager = Manager::start();
    let (status, document) = read(&manager.send("GET", "/openapi.json", &[], b""));
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    assert!(document["paths"]["/api/v2/resource-servers/{id}"]["patch"].is_object());
}
