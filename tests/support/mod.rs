//! What the test binaries share: forged tokens, and an API to check them against.

pub(crate) mod api;
pub(crate) mod forge;
