//! Client grants: which application may ask for tokens for which API, and with which permissions.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::list;
use super::refusal::{Absent, Refusal};
use crate::authority::model::{Draft, Grant, SubjectType};
use crate::authority::{Answer, ids};

/// `GET /client-grants`
pub(super) fn list(call: &Call<'_>) -> Result<Answer, Refusal> {
    let subject = call.text("subject_type").map(subject_type);
    let is_wanted = |grant: &Grant| {
        call.text("audience")
            .is_none_or(|audience| grant.audience == audience)
            && call
                .text("client_id")
                .is_none_or(|client| grant.client_id.as_deref() == Some(client))
            && call
                .text("default_for")
                .is_none_or(|whom| grant.default_for.as_deref() == Some(whom))
            && subject.is_none_or(|subject| grant.subject_type == subject)
            && call
                .flag("allow_any_organization")
                .is_none_or(|wanted| grant.allow_any_organization.unwrap_or(false) == wanted)
    };
    let found = call.tenant.grants().filter(|grant| is_wanted(grant)).collect();
    list::answer(
        call,
        "client_grants",
        found,
        |grant| grant.id.clone(),
        |grant| shown(grant),
    )
}

/// `GET /client-grants/{id}`
pub(super) fn get(call: &Call<'_>) -> Result<Answer, Refusal> {
    let grant = call.id()?.find(|id| call.tenant.grant(id)).ok_or(Absent::Grant)?;
    Ok(Answer::json(StatusCode::OK, &shown(grant)))
}

/// `POST /client-grants`
pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = call.body();
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let (client_id, default_for) = (text("client_id"), text("default_for"));
    match (&client_id, &default_for) {
        (None, None) => return Err(Refusal::reason("Missing required property: client_id")),
        (Some(_), Some(_)) => {
            return Err(Refusal::reason("client_id and default_for exclude each other"));
        }
        _ => {}
    }
    let mut grant = Grant {
        id: format!("cgr_{}", ids::alphanumeric(16)?),
        client_id,
        audience: text("audience").unwrap_or_default(),
        scope: Some(Vec::new()),
        subject_type: text("subject_type").map_or(SubjectType::Client, |name| subject_type(&name)),
        allow_all_scopes: None,
        default_for,
        organization_usage: None,
        allow_any_organization: None,
        authorization_details_types: None,
        is_system: None,
    };
    change(&mut grant, body)?;
    let added = |draft: &mut Draft| -> Result<(), Refusal> {
        let is_same = |other: &Grant| {
            other.client_id.is_none()
                && other.default_for == grant.default_for
                && other.audience == grant.audience
                && other.subject_type == grant.subject_type
        };
        if grant.client_id.is_none() && draft.grants().any(|other| is_same(other)) {
            return Err(crate::authority::model::Fault::GrantExists.into());
        }
        Ok(draft.put_grant(&grant)?)
    };
    call.authority.state().write(added).await?;
    Ok(Answer::json(StatusCode::CREATED, &shown(&grant)))
}

/// `PATCH /client-grants/{id}`
pub(super) async fn update(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let changed = |draft: &mut Draft| -> Result<Grant, Refusal> {
        let grant = id
            .find(|id| draft.grant(id).cloned())
            .ok_or(Absent::ClientGrant)?;
        let mut grant = Grant::clone(&grant);
        change(&mut grant, call.body())?;
        draft.put_grant(&grant)?;
        Ok(grant)
    };
    let grant = call.authority.state().write(changed).await?;
    Ok(Answer::json(StatusCode::OK, &shown(&grant)))
}

/// `DELETE /client-grants/{id}`
pub(super) async fn delete(call: &Call<'_>) -> Result<Answer, Refusal> {
    let id = call.id()?;
    let deleted = |draft: &mut Draft| -> Result<(), Refusal> {
        match id.find(|id| draft.grant(id).cloned()) {
            Some(grant) => Ok(draft.remove_grant(&grant.id)?),
            None => Ok(()),
        }
    };
    call.authority.state().write(deleted).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn shown(grant: &Grant) -> Value {
    serde_json::to_value(grant).unwrap_or_default()
}

/// The schema has closed the list of words.
fn subject_type(name: &str) -> SubjectType {
    match name {
        "user" => SubjectType::User,
        "anonymous_user" => SubjectType::AnonymousUser,
        _ => SubjectType::Client,
    }
}

fn change(grant: &mut Grant, body: &Map<String, Value>) -> Result<(), Refusal> {
    let texts = |value: &Value| -> Option<Vec<String>> {
        let items = value.as_array()?;
        Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        )
    };
    if let Some(all) = body.get("allow_all_scopes") {
        grant.allow_all_scopes = all.as_bool();
    }
    if let Some(scope) = body.get("scope") {
        grant.scope = texts(scope).or_else(|| Some(Vec::new()));
    }
    if grant.grants_all() {
        if body
            .get("scope")
            .is_some_and(|scope| *scope != json!([]) && !scope.is_null())
        {
            return Err(Refusal::reason("scope and allow_all_scopes exclude each other"));
        }
        grant.scope = None;
    } else if grant.scope.is_none() {
        grant.scope = Some(Vec::new());
    }
    if let Some(usage) = body.get("organization_usage") {
        grant.organization_usage = usage.as_str().map(str::to_owned);
    }
    if let Some(any) = body.get("allow_any_organization") {
        grant.allow_any_organization = any.as_bool();
    }
    if let Some(types) = body.get("authorization_details_types") {
        grant.authorization_details_types = texts(types);
        if grant.authorization_details_types.is_some() && grant.subject_type != SubjectType::User {
            return Err(Refusal::reason(
                "authorization_details_types is for subject_type user only",
            ));
        }
    }
    Ok(())
}
