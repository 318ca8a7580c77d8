//! Making the token of its claims: signed by the algorithm of the API, encrypted where the API wants it so.

use serde_json::Value;

use super::claims::{self, Facts, IdFacts};
use super::fault::Fault;
use crate::authority::model::{Client, Tenant, User};
use crate::authority::signing::{SigningError, encrypt, sign_with_secret};
use crate::authority::{Authority, unix_now};
use crate::definition::SigningAlg;

/// The access token. The one big cost is the signature: 0.65 ms with an RSA key of 2,048 bits.
///
/// # Errors
/// [`Fault::Ours`]; the log says why.
pub(super) fn access_token(
    authority: &Authority,
    tenant: &Tenant,
    facts: &Facts<'_>,
) -> Result<String, Fault> {
    signed(authority, tenant, facts)
        .and_then(|token| match &facts.api.token_encryption {
            None => Ok(token),
            Some(encryption) => encrypt(&token, &encryption.encryption_key),
        })
        .map_err(|error| {
            tracing::error!(%error, audience = %facts.api.identifier, "cannot issue a token");
            Fault::Ours
        })
}

fn signed(authority: &Authority, tenant: &Tenant, facts: &Facts<'_>) -> Result<String, SigningError> {
    let (alg, typ) = (facts.api.signing_alg, claims::typ(facts.api));
    let claims = claims::claims(facts);
    if alg.is_symmetric() {
        let secret = facts.api.signing_secret.as_ref();
        let secret = secret.ok_or(SigningError::NoSecret)?;
        return sign_with_secret(alg, secret.expose(), typ, &claims);
    }
    let key = tenant.current_key().ok_or(SigningError::NoKey)?;
    authority.signers.get(key)?.sign(alg, typ, &claims)
}

/// An ID token (OpenID Connect Core section 2), for the client itself to read.
///
/// # Errors
/// [`Fault::Ours`]; the log says why.
pub(super) fn id_token(
    authority: &Authority,
    tenant: &Tenant,
    client: &Client,
    user: &User,
    scopes: &[String],
) -> Result<String, Fault> {
    let configured = |name: &str| client.document.get("jwt_configuration")?.get(name);
    let lifetime = configured("lifetime_in_seconds").and_then(Value::as_i64);
    let facts = IdFacts {
        issuer: &authority.settings().issuer,
        client_id: &client.client_id,
        user,
        scopes,
        now: unix_now(),
        lifetime: lifetime.unwrap_or(ID_TOKEN_LIFETIME),
    };
    let claims = claims::id_claims(&facts);
    let made = match configured("alg").and_then(Value::as_str) {
        Some("HS256") => client
            .secret()
            .ok_or(SigningError::NoSecret)
            .and_then(|secret| sign_with_secret(SigningAlg::HS256, secret.as_bytes(), "JWT", &claims)),
        alg => {
            let alg = if alg == Some("PS256") {
                SigningAlg::PS256
            } else {
                SigningAlg::RS256
            };
            let key = tenant.current_key().ok_or(SigningError::NoKey);
            key.and_then(|key| authority.signers.get(key)?.sign(alg, "JWT", &claims))
        }
    };
    made.map_err(|error| {
        tracing::error!(%error, client_id = %client.client_id, "cannot issue an ID token");
        Fault::Ours
    })
}

/// Seconds, as applications have it that say nothing.
const ID_TOKEN_LIFETIME: i64 = 36_000;
