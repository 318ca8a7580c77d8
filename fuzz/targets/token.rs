//! A token of any form: the verifier never panics, and what it accepts `jsonwebtoken` accepts as well.
//!
//! The first byte chooses. Even: the rest is the token. Odd: the rest is header, newline, claims, and the right secret
//! signs them, so that the checks after the signature are reached.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, unused_imports)]
#[path = "../../tests/properties/oracle.rs"]
mod oracle;
#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::token::Verifier;
use support::api::{NOW, TestApi};

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let dialect = if mode & 2 == 0 {
        TokenDialect::AccessToken
    } else {
        TokenDialect::Rfc9068Authz
    };
    // The secret is the same in each process, unlike the other keys, so that a finding can be repeated.
    let api = TestApi::new(SigningAlg::HS256, dialect);
    let token = if mode & 1 == 0 {
        text.to_owned()
    } else {
        let Some((header, claims)) = text.split_once('\n') else {
            return;
        };
        api.key().token_of_text(SigningAlg::HS256, header, claims)
    };
    static VERIFIERS: [OnceLock<Verifier>; 2] = [const { OnceLock::new() }; 2];
    let verifier = VERIFIERS[usize::from(mode >> 1 & 1)].get_or_init(|| api.verifier());
    // Of header members that the verifier does not read, `jsonwebtoken` asks types all the same.
    if verifier.verify(&token, NOW).is_ok() && jsonwebtoken::decode_header(&token).is_ok() {
        assert_eq!(
            oracle::accepts(SigningAlg::HS256, &api.key(), &token),
            Ok(()),
            "{token}"
        );
    }
});
