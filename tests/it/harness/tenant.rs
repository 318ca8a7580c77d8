//! What a test puts into the authority, past the Management API, and how it asks the token endpoint.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use scopegate::authority::model::{Api, Client, Credential, Draft, Fault, Grant, PermissionRef, Role, User};
use serde_json::{Map, Value, json};

use super::authority::RunningAuthority;
use super::client;
use super::http1::Response;

/// The secret of every client that a test makes.
pub(crate) const SECRET: &str = "the-secret-of-a-client-that-nobody-may-ever-see-0123456789_-ABC";

/// The members of an object.
#[track_caller]
pub(crate) fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

/// Header and claims of a compact JWS, as they are written; nothing is verified.
#[track_caller]
pub(crate) fn parts(token: &str) -> (String, String) {
    let parts: Vec<String> = token
        .split('.')
        .take(2)
        .map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    (parts[0].clone(), parts[1].clone())
}

/// The claims of a token.
#[track_caller]
pub(crate) fn claims(token: &str) -> Value {
    serde_json::from_str(&parts(token).1).unwrap()
}

/// The value of `Authorization` for the scheme `Basic`.
pub(crate) fn basic(client_id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client_id}:{secret}")))
}

/// A form.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

impl RunningAuthority {
    /// Changes what it knows.
    #[track_caller]
    pub(crate) fn change(&self, change: impl Fn(&mut Draft) -> Result<(), Fault>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.authority.state().write(change)).unwrap();
    }

    /// Adds or replaces an API; its id comes of its identifier.
    #[track_caller]
    pub(crate) fn put_api(&self, document: Value) {
        let mut hasher = DefaultHasher::new();
        document["identifier"].as_str().unwrap().hash(&mut hasher);
        let id = format!("{:024x}", hasher.finish());
        let api = Api::from_document(&id, members(document)).unwrap();
        self.change(|draft| draft.put_api(&api));
    }

    /// Adds or replaces a client with [`SECRET`], that may use client credentials unless its document says otherwise.
    #[track_caller]
    pub(crate) fn put_client(&self, client_id: &str, document: Value) {
        self.put_client_with(client_id, document, Vec::new());
    }

    /// The same, with public keys.
    #[track_caller]
    pub(crate) fn put_client_with(&self, client_id: &str, document: Value, credentials: Vec<Credential>) {
        let mut document = members(document);
        document.entry("name").or_insert_with(|| json!(client_id));
        document
            .entry("grant_types")
            .or_insert_with(|| json!(["client_credentials"]));
        let mut client = Client::new(client_id, document, Some(SECRET));
        client.credentials = credentials;
        self.change(|draft| draft.put_client(&client));
    }

    /// Adds or replaces a grant of a client for itself.
    #[track_caller]
    pub(crate) fn put_grant(&self, client_id: &str, audience: &str, rest: Value) {
        let mut grant = json!({
            "id": format!("cgr_{client_id}_{audience}_{}", rest["subject_type"]),
            "client_id": client_id, "audience": audience,
        });
        for (name, value) in members(rest) {
            grant[name] = value;
        }
        let grant: Grant = serde_json::from_value(grant).unwrap();
        self.change(|draft| draft.put_grant(&grant));
    }

    /// Adds or replaces a user, with the hash of a password, and direct permissions of one API.
    #[track_caller]
    pub(crate) fn put_user(
        &self,
        document: Value,
        password: &str,
        roles: &[&str],
        permissions: &[(&str, &str)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let hash = runtime.block_on(self.authority.hash_password(password.to_owned().into()));
        let user = User {
            user_id: format!("auth0|{}", document["email"].as_str().unwrap()),
            document: members(document),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            permissions: permissions.iter().map(permission).collect(),
            password_hash: hash,
        };
        self.change(|draft| draft.put_user(&user));
    }

    /// Adds or replaces a role.
    #[track_caller]
    pub(crate) fn put_role(&self, id: &str, permissions: &[(&str, &str)]) {
        let role = Role {
            id: id.into(),
            name: id.into(),
            description: None,
            permissions: permissions.iter().map(permission).collect(),
        };
        self.change(|draft| draft.put_role(&role));
    }

    /// A form, sent to the token endpoint.
    #[track_caller]
    pub(crate) fn ask(&self, fields: &[(&str, &str)]) -> Response {
        self.ask_with(&[], fields)
    }

    /// The same with header fields.
    #[track_caller]
    pub(crate) fn ask_with(&self, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Response {
        self.send_form("/oauth/token", headers, fields)
    }

    /// A form, sent to an address.
    #[track_caller]
    pub(crate) fn send_form(
        &self,
        target: &str,
        headers: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Response {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend(headers);
        client::post(self.address, target, &all, form(fields).as_bytes())
    }

    /// Asks with client credentials and [`SECRET`].
    #[track_caller]
    pub(crate) fn ask_for(&self, client_id: &str, audience: &str, more: &[(&str, &str)]) -> Response {
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", SECRET),
            ("audience", audience),
        ];
        fields.extend(more);
        self.ask(&fields)
    }

    /// The access token of a client for itself.
    #[track_caller]
    pub(crate) fn token_of(&self, client_id: &str, audience: &str) -> String {
        access_token(&self.ask_for(client_id, audience, &[]))
    }
}

fn permission((api, name): &(&str, &str)) -> PermissionRef {
    PermissionRef {
        resource_server_identifier: (*api).into(),
        permission_name: (*name).into(),
    }
}

/// The access token of an answer that must have one.
#[track_caller]
pub(crate) fn access_token(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["access_token"].as_str().unwrap().to_owned()
}

/// Status, `error` and `error_description` of a refusal.
#[track_caller]
pub(crate) fn refusal(response: &Response) -> (u16, String, String) {
    let body = response.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    assert!(body.get("access_token").is_none(), "{body}");
    assert_eq!(response.field("cache-control"), Some("no-store"), "{body}");
    assert_eq!(response.field("pragma"), Some("no-cache"), "{body}");
    (response.status, text("error"), text("error_description"))
}

/// Checks a refusal.
#[track_caller]
pub(crate) fn assert_refused(response: &Response, status: u16, error: &str, description: &str) {
    let found = refusal(response);
    let found = (found.0, found.1.as_str(), found.2.as_str());
    assert_eq!(found, (status, error, description));
}
