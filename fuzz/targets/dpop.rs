//! A proof of any form: nothing panics, and what is accepted has what a proof must have, and is accepted once.
//!
//! The first byte chooses. Even: the rest is the proof. Odd: the rest is header, newline, claims, and the right key signs
//! them, so that the checks after the signature are reached; `"jwk":0` in the header stands for its public key.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

use aws_lc_rs::digest::{SHA256, digest};
use libfuzzer_sys::fuzz_target;
use scopegate::definition::SigningAlg;
use scopegate::token::{KnownHeader, ProofDesk, ProofError, ProofScope, ProofSettings, Thumbprint, check_proof};
use support::forge::{SigningKey, encode};

const NOW: i64 = 1_800_000_000;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let key = SigningKey::fixture(SigningAlg::ES256, 0);
    let jwk = key.jwk("");
    let members = format!(
        r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#,
        jwk["x"], jwk["y"]
    );
    let thumbprint = Thumbprint(digest(&SHA256, members.as_bytes()).as_ref().try_into().unwrap());
    let proof = if mode & 1 == 0 {
        text.to_owned()
    } else {
        let Some((header, claims)) = text.split_once('\n') else {
            return;
        };
        let header = header.replace("\"jwk\":0", &format!("\"jwk\":{members}"));
        key.token_of_text(SigningAlg::ES256, &header, claims)
    };
    let desk = ProofDesk::new(&ProofSettings::default(), &[1; 32], &[2; 32]);
    let known = KnownHeader::default();
    let scope = ProofScope {
        method: "GET",
        base: "https://items.example.com",
        path: "/items",
        token: "token",
        key: &thumbprint,
        known: &known,
    };
    let verdict = check_proof(&proof, scope, desk.times(), NOW);
    // A second time with what the first has shown, and a third with what another proof of the key has shown.
    assert_eq!(check_proof(&proof, scope, desk.times(), NOW), verdict);
    let right = right_proof(&key, &members);
    let known = KnownHeader::default();
    let scope = ProofScope {
        known: &known,
        ..scope
    };
    assert!(check_proof(&right, scope, desk.times(), NOW).is_ok());
    assert_eq!(check_proof(&proof, scope, desk.times(), NOW), verdict);
    if let Ok(found) = verdict {
        assert!((1..=256).contains(&found.id.len()));
        assert!((NOW..=NOW + 70).contains(&found.good_until));
        assert_eq!(desk.take(&found, &thumbprint, NOW), Ok(()));
        assert_eq!(desk.take(&found, &thumbprint, NOW), Err(ProofError::Replay));
        assert_eq!(desk.len(), 1);
    }
});

/// With the header that the seeds have.
fn right_proof(key: &SigningKey, members: &str) -> String {
    let ath = encode(digest(&SHA256, b"token").as_ref());
    let claims = format!(
        r#"{{"jti":"1","htm":"GET","htu":"https://items.example.com/items","iat":{NOW},"ath":"{ath}"}}"#
    );
    let header = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{members}}}"#);
    key.token_of_text(SigningAlg::ES256, &header, &claims)
}
