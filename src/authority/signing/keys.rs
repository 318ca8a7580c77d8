//! Making signing keys, and their way through the rotation: next, current, previous, revoked.
//!
//! A key is published before it signs and stays published after it has ceased to, so that no verifier meets a token
//! of a key that it could not know. Revoking takes a key out of the key set at once.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::authority::ids::{self, NoRandomness};
use crate::authority::model::{Draft, Fault, KeyRecord, KeyState};

/// Why a key could not be made or moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The system has no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The library refused.
    #[error("a signing key could not be made")]
    Generation,
    /// There is no such key.
    #[error("there is no signing key of this kid")]
    NoKey,
    /// The key signs, or is to sign next: rotate first.
    #[error("the key is in use; rotate before it is revoked")]
    InUse,
    /// The change was refused.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A fresh RSA-2048 key with a self-signed certificate. Takes a good part of a second.
///
/// # Errors
/// [`KeyFault::Randomness`], [`KeyFault::Generation`].
pub(crate) fn generate(state: KeyState, now: i64, name: &str) -> Result<KeyRecord, KeyFault> {
    let failed = |_error| KeyFault::Generation;
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_error| KeyFault::Generation)?;
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_error| KeyFault::Generation)?;
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from(der.as_ref().to_vec());
    let private_key = STANDARD.encode(der.secret_pkcs8_der()).into();
    let signer =
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).map_err(failed)?;
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let certificate = parameters.self_signed(&signer).map_err(failed)?;
    Ok(KeyRecord {
        kid: ids::alphanumeric(21)?,
        state,
        created_at: now,
        current_since: (state == KeyState::Current).then_some(now),
        retired_at: None,
        revoked_at: None,
        certificate: STANDARD.encode(certificate.der()),
        private_key,
    })
}

/// The next key becomes the current one, the current one the previous, and `fresh` the next. What was previous before
/// is revoked. Returns the `kid` that signs from now on.
///
/// # Errors
/// [`KeyFault::NoKey`] where there is no next key.
pub(crate) fn rotate(draft: &mut Draft, fresh: &KeyRecord, now: i64) -> Result<String, KeyFault> {
    let keys: Vec<KeyRecord> = draft.keys().map(|key| KeyRecord::clone(key)).collect();
    let next = keys.iter().find(|key| key.state == KeyState::Next);
    let current = next.ok_or(KeyFault::NoKey)?.kid.clone();
    for mut key in keys {
        key.state = match key.state {
            KeyState::Next => {
                key.current_since = Some(now);
                KeyState::Current
            }
            KeyState::Current => {
                key.retired_at = Some(now);
                KeyState::Previous
            }
            KeyState::Previous => {
                key.revoked_at = Some(now);
                KeyState::Revoked
            }
            KeyState::Revoked => continue,
        };
        draft.put_key(&key)?;
    }
    draft.put_key(fresh)?;
    Ok(current)
}

/// A previous key is not published any more: what it signed is refused from now on.
///
/// # Errors
/// [`KeyFault::NoKey`], [`KeyFault::InUse`].
pub(crate) fn revoke(draft: &mut Draft, kid: &str, now: i64) -> Result<(), KeyFault> {
    let mut keys = draft.keys();
    let mut key = keys
        .find(|key| key.kid == kid)
        .map(|key| KeyRecord::clone(key))
        .ok_or(KeyFault::NoKey)?;
    drop(keys);
    if matches!(key.state, KeyState::Current | KeyState::Next) {
        return Err(KeyFault::InUse);
    }
    if key.state == KeyState::Revoked {
        return Ok(());
    }
    key.state = KeyState::Revoked;
    key.revoked_at = Some(now);
    Ok(draft.put_key(&key)?)
}
