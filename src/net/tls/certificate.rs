//! One certificate with its key, read out of two PEM texts, and the names that it is for.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use webpki::EndEntityCert;

use super::validity::not_after;

/// A pair that can be served.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// In lower case; a wildcard as `*.example.com`.
    pub(super) names: Vec<Box<str>>,
    /// Seconds since 1970.
    pub(super) not_after: Option<i64>,
}

/// Why a pair cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairFault {
    /// No certificate in the file.
    #[error("there is no PEM certificate in it")]
    NoCertificate,
    /// What is there is broken.
    #[error("it cannot be read as a certificate: {0}")]
    Certificate(String),
    /// No key in the file.
    #[error("there is no PEM private key in it that is not encrypted")]
    NoKey,
    /// What is there is broken, or of a kind that is not supported.
    #[error("its private key cannot be used")]
    Key,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl PairFault {
    /// Whether it is the key's file that is at fault.
    pub(super) fn is_of_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::Key | Self::Mismatch)
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoCertificate | Self::Certificate(_) => {
                "PEM: the certificate first, then those that lead to its authority"
            }
            Self::NoKey | Self::Key => "PEM: an RSA, ECDSA or Ed25519 key in PKCS#8, PKCS#1 or SEC1",
            Self::Mismatch => "certificate and key must be of the same pair",
        }
    }
}

impl Pair {
    /// Reads a pair. No fault quotes what the files hold.
    pub(super) fn from_pem(
        certificates: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, PairFault> {
        let chain = chain(certificates)?;
        let leaf = chain.first().ok_or(PairFault::NoCertificate)?;
        let parsed =
            EndEntityCert::try_from(leaf).map_err(|error| PairFault::Certificate(error.to_string()))?;
        let mut names: Vec<Box<str>> = parsed
            .valid_dns_names()
            .map(|name| name.to_ascii_lowercase().into())
            .collect();
        names.sort();
        names.dedup();
        let not_after = not_after(leaf);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => PairFault::NoKey,
            _ => PairFault::Key,
        })?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => PairFault::Mismatch,
            _ => PairFault::Key,
        })?;
        Ok(Self {
            key: Arc::new(key),
            names,
            not_after,
        })
    }
}

/// Every certificate of a PEM text.
pub(super) fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PairFault> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(PairFault::NoCertificate),
        Ok(chain) => Ok(chain),
        Err(error) => Err(PairFault::Certificate(error.to_string())),
    }
}
