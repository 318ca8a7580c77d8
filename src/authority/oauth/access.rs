//! What a subject gets at an API: the scopes of the token and its permissions. Pure.
//!
//! Applications get what their grant says. For users see [`for_user`].

use super::fault::Fault;
use crate::authority::model::{Api, Client, Grant, SubjectType, Tenant};
use crate::definition::ClientAccess;

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
