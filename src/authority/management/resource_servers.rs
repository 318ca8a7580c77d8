//! Resource servers: what is stored is what was set, and the definition that it says.
//!
//! A change names what changes: what is not named stays, `null` takes away what can be taken away, `scopes` replaces the
//! whole list. The rules on values are those of `definition`, which the gateway enforces by.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::refusal::{Absent, Refusal};
use super::{contract, list};
use crate::authority::model::{Api, Draft};
use crate::authority::{Answer, AuthoritySettings, ids};
use crate::token::public_thumbprint;

/// `GET /resource-servers`
pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let wanted = call.texts("identifiers");
    let is_wanted = |api: &Api| {
        let identifier = api.definition.identifier.as_str();
        wanted.as_ref().is_none_or(|wanted| wanted.contains(&identifier))
    };
    let found = call.tenant.apis().filter(|api| is_wanted(api)).collect();
    list::answer(
        call,
        "resource_servers",
        found,
        |api| api.id.clone(),
        |api| Value::Object(shown(api)),
    )
}

/// `GET /resource-servers/{id}`
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let api = call
        .id()?
        .find(|id| call.tenant.api(id))
        .ok_or(Absent::ResourceServer)?;
    Ok(Answer::json(StatusCode::OK, &Value::Object(shown(api))))
}

/// `POST /resource-servers`
pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let settings = call.authority.settings();
    let identifier = call
        .body()
        .get("identifier")
        .and_then(Value::as_str)
        .unwrap_or_default();
    check_reserved(identifier, settings)?;
    let mut document = defaults();
    if identifier == my_account_audience(settings) {
        document.extend(my_account(identifier));
    } else {
        change(&mut document, call.body())?;
        if document.get("signing_alg").is_some_and(|alg| alg == "HS256")
            && !document.contains_key("signing_secret")
        {
            document.insert("signing_secret".into(), Value::from(ids::secret()?));
        }
    }
    let api = read(&ids::object_id()?, document)?;
    call.authority
        .state()
        .write(|draft| draft.put_api(&api).map_err(Refusal::from))
        .await?;
    Ok(Answer::json(StatusCode::CREATED, &Value::Object(shown(&api))))
}

/// `PATCH /resource-servers/{id}`
pub(super) async fn update(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let changed = |draft: &mut Draft| {
        let api = id
            .find(|id| draft.api(id).cloned())
            .ok_or(Absent::ResourceServer)?;
        if api.definition.is_system {
            let faults = contract::of_system_api()?.faults(&Value::Object(call.body().clone()));
            if !faults.is_empty() {
                return Err(Refusal::body(&faults));
            }
        }
        let mut document = api.whole_document();
        change(&mut document, call.body())?;
        let api = read(&api.id, document)?;
        draft.put_api(&api)?;
        Ok(api)
    };
    let api = call.authority.state().write(changed).await?;
    Ok(Answer::json(StatusCode::OK, &Value::Object(shown(&api))))
}

/// `DELETE /resource-servers/{id}`
pub(super) async fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let my_account = my_account_audience(call.authority.settings());
    let deleted = |draft: &mut Draft| -> Result<(), Refusal> {
        let Some(api) = id.find(|id| draft.api(id).cloned()) else {
            return Ok(());
        };
        if api.definition.identifier == my_account {
            // Of the authority, and yet to be had or not to be had.
            let mut document = api.whole_document();
            document.remove("is_system");
            draft.put_api(&read(&api.id, document)?)?;
        }
        Ok(draft.remove_api(&api.id)?)
    };
    call.authority.state().write(deleted).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// What everybody who may read APIs is shown: of the key that tokens are encrypted for, its thumbprint.
fn shown(api: &Api) -> Map<String, Value> {
    let mut document = api.whole_document();
    let key = document
        .get_mut("token_encryption")
        .and_then(|encryption| encryption.get_mut("encryption_key"))
        .and_then(Value::as_object_mut);
    if let Some(key) = key {
        key.remove("pem");
    }
    document
}

/// What an answer has although nobody has set it.
fn defaults() -> Map<String, Value> {
    members(json!({
        "allow_offline_access": false,
        "skip_consent_for_verifiable_first_party_clients": false,
        "subject_type_authorization": {
            "client": { "policy": "require_client_grant" },
            "user": { "policy": "allow_all" },
        },
        "token_lifetime": 86_400,
        "token_lifetime_for_web": 7_200,
        "signing_alg": "RS256",
    }))
}

fn my_account_audience(settings: &AuthoritySettings) -> String {
    format!("{}me/", settings.issuer)
}

