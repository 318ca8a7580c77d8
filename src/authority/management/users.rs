//! Users: as much of them as roles and permissions need. A password comes in and never goes out.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::refusal::{Absent, Refusal};
use super::roles::{add_each, named_permissions, permission_key, shown_permission};
use super::{list, roles, time};
use crate::authority::model::{Draft, PermissionRef, Tenant, User};
use crate::authority::{Answer, ids};

/// Members of a body that are not kept.
const NOT_KEPT: [&str; 5] = ["password", "connection", "verify_email", "user_id", "client_id"];

/// `GET /users`
pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let found = call.tenant.users().collect();
    list::answer(
        call,
        "users",
        found,
        |user| user.user_id.clone(),
        |user| list::with_fields(call, shown(user)),
    )
}

/// `GET /users/{id}`
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let user = list::with_fields(call, shown(found(call)?));
    Ok(Answer::json(StatusCode::OK, &user))
}

/// `POST /users`
pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body();
    let mut document = Map::new();
    change(&mut document, body);
    let now = time::now();
    for (name, value) in [("created_at", &now), ("updated_at", &now)] {
        document.insert(name.into(), Value::from(value.as_str()));
    }
    document.entry("email_verified").or_insert(Value::Bool(false));
    let email = document.get("email").cloned().unwrap_or_default();
    for name in ["name", "nickname"] {
        document.entry(name).or_insert_with(|| email.clone());
    }
    let id = match body.get("user_id").and_then(Value::as_str) {
        Some(id) => id.to_owned(),
        None => ids::object_id()?,
    };
    let user = User {
        user_id: format!("auth0|{id}"),
        document,
        roles: Vec::new(),
        permissions: Vec::new(),
        password_hash: password(call).await?,
    };
    let added = |draft: &mut Draft| -> Result<(), Refusal> {
        if draft.user(&user.user_id).is_some() {
            return Err(Refusal::Conflict("The user already exists.".into()));
        }
        check_email(draft, &user)?;
        Ok(draft.put_user(&user)?)
    };
    call.authority.state().write(added).await?;
    Ok(Answer::json(StatusCode::CREATED, &Value::Object(shown(&user))))
}

/// `PATCH /users/{id}`
pub(super) async fn update(call: &Call<'_>) -> Result<Answer, Refusal> {
    let hash = password(call).await?;
    let now = time::now();
    let user = changed(call, |draft, user| {
        change(&mut user.document, call.body());
        user.document
            .insert("updated_at".into(), Value::from(now.as_str()));
        if hash.is_some() {
            user.password_hash.clone_from(&hash);
        }
        check_email(draft, user)
    })
    .await?;
    Ok(Answer::json(StatusCode::OK, &Value::Object(shown(&user))))
}

/// `DELETE /users/{id}`
pub(super) async fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let deleted = |draft: &mut Draft| -> Result<(), Refusal> {
        match id.find(|id| draft.user(id).cloned()) {
            Some(user) => Ok(draft.remove_user(&user.user_id)?),
            None => Ok(()),
        }
    };
    call.authority.state().write(deleted).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// `GET /users/{id}/permissions`: each once, with everything that it comes from.
