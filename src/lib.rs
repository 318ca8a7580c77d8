//! scopegate: a gateway sidecar that enforces an API definition.
//!
//! The modules in reading order; a module uses only what stands above it (`tests/architecture.rs` holds that):

pub mod definition;
pub mod token;
pub mod policy;
pub mod snapshot;
pub mod telemetry;
pub mod net;
pub mod gateway;
pub mod control;
pub mod config;
pub mod app;
pub mod cli;
