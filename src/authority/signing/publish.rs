//! The key set that verifiers fetch (RFC 7517).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Signers, SigningError};
use crate::authority::model::{KeyRecord, KeyState, Tenant};
use crate::definition::SigningAlg;

/// Current, next and previous keys. `alg` is left out once an API asks for PS256: the keys then sign with both, and a
/// verifier that sees `RS256` would not take them for the other.
///
/// # Errors
/// A stored key that cannot be read.
pub(crate) fn jwks(tenant: &Tenant, signers: &Signers) -> Result<Value, SigningError> {
    let is_mixed = tenant
        .apis()
        .any(|api| api.definition.signing_alg == SigningAlg::PS256);
    let mut published: Vec<_> = tenant
        .keys()
        .filter(|key| key.state != KeyState::Revoked)
        .collect();
    published.sort_by_key(|key| match key.state {
        KeyState::Current => 0,
        KeyState::Next => 1,
        KeyState::Previous | KeyState::Revoked => 2,
    });
    let keys = published
        .into_iter()
        .map(|key| jwk(key, signers, is_mixed))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "keys": keys }))
}

fn jwk(key: &KeyRecord, signers: &Signers, is_mixed: bool) -> Result<Value, SigningError> {
    let (modulus, exponent) = signers.get(key)?.public_numbers();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let certificate = STANDARD
        .decode(&key.certificate)
        .map_err(|_error| SigningError::Unreadable(key.kid.clone()))?;
    let mut jwk = json!({
        "kty": "RSA",
        "use": "sig",
        "n": number(&modulus),
        "e": number(&exponent),
        "kid": key.kid,
        "x5t": number(digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate).as_ref()),
        "x5c": [key.certificate],
    });
    if let (false, Some(members)) = (is_mixed, jwk.as_object_mut()) {
        members.insert("alg".into(), Value::from("RS256"));
    }
    Ok(jwk)
}
