//! What `config` fills in for logs.

use std::path::PathBuf;

/// Where access-log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLogOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// How requests are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where to.
    pub output: AccessLogOutput,
    /// Subject and client id as they are, rather than as a keyed hash.
    pub plain_identities: bool,
}