/// Whatever is sent with this identifier, this is what comes of it.
fn my_account(identifier: &str) -> Map<String, Value> {
    let scopes = [
        (
            "create:me:authentication_methods",
            "Create authentication methods",
        ),
        ("read:me:authentication_methods", "Read authentication methods"),
        (
            "update:me:authentication_methods",
            "Update authentication methods",
        ),
        (
            "delete:me:authentication_methods",
            "Delete authentication methods",
        ),
        ("read:me:factors", "Read factors"),
        ("create:me:connected_accounts", "Create connected accounts"),
        ("read:me:connected_accounts", "Read connected accounts"),
        ("delete:me:connected_accounts", "Delete connected accounts"),
    ];
    let scopes: Vec<Value> = scopes
        .iter()
        .map(|(value, description)| json!({ "value": value, "description": description }))
        .collect();
    members(json!({
        "name": "Auth0 My Account API",
        "identifier": identifier,
        "scopes": scopes,
        "token_lifetime": 600,
        "token_lifetime_for_web": 600,
        "subject_type_authorization": {
            "client": { "policy": "deny_all" },
            "user": { "policy": "require_client_grant" },
        },
        "proof_of_possession": { "mechanism": "dpop", "required": false },
        "is_system": true,
    }))
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Identifiers that the authority uses itself.
fn check_reserved(identifier: &str, settings: &AuthoritySettings) -> Result<(), Refusal> {
    let is_reserved = identifier
        .strip_prefix(settings.issuer.as_str())
        .is_some_and(|rest| matches!(rest, "" | "api/v2/" | "userinfo" | "mfa/"));
    if is_reserved {
        return Err(Refusal::Rule("The selected identifier is reserved."));
    }
    Ok(())
}

/// Makes the changes of a body to a document.
fn change(document: &mut Map<String, Value>, body: &Map<String, Value>) -> Result<(), Refusal> {
    for (name, value) in body {
        match (name.as_str(), value) {
            // An empty mapping is what documentation calls the way to remove all permissions.
            ("scopes", Value::Null | Value::Object(_)) => {
                document.insert("scopes".into(), json!([]));
            }
            ("signing_alg", alg) => change_alg(document, alg)?,
            ("subject_type_authorization", Value::Object(types)) => {
                if let Some(Value::Object(known)) = document.get_mut("subject_type_authorization") {
                    known.extend(types.clone());
                } else {
                    document.insert(name.clone(), value.clone());
                }
            }
            ("token_encryption", Value::Object(encryption)) => {
                document.insert(name.clone(), with_thumbprint(encryption)?);
            }
            (_, Value::Null) => drop(document.remove(name)),
            _ => drop(document.insert(name.clone(), value.clone())),
        }
    }
    if document.contains_key("signing_secret") && document.get("signing_alg").is_none_or(|alg| alg != "HS256")
    {
        return Err(Refusal::reason("signing_secret is for HS256 only"));
    }
    // A lower lifetime takes the one for the web along, unless somebody says what that is to be.
    if !body.contains_key("token_lifetime_for_web")
        && let (Some(all), Some(web)) = (
            seconds(document, "token_lifetime"),
            seconds(document, "token_lifetime_for_web"),
        )
        && web > all
    {
        document.insert("token_lifetime_for_web".into(), Value::from(all));
    }
    Ok(())
}

fn seconds(document: &Map<String, Value>, name: &str) -> Option<u64> {
    document.get(name)?.as_u64()
}

/// The algorithm of an API that is there stays. A new one has only the default.
fn change_alg(document: &mut Map<String, Value>, alg: &Value) -> Result<(), Refusal> {
    if document.contains_key("id") && document.get("signing_alg") != Some(alg) {
        return Err(Refusal::reason("signing_alg cannot be changed after creation"));
    }
    document.insert("signing_alg".into(), alg.clone());
    Ok(())
}

fn with_thumbprint(encryption: &Map<String, Value>) -> Result<Value, Refusal> {
    let mut encryption = encryption.clone();
    if let Some(Value::Object(key)) = encryption.get_mut("encryption_key") {
        key.retain(|_, value| !value.is_null());
        let pem = key.get("pem").and_then(Value::as_str).unwrap_or_default();
        let thumbprint = public_thumbprint(pem.as_bytes()).ok_or_else(|| {
            Refusal::Body(
                "'Neither an RSA public key nor a certificate of one' on property token_encryption.encryption_key.pem".into(),
            )
        })?;
        key.insert("thumbprint_sha256".into(), Value::from(&*thumbprint));
    }
    Ok(Value::Object(encryption))
}

/// The definition that a document says, with everything that is wrong with it.
fn read(id: &str, document: Map<String, Value>) -> Result<Api, Refusal> {
    Api::from_document(id, document).map_err(|faults| {
        let reasons: Vec<String> = faults.iter().map(|fault| format!("'{fault}'")).collect();
        Refusal::body(&reasons)
    })
}
