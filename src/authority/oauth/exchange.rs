//! One request for a token that was understood and whose client was believed, and how a token is made for it.
//!
//! `token` makes it, `users` does what has to do with people. What a response says is [`Granted`].

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value};

use super::access::{self, Access};
use super::authenticate::Caller;
use super::claims::Facts;
use super::fault::Fault;
use super::grant_type::GrantType;
use super::parameters::Parameters;
use super::{issue, possession};
use crate::authority::model::{Api, Tenant, User};
use crate::authority::{Answer, Authority, Request, ids, unix_now};
use crate::token::Binding;

/// A request for a token.
pub(super) struct Exchange<'a> {
    pub(super) authority: &'a Authority,
    pub(super) tenant: Arc<Tenant>,
    pub(super) request: &'a Request,
    pub(super) parameters: &'a Parameters,
    pub(super) grant_type: GrantType,
    pub(super) caller: Caller,
}

/// What a token endpoint answers when all is well (RFC 6749 section 5.1).
pub(super) struct Granted {
    access_token: String,
    pub(super) refresh_token: Option<String>,
    id_token: Option<String>,
    scopes: Vec<String>,
    /// Seconds.
    expires_in: u32,
    token_type: &'static str,
}

impl Exchange<'_> {
    /// A token for the application itself.
    pub(super) fn for_client(&self) -> Result<Granted, Fault> {
        let api = self.requested_api()?;
        let client = &self.caller.client;
        let access = access::for_client(&self.tenant, client, &api, self.parameters.get("scope"))?;
        let binding = self.binding(&api)?;
        self.issue(&api, None, access, binding)
    }

    /// The API of `audience`, or of `resource` (RFC 8707), which means the same.
    pub(super) fn requested_api(&self) -> Result<Arc<Api>, Fault> {
        self.api(self.requested_audience().ok_or(Fault::NoAudience)?)
    }

    /// `audience`, or `resource`.
    pub(super) fn requested_audience(&self) -> Option<&str> {
        let audience = self.parameters.get("audience");
        audience.or_else(|| self.parameters.get("resource"))
    }

    /// An API that there is.
    pub(super) fn api(&self, audience: &str) -> Result<Arc<Api>, Fault> {
        let api = self.tenant.api_of(audience).cloned();
        api.ok_or_else(|| Fault::UnknownAudience(audience.to_owned()))
    }

    /// What the token will be bound to.
    pub(super) fn binding(&self, api: &Api) -> Result<Option<Binding>, Fault> {
        possession::binding(self.authority, self.request, &self.caller, &api.definition)
    }

    /// Makes the tokens.
    pub(super) fn issue(
        &self,
        api: &Api,
        user: Option<&User>,
        access: Access,
        binding: Option<Binding>,
    ) -> Result<Granted, Fault> {
        let client = &self.caller.client;
        let jti = ids::alphanumeric(JTI).map_err(|error| {
            tracing::error!(%error, "cannot issue a token");
            Fault::Ours
        })?;
        let facts = Facts {
            issuer: &self.authority.settings().issuer,
            api: &api.definition,
            client_id: &client.client_id,
            user_id: user.map(|user| user.user_id.as_str()),
            grant_type: self.grant_type,
            scopes: &access.scopes,
            permissions: &access.permissions,
            binding,
            now: unix_now(),
            jti: &jti,
        };
        let id_token = match user {
            Some(user) if access.scopes.iter().any(|scope| scope == "openid") => Some(issue::id_token(
                self.authority,
                &self.tenant,
                client,
                user,
                &access.scopes,
            )?),
            _ => None,
        };
        Ok(Granted {
            access_token: issue::access_token(self.authority, &self.tenant, &facts)?,
            refresh_token: None,
            id_token,
            expires_in: api.definition.token_lifetime,
            // A token that is bound to a certificate is a bearer token (RFC 8705 section 3).
            token_type: match binding {
                Some(Binding::Key(_)) => "DPoP",
                Some(Binding::Certificate(_)) | None => "Bearer",
            },
            scopes: access.scopes,
        })
    }
}

impl Granted {
    pub(super) fn answer(self) -> Answer {
        let mut body = Map::new();
        body.insert("access_token".into(), self.access_token.into());
        for (name, token) in [("refresh_token", self.refresh_token), ("id_token", self.id_token)] {
            if let Some(token) = token {
                body.insert(name.into(), token.into());
            }
        }
        if !self.scopes.is_empty() {
            body.insert("scope".into(), self.scopes.join(" ").into());
        }
        body.insert("expires_in".into(), self.expires_in.into());
        body.insert("token_type".into(), self.token_type.into());
        super::uncached(Answer::json(StatusCode::OK, &Value::Object(body)))
    }
}

/// Letters and digits: 131 bits.
const JTI: usize = 22;
