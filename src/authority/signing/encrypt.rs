//! Encrypting a signed token for the key of its API: a compact JWE around the JWS (RFC 7516, RFC 7519 section 5.2).
//!
//! The content key is fresh for each token, and so is everything that depends on it. `token` decrypts.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::SigningError;
use crate::authority::ids;
use crate::definition::{EncryptionAlg, EncryptionKey};
use crate::token::public_rsa_key;

/// Encrypts a compact JWS with A256GCM, the content key wrapped for `key`.
///
/// # Errors
/// [`SigningError::NoEncryptionKey`], [`SigningError::Encryption`].
pub(crate) fn encrypt(token: &str, key: &EncryptionKey) -> Result<String, SigningError> {
    let failed = |_error| SigningError::Encryption;
    let recipient = recipient(key).ok_or(SigningError::NoEncryptionKey)?;
    let mut content_key = Zeroizing::new(vec![0; 32]);
    content_key.copy_from_slice(&ids::random::<32>().map_err(|_error| SigningError::Encryption)?);
    let mut wrapped = vec![0; recipient.ciphertext_size()];
    let algorithm = match key.alg {
        EncryptionAlg::RsaOaep256 => &OAEP_SHA256_MGF1SHA256,
        EncryptionAlg::RsaOaep384 => &OAEP_SHA384_MGF1SHA384,
        EncryptionAlg::RsaOaep512 => &OAEP_SHA512_MGF1SHA512,
    };
    let wrapped = recipient
        .encrypt(algorithm, &content_key, &mut wrapped, None)
        .map_err(failed)?;
    let mut jwe = URL_SAFE_NO_PAD.encode(header(key));
    // The key is used once, so any nonce is fresh for it.
    let iv: [u8; NONCE_LEN] = ids::random().map_err(|_error| SigningError::Encryption)?;
    let mut content = token.as_bytes().to_vec();
    let tag = UnboundKey::new(&AES_256_GCM, &content_key)
        .and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(iv);
            LessSafeKey::new(key).seal_in_place_separate_tag(nonce, Aad::from(jwe.as_bytes()), &mut content)
        })
        .map_err(failed)?;
    for part in [&*wrapped, &iv, &content, tag.as_ref()] {
        jwe.push('.');
        URL_SAFE_NO_PAD.encode_string(part, &mut jwe);
    }
    Ok(jwe)
}

fn recipient(key: &EncryptionKey) -> Option<OaepPublicEncryptingKey> {
    let public = public_rsa_key(key.pem.as_deref()?.as_bytes())?;
    let der = AsDer::<PublicKeyX509Der<'_>>::as_der(&public).ok()?;
    let public = PublicEncryptingKey::from_der(der.as_ref()).ok()?;
    OaepPublicEncryptingKey::new(public).ok()
}

/// `kid` only where the definition has one.
fn header(key: &EncryptionKey) -> Vec<u8> {
    let alg = match key.alg {
        EncryptionAlg::RsaOaep256 => "RSA-OAEP-256",
        EncryptionAlg::RsaOaep384 => "RSA-OAEP-384",
        EncryptionAlg::RsaOaep512 => "RSA-OAEP-512",
    };
    let mut header = Map::new();
    for (name, value) in [("alg", alg), ("enc", "A256GCM"), ("cty", "JWT")] {
        header.insert(name.into(), value.into());
    }
    if let Some(kid) = &key.kid {
        header.insert("kid".into(), Value::from(kid.as_str()));
    }
    // A map of texts always serialises.
    serde_json::to_vec(&header).unwrap_or_default()
}
