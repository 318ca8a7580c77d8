//! An introspection answer of any form: nothing panics, and what is accepted has what it must have.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::token::AudienceRule;
use support::api::TestApi;
use support::introspected::{accepted, asking};

fuzz_target!(|body: &[u8]| {
    let api = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken);
    for audience in [AudienceRule::Required, AudienceRule::WherePresent] {
        accepted(&asking(api, audience), audience, body);
    }
});
