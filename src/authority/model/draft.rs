//! The next state while it is being made: every change to an object, and what follows from it for others.
//!
//! `Authority::write` hands one out, stores what changed, and publishes it whole or not at all.

use std::ops::Deref;

use super::object::{Kind, Object, Unreadable};
use super::{Api, Client, Grant, KeyRecord, PermissionRef, Role, Tenant, User};

/// A state with changes that are not stored yet. Reads as the [`Tenant`] that it will be.
#[derive(Debug)]
pub struct Draft {
    tenant: Tenant,
    changes: Vec<Object>,
}

/// Why a change is refused. Whoever asked is at fault; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Another API has the identifier.
    #[error("A resource server with the same identifier already exists.")]
    IdentifierTaken,
    /// An API of the authority itself.
    #[error("System resource servers cannot be deleted.")]
    SystemApi,
    /// There is no API of this identifier.
    #[error("No resource with identifier {0}")]
    NoApi(String),
    /// There is no such application.
    #[error("Client not found")]
    NoClient,
    /// The application has a grant for this API and this kind of subject.
    #[error("A resource with type client_grant already exists.")]
    GrantExists,
    /// A scope of a grant is not one of the API.
    #[error("Payload validation error: scope must be a subset of resource server scopes")]
    ScopeNotOfApi,
    /// A permission that no API has.
    #[error("The permission {} does not exist in resource server {}", .0.permission_name, .0.resource_server_identifier)]
    NoPermission(PermissionRef),
    /// There is no such role.
    #[error("The role does not exist.")]
    NoRole,
    /// Another role has the name.
    #[error("The role name is already used.")]
    RoleNameTaken,
    /// There is no such user.
    #[error("The user does not exist.")]
    NoUser,
    /// More of a kind than one may have.
    #[error("You reached the limit of entities of this type for this tenant.")]
    TooMany,
    /// Ours: what was written cannot be read back.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
}

/// The most objects of one kind: all are held in memory.
const MOST: usize = 100_000;
/// Permissions of one role, and given directly to one user.
const MOST_PERMISSIONS: usize = 1_000;

impl Deref for Draft {
    type Target = Tenant;

    fn deref(&self) -> &Tenant {
        &self.tenant
    }
}

impl Draft {
    /// Begins with a state.
    pub fn of(tenant: &Tenant) -> Self {
        Self {
            tenant: tenant.clone(),
            changes: Vec::new(),
        }
    }

    /// What has changed, in order.
    pub fn into_changes(self) -> Vec<Object> {
        self.changes
    }

    /// Changes an object that is not held in memory.
    pub fn put_unheld(&mut self, object: Object) {
        self.changes.push(object);
    }

    fn change(&mut self, object: Object) -> Result<(), Fault> {
        self.tenant.apply(&object)?;
        self.changes.push(object);
        Ok(())
    }

    /// Adds or replaces an API. A permission that it had and has no more is taken out of grants, roles and users.
    ///
    /// # Errors
    /// [`Fault::IdentifierTaken`], [`Fault::TooMany`].
    pub fn put_api(&mut self, api: &Api) -> Result<(), Fault> {
        let identifier = &api.definition.identifier;
        if self.api_of(identifier).is_some_and(|other| other.id != api.id) {
            return Err(Fault::IdentifierTaken);
        }
        if self.apis().len() >= MOST && self.api(&api.id).is_none() {
            return Err(Fault::TooMany);
        }
        self.change(api.object())?;
        self.forget_permissions(identifier, |name| api.definition.defines(name))
    }

    /// Deletes an API with its grants, and its permissions out of roles and users. Nothing where there is none.
    ///
    /// # Errors
    /// [`Fault::SystemApi`].
    pub fn remove_api(&mut self, id: &str) -> Result<(), Fault> {
        let Some(api) = self.api(id).cloned() else {
            return Ok(());
        };
        if api.definition.is_system {
            return Err(Fault::SystemApi);
        }
        let identifier = &api.definition.identifier;
        self.remove_grants(|grant| grant.audience == *identifier)?;
        self.forget_permissions(identifier, |_| false)?;
        self.change(Object::deleted(Kind::Api, &api.id))
    }

    /// Takes the permissions of an API that are not kept out of everything that names them.
    fn forget_permissions(&mut self, identifier: &str, is_kept: impl Fn(&str) -> bool) -> Result<(), Fault> {
        let stays = |one: &PermissionRef| {
            one.resource_server_identifier != identifier || is_kept(&one.permission_name)
        };
        let mut changed = Vec::new();
        for grant in self.grants().filter(|grant| grant.audience == identifier) {
            if !grant.scopes().iter().all(|scope| is_kept(scope)) {
                let mut grant = Grant::clone(grant);
                grant.scope = grant
                    .scope
                    .map(|scopes| scopes.into_iter().filter(|scope| is_kept(scope)).collect());
                changed.push(grant.object());
            }
        }
        for role in self.roles().filter(|role| !role.permissions.iter().all(stays)) {
            let mut role = Role::clone(role);
            role.permissions.retain(stays);
            changed.push(role.object());
        }
        for user in self.users().filter(|user| !user.permissions.iter().all(stays)) {
            let mut user = User::clone(user);
            user.permissions.retain(stays);
            changed.push(user.object());
        }
        changed.into_iter().try_for_each(|object| self.change(object))
    }

    /// Adds or replaces an application.
    ///
    /// # Errors
    /// [`Fault::TooMany`].
    pub fn put_client(&mut self, client: &Client) -> Result<(), Fault> {
        if self.clients().len() >= MOST && self.client(&client.client_id).is_none() {
            return Err(Fault::TooMany);
        }
        self.change(client.object())
    }

