//! Certificates for loopback, of an authority that exists for this process.
//!
//! Only the certificate of the authority is written to the disk, for clients to trust. Its key is forgotten as soon as it
//! has signed, so whoever leaves that certificate among the trusted ones trusts nobody; the server's key stays in memory.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use zeroize::Zeroizing;

use crate::net::{ClientTls, TrustError};

const DAY: Duration = Duration::from_secs(86_400);
/// Longer than anybody runs a demo.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// What the gateway and the authority show. The file is removed with it.
pub(super) struct Certificates {
    authority: PathBuf,
    /// PEM.
    pub(super) certificate: String,
    /// PEM: PKCS#8.
    pub(super) private_key: Zeroizing<String>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("{0}")]
    Made(#[from] rcgen::Error),
    #[error("{0}")]
    Random(#[from] getrandom::Error),
    #[error("cannot write {path}: {error}", path = path.display())]
    Written { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Trust(#[from] TrustError),
}

impl Certificates {
    /// For `localhost`, both addresses of loopback, and one more address.
    pub(super) fn make(address: IpAddr) -> Result<Self, CertificateError> {
        let issuer = CertifiedIssuer::self_signed(authority()?, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = server(address)?.signed_by(&key, &issuer)?;
        Ok(Self {
            authority: written(&issuer.pem())?,
            certificate: certificate.pem(),
            private_key: key.serialize_pem().into(),
        })
    }

    /// The file with the certificate of the authority.
    pub(super) fn authority(&self) -> &Path {
        &self.authority
    }

    /// Trusts this authority and no other.
    pub(super) fn trust(&self) -> Result<ClientTls, CertificateError> {
        Ok(ClientTls::from_file(&self.authority)?)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // Where it is gone already, nothing is left to be done.
        let _ = std::fs::remove_file(&self.authority);
    }
}

fn authority() -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = valid(Vec::new())?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "scopegate demo");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn server(address: IpAddr) -> Result<CertificateParams, rcgen::Error> {
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let address = address.to_string();
    if !names.contains(&address) {
        names.push(address);
    }
    let mut parameters = valid(names)?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

fn valid(names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    // Clocks of containers are not always those of their machine.
    let now = SystemTime::now();
    parameters.not_before = (now - DAY).into();
    parameters.not_after = (now + LIFETIME).into();
    Ok(parameters)
}

/// A new file in the folder for temporary ones, which nobody can have prepared.
fn written(pem: &str) -> Result<PathBuf, CertificateError> {
    let name = format!("scopegate-demo-ca-{:016x}.pem", getrandom::u64()?);
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&path);
    match file.and_then(|mut file| file.write_all(pem.as_bytes())) {
        Ok(()) => Ok(path),
        Err(error) => Err(CertificateError::Written { path, error }),
    }
}
