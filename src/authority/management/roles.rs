//! Roles, their permissions, and who has them. The statuses are as irregular as those that clients know.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::call::Call;
use super::refusal::{Absent, Refusal};
use super::{list, users};
use crate::authority::model::{Draft, PermissionRef, Role, Tenant, User};
use crate::authority::{Answer, ids};

/// `GET /roles`
pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let wanted = call.text("name_filter").unwrap_or_default().to_lowercase();
    let is_wanted = |role: &Role| role.name.to_lowercase().contains(&wanted);
    let found = call.tenant.roles().filter(|role| is_wanted(role)).collect();
    list::answer(call, "roles", found, |role| role.id.clone(), |role| shown(role))
}

/// `GET /roles/{id}`
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    Ok(Answer::json(StatusCode::OK, &shown(found(call)?)))
}

/// `POST /roles`
pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let text = |name: &str| call.body().get(name).and_then(Value::as_str).map(str::to_owned);
    let role = Role {
        id: format!("rol_{}", ids::alphanumeric(16)?),
        name: text("name").unwrap_or_default(),
        description: text("description"),
        permissions: Vec::new(),
    };
    call.authority
        .state()
        .write(|draft| draft.put_role(&role).map_err(Refusal::from))
        .await?;
    Ok(Answer::json(StatusCode::OK, &shown(&role)))
}

/// `PATCH /roles/{id}`
pub(super) async fn update(call: &Call<'_>) -> Result<Answer, Refusal> {
    let role = changed(call, |_, role| {
        if let Some(name) = call.body().get("name").and_then(Value::as_str) {
            name.clone_into(&mut role.name);
        }
        if let Some(description) = call.body().get("description") {
            role.description = description.as_str().map(str::to_owned);
        }
    })
    .await?;
    Ok(Answer::json(StatusCode::OK, &shown(&role)))
}

/// `DELETE /roles/{id}`
pub(super) async fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let deleted = |draft: &mut Draft| -> Result<(), Refusal> {
        match id.find(|id| draft.role(id).cloned()) {
            Some(role) => Ok(draft.remove_role(&role.id)?),
            None => Ok(()),
        }
    };
    call.authority.state().write(deleted).await?;
    Ok(Answer::json(StatusCode::OK, &json!({})))
}

/// `GET /roles/{id}/permissions`
pub(super) fn permissions(call: &Call<'_>) -> Result<Answer, Refusal> {
    let permissions = found(call)?.permissions.iter().collect();
    list::answer(
        call,
        "permissions",
        permissions,
        |one| permission_key(one),
        |one| shown_permission(&call.tenant, one),
    )
}

/// `POST /roles/{id}/permissions`
pub(super) async fn add_permissions(call: &Call<'_>) -> Result<Answer, Refusal> {
    let added = named_permissions(call);
    changed(call, |_, role| add_each(&mut role.permissions, &added)).await?;
    Ok(Answer::json(StatusCode::CREATED, &json!({})))
}

/// `DELETE /roles/{id}/permissions`
pub(super) async fn remove_permissions(call: &Call<'_>) -> Result<Answer, Refusal> {
    let removed = named_permissions(call);
    changed(call, |_, role| {
        role.permissions.retain(|one| !removed.contains(one))
    })
    .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// `GET /roles/{id}/users`
pub(super) fn users(call: &Call<'_>) -> Result<Answer, Refusal> {
    let role = found(call)?;
    let has_it = |user: &User| user.roles.contains(&role.id);
    let bearers = call.tenant.users().filter(|user| has_it(user)).collect();
    list::answer(
        call,
        "users",
        bearers,
        |user| user.user_id.clone(),
        |user| users::summary(user),
    )
}

/// `POST /roles/{id}/users`
pub(super) async fn add_users(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let named = call.body().get("users").and_then(Value::as_array);
    let named: Vec<&str> = named.into_iter().flatten().filter_map(Value::as_str).collect();
    let given = |draft: &mut Draft| -> Result<(), Refusal> {
        let role = id.find(|id| draft.role(id).cloned()).ok_or(Absent::Role)?;
        for user in &named {
            let mut user = User::clone(draft.user(user).ok_or(Absent::User)?);
            if !user.roles.contains(&role.id) {
                user.roles.push(role.id.clone());
                draft.put_user(&user)?;
            }
        }
        Ok(())
    };
    call.authority.state().write(given).await?;
    Ok(Answer::json(StatusCode::OK, &json!({})))
}

fn found<'a>(call: &'a Call<'_>) -> Result<&'a Arc<Role>, Refusal> {
    Ok(call.id()?.find(|id| call.tenant.role(id)).ok_or(Absent::Role)?)
}

async fn changed(call: &Call<'_>, change: impl Fn(&Draft, &mut Role)) -> Result<Role, Refusal> {
    let id = call.id()?;
    let write = |draft: &mut Draft| -> Result<Role, Refusal> {
        let role = id.find(|id| draft.role(id).cloned()).ok_or(Absent::Role)?;
        let mut role = Role::clone(&role);
        change(draft, &mut role);
        draft.put_role(&role)?;
        Ok(role)
    };
    Ok(call.authority.state().write(write).await?)
}

/// As roles are shown everywhere: without their permissions.
pub(super) fn shown(role: &Role) -> Value {
    let mut members = BTreeMap::from([("id", role.id.as_str()), ("name", role.name.as_str())]);
    if let Some(description) = &role.description {
        members.insert("description", description);
    }
    json!(members)
}

/// The permissions that a body names.
pub(super) fn named_permissions(call: &Call<'_>) -> Vec<PermissionRef> {
    let named = call.body().get("permissions").cloned().unwrap_or_default();
    serde_json::from_value(named).unwrap_or_default()
}

/// Adds permissions that are not there yet.
pub(super) fn add_each(permissions: &mut Vec<PermissionRef>, added: &[PermissionRef]) {
    for one in added {
        if !permissions.contains(one) {
            permissions.push(one.clone());
        }
    }
}

/// Says where a page of permissions begins.
pub(super) fn permission_key(one: &PermissionRef) -> String {
    format!("{}\n{}", one.resource_server_identifier, one.permission_name)
}

/// A permission with what its API says of it.
pub(super) fn shown_permission(tenant: &Tenant, one: &PermissionRef) -> Value {
    let definition = tenant
        .api_of(&one.resource_server_identifier)
        .map(|api| &api.definition);
    let described = definition.and_then(|definition| {
        let mut permissions = definition.permissions.iter();
        permissions.find(|permission| permission.value == one.permission_name)
    });
    json!({
        "permission_name": one.permission_name,
        "description": described.and_then(|permission| permission.description.as_deref()).unwrap_or_default(),
        "resource_server_name": definition.and_then(|definition| definition.name.as_deref()).unwrap_or_default(),
        "resource_server_identifier": one.resource_server_identifier,
    })
}
