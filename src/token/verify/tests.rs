//! Vectors of others: each signature is right, or is not, as it should be.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::super::KeySet;
use super::super::jws::Parts;
use super::*;
use crate::definition::Secret;

const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/jws.json"));

/// What the vectors call valid, and is refused all the same.
const STRICTER: [(u64, TokenError); 6] = [
    // The key says that it is for PS256, the token is of PS384.
    (346, TokenError::AlgMismatch),
    (350, TokenError::AlgMismatch),
    // ES512 is not implemented.
    (347, TokenError::UnsupportedAlg),
    (351, TokenError::UnsupportedAlg),
    // A character that base64url does not have.
    (372, TokenError::Malformed("the header is not base64url")),
    (373, TokenError::Malformed("the payload is not base64url")),
];

/// What the vectors call invalid for a padding that is not in them: these are the very tokens of valid ones.
const WITHOUT_THEIR_FAULT: [u64; 2] = [367, 370];

/// A verifier of an API whose only issuer is `joe`, with this key for this algorithm.
fn verifier(key: &Value, alg: SigningAlg) -> Verifier {
    let definition = ApiDefinition {
        signing_alg: alg,
        ..ApiDefinition::new("urn:items")
    };
    let settings = VerifierSettings {
        leeway: Duration::ZERO,
        max_age: None,
        max_bytes: 16 << 10,
    };
    let secret = key["k"].as_str().and_then(|secret| {
        let secret = Secret::new(URL_SAFE_NO_PAD.decode(secret).unwrap());
        VerificationKey::hmac(alg, &secret)
    });
    let set = format!(r#"{{"keys":[{key}]}}"#);
    let keys = KeySet::from_jwks(set.as_bytes())
        .ok()
        .map(|(set, _)| Arc::new(VerificationKeys::new(&set, &[alg])));
    let issuer = TrustedIssuer {
        issuer: "joe".into(),
        keys,
        reading: None,
    };
    let scopes = Arc::new(ScopeTable::new(std::iter::empty()).unwrap());
    Verifier::new(&definition, settings, scopes, secret, vec![issuer])
}

/// The steps of [`Verifier::verify`] up to the signature, for a payload that is no set of claims.
fn check_signature(verifier: &Verifier, token: &str) -> Result<(), TokenError> {
    verifier.check_length(token)?;
    if jwe::is_encrypted(token) {
        return Err(TokenError::Malformed("it is encrypted"));
    }
    let parts = Parts::read(token).map_err(|malformed| TokenError::Malformed(malformed.0))?;
    let alg = verifier.check_header(&parts.header)?;
    let key = verifier.key(&verifier.issuers[0], alg, &parts.header)?;
    if key.verifies(parts.signing_input, &parts.signature) {
        Ok(())
    } else {
        Err(TokenError::BadSignature)
    }
}

/// The algorithm of the API: that of the key, or of the example where its key names none.
fn algorithm_of(group: &Value) -> SigningAlg {
    let key = &group["key"];
    match (key["alg"].as_str().or(group["alg"].as_str()), &key["kty"]) {
        // `ES521` is none.
        (Some(name), _) => SigningAlg::from_name(name).unwrap_or(SigningAlg::ES384),
        (None, kty) if kty == "EC" => SigningAlg::ES256,
        (None, _) => SigningAlg::RS256,
    }
}

#[test]
fn vectors() {
    let groups: Value = serde_json::from_str(VECTORS).unwrap();
    let groups = groups.as_array().unwrap();
    let tests = || groups.iter().flat_map(|group| group["tests"].as_array().unwrap());
    let valid: Vec<&Value> = tests()
        .filter(|test| test["result"] == "valid")
        .map(|test| &test["jws"])
        .collect();
    let (mut good, mut bad, mut stricter) = (0, 0, 0);
    for group in groups {
        let verifier = verifier(&group["key"], algorithm_of(group));
        for test in group["tests"].as_array().unwrap() {
            let (id, token) = (&test["id"], test["jws"].as_str().unwrap());
            let found = check_signature(&verifier, token);
            let known = STRICTER.iter().find(|(known, _)| id == known);
            if let Some((_, expected)) = known {
                assert_eq!(found.as_ref(), Err(expected), "{id} {}", test["what"]);
                stricter += 1;
            } else if test["result"] == "valid" || WITHOUT_THEIR_FAULT.iter().any(|known| id == known) {
                assert!(valid.contains(&&test["jws"]), "{id}");
                assert_eq!(found, Ok(()), "{id} {}", test["what"]);
                good += 1;
            } else {
                assert!(found.is_err(), "{id} {}", test["what"]);
                bad += 1;
            }
            // None has all the claims of an access token.
            assert!(verifier.verify(token, 0).is_err(), "{id}");
        }
    }
    assert_eq!((good, bad, stricter), (46, 354, 6));
}

/// The examples of RFC 7515 have `iss`, so that they go as far as to what they lack: an audience.
#[test]
fn examples_with_claims() {
    let groups: Value = serde_json::from_str(VECTORS).unwrap();
    let mut count = 0;
    for group in groups.as_array().unwrap() {
        if !group["source"].as_str().unwrap().starts_with("RFC 7515") {
            continue;
        }
        let verifier = verifier(&group["key"], algorithm_of(group));
        let token = group["tests"][0]["jws"].as_str().unwrap();
        let lacking = verifier.verify(token, 1_300_819_380);
        let is_about_the_audience = matches!(
            lacking,
            Err(TokenError::AudienceMismatch | TokenError::MissingClaim("aud"))
        );
        assert!(is_about_the_audience, "{lacking:?}");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let spoiled = format!("{signed}.AAAA{}", &signature[4..]);
        assert_eq!(verifier.verify(&spoiled, 0).err(), Some(TokenError::BadSignature));
        count += 1;
    }
    assert_eq!(count, 3);
}
