//! The TLS of one listener, made out of the content of its files: all of them good, or none of it is used.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier,
};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use zeroize::Zeroizing;

use super::certificate::{Pair, PairFault, chain};
use super::identities::Identities;
use super::validity::not_after;
use crate::net::{ClientCertificate, PairFiles, TlsSettings, TlsVersion};

/// What the files of a listener hold, by path.
pub type Contents = HashMap<PathBuf, Zeroizing<Vec<u8>>>;

/// TLS as it is in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) identities: Arc<Identities>,
    /// One per certificate.
    pub expiries: Vec<Expiry>,
}

/// Until when a certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What it is for.
    pub role: Role,
    /// Where it stands.
    pub file: PathBuf,
    /// Seconds since 1970.
    pub not_after: i64,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Shown to clients.
    Server,
    /// Issues client certificates.
    ClientCa,
}

impl Role {
    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::ClientCa => "client_ca",
        }
    }
}

/// Which file is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// Of the pair at this position.
    Certificate(usize),
    /// Likewise.
    PrivateKey(usize),
    /// The authorities of client certificates.
    ClientCa,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {path}: {fault}", path = path.display())]
pub struct TlsFault {
    /// Which one it is.
    pub file: TlsFile,
    /// Where it stands.
    pub path: PathBuf,
    /// Why.
    pub fault: PairFault,
}

impl ServerTls {
    /// Makes it of what the files hold; `http2` offers that beside HTTP/1.1. A file that is not in `contents` is one
    /// that could not be read, and as good as empty.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn new(settings: &TlsSettings, http2: bool, contents: &Contents) -> Result<Self, Vec<TlsFault>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let content = |path: &Path| contents.get(path).map_or(&[][..], |content| content.as_slice());
        let mut faults = Vec::new();
        let mut expiries = Vec::new();
        let mut pairs = Vec::with_capacity(settings.pairs.len());
        for (index, files) in settings.pairs.iter().enumerate() {
            let found = Pair::from_pem(
                content(&files.certificate),
                content(&files.private_key),
                &provider,
            );
            match found {
                Ok(pair) => {
                    expiries.extend(pair.not_after.map(|not_after| Expiry {
                        role: Role::Server,
                        file: files.certificate.clone(),
                        not_after,
                    }));
                    pairs.push(pair);
                }
                Err(fault) => faults.push(TlsFault::of_pair(index, files, fault)),
            }
        }
        let ca = settings.client_ca.as_ref().map(|path| {
            let authorities = authorities(content(path)).map_err(|fault| TlsFault {
                file: TlsFile::ClientCa,
                path: path.clone(),
                fault,
            });
            authorities.map(|(roots, ends)| {
                expiries.extend(ends.into_iter().map(|not_after| Expiry {
                    role: Role::ClientCa,
                    file: path.clone(),
                    not_after,
                }));
                roots
            })
        });
        let roots = match ca {
            Some(Ok(roots)) => roots,
            Some(Err(fault)) => {
                faults.push(fault);
                RootCertStore::empty()
            }
            None => RootCertStore::empty(),
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        let identities = Arc::new(Identities::new(&pairs));
        let config = config(settings, http2, provider, roots, &identities).map_err(|fault| {
            let path = settings.client_ca.clone().unwrap_or_default();
            vec![TlsFault {
                file: TlsFile::ClientCa,
                path,
                fault,
            }]
        })?;
        Ok(Self {
            config: Arc::new(config),
            identities,
            expiries,
        })
    }
}

impl TlsFault {
    fn of_pair(index: usize, files: &PairFiles, fault: PairFault) -> Self {
        let (file, path) = if fault.is_of_key() {
            (TlsFile::PrivateKey(index), &files.private_key)
        } else {
            (TlsFile::Certificate(index), &files.certificate)
        };
        Self {
            file,
            path: path.clone(),
            fault,
        }
    }
}

/// The authorities of a PEM text, and when they end.
fn authorities(text: &[u8]) -> Result<(RootCertStore, Vec<i64>), PairFault> {
    let mut roots = RootCertStore::empty();
    let mut ends = Vec::new();
    for certificate in chain(text)? {
        ends.extend(not_after(&certificate));
        roots
            .add(certificate)
            .map_err(|error| PairFault::Certificate(error.to_string()))?;
    }
    Ok((roots, ends))
}

fn config(
    settings: &TlsSettings,
    http2: bool,
    provider: Arc<rustls::crypto::CryptoProvider>,
    roots: RootCertStore,
    identities: &Arc<Identities>,
) -> Result<ServerConfig, PairFault> {
    let unusable = |error: &dyn std::fmt::Display| PairFault::Certificate(error.to_string());
    let verifier: Arc<dyn ClientCertVerifier> = match settings.client_certificate {
        ClientCertificate::Off => Arc::new(NoClientAuth),
        asked => {
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let builder = match asked {
                ClientCertificate::Optional => builder.allow_unauthenticated(),
                ClientCertificate::Off | ClientCertificate::Required => builder,
            };
            builder.build().map_err(|error| unusable(&error))?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(settings.min_version))
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(identities) as Arc<_>);
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    // What is replayed would be decided twice (RFC 8446 section 8).
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match settings.client_certificate {
        // The key of the tickets is made here, so a session ends with the files that it was made under.
        ClientCertificate::Off => config.ticketer = Ticketer::new().map_err(|error| unusable(&error))?,
        // A resumed session would bring its certificate along unchecked.
        ClientCertificate::Optional | ClientCertificate::Required => config.send_tls13_tickets = 0,
    }
    Ok(config)
}

fn versions(lowest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match lowest {
        TlsVersion::V1_2 => &ALL,
        TlsVersion::V1_3 => ALL.get(..1).unwrap_or_default(),
    }
}
