//! An object as it is kept: what anybody with access to the store may read, and what is sealed.
//!
//! `store` reads and writes objects and knows nothing of what they mean; the other files of `model` turn them into
//! their types and back. Its `Debug` must never show the sealed part.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What kinds of object there are. The names are those of the table; they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A resource server.
    Api,
    /// An application.
    Client,
    /// What an application may ask for.
    Grant,
    /// A named set of permissions.
    Role,
    /// A person.
    User,
    /// A key that tokens are signed with.
    SigningKey,
    /// The refresh tokens that came of one login. Not held in memory.
    RefreshFamily,
}

/// One object, or the fact that it is gone.
#[derive(Clone, PartialEq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Unique among its kind.
    pub id: String,
    /// `None`: it was deleted.
    pub body: Option<Body>,
}

/// The two parts of an object.
#[derive(Clone, Default, PartialEq)]
pub struct Body {
    /// Stored as it is.
    pub open: Map<String, Value>,
    /// Encrypted at rest: client secrets, signing secrets, private keys, hashes of passwords.
    pub sealed: Map<String, Value>,
}

/// An object of the store cannot be understood: it was written by a newer version, or by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored {} `{id}` cannot be read: {why}", kind.name())]
pub struct Unreadable {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub id: String,
    /// What is wrong; never a value.
    pub why: String,
}

impl Kind {
    /// Every kind, with its name in the store.
    pub const ALL: [Self; 7] = [
        Self::Api,
        Self::Client,
        Self::Grant,
        Self::Role,
        Self::User,
        Self::SigningKey,
        Self::RefreshFamily,
    ];

    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Client => "client",
            Self::Grant => "grant",
            Self::Role => "role",
            Self::User => "user",
            Self::SigningKey => "signing_key",
            Self::RefreshFamily => "refresh_family",
        }
    }

    /// The kind of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether all objects of the kind are held in memory. Those of the others are looked up one by one.
    pub fn is_held(self) -> bool {
        self != Self::RefreshFamily
    }
}

impl Object {
    /// An object that is there.
    pub fn new(kind: Kind, id: impl Into<String>, body: Body) -> Self {
        Self {
            kind,
            id: id.into(),
            body: Some(body),
        }
    }

    /// The end of an object.
    pub fn deleted(kind: Kind, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
            body: None,
        }
    }
}

impl Body {
    /// What is open, of a type that serialises to a mapping. Anything else becomes an empty body.
    pub fn open(value: &impl Serialize) -> Self {
        let open = match serde_json::to_value(value) {
            Ok(Value::Object(open)) => open,
            _ => Map::new(),
        };
        Self {
            open,
            sealed: Map::new(),
        }
    }

    /// Adds a text that is sealed.
    #[must_use]
    pub fn with_sealed(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.sealed.insert(name.to_owned(), Value::from(value));
        }
        self
    }

    /// A sealed text.
    pub fn sealed_text(&self, name: &str) -> Option<&str> {
        self.sealed.get(name)?.as_str()
    }

    /// The open part as a type.
    ///
    /// # Errors
    /// What does not fit.
    pub fn read<T: DeserializeOwned>(&self, kind: Kind, id: &str) -> Result<T, Unreadable> {
        serde_json::from_value(Value::Object(self.open.clone())).map_err(|error| Unreadable {
            kind,
            id: id.to_owned(),
            why: error.to_string(),
        })
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.body.is_some() { "" } else { " (deleted)" };
        write!(f, "{} {}{state}", self.kind.name(), self.id)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, and {} sealed", self.open, self.sealed.len())
    }
}
