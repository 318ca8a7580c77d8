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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where to.
    pub output: AccessLogOutput,
    /// Subject and client id as they are, rather than as a keyed hash.
    pub plain_identities: bool,
    /// Lines about refused requests in a second, for each reason; 0 for any number.
    pub denials_per_second: u32,
}

impl Default for AccessLogSettings {
    fn default() -> Self {
        Self {
            output: AccessLogOutput::default(),
            plain_identities: false,
            // More than anybody reads, and a tenth of a percent of what a disk takes.
            denials_per_second: 1_000,
        }
    }
}
