//! What can be asked of the Management API: one table of method, path, permissions and operation.
//!
//! `gate` compiles it into the routes that requests are decided with; the OpenAPI document names the same operations by
//! the same ids, which a test holds.

use http::Method;

use super::operation::Operation;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Route {
    /// The method.
    pub(super) method: Method,
    /// As in the OpenAPI document.
    pub(super) path: &'static str,
    /// One of these permissions is needed; none: not even a token.
    pub(super) any_of: &'static [&'static str],
    /// What is done.
    pub(super) operation: Operation,
}

const fn route(
    method: Method,
    path: &'static str,
    operation: Operation,
    any_of: &'static [&'static str],
) -> Route {
    Route {
        method,
        path,
        any_of,
        operation,
    }
}

/// The applications themselves, their secrets, or their keys: each shows the application.
const READ_CLIENTS: &[&str] = &[
    "read:clients",
    "read:client_keys",
    "read:client_credentials",
    "read:client_summary",
];
const UPDATE_CLIENTS: &[&str] = &[
    "update:clients",
    "update:client_keys",
    "update:client_credentials",
];

/// The table. More specific paths go before others by themselves.
pub(super) static ROUTES: [Route; 47] = [
    route(
        Method::GET,
        "/api/v2/resource-servers",
        Operation::ListResourceServers,
        &["read:resource_servers"],
    ),
    route(
        Method::POST,
        "/api/v2/resource-servers",
        Operation::CreateResourceServer,
        &["create:resource_servers"],
    ),
    route(
        Method::GET,
        "/api/v2/resource-servers/{id}",
        Operation::GetResourceServer,
        &["read:resource_servers"],
    ),
    route(
        Method::PATCH,
        "/api/v2/resource-servers/{id}",
        Operation::UpdateResourceServer,
        &["update:resource_servers"],
    ),
    route(
        Method::DELETE,
        "/api/v2/resource-servers/{id}",
        Operation::DeleteResourceServer,
        &["delete:resource_servers"],
    ),
    route(
        Method::GET,
        "/api/v2/clients",
        Operation::ListClients,
        READ_CLIENTS,
    ),
    route(
        Method::POST,
        "/api/v2/clients",
        Operation::CreateClient,
        &["create:clients"],
    ),
    route(
        Method::GET,
        "/api/v2/clients/{id}",
        Operation::GetClient,
        READ_CLIENTS,
    ),
    route(
        Method::PATCH,
        "/api/v2/clients/{id}",
        Operation::UpdateClient,
        UPDATE_CLIENTS,
    ),
    route(
        Method::DELETE,
        "/api/v2/clients/{id}",
        Operation::DeleteClient,
        &["delete:clients"],
    ),
    route(
        Method::POST,
        "/api/v2/clients/{id}/rotate-secret",
        Operation::RotateClientSecret,
        &["update:client_keys"],
    ),
    route(
        Method::GET,
        "/api/v2/clients/{id}/credentials",
        Operation::ListClientCredentials,
        &["read:client_credentials"],
    ),
    route(
        Method::POST,
        "/api/v2/clients/{id}/credentials",
        Operation::CreateClientCredential,
        &["create:client_credentials"],
    ),
    route(
        Method::GET,
        "/api/v2/clients/{id}/credentials/{credential_id}",
        Operation::GetClientCredential,
        &["read:client_credentials"],
    ),
    route(
        Method::PATCH,
        "/api/v2/clients/{id}/credentials/{credential_id}",
        Operation::UpdateClientCredential,
        &["update:client_credentials"],
    ),
    route(
        Method::DELETE,
        "/api/v2/clients/{id}/credentials/{credential_id}",
        Operation::DeleteClientCredential,
        &["delete:client_credentials"],
    ),
    route(
        Method::GET,
        "/api/v2/client-grants",
        Operation::ListClientGrants,
        &["read:client_grants"],
    ),
    route(
        Method::POST,
        "/api/v2/client-grants",
        Operation::CreateClientGrant,
        &["create:client_grants"],
    ),
    route(
        Method::GET,
        "/api/v2/client-grants/{id}",
        Operation::GetClientGrant,
        &["read:client_grants"],
    ),
    route(
        Method::PATCH,
        "/api/v2/client-grants/{id}",
        Operation::UpdateClientGrant,
        &["update:client_grants"],
    ),
    route(
        Method::DELETE,
        "/api/v2/client-grants/{id}",
        Operation::DeleteClientGrant,
        &["delete:client_grants"],
    ),
    route(
        Method::GET,
        "/api/v2/roles",
        Operation::ListRoles,
        &["read:roles"],
    ),
    route(
        Method::POST,
        "/api/v2/roles",
        Operation::CreateRole,
        &["create:roles"],
    ),
    route(
        Method::GET,
        "/api/v2/roles/{id}",
        Operation::GetRole,
        &["read:roles"],
    ),
    route(
        Method::PATCH,
        "/api/v2/roles/{id}",
        Operation::UpdateRole,
        &["update:roles"],
    ),
    route(
        Method::DELETE,
        "/api/v2/roles/{id}",
        Operation::DeleteRole,
        &["delete:roles"],
    ),
    route(
        Method::GET,
        "/api/v2/roles/{id}/permissions",
        Operation::ListRolePermissions,
        &["read:roles"],
    ),
    route(
        Method::POST,
        "/api/v2/roles/{id}/permissions",
        Operation::AddRolePermissions,
        &["update:roles"],
    ),
    route(
        Method::DELETE,
        "/api/v2/roles/{id}/permissions",
        Operation::RemoveRolePermissions,
        &["update:roles"],
    ),
    route(
        Method::GET,
        "/api/v2/roles/{id}/users",
        Operation::ListRoleUsers,
        &["read:role_members"],
    ),
    route(
        Method::POST,
        "/api/v2/roles/{id}/users",
        Operation::AddRoleUsers,
        &["create:role_members"],
    ),
    route(
        Method::GET,
        "/api/v2/users",
        Operation::ListUsers,
        &["read:users"],
    ),
    route(
        Method::POST,
        "/api/v2/users",
        Operation::CreateUser,
        &["create:users"],
    ),
    route(
        Method::GET,
        "/api/v2/users/{id}",
        Operation::GetUser,
        &["read:users"],
    ),
    route(
        Method::PATCH,
        "/api/v2/users/{id}",
        Operation::UpdateUser,
        &["update:users"],
    ),
    route(
        Method::DELETE,
        "/api/v2/users/{id}",
        Operation::DeleteUser,
        &["delete:users"],
    ),
    route(
        Method::GET,
        "/api/v2/users/{id}/permissions",
        Operation::ListUserPermissions,
        &["read:users"],
    ),
    route(
        Method::POST,
        "/api/v2/users/{id}/permissions",
        Operation::AddUserPermissions,
        &["update:users"],
    ),
    route(
        Method::DELETE,
        "/api/v2/users/{id}/permissions",
        Operation::RemoveUserPermissions,
        &["update:users"],
    ),
    route(
        Method::GET,
        "/api/v2/users/{id}/roles",
        Operation::ListUserRoles,
        &["read:users"],
    ),
    route(
        Method::POST,
        "/api/v2/users/{id}/roles",
        Operation::AddUserRoles,
        &["update:users"],
    ),
    route(
        Method::DELETE,
        "/api/v2/users/{id}/roles",
        Operation::RemoveUserRoles,
        &["update:users"],
    ),
    route(
        Method::GET,
        "/api/v2/keys/signing",
        Operation::ListSigningKeys,
        &["read:signing_keys"],
    ),
    route(
        Method::GET,
        "/api/v2/keys/signing/{kid}",
        Operation::GetSigningKey,
        &["read:signing_keys"],
    ),
    route(
        Method::POST,
        "/api/v2/keys/signing/rotate",
        Operation::RotateSigningKeys,
        &["create:signing_keys", "update:signing_keys"],
    ),
    route(
        Method::PUT,
        "/api/v2/keys/signing/{kid}/revoke",
        Operation::RevokeSigningKey,
        &["update:signing_keys"],
    ),
    route(Method::GET, "/api/v2/openapi.json", Operation::GetOpenapi, &[]),
];

/// Every permission of the Management API.
pub(in crate::authority) const SCOPES: [&str; 34] = [
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
