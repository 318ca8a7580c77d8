//! Keys that tokens are signed with: made, rotated, published, used.
//!
//! RS256 and PS256 share the RSA keys of the tenant, which are parsed once and not per token. HS256 is signed with the
//! secret of the API. `oauth` says what is signed, this says how.

mod encrypt;
mod keys;
mod publish;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{self, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::model::KeyRecord;
use crate::definition::SigningAlg;

pub(crate) use encrypt::encrypt;
pub use keys::KeyFault;
pub(crate) use keys::{generate, revoke, rotate};
pub(crate) use publish::jwks;

/// Parsed keys by `kid`: parsing one costs as much as a few signatures.
#[derive(Debug, Default)]
pub(crate) struct Signers(Mutex<HashMap<String, Arc<Signer>>>);

/// A parsed key.
pub(crate) struct Signer {
    kid: String,
    pair: KeyPair,
}

/// A token could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SigningError {
    /// The stored key cannot be read.
    #[error("the signing key {0} cannot be read")]
    Unreadable(String),
    /// An algorithm that the authority does not sign with.
    #[error("the authority does not sign with {0}")]
    Algorithm(&'static str),
    /// There is no key that signs.
    #[error("there is no signing key")]
    NoKey,
    /// The API has no secret.
    #[error("the API has no signing secret")]
    NoSecret,
    /// The API wants encrypted tokens and has no RSA key for it.
    #[error("the API has no usable key to encrypt tokens for")]
    NoEncryptionKey,
    /// The library refused.
    #[error("the token could not be encrypted")]
    Encryption,
    /// The library refused.
    #[error("the signature could not be made")]
    Failed,
}

impl Signers {
    /// The parsed form of a key.
    ///
    /// # Errors
    /// [`SigningError::Unreadable`].
    pub(crate) fn get(&self, record: &KeyRecord) -> Result<Arc<Signer>, SigningError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = known.get(&record.kid) {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(Signer::parse(record)?);
        // Keys come and go with rotations, a handful at a time.
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(record.kid.clone(), Arc::clone(&signer));
        Ok(signer)
    }
}

impl Signer {
    fn parse(record: &KeyRecord) -> Result<Self, SigningError> {
        let unreadable = || SigningError::Unreadable(record.kid.clone());
        let der = STANDARD
            .decode(record.private_key.as_bytes())
            .map(zeroize::Zeroizing::new)
            .map_err(|_error| unreadable())?;
        Ok(Self {
            kid: record.kid.clone(),
            pair: KeyPair::from_pkcs8(&der).map_err(|_error| unreadable())?,
        })
    }

    /// The public half: modulus and exponent, without leading zeros.
    pub(super) fn public_numbers(&self) -> (Vec<u8>, Vec<u8>) {
        let public = self.pair.public_key();
        (
            public.modulus().big_endian_without_leading_zero().to_vec(),
            public.exponent().big_endian_without_leading_zero().to_vec(),
        )
    }

    /// A compact JWS (RFC 7515 section 7.1) under an RSA algorithm. `typ` is that of the profile.
    ///
    /// # Errors
    /// [`SigningError`].
    pub(crate) fn sign(
        &self,
        alg: SigningAlg,
        typ: &str,
        claims: &Map<String, Value>,
    ) -> Result<String, SigningError> {
        let padding: &'static dyn signature::RsaEncoding = match alg {
            SigningAlg::RS256 => &signature::RSA_PKCS1_SHA256,
            SigningAlg::PS256 => &signature::RSA_PSS_SHA256,
            other => return Err(SigningError::Algorithm(other.name())),
        };
        let mut token = signing_input(alg, typ, Some(&self.kid), claims);
        let mut made = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(padding, &SystemRandom::new(), token.as_bytes(), &mut made)
            .map_err(|_error| SigningError::Failed)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(made, &mut token);
        Ok(token)
    }
}

/// A compact JWS under HS256. It names no key: there is only the secret of the API.
///
/// # Errors
/// [`SigningError::Algorithm`].
pub(crate) fn sign_with_secret(
    alg: SigningAlg,
    secret: &[u8],
    typ: &str,
    claims: &Map<String, Value>,
) -> Result<String, SigningError> {
    if alg != SigningAlg::HS256 {
        return Err(SigningError::Algorithm(alg.name()));
    }
    let mut token = signing_input(alg, typ, None, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(tag, &mut token);
    Ok(token)
}

fn signing_input(alg: SigningAlg, typ: &str, kid: Option<&str>, claims: &Map<String, Value>) -> String {
    let mut header = Map::new();
    header.insert("alg".into(), Value::from(alg.name()));
    header.insert("typ".into(), Value::from(typ));
    if let Some(kid) = kid {
        header.insert("kid".into(), Value::from(kid));
    }
    let part = |members: &Map<String, Value>| {
        // A map of JSON values always serialises.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(members).unwrap_or_default())
    };
    format!("{}.{}", part(&header), part(claims))
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {}", self.kid)
    }
}

/// Parsed keys that are kept.
const MOST: usize = 16;
