//! Applications. Their secrets are shown to whoever made them or may read them, and to nobody else.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::refusal::{Absent, Refusal};
use super::{credentials, list, signing_keys};
use crate::authority::model::{Client, Draft};
use crate::authority::{Answer, ids};

/// Who sees the secret of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrets {
    Shown,
    Hidden,
}

impl Secrets {
    fn of(call: &Call<'_>) -> Self {
        if call.has_scope("read:client_keys") {
            Self::Shown
        } else {
            Self::Hidden
        }
    }
}

/// `GET /clients`
pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let secrets = Secrets::of(call);
    if call.text("q").is_some() {
        // A filter that is passed over would show what nobody asked for.
        return Err(Refusal::Query("'Not supported' on property q".into()));
    }
    if call.flag("is_global") == Some(true) {
        let found = vec![global(call)];
        return list::answer(
            call,
            "clients",
            found,
            |_| String::new(),
            |client| list::with_fields(call, client.clone()),
        );
    }
    let kinds: Option<Vec<&str>> = call
        .text("app_type")
        .map(|kinds| kinds.split(',').map(str::trim).collect());
    let is_wanted = |client: &Client| {
        kinds
            .as_ref()
            .is_none_or(|kinds| client.text("app_type").is_some_and(|kind| kinds.contains(&kind)))
            && call
                .flag("is_first_party")
                .is_none_or(|wanted| is_first_party(client) == wanted)
            && call
                .text("external_client_id")
                .is_none_or(|id| client.text("external_client_id") == Some(id))
    };
    let found = call.tenant.clients().filter(|client| is_wanted(client)).collect();
    list::answer(
        call,
        "clients",
        found,
        |client| client.client_id.clone(),
        |client| list::with_fields(call, shown(call, client, secrets)),
    )
}

/// `GET /clients/{id}`
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let shown = match id.find(|id| call.tenant.client(id)) {
        Some(client) => shown(call, client, Secrets::of(call)),
        None => id
            .find(|id| (id == global_id(call)).then(|| global(call)))
            .ok_or(Absent::Client)?,
    };
    Ok(Answer::json(StatusCode::OK, &list::with_fields(call, shown)))
}

/// `POST /clients`
pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let mut body = call.body().clone();
    let made = credentials::inline(&mut body)?;
    let secret = match body.remove("client_secret") {
        Some(Value::String(secret)) => secret,
        _ => ids::secret()?,
    };
    let mut document = defaults();
    change(&mut document, &body);
    if !document.contains_key("grant_types") {
        document.insert("grant_types".into(), default_grant_types(&document));
    }
    check(&document)?;
    let mut client = Client::new(&ids::alphanumeric(32)?, document, Some(&secret));
    client.credentials = made;
    call.authority
        .state()
        .write(|draft| draft.put_client(&client).map_err(Refusal::from))
        .await?;
    let shown = shown(call, &client, Secrets::Shown);
    Ok(Answer::json(StatusCode::CREATED, &Value::Object(shown)))
}

/// `PATCH /clients/{id}`
pub(super) async fn update(call: &Call<'_>) -> Result<Answer, Refusal> {
    let mut body = call.body().clone();
    let secret = match body.remove("client_secret") {
        Some(Value::String(secret)) if call.has_scope("update:client_keys") => Some(secret),
        Some(_) => {
            return Err(Refusal::Scope {
                any_of: "update:client_keys".into(),
                challenge: None,
            });
        }
        None => None,
    };
    let client = changed(call, |client| {
        change(&mut client.document, &body);
        check(&client.document)?;
        credentials::check_named(client)?;
        if let Some(secret) = &secret {
            client.set_secret(secret);
        }
        Ok(())
    })
    .await?;
    let shown = shown(call, &client, Secrets::of(call));
    Ok(Answer::json(StatusCode::OK, &Value::Object(shown)))
}

/// `DELETE /clients/{id}`
pub(super) async fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let deleted = |draft: &mut Draft| -> Result<(), Refusal> {
        match id.find(|id| draft.client(id).cloned()) {
            Some(client) => Ok(draft.remove_client(&client.client_id)?),
            None => Ok(()),
        }
    };
    call.authority.state().write(deleted).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// `POST /clients/{id}/rotate-secret`
pub(super) async fn rotate_secret(call: &Call<'_>) -> Result<Answer, Refusal> {
    let secret = ids::secret()?;
    let client = changed(call, |client| {
        client.set_secret(&secret);
        Ok(())
    })
    .await?;
    let shown = shown(call, &client, Secrets::Shown);
    Ok(Answer::json(StatusCode::OK, &Value::Object(shown)))
}

/// The application that the path names.
pub(super) fn found<'a>(call: &'a Call<'_>) -> Result<&'a Arc<Client>, Refusal> {
    Ok(call
        .id()?
        .find(|id| call.tenant.client(id))
        .ok_or(Absent::Client)?)
}

/// Changes the application that the path names.
pub(super) async fn changed(
    call: &Call<'_>,
    change: impl Fn(&mut Client) -> Result<(), Refusal>,
) -> Result<Client, Refusal> {
    let id = call.id()?;
    let write = |draft: &mut Draft| -> Result<Client, Refusal> {
        let client = id.find(|id| draft.client(id).cloned()).ok_or(Absent::Client)?;
        let mut client = Client::clone(&client);
        change(&mut client)?;
        draft.put_client(&client)?;
        Ok(client)
    };
    Ok(call.authority.state().write(write).await?)
}

