//! The assertion by which a client says who it is: a JWS that it signed (`private_key_jwt`, RFC 7523).
//!
//! The limits are Auth0's: 2,048 bytes, five minutes, each `jti` once. Why an assertion is refused is told only once its
//! signature was right: before, a stranger could ask which clients there are. Pure but for the memory of `jti`.

use std::sync::Arc;

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};

use super::fault::Fault;
use crate::authority::model::{Client, ClientAuthentication, Credential, Tenant};
use crate::token::public_rsa_key;
use crate::token::{Json, Jws, Number, Proof, ProofDesk, ProofError, Thumbprint, UnixSeconds};

/// `client_assertion_type`
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Whom an assertion has to be for, and what is remembered of others.
pub(super) struct Court<'a> {
    /// With its slash.
    pub(super) issuer: &'a str,
    /// Each `jti` of a client is taken once.
    pub(super) seen: &'a ProofDesk,
    pub(super) now: UnixSeconds,
}

/// An assertion taken apart; nothing of it has been verified.
pub(super) struct Assertion<'a> {
    jws: Jws<'a>,
    /// `iss` and `sub`.
    pub(super) client_id: Box<str>,
}

impl<'a> Assertion<'a> {
    /// Takes it apart.
    ///
    /// # Errors
    /// [`Fault::Assertion`].
    pub(super) fn read(text: &'a str) -> Result<Self, Fault> {
        if text.len() > LONGEST {
            return Err(Fault::Assertion("The client assertion is longer than 2048 bytes"));
        }
        let jws = Jws::read(text)
            .map_err(|_malformed| Fault::Assertion("The client assertion is not a JSON Web Token"))?;
        let issuer = short_text(&jws.claims, "iss");
        let Some(client_id) = issuer.filter(|issuer| short_text(&jws.claims, "sub") == Some(*issuer)) else {
            return Err(Fault::Assertion(
                "'iss' and 'sub' claims must both be the client_id",
            ));
        };
        Ok(Self {
            client_id: client_id.into(),
            jws,
        })
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`Fault::Assertion`]; [`Fault::Busy`] where no more can be remembered.
    pub(super) fn check(&self, tenant: &Tenant, court: &Court<'_>) -> Result<Arc<Client>, Fault> {
        let client = tenant
            .client(&self.client_id)
            .filter(|client| client.authentication() == ClientAuthentication::PrivateKeyJwt)
            .filter(|client| self.is_signed_by(client, court.now))
            .ok_or(Fault::Assertion("Client assertion could not be verified"))?;
        let good_until = self.check_claims(court)?;
        let id = short_text(&self.jws.claims, "jti").ok_or(Fault::Assertion(
            "'jti' claim must be a text of 1 to 64 characters",
        ))?;
        let use_of_it = Proof {
            id: id.into(),
            nonce: None,
            good_until,
        };
        let client_key = Thumbprint::of(client.client_id.as_bytes());
        match court.seen.take(&use_of_it, &client_key, court.now) {
            Ok(()) => Ok(Arc::clone(client)),
            Err(ProofError::StoreFull) => Err(Fault::Busy),
            Err(_seen) => Err(Fault::Assertion("'jti' claim was used before")),
        }
    }

