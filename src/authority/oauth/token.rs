//! `POST /oauth/token`: who asks, for whom, for what, and the answer.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value};

use super::access::{self, Access};
use super::authenticate::{self, Caller};
use super::claims::Facts;
use super::fault::Fault;
use super::grant_type::GrantType;
use super::issue;
use super::parameters::Parameters;
use crate::authority::model::{Api, Tenant};
use crate::authority::{Answer, Authority, Request, ids, unix_now};

/// What a token endpoint answers when all is well (RFC 6749 section 5.1).
#[derive(Debug)]
struct Granted {
    access_token: String,
    scopes: Vec<String>,
    expires_in: u32,
    token_type: &'static str,
}

/// Answers.
pub(super) async fn answer(authority: &Authority, request: &Request) -> Answer {
    match grant(authority, request).await {
        Ok(granted) => granted.answer(),
        Err(fault) => fault.answer(),
    }
}

async fn grant(authority: &Authority, request: &Request) -> Result<Granted, Fault> {
    let parameters = Parameters::read(request)?;
    let grant_type = GrantType::of_name(parameters.require("grant_type")?);
    let grant_type = grant_type.ok_or(Fault::UnsupportedGrantType)?;
    let tenant = authority.state().tenant();
    let caller = authenticate::authenticate(authority, &tenant, request, &parameters)?;
    if grant_type == GrantType::ClientCredentials && caller.is_public {
        return Err(Fault::Unauthorized { in_header: false });
    }
    if !caller.client.may_use_grant_type(grant_type.name()) {
        return Err(Fault::GrantTypeOff(grant_type));
    }
    match grant_type {
        GrantType::ClientCredentials => for_client(authority, &tenant, &caller, &parameters),
    }
}

fn for_client(
    authority: &Authority,
    tenant: &Tenant,
    caller: &Caller,
    parameters: &Parameters,
) -> Result<Granted, Fault> {
    let api = requested_api(tenant, parameters)?;
    let access = access::for_client(tenant, &caller.client, &api, parameters.get("scope"))?;
    issued(authority, tenant, caller, &api, access)
}

/// The API of `audience`, or of `resource` (RFC 8707), which means the same.
fn requested_api(tenant: &Tenant, parameters: &Parameters) -> Result<Arc<Api>, Fault> {
    let audience = parameters
        .get("audience")
        .or_else(|| parameters.get("resource"))
        .ok_or(Fault::NoAudience)?;
    let api = tenant.api_of(audience).cloned();
    api.ok_or_else(|| Fault::UnknownAudience(audience.to_owned()))
}

fn issued(
    authority: &Authority,
    tenant: &Tenant,
    caller: &Caller,
    api: &Api,
    access: Access,
) -> Result<Granted, Fault> {
    let jti = ids::alphanumeric(22).map_err(|error| {
        tracing::error!(%error, "cannot issue a token");
        Fault::Ours
    })?;
    let facts = Facts {
        issuer: &authority.settings().issuer,
        api: &api.definition,
        client_id: &caller.client.client_id,
        user_id: None,
        grant_type: GrantType::ClientCredentials,
        scopes: &access.scopes,
        permissions: &access.permissions,
        binding: None,
        now: unix_now(),
        jti: &jti,
    };
    Ok(Granted {
        access_token: issue::access_token(authority, tenant, &facts)?,
        expires_in: api.definition.token_lifetime,
        token_type: "Bearer",
        scopes: access.scopes,
    })
}

impl Granted {
    fn answer(self) -> Answer {
        let mut body = Map::new();
        body.insert("access_token".into(), self.access_token.into());
        if !self.scopes.is_empty() {
            body.insert("scope".into(), self.scopes.join(" ").into());
        }
        body.insert("expires_in".into(), self.expires_in.into());
        body.insert("token_type".into(), self.token_type.into());
        super::uncached(Answer::json(StatusCode::OK, &Value::Object(body)))
    }
}
