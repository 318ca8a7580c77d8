//! Public RSA keys that others hand in as PEM: to verify assertions of applications, to encrypt tokens for an API.

use aws_lc_rs::rsa::PublicKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject as _, SectionKind};

/// The RSA key in a PEM public key (SPKI) or certificate; `None` where there is none.
pub(crate) fn read_public_key(pem: &[u8]) -> Option<PublicKey> {
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