pub(super) fn permissions(call: &Call<'_>) -> Result<Answer, Refusal> {
    let user = found(call)?;
    let mut all: Vec<&PermissionRef> = Vec::new();
    let of_roles = user.roles.iter().filter_map(|id| call.tenant.role(id));
    for one in user
        .permissions
        .iter()
        .chain(of_roles.flat_map(|role| &role.permissions))
    {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    list::answer(
        call,
        "permissions",
        all,
        |one| permission_key(one),
        |one| {
            let mut shown = shown_permission(&call.tenant, one);
            if let Some(members) = shown.as_object_mut() {
                members.insert("sources".into(), sources(&call.tenant, user, one));
            }
            shown
        },
    )
}

/// `POST /users/{id}/permissions`
pub(super) async fn add_permissions(call: &Call<'_>) -> Result<Answer, Refusal> {
    let added = named_permissions(call);
    changed(call, |_, user| {
        add_each(&mut user.permissions, &added);
        Ok(())
    })
    .await?;
    Ok(Answer::json(StatusCode::CREATED, &json!({})))
}

/// `DELETE /users/{id}/permissions`
pub(super) async fn remove_permissions(call: &Call<'_>) -> Result<Answer, Refusal> {
    let removed = named_permissions(call);
    changed(call, |_, user| {
        user.permissions.retain(|one| !removed.contains(one));
        Ok(())
    })
    .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// `GET /users/{id}/roles`
pub(super) fn roles(call: &Call<'_>) -> Result<Answer, Refusal> {
    let given = found(call)?
        .roles
        .iter()
        .filter_map(|id| call.tenant.role(id))
        .collect();
    list::answer(
        call,
        "roles",
        given,
        |role| role.id.clone(),
        |role| roles::shown(role),
    )
}

/// `POST /users/{id}/roles`
pub(super) async fn add_roles(call: &Call<'_>) -> Result<Answer, Refusal> {
    let added = named_roles(call);
    changed(call, |_, user| {
        for role in &added {
            if !user.roles.contains(role) {
                user.roles.push(role.clone());
            }
        }
        Ok(())
    })
    .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// `DELETE /users/{id}/roles`
pub(super) async fn remove_roles(call: &Call<'_>) -> Result<Answer, Refusal> {
    let removed = named_roles(call);
    changed(call, |_, user| {
        user.roles.retain(|role| !removed.contains(role));
        Ok(())
    })
    .await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// As users are shown among those who have a role.
pub(super) fn summary(user: &User) -> Value {
    let mut shown = shown(user);
    shown.retain(|name, _| ["user_id", "email", "name", "picture"].contains(&name.as_str()));
    Value::Object(shown)
}

fn shown(user: &User) -> Map<String, Value> {
    let mut shown = user.document.clone();
    shown.insert("user_id".into(), Value::from(user.user_id.as_str()));
    shown
}

fn found<'a>(call: &'a Call<'_>) -> Result<&'a Arc<User>, Refusal> {
    Ok(call.id()?.find(|id| call.tenant.user(id)).ok_or(Absent::User)?)
}

async fn changed(
    call: &Call<'_>,
    change: impl Fn(&Draft, &mut User) -> Result<(), Refusal>,
) -> Result<User, Refusal> {
    let id = call.id()?;
    let write = |draft: &mut Draft| -> Result<User, Refusal> {
        let user = id.find(|id| draft.user(id).cloned()).ok_or(Absent::User)?;
        let mut user = User::clone(&user);
        change(draft, &mut user)?;
        draft.put_user(&user)?;
        Ok(user)
    };
    Ok(call.authority.state().write(write).await?)
}

/// Members replace one another; those of the metadata are merged one by one.
fn change(document: &mut Map<String, Value>, body: &Map<String, Value>) {
    for (name, value) in body {
        match (document.get_mut(name), value) {
            _ if NOT_KEPT.contains(&name.as_str()) => {}
            (Some(Value::Object(known)), Value::Object(changes)) => {
                known.extend(changes.clone());
                known.retain(|_, value| !value.is_null());
            }
            (_, Value::Null) => drop(document.remove(name)),
            _ => drop(document.insert(name.clone(), value.clone())),
        }
    }
}

/// Hashed as soon as it is here, and kept in no other form.
async fn password(call: &Call<'_>) -> Result<Option<String>, Refusal> {
    let Some(password) = call.body().get("password").and_then(Value::as_str) else {
        return Ok(None);
    };
    let hash = call.authority.hash_password(password.to_owned().into()).await;
    hash.map(Some).ok_or(Refusal::Unavailable)
}

/// An address belongs to one user.
fn check_email(draft: &Draft, user: &User) -> Result<(), Refusal> {
    let email = |user: &User| {
        let email = user.document.get("email").and_then(Value::as_str);
        email.map(str::to_lowercase)
    };
    let Some(mine) = email(user) else { return Ok(()) };
    let has_mine = |other: &User| other.user_id != user.user_id && email(other).as_ref() == Some(&mine);
    if draft.users_called(&mine).any(|other| has_mine(other)) {
        return Err(Refusal::Conflict("The user already exists.".into()));
    }
    Ok(())
}

fn sources(tenant: &Tenant, user: &User, one: &PermissionRef) -> Value {
    let mut sources = Vec::new();
    if user.permissions.contains(one) {
        sources.push(json!({ "source_id": "", "source_name": "", "source_type": "DIRECT" }));
    }
    for role in user.roles.iter().filter_map(|id| tenant.role(id)) {
        if role.permissions.contains(one) {
            sources.push(json!({ "source_id": role.id, "source_name": role.name, "source_type": "ROLE" }));
        }
    }
    Value::Array(sources)
}

fn named_roles(call: &Call<'_>) -> Vec<String> {
    let named = call.body().get("roles").cloned().unwrap_or_default();
    serde_json::from_value(named).unwrap_or_default()
}
