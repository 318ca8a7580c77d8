//! Signing keys: shown by their certificates, rotated, revoked. The private halves never come here.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::refusal::{Absent, Refusal};
use super::time;
use crate::authority::model::{Draft, KeyRecord, KeyState};
use crate::authority::{Answer, signing, unix_now};

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
    let key = call
        .id()?
        .find(|kid| call.tenant.keys().find(|key| key.kid == kid));
    Ok(Answer::json(StatusCode::OK, &shown(key.ok_or(Absent::Key)?)))
}

/// `POST /keys/signing/rotate`
pub(super) async fn rotate(call: &Call<'_>) -> Result<Answer, Refusal> {
    let (now, issuer) = (unix_now(), call.authority.settings().issuer.clone());
    // A good part of a second, in which tokens are to be issued.
    let fresh = tokio::task::spawn_blocking(move || signing::generate(KeyState::Next, now, &issuer));
    let fresh = fresh.await.map_err(|_ended| Refusal::Internal)??;
    let rotated = |draft: &mut Draft| -> Result<Value, Refusal> {
        let kid = signing::rotate(draft, &fresh, now)?;
        let current = draft.keys().find(|key| key.kid == kid).ok_or(Absent::Key)?;
        Ok(json!({ "kid": kid, "cert": pem(&current.certificate) }))
    };
    let current = call.authority.state().write(rotated).await?;
    Ok(Answer::json(StatusCode::CREATED, &current))
}

/// `PUT /keys/signing/{kid}/revoke`
pub(super) async fn revoke(call: &Call<'_>) -> Result<Answer, Refusal> {
    let kid = call.id()?;
    let revoked = |draft: &mut Draft| -> Result<Value, Refusal> {
        let find = |kid: &str| draft.keys().find(|key| key.kid == kid).cloned();
        let key = kid.find(find).ok_or(Absent::Key)?;
        signing::revoke(draft, &key.kid, unix_now())?;
        Ok(json!({ "kid": key.kid, "cert": pem(&key.certificate) }))
    };
    let revoked = call.authority.state().write(revoked).await?;
    Ok(Answer::json(StatusCode::OK, &revoked))
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
        if let Some(since) = time::of_seconds(key.created_at) {
            members.insert("current_since".into(), Value::from(since));
        }
        if let Some(until) = key.retired_at.and_then(time::of_seconds) {
            members.insert("current_until".into(), Value::from(until));
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
