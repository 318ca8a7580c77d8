//! Where the keys of an issuer come from: discovery, an address, a file, or the configuration itself.
//!
//! Only the key task uses it. What came over the network is bounded in time and size before it gets here, and is never
//! quoted in a fault.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::control::{JwksSettings, KeySource};
use crate::net::{ClientTls, FetchError, Fetched, Fetcher};
use crate::token::{JwksError, KeySet, SkippedKey, oauth_metadata_address, openid_metadata_address};

/// Gets key sets.
#[derive(Debug)]
pub(super) struct Source {
    issuer: String,
    from: KeySource,
    settings: JwksSettings,
    /// The system's authorities, read once. A file of authorities is read for each fetch, so that it can be replaced.
    system: Option<ClientTls>,
    /// The last `jwks_uri` that discovery gave.
    discovered: Option<String>,
    /// The last good content of the file.
    last: Option<Vec<u8>>,
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) enum Answer {
    /// A set with at least one usable key.
    Keys {
        /// The set.
        keys: KeySet,
        /// What was left out of it.
        skipped: Vec<SkippedKey>,
        /// How long the server says that it is fresh.
        max_age: Option<Duration>,
    },
    /// The file is what it was.
    Unchanged,
}

/// Why there are no keys. The texts go to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFault {
    #[error("discovery: {0}")]
    Discovery(FetchError),
    #[error("discovery: the document is not JSON with an issuer and a jwks_uri")]
    DiscoveryDocument,
    #[error("discovery: the document is that of another issuer")]
    OtherIssuer,
    #[error("key set: {0}")]
    Fetch(FetchError),
    #[error("{0}")]
    Trust(String),
    #[error("cannot read {path}: {kind}", path = .0.display(), kind = .1)]
    File(PathBuf, io::ErrorKind),
    #[error("{path} is too large", path = .0.display())]
    FileTooLarge(PathBuf),
    #[error("{0}")]
    Document(JwksError),
}

/// OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    pub(super) fn new(issuer: &str, from: &KeySource, settings: &JwksSettings) -> Self {
        Self {
            issuer: issuer.into(),
            from: from.clone(),
            settings: settings.clone(),
            system: None,
            discovered: None,
            last: None,
        }
    }

    /// Asks for the keys once.
    pub(super) async fn fetch(&mut self) -> Result<Answer, KeyFault> {
        match self.from.clone() {
            KeySource::Inline(text) => read_set(text.as_bytes(), None),
            KeySource::File(path) => self.read_file(path).await,
            KeySource::Uri(uri) => self.fetch_set(&uri).await,
            KeySource::Discovery => {
                let uri = self.discover().await?;
                self.fetch_set(&uri).await
            }
        }
    }

    /// What was read before counts as new when it is read again.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    async fn fetch_set(&mut self, uri: &str) -> Result<Answer, KeyFault> {
        let Fetched { body, max_age, .. } = self.fetcher(uri)?.get(uri).await.map_err(KeyFault::Fetch)?;
        read_set(&body, max_age)
    }

    /// The `jwks_uri` of the issuer. While discovery alone is out of order, the last one that it gave.
    async fn discover(&mut self) -> Result<String, KeyFault> {
        let found = match self.metadata(&openid_metadata_address(&self.issuer)).await {
            // There is no such document: the issuer may speak plain OAuth 2.0.
            Err(KeyFault::Discovery(FetchError::Status(_))) => match oauth_metadata_address(&self.issuer) {
                Some(address) => self.metadata(&address).await,
                None => Err(KeyFault::Discovery(FetchError::BadAddress)),
            },
            found => found,
        };
        match (found, &self.discovered) {
            (Ok(uri), _) => {
                self.discovered = Some(uri.clone());
                Ok(uri)
            }
            (Err(KeyFault::Discovery(_)), Some(uri)) => Ok(uri.clone()),
            (Err(fault), _) => Err(fault),
        }
    }

    async fn metadata(&mut self, address: &str) -> Result<String, KeyFault> {
        let document = self
            .fetcher(address)?
            .get(address)
            .await
            .map_err(KeyFault::Discovery)?;
        let metadata: Metadata =
            serde_json::from_slice(&document.body).map_err(|_malformed| KeyFault::DiscoveryDocument)?;
        if metadata.issuer != self.issuer {
            return Err(KeyFault::OtherIssuer);
        }
        Ok(metadata.jwks_uri)
    }

    fn fetcher(&mut self, address: &str) -> Result<Fetcher, KeyFault> {
        let trust = |error: crate::net::TrustError| KeyFault::Trust(error.to_string());
        let tls = match (&self.settings.ca, &self.system) {
            _ if !starts_with_https(address) => None,
            (Some(ca), _) => Some(ClientTls::from_file(ca).map_err(trust)?),
            (None, Some(system)) => Some(system.clone()),
            (None, None) => Some(ClientTls::system().map_err(trust)?),
        };
        if self.settings.ca.is_none() && tls.is_some() {
            self.system.clone_from(&tls);
        }
        Ok(Fetcher::new(tls, self.settings.timeout, self.settings.allow_http))
    }

    async fn read_file(&mut self, path: PathBuf) -> Result<Answer, KeyFault> {
        let reading = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || read_bounded(&path)).await
        };
        let content = match reading {
            Ok(Ok(Some(content))) => content,
            Ok(Ok(None)) => return Err(KeyFault::FileTooLarge(path)),
            Ok(Err(error)) => return Err(KeyFault::File(path, error.kind())),
            Err(_) => return Err(KeyFault::File(path, io::ErrorKind::Other)),
        };
        if self.last.as_ref() == Some(&content) {
            return Ok(Answer::Unchanged);
        }
        let answer = read_set(&content, None)?;
        self.last = Some(content);
        Ok(answer)
    }
}

impl KeyFault {
    /// The word in `jwks_fetches_total{result}`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::DiscoveryDocument | Self::OtherIssuer => "discovery",
            Self::Discovery(error) | Self::Fetch(error) => error.label(),
            Self::Trust(_) => "tls",
            Self::File(..) => "file",
            Self::FileTooLarge(_) => "too_large",
            Self::Document(_) => "no_keys",
        }
    }
}

fn read_set(document: &[u8], max_age: Option<Duration>) -> Result<Answer, KeyFault> {
    let (keys, skipped) = KeySet::from_jwks(document).map_err(KeyFault::Document)?;
    Ok(Answer::Keys {
        keys,
        skipped,
        max_age,
    })
}

/// `None` where it is too large.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut content)?;
    Ok((u64::try_from(content.len()).unwrap_or(u64::MAX) <= LARGEST_FILE).then_some(content))
}

fn starts_with_https(address: &str) -> bool {
    address
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("https://"))
}

const LARGEST_FILE: u64 = 512 << 10;
