//! A tenant's Management API, seen from outside: this product's own authority elsewhere, or Auth0.
//!
//! `app` follows definitions with it, the commands of `cli` change them with it.

mod client;
mod follow;

pub use client::{CallError, ManagementClient, Said, TenantCredentials, ask_for_token, path_segment};
pub use follow::{DefinitionsSettings, FollowMetrics, follow_tenant, kept};
