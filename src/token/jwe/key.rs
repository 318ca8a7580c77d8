//! Private keys that tokens are decrypted with, and what they do to the second part of a token.
//!
//! `config` reads them (PEM or JWK), `mod.rs` uses them. A key never shows itself: not in `Debug`, not in an error.

use aws_lc_rs::agreement::{self, ParsedPublicKey, PrivateKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesBlockCipher, AesKek, KeyWrap};
use aws_lc_rs::rsa::{
    KeyPair, KeyPairComponents, OaepPrivateDecryptingKey, PrivateDecryptingKey, PublicKeyComponents,
};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::alg::{ContentAlg, KeyAlg};
use super::thumbprint::{rsa_thumbprint, thumbprint};
use crate::token::json::Json;

/// A private key for decryption.
pub struct DecryptionKey {
    /// What `kid` of a token may be for this key: its own, that of the definition, its thumbprint.
    kids: Vec<Box<str>>,
    thumbprint: Box<str>,
    /// The one algorithm that the key says it is for.
    alg: Option<KeyAlg>,
    material: Material,
}

enum Material {
    Rsa(OaepPrivateDecryptingKey),
    Ecdh(Curve, PrivateKey),
}

/// A curve for ECDH-ES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
    X25519,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Neither PEM with a private key nor a JWK.
    #[error("it is neither a PEM private key without a passphrase nor a JWK")]
    Unreadable,
    /// A key of a kind that is not implemented, or a public one.
    #[error("it is not a private key for RSA, P-256, P-384, P-521 or X25519")]
    Unsupported,
    /// RSA below 2,048 or above 4,096 bits.
    #[error("an RSA key must have 2048 to 4096 bits")]
    Size,
    /// `use` or `alg` of the JWK say that it is for something else.
    #[error("its `use` or `alg` says that it is not for decrypting tokens")]
    Purpose,
}

/// RSA keys above this cost so much per token that few tokens would hold up all others.
const LARGEST_RSA_BYTES: usize = 512;

