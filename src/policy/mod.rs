//! Which route a request meets, what the route asks, and the verdict. Pure: no sockets, no clock, no async.
//!
//! [`decide`] is the whole story in one function; the gateway, `explain`, the fuzz targets and the benchmarks call it.
//! What no route allows is refused. The one way to a [`Permit`] is `authorize`.

mod authorize;
mod challenge;
mod decide;
mod grpc;
mod host;
mod matcher;
mod path;
mod places;
mod plan;
mod possession;
mod reason;
mod requirement;
mod step_up;
mod table;

pub use authorize::{Denial, KeyMiss, Permit};
pub use challenge::{Challenge, Realm};
pub use decide::{Decision, RequestHead, decide};
pub use grpc::{grpc_timeout, is_grpc};
pub use host::{BadHost, Host};
pub use matcher::{PathPattern, PatternError};
pub use path::{BadPath, PathForms, RequestPath};
pub use places::{KeyPlaces, KeySpace, TokenPlace, TokenPlaces};
pub use plan::{ClaimTest, Conditions, Mode, OnExpiry, PathForm, RequirementPlan, Upgrade};
pub use possession::Possession;
pub use reason::{Reason, Stage};
pub use requirement::{Requirement, TokenRequirement, Undefined};
pub use step_up::{MULTI_FACTOR, Machines, Matching, Profile, StepUp};
pub use table::{Api, ApiId, Preflight, Route, RouteConflict, RouteId, RouteTable, RouteTableBuilder};
