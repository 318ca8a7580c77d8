//! Why a resource-server object cannot be used: one closed list.
//!
//! Made by `read` and `permission`; `config` prints it with its place, and later the Management API answers with it.
//! It must never carry the content of a secret.

use super::document::Place;
use super::fields::Misshapen;

/// One broken rule of one field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    /// A key that is unknown or missing, or a value of the wrong kind.
    #[error("{0}")]
    Shape(#[from] Misshapen),
    /// A text whose length is out of bounds.
    #[error("`{field}` has {length} characters; it must have {min} to {max}")]
    Length {
        /// The field, with its parents: `scopes.value`.
        field: &'static str,
        /// The number of characters that it has.
        length: usize,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A text with a character that its field excludes.
    #[error("`{field}` {rule}")]
    Characters {
        /// The field.
        field: &'static str,
        /// The rule as a predicate: "must not contain `<` or `>`".
        rule: &'static str,
    },
    /// A number out of bounds.
    #[error("`{field}` is {value}; it must be {min} to {max}")]
    Range {
        /// The field.
        field: &'static str,
        /// What was written.
        value: i128,
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// A word that is not on the list of its field.
    #[error("`{field}` cannot be `{value}`")]
    NotOneOf {
        /// The field.
        field: &'static str,
        /// What was written.
        value: String,
        /// What could have been written.
        known: Vec<&'static str>,
    },
    /// More permissions than an API can have.
    #[error("`scopes` has {count} entries; the most is {max}")]
    TooManyPermissions {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A permission that is there twice.
    #[error("permission `{value}` is already defined at {first}")]
    DuplicatePermission {
        /// Its name.
        value: String,
        /// Where it was first.
        first: Place,
    },
    /// A name that belongs to OpenID Connect or to the user profile.
    #[error("permission `{value}` is a reserved name")]
    ReservedPermission {
        /// The name.
        value: String,
    },
    /// `token_lifetime_for_web` above `token_lifetime`.
    #[error("`token_lifetime_for_web` is {web}; it must not exceed `token_lifetime`, which is {all}")]
    WebLifetime {
        /// `token_lifetime_for_web`.
        web: u32,
        /// `token_lifetime`.
        all: u32,
    },
    /// A sender constraint that cannot be made.
    #[error("`proof_of_possession.required_for` must be `all_clients` where the mechanism is `mtls`")]
    MtlsForPublicClients,
}

impl InvalidDefinition {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Shape(misshapen) => misshapen.hint(),
            Self::NotOneOf { value, known, .. } => match super::nearest(value, known.iter().copied()) {
                Some(word) => Some(format!("did you mean `{word}`?")),
                None => Some(format!("one of: {}", known.join(", "))),
            },
            Self::ReservedPermission { value } => {
                Some(format!("name what it permits, such as `read:{value}`"))
            }
            _ => None,
        }
    }
}
