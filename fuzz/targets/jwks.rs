//! A JWK set of any form: no panic, every key is either used or left out, and what is used is ready to verify.

#![no_main]
#![allow(clippy::panic)]

use libfuzzer_sys::fuzz_target;
use scopegate::definition::SigningAlg;
use scopegate::token::{JwksError, KeySet, VerificationKeys};

fuzz_target!(|data: &[u8]| match KeySet::from_jwks(data) {
    Ok((set, _)) => {
        assert!((1..=64).contains(&set.len()));
        for alg in SigningAlg::ALL {
            let keys = VerificationKeys::new(&set, &[alg]);
            if let Some(key) = keys.find(alg, None) {
                assert_eq!(key.alg(), alg);
                assert!(!alg.is_symmetric(), "a published secret");
                assert!(!key.verifies(b"message", b"signature"));
            }
        }
    }
    Err(JwksError::NoUsableKey(_) | JwksError::NotASet) => {}
});
