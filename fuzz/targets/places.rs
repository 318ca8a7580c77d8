//! Cookies, queries and sub-protocols of any form, one field for each line of the input: once the token was taken out,
//! none is found, and there is nothing left to take out.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic)]

use libfuzzer_sys::fuzz_target;
use scopegate::token::{
    BearerError, ProtocolForm, cookie_token, protocol_token, query_token, without_cookie, without_parameter,
    without_protocol,
};

const NAME: &str = "access_token";

fuzz_target!(|data: &[u8]| {
    let lines = || data.split(|&byte| byte == b'\n');
    let left: Vec<Vec<u8>> = lines()
        .map(|line| without_cookie(line, NAME).unwrap_or_else(|| line.to_vec()))
        .collect();
    if cookie_token(lines(), NAME) != Err(BearerError::Missing) {
        assert!(!lines().eq(left.iter().map(Vec::as_slice)));
    }
    let again = cookie_token(left.iter().map(Vec::as_slice), NAME);
    assert_eq!(again, Err(BearerError::Missing));

    for form in [
        ProtocolForm::After("bearer".into()),
        ProtocolForm::Prefix("bearer.".into()),
        ProtocolForm::EncodedPrefix("b64.".into()),
    ] {
        let is_there = protocol_token(lines(), &form) != Err(BearerError::Missing);
        let left = without_protocol(lines(), &form);
        assert_eq!(left.is_some(), is_there);
        if let Some(left) = left {
            assert_eq!(without_protocol(std::iter::once(left.as_slice()), &form), None);
        }
    }

    if let Ok(query) = std::str::from_utf8(data) {
        let found = query_token(query, NAME);
        let left = without_parameter(query, NAME);
        assert!(left.is_some() || found == Err(BearerError::Missing));
        let left = left.unwrap_or_else(|| query.to_owned());
        assert_eq!(query_token(&left, NAME), Err(BearerError::Missing));
    }
});
