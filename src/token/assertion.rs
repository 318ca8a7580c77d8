//! Assertions by which the gateway proves to an issuer who it is: `private_key_jwt` (RFC 7523 section 2.2, OpenID Connect
//! Core 1.0 section 9).
//!
//! `config` reads the key, `gateway::introspection` has assertions signed. A key never shows itself.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::UnixSeconds;
use crate::definition::SigningAlg;

/// How long an assertion is good. Seconds.
const LIFETIME: i64 = 60;

/// A private key, and how it signs.
#[derive(Clone)]
pub struct AssertionKey {
    alg: Algorithm,
    name: SigningAlg,
    key: EncodingKey,
    kid: Option<String>,
}

/// Why a key cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionFault {
    /// No private key, or a form of it that is not read.
    #[error("it is no RSA or P-256 private key in PEM (PKCS#8, or PKCS#1 for RSA) without a passphrase")]
    Unreadable,
    /// The key is not one for this algorithm, or too short.
    #[error("it is a key that cannot sign with this algorithm")]
    Unfit,
    /// Another algorithm than the three.
    #[error("the algorithm is not RS256, PS256 or ES256")]
    Algorithm,
}

impl AssertionKey {
    /// Reads a PEM private key. Without `alg` it signs with ES256 where it is a P-256 key and with RS256 where it is an
    /// RSA key. `kid` is what the issuer knows the public half by.
    ///
    /// # Errors
    /// [`AssertionFault`]; it says nothing of the key.
    pub fn read(pem: &[u8], alg: Option<SigningAlg>, kid: Option<String>) -> Result<Self, AssertionFault> {
        let rsa = EncodingKey::from_rsa_pem(pem);
        let (key, own) = match (rsa, EncodingKey::from_ec_pem(pem)) {
            (Ok(key), _) => (key, SigningAlg::RS256),
            (Err(_), Ok(key)) => (key, SigningAlg::ES256),
            (Err(_), Err(_)) => return Err(AssertionFault::Unreadable),
        };
        let name = alg.unwrap_or(own);
        let alg = match name {
            SigningAlg::RS256 => Algorithm::RS256,
            SigningAlg::PS256 => Algorithm::PS256,
            SigningAlg::ES256 => Algorithm::ES256,
            _ => return Err(AssertionFault::Algorithm),
        };
        let key = Self { alg, name, key, kid };
        // A key that cannot sign is found now, and not when the first token comes.
        key.sign("a", "a", "a", 0).map(|_signed| key)
    }

    /// The algorithm.
    pub fn alg(&self) -> SigningAlg {
        self.name
    }

    /// An assertion of this client for this issuer, good from `now` for a minute. `jti` must be unique.
    ///
    /// # Errors
    /// The key does not fit its algorithm, which [`Self::read`] has ruled out.
    pub fn sign(
        &self,
        client_id: &str,
        audience: &str,
        jti: &str,
        now: UnixSeconds,
    ) -> Result<String, AssertionFault> {
        let mut header = Header::new(self.alg);
        header.kid.clone_from(&self.kid);
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": audience, "jti": jti,
            "iat": now, "exp": now.saturating_add(LIFETIME),
        });
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_unfit| AssertionFault::Unfit)
    }
}

impl std::fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AssertionKey({}, [redacted])", self.name.name())
    }
}
