//! Encrypts tokens (RFC 7516): the other side of what the gateway decrypts, for every algorithm that it knows, written
//! from RFC 7518 and not from the gateway's own code. Shared by the tests and the fuzz target.

use std::sync::OnceLock;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::cipher::{EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap};
use aws_lc_rs::rsa::{self, KeySize, OaepPublicEncryptingKey, PrivateDecryptingKey};
use aws_lc_rs::{aead, cipher, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::forge::encode;

pub(crate) const RSA_ALGS: [&str; 4] = ["RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512"];
pub(crate) const ECDH_ALGS: [&str; 3] = ["ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"];
pub(crate) const CONTENTS: [&str; 6] = [
    "A128GCM",
    "A192GCM",
    "A256GCM",
    "A128CBC-HS256",
    "A192CBC-HS384",
    "A256CBC-HS512",
];
pub(crate) const CURVES: [&str; 4] = ["P-256", "P-384", "P-521", "X25519"];

/// The one that tokens are encrypted for.
pub(crate) enum Recipient {
    Rsa(PrivateDecryptingKey),
    Curve(&'static str, PrivateKey),
}

/// What becomes of a token before its last two parts are made, so that even a wrong header is authenticated.
#[derive(Clone, Debug)]
pub(crate) struct Seal<'a> {
    pub(crate) alg: &'a str,
    pub(crate) enc: &'a str,
    /// Beside `alg`, `enc` and `epk`; a member of theirs replaces them, `null` removes them.
    pub(crate) header: Value,
}

impl<'a> Seal<'a> {
    pub(crate) fn new(alg: &'a str, enc: &'a str) -> Self {
        let header = json!({"typ": "JWT", "cty": "JWT"});
        Self { alg, enc, header }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }
}

impl Recipient {
    /// One of two keys of the process for RSA or a curve.
    pub(crate) fn fixture(kind: &str, slot: usize) -> &'static Self {
        static KEYS: [[OnceLock<Recipient>; 2]; 5] = [const { [const { OnceLock::new() }; 2] }; 5];
        let position = CURVES.iter().position(|curve| *curve == kind);
        KEYS[position.map_or(4, |position| position)][slot % 2].get_or_init(|| match position {
            None => Self::Rsa(PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap()),
            Some(at) => Self::Curve(CURVES[at], PrivateKey::generate(curve(CURVES[at])).unwrap()),
        })
    }

    /// The private key: PKCS#8 for RSA and X25519, SEC1 for the other curves.
    pub(crate) fn pem(&self) -> String {
        match self {
            Self::Rsa(key) => pem(
                "PRIVATE KEY",
                AsDer::<Pkcs8V1Der<'_>>::as_der(key).unwrap().as_ref(),
            ),
            Self::Curve("X25519", key) => {
                let seed: Curve25519SeedBin<'_> = key.as_be_bytes().unwrap();
                // RFC 8410 section 10.3
                let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20";
                pem("PRIVATE KEY", &[&head[..], seed.as_ref()].concat())
            }
            Self::Curve(_, key) => {
                let der = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(key).unwrap();
                pem("EC PRIVATE KEY", der.as_ref())
            }
        }
    }

    /// The public key of RSA: SPKI.
    pub(crate) fn public_pem(&self) -> String {
        match self {
            Self::Rsa(key) => {
                let pair = rsa::KeyPair::from_pkcs8(AsDer::<Pkcs8V1Der<'_>>::as_der(key).unwrap().as_ref());
                let pair = pair.unwrap();
                let public = aws_lc_rs::signature::KeyPair::public_key(&pair);
                let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = public.as_der().unwrap();
                pem("PUBLIC KEY", der.as_ref())
            }
            Self::Curve(..) => panic!("only RSA"),
        }
    }

    /// A compact JWE of some text.
    pub(crate) fn seal(&self, seal: &Seal<'_>, plain: &[u8]) -> String {
        let mut key = vec![0; key_length(seal.enc)];
        rand::fill(&mut key).unwrap();
        let mut header = json!({"alg": seal.alg, "enc": seal.enc});
        let wrapped = match self {
            Self::Rsa(own) => {
                let oaep = match seal.alg {
                    "RSA-OAEP" => &rsa::OAEP_SHA1_MGF1SHA1,
                    "RSA-OAEP-384" => &rsa::OAEP_SHA384_MGF1SHA384,
                    "RSA-OAEP-512" => &rsa::OAEP_SHA512_MGF1SHA512,
                    _ => &rsa::OAEP_SHA256_MGF1SHA256,
                };
                let public = OaepPublicEncryptingKey::new(own.public_key()).unwrap();
                let mut wrapped = vec![0; public.ciphertext_size()];
                public.encrypt(oaep, &key, &mut wrapped, None).unwrap();
                wrapped
            }
            Self::Curve(name, own) => {
                let ephemeral = PrivateKey::generate(curve(name)).unwrap();
                header["epk"] = public_jwk(name, &ephemeral);
                let (id, length) = match seal.alg {
                    "ECDH-ES+A128KW" => (seal.alg, 16),
                    "ECDH-ES+A256KW" => (seal.alg, 32),
                    _ => (seal.enc, key.len()),
                };
                let party = |name: &str| seal.header.get(name).and_then(Value::as_str).map(decode);
                let parties = [party("apu").unwrap_or_default(), party("apv").unwrap_or_default()];
                let public = own.compute_public_key().unwrap();
                let public = UnparsedPublicKey::new(curve(name), public.as_ref());
                let derived = agreement::agree(&ephemeral, public, (), |secret| {
                    Ok(concat_kdf(secret, id, &parties, length))
                });
                let derived = derived.unwrap();
                if seal.alg.ends_with("KW") {
                    wrap(&derived, &key)
                } else {
                    key = derived;
                    Vec::new()
                }
            }
        };
        for (name, value) in seal.header.as_object().unwrap() {
            header[name] = value.clone();
        }
        header
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let protected = encode(header.to_string().as_bytes());
        let (iv, ciphertext, tag) = encrypt(seal.enc, &key, protected.as_bytes(), plain);
        [
            protected,
            encode(&wrapped),
            encode(&iv),
            encode(&ciphertext),
            encode(&tag),
        ]
        .join(".")
    }
}

fn curve(name: &str) -> &'static agreement::Algorithm {
    match name {
        "P-256" => &agreement::ECDH_P256,
        "P-384" => &agreement::ECDH_P384,
        "P-521" => &agreement::ECDH_P521,
        _ => &agreement::X25519,
    }
}

