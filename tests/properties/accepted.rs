//! What must be accepted: every algorithm in every dialect, and the forms that the standards leave open.

use std::sync::Arc;
use std::time::Duration;

use scopegate::definition::{ApiDefinition, SigningAlg, TokenDialect};
use scopegate::token::{
    KeySet, ScopeTable, TokenError, TrustedIssuer, VerificationKeys, Verifier, VerifierSettings,
};
use serde_json::{Value, json};

use crate::oracle::{verdict, verify};
use crate::support::api::{AUDIENCE, DIALECTS, ISSUER, KID, LEEWAY, NOW, TestApi, with};
use crate::support::forge::{SigningKey, jwks};

#[test]
fn every_algorithm_in_every_dialect() {
    for alg in SigningAlg::ALL {
        for dialect in DIALECTS {
            let api = TestApi::new(alg, dialect);
            let principal = verify(api, &api.verifier(), &api.token(), NOW)
                .unwrap_or_else(|error| panic!("{} {dialect:?}: {error}", alg.name()));
            assert_eq!(principal.issuer(), ISSUER);
            assert_eq!(principal.subject(), Some("auth0|user"));
            assert_eq!(principal.client_id(), Some("client"));
            assert_eq!(principal.expires_at(), NOW + 3_600);
            assert!(!principal.scopes().is_empty());
            assert_eq!(principal.permissions().is_empty(), !dialect.has_permissions());
        }
    }
}

#[test]
fn every_algorithm_refuses_the_tokens_of_every_other() {
    use scopegate::token::TokenError::{AlgMismatch, BadSignature};
    for own in SigningAlg::ALL {
        let api = TestApi::new(own, TokenDialect::AccessToken);
        let verifier = api.verifier();
        for other in SigningAlg::ALL.into_iter().filter(|&other| other != own) {
            let theirs = TestApi::new(other, TokenDialect::AccessToken);
            assert_eq!(
                verifier.verify(&theirs.token(), NOW).unwrap_err(),
                AlgMismatch,
                "{} for {}",
                other.name(),
                own.name()
            );
            // The header lies about the algorithm: the signature is checked with the API's.
            let lie = theirs.sign(&api.header(), &api.claims());
            assert_eq!(
                verifier.verify(&lie, NOW).unwrap_err(),
                BadSignature,
                "{} as {}",
                other.name(),
                own.name()
            );
        }
    }
}

#[test]
fn headers_that_are_left_open() {
    for (dialect, name, value) in [
        (TokenDialect::AccessToken, "typ", None),
        (TokenDialect::AccessToken, "typ", Some(json!("jwt"))),
        (TokenDialect::AccessToken, "typ", Some(json!("application/JWT"))),
        (TokenDialect::Rfc9068, "typ", Some(json!("AT+JWT"))),
        (TokenDialect::Rfc9068, "typ", Some(json!("application/at+jwt"))),
        (TokenDialect::Rfc9068, "typ", Some(json!("APPLICATION/at+JWT"))),
        // The only key that fits.
        (TokenDialect::AccessToken, "kid", None),
        // Keys and addresses that the token brings along are not looked at.
        (
            TokenDialect::AccessToken,
            "jku",
            Some(json!("https://evil.example/jwks")),
        ),
        (
            TokenDialect::AccessToken,
            "x5u",
            Some(json!("https://evil.example/cert")),
        ),
        (TokenDialect::AccessToken, "x5c", Some(json!(["MIIB"]))),
        (TokenDialect::AccessToken, "x5t", Some(json!("abc"))),
        (TokenDialect::AccessToken, "private", Some(json!({"a": [1]}))),
    ] {
        let api = TestApi::new(SigningAlg::RS256, dialect);
        let token = api.sign(&with(api.header(), name, value.clone()), &api.claims());
        assert_eq!(verdict(api, &token), Ok(()), "{dialect:?} {name} {value:?}");
    }
}

#[test]
fn a_key_that_the_token_brings_is_not_used() {
    let api = TestApi::new(SigningAlg::RS256, TokenDialect::AccessToken);
    let own = SigningKey::fixture(SigningAlg::RS256, 1);
    for kid in [Some(json!(KID)), None] {
        let header = with(with(api.header(), "jwk", Some(own.jwk(KID))), "kid", kid);
        let token = own.token(SigningAlg::RS256, &header, &api.claims());
        assert_eq!(
            verdict(api, &token),
            Err(scopegate::token::TokenError::BadSignature)
        );
    }
}

