//! Keys that are ready to verify: parsed once, with the one algorithm that they may be used for.
//!
//! A key carries its algorithm, so that a token cannot choose one (RFC 8725 section 3.1). Signatures are checked by
//! aws-lc-rs over the parsed key. The `jsonwebtoken` crate calls the same functions, but parses the key anew for each
//! token; it stands beside this file as the oracle of the tests.

use std::collections::HashMap;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use aws_lc_rs::{hmac, signature::VerificationAlgorithm};

use super::jwk::{KeySet, Material, PublicKey};
use crate::definition::{Secret, SigningAlg};

/// A key and its algorithm.
pub struct VerificationKey {
    alg: SigningAlg,
    key: Key,
}

enum Key {
    Public(ParsedPublicKey),
    Hmac(Box<hmac::Key>),
}

impl VerificationKey {
    /// The HMAC key of an HS* API; `None` where the algorithm is not symmetric.
    pub fn hmac(alg: SigningAlg, secret: &Secret) -> Option<Self> {
        let algorithm = match alg {
            SigningAlg::HS256 => hmac::HMAC_SHA256,
            SigningAlg::HS384 => hmac::HMAC_SHA384,
            SigningAlg::HS512 => hmac::HMAC_SHA512,
            _ => return None,
        };
        Some(Self {
            alg,
            key: Key::Hmac(Box::new(hmac::Key::new(algorithm, secret.expose()))),
        })
    }

    pub(super) fn public(alg: SigningAlg, key: &PublicKey) -> Option<Self> {
        let parsed = match (&key.material, alg) {
            (Material::Rsa { n, e }, alg) => RsaPublicKeyComponents { n: &**n, e: &**e }
                .to_parsed_public_key(rsa_parameters(alg)?)
                .ok()?,
            (Material::P256(point), SigningAlg::ES256) => parse(&signature::ECDSA_P256_SHA256_FIXED, point)?,
            (Material::P384(point), SigningAlg::ES384) => parse(&signature::ECDSA_P384_SHA384_FIXED, point)?,
            (Material::Ed25519(point), SigningAlg::EdDSA) => parse(&signature::ED25519, point)?,
            _ => return None,
        };
        Some(Self {
            alg,
            key: Key::Public(parsed),
        })
    }

    /// The algorithm of the key.
    pub fn alg(&self) -> SigningAlg {
        self.alg
    }

    /// Whether the signature fits the message. The length of an ECDSA signature is checked before any arithmetic
    /// (RFC 7518 section 3.4); an HMAC is compared in constant time.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Public(key) => key.verify_sig(message, signature).is_ok(),
            Key::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerificationKey({})", self.alg.name())
    }
}

fn parse(algorithm: &'static dyn VerificationAlgorithm, point: &[u8]) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(algorithm, point).ok()
}

fn rsa_parameters(alg: SigningAlg) -> Option<&'static RsaParameters> {
    Some(match alg {
        SigningAlg::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SigningAlg::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SigningAlg::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        SigningAlg::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        SigningAlg::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        SigningAlg::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// The keys of one issuer that fit the algorithms of one API.
#[derive(Debug, Default)]
pub struct VerificationKeys(Vec<(SigningAlg, Fitting)>);

/// Those that fit one algorithm.
#[derive(Debug, Default)]
struct Fitting {
    by_kid: HashMap<Box<str>, VerificationKey>,
    /// The only fitting key, for tokens without a `kid`.
    lone: Option<VerificationKey>,
}

impl VerificationKeys {
    /// Those keys of a set that fit one of the algorithms. Of two keys with one `kid` the first is taken.
    pub fn new(set: &KeySet, algorithms: &[SigningAlg]) -> Self {
        let fitting = algorithms.iter().map(|&alg| (alg, Fitting::new(set, alg)));
        Self(fitting.collect())
    }

    /// The key for a token that is signed with this algorithm: by its `kid`; without one, the only key that fits. Never
    /// more than one, so that a forged token costs at most one verification.
    pub fn find(&self, alg: SigningAlg, kid: Option<&str>) -> Option<&VerificationKey> {
        let (_, fitting) = self.0.iter().find(|(own, _)| *own == alg)?;
        match kid {
            Some(kid) => fitting.by_kid.get(kid),
            None => fitting.lone.as_ref(),
        }
    }
}

impl Fitting {
    fn new(set: &KeySet, alg: SigningAlg) -> Self {
        let fitting: Vec<&PublicKey> = set.keys().filter(|key| key.fits(alg)).collect();
        let mut by_kid = HashMap::new();
        for key in &fitting {
            if let (Some(kid), Some(ready)) = (&key.kid, VerificationKey::public(alg, key)) {
                by_kid.entry(kid.clone()).or_insert(ready);
            }
        }
        let lone = match fitting.as_slice() {
            [key] => VerificationKey::public(alg, key),
            _ => None,
        };
        Self { by_kid, lone }
    }
}
