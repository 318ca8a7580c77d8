//! The pure core against tables and oracles: no sockets, no clock.
//!
//! A table is a list of named cases with the one answer that is right. An oracle is another way to the same answer: the
//! `jsonwebtoken` crate for signatures, a linear search for the route table, a normaliser for paths.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails where it stands"
)]

#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/mod.rs"]
mod support;

#[path = "properties/oracle.rs"]
mod oracle;
#[path = "properties/accepted.rs"]
mod accepted;
#[path = "properties/refused.rs"]
mod refused;
#[path = "properties/routing.rs"]
mod routing;
#[path = "properties/paths.rs"]
mod paths;
#[path = "properties/deciding.rs"]
mod deciding;
#[path = "properties/challenges.rs"]
mod challenges;
#[path = "properties/api_keys.rs"]
mod api_keys;
#[path = "properties/key_sets.rs"]
mod key_sets;
#[path = "properties/generated.rs"]
mod generated;
#[path = "properties/introspected.rs"]
mod introspected;
#[path = "properties/readings.rs"]
mod readings;
#[path = "properties/places.rs"]
mod places;
