//! The TLS client: whom it trusts, what it shows, what it offers to speak.
//!
//! Made by `config` for upstreams and by `control` for key sets, used by [`super::Destination`] and `net::fetch`. Names
//! are always checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ConnectError;

/// Why there is no TLS client.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The certificate file cannot be read or holds no usable certificate.
    #[error("cannot use the certificates in {path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system has no certificates; name a file of them.
    #[error("the system trusts no certificate authority: {0}")]
    System(String),
    /// The authorities that were named cannot be used.
    #[error("the certificate authorities cannot be used: {0}")]
    Authorities(String),
    /// The client certificate cannot be used.
    #[error("the client certificate cannot be used: {0}")]
    Certificate(String),
    /// The key of the client certificate cannot be used, or is not its key.
    #[error("the private key cannot be used: {0}")]
    PrivateKey(String),
    /// The protocol versions do not fit the cryptography provider.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A TLS client with its trusted authorities. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

/// What is offered to the server (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone: what is configured to be HTTP/2 is never spoken to otherwise.
    Http2,
}

/// A client certificate with what leads to its authority, and its key, both as PEM.
#[derive(Clone, Copy)]
pub struct PemIdentity<'a> {
    /// The certificate first.
    pub certificates: &'a [u8],
    /// Its key.
    pub private_key: &'a [u8],
}

impl ClientTls {
    /// Trusts what the operating system trusts.
    ///
    /// # Errors
    /// The system has no certificates.
    pub fn system() -> Result<Self, TrustError> {
        Self::with_roots(system_roots()?)
    }

    /// Trusts the certificates of these PEM bytes and nothing else, or what the operating system trusts; shows the
    /// client certificate to servers that ask for one.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn from_pem(
        authorities: Option<&[u8]>,
        identity: Option<PemIdentity<'_>>,
        alpn: Alpn,
    ) -> Result<Self, TrustError> {
        let roots = match authorities {
            Some(pem) => roots(CertificateDer::pem_slice_iter(pem)).map_err(TrustError::Authorities)?,
            None => system_roots()?,
        };
        let builder = builder(roots)?;
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certificates = CertificateDer::pem_slice_iter(identity.certificates)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| TrustError::Certificate(error.to_string()))?;
                if certificates.is_empty() {
                    return Err(TrustError::Certificate("no certificate in it".into()));
                }
                let key = PrivateKeyDer::from_pem_slice(identity.private_key)
                    .map_err(|error| TrustError::PrivateKey(error.to_string()))?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| TrustError::PrivateKey(error.to_string()))?
            }
        };
        config.alpn_protocols = vec![alpn.protocol().to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// The client as rustls has it.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Trusts the certificates of one PEM file and nothing else.
    ///
    /// # Errors
    /// The file cannot be read, holds no certificate, or one that cannot be an authority.
    pub fn from_file(path: &Path) -> Result<Self, TrustError> {
        let fault = |reason: String| TrustError::File {
            path: path.into(),
            reason,
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
        Self::with_roots(roots(certificates).map_err(fault)?)
    }

    fn with_roots(roots: RootCertStore) -> Result<Self, TrustError> {
        let mut config = builder(roots)?.with_no_client_auth();
        config.alpn_protocols = vec![Alpn::Http1.protocol().to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// The handshake, checking that the certificate is for `host`.
    ///
    /// # Errors
    /// `TimedOut` or `Tls`.
    pub async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
        deadline: Instant,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| ConnectError::Tls(error.to_string()))?;
        let handshake = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream);
        match timeout_at(deadline, handshake).await {
            Ok(connected) => connected.map_err(|error| ConnectError::Tls(error.to_string())),
            Err(_) => Err(ConnectError::TimedOut),
        }
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTls")
    }
}

impl From<Arc<ClientConfig>> for ClientTls {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }
}

impl Alpn {
    /// As it stands in the handshake.
    pub(super) fn protocol(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

fn builder(
    roots: RootCertStore,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TrustError> {
    // Named rather than the process default, which any other crate of the tree could have set.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots))
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TrustError::System(reasons.join("; ")));
    }
    Ok(roots)
}

fn roots<E: std::fmt::Display>(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, E>>,
) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("no certificate in it".into());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_certificate_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = ClientTls::from_file(&folder.path().join("missing.pem")).unwrap_err();
        assert!(missing.to_string().contains("missing.pem"), "{missing}");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing here").unwrap();
        assert!(
            ClientTls::from_file(&empty)
                .unwrap_err()
                .to_string()
                .contains("no certificate")
        );
    }
}
