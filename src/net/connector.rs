//! Outgoing connections: name resolution, TCP and TLS, each under a deadline.
//!
//! `gateway::pool` and `net::fetch` use it. There is no way to switch certificate checks off, and a certificate file
//! that cannot be read is an error, never a reason to trust something else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or the resolver failed.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
    },
    /// Every address of the name is one that is never connected to.
    #[error("{host} has no address that may be connected to")]
    Forbidden {
        /// The name.
        host: String,
    },
    /// The deadline passed.
    #[error("timed out")]
    TimedOut,
    /// The operating system refused.
    #[error("cannot connect: {0}")]
    Io(io::ErrorKind),
    /// The handshake failed: most often a certificate that is not trusted or names another host.
    #[error("TLS: {0}")]
    Tls(String),
}

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
    /// The protocol versions do not fit the cryptography provider.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Which addresses a name may resolve to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRule {
    /// Any: the address is the operator's choice.
    Any,
    /// No link-local (among them the metadata services of clouds), multicast, broadcast or unspecified address: part
    /// of the address came from elsewhere.
    NoLinkLocal,
}

/// A TLS client with its trusted authorities. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

/// Connects to the first address of `host` that answers. `host` is a name, or an address without brackets.
///
/// # Errors
/// [`ConnectError`]; never `Tls`. When several addresses fail, the error is that of the last.
pub async fn connect(
    host: &str,
    port: u16,
    rule: AddressRule,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let addresses = timeout_at(deadline, resolve(host, port))
        .await
        .map_err(|_elapsed| ConnectError::TimedOut)??;
    let mut error = ConnectError::Forbidden { host: host.into() };
    let allowed: Vec<SocketAddr> = addresses
        .into_iter()
        .filter(|address| rule.allows(address.ip()))
        .collect();
    let mut left = u32::try_from(allowed.len()).unwrap_or(u32::MAX);
    for address in allowed {
        // An address that swallows packets must leave time for the ones after it.
        let now = Instant::now();
        let share = now + deadline.saturating_duration_since(now) / left.max(1);
        left = left.saturating_sub(1);
        error = match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(failed)) => ConnectError::Io(failed.kind()),
            Err(_) => ConnectError::TimedOut,
        };
    }
    Err(error)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => {
            tracing::debug!(%host, %error, "name resolution failed");
            Err(ConnectError::Resolve { host: host.into() })
        }
    }
}

impl AddressRule {
    /// Whether a connection to this address may be opened.
    pub fn allows(self, ip: IpAddr) -> bool {
        if self == Self::Any {
            return true;
        }
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                !(ip.is_link_local() || ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified())
            }
            IpAddr::V6(ip) => !(ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified()),
        }
    }
}

impl ClientTls {
    /// Trusts what the operating system trusts.
    ///
    /// # Errors
    /// The system has no certificates.
    pub fn system() -> Result<Self, TrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TrustError::System(reasons.join("; ")));
        }
        Self::with_roots(roots)
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
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| fault(error.to_string()))?;
            roots.add(certificate).map_err(|error| fault(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(fault("no certificate in it".into()));
        }
        Self::with_roots(roots)
    }

    fn with_roots(roots: RootCertStore) -> Result<Self, TrustError> {
        // Named rather than the process default, which any other crate of the tree could have set.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn connects_by_name_and_says_why_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect("localhost", port, AddressRule::NoLinkLocal, soon())
            .await
            .unwrap();
        assert!(stream.nodelay().unwrap());
        drop(listener);
        let refused = connect("127.0.0.1", port, AddressRule::Any, soon())
            .await
            .unwrap_err();
        assert_eq!(refused, ConnectError::Io(io::ErrorKind::ConnectionRefused));
        let forbidden = connect("169.254.169.254", 80, AddressRule::NoLinkLocal, soon())
            .await
            .unwrap_err();
        assert_eq!(
            forbidden,
            ConnectError::Forbidden {
                host: "169.254.169.254".into()
            }
        );
        let unknown = connect("no-such-host.invalid", 80, AddressRule::Any, soon())
            .await
            .unwrap_err();
        assert!(matches!(
            unknown,
            ConnectError::Resolve { .. } | ConnectError::TimedOut
        ));
    }

    #[test]
    fn mapped_addresses_are_the_addresses_they_map() {
        for refused in [
            "::ffff:169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(
                !AddressRule::NoLinkLocal.allows(refused.parse().unwrap()),
                "{refused}"
            );
        }
        for allowed in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "203.0.113.7"] {
            assert!(
                AddressRule::NoLinkLocal.allows(allowed.parse().unwrap()),
                "{allowed}"
            );
        }
    }

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
