//! Revoked tokens as they are written: where the lists come from.

use schemars::JsonSchema;

use super::super::reader::{Keys, Mirror, Placed};
use crate::definition::refuse_null;

/// Where revoked tokens are learnt of. Default: nowhere.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1), transform = refuse_null)]
pub(in super::super) struct Revocations {
    /// A JSON file with entries; read again when it changes.
    pub(in super::super) file: Option<Placed<String>>,
    /// The most entries, of the file and pushed together. Default 100000, at most 1000000.
    pub(in super::super) entries: Option<Placed<u64>>,
    /// Entries that are pushed to the admin listener. Default: none are taken.
    pub(in super::super) push: Option<Placed<Push>>,
    /// Whether one of them was written, also where it could not be read.
    #[schemars(skip)]
    pub(in super::super) has_source: bool,
}

impl Mirror for Revocations {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            has_source: keys.has("file") || keys.has("push"),
            file: keys.optional("file"),
            entries: keys.optional("entries"),
            push: keys.optional("push"),
        })
    }
}

/// Entries that are pushed to the admin listener.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Push {
    /// What whoever pushes has to show as a bearer token: `env:NAME` or `file:PATH`, at least 32 bytes.
    #[schemars(regex(pattern = r"^(env|file):."))]
    pub(in super::super) secret: Placed<String>,
    /// Where pushed entries are kept over a restart. Default: nowhere.
    pub(in super::super) store: Option<Placed<String>>,
}

impl Mirror for Push {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let secret = keys.required("secret");
        let store = keys.optional("store");
        Some(Self {
            secret: secret?,
            store,
        })
    }
}
