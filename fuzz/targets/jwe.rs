//! An encrypted token of any form: the reader and the decryption never panic, nothing but a signed token comes out, and
//! what they open is what was sealed.
//!
//! The first byte chooses. Even: the rest is the token. Odd: the rest is header, newline, content, sealed for the key, so
//! that what follows the decryption is reached; with bit 1, one byte of the sealed token is then changed.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::token::{DecryptionKey, DecryptionKeys, Encryption, TokenError, Unencrypted, Verifier};
use serde_json::Value;
use support::api::{NOW, TestApi};
use support::seal::{CURVES, Recipient, Seal};

fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let keys = CURVES.map(|kind| {
            DecryptionKey::read(Recipient::fixture(kind, 0).pem().as_bytes()).unwrap()
        });
        let encryption = Encryption {
            keys: DecryptionKeys::new(keys.into(), None),
            unencrypted: Unencrypted::Refuse,
        };
        TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken)
            .verifier()
            .with_encryption(Some(encryption))
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let api = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken);
    let mut is_whole = false;
    let token = if mode & 1 == 0 {
        text.to_owned()
    } else {
        let Some((header, claims)) = text.split_once('\n') else {
            return;
        };
        let mut seal = Seal::new("ECDH-ES+A128KW", "A128CBC-HS256");
        if let Ok(Value::Object(members)) = serde_json::from_str(header) {
            // The support code seals what can be sealed, and panics at the rest.
            if members.contains_key("apu") || members.contains_key("apv") {
                return;
            }
            is_whole = members.is_empty();
            members.into_iter().for_each(|(name, value)| seal.header[name] = value);
        }
        let inner = api.key().token_of_text(SigningAlg::HS256, r#"{"alg":"HS256","typ":"JWT"}"#, claims);
        let mut token = Recipient::fixture(CURVES[usize::from(mode >> 2 & 3)], 0).seal(&seal, inner.as_bytes());
        if mode & 2 != 0 {
            let at = usize::from(mode >> 2) * token.len() / 64;
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            token.replace_range(at..=at, other);
            is_whole = false;
        }
        token
    };
    match verifier().verify(&token, NOW) {
        Err(TokenError::Sealed(sealed)) => {
            let opened = sealed.open();
            let verified = verifier().verify_opened(&token, &opened, NOW);
            assert!(!matches!(verified, Err(TokenError::Sealed(_))));
            assert!(!is_whole || !matches!(verified, Err(TokenError::DecryptionFailed)), "{token}");
        }
        Err(_) => assert!(!is_whole || token.len() > 16 << 10, "{token}"),
        Ok(_) => panic!("not decrypted, and accepted: {token}"),
    }
});
