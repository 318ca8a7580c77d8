//! The integration tests: real sockets, one binary. One file per behaviour; `harness` has what stands around the
//! gateway.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails where it stands"
)]

#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "support/mod.rs"]
mod support;

#[allow(dead_code, reason = "a harness offers more than one test needs")]
#[path = "it/harness/mod.rs"]
mod harness;

#[path = "it/stands_up.rs"]
mod stands_up;

#[path = "it/reasons.rs"]
mod reasons;

#[path = "it/algorithms.rs"]
mod algorithms;

#[path = "it/encrypted.rs"]
mod encrypted;

#[path = "it/mutations.rs"]
mod mutations;

#[path = "it/raw.rs"]
mod raw;

#[path = "it/forwarding.rs"]
mod forwarding;

#[path = "it/keys.rs"]
mod keys;

#[path = "it/reload.rs"]
mod reload;

#[path = "it/upstreams.rs"]
mod upstreams;

#[path = "it/upstreams_servers.rs"]
mod upstreams_servers;

#[path = "it/upstreams_tls.rs"]
mod upstreams_tls;

#[path = "it/upstreams_http2.rs"]
mod upstreams_http2;

#[path = "it/drain.rs"]
mod drain;

#[path = "it/memory.rs"]
mod memory;

#[path = "it/report.rs"]
mod report;

#[path = "it/cli.rs"]
mod cli;

#[path = "it/properties.rs"]
mod properties;

#[path = "it/tls.rs"]
mod tls;

#[path = "it/proxies.rs"]
mod proxies;

#[path = "it/path_spellings.rs"]
mod path_spellings;

#[path = "it/http1_corpus.rs"]
mod http1_corpus;

#[path = "it/http2_corpus.rs"]
mod http2_corpus;

#[path = "it/upgrades.rs"]
mod upgrades;

#[path = "it/streams.rs"]
mod streams;

#[path = "it/interim.rs"]
mod interim;

#[path = "it/refused_again.rs"]
mod refused_again;

#[path = "it/log_flood.rs"]
mod log_flood;

#[path = "it/panics.rs"]
mod panics;

#[path = "it/upstreams_dns.rs"]
mod upstreams_dns;

#[path = "it/exhaustion.rs"]
mod exhaustion;

#[path = "it/draining.rs"]
mod draining;

#[path = "it/dpop.rs"]
mod dpop;

#[path = "it/api_keys.rs"]
mod api_keys;
#[cfg(feature = "authority")]
#[path = "it/api_keys_authority.rs"]
mod api_keys_authority;
#[path = "it/introspection.rs"]
mod introspection;

#[path = "it/token_places.rs"]
mod token_places;

#[path = "it/step_up.rs"]
mod step_up;

#[path = "it/mtls.rs"]
mod mtls;

#[path = "it/metadata.rs"]
mod metadata;

#[path = "it/issuers.rs"]
mod issuers;
#[cfg(feature = "authority")]
#[path = "it/authority_management.rs"]
mod authority_management;

#[path = "it/revocations.rs"]
mod revocations;

#[cfg(feature = "authority")]
#[path = "it/authority_tokens.rs"]
mod authority_tokens;

#[cfg(feature = "authority")]
#[path = "it/authority_users.rs"]
mod authority_users;

#[cfg(feature = "authority")]
#[path = "it/following.rs"]
mod following;

#[cfg(feature = "authority")]
#[path = "it/authority_store.rs"]
mod authority_store;

#[cfg(feature = "authority")]
#[path = "it/authority_crash.rs"]
mod authority_crash;

#[cfg(feature = "authority")]
#[path = "it/authority_replicas.rs"]
mod authority_replicas;

#[cfg(not(feature = "authority"))]
#[path = "it/without_authority.rs"]
mod without_authority;

#[cfg(feature = "authority")]
#[path = "it/secrets.rs"]
mod secrets;
