//! What the authority says of itself: discovery (RFC 8414, OpenID Connect Discovery) and its key set.
//!
//! Discovery tells the truth: only endpoints that are there. Both documents are public and are the same for everybody.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::grant_type::GrantType;
use crate::authority::signing::{self, Signers, SigningError};
use crate::authority::{Answer, Authority, AuthoritySettings};

/// The key set of one revision: made once, not per request.
#[derive(Debug, Default)]
pub(super) struct PublishedKeys(Mutex<Option<(u64, Bytes)>>);

/// The discovery document.
pub(super) fn discovery(settings: &AuthoritySettings) -> Answer {
    let issuer = settings.issuer.as_str();
    let document = json!({
        // Compared byte for byte with `iss`.
        "issuer": issuer,
        "token_endpoint": format!("{issuer}oauth/token"),
        "revocation_endpoint": format!("{issuer}oauth/revoke"),
        "jwks_uri": format!("{issuer}.well-known/jwks.json"),
        "grant_types_supported": GrantType::ALL.map(GrantType::name),
        // There is no authorization endpoint (RFC 8414 section 2 asks for the member nevertheless).
        "response_types_supported": [],
        "scopes_supported": OIDC_SCOPES,
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": AUTHENTICATION,
        "token_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        "revocation_endpoint_auth_methods_supported": AUTHENTICATION,
        "revocation_endpoint_auth_signing_alg_values_supported": ASSERTION_ALGORITHMS,
        // One SDK takes it for the list of algorithms that access tokens may have.
        "id_token_signing_alg_values_supported": ["HS256", "RS256", "PS256"],
        "dpop_signing_alg_values_supported": crate::token::PROOF_ALGORITHMS,
        "tls_client_certificate_bound_access_tokens": true,
        "claims_supported": ["aud", "exp", "iat", "iss", "sub"],
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    });
    let body = Bytes::from(document.to_string());
    public(body, HeaderValue::from_static("public, max-age=300"))
}

/// The key set.
pub(super) fn key_set(authority: &Authority) -> Answer {
    match authority.oauth.published_keys.get(authority) {
        Ok(body) => public(
            body,
            HeaderValue::from_static("public, max-age=15, stale-while-revalidate=15, stale-if-error=86400"),
        ),
        Err(error) => {
            tracing::error!(%error, "cannot publish the key set");
            Answer::empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

impl PublishedKeys {
    fn get(&self, authority: &Authority) -> Result<Bytes, SigningError> {
        let tenant = authority.state().tenant();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, body)) = &*kept
            && *revision == tenant.revision()
        {
            return Ok(body.clone());
        }
        let signers: &Signers = &authority.signers;
        let body = Bytes::from(signing::jwks(&tenant, signers)?.to_string());
        *kept = Some((tenant.revision(), body.clone()));
        Ok(body)
    }
}

/// What anybody may read and keep for a while, also scripts of other sites.
fn public(body: Bytes, cache_control: HeaderValue) -> Answer {
    Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body,
    }
    .with(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    )
    .with(CACHE_CONTROL, cache_control)
}

/// Reserved names of scopes that are no permissions: what may be asked for with any API.
pub(super) const OIDC_SCOPES: [&str; 14] = [
    "openid",
    "profile",
    "offline_access",
    "name",
    "given_name",
    "family_name",
    "nickname",
    "email",
    "email_verified",
    "picture",
    "created_at",
    "identities",
    "phone",
    "address",
];
const AUTHENTICATION: [&str; 4] = [
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "none",
];
pub(super) const ASSERTION_ALGORITHMS: [&str; 3] = ["RS256", "RS384", "PS256"];
