//! Vectors of others: each opens, or is refused, as it should be.

use super::*;

const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/jwe.json"));

/// What is implemented of what the vectors use.
const SUPPORTED: [&str; 7] = [
    "RSA-OAEP",
    "RSA-OAEP-256",
    "RSA-OAEP-384",
    "RSA-OAEP-512",
    "ECDH-ES",
    "ECDH-ES+A128KW",
    "ECDH-ES+A256KW",
];

fn open(token: &str, keys: &Arc<DecryptionKeys>) -> Result<Vec<u8>, TokenError> {
    if !is_encrypted(token) {
        return Err(TokenError::Malformed("not five parts"));
    }
    let sealed = SealedToken::read(token, keys)?;
    let opened = sealed.open();
    let inner = opened.inner(keys).unwrap()?;
    Ok(inner.as_bytes().to_vec())
}

fn hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn keys_of(jwk: &serde_json::Value, only: Option<EncryptionAlg>) -> Result<Arc<DecryptionKeys>, KeyFault> {
    Ok(DecryptionKeys::new(
        vec![DecryptionKey::read(jwk.to_string().as_bytes())?],
        only,
    ))
}

#[test]
fn vectors() {
    let groups: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for group in groups.as_array().unwrap() {
        // A key says what it is for; that alone keeps out most of what is wrong, so it is tried without as well.
        let mut general = group["key"].clone();
        general.as_object_mut().unwrap().remove("alg");
        let keys: Vec<_> = [&group["key"], &general]
            .into_iter()
            .map(|jwk| keys_of(jwk, None))
            .collect();
        let key_alg = group["key"]["alg"].as_str().unwrap_or("RSA-OAEP");
        for test in group["tests"].as_array().unwrap() {
            let (id, token) = (&test["id"], test["jwe"].as_str().unwrap());
            let is_good = test["result"] == "valid" && SUPPORTED.contains(&key_alg);
            for keys in &keys {
                let found = match keys {
                    Ok(keys) => open(token, keys),
                    Err(_) => Err(TokenError::UnsupportedEncryption),
                };
                if is_good {
                    let expected = hex(test["pt"].as_str().unwrap());
                    assert_eq!(found, Ok(expected), "{id} {}", test["what"]);
                    opened += 1;
                } else {
                    assert!(found.is_err(), "{id} {}", test["what"]);
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((opened, refused), (76, 204));
}

#[test]
fn a_jwe_has_four_dots_wherever_they_are() {
    for length in [0, 1, 60, 127, 128, 129, 300] {
        let part = "x".repeat(length);
        for dots in 0..9 {
            let token = vec![part.as_str(); dots + 1].join(".");
            assert_eq!(
                is_encrypted(&token),
                dots == 4,
                "{dots} dots, {length} bytes between"
            );
        }
    }
    for dots in [128, 256, 260, 516] {
        assert!(!is_encrypted(&".".repeat(dots)), "{dots}");
    }
}