fn is_first_party(client: &Client) -> bool {
    client
        .document
        .get("is_first_party")
        .and_then(Value::as_bool)
        .unwrap_or(true)
}

fn shown(call: &Call<'_>, client: &Client, secrets: Secrets) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("tenant".into(), Value::from(tenant_name(call)));
    shown.insert("global".into(), Value::Bool(false));
    shown.extend(client.document.clone());
    shown.insert("client_id".into(), Value::from(client.client_id.as_str()));
    if let (Secrets::Shown, Some(secret)) = (secrets, client.secret()) {
        shown.insert("client_secret".into(), Value::from(secret));
    }
    if let Some(key) = call.tenant.current_key() {
        let cert = signing_keys::pem(&key.certificate);
        shown.insert("signing_keys".into(), json!([{ "cert": cert }]));
    }
    shown
}

/// The host of the issuer, without its port.
fn tenant_name<'a>(call: &'a Call<'_>) -> &'a str {
    let issuer = call.authority.settings().issuer.as_str();
    let host = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let host = host.trim_end_matches('/');
    host.rsplit_once(':').map_or(host, |(host, _port)| host)
}

/// What stands for all applications. It can get no token: the store does not have it.
fn global(call: &Call<'_>) -> Map<String, Value> {
    let shown = json!({
        "tenant": tenant_name(call),
        "global": true,
        "name": "All Applications",
        "client_id": global_id(call),
        "callbacks": [],
        "is_first_party": true,
        "custom_login_page_on": true,
        "grant_types": [],
    });
    shown.as_object().cloned().unwrap_or_default()
}

/// The same in every replica, and no id that an application has: those have 32 characters.
fn global_id(call: &Call<'_>) -> String {
    let hash = digest(&SHA256, call.authority.settings().issuer.as_bytes());
    hash.as_ref()
        .iter()
        .take(20)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "is_first_party": true,
        "is_token_endpoint_ip_header_trusted": false,
        "oidc_conformant": false,
        "jwt_configuration": { "secret_encoded": false, "lifetime_in_seconds": 36_000 },
        "sso_disabled": false,
        "cross_origin_authentication": false,
        "custom_login_page_on": true,
        "refresh_token": {
            "rotation_type": "non-rotating",
            "expiration_type": "non-expiring",
            "leeway": 0,
            "token_lifetime": 31_557_600,
            "infinite_token_lifetime": true,
            "infinite_idle_token_lifetime": true,
            "idle_token_lifetime": 2_592_000,
        },
    });
    defaults.as_object().cloned().unwrap_or_default()
}

/// A public application cannot authenticate itself, and gets no token for itself.
fn default_grant_types(document: &Map<String, Value>) -> Value {
    if is_public(document) {
        json!(["authorization_code", "implicit", "refresh_token"])
    } else {
        json!([
            "authorization_code",
            "implicit",
            "refresh_token",
            "client_credentials"
        ])
    }
}

fn is_public(document: &Map<String, Value>) -> bool {
    document
        .get("token_endpoint_auth_method")
        .is_some_and(|method| method == "none")
}

/// Members of which the members are merged rather than replaced.
const MERGED: [&str; 3] = ["jwt_configuration", "client_metadata", "refresh_token"];

fn change(document: &mut Map<String, Value>, body: &Map<String, Value>) {
    for (name, value) in body {
        match (document.get_mut(name), value) {
            (Some(Value::Object(known)), Value::Object(changes)) if MERGED.contains(&name.as_str()) => {
                known.extend(changes.clone());
                known.retain(|_, value| !value.is_null());
            }
            (_, Value::Null) => drop(document.remove(name)),
            _ => drop(document.insert(name.clone(), value.clone())),
        }
    }
}

/// Every grant type that clients may name. That one is named does not mean that there is an endpoint for it.
const GRANT_TYPES: [&str; 14] = [
    "authorization_code",
    "implicit",
    "refresh_token",
    "client_credentials",
    "password",
    "http://auth0.com/oauth/grant-type/password-realm",
    "http://auth0.com/oauth/grant-type/mfa-oob",
    "http://auth0.com/oauth/grant-type/mfa-otp",
    "http://auth0.com/oauth/grant-type/mfa-recovery-code",
    "http://auth0.com/oauth/grant-type/passwordless/otp",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:openid:params:grant-type:ciba",
];

/// Rules among the members of an application.
fn check(document: &Map<String, Value>) -> Result<(), Refusal> {
    let has = |name: &str| document.contains_key(name);
    if has("token_endpoint_auth_method") && has("client_authentication_methods") {
        return Err(Refusal::reason(
            "token_endpoint_auth_method and client_authentication_methods exclude each other",
        ));
    }
    let types = document.get("grant_types").and_then(Value::as_array);
    let wrong: Vec<&str> = types
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| !GRANT_TYPES.contains(name) || (is_public(document) && *name == "client_credentials"))
        .collect();
    if !wrong.is_empty() {
        return Err(Refusal::Invalid(format!(
            "Invalid grant types: {}",
            wrong.join(", ")
        )));
    }
    Ok(())
}
