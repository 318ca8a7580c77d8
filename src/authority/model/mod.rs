//! What the authority knows: APIs, applications, grants, roles, people, keys, and the rules that hold among them.
//!
//! Pure: no clock, no randomness, no store. [`Tenant`] is one whole state, read by everyone; [`Draft`] is the next one
//! while it is being made, and the only way to change anything.

mod object;
mod api;
mod client;
mod grant;
mod index;
mod people;
mod key;
mod tenant;
mod draft;
#[cfg(test)]
mod tests;

pub use api::Api;
pub use client::{Client, ClientAuthentication, Credential, SecretIn};
pub use draft::{Draft, Fault};
pub use grant::{Grant, SubjectType};
pub use key::{KeyRecord, KeyState};
pub use object::{Body, Kind, Object, Unreadable};
pub use people::{PermissionRef, Role, User};
pub use tenant::Tenant;
