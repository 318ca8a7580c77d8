//! A JWK set as an issuer publishes it (RFC 7517), read key by key: one odd key never spoils the set.
//!
//! `control::jwks` reads what it fetched with it, `keys` turns it into keys for one algorithm. Only public verification
//! keys come through: symmetric keys, encryption keys and weak keys are left out and counted.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::binding::Thumbprint;
use super::json::Json;
use crate::definition::SigningAlg;

const MAX_KEYS: usize = 64;
const MAX_KID: usize = 256;

/// The usable public keys of an issuer. Equal sets are equal values, so that an unchanged set publishes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

/// One usable key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) kid: Option<Box<str>>,
    /// The one algorithm that the key says it is for.
    pub(super) alg: Option<SigningAlg>,
    pub(super) material: Material,
}

/// The public numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Material {
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
    /// Uncompressed point.
    P256(Box<[u8]>),
    /// Uncompressed point.
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
}

/// A key that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its `kid`, where it could be read.
    pub kid: Option<Box<str>>,
    /// Why.
    pub why: WhySkipped,
}

/// Why a key was left out of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhySkipped {
    /// Not an object that RFC 7517 describes, or with duplicate members.
    #[error("it cannot be read")]
    Unreadable,
    /// `kty` `oct`: a published secret.
    #[error("it is a symmetric key")]
    Symmetric,
    /// `kty` or `crv` that is not implemented.
    #[error("its type or curve is not supported")]
    Unsupported,
    /// `use` or `key_ops` say that it is not for verifying.
    #[error("it is not meant for signatures")]
    NotForSignatures,
    /// `alg` does not fit the key, or is not implemented.
    #[error("its algorithm does not fit")]
    WrongAlgorithm,
    /// RSA below 2,048 or above 8,192 bits, or an odd exponent that is not.
    #[error("it is too weak, or too large")]
    Weak,
    /// Not a point on the curve.
    #[error("it is not a valid public key")]
    Invalid,
    /// The set had its 64 keys already.
    #[error("the set has too many keys")]
    TooMany,
}

/// The document is not a JWK set, or has no usable key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not an object with an array `keys`.
    #[error("the document is not a JWK set")]
    NotASet,
    /// No key could be used; the reasons, one per key.
    #[error("the set has no usable key ({} left out)", .0.len())]
    NoUsableKey(Vec<SkippedKey>),
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads a JWKS document. Returns the usable keys, and why others were left out.
    pub fn from_jwks(document: &[u8]) -> Result<(Self, Vec<SkippedKey>), JwksError> {
        let Document { keys: texts } =
            serde_json::from_slice(document).map_err(|_not_a_set| JwksError::NotASet)?;
        let mut keys = Vec::new();
        let mut skipped = Vec::new();
        for text in texts {
            let kid =
                |json: Option<&Json<'_>>| json.and_then(|json| json.get("kid")?.as_str()).map(Box::from);
            let json = Json::read(text.get().as_bytes()).ok();
            if keys.len() == MAX_KEYS {
                skipped.push(SkippedKey {
                    kid: kid(json.as_ref()),
                    why: WhySkipped::TooMany,
                });
                continue;
            }
            match json
                .as_ref()
                .ok_or(WhySkipped::Unreadable)
                .and_then(|json| PublicKey::read(json, text.get()))
            {
                Ok(key) => keys.push(key),
                Err(why) => skipped.push(SkippedKey {
                    kid: kid(json.as_ref()),
                    why,
                }),
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey(skipped));
        }
        Ok((Self { keys }, skipped))
    }

    /// How many usable keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key of this id is in it.
    pub fn contains(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter()
    }
}

impl PublicKey {
    fn read(json: &Json<'_>, text: &str) -> Result<Self, WhySkipped> {
        // Looked at first, since a secret that was published deserves its own word in the log.
        if json.get("kty").and_then(Json::as_str) == Some("oct") {
            return Err(WhySkipped::Symmetric);
        }
        let jwk: Jwk = serde_json::from_str(text).map_err(|_unreadable| WhySkipped::Unreadable)?;
        if !is_for_signatures(&jwk) {
            return Err(WhySkipped::NotForSignatures);
        }
        let kid = jwk.common.key_id.as_deref();
        if kid.is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(WhySkipped::Unreadable);
        }
        let material = Material::read(&jwk)?;
        let alg = match json.get("alg").and_then(Json::as_str) {
            None => None,
            // RFC 9864 section 2.2: the fully specified name of the same algorithm.
            Some("Ed25519") => Some(SigningAlg::EdDSA),
            Some(name) => Some(SigningAlg::from_name(name).ok_or(WhySkipped::WrongAlgorithm)?),
        };
        if alg.is_some_and(|alg| !material.fits(alg)) {
            return Err(WhySkipped::WrongAlgorithm);
        }
        Ok(Self {
            kid: kid.map(Box::from),
            alg,
            material,
        })
    }

    /// Whether the key may verify signatures of this algorithm.
    pub(super) fn fits(&self, alg: SigningAlg) -> bool {
        self.alg.map_or_else(|| self.material.fits(alg), |own| own == alg)
    }
}

