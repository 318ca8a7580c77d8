//! A signing key that lives as long as the process: `explain --claims` makes a token of it for the claims that it is
//! shown.
//!
//! The keys are fresh each time and trusted by nobody but the command that made them. Signing is `jsonwebtoken`'s; it
//! parses the key for every token, which is too slow for a token endpoint and of no matter here.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

use crate::definition::SigningAlg;

/// A key pair, or an HMAC secret.
pub(super) struct SigningKey {
    alg: Algorithm,
    key: EncodingKey,
    kid: String,
}

/// The key could not be made or used.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign: {0}")]
pub(super) struct SigningError(String);

impl SigningKey {
    /// A fresh key pair for an algorithm, or the given secret for an HS* one.
    pub(super) fn new(alg: SigningAlg, secret: Option<&[u8]>, kid: &str) -> Result<Self, SigningError> {
        use SigningAlg::{
            ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512,
        };
        let key = match alg {
            HS256 | HS384 | HS512 => {
                EncodingKey::from_secret(secret.ok_or_else(|| SigningError("there is no secret".into()))?)
            }
            RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(failed)?;
                EncodingKey::from_rsa_pem(pem(der.as_ref()).as_bytes()).map_err(failed)?
            }
            ES256 | ES384 => {
                let curve = if alg == ES256 {
                    &ECDSA_P256_SHA256_FIXED_SIGNING
                } else {
                    &ECDSA_P384_SHA384_FIXED_SIGNING
                };
                let pair = EcdsaKeyPair::generate(curve).map_err(failed)?;
                let der = pair.to_pkcs8v1().map_err(failed)?;
                EncodingKey::from_ec_pem(pem(der.as_ref()).as_bytes()).map_err(failed)?
            }
            EdDSA => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                let der = pair.to_pkcs8v1().map_err(failed)?;
                EncodingKey::from_ed_pem(pem(der.as_ref()).as_bytes()).map_err(failed)?
            }
        };
        Ok(Self {
            alg: algorithm(alg),
            key,
            kid: kid.into(),
        })
    }

    /// The public half as a JWKS document.
    pub(super) fn jwks(&self) -> Result<String, SigningError> {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.alg).map_err(failed)?;
        jwk.common.key_id = Some(self.kid.clone());
        jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        serde_json::to_string(&JwkSet { keys: vec![jwk] }).map_err(failed)
    }

    /// A token of this type with these claims.
    pub(super) fn sign(&self, typ: Option<&str>, claims: &Value) -> Result<String, SigningError> {
        let mut header = Header::new(self.alg);
        header.kid = Some(self.kid.clone());
        header.typ = typ.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).map_err(failed)
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

fn algorithm(alg: SigningAlg) -> Algorithm {
    match alg {
        SigningAlg::HS256 => Algorithm::HS256,
        SigningAlg::HS384 => Algorithm::HS384,
        SigningAlg::HS512 => Algorithm::HS512,
        SigningAlg::RS256 => Algorithm::RS256,
        SigningAlg::RS384 => Algorithm::RS384,
        SigningAlg::RS512 => Algorithm::RS512,
        SigningAlg::PS256 => Algorithm::PS256,
        SigningAlg::PS384 => Algorithm::PS384,
        SigningAlg::PS512 => Algorithm::PS512,
        SigningAlg::ES256 => Algorithm::ES256,
        SigningAlg::ES384 => Algorithm::ES384,
        SigningAlg::EdDSA => Algorithm::EdDSA,
    }
}

fn failed(error: impl std::fmt::Display) -> SigningError {
    SigningError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::KeySet;

    #[test]
    fn every_algorithm_makes_a_usable_key() {
        for alg in SigningAlg::ALL {
            let key = SigningKey::new(alg, Some(&[7; 64]), "k").unwrap();
            if alg.is_symmetric() {
                continue;
            }
            let (set, skipped) = KeySet::from_jwks(key.jwks().unwrap().as_bytes()).unwrap();
            assert!(set.contains("k") && skipped.is_empty(), "{alg:?}");
        }
    }
}
