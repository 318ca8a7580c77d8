//! Where definitions that are followed come from, as written.

use schemars::JsonSchema;

use super::super::reader::{Keys, Mirror, Placed};
use super::super::values::Period;
use crate::definition::refuse_null;

/// The tenant whose definitions are followed: an authority elsewhere, or a tenant of Auth0. It is only read.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Definitions {
    /// Its issuer identifier: an origin and a slash. The Management API is below it, at `api/v2/`.
    pub(in super::super) issuer: Placed<String>,
    /// An application with `read:resource_servers` of the Management API.
    pub(in super::super) client_id: Placed<String>,
    /// Its secret: `env:NAME` or `file:PATH`.
    #[schemars(regex(pattern = r"^(env|file):."))]
    pub(in super::super) client_secret: Placed<String>,
    /// How often it is asked where it cannot tell of changes. Default 30s.
    pub(in super::super) poll: Option<Placed<Period>>,
    /// A file of PEM certificates to trust instead of the system's.
    pub(in super::super) ca: Option<Placed<String>>,
    /// A file that keeps the last good definitions, for a start without the tenant. Default: none.
    pub(in super::super) kept_in: Option<Placed<String>>,
}

impl Mirror for Definitions {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let issuer = keys.required("issuer");
        let client_id = keys.required("client_id");
        let client_secret = keys.required("client_secret");
        let poll = keys.optional("poll");
        let ca = keys.optional("ca");
        let kept_in = keys.optional("kept_in");
        Some(Self {
            issuer: issuer?,
            client_id: client_id?,
            client_secret: client_secret?,
            poll,
            ca,
            kept_in,
        })
    }
}
