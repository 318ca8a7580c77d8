//! From a YAML file to validated settings.

mod faults;
mod file;
mod parse;
mod reader;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::control::IssuerSettings;
use crate::net::{Limits, ListenerSettings, Timeouts};
use crate::snapshot::Plan;
use crate::telemetry::AccessLogSettings;

/// Everything that a file says, validated; no `Option` where a default exists.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one.
    pub listeners: Vec<ListenerSettings>,
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
    /// Every file that was read for these settings: what a watcher must watch.
    pub files: Vec<PathBuf>,
    /// SHA-256 over the content of all of `files`, in lower-case hexadecimal: the `hash` of `config_info`.
    pub hash: String,
}
