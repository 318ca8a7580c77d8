//! One whole state of the authority: every object that is held in memory, with the indexes by which it is found.
//!
//! Made of what the store has, replaced with each change, and read without a lock. Cloning it copies references.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::index::Index;
use super::object::{Kind, Object, Unreadable};
use super::{Api, Client, Grant, KeyRecord, KeyState, Role, SubjectType, User};

/// A whole state. Maps are ordered by id: pages of a list do not shift while nothing is added.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    revision: u64,
    apis: BTreeMap<String, Arc<Api>>,
    /// Identifier to id.
    identifiers: HashMap<String, String>,
    clients: BTreeMap<String, Arc<Client>>,
    grants: BTreeMap<String, Arc<Grant>>,
    /// Client id to grants.
    granted: Index,
    roles: BTreeMap<String, Arc<Role>>,
    users: BTreeMap<String, Arc<User>>,
    /// Names of [`User::names`] to users.
    names: Index,
    keys: BTreeMap<String, Arc<KeyRecord>>,
}

impl Tenant {
    /// Counts up with each change that was stored.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The next state: this one with changes of the store.
    ///
    /// # Errors
    /// The first object that cannot be read; it names it.
    pub fn with(&self, revision: u64, changes: &[Object]) -> Result<Self, Unreadable> {
        let mut next = self.clone();
        next.revision = revision;
        for object in changes {
            next.apply(object)?;
        }
        Ok(next)
    }

    pub(super) fn apply(&mut self, object: &Object) -> Result<(), Unreadable> {
        let id = object.id.as_str();
        let Some(body) = &object.body else {
            self.remove(object.kind, id);
            return Ok(());
        };
        match object.kind {
            Kind::Api => self.insert_api(Api::from_body(id, body)?),
            Kind::Client => drop(
                self.clients
                    .insert(id.into(), Client::from_body(id, body)?.into()),
            ),
            Kind::Grant => self.insert_grant(Grant::from_body(id, body)?),
            Kind::Role => drop(self.roles.insert(id.into(), Role::from_body(id, body)?.into())),
            Kind::User => self.insert_user(User::from_body(id, body)?),
            Kind::SigningKey => drop(
                self.keys
                    .insert(id.into(), KeyRecord::from_body(id, body)?.into()),
            ),
            Kind::RefreshFamily => {}
        }
        Ok(())
    }

    fn insert_api(&mut self, api: Api) {
        let identifier = api.definition.identifier.clone();
        self.identifiers.insert(identifier, api.id.clone());
        self.apis.insert(api.id.clone(), Arc::new(api));
    }

    fn insert_grant(&mut self, grant: Grant) {
        self.remove_grant(&grant.id);
        if let Some(client_id) = &grant.client_id {
            self.granted.add(client_id, &grant.id);
        }
        self.grants.insert(grant.id.clone(), Arc::new(grant));
    }

    fn remove_grant(&mut self, id: &str) {
        let old = self.grants.remove(id);
        if let Some(client_id) = old.as_ref().and_then(|old| old.client_id.as_ref()) {
            self.granted.remove(client_id, id);
        }
    }

    fn insert_user(&mut self, user: User) {
        self.remove_user(&user.user_id);
        for name in user.names() {
            self.names.add(&name, &user.user_id);
        }
        self.users.insert(user.user_id.clone(), Arc::new(user));
    }

    fn remove_user(&mut self, id: &str) {
        let old = self.users.remove(id);
        for name in old.iter().flat_map(|old| old.names()) {
            self.names.remove(&name, id);
        }
    }

    fn remove(&mut self, kind: Kind, id: &str) {
        match kind {
            Kind::Api => {
                if let Some(api) = self.apis.remove(id) {
                    self.identifiers.remove(&api.definition.identifier);
                }
            }
            Kind::Client => drop(self.clients.remove(id)),
            Kind::Grant => self.remove_grant(id),
            Kind::Role => drop(self.roles.remove(id)),
            Kind::User => self.remove_user(id),
            Kind::SigningKey => drop(self.keys.remove(id)),
            Kind::RefreshFamily => {}
        }
    }

    /// Every API, by id.
    pub fn apis(&self) -> impl ExactSizeIterator<Item = &Arc<Api>> {
        self.apis.values()
    }

    /// An API by its id, or else by its identifier.
    pub fn api(&self, id_or_identifier: &str) -> Option<&Arc<Api>> {
        self.apis
            .get(id_or_identifier)
            .or_else(|| self.api_of(id_or_identifier))
    }

    /// An API by its identifier.
    pub fn api_of(&self, identifier: &str) -> Option<&Arc<Api>> {
        self.apis.get(self.identifiers.get(identifier)?)
    }

    /// Every application, by client id.
    pub fn clients(&self) -> impl ExactSizeIterator<Item = &Arc<Client>> {
        self.clients.values()
    }

    /// An application.
    pub fn client(&self, client_id: &str) -> Option<&Arc<Client>> {
        self.clients.get(client_id)
    }

    /// Every grant, by id.
    pub fn grants(&self) -> impl ExactSizeIterator<Item = &Arc<Grant>> {
        self.grants.values()
    }

    /// A grant by its id.
    pub fn grant(&self, id: &str) -> Option<&Arc<Grant>> {
        self.grants.get(id)
    }

    /// The one grant of an application for an API and a kind of subject.
    pub fn grant_of(&self, client_id: &str, audience: &str, subject: SubjectType) -> Option<&Arc<Grant>> {
        let grants = self.granted.find(client_id);
        grants
            .filter_map(|id| self.grants.get(id))
            .find(|grant| grant.audience == audience && grant.subject_type == subject)
    }

    /// Every role, by id.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// A role by its id.
    pub fn role(&self, id: &str) -> Option<&Arc<Role>> {
        self.roles.get(id)
    }

    /// Every user, by id.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// A user by their id.
    pub fn user(&self, user_id: &str) -> Option<&Arc<User>> {
        self.users.get(user_id)
    }

    /// The users that have a name, written in lower case.
    pub fn users_called(&self, name: &str) -> impl Iterator<Item = &Arc<User>> {
        self.names.find(name).filter_map(|id| self.users.get(id))
    }

    /// Every signing key, by `kid`.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Arc<KeyRecord>> {
        self.keys.values()
    }

    /// The key that signs.
    pub fn current_key(&self) -> Option<&Arc<KeyRecord>> {
        self.keys.values().find(|key| key.state == KeyState::Current)
    }
}
