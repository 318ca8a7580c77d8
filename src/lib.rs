//! scopegate: a gateway sidecar that enforces an API definition.
//!
//! It stands in front of an API, takes the resource-server object that Auth0 calls an API, validates the access token of
//! every request against it, requires the permissions of the route, and forwards what is allowed.
//!
//! # Where to begin
//! `gateway::service` is one request from head to response, in named phases: sanitize → decide → refuse | forward →
//! record. [`policy::decide`] is the verdict, in one synchronous function. [`app`] ties the parts together.
//!
//! # The map
//! The modules below stand in reading order; a module uses only what stands above it, and [`gateway`], [`control`]
//! and `authority` never use one another (`tests/architecture.rs` holds that).
//!
//! - **Pure core**, [`definition`] [`token`] [`policy`] [`snapshot`]: no sockets, no clock (`now` is an argument), no
//!   environment, no async.
//! - **Data plane**, [`net`] [`gateway`]: the only async code on a request's path. Reads one snapshot once per request.
//! - **Control loop**, [`control`]: may be slow, may do I/O, never on a request's path. The single writer of snapshots.
//! - **Authority**, `authority` (a cargo feature): the embedded authorization server. Never on a request's path through the
//!   gateway; what it knows reaches the others through [`app`].
//! - **Rim**, [`config`] [`app`] [`cli`]: files, environment, threads, signals. [`telemetry`] is what all may count with,
//!   [`clock`] what they read the time from.
//!
//! # What always holds
//! - Only [`token`] makes a [`token::Principal`], only [`policy`] makes a [`policy::Permit`], and forwarding takes a permit
//!   by value: a request that was not authorised cannot be forwarded, it does not compile.
//! - A snapshot is published whole or not at all. What a request meets is of one generation.
//! - The algorithm of a token is that of its definition and its key. Nothing that a token's header offers is followed.
//! - The bytes of a path that are matched are those that are forwarded. What could be read in two ways is refused.
//! - A refusal has one reason of a closed list ([`policy::Reason`]), the same word in metric, log, body and `explain`; one
//!   place writes `WWW-Authenticate`, and nothing in an answer was sent by the client.
//! - What a cache remembers are facts. Times and requirements are asked again for every request.
//! - What cannot be enforced is refused when the configuration is read.
//! - Every wait has a deadline, every buffer a limit, and no metric a label that a client chose.
//!
//! # What is deliberately not here
//! Tokens in bodies, and outside of the `Authorization` header unless an API asks for it; rewriting of paths;
//! authentication that is optional; expressions and plugins; secrets in the configuration file; an admin endpoint that
//! changes anything but what is revoked; `unsafe`.

pub mod definition;
pub mod token;
pub mod policy;
pub mod snapshot;
pub mod clock;
pub mod telemetry;
pub mod net;
pub mod gateway;
pub mod control;
#[cfg(feature = "authority")]
pub mod authority;
pub mod config;
pub mod app;
pub mod cli;
