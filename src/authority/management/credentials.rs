//! The public keys that applications sign assertions with (`private_key_jwt`, RFC 7523). The key itself is never shown.

use http::StatusCode;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::clients::{changed, found};
use super::refusal::{Absent, Refusal};
use super::time;
use crate::authority::model::{Client, Credential};
use crate::authority::{Answer, ids};
use crate::net::certificate_expiry;
use crate::token::public_thumbprint;

/// Public keys of one application: one that is used, and one to change to.
const MOST: usize = 2;

/// `GET /clients/{id}/credentials`
pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let shown = found(call)?.credentials.iter().map(shown).collect();
    Ok(Answer::json(StatusCode::OK, &Value::Array(shown)))
}

/// `GET /clients/{id}/credentials/{credential_id}`
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let client = found(call)?;
    let find = |id: &str| client.credentials.iter().find(|credential| credential.id == id);
    let credential = call.id_at(1)?.find(find).ok_or(Absent::Credential)?;
    Ok(Answer::json(StatusCode::OK, &shown(credential)))
}

/// `POST /clients/{id}/credentials`
pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let credential = made(call.body())?;
    changed(call, |client| {
        client.credentials.push(credential.clone());
        check_all(&client.credentials)
    })
    .await?;
    Ok(Answer::json(StatusCode::CREATED, &shown(&credential)))
}

/// `PATCH /clients/{id}/credentials/{credential_id}`
pub(super) async fn update(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id_at(1)?;
    let expires_at = match call.body().get("expires_at") {
        Some(Value::String(text)) => Some(Some(expiry(text)?)),
        Some(_) => Some(None),
        None => None,
    };
    let now = time::now();
    let client = changed(call, |client| {
        let position = id.find(|id| {
            client
                .credentials
                .iter()
                .position(|credential| credential.id == id)
        });
        let credential = position.and_then(|position| client.credentials.get_mut(position));
        let credential = credential.ok_or(Absent::Credential)?;
        if let Some(expires_at) = &expires_at {
            credential.expires_at.clone_from(expires_at);
        }
        credential.updated_at.clone_from(&now);
        Ok(())
    })
    .await?;
    let credential = id.find(|id| client.credentials.iter().find(|credential| credential.id == id));
    Ok(Answer::json(
        StatusCode::OK,
        &shown(credential.ok_or(Absent::Credential)?),
    ))
}

/// `DELETE /clients/{id}/credentials/{credential_id}`
pub(super) async fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id_at(1)?;
    changed(call, |client| {
        let position = id.find(|id| {
            client
                .credentials
                .iter()
                .position(|credential| credential.id == id)
        });
        let removed = client.credentials.remove(position.ok_or(Absent::Credential)?);
        if named(&client.document).any(|id| id == removed.id) {
            return Err(Refusal::Rule("The credential is in use and cannot be deleted."));
        }
        Ok(())
    })
    .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// The credentials that a new application comes with; in the body, their ids take their place.
pub(super) fn inline(body: &mut Map<String, Value>) -> Result<Vec<Credential>, Refusal> {
    let methods = body.get_mut("client_authentication_methods");
    let Some(items) = methods.and_then(|methods| methods.pointer_mut("/private_key_jwt/credentials")) else {
        return Ok(Vec::new());
    };
    let given = items.as_array().map(Vec::as_slice).unwrap_or_default();
    let made = given
        .iter()
        .filter_map(Value::as_object)
        .map(made)
        .collect::<Result<Vec<_>, _>>()?;
    check_all(&made)?;
    *items = made
        .iter()
        .map(|credential| json!({ "id": credential.id }))
        .collect();
    Ok(made)
}

/// The credentials that an application says are good must be its own.
pub(super) fn check_named(client: &Client) -> Result<(), Refusal> {
    let is_known = |id: &str| client.credentials.iter().any(|credential| credential.id == id);
    if named(&client.document).all(is_known) {
        Ok(())
    } else {
        Err(Absent::Credential.into())
    }
}

fn named(document: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let methods = document.get("client_authentication_methods");
    let items = methods.and_then(|methods| methods.pointer("/private_key_jwt/credentials"));
    let items = items.and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("id")?.as_str())
}

fn check_all(credentials: &[Credential]) -> Result<(), Refusal> {
    if credentials.len() > MOST {
        return Err(Refusal::Quota);
    }
    match credentials {
        [first, second] if first.kid == second.kid => Err(Refusal::Conflict(
            "A credential with the same key already exists.".into(),
        )),
        _ => Ok(()),
    }
}

fn made(given: &Map<String, Value>) -> Result<Credential, Refusal> {
    let text = |name: &str| given.get(name).and_then(Value::as_str).map(str::to_owned);
    let pem = text("pem").unwrap_or_default();
    let kid = public_thumbprint(pem.as_bytes()).ok_or_else(|| {
        Refusal::Body("'Neither an RSA public key nor a certificate of one' on property pem".into())
    })?;
    let expires_at = match (text("expires_at"), given.get("parse_expiry_from_cert")) {
        (Some(written), _) => Some(expiry(&written)?),
        (None, Some(Value::Bool(true))) => Some(expiry_of_certificate(&pem)?),
        (None, _) => None,
    };
    let now = time::now();
    Ok(Credential {
        id: format!("cred_{}", ids::alphanumeric(16)?),
        name: text("name"),
        credential_type: "public_key".into(),
        kid: kid.into(),
        alg: text("alg").unwrap_or_else(|| "RS256".into()),
        pem,
        created_at: now.clone(),
        updated_at: now,
        expires_at,
    })
}

fn expiry(written: &str) -> Result<String, Refusal> {
    let at = time::read(written).ok_or_else(|| {
        Refusal::Body("'Object didn't pass validation for format date-time' on property expires_at".into())
    })?;
    Ok(time::text(at))
}

fn expiry_of_certificate(pem: &str) -> Result<String, Refusal> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    let at = certificate.and_then(|certificate| certificate_expiry(&certificate));
    at.and_then(time::of_seconds)
        .ok_or_else(|| Refusal::Body("'Not a certificate with an expiry' on property pem".into()))
}

fn shown(credential: &Credential) -> Value {
    let mut shown = serde_json::to_value(credential).unwrap_or_default();
    if let Some(members) = shown.as_object_mut() {
        members.remove("pem");
    }
    shown
}
