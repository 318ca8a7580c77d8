//! The Management API, `/api/v2`.

use http::StatusCode;

use super::{Answer, Authority, Request};

/// Every permission of the Management API.
pub(super) const SCOPES: [&str; 34] = [
    "read:resource_servers",
    "create:resource_servers",
    "update:resource_servers",
    "delete:resource_servers",
    "read:clients",
    "create:clients",
    "update:clients",
    "delete:clients",
    "read:client_summary",
    "read:client_keys",
    "update:client_keys",
    "create:client_keys",
    "delete:client_keys",
    "read:client_credentials",
    "create:client_credentials",
    "update:client_credentials",
    "delete:client_credentials",
    "read:client_grants",
    "create:client_grants",
    "update:client_grants",
    "delete:client_grants",
    "read:roles",
    "create:roles",
    "update:roles",
    "delete:roles",
    "read:users",
    "create:users",
    "update:users",
    "delete:users",
    "read:role_members",
    "create:role_members",
    "read:signing_keys",
    "create:signing_keys",
    "update:signing_keys",
];

/// Answers a request to the Management API.
pub(super) async fn answer(_authority: &Authority, _request: &Request) -> Answer {
    Answer::empty(StatusCode::NOT_FOUND)
}
