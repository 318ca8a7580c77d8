//! What each command asks of the Management API.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    ApiCommand, AppCommand, Command, GrantCommand, KeysCommand, Made, PermissionCommand, TokenArguments,
};
use crate::control::{CallError, ManagementClient, ask_for_token, path_segment};
use crate::net::Fetcher;

const APIS: &[&str] = &["identifier", "name", "signing_alg", "token_dialect", "scopes"];
const PERMISSIONS: &[&str] = &["value", "description"];
const APPS: &[&str] = &["client_id", "name", "app_type", "grant_types"];
const GRANTS: &[&str] = &["id", "client_id", "audience", "scope"];
const KEYS: &[&str] = &["kid", "current", "next", "previous", "revoked"];
/// As the Management API allows.
const PAGE: usize = 100;

/// Makes the calls of a command.
pub(super) async fn make(client: &ManagementClient, command: &Command) -> Result<Made, CallError> {
    match command {
        Command::Api(command) => api(client, command).await,
        Command::Permission(command) => permission(client, command).await,
        Command::App(command) => app(client, command).await,
        Command::Grant(command) => grant(client, command).await,
        Command::Keys(command) => keys(client, command).await,
    }
}

/// The answer of the token endpoint.
pub(super) async fn token(fetcher: &Fetcher, arguments: &TokenArguments) -> Result<Value, CallError> {
    let mut asked = json!({
        "grant_type": "client_credentials",
        "client_id": arguments.app,
        "client_secret": arguments.secret,
        "audience": arguments.api,
    });
    if let (false, Some(members)) = (arguments.scopes.is_empty(), asked.as_object_mut()) {
        members.insert("scope".into(), Value::from(arguments.scopes.join(" ")));
    }
    Ok(ask_for_token(fetcher, &arguments.issuer, &asked).await?.body)
}

/// Header and claims of a token; `None` for one that is encrypted.
pub(super) fn decoded(token: &str) -> Option<Value> {
    let mut parts = token.split('.').map(|part| -> Option<Value> {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice(&bytes).ok()
    });
    let (header, claims) = (parts.next()??, parts.next()??);
    Some(json!({ "header": header, "claims": claims }))
}

async fn api(client: &ManagementClient, command: &ApiCommand) -> Result<Made, CallError> {
    match command {
        ApiCommand::Create {
            identifier,
            name,
            permissions,
            json,
        } => {
            let mut body = members(json.as_deref())?;
            body.insert("identifier".into(), Value::from(identifier.as_str()));
            if let Some(name) = name {
                body.insert("name".into(), Value::from(name.as_str()));
            }
            if !permissions.is_empty() {
                body.insert(
                    "scopes".into(),
                    permissions.iter().map(|text| scope(text)).collect(),
                );
            }
            one(client, Method::POST, "resource-servers", Some(body)).await
        }
        ApiCommand::List => list(client, "resource-servers", APIS).await,
        ApiCommand::Show { api } => one(client, Method::GET, &api_path(api), None).await,
        ApiCommand::Update { api, json } => {
            let body = members(Some(json))?;
            one(client, Method::PATCH, &api_path(api), Some(body)).await
        }
        ApiCommand::Delete { api } => gone(client, &api_path(api), format!("{api} is deleted")).await,
    }
}

async fn permission(client: &ManagementClient, command: &PermissionCommand) -> Result<Made, CallError> {
    let (PermissionCommand::Create { api, .. }
    | PermissionCommand::List { api }
    | PermissionCommand::Delete { api, .. }) = command;
    let path = api_path(api);
    let api = client.call(Method::GET, &path, None, &[]).await?.body;
    let mut scopes = api
        .get("scopes")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    match command {
        PermissionCommand::List { .. } => return Ok(Made::List(PERMISSIONS, scopes)),
        PermissionCommand::Create { permissions, .. } => {
            for text in permissions {
                let new = scope(text);
                // A description that is given again replaces the old one.
                scopes.retain(|known| known.get("value") != new.get("value"));
                scopes.push(new);
            }
        }
        PermissionCommand::Delete { permissions, .. } => {
            let goes = |known: &Value| {
                let name = known.get("value").and_then(Value::as_str).unwrap_or_default();
                permissions.iter().any(|gone| gone == name)
            };
            scopes.retain(|known| !goes(known));
        }
    }
    let body = json!({ "scopes": scopes });
    let changed = client.call(Method::PATCH, &path, Some(&body), &[]).await?.body;
    let scopes = changed.get("scopes").and_then(Value::as_array).cloned();
    Ok(Made::List(PERMISSIONS, scopes.unwrap_or_default()))
}

async fn app(client: &ManagementClient, command: &AppCommand) -> Result<Made, CallError> {
    match command {
        AppCommand::Create { name, json } => {
            let mut body = members(json.as_deref())?;
            body.insert("name".into(), Value::from(name.as_str()));
            body.entry("app_type")
                .or_insert_with(|| Value::from("non_interactive"));
            body.entry("grant_types")
                .or_insert_with(|| json!(["client_credentials"]));
            one(client, Method::POST, "clients", Some(body)).await
        }
        AppCommand::List => list(client, "clients", APPS).await,
        AppCommand::Show { app } => one(client, Method::GET, &app_path(app), None).await,
        AppCommand::Update { app, json } => {
            let body = members(Some(json))?;
            one(client, Method::PATCH, &app_path(app), Some(body)).await
        }
        AppCommand::RotateSecret { app } => {
            let path = format!("{}/rotate-secret", app_path(app));
            one(client, Method::POST, &path, None).await
        }
        AppCommand::Delete { app } => gone(client, &app_path(app), format!("{app} is deleted")).await,
    }
}

