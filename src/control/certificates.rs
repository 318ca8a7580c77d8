//! Keeps the TLS of the listeners current: reads their files, and replaces what is served when they have changed.
//!
//! `app` calls it at the start and whenever a watched file changes, whether the rest of the configuration is good or
//! not: a certificate that was renewed in time must not wait for somebody to mend a route. A listener whose files are
//! not good keeps what it has.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus::IntCounterVec;
use zeroize::Zeroizing;

use crate::clock::unix_now;
use crate::net::{Contents, Expiry, ListenerSettings, Role, ServerTls, TlsFault, TlsListener, TlsSettings};
use crate::telemetry::Metrics;

/// The TLS of every listener that has one.
pub struct Certificates {
    listeners: Vec<Served>,
    read: ReadFile,
    metrics: Metrics,
}

/// What files are read through: the disk, or what stands in its place.
pub type ReadFile = Box<dyn Fn(&Path) -> io::Result<Vec<u8>> + Send>;

/// What each listener serves, in the order of the configuration; `None`: cleartext.
pub type TlsListeners = Vec<Option<Arc<TlsListener>>>;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not good.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults(Vec<TlsFault>),
}

struct Served {
    settings: TlsSettings,
    http2: bool,
    contents: Contents,
    expiries: Vec<Expiry>,
    listener: Arc<TlsListener>,
}

impl Certificates {
    /// Loads everything. The second value has what each listener serves.
    ///
    /// # Errors
    /// The first listener whose files are not good.
    pub fn load(
        settings: &[ListenerSettings],
        read: ReadFile,
        metrics: &Metrics,
    ) -> Result<(Self, TlsListeners), CertificateError> {
        let mut listeners = Vec::new();
        let mut served = Vec::new();
        for listener in settings {
            let Some(tls) = &listener.tls else {
                served.push(None);
                continue;
            };
            let new = Served::load(tls, listener.http2, &read, &metrics.tls_handshakes)?;
            served.push(Some(Arc::clone(&new.listener)));
            listeners.push(new);
        }
        let certificates = Self {
            listeners,
            read,
            metrics: metrics.clone(),
        };
        certificates.tell();
        Ok((certificates, served))
    }

    /// The files that are served from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.listeners.iter().flat_map(|served| files(&served.settings))
    }

    /// Reads the files again, and serves what is new and good. Whether every listener now serves what its files say.
    pub fn refresh(&mut self) -> bool {
        let mut is_current = true;
        for served in &mut self.listeners {
            if let Err(error) = served.refresh(&self.read) {
                tracing::error!(%error, "certificates: what was served before stays in force");
                is_current = false;
            }
        }
        self.tell();
        is_current
    }

    fn tell(&self) {
        let now = unix_now();
        for role in [Role::Server, Role::ClientCa] {
            let expiries = self.listeners.iter().flat_map(|served| &served.expiries);
            let first = expiries
                .filter(|expiry| expiry.role == role)
                .min_by_key(|expiry| expiry.not_after);
            let Some(first) = first else { continue };
            self.metrics.certificate_expiry(role.name()).set(first.not_after);
            if first.not_after <= now {
                tracing::warn!(file = %first.file.display(), "a certificate has expired");
            }
        }
    }
}

impl Served {
    fn load(
        settings: &TlsSettings,
        http2: bool,
        read: &ReadFile,
        handshakes: &IntCounterVec,
    ) -> Result<Self, CertificateError> {
        let contents = contents(settings, read)?;
        let tls = ServerTls::new(settings, http2, &contents).map_err(CertificateError::Faults)?;
        Ok(Self {
            settings: settings.clone(),
            http2,
            contents,
            expiries: tls.expiries.clone(),
            listener: TlsListener::new(tls, handshakes),
        })
    }

    fn refresh(&mut self, read: &ReadFile) -> Result<(), CertificateError> {
        let contents = contents(&self.settings, read)?;
        if contents == self.contents {
            return Ok(());
        }
        let tls = ServerTls::new(&self.settings, self.http2, &contents).map_err(CertificateError::Faults)?;
        self.contents = contents;
        self.expiries.clone_from(&tls.expiries);
        self.listener.replace(tls);
        let first = self.settings.pairs.first();
        let certificate = first.map(|pair| pair.certificate.display().to_string());
        tracing::info!(certificate, "new certificates are served");
        Ok(())
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let settings = self.listeners.iter().map(|served| &served.settings);
        f.debug_list().entries(settings).finish()
    }
}

fn files(settings: &TlsSettings) -> impl Iterator<Item = &Path> {
    let pairs = settings.pairs.iter();
    pairs
        .flat_map(|pair| [&*pair.certificate, &*pair.private_key])
        .chain(settings.client_ca.as_deref())
}

fn contents(settings: &TlsSettings, read: &ReadFile) -> Result<Contents, CertificateError> {
    let mut contents = HashMap::new();
    for path in files(settings) {
        let content = read(path).map_err(|error| CertificateError::Read {
            path: path.into(),
            error,
        })?;
        contents.insert(path.to_owned(), Zeroizing::new(content));
    }
    Ok(contents)
}
