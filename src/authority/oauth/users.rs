//! Tokens for people: with their password, and later with a refresh token.

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use zeroize::Zeroizing;

use super::access::{self, OFFLINE_ACCESS};
use super::exchange::{Exchange, Granted};
use super::fault::Fault;
use super::grant_type::GrantType;
use super::refresh::{self, Family, RefreshToken, Rules, Standing, Use};
use super::throttle::Name;
use crate::authority::model::{Tenant, User};
use crate::authority::unix_now;
use crate::token::{Binding, Thumbprint};

impl Exchange<'_> {
    /// With name and password.
    pub(super) async fn with_password(&self) -> Result<Granted, Fault> {
        let username = self.parameters.require("username")?;
        let password = self.parameters.require("password")?;
        let realm = match self.grant_type {
            GrantType::PasswordRealm => Some(self.parameters.require("realm")?),
            _ => None,
        };
        let api = self.requested_api()?;
        let user = self.believe(username, password, realm).await?;
        if is_blocked(&user) {
            return Err(Fault::Blocked);
        }
        let requested = self.parameters.get("scope").unwrap_or_default();
        let access = access::for_user(&self.tenant, &self.caller.client, &api, &user, requested)?;
        let binding = self.binding(&api)?;
        // Passes only where there are refresh tokens.
        let refresh_token = if access.scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
            let token = fresh(None)?;
            let family = Family::new(
                (
                    &self.caller.client.client_id,
                    &user.user_id,
                    &api.definition.identifier,
                ),
                &access.scopes,
                self.refresh_key(binding),
                &token,
                unix_now(),
            );
            refresh::add(self.authority.state(), token.family(), &family).await?;
            Some(token.text())
        } else {
            None
        };
        let mut granted = self.issue(&api, Some(&user), access, binding)?;
        granted.refresh_token = refresh_token;
        Ok(granted)
    }

    /// With a refresh token.
    pub(super) async fn with_refresh_token(&self) -> Result<Granted, Fault> {
        let token = self.parameters.require("refresh_token")?;
        let token = RefreshToken::read(token).ok_or(Fault::RefreshToken)?;
        let state = self.authority.state();
        let client = &self.caller.client;
        let family = refresh::find(state, token.family())
            .await?
            .filter(|family| family.client_id == client.client_id)
            .ok_or(Fault::RefreshToken)?;
        let (rules, now) = (Rules::of(client), unix_now());
        match family.standing(&token, rules, now) {
            Standing::Live | Standing::InLeeway => {}
            ended @ (Standing::Reused | Standing::Expired) => {
                if ended == Standing::Reused {
                    tracing::warn!(
                        client_id = %client.client_id,
                        "a refresh token was used again; all tokens of its login are refused from now on"
                    );
                }
                refresh::end(state, token.family()).await?;
                return Err(Fault::RefreshToken);
            }
        }
        let user = self.tenant.user(&family.user_id).filter(|user| !is_blocked(user));
        let user = user.ok_or(Fault::RefreshToken)?;
        if self
            .requested_audience()
            .is_some_and(|audience| audience != family.audience)
        {
            return Err(Fault::Request("The refresh token is for another audience"));
        }
        let api = self.api(&family.audience)?;
        if !api.definition.allow_offline_access {
            return Err(Fault::RefreshToken);
        }
        let requested = self.narrowed(&family)?;
        let access = access::for_user(&self.tenant, client, &api, user, &requested)?;
        let binding = self.binding(&api)?;
        if !family.is_bound_to(self.refresh_key(binding)) {
            return Err(Fault::RefreshToken);
        }
        // Last, so that no token is spent on a request that is refused.
        let next = fresh(Some(token.family()))?;
        let outcome = if family.has_to_be_written(rules, now) {
            refresh::turn(state, &token, &next, rules, now).await?
        } else {
            Use::Kept
        };
        let mut granted = self.issue(&api, Some(user), access, binding)?;
        match outcome {
            Use::Rotated => granted.refresh_token = Some(next.text()),
            Use::Kept => {}
            Use::Ended => return Err(Fault::RefreshToken),
        }
        Ok(granted)
    }

    /// Finds the user of a name and a password.
    async fn believe(&self, username: &str, password: &str, realm: Option<&str>) -> Result<Arc<User>, Fault> {
        let throttle = &self.authority.oauth.throttle;
        let name = username.to_lowercase();
        let attempt = throttle
            .admit(Name::User(&name), self.request.peer.ip(), Instant::now())
            .map_err(|seconds| Fault::TooMany { seconds })?;
        let user = find(&self.tenant, &name, realm);
        let hash = user.and_then(|user| user.password_hash.clone());
        let password = Zeroizing::new(password.to_owned());
        let is_right = self.authority.oauth.passwords.is_right(password, hash).await?;
        let user = user.filter(|_| is_right).cloned().ok_or(Fault::WrongPassword)?;
        throttle.forgive(attempt, Instant::now());
        Ok(user)
    }

    /// The scopes of a refresh: those of the login, or fewer.
    fn narrowed(&self, family: &Family) -> Result<String, Fault> {
        let Some(requested) = self.parameters.get("scope") else {
            return Ok(family.scopes.join(" "));
        };
        let is_granted = |scope: &str| family.scopes.iter().any(|known| known == scope);
        if requested.split_ascii_whitespace().all(is_granted) {
            Ok(requested.to_owned())
        } else {
            Err(Fault::ScopeNotGranted)
        }
    }

    /// The key that a refresh token is bound to: that of a public client, since there is nothing else by which it could
    /// be known again (RFC 9449 section 5).
    fn refresh_key(&self, binding: Option<Binding>) -> Option<Thumbprint> {
        match binding {
            Some(Binding::Key(key)) if self.caller.is_public => Some(key),
            _ => None,
        }
    }
}

/// By e-mail address or user name in lower case; of the list of users where one is named.
fn find<'a>(tenant: &'a Tenant, name: &str, realm: Option<&str>) -> Option<&'a Arc<User>> {
    tenant.users_called(name).find(|user| {
        let connection = user.document.get("connection").and_then(Value::as_str);
        let is_there = |realm: &str| connection.is_none_or(|known| known == realm);
        user.password_hash.is_some() && realm.is_none_or(is_there)
    })
}

fn is_blocked(user: &User) -> bool {
    user.document
        .get("blocked")
        .is_some_and(|blocked| *blocked == true)
}

fn fresh(family: Option<&str>) -> Result<RefreshToken, Fault> {
    RefreshToken::fresh(family).map_err(|error| {
        tracing::error!(%error, "cannot make a refresh token");
        Fault::Ours
    })
}
