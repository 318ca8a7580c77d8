//! The second opinion on tokens: whatever our verifier accepts, the `jsonwebtoken` crate accepts as well.

use std::str::FromStr as _;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use scopegate::definition::SigningAlg;
use scopegate::token::{Principal, TokenError, UnixSeconds, Verifier};
use serde_json::Value;

use crate::support::api::{AUDIENCE, ISSUER, KID, NOW, TestApi};
use crate::support::forge::SigningKey;

/// Whether `jsonwebtoken` finds algorithm, signature, issuer and audience right. It knows no `now`, so time is not its
/// business here.
pub(crate) fn accepts(alg: SigningAlg, key: &SigningKey, token: &str) -> Result<(), String> {
    let decoding = if alg.is_symmetric() {
        DecodingKey::from_secret(key.secret())
    } else {
        let jwk: Jwk = serde_json::from_value(key.jwk(KID)).unwrap();
        DecodingKey::from_jwk(&jwk).unwrap()
    };
    let mut validation = Validation::new(Algorithm::from_str(alg.name()).unwrap());
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["aud", "iss"]);
    jsonwebtoken::decode::<Value>(token, &decoding, &validation)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Verifies, and asks for the second opinion on what was accepted.
pub(crate) fn verify(
    api: TestApi,
    verifier: &Verifier,
    token: &str,
    now: UnixSeconds,
) -> Result<Principal, TokenError> {
    let verdict = verifier.verify(token, now);
    if verdict.is_ok()
        && let Err(error) = accepts(api.alg, &api.key(), token)
    {
        panic!("accepted by us, and refused by jsonwebtoken ({error}): {token}");
    }
    verdict
}

/// The verdict of a verifier for a token at [`NOW`].
pub(crate) fn verdict(api: TestApi, token: &str) -> Result<(), TokenError> {
    verify(api, &api.verifier(), token, NOW).map(drop)
}
