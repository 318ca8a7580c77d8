//! The algorithms of encrypted tokens: a closed list (RFC 7518 sections 4.1 and 5.1, RFC 8037 section 3.2).
//!
//! What is not here is refused before any work with a key: `RSA1_5`, `PBES2-*`, `dir`, `A*KW` and `A*GCMKW`.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
};

use crate::definition::EncryptionAlg;

/// `alg`: how the content key reaches the one who has the private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAlg {
    RsaOaep,
    RsaOaep256,
    RsaOaep384,
    RsaOaep512,
    EcdhEs,
    EcdhEsA128Kw,
    EcdhEsA256Kw,
}

/// `enc`: how the content is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentAlg {
    A128Gcm,
    A192Gcm,
    A256Gcm,
    A128CbcHs256,
    A192CbcHs384,
    A256CbcHs512,
}

impl KeyAlg {
    const ALL: [Self; 7] = [
        Self::RsaOaep,
        Self::RsaOaep256,
        Self::RsaOaep384,
        Self::RsaOaep512,
        Self::EcdhEs,
        Self::EcdhEsA128Kw,
        Self::EcdhEsA256Kw,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RsaOaep => "RSA-OAEP",
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::RsaOaep384 => "RSA-OAEP-384",
            Self::RsaOaep512 => "RSA-OAEP-512",
            Self::EcdhEs => "ECDH-ES",
            Self::EcdhEsA128Kw => "ECDH-ES+A128KW",
            Self::EcdhEsA256Kw => "ECDH-ES+A256KW",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// The parameters of RSA-OAEP; `None` for the others.
    pub(super) fn oaep(self) -> Option<&'static OaepAlgorithm> {
        match self {
            Self::RsaOaep => Some(&OAEP_SHA1_MGF1SHA1),
            Self::RsaOaep256 => Some(&OAEP_SHA256_MGF1SHA256),
            Self::RsaOaep384 => Some(&OAEP_SHA384_MGF1SHA384),
            Self::RsaOaep512 => Some(&OAEP_SHA512_MGF1SHA512),
            Self::EcdhEs | Self::EcdhEsA128Kw | Self::EcdhEsA256Kw => None,
        }
    }
}

impl From<EncryptionAlg> for KeyAlg {
    fn from(alg: EncryptionAlg) -> Self {
        match alg {
            EncryptionAlg::RsaOaep256 => Self::RsaOaep256,
            EncryptionAlg::RsaOaep384 => Self::RsaOaep384,
            EncryptionAlg::RsaOaep512 => Self::RsaOaep512,
        }
    }
}

impl ContentAlg {
    const ALL: [Self; 6] = [
        Self::A128Gcm,
        Self::A192Gcm,
        Self::A256Gcm,
        Self::A128CbcHs256,
        Self::A192CbcHs384,
        Self::A256CbcHs512,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A192Gcm => "A192GCM",
            Self::A256Gcm => "A256GCM",
            Self::A128CbcHs256 => "A128CBC-HS256",
            Self::A192CbcHs384 => "A192CBC-HS384",
            Self::A256CbcHs512 => "A256CBC-HS512",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// Bytes of the content key; for CBC, of both halves together.
    pub(super) fn key_length(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A192Gcm => 24,
            Self::A256Gcm | Self::A128CbcHs256 => 32,
            Self::A192CbcHs384 => 48,
            Self::A256CbcHs512 => 64,
        }
    }
}
