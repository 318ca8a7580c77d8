//! Thumbprints (RFC 7638, SHA-256, base64url): by which keys are told apart and found again.
//!
//! `key.rs` names private keys by them, `config` the public key of a definition.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};

/// The RFC 7638 thumbprint of the RSA key in a PEM public key (SPKI) or certificate; `None` where there is
/// none.
pub fn public_thumbprint(pem: &[u8]) -> Option<Box<str>> {
    rsa_thumbprint(&public_rsa_key(pem)?)
}

/// The RSA key in a PEM public key (SPKI) or certificate; `None` where there is none.
pub fn public_rsa_key(pem: &[u8]) -> Option<PublicKey> {
    let (kind, der) = <(SectionKind, Vec<u8>)>::from_pem_slice(pem).ok()?;
    let key = match kind {
        SectionKind::PublicKey => PublicKey::from_der(&der),
        SectionKind::Certificate => {
            let certificate = CertificateDer::from(der);
            let certificate = webpki::EndEntityCert::try_from(&certificate).ok()?;
            PublicKey::from_der(&certificate.subject_public_key_info())
        }
        _ => return None,
    };
    key.ok()
}

pub(super) fn rsa_thumbprint(key: &PublicKey) -> Option<Box<str>> {
    // RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER } (RFC 8017 appendix A.1.1)
    let (sequence, _) = der_value(key.as_ref())?;
    let (n, rest) = der_value(sequence)?;
    let (e, _) = der_value(rest)?;
    let encode = |number: &[u8]| URL_SAFE_NO_PAD.encode(number.strip_prefix(&[0]).unwrap_or(number));
    Some(thumbprint(&format!(
        r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
        encode(e),
        encode(n)
    )))
}

pub(super) fn thumbprint(members: &str) -> Box<str> {
    let hash = digest(&SHA256, members.as_bytes());
    URL_SAFE_NO_PAD.encode(hash).into()
}

/// The content of the first DER value, and what follows it. What the library wrote is well formed.
fn der_value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_tag, length], rest) = der.split_first_chunk()?;
    if length < 0x80 {
        return rest.split_at_checked(length.into());
    }
    let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    let length = length.iter().try_fold(0_usize, |sum, &byte| {
        sum.checked_mul(256)?.checked_add(byte.into())
    })?;
    rest.split_at_checked(length)
}
