//! `Authorization` lines of any form, one for each line of the input: a token is found only where there is one line,
//! `Bearer`, spaces and a token of RFC 6750.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic)]

use libfuzzer_sys::fuzz_target;
use scopegate::token::{BearerError, bearer_token};

fuzz_target!(|data: &[u8]| {
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    match bearer_token(lines.iter().copied()) {
        Ok(token) => {
            assert_eq!(lines.len(), 1);
            let line = std::str::from_utf8(lines.first().unwrap()).unwrap();
            let (scheme, rest) = line.split_once(' ').unwrap();
            assert!(scheme.eq_ignore_ascii_case("bearer"));
            assert_eq!(rest.trim_start_matches(' '), token.as_str());
            let body = token.as_str().trim_end_matches('=');
            let fits = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
            assert_eq!(token.is_well_formed(), !body.is_empty() && body.chars().all(fits));
        }
        Err(BearerError::Multiple) => assert!(lines.len() > 1),
        Err(BearerError::Missing | BearerError::Malformed) => assert_eq!(lines.len(), 1),
    }
});
