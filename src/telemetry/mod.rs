//! What operators see: metrics, access log, health. It must never hold a token, a secret or an unbounded label.

mod settings;
mod tunnel;
mod stage;
mod families;
mod metrics;
mod introspection;
mod keys;
mod route_metrics;
mod line;
mod denials;
mod log_output;
mod access_log;
mod health;

pub use access_log::{AccessLog, AccessRecord};
pub use denials::DenialLines;
pub use health::{Missing, Readiness};
pub use introspection::IntrospectionMetrics;
pub use keys::{IssuerMetrics, UnknownKid};
pub use metrics::{CacheMetrics, Metrics, UpstreamMetrics};
pub use route_metrics::{Decision, RouteMetrics, Source};
pub use settings::{AccessLogOutput, AccessLogSettings};
pub use stage::Stage;
pub use tunnel::TunnelEnd;
