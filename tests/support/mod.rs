//! What the test binaries share: forged tokens, an API to check them against, routes to decide with, and the
//! readings of a path.

pub(crate) mod api;
pub(crate) mod forge;
pub(crate) mod readings;
pub(crate) mod introspected;
pub(crate) mod routes;
pub(crate) mod seal;