    fn is_signed_by(&self, client: &Client, now: UnixSeconds) -> bool {
        let header = &self.jws.header;
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return false;
        }
        let named = |name: &str| header.get(name).and_then(Json::as_str);
        let Some((alg, parameters)) = named("alg").and_then(algorithm) else {
            return false;
        };
        let kid = named("kid");
        client
            .credentials
            .iter()
            .filter(|credential| {
                credential.alg == alg
                    && kid.is_none_or(|kid| kid == credential.kid || kid == credential.id)
                    && is_in_use(client, credential, now)
            })
            .any(|credential| {
                public_rsa_key(credential.pem.as_bytes()).is_some_and(|key| {
                    UnparsedPublicKey::new(parameters, key.as_ref())
                        .verify(self.jws.signing_input, &self.jws.signature)
                        .is_ok()
                })
            })
    }

    /// Returns the last second at which it is accepted.
    fn check_claims(&self, court: &Court<'_>) -> Result<UnixSeconds, Fault> {
        let claims = &self.jws.claims;
        let is_us = |audience: &Json<'_>| {
            audience
                .as_str()
                .is_some_and(|audience| is_of(court.issuer, audience))
        };
        let is_for_us = claims.get("aud").is_some_and(|audience| {
            is_us(audience) || audience.as_array().is_some_and(|list| list.iter().any(is_us))
        });
        if !is_for_us {
            return Err(Fault::Assertion(
                "'aud' claim must be the issuer or the token endpoint",
            ));
        }
        let seconds = |name: &str| match claims.get(name) {
            Some(Json::Number(Number::Integer(seconds))) => Some(*seconds),
            _ => None,
        };
        let (Some(issued_at), Some(expires_at)) = (seconds("iat"), seconds("exp")) else {
            return Err(Fault::Assertion("'iat' and 'exp' claims must be whole numbers"));
        };
        let now = court.now;
        if expires_at > issued_at.saturating_add(LIFETIME) {
            return Err(Fault::Assertion(
                "'exp' claim must be \u{2264} 5 minutes after 'iat'",
            ));
        }
        let last = expires_at.saturating_add(SKEW).saturating_sub(1);
        if now > last {
            return Err(Fault::Assertion("'exp' claim has passed"));
        }
        let ahead = now.saturating_add(SKEW);
        if issued_at > ahead || seconds("nbf").is_some_and(|not_before| not_before > ahead) {
            return Err(Fault::Assertion("'iat' or 'nbf' claim lies in the future"));
        }
        Ok(last)
    }
}

/// The issuer, or its token endpoint. One SDK says `https` even where it was told to speak `http`: at one host and port
/// there is one authority.
fn is_of(issuer: &str, audience: &str) -> bool {
    let names = |issuer: &str, audience: &str| {
        let path = audience.strip_prefix(issuer);
        path.is_some_and(|path| path.is_empty() || path == "oauth/token")
    };
    let in_cleartext = issuer
        .strip_prefix("http://")
        .zip(audience.strip_prefix("https://"));
    names(issuer, audience) || in_cleartext.is_some_and(|(issuer, audience)| names(issuer, audience))
}

/// Auth0's three.
fn algorithm(name: &str) -> Option<(&'static str, &'static RsaParameters)> {
    Some(match name {
        "RS256" => ("RS256", &RSA_PKCS1_2048_8192_SHA256),
        "RS384" => ("RS384", &RSA_PKCS1_2048_8192_SHA384),
        "PS256" => ("PS256", &RSA_PSS_2048_8192_SHA256),
        _ => return None,
    })
}

/// Whether it has not expired, and is one of those that the client is to use, where the client names them.
fn is_in_use(client: &Client, credential: &Credential, now: UnixSeconds) -> bool {
    let is_over = credential.expires_at.as_deref().is_some_and(|end| {
        // What cannot be read has an end that nobody knows.
        end.parse::<jiff::Timestamp>()
            .map_or(true, |end| end.as_second() <= now)
    });
    let chosen = client
        .document
        .get("client_authentication_methods")
        .and_then(|methods| methods.get("private_key_jwt")?.get("credentials")?.as_array());
    let is_chosen = chosen.is_none_or(|chosen| {
        chosen
            .iter()
            .any(|one| one.get("id").is_some_and(|id| *id == credential.id.as_str()))
    });
    is_chosen && !is_over
}

/// 1 to 64 characters.
fn short_text<'a>(claims: &'a Json<'a>, name: &str) -> Option<&'a str> {
    let text = claims.get(name)?.as_str()?;
    (1..=LONGEST_NAME).contains(&text.chars().count()).then_some(text)
}

/// Bytes of an assertion.
const LONGEST: usize = 2_048;
/// Characters of `iss`, `sub` and `jti`.
const LONGEST_NAME: usize = 64;
/// Seconds from `iat` to `exp`.
const LIFETIME: i64 = 300;
/// Seconds that clocks may differ by.
const SKEW: i64 = 10;