impl Curve {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "P-256" => Self::P256,
            "P-384" => Self::P384,
            "P-521" => Self::P521,
            "X25519" => Self::X25519,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::X25519 => "X25519",
        }
    }

    pub(super) fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &agreement::ECDH_P256,
            Self::P384 => &agreement::ECDH_P384,
            Self::P521 => &agreement::ECDH_P521,
            Self::X25519 => &agreement::X25519,
        }
    }

    /// Bytes of a coordinate and of a private key.
    pub(super) fn length(self) -> usize {
        match self {
            Self::P256 | Self::X25519 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// What ECDH-ES takes from the header beside the algorithms.
pub(super) struct Agreement {
    pub(super) curve: Curve,
    /// A valid point of the curve.
    pub(super) ephemeral: ParsedPublicKey,
    pub(super) party_u: Vec<u8>,
    pub(super) party_v: Vec<u8>,
}

impl DecryptionKey {
    /// Reads a PEM private key (PKCS#8, PKCS#1 or SEC1, without a passphrase) or a JWK.
    ///
    /// # Errors
    /// [`KeyFault`]; it says nothing of the key.
    pub fn read(content: &[u8]) -> Result<Self, KeyFault> {
        if content.trim_ascii_start().starts_with(b"{") {
            return Self::from_jwk(&Json::read(content).map_err(|_json| KeyFault::Unreadable)?);
        }
        match PrivateKeyDer::from_pem_slice(content).map_err(|_pem| KeyFault::Unreadable)? {
            PrivateKeyDer::Pkcs1(der) => {
                let pair = KeyPair::from_der(der.secret_pkcs1_der());
                Self::rsa(&pair.map_err(|_rejected| KeyFault::Size)?)
            }
            PrivateKeyDer::Sec1(der) => Self::from_curve_der(der.secret_sec1_der()),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                if let Ok(pair) = KeyPair::from_pkcs8(der) {
                    return Self::rsa(&pair);
                }
                match der.strip_prefix(&X25519_PKCS8[..]) {
                    Some(key) => Self::from_private(Curve::X25519, key),
                    None => Self::from_curve_der(der),
                }
            }
            _ => Err(KeyFault::Unsupported),
        }
    }

    fn from_curve_der(der: &[u8]) -> Result<Self, KeyFault> {
        [Curve::P256, Curve::P384, Curve::P521]
            .into_iter()
            .find_map(|curve| {
                let key = PrivateKey::from_private_key_der(curve.agreement(), der).ok()?;
                Self::ecdh(curve, key).ok()
            })
            .ok_or(KeyFault::Unsupported)
    }

    fn from_private(curve: Curve, key: &[u8]) -> Result<Self, KeyFault> {
        let key = PrivateKey::from_private_key(curve.agreement(), key);
        Self::ecdh(curve, key.map_err(|_rejected| KeyFault::Unsupported)?)
    }

    fn from_jwk(jwk: &Json<'_>) -> Result<Self, KeyFault> {
        let text = |name| jwk.get(name).and_then(Json::as_str);
        let key = match text("kty") {
            Some("RSA") => Self::rsa(&rsa_of(jwk)?)?,
            Some("EC" | "OKP") => {
                let curve = text("crv").and_then(Curve::from_name);
                Self::from_private(curve.ok_or(KeyFault::Unsupported)?, &number(jwk, "d")?)?
            }
            _ => return Err(KeyFault::Unsupported),
        };
        let alg = match text("alg") {
            None => None,
            Some(name) => Some(KeyAlg::from_name(name).ok_or(KeyFault::Purpose)?),
        };
        if text("use").is_some_and(|purpose| purpose != "enc")
            || alg.is_some_and(|alg| !key.material.fits(alg))
        {
            return Err(KeyFault::Purpose);
        }
        let key = Self { alg, ..key };
        Ok(match text("kid") {
            Some(kid) => key.also_known_as(kid),
            None => key,
        })
    }

    fn rsa(pair: &KeyPair) -> Result<Self, KeyFault> {
        if pair.public_modulus_len() > LARGEST_RSA_BYTES {
            return Err(KeyFault::Size);
        }
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map_err(|_unspecified| KeyFault::Unsupported)?;
        let key = PrivateDecryptingKey::from_pkcs8(der.as_ref()).map_err(|_rejected| KeyFault::Size)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_unspecified| KeyFault::Unsupported)?;
        let thumbprint = rsa_thumbprint(pair.public_key()).ok_or(KeyFault::Unsupported)?;
        Ok(Self::new(thumbprint, Material::Rsa(key)))
    }

    fn ecdh(curve: Curve, key: PrivateKey) -> Result<Self, KeyFault> {
        let public = key.compute_public_key();
        let public = public.map_err(|_unspecified| KeyFault::Unsupported)?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let name = curve.name();
        // RFC 7638 section 3.2, RFC 8037 section 2: the members that make the key, by name.
        let members = match (curve, public.as_ref()) {
            (Curve::X25519, x) => format!(r#"{{"crv":"{name}","kty":"OKP","x":"{}"}}"#, encode(x)),
            (_, [_uncompressed, point @ ..]) => {
                let (x, y) = point.split_at(point.len() / 2);
                let (x, y) = (encode(x), encode(y));
                format!(r#"{{"crv":"{name}","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            _ => return Err(KeyFault::Unsupported),
        };
        Ok(Self::new(thumbprint(&members), Material::Ecdh(curve, key)))
    }

    fn new(thumbprint: Box<str>, material: Material) -> Self {
        Self {
            kids: vec![thumbprint.clone()],
            thumbprint,
            alg: None,
            material,
        }
    }

    /// Adds an id by which tokens name the key.
    #[must_use]
    pub fn also_known_as(mut self, kid: &str) -> Self {
        self.kids.push(kid.into());
        self
    }

    /// The RFC 7638 thumbprint (SHA-256, base64url) of its public half.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether a token that names this key, or none, may mean it.
    pub(super) fn is_called(&self, kid: Option<&str>) -> bool {
        kid.is_none_or(|kid| self.kids.iter().any(|own| &**own == kid))
    }

    /// Whether the key can be asked for a content key in this way: all that anybody could tell without having it.
    pub(super) fn fits(&self, alg: KeyAlg, curve: Option<Curve>, enc: ContentAlg, wrapped: &[u8]) -> bool {
        let length_fits = match (&self.material, alg) {
            (Material::Rsa(key), _) => wrapped.len() == key.key_size_bytes(),
            (Material::Ecdh(..), KeyAlg::EcdhEs) => wrapped.is_empty(),
            (Material::Ecdh(..), _) => wrapped.len() == enc.key_length() + 8,
        };
        let curve_fits = match &self.material {
            Material::Rsa(_) => curve.is_none(),
            Material::Ecdh(own, _) => curve == Some(*own),
        };
        self.alg.is_none_or(|own| own == alg) && self.material.fits(alg) && length_fits && curve_fits
    }

    /// The content key. `None` where the second part does not fit the key: the caller must go on as if it did.
    pub(super) fn content_key(
        &self,
        (alg, enc): (KeyAlg, ContentAlg),
        agreement: Option<&Agreement>,
        wrapped: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let key = match &self.material {
            Material::Rsa(key) => {
                let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
                let length = key.decrypt(alg.oaep()?, wrapped, &mut buffer, None).ok()?.len();
                buffer.truncate(length);
                buffer
            }
            Material::Ecdh(_, key) => {
                let agreement = agreement?;
                match alg {
                    KeyAlg::EcdhEs => agreement.derive(key, enc.name(), enc.key_length())?,
                    KeyAlg::EcdhEsA128Kw => {
                        unwrap(&AES_128, &agreement.derive(key, alg.name(), 16)?, wrapped)?
                    }
                    _ => unwrap(&AES_256, &agreement.derive(key, alg.name(), 32)?, wrapped)?,
                }
            }
        };
        (key.len() == enc.key_length()).then_some(key)
    }
}

impl Material {
    fn fits(&self, alg: KeyAlg) -> bool {
        matches!(self, Self::Rsa(_)) == alg.oaep().is_some()
    }
}

impl Agreement {
    /// RFC 7518 section 4.6.2: Concat KDF with SHA-256.
    fn derive(&self, key: &PrivateKey, algorithm: &str, length: usize) -> Option<Zeroizing<Vec<u8>>> {
        let mut info = Vec::with_capacity(64);
        for part in [algorithm.as_bytes(), &self.party_u, &self.party_v] {
            info.extend(u32::try_from(part.len()).ok()?.to_be_bytes());
            info.extend(part);
        }
        info.extend((u32::try_from(length).ok()? * 8).to_be_bytes());
        let mut derived = Zeroizing::new(vec![0; length]);
        let kdf = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256)?;
        agreement::agree(key, self.ephemeral.clone(), (), |secret| {
            sskdf_digest(kdf, secret, &info, &mut derived).map_err(|_unspecified| ())
        })
        .ok()?;
        Some(derived)
    }
}

/// RFC 3394.
fn unwrap(cipher: &'static AesBlockCipher, kek: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0; wrapped.len()]);
    let length = AesKek::new(cipher, kek)
        .ok()?
        .unwrap(wrapped, &mut key)
        .ok()?
        .len();
    key.truncate(length);
    Some(key)
}

impl std::fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecryptionKey({})", self.thumbprint)
    }
}

/// RFC 8410 section 7: what stands before the 32 bytes of an X25519 key.
const X25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];

fn rsa_of(jwk: &Json<'_>) -> Result<KeyPair, KeyFault> {
    let n = number(jwk, "n")?;
    let (e, d) = (number(jwk, "e")?, number(jwk, "d")?);
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: n.as_slice(),
            e: e.as_slice(),
        },
        d: d.as_slice(),
        p: &*number(jwk, "p")?,
        q: &*number(jwk, "q")?,
        dP: &*number(jwk, "dp")?,
        dQ: &*number(jwk, "dq")?,
        qInv: &*number(jwk, "qi")?,
    };
    KeyPair::from_components(&components).map_err(|_rejected| KeyFault::Size)
}

fn number(jwk: &Json<'_>, name: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let text = jwk
        .get(name)
        .and_then(Json::as_str)
        .ok_or(KeyFault::Unsupported)?;
    let bytes = URL_SAFE_NO_PAD.decode(text);
    bytes
        .map(Zeroizing::new)
        .map_err(|_position| KeyFault::Unreadable)
}
