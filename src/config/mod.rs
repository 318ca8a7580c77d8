//! From a YAML file to validated settings.
//!
//! Called by `app` and `cli`. A configuration is either valid as a whole, or none of it is used; every fault of it is
//! reported at once, with its place. Nothing here opens a socket, and no fault ever shows a secret.

mod address;
mod bounds;
mod faults;
mod file;
mod followed;
mod parse;
mod reader;
mod redacted;
mod resolve;
mod secret;
mod source;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::control::{DefinitionsSettings, IssuerSettings, RevocationSettings};
use crate::definition::{Place, Secret};
use crate::gateway::{CertificateField, ForwardedFields};
use crate::net::{Expiry, Limits, ListenerSettings, Timeouts, TrustedProxies};
use crate::snapshot::{DefinitionOrigin, Plan};
use crate::telemetry::AccessLogSettings;
use crate::token::ProofSettings;

pub use address::is_loopback;
pub use faults::{Fault, Faults};
pub(crate) use followed::Following;
pub use followed::{Definitions, Followed};
pub use redacted::redacted;
pub use source::{LARGEST_FILE, Sources, System};

use reader::FromNode as _;

/// Everything that a file says, validated; no `Option` where a default exists.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one.
    pub listeners: Vec<ListenerSettings>,
    /// Until when the certificates of the listeners are valid.
    pub expiries: Vec<Expiry>,
    /// Who may speak for others.
    pub trusted_proxies: TrustedProxies,
    /// In which header fields.
    pub forwarded_fields: ForwardedFields,
    /// In which header field they pass certificates of their clients on; `None`: in none.
    pub client_certificate_field: Option<CertificateField>,
    /// How proofs of possession are taken.
    pub dpop: DpopSettings,
    /// Where revoked tokens are learnt of; `None`: nowhere.
    pub revocations: Option<RevocationSettings>,
    /// Metrics, health and configuration. Default 127.0.0.1:9901; `None` where `admin: off`.
    pub admin: Option<SocketAddr>,
    /// Worker threads; `None`: as many as the process has processors.
    pub workers: Option<NonZeroUsize>,
    /// Bounds.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Entries of the cache of verified tokens. Default 10,000; 0 switches it off.
    pub token_cache_entries: u64,
    /// Access log.
    pub access_log: AccessLogSettings,
    /// In the order of the file; the same issuers as `plan.issuers`.
    pub issuers: Vec<IssuerSettings>,
    /// The policy.
    pub plan: Plan,
    /// Whose definitions are followed, where that is not the authority of this process.
    pub definitions: Option<DefinitionsSettings>,
    /// The embedded authorization server.
    #[cfg(feature = "authority")]
    pub authority: Option<crate::authority::AuthoritySettings>,
    /// Where the limits of control groups are read: `/sys/fs/cgroup`. No file says so.
    pub cgroups: PathBuf,
    /// Every file that was read for these settings: what a watcher must watch.
    pub files: Vec<PathBuf>,
    /// SHA-256 over the content of all of `files` and of what is followed, in lower-case hexadecimal: the `hash` of `config_info`.
    pub hash: String,
}

impl Settings {
    /// The identifiers of the APIs whose definitions have not been told yet.
    pub fn awaited(&self) -> impl Iterator<Item = &str> {
        let apis = self.plan.apis.iter();
        apis.filter(|api| api.origin == DefinitionOrigin::Awaited)
            .map(|api| api.definition.identifier.as_str())
    }
}

/// How proofs of possession are taken (RFC 9449).
#[derive(Clone, Debug, Default)]
pub struct DpopSettings {
    /// Bounds.
    pub proofs: ProofSettings,
    /// Under which nonces are made; `None`: under a key of this process.
    pub nonce_secret: Option<Secret>,
}

/// Reads a configuration from the disk and the environment of the process.
pub fn load(path: &Path) -> Result<Settings, Faults> {
    load_with(path, &System)
}

/// Reads a configuration from anywhere. Relative paths are relative to the file that names them.
pub fn load_with(path: &Path, sources: &dyn Sources) -> Result<Settings, Faults> {
    let mut files = source::Files::new(sources);
    let mut faults = Vec::new();
    let document = files.document(path, &Place::whole(path), &mut faults);
    let file = document.and_then(|document| file::File::from_node("configuration", &document, &mut faults));
    let resolved = file.map(|file| resolve::resolve(&file, &mut files, &mut faults));
    let (files, hash) = files.finish();
    let Some(resolved) = resolved.filter(|_| faults.is_empty()) else {
        return Err(Faults::new(faults, files));
    };
    Ok(Settings {
        listeners: resolved.listeners,
        expiries: resolved.expiries,
        trusted_proxies: resolved.trusted_proxies,
        forwarded_fields: resolved.forwarded_fields,
        client_certificate_field: resolved.client_certificate_field,
        dpop: resolved.dpop,
        revocations: resolved.revocations,
        admin: resolved.admin,
        workers: resolved.workers,
        limits: resolved.limits,
        timeouts: resolved.timeouts,
        token_cache_entries: resolved.token_cache_entries,
        access_log: resolved.access_log,
        issuers: resolved.issuers,
        plan: resolved.plan,
        definitions: resolved.definitions,
        #[cfg(feature = "authority")]
        authority: resolved.authority,
        cgroups: PathBuf::from("/sys/fs/cgroup"),
        files,
        hash,
    })
}

/// The JSON Schema (draft 2020-12) of a configuration.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(file::File).to_value()
}

#[cfg(test)]
mod tests;
