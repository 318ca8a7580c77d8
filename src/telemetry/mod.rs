//! What operators see: metrics, access log, health. It must never hold a token, a secret or an unbounded label.

mod settings;

pub use settings::{AccessLogOutput, AccessLogSettings};