#[test]
fn claims_that_are_left_open() {
    let several = json!([AUDIENCE]);
    for (name, value) in [
        ("aud", Some(json!(AUDIENCE))),
        ("aud", Some(several)),
        ("aud", Some(json!(["x", "y", AUDIENCE]))),
        ("iat", None),
        ("sub", None),
        ("azp", None),
        ("scope", None),
        ("scope", Some(json!(""))),
        ("scope", Some(json!(["read:items"]))),
        ("scope", Some(json!([]))),
        ("scp", Some(json!("read:items"))),
        ("permissions", Some(json!([]))),
        ("nbf", Some(json!(NOW - 1))),
        ("exp", Some(json!(NOW as f64 + 100.5))),
        ("exp", Some(json!(u64::MAX))),
        ("auth_time", Some(json!(NOW - 5))),
        ("org_id", Some(json!("org_1"))),
        ("client_id", Some(json!("client"))),
        ("jti", Some(json!("x"))),
    ] {
        let api = TestApi::new(SigningAlg::ES256, TokenDialect::AccessToken);
        let token = api.sign(&api.header(), &with(api.claims(), name, value.clone()));
        assert_eq!(verdict(api, &token), Ok(()), "{name} {value:?}");
    }
}

#[test]
fn the_fully_specified_name_of_eddsa() {
    let api = TestApi::new(SigningAlg::EdDSA, TokenDialect::AccessToken);
    let token = api.sign(&with(api.header(), "alg", Some(json!("Ed25519"))), &api.claims());
    // `jsonwebtoken` does not know the name, so there is no second opinion.
    assert!(api.verifier().verify(&token, NOW).is_ok());
}

#[test]
fn times_at_the_edges_of_the_leeway() {
    use scopegate::token::TokenError::{Expired, IssuedInFuture, NotYetValid};
    let api = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken);
    for (name, value, expected) in [
        ("exp", json!(NOW - LEEWAY + 1), Ok(())),
        ("exp", json!(NOW - LEEWAY), Err(Expired)),
        ("exp", json!(NOW - LEEWAY - 1), Err(Expired)),
        ("exp", json!((NOW - LEEWAY) as f64 + 0.9), Err(Expired)),
        ("exp", json!(0), Err(Expired)),
        ("exp", json!(-1), Err(Expired)),
        ("exp", json!(i64::MIN), Err(Expired)),
        ("exp", json!(-1e300), Err(Expired)),
        ("exp", json!(i64::MAX), Ok(())),
        ("exp", json!(1e300), Ok(())),
        ("nbf", json!(NOW + LEEWAY), Ok(())),
        ("nbf", json!(NOW + LEEWAY + 1), Err(NotYetValid)),
        ("nbf", json!(u64::MAX), Err(NotYetValid)),
        ("nbf", json!(1e300), Err(NotYetValid)),
        ("nbf", json!(i64::MIN), Ok(())),
        ("iat", json!(NOW + LEEWAY), Ok(())),
        ("iat", json!(NOW + LEEWAY + 1), Err(IssuedInFuture)),
        ("iat", json!(i64::MAX), Err(IssuedInFuture)),
        ("iat", json!(0), Ok(())),
    ] {
        let token = api.sign(&api.header(), &with(api.claims(), name, Some(value.clone())));
        // The extremes are outside of what `jsonwebtoken` can hold, so there is no second opinion.
        assert_eq!(
            api.verifier().verify(&token, NOW).map(drop),
            expected,
            "{name} {value}"
        );
    }
}

#[test]
fn no_time_overflows() {
    let api = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken);
    let verifier = TestApi {
        max_age: Some(std::time::Duration::MAX),
        ..api
    }
    .verifier();
    let extremes = [i64::MIN, i64::MIN + 1, -1, 0, 1, NOW, i64::MAX - 1, i64::MAX];
    for exp in extremes {
        for iat in extremes {
            let claims = with(
                with(api.claims(), "exp", Some(json!(exp))),
                "iat",
                Some(json!(iat)),
            );
            let token = api.sign(&api.header(), &claims);
            for now in extremes {
                drop(verifier.verify(&token, now));
            }
        }
    }
}