    /// Deletes an application with its grants. Nothing where there is none.
    ///
    /// # Errors
    /// None but [`Fault::Unreadable`].
    pub fn remove_client(&mut self, client_id: &str) -> Result<(), Fault> {
        if self.client(client_id).is_none() {
            return Ok(());
        }
        self.remove_grants(|grant| grant.client_id.as_deref() == Some(client_id))?;
        self.change(Object::deleted(Kind::Client, client_id))
    }

    /// Adds or replaces a grant.
    ///
    /// # Errors
    /// [`Fault::NoApi`], [`Fault::NoClient`], [`Fault::GrantExists`], [`Fault::ScopeNotOfApi`], [`Fault::TooMany`].
    pub fn put_grant(&mut self, grant: &Grant) -> Result<(), Fault> {
        let api = self
            .api_of(&grant.audience)
            .ok_or_else(|| Fault::NoApi(grant.audience.clone()))?;
        if let Some(client_id) = &grant.client_id {
            self.client(client_id).ok_or(Fault::NoClient)?;
            let other = self.grant_of(client_id, &grant.audience, grant.subject_type);
            if other.is_some_and(|other| other.id != grant.id) {
                return Err(Fault::GrantExists);
            }
        }
        if !grant.scopes().iter().all(|scope| api.definition.defines(scope)) {
            return Err(Fault::ScopeNotOfApi);
        }
        if self.grants().len() >= MOST && self.grant(&grant.id).is_none() {
            return Err(Fault::TooMany);
        }
        self.change(grant.object())
    }

    /// Deletes a grant. Nothing where there is none.
    ///
    /// # Errors
    /// None but [`Fault::Unreadable`].
    pub fn remove_grant(&mut self, id: &str) -> Result<(), Fault> {
        self.remove_grants(|grant| grant.id == id)
    }

    fn remove_grants(&mut self, goes: impl Fn(&Grant) -> bool) -> Result<(), Fault> {
        let ids: Vec<String> = self
            .grants()
            .filter(|grant| goes(grant))
            .map(|grant| grant.id.clone())
            .collect();
        ids.into_iter()
            .try_for_each(|id| self.change(Object::deleted(Kind::Grant, id)))
    }

    /// Adds or replaces a role.
    ///
    /// # Errors
    /// [`Fault::RoleNameTaken`], [`Fault::NoPermission`], [`Fault::TooMany`].
    pub fn put_role(&mut self, role: &Role) -> Result<(), Fault> {
        let is_taken = |other: &Role| other.id != role.id && other.name == role.name;
        if self.roles().any(|other| is_taken(other)) {
            return Err(Fault::RoleNameTaken);
        }
        self.check_permissions(&role.permissions)?;
        if self.roles().len() >= MOST && self.role(&role.id).is_none() {
            return Err(Fault::TooMany);
        }
        self.change(role.object())
    }

    /// Deletes a role, also from those who have it. Nothing where there is none.
    ///
    /// # Errors
    /// None but [`Fault::Unreadable`].
    pub fn remove_role(&mut self, id: &str) -> Result<(), Fault> {
        if self.role(id).is_none() {
            return Ok(());
        }
        let has_it = |user: &User| user.roles.iter().any(|role| role == id);
        let bearers: Vec<Object> = self
            .users()
            .filter(|user| has_it(user))
            .map(|user| {
                let mut user = User::clone(user);
                user.roles.retain(|role| role != id);
                user.object()
            })
            .collect();
        bearers.into_iter().try_for_each(|object| self.change(object))?;
        self.change(Object::deleted(Kind::Role, id))
    }

    /// Adds or replaces a user.
    ///
    /// # Errors
    /// [`Fault::NoRole`], [`Fault::NoPermission`], [`Fault::TooMany`].
    pub fn put_user(&mut self, user: &User) -> Result<(), Fault> {
        if !user.roles.iter().all(|role| self.role(role).is_some()) {
            return Err(Fault::NoRole);
        }
        self.check_permissions(&user.permissions)?;
        if self.users().len() >= MOST && self.user(&user.user_id).is_none() {
            return Err(Fault::TooMany);
        }
        self.change(user.object())
    }

    /// Deletes a user. Nothing where there is none.
    ///
    /// # Errors
    /// None but [`Fault::Unreadable`].
    pub fn remove_user(&mut self, user_id: &str) -> Result<(), Fault> {
        self.change(Object::deleted(Kind::User, user_id))
    }

    /// Adds or replaces a signing key.
    ///
    /// # Errors
    /// None but [`Fault::Unreadable`].
    pub fn put_key(&mut self, key: &KeyRecord) -> Result<(), Fault> {
        self.change(key.object())
    }

    /// Deletes a signing key.
    ///
    /// # Errors
    /// None but [`Fault::Unreadable`].
    pub fn remove_key(&mut self, kid: &str) -> Result<(), Fault> {
        self.change(Object::deleted(Kind::SigningKey, kid))
    }

    fn check_permissions(&self, permissions: &[PermissionRef]) -> Result<(), Fault> {
        if permissions.len() > MOST_PERMISSIONS {
            return Err(Fault::TooMany);
        }
        for one in permissions {
            let api = self.api_of(&one.resource_server_identifier);
            if !api.is_some_and(|api| api.definition.defines(&one.permission_name)) {
                return Err(Fault::NoPermission(one.clone()));
            }
        }
        Ok(())
    }
}
