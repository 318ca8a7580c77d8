//! An API with one issuer, and tokens that fit it. A test takes the right token and spoils one thing.

use std::sync::Arc;
use std::time::Duration;

use scopegate::definition::{ApiDefinition, Permission, Secret, SigningAlg, TokenDialect};
use scopegate::token::{
    KeySet, ScopeTable, TrustedIssuer, UnixSeconds, VerificationKey, VerificationKeys, Verifier,
    VerifierSettings,
};
use serde_json::{Value, json};

use super::forge::{SigningKey, jwks};

/// The time at which tests decide: what tokens say is relative to it.
pub(crate) const NOW: UnixSeconds = 1_800_000_000;
pub(crate) const LEEWAY: UnixSeconds = 10;
pub(crate) const ISSUER: &str = "https://tenant.example/";
pub(crate) const AUDIENCE: &str = "https://items.example.com";
pub(crate) const KID: &str = "key-1";
pub(crate) const SCOPES: [&str; 3] = ["read:items", "write:items", "admin:items"];
pub(crate) const MAX_BYTES: usize = 16 << 10;

pub(crate) const DIALECTS: [TokenDialect; 4] = [
    TokenDialect::AccessToken,
    TokenDialect::AccessTokenAuthz,
    TokenDialect::Rfc9068,
    TokenDialect::Rfc9068Authz,
];

/// What a definition of the tests says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestApi {
    pub(crate) alg: SigningAlg,
    pub(crate) dialect: TokenDialect,
    pub(crate) enforce_policies: bool,
    pub(crate) max_age: Option<Duration>,
}

impl TestApi {
    pub(crate) fn new(alg: SigningAlg, dialect: TokenDialect) -> Self {
        Self {
            alg,
            dialect,
            enforce_policies: dialect.has_permissions(),
            max_age: None,
        }
    }

    pub(crate) fn definition(self) -> ApiDefinition {
        ApiDefinition {
            permissions: SCOPES
                .iter()
                .map(|&value| Permission {
                    value: value.into(),
                    description: None,
                })
                .collect(),
            signing_alg: self.alg,
            enforce_policies: self.enforce_policies,
            token_dialect: self.dialect,
            ..ApiDefinition::new(AUDIENCE)
        }
    }

    /// The key that signs the right tokens.
    pub(crate) fn key(self) -> SigningKey {
        SigningKey::fixture(self.alg, 0)
    }

    /// Trusts [`ISSUER`] with [`KID`], and nothing else.
    pub(crate) fn verifier(self) -> Verifier {
        let keys = if self.alg.is_symmetric() {
            None
        } else {
            let (set, _) = KeySet::from_jwks(jwks(&[self.key().jwk(KID)]).as_bytes()).unwrap();
            Some(Arc::new(VerificationKeys::new(&set, &[self.alg])))
        };
        self.verifier_with(vec![TrustedIssuer {
            issuer: ISSUER.into(),
            keys,
            reading: None,
        }])
    }

    /// Trusts these issuers.
    pub(crate) fn verifier_with(self, issuers: Vec<TrustedIssuer>) -> Verifier {
        let secret = self
            .alg
            .is_symmetric()
            .then(|| VerificationKey::hmac(self.alg, &Secret::new(self.key().secret())).unwrap());
        Verifier::new(
            &self.definition(),
            VerifierSettings {
                leeway: Duration::from_secs(LEEWAY.unsigned_abs()),
                max_age: self.max_age,
                max_bytes: MAX_BYTES,
            },
            Arc::new(ScopeTable::new(SCOPES.into_iter()).unwrap()),
            secret,
            issuers,
        )
    }

    pub(crate) fn header(self) -> Value {
        let typ = if self.dialect.is_rfc9068() {
            "at+jwt"
        } else {
            "JWT"
        };
        json!({"alg": self.alg.name(), "typ": typ, "kid": KID})
    }

    /// The claims of a right token with every permission.
    pub(crate) fn claims(self) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "aud": [AUDIENCE, "https://tenant.example/userinfo"], "sub": "auth0|user",
            "iat": NOW - 60, "exp": NOW + 3_600, "scope": SCOPES.join(" "),
        });
        if self.dialect.is_rfc9068() {
            claims["client_id"] = json!("client");
            claims["jti"] = json!("token-1");
        } else {
            claims["azp"] = json!("client");
        }
        if self.dialect.has_permissions() {
            claims["permissions"] = json!(SCOPES);
        }
        claims
    }

    pub(crate) fn token(self) -> String {
        self.sign(&self.header(), &self.claims())
    }

    /// Signs with the right key and the API's algorithm, whatever the header says.
    pub(crate) fn sign(self, header: &Value, claims: &Value) -> String {
        self.key().token(self.alg, header, claims)
    }
}

/// `object` with one member set; `None` removes it.
pub(crate) fn with(mut object: Value, name: &str, value: Option<Value>) -> Value {
    let members = object.as_object_mut().unwrap();
    match value {
        Some(value) => drop(members.insert(name.into(), value)),
        None => drop(members.remove(name)),
    }
    object
}