#[test]
fn age() {
    use scopegate::token::TokenError::{MissingClaim, TooOld};
    let api = TestApi {
        max_age: Some(std::time::Duration::from_secs(600)),
        ..TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken)
    };
    for (iat, expected) in [
        (Some(json!(NOW)), Ok(())),
        (Some(json!(NOW - 600 - LEEWAY)), Ok(())),
        (Some(json!(NOW - 601 - LEEWAY)), Err(TooOld)),
        (None, Err(MissingClaim("iat"))),
    ] {
        let token = api.sign(&api.header(), &with(api.claims(), "iat", iat.clone()));
        assert_eq!(verdict(api, &token), expected, "{iat:?}");
    }
}

/// Issuer × key: the key of one issuer never speaks for another, also under the same `kid`.
#[test]
fn issuers_are_kept_apart() {
    use scopegate::token::TokenError::BadSignature;
    let api = TestApi::new(SigningAlg::ES256, TokenDialect::AccessToken);
    let names = ["https://a.example/", "https://b.example/", "https://c.example/"];
    let issuers = names
        .iter()
        .enumerate()
        .map(|(slot, &name)| {
            let jwk = SigningKey::fixture(SigningAlg::ES256, slot).jwk(KID);
            let (set, _) = KeySet::from_jwks(jwks(&[jwk]).as_bytes()).unwrap();
            TrustedIssuer {
                issuer: name.into(),
                keys: Some(Arc::new(VerificationKeys::new(&set, &[SigningAlg::ES256]))),
                reading: None,
            }
        })
        .collect();
    let verifier = api.verifier_with(issuers);
    for (claimed, &name) in names.iter().enumerate() {
        let claims: Value = with(api.claims(), "iss", Some(json!(name)));
        for signer in 0..names.len() {
            let key = SigningKey::fixture(SigningAlg::ES256, signer);
            let token = key.token(SigningAlg::ES256, &api.header(), &claims);
            let expected = if signer == claimed {
                Ok(())
            } else {
                Err(BadSignature)
            };
            assert_eq!(
                verifier.verify(&token, NOW).map(drop),
                expected,
                "{name} by {signer}"
            );
        }
    }
}

/// RFC 9068 section 3, figure 2: the header and the claims of the example, letter by letter; the key is ours.
#[test]
fn the_example_of_rfc_9068() {
    const RESOURCE: &str = "https://rs.example.com/";
    const SERVER: &str = "https://authorization-server.example.com/";
    let (key, kid) = (SigningKey::fixture(SigningAlg::RS256, 0), "RjEwOwOA");
    let header = r#"{"typ":"at+JWT","alg":"RS256","kid":"RjEwOwOA"}"#;
    let claims = r#"{
     "iss": "https://authorization-server.example.com/",
     "sub": "5ba552d67",
     "aud":   "https://rs.example.com/",
     "exp": 1639528912,
     "iat": 1618354090,
     "jti" : "dbe39bf3a3ba4238a513f51d6e1691c4",
     "client_id": "s6BhdRkqt3",
     "scope": "openid profile reademail"
   }"#;
    let token = key.token_of_text(SigningAlg::RS256, header, claims);
    let (set, _) = KeySet::from_jwks(jwks(&[key.jwk(kid)]).as_bytes()).unwrap();
    let definition = ApiDefinition {
        token_dialect: TokenDialect::Rfc9068,
        ..ApiDefinition::new(RESOURCE)
    };
    let settings = VerifierSettings {
        leeway: Duration::ZERO,
        max_age: None,
        max_bytes: 4_096,
    };
    let issuer = TrustedIssuer {
        issuer: SERVER.into(),
        keys: Some(Arc::new(VerificationKeys::new(&set, &[SigningAlg::RS256]))),
        reading: None,
    };
    let scopes = ScopeTable::new(["reademail", "profile", "other"].into_iter()).unwrap();
    let verifier = Verifier::new(&definition, settings, Arc::new(scopes), None, vec![issuer]);
    let principal = verifier.verify(&token, 1_639_528_911).unwrap();
    assert_eq!(principal.issuer(), SERVER);
    assert_eq!(principal.subject(), Some("5ba552d67"));
    assert_eq!(principal.client_id(), Some("s6BhdRkqt3"));
    assert_eq!(principal.expires_at(), 1_639_528_912);
    assert!(!principal.scopes().is_empty());
    let expired = verifier.verify(&token, 1_639_528_913).err();
    assert_eq!(expired, Some(TokenError::Expired));
}