async fn grant(client: &ManagementClient, command: &GrantCommand) -> Result<Made, CallError> {
    match command {
        GrantCommand::Create {
            app,
            api,
            permissions,
        } => {
            let body = json!({ "client_id": app, "audience": api, "scope": permissions });
            one(client, Method::POST, "client-grants", body.as_object().cloned()).await
        }
        GrantCommand::List { app, api } => {
            let filters = [("client_id", app), ("audience", api)];
            let filters: String = filters
                .iter()
                .filter_map(|(name, value)| Some(format!("&{name}={}", path_segment(value.as_ref()?))))
                .collect();
            list_with(client, "client-grants", &filters, GRANTS).await
        }
        GrantCommand::Update { grant, permissions } => {
            let path = format!("client-grants/{}", path_segment(grant));
            let body = json!({ "scope": permissions });
            one(client, Method::PATCH, &path, body.as_object().cloned()).await
        }
        GrantCommand::Delete { grant } => {
            let path = format!("client-grants/{}", path_segment(grant));
            gone(client, &path, format!("{grant} is deleted")).await
        }
    }
}

async fn keys(client: &ManagementClient, command: &KeysCommand) -> Result<Made, CallError> {
    match command {
        KeysCommand::List => {
            let said = client.call(Method::GET, "keys/signing", None, &[]).await?;
            let keys = said.body.as_array().cloned().ok_or(CallError::Unexpected)?;
            Ok(Made::List(KEYS, keys))
        }
        KeysCommand::Rotate => {
            let said = client
                .call(Method::POST, "keys/signing/rotate", None, &[])
                .await?;
            let kid = said.body.get("kid").and_then(Value::as_str).unwrap_or_default();
            Ok(Made::Done(format!("{kid} signs from now on")))
        }
        KeysCommand::Revoke { kid } => {
            let path = format!("keys/signing/{}/revoke", path_segment(kid));
            client.call(Method::PUT, &path, None, &[]).await?;
            Ok(Made::Done(format!("{kid} is revoked: what it signed is refused")))
        }
    }
}

async fn one(
    client: &ManagementClient,
    method: Method,
    path: &str,
    body: Option<Map<String, Value>>,
) -> Result<Made, CallError> {
    let body = body.map(Value::Object);
    let said = client.call(method, path, body.as_ref(), &[]).await?;
    Ok(Made::One(said.body))
}

async fn gone(client: &ManagementClient, path: &str, sentence: String) -> Result<Made, CallError> {
    client.call(Method::DELETE, path, None, &[]).await?;
    Ok(Made::Done(sentence))
}

async fn list(
    client: &ManagementClient,
    path: &str,
    members: &'static [&'static str],
) -> Result<Made, CallError> {
    list_with(client, path, "", members).await
}

/// Every page.
async fn list_with(
    client: &ManagementClient,
    path: &str,
    filters: &str,
    members: &'static [&'static str],
) -> Result<Made, CallError> {
    let mut all = Vec::new();
    for page in 0.. {
        let path = format!("{path}?page={page}&per_page={PAGE}{filters}");
        let said = client.call(Method::GET, &path, None, &[]).await?;
        let found = said.body.as_array().cloned().ok_or(CallError::Unexpected)?;
        let is_last = found.len() < PAGE;
        all.extend(found);
        if is_last {
            break;
        }
    }
    Ok(Made::List(members, all))
}

fn api_path(api: &str) -> String {
    format!("resource-servers/{}", path_segment(api))
}

fn app_path(app: &str) -> String {
    format!("clients/{}", path_segment(app))
}

/// `read:items=Read items` as an element of `scopes`.
fn scope(text: &str) -> Value {
    match text.split_once('=') {
        Some((value, description)) => json!({ "value": value, "description": description }),
        None => json!({ "value": text }),
    }
}

/// The members of `--json`.
fn members(json: Option<&str>) -> Result<Map<String, Value>, CallError> {
    let Some(json) = json else { return Ok(Map::new()) };
    match serde_json::from_str(json) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(CallError::Argument("--json must be a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_with_and_without_description() {
        assert_eq!(scope("read:items"), json!({ "value": "read:items" }));
        assert_eq!(
            scope("read:items=Read = items"),
            json!({ "value": "read:items", "description": "Read = items" })
        );
    }

    #[test]
    fn only_signed_tokens_are_decoded() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let token = format!("{}.{}.sig", part(r#"{"alg":"RS256"}"#), part(r#"{"sub":"a"}"#));
        assert_eq!(
            decoded(&token),
            Some(json!({ "header": { "alg": "RS256" }, "claims": { "sub": "a" } }))
        );
        let encrypted = format!("{}.{}.a.b.c", part(r#"{"alg":"RSA-OAEP"}"#), part("\u{1}\u{2}"));
        assert_eq!(decoded(&encrypted), None);
        assert_eq!(decoded(""), None);
    }
}
