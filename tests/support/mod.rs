//! What the test binaries share: forged tokens, an API to check them against, and routes to decide with.

pub(crate) mod api;
pub(crate) mod forge;
pub(crate) mod routes;
