//! Everything that a request is decided with, whole and immutable, and how it gets from its one writer to its readers.

mod plan;

pub use plan::{
    ApiPlan, ForwardPlan, IdentityHeader, Plan, Preflight, RoutePlan, ServerAddress, TokenForwarding,
    UpstreamPlan,
};
