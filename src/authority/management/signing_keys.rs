//! Signing keys: shown by their certificates, rotated, revoked. The private halves never come here.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::refusal::{Absent, Refusal};
use super::time;
use crate::authority::model::{KeyRecord, KeyState};
use crate::authority::{Answer, KeyFault, WriteError};

/// `GET /keys/signing`
pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let mut keys: Vec<_> = call.tenant.keys().collect();
    keys.sort_by_key(|key| match key.state {
        KeyState::Next => 0,
        KeyState::Current => 1,
        KeyState::Previous => 2,
        KeyState::Revoked => 3,
    });
    let keys = keys.into_iter().map(|key| shown(key)).collect();
    Ok(Answer::json(StatusCode::OK, &Value::Array(keys)))
}

/// `GET /keys/signing/{kid}`
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    Ok(Answer::json(StatusCode::OK, &shown(found(call)?)))
}

/// `POST /keys/signing/rotate`: answers with the key that comes next.
pub(super) async fn rotate(call: &Call<'_>) -> Result<Answer, Refusal> {
    let next = call.authority.rotate_keys().await.map_err(refusal)?;
    Ok(Answer::json(StatusCode::CREATED, &brief(&next)))
}

/// `PUT /keys/signing/{kid}/revoke`
pub(super) async fn revoke(call: &Call<'_>) -> Result<Answer, Refusal> {
    let key = found(call)?;
    call.authority.revoke_key(&key.kid).await.map_err(refusal)?;
    Ok(Answer::json(StatusCode::OK, &brief(key)))
}

fn found<'a>(call: &'a Call<'_>) -> Result<&'a Arc<KeyRecord>, Refusal> {
    let key = call
        .id()?
        .find(|kid| call.tenant.keys().find(|key| key.kid == kid));
    Ok(key.ok_or(Absent::Key)?)
}

fn refusal(error: WriteError<KeyFault>) -> Refusal {
    match error {
        WriteError::Refused(fault) => fault.into(),
        WriteError::Store(error) => WriteError::<Refusal>::Store(error).into(),
        WriteError::Unreadable(error) => WriteError::<Refusal>::Unreadable(error).into(),
    }
}

fn brief(key: &KeyRecord) -> Value {
    json!({ "kid": key.kid, "cert": pem(&key.certificate) })
}

fn shown(key: &KeyRecord) -> Value {
    let thumbprint = STANDARD.decode(&key.certificate).unwrap_or_default();
    let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &thumbprint);
    let bytes: Vec<String> = thumbprint
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let mut shown = json!({
        "kid": key.kid,
        "cert": pem(&key.certificate),
        "fingerprint": bytes.join(":"),
        "thumbprint": bytes.concat(),
        "revoked": key.state == KeyState::Revoked,
    });
    if let Some(members) = shown.as_object_mut() {
        let place = match key.state {
            KeyState::Next => Some("next"),
            KeyState::Current => Some("current"),
            KeyState::Previous => Some("previous"),
            KeyState::Revoked => None,
        };
        if let Some(place) = place {
            members.insert(place.into(), Value::Bool(true));
        }
        for (name, at) in [
            ("current_since", key.current_since),
            ("current_until", key.retired_at),
            ("revoked_at", key.revoked_at),
        ] {
            if let Some(at) = at.and_then(time::of_seconds) {
                members.insert(name.into(), Value::from(at));
            }
        }
    }
    shown
}

/// Base64 of DER as PEM (RFC 7468), which has lines of 64 characters.
pub(super) fn pem(certificate: &str) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\r\n");
    let mut rest = certificate;
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push_str("\r\n");
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----");
    text
}
