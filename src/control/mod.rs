//! The control loop: keeps the snapshot current. May be slow and may do I/O, is never on a request's path, and is the
//! single writer of the snapshot.

mod settings;
mod health;
mod reconcile;
mod jwks;
mod watch;
mod certificates;
mod memory;
mod tenant;
mod revocations;
mod push;
mod admin;
#[cfg(test)]
mod tests;

pub use admin::{Admin, serve_admin};
pub use certificates::{CertificateError, Certificates, ReadFile, TlsListeners};
pub use jwks::fetch_keys;
pub use memory::watch_memory;
pub use reconcile::{ApplyError, NewPlan, ReconcileSettings, Reconciler, reconciler};
pub use revocations::{RevocationDesk, RevocationError, read as read_revocations};
pub use settings::{IssuerSettings, JwksSettings, KeySource, PushSettings, RevocationSettings};
pub use tenant::{
    CallError, DefinitionsSettings, FollowMetrics, ManagementClient, Said, TenantCredentials, ask_for_token,
    follow_tenant, kept, path_segment,
};
pub use watch::{FileChanges, FileWatch, watch_files};
