//! What operators see: metrics, access log, health. It must never hold a token, a secret or an unbounded label.

mod settings;
mod tunnel;
mod stage;
mod families;
mod metrics;
mod keys;
mod questions;
mod route_metrics;
mod line;
mod denials;
mod log_output;
mod access_log;
mod health;

pub use access_log::{AccessLog, AccessRecord};
pub use denials::DenialLines;
pub use health::{Missing, Readiness};
pub use keys::{IssuerMetrics, UnknownKid};
pub use metrics::{CacheMetrics, Metrics, UpstreamMetrics};
pub use questions::QuestionMetrics;
pub use route_metrics::{Decision, RouteMetrics, Source};
pub use settings::{AccessLogOutput, AccessLogSettings};
pub use stage::Stage;
pub use tunnel::TunnelEnd;
