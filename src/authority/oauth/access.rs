//! What a subject gets at an API: the scopes of the token and its permissions. Pure.
//!
//! Applications get what their grant says. For users see [`for_user`].

use super::fault::Fault;
use super::metadata::OIDC_SCOPES;
use crate::authority::model::{Api, Client, Grant, PermissionRef, SubjectType, Tenant, User};
use crate::definition::{ClientAccess, UserAccess};

/// What is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    /// For `scope`.
    pub(super) scopes: Vec<String>,
    /// For `permissions`.
    pub(super) permissions: Vec<String>,
}

/// For the application itself: what was asked for, or everything that its grant has.
///
/// # Errors
/// [`Fault::SubjectDenied`], [`Fault::NoGrant`], [`Fault::NotGranted`].
pub(super) fn for_client(
    tenant: &Tenant,
    client: &Client,
    api: &Api,
    requested: Option<&str>,
) -> Result<Access, Fault> {
    let identifier = &api.definition.identifier;
    let policy = api.definition.subject_type_authorization.client;
    if policy.is_some_and(|client| client.policy == ClientAccess::DenyAll) {
        return Err(Fault::SubjectDenied(identifier.clone()));
    }
    let grant = tenant
        .grant_of(&client.client_id, identifier, SubjectType::Client)
        .ok_or_else(|| Fault::NoGrant(identifier.clone()))?;
    let granted = granted(grant, api);
    let scopes = match requested {
        None => granted,
        Some(requested) => subset(&granted, requested)?,
    };
    Ok(Access {
        permissions: scopes.clone(),
        scopes,
    })
}

/// For a user, by way of an application. Of what was asked for, they get the permissions that the API defines, that
/// they have where the API enforces policies, and that the application has a grant for where it needs one; the rest is
/// left out without a word. `permissions` are all that the user has at the API. Reserved names pass, `offline_access`
/// only where there are refresh tokens.
///
/// # Errors
/// [`Fault::SubjectDenied`], [`Fault::NoGrant`].
pub(super) fn for_user(
    tenant: &Tenant,
    client: &Client,
    api: &Api,
    user: &User,
    requested: &str,
) -> Result<Access, Fault> {
    let definition = &api.definition;
    let policy = definition.subject_type_authorization.user;
    let policy = policy.map_or(UserAccess::AllowAll, |user| user.policy);
    if policy == UserAccess::DenyAll {
        return Err(Fault::SubjectDenied(definition.identifier.clone()));
    }
    let is_third_party = client
        .document
        .get("is_first_party")
        .is_some_and(|is| *is == false);
    let granted = if policy == UserAccess::RequireClientGrant || is_third_party {
        let grant = tenant
            .grant_of(&client.client_id, &definition.identifier, SubjectType::User)
            .or_else(|| default_grant(tenant, api, is_third_party))
            .ok_or_else(|| Fault::NoGrant(definition.identifier.clone()))?;
        Some(granted(grant, api))
    } else {
        None
    };
    let permissions = permissions_of(tenant, user, api);
    let refreshes = definition.allow_offline_access && client.may_use_grant_type("refresh_token");
    let may_have = |scope: &str| {
        if OIDC_SCOPES.contains(&scope) {
            return scope != OFFLINE_ACCESS || refreshes;
        }
        let is_among = |list: &[String]| list.iter().any(|name| name == scope);
        definition.defines(scope)
            && (!definition.enforce_policies || is_among(&permissions))
            && granted.as_deref().is_none_or(is_among)
    };
    let mut scopes: Vec<String> = Vec::new();
    for scope in requested.split_ascii_whitespace() {
        if may_have(scope) && !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(Access { scopes, permissions })
}

/// The grant that third-party applications have without one of their own.
fn default_grant<'a>(
    tenant: &'a Tenant,
    api: &Api,
    is_third_party: bool,
) -> Option<&'a std::sync::Arc<Grant>> {
    let is_it = |grant: &&std::sync::Arc<Grant>| {
        grant.default_for.as_deref() == Some("third_party_clients")
            && grant.audience == api.definition.identifier
            && grant.subject_type == SubjectType::User
    };
    tenant.grants().find(is_it).filter(|_| is_third_party)
}

/// What a user has at an API, directly and by their roles, each once, in the order of the API.
fn permissions_of(tenant: &Tenant, user: &User, api: &Api) -> Vec<String> {
    let roles: Vec<_> = user.roles.iter().filter_map(|role| tenant.role(role)).collect();
    let has = |name: &str| {
        let is_it = |one: &PermissionRef| {
            one.permission_name == name && one.resource_server_identifier == api.definition.identifier
        };
        user.permissions.iter().any(is_it) || roles.iter().any(|role| role.permissions.iter().any(is_it))
    };
    let permissions = api.definition.permissions.iter();
    permissions
        .map(|permission| permission.value.as_str())
        .filter(|name| has(name))
        .map(str::to_owned)
        .collect()
}

/// By which a refresh token is asked for.
pub(super) const OFFLINE_ACCESS: &str = "offline_access";

/// The permissions of a grant, in its order.
fn granted(grant: &Grant, api: &Api) -> Vec<String> {
    if grant.grants_all() {
        let permissions = api.definition.permissions.iter();
        permissions.map(|permission| permission.value.clone()).collect()
    } else {
        grant.scopes().to_vec()
    }
}

/// Those of `granted` that were asked for.
fn subset(granted: &[String], requested: &str) -> Result<Vec<String>, Fault> {
    let requested: Vec<&str> = requested.split_ascii_whitespace().collect();
    let missing: Vec<&str> = requested
        .iter()
        .copied()
        .filter(|name| !granted.iter().any(|scope| scope == name))
        .collect();
    if !missing.is_empty() {
        return Err(Fault::NotGranted(missing.join(" ")));
    }
    let is_asked_for = |scope: &&String| requested.contains(&scope.as_str());
    Ok(granted.iter().filter(is_asked_for).cloned().collect())
}
