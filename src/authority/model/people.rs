//! Roles and users: where the permissions of people come from.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::object::{Body, Kind, Object, Unreadable};

/// A permission of an API, by both names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PermissionRef {
    /// The identifier of the API.
    pub resource_server_identifier: String,
    /// The name of the permission.
    pub permission_name: String,
}

/// A named set of permissions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// `rol_` and 16 letters and digits.
    pub id: String,
    /// Unique, shown to people.
    pub name: String,
    /// Shown to people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Each once, in the order in which they were added.
    #[serde(default)]
    pub permissions: Vec<PermissionRef>,
}

/// A person.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Such as `auth0|` and 24 hexadecimal digits.
    pub user_id: String,
    /// What else is known: `email`, `name` and the like.
    pub document: Map<String, Value>,
    /// Ids of roles.
    pub roles: Vec<String>,
    /// Given directly.
    pub permissions: Vec<PermissionRef>,
    /// Argon2id, in PHC form.
    pub password_hash: Option<String>,
}

const PASSWORD_HASH: &str = "password_hash";

#[derive(Serialize, Deserialize)]
struct StoredUser {
    document: Map<String, Value>,
    roles: Vec<String>,
    permissions: Vec<PermissionRef>,
}

impl Role {
    pub(super) fn from_body(id: &str, body: &Body) -> Result<Self, Unreadable> {
        body.read(Kind::Role, id)
    }

    pub(super) fn object(&self) -> Object {
        Object::new(Kind::Role, &self.id, Body::open(self))
    }
}

impl User {
    /// What the user may log in as: e-mail address and user name, in lower case.
    pub fn names(&self) -> impl Iterator<Item = String> {
        ["email", "username"]
            .into_iter()
            .filter_map(|member| self.document.get(member)?.as_str())
            .map(str::to_lowercase)
    }

    pub(super) fn from_body(id: &str, body: &Body) -> Result<Self, Unreadable> {
        let stored: StoredUser = body.read(Kind::User, id)?;
        Ok(Self {
            user_id: id.to_owned(),
            document: stored.document,
            roles: stored.roles,
            permissions: stored.permissions,
            password_hash: body.sealed_text(PASSWORD_HASH).map(str::to_owned),
        })
    }

    pub(super) fn object(&self) -> Object {
        let stored = StoredUser {
            document: self.document.clone(),
            roles: self.roles.clone(),
            permissions: self.permissions.clone(),
        };
        let body = Body::open(&stored).with_sealed(PASSWORD_HASH, self.password_hash.as_deref());
        Object::new(Kind::User, &self.user_id, body)
    }
}