/// RFC 7517 sections 4.2 and 4.3.
fn is_for_signatures(jwk: &Jwk) -> bool {
    let by_use = jwk
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|key_use| *key_use == PublicKeyUse::Signature);
    let by_ops = jwk
        .common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    by_use && by_ops
}

impl Material {
    fn read(jwk: &Jwk) -> Result<Self, WhySkipped> {
        match &jwk.algorithm {
            AlgorithmParameters::RSA(key) => Self::rsa(&number(&key.n)?, &number(&key.e)?),
            AlgorithmParameters::EllipticCurve(key) => Self::elliptic(&key.curve, &key.x, &key.y),
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                let point = number(&key.x)?;
                ParsedPublicKey::new(&signature::ED25519, &point).map_err(|_rejected| WhySkipped::Invalid)?;
                Ok(Self::Ed25519(point.into()))
            }
            AlgorithmParameters::OctetKey(_) => Err(WhySkipped::Symmetric),
            _ => Err(WhySkipped::Unsupported),
        }
    }

    /// The key in the header of a proof (RFC 9449 section 4.2). Only the numbers of RSA are looked at; whether a point is
    /// on its curve shows when the key is used, and that is not before it was found to be the right one.
    pub(super) fn of_proof(jwk: &Json<'_>) -> Result<Self, WhySkipped> {
        let text = |name: &str| jwk.get(name).and_then(Json::as_str).ok_or(WhySkipped::Unreadable);
        let point = |length: usize| {
            let (x, y) = (number(text("x")?)?, number(text("y")?)?);
            if x.len() == length && y.len() == length {
                Ok([&[4], &*x, &*y].concat().into())
            } else {
                Err(WhySkipped::Invalid)
            }
        };
        match (text("kty")?, jwk.get("crv").and_then(Json::as_str)) {
            ("EC", Some("P-256")) => point(32).map(Self::P256),
            ("EC", Some("P-384")) => point(48).map(Self::P384),
            ("OKP", Some("Ed25519")) => Ok(Self::Ed25519(number(text("x")?)?.into())),
            ("RSA", None) => Self::rsa(&number(text("n")?)?, &number(text("e")?)?),
            _ => Err(WhySkipped::Unsupported),
        }
    }

    /// RFC 7638: the hash of the required members, in the order of their names.
    pub(super) fn thumbprint(&self) -> Thumbprint {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let elliptic = |curve: &str, point: &[u8]| {
            let point = point.get(1..).unwrap_or_default();
            let (x, y) = point.split_at(point.len() / 2);
            let (x, y) = (encode(x), encode(y));
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        };
        let text = match self {
            Self::Rsa { n, e } => {
                let (n, e) = (encode(n), encode(e));
                format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
            }
            Self::P256(point) => elliptic("P-256", point),
            Self::P384(point) => elliptic("P-384", point),
            Self::Ed25519(x) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
        };
        Thumbprint::of(text.as_bytes())
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, WhySkipped> {
        let n: &[u8] = strip_zeros(n);
        let e: &[u8] = strip_zeros(e);
        let bits = n
            .first()
            .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        let exponent_is_sound = e.len() <= 4 && e.last().is_some_and(|last| last % 2 == 1) && e != [1];
        if !(2_048..=8_192).contains(&bits) || !exponent_is_sound {
            return Err(WhySkipped::Weak);
        }
        RsaPublicKeyComponents { n, e }
            .to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_rejected| WhySkipped::Invalid)?;
        Ok(Self::Rsa {
            n: n.into(),
            e: e.into(),
        })
    }

    fn elliptic(curve: &EllipticCurve, x: &str, y: &str) -> Result<Self, WhySkipped> {
        let (x, y) = (number(x)?, number(y)?);
        let point = |length: usize| {
            // RFC 7518 section 6.2.1.2: each has the full length. Only the sum of both shows in the point.
            if x.len() == length && y.len() == length {
                Ok([&[4], &*x, &*y].concat())
            } else {
                Err(WhySkipped::Invalid)
            }
        };
        match curve {
            EllipticCurve::P256 => {
                let point = point(32)?;
                ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &point)
                    .map_err(|_rejected| WhySkipped::Invalid)?;
                Ok(Self::P256(point.into()))
            }
            EllipticCurve::P384 => {
                let point = point(48)?;
                ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, &point)
                    .map_err(|_rejected| WhySkipped::Invalid)?;
                Ok(Self::P384(point.into()))
            }
            _ => Err(WhySkipped::Unsupported),
        }
    }

    pub(super) fn fits(&self, alg: SigningAlg) -> bool {
        use SigningAlg::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Rsa { .. } => matches!(alg, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Self::P256(_) => alg == ES256,
            Self::P384(_) => alg == ES384,
            Self::Ed25519(_) => alg == EdDSA,
        }
    }
}

fn number(text: &str) -> Result<Vec<u8>, WhySkipped> {
    // Some issuers pad; the padding carries nothing.
    URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_position| WhySkipped::Unreadable)
}

fn strip_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}
