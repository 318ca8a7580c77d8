//! The control loop: keeps the snapshot current. May be slow and may do I/O, is never on a request's path, and is the
//! single writer of the snapshot.

mod settings;

pub use settings::{IssuerSettings, JwksSettings, KeySource};
