//! Which route a request meets, what the route asks, and the verdict. Pure: no sockets, no clock, no async.

mod matcher;
mod plan;

pub use matcher::{PathPattern, PatternError};
pub use plan::{ClaimTest, Conditions, Mode, PathForm, RequirementPlan, StepUp};
