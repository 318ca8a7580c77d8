//! Forges tokens: keys for every algorithm, made once per process, and compact tokens with whatever header and claims a
//! test asks for. Shared by the tests, the benchmarks and the fuzz targets.
//!
//! It signs and never verifies. What it makes is as right or as wrong as its caller says.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scopegate::definition::SigningAlg;
use serde_json::{Value, json};

/// How many different keys of each kind there are.
pub(crate) const SLOTS: usize = 3;

/// A key pair, or an HMAC secret.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pair: Arc<Pair>,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(Vec<u8>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.pair {
            Pair::Rsa(_) => "Rsa",
            Pair::P256(_) => "P256",
            Pair::P384(_) => "P384",
            Pair::Ed25519(_) => "Ed25519",
            Pair::Hmac(_) => "Hmac",
        })
    }
}

impl SigningKey {
    /// One of the [`SLOTS`] keys of the process that can sign with this algorithm.
    pub(crate) fn fixture(alg: SigningAlg, slot: usize) -> Self {
        static KEYS: [[OnceLock<SigningKey>; SLOTS]; 5] = [const { [const { OnceLock::new() }; SLOTS] }; 5];
        let kind = match alg {
            SigningAlg::ES256 => 1,
            SigningAlg::ES384 => 2,
            SigningAlg::EdDSA => 3,
            alg if alg.is_symmetric() => 4,
            _ => 0,
        };
        KEYS[kind][slot % SLOTS]
            .get_or_init(|| Self {
                pair: Arc::new(match kind {
                    0 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
                    1 => Pair::P256(
                        EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
                    ),
                    2 => Pair::P384(
                        EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
                    ),
                    3 => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
                    _ => {
                        // Text without a pattern, as a configuration asks for it.
                        let bytes = digest::digest(&digest::SHA512, format!("secret-{slot}").as_bytes());
                        Pair::Hmac(encode(bytes.as_ref()).into_bytes())
                    }
                }),
            })
            .clone()
    }

    /// An HMAC secret.
    pub(crate) fn hmac(secret: &[u8]) -> Self {
        Self {
            pair: Arc::new(Pair::Hmac(secret.to_vec())),
        }
    }

    /// The secret of an HMAC key.
    pub(crate) fn secret(&self) -> &[u8] {
        match &*self.pair {
            Pair::Hmac(secret) => secret,
            _ => panic!("{self:?} is not an HMAC key"),
        }
    }

    /// The public half as aws-lc-rs writes it: PKCS#1 for RSA, the point for the others.
    pub(crate) fn public(&self) -> &[u8] {
        match &*self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::Hmac(_) => panic!("an HMAC key has no public half"),
        }
    }

    /// Modulus and exponent of an RSA key.
    pub(crate) fn rsa_numbers(&self) -> (Vec<u8>, Vec<u8>) {
        // RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }
        let (sequence, _) = der_value(self.public());
        let (modulus, rest) = der_value(sequence);
        let (exponent, _) = der_value(rest);
        let unsigned = |bytes: &[u8]| bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..].to_vec();
        (unsigned(modulus), unsigned(exponent))
    }

    /// The public half as a JWK, without `alg` and `use`.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let coordinate = |bytes: &[u8]| encode(bytes);
        let point = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": coordinate(x), "y": coordinate(y), "kid": kid})
        };
        match &*self.pair {
            Pair::Rsa(_) => {
                let (n, e) = self.rsa_numbers();
                json!({"kty": "RSA", "n": encode(&n), "e": encode(&e), "kid": kid})
            }
            Pair::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()), "kid": kid})
            }
            Pair::Hmac(secret) => json!({"kty": "oct", "k": encode(secret), "kid": kid}),
        }
    }

    /// Signs with an algorithm that fits the key.
    pub(crate) fn sign(&self, alg: SigningAlg, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match &*self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(alg), &rng, message, &mut signature)
                    .unwrap();
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&rng, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Hmac(secret) => {
                let algorithm = match alg {
                    SigningAlg::HS256 => hmac::HMAC_SHA256,
                    SigningAlg::HS384 => hmac::HMAC_SHA384,
                    SigningAlg::HS512 => hmac::HMAC_SHA512,
                    other => panic!("{} with an HMAC key", other.name()),
                };
                hmac::sign(&hmac::Key::new(algorithm, secret), message)
                    .as_ref()
                    .to_vec()
            }
        }
    }

    /// A compact token.
    pub(crate) fn token(&self, alg: SigningAlg, header: &Value, claims: &Value) -> String {
        self.token_of_text(alg, &header.to_string(), &claims.to_string())
    }

    /// A compact token of texts that need not be JSON.
    pub(crate) fn token_of_text(&self, alg: SigningAlg, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = encode(&self.sign(alg, input.as_bytes()));
        format!("{input}.{signature}")
    }
}

/// base64url without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A JWK set.
pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn rsa_encoding(alg: SigningAlg) -> &'static dyn RsaEncoding {
    match alg {
        SigningAlg::RS256 => &signature::RSA_PKCS1_SHA256,
        SigningAlg::RS384 => &signature::RSA_PKCS1_SHA384,
        SigningAlg::RS512 => &signature::RSA_PKCS1_SHA512,
        SigningAlg::PS256 => &signature::RSA_PSS_SHA256,
        SigningAlg::PS384 => &signature::RSA_PSS_SHA384,
        SigningAlg::PS512 => &signature::RSA_PSS_SHA512,
        other => panic!("{} with an RSA key", other.name()),
    }
}

/// The content of the first DER value, and what follows it.
fn der_value(der: &[u8]) -> (&[u8], &[u8]) {
    let (start, length) = match der[1] {
        short if short < 0x80 => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let length = der[2..2 + count]
                .iter()
                .fold(0, |length, &byte| length << 8 | usize::from(byte));
            (2 + count, length)
        }
    };
    (&der[start..start + length], &der[start + length..])
}
