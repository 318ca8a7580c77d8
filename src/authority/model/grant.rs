//! A client grant: that an application may ask for tokens for an API, and with which permissions.

use serde::{Deserialize, Serialize};

use super::object::{Body, Kind, Object, Unreadable};

/// What an application may ask for at one API, for one kind of subject. Serialises as the Management API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// `cgr_` and 16 letters and digits.
    pub id: String,
    /// The application; none where the grant is the default of third-party applications.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<String>,
    /// The identifier of the API.
    pub audience: String,
    /// Absent while all permissions are granted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<Vec<String>>,
    /// For whom.
    #[serde(default)]
    pub subject_type: SubjectType,
    /// All permissions that the API has, and will have.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allow_all_scopes: Option<bool>,
    /// `third_party_clients`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub default_for: Option<String>,
    /// `deny`, `allow` or `require`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub organization_usage: Option<String>,
    /// Whether any organization may be named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub allow_any_organization: Option<bool>,
    /// The types of rich authorization requests that may be asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authorization_details_types: Option<Vec<String>>,
    /// Whether the authority made it for itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub is_system: Option<bool>,
}

/// For whom an application asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectType {
    /// For itself.
    #[default]
    Client,
    /// For a person.
    User,
    /// For a person that nobody knows.
    AnonymousUser,
}

impl Grant {
    /// Whether every permission of the API is granted.
    pub fn grants_all(&self) -> bool {
        self.allow_all_scopes == Some(true)
    }

    /// The permissions by name; none where all are granted.
    pub fn scopes(&self) -> &[String] {
        self.scope.as_deref().unwrap_or_default()
    }

    pub(super) fn from_body(id: &str, body: &Body) -> Result<Self, Unreadable> {
        body.read(Kind::Grant, id)
    }

    pub(super) fn object(&self) -> Object {
        Object::new(Kind::Grant, &self.id, Body::open(self))
    }
}
