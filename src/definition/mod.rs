//! The API definition: the object that Auth0 calls a resource server.
//!
//! This module owns its fields, limits, defaults, reserved names and its reading out of a document. `config` parses
//! the files, `snapshot::compile` turns definitions into checks, and later the authority stores them. It must never
//! know about sockets, files, time or requests.

mod algorithm;
mod document;
mod fields;
mod invalid;
mod nearest;
mod object;
pub mod permission;
mod read;
mod resource_server;
mod schema;
mod secret;
pub mod tenant;
mod words;

pub use algorithm::{SigningAlg, TokenDialect};
pub use document::{Entry, Located, Node, Place, Value};
pub use fields::{Fields, Misshapen, wrong_kind};
pub use invalid::InvalidDefinition;
pub use nearest::nearest;
pub use resource_server::{
    ApiDefinition, AuthorizationDetail, AuthorizationPolicy, ClientAccess, ConsentPolicy, EncryptionAlg,
    EncryptionFormat, EncryptionKey, Permission, PopMechanism, PopRequiredFor, ProofOfPossession,
    SubjectPolicy, SubjectTypeAuthorization, TokenEncryption, UserAccess,
};
pub use schema::refuse_null;
pub use secret::Secret;
pub use words::{Words, word};