fn public_jwk(name: &str, key: &PrivateKey) -> Value {
    let public = key.compute_public_key().unwrap();
    let public = public.as_ref();
    if name == "X25519" {
        return json!({"kty": "OKP", "crv": name, "x": encode(public)});
    }
    let (x, y) = public[1..].split_at(public.len() / 2);
    json!({"kty": "EC", "crv": name, "x": encode(x), "y": encode(y)})
}

fn key_length(enc: &str) -> usize {
    match enc {
        "A128GCM" => 16,
        "A192GCM" => 24,
        "A192CBC-HS384" => 48,
        "A256CBC-HS512" => 64,
        _ => 32,
    }
}

/// RFC 7518 section 4.6.2, rounds of SHA-256.
fn concat_kdf(secret: &[u8], id: &str, parties: &[Vec<u8>; 2], length: usize) -> Vec<u8> {
    let mut info = Vec::new();
    for part in [id.as_bytes(), &parties[0], &parties[1]] {
        info.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        info.extend(part);
    }
    info.extend(u32::try_from(length * 8).unwrap().to_be_bytes());
    let mut derived = Vec::new();
    for round in 1_u32.. {
        if derived.len() >= length {
            break;
        }
        let input = [&round.to_be_bytes()[..], secret, &info].concat();
        derived.extend(digest::digest(&digest::SHA256, &input).as_ref());
    }
    derived.truncate(length);
    derived
}

fn wrap(kek: &[u8], key: &[u8]) -> Vec<u8> {
    let cipher = if kek.len() == 16 {
        &key_wrap::AES_128
    } else {
        &key_wrap::AES_256
    };
    let mut wrapped = vec![0; key.len() + 8];
    AesKek::new(cipher, kek).unwrap().wrap(key, &mut wrapped).unwrap();
    wrapped
}

/// Initialization vector, ciphertext and tag.
fn encrypt(enc: &str, key: &[u8], protected: &[u8], plain: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut text = plain.to_vec();
    if enc.ends_with("GCM") {
        let alg = match enc {
            "A128GCM" => &aead::AES_128_GCM,
            "A192GCM" => &aead::AES_192_GCM,
            _ => &aead::AES_256_GCM,
        };
        let mut iv = [0; 12];
        rand::fill(&mut iv).unwrap();
        let sealing = aead::LessSafeKey::new(aead::UnboundKey::new(alg, key).unwrap());
        let nonce = aead::Nonce::assume_unique_for_key(iv);
        let tag = sealing
            .seal_in_place_separate_tag(nonce, aead::Aad::from(protected), &mut text)
            .unwrap();
        return (iv.to_vec(), text, tag.as_ref().to_vec());
    }
    let (mac_key, cipher_key) = key.split_at(key.len() / 2);
    let (alg, mac) = match cipher_key.len() {
        16 => (&cipher::AES_128, hmac::HMAC_SHA256),
        24 => (&cipher::AES_192, hmac::HMAC_SHA384),
        _ => (&cipher::AES_256, hmac::HMAC_SHA512),
    };
    let mut iv = [0; 16];
    rand::fill(&mut iv).unwrap();
    let cipher_key = UnboundCipherKey::new(alg, cipher_key).unwrap();
    PaddedBlockEncryptingKey::cbc_pkcs7(cipher_key)
        .unwrap()
        .less_safe_encrypt(&mut text, EncryptionContext::Iv128((&iv).into()))
        .unwrap();
    let bits = (protected.len() as u64 * 8).to_be_bytes();
    let input = [protected, &iv, &text, &bits].concat();
    let tag = hmac::sign(&hmac::Key::new(mac, mac_key), &input);
    (iv.to_vec(), text, tag.as_ref()[..mac_key.len()].to_vec())
}

fn decode(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        lines.join("\n")
    )
}
