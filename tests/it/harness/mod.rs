//! What stands around the gateway in a test: issuers, an upstream and clients, all on 127.0.0.1 with ports of their
//! own.
//!
//! Servers run on threads and block, so a test needs no runtime, and each gives up at [`DEADLINE`] at the latest: no
//! test can hang. Everything stops when it is dropped. The gateway itself is started by `gateway.rs`.

#[cfg(feature = "authority")]
pub(crate) mod authority;
#[cfg(feature = "authority")]
pub(crate) mod authority_process;
pub(crate) mod client;
pub(crate) mod corpus;
pub(crate) mod frames;
pub(crate) mod gateway;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod http2_upstream;
pub(crate) mod introspector;
pub(crate) mod issuer;
pub(crate) mod metrics;
#[cfg(feature = "authority")]
pub(crate) mod postgres;
pub(crate) mod prover;
pub(crate) mod server;
#[cfg(feature = "authority")]
pub(crate) mod tenant;
pub(crate) mod token_endpoint;
pub(crate) mod tls;
pub(crate) mod tls_upstream;
pub(crate) mod upstream;

use std::time::{Duration, Instant};

#[cfg(feature = "authority")]
pub(crate) use authority::RunningAuthority;
#[cfg(feature = "authority")]
pub(crate) use authority_process::AuthorityProcess;
pub(crate) use client::Client;
pub(crate) use gateway::{Gateway, Process};
pub(crate) use http2::Http2Client;
pub(crate) use introspector::{Introspector, IntrospectorMode};
pub(crate) use issuer::{Issuer, IssuerMode};
pub(crate) use metrics::Metrics;
#[cfg(feature = "authority")]
pub(crate) use postgres::PostgresServer;
pub(crate) use prover::Prover;
pub(crate) use token_endpoint::{KnownClient, TokenMode};
pub(crate) use upstream::{Behaviour, Upstream};

/// How long anything may take. Far more than it should: only a fault comes near it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Says that a test was left out, and what it lacks.
#[allow(
    clippy::print_stderr,
    reason = "a test that asserts nothing must not pass in silence"
)]
pub(crate) fn left_out(why: &str) {
    eprintln!("left out: {why}");
}

/// Waits for a condition that no thread announces, such as a metric of the gateway.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
