//! `verify`: a compact token and `now` in, a [`Principal`] or a [`TokenError`] out.
//!
//! The order is fixed: (decryption,) form, algorithm, type, issuer, key of that issuer, signature, binding, audience, claims, times.
//! The algorithm comes from the definition and the key, never from the token; `jku`, `x5u`, `jwk` and `x5c` of the
//! header are not read (RFC 8725 sections 3.1 and 3.10).

use std::sync::Arc;
use std::time::Duration;

use super::binding::binding;
use super::introspection::{Introspection, OpaqueToken};
use super::json::Json;
use super::jwe::{self, Encryption, OpenedToken, SealedToken, Unencrypted};
use super::jws::Jws;
use super::principal::TimeRules;
use super::{
    Principal, ProofDesk, ScopeTable, Thumbprint, TokenError, UnixSeconds, VerificationKey, VerificationKeys,
    claims,
};
use crate::definition::{ApiDefinition, PopMechanism, SigningAlg};

/// How tokens for one API are verified. Immutable; made when a snapshot is compiled.
#[derive(Debug)]
pub struct Verifier {
    alg: SigningAlg,
    is_rfc9068: bool,
    /// What bound tokens are held against; `None`: they are refused.
    pub(super) proofs: Option<PopMechanism>,
    pub(super) audience: Box<str>,
    max_bytes: usize,
    times: TimeRules,
    pub(super) scopes: Arc<ScopeTable>,
    /// The key of an HS* API; then the issuers have none.
    secret: Option<VerificationKey>,
    issuers: Vec<TrustedIssuer>,
    encryption: Option<Encryption>,
    /// Whether, and whom, to ask about tokens.
    pub(super) introspection: Option<Introspection>,
}

/// An issuer whose tokens an API accepts.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// Compared with `iss` byte for byte.
    pub issuer: Arc<str>,
    /// The keys that fit the API's algorithm; `None` while there are none.
    pub keys: Option<Arc<VerificationKeys>>,
}

/// What a definition does not say.
#[derive(Clone, Copy, Debug)]
pub struct VerifierSettings {
    /// Tolerance for `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// The oldest token, counted from `iat`.
    pub max_age: Option<Duration>,
    /// The longest token in bytes.
    pub max_bytes: usize,
}

/// Verifies tokens for an API: directly, or through a cache; and what else only the outside of a decision knows. `A` is
/// what the verifier of an API is found by.
pub trait VerifyToken<A> {
    /// The principal of a token, whose times are right at `now`.
    fn verify(&self, api: &A, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError>;

    /// Where proofs are taken; without it none is.
    fn proofs(&self) -> Option<&ProofDesk> {
        None
    }

    /// The certificate whose key the client has.
    fn certificate(&self) -> Option<Thumbprint> {
        None
    }
}

impl Verifier {
    /// Puts the parts together. `secret` is there exactly when the algorithm is symmetric; otherwise every token will
    /// be refused with `keys_unavailable`.
    pub fn new(
        definition: &ApiDefinition,
        settings: VerifierSettings,
        scopes: Arc<ScopeTable>,
        secret: Option<VerificationKey>,
        issuers: Vec<TrustedIssuer>,
    ) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self {
            alg: definition.signing_alg,
            is_rfc9068: definition.token_dialect.is_rfc9068(),
            proofs: definition.proof_of_possession.map(|proof| proof.mechanism),
            audience: definition.identifier.as_str().into(),
            max_bytes: settings.max_bytes,
            times: TimeRules {
                leeway: seconds(settings.leeway),
                max_age: settings.max_age.map(seconds),
            },
            scopes,
            secret,
            issuers,
            encryption: None,
            introspection: None,
        }
    }

    /// The same for an API whose tokens may be encrypted.
    #[must_use]
    pub fn with_encryption(self, encryption: Option<Encryption>) -> Self {
        Self { encryption, ..self }
    }

    /// The same for an API that asks about tokens.
    #[must_use]
    pub fn with_introspection(self, introspection: Option<Introspection>) -> Self {
        Self {
            introspection,
            ..self
        }
    }

    /// Whether, and whom, to ask about tokens.
    pub fn introspection(&self) -> Option<&Introspection> {
        self.introspection.as_ref()
    }

    /// The issuers that are trusted.
    pub fn issuers(&self) -> &[TrustedIssuer] {
        &self.issuers
    }

    /// Verifies a compact token. One that is encrypted comes back as [`TokenError::Sealed`], one that has to be asked
    /// about as [`TokenError::Opaque`].
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Result<Principal, TokenError> {
        self.check_length(token)?;
        if let Some(introspection) = &self.introspection
            && introspection.takes(token)
        {
            return Err(TokenError::Opaque(Arc::new(OpaqueToken::new(token))));
        }
        if jwe::is_encrypted(token) {
            let encryption = self.encryption.as_ref();
            let encryption = encryption.ok_or(TokenError::Malformed(
                "it is encrypted, and the API has no key for it",
            ))?;
            return Err(TokenError::Sealed(Arc::new(SealedToken::read(
                token,
                &encryption.keys,
            )?)));
        }
        match &self.encryption {
            Some(encryption) if encryption.unencrypted == Unencrypted::Refuse => Err(TokenError::Unencrypted),
            _ => self.verify_signed(token, now),
        }
    }

    /// Verifies an encrypted token whose content is there. A token that was opened with other keys is as good as
    /// sealed.
    pub fn verify_opened(
        &self,
        token: &str,
        opened: &OpenedToken,
        now: UnixSeconds,
    ) -> Result<Principal, TokenError> {
        self.check_length(token)?;
        let inner = self
            .encryption
            .as_ref()
            .and_then(|encryption| opened.inner(&encryption.keys));
        match inner {
            // What is inside must be signed: a token in a token in a token has no use.
            Some(inner) => self.verify_signed(inner?, now),
            None => self.verify(token, now),
        }
    }

    fn verify_signed(&self, token: &str, now: UnixSeconds) -> Result<Principal, TokenError> {
        let jws = Jws::read(token).map_err(|malformed| TokenError::Malformed(malformed.0))?;
        self.check_header(&jws.header)?;
        let issuer = self.issuer_of(&jws.claims)?;
        let key = self.key(issuer, &jws.header)?;
        if !key.verifies(jws.signing_input, &jws.signature) {
            return Err(TokenError::BadSignature);
        }
        let principal = self.principal(issuer, jws.claims)?;
        principal.check_times(self.times, now)?;
        Ok(principal)
    }

    /// Whether the token may be looked at at all. A cache asks this before it digests a token.
    pub fn check_length(&self, token: &str) -> Result<(), TokenError> {
        if token.len() > self.max_bytes {
            Err(TokenError::TooLarge)
        } else {
            Ok(())
        }
    }

    /// From when on a token that was good is good no longer.
    pub fn good_until(&self, principal: &Principal) -> UnixSeconds {
        principal.good_until(self.times)
    }

    /// What a hit of a cache must ask again.
    pub fn check_times(&self, principal: &Principal, now: UnixSeconds) -> Result<(), TokenError> {
        principal.check_times(self.times, now)
    }

    fn check_header(&self, header: &Json) -> Result<(), TokenError> {
        let alg = header
            .get("alg")
            .and_then(Json::as_str)
            .ok_or(TokenError::Malformed("it names no algorithm"))?;
        match SigningAlg::from_name(alg) {
            Some(alg) if alg == self.alg => {}
            // RFC 9864 section 2.2: the fully specified name of the same algorithm.
            None if alg == "Ed25519" && self.alg == SigningAlg::EdDSA => {}
            Some(_) => return Err(TokenError::AlgMismatch),
            None => return Err(TokenError::UnsupportedAlg),
        }
        // RFC 7515 section 4.1.11: no extension is implemented, so any that must be understood is refused.
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err(TokenError::Malformed("it has critical extensions"));
        }
        self.check_type(header)
    }

    fn check_type(&self, header: &Json) -> Result<(), TokenError> {
        let typ = match header.get("typ") {
            None => None,
            Some(Json::String(typ)) => Some(&**typ),
            Some(_) => return Err(TokenError::WrongType),
        };
        // RFC 7515 section 4.1.9: a media type, compared without case; `application/` may be left out.
        let is = |expected: &str| {
            typ.is_some_and(|typ| {
                let short = match typ.split_at_checked(12) {
                    Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
                    _ => typ,
                };
                short.eq_ignore_ascii_case(expected)
            })
        };
        let fits = if self.is_rfc9068 {
            is("at+jwt")
        } else {
            typ.is_none() || is("JWT")
        };
        if fits { Ok(()) } else { Err(TokenError::WrongType) }
    }

    fn issuer_of(&self, claims: &Json) -> Result<&TrustedIssuer, TokenError> {
        let issuer = claims::text(claims, "iss")?.ok_or(TokenError::MissingClaim("iss"))?;
        self.issuers
            .iter()
            .find(|trusted| &*trusted.issuer == issuer)
            .ok_or(TokenError::IssuerMismatch)
    }

    fn key<'a>(
        &'a self,
        issuer: &'a TrustedIssuer,
        header: &Json,
    ) -> Result<&'a VerificationKey, TokenError> {
        let kid = match header.get("kid") {
            None => None,
            Some(Json::String(kid)) if kid.len() <= 256 => Some(&**kid),
            Some(_) => return Err(TokenError::Malformed("its key id is not a short string")),
        };
        if let Some(secret) = &self.secret {
            return Ok(secret);
        }
        let keys = issuer.keys.as_ref().ok_or_else(|| TokenError::KeysUnavailable {
            issuer: Arc::clone(&issuer.issuer),
        })?;
        keys.find(kid).ok_or_else(|| TokenError::UnknownKid {
            issuer: Arc::clone(&issuer.issuer),
            kid: kid.unwrap_or_default().into(),
        })
    }

    /// Reads the claims of a token whose signature is right.
    fn principal(&self, issuer: &TrustedIssuer, claims: Json) -> Result<Principal, TokenError> {
        if !claims::audience_contains(&claims, &self.audience)? {
            return Err(TokenError::AudienceMismatch);
        }
        let subject = claims::text(&claims, "sub")?.map(Box::from);
        let client_id = claims::client_id(&claims)?.map(Box::from);
        let issued_at = claims::date(&claims, "iat")?;
        let expires_at = claims::date(&claims, "exp")?.ok_or(TokenError::MissingClaim("exp"))?;
        let token_id = claims::text(&claims, "jti")?;
        if self.is_rfc9068 {
            // RFC 9068 section 2.2.
            subject.as_ref().ok_or(TokenError::MissingClaim("sub"))?;
            claims::text(&claims, "client_id")?.ok_or(TokenError::MissingClaim("client_id"))?;
            issued_at.ok_or(TokenError::MissingClaim("iat"))?;
            token_id.ok_or(TokenError::MissingClaim("jti"))?;
        } else if claims::are_of_id_token(&claims) {
            return Err(TokenError::WrongType);
        }
        let binding = binding(&claims, self.proofs)?;
        Ok(Principal {
            issuer: Arc::clone(&issuer.issuer),
            subject,
            client_id,
            scopes: self.scopes.set(claims::scopes(&claims)?.into_iter()),
            permissions: self.scopes.set(claims::permissions(&claims)?.into_iter()),
            issued_at,
            not_before: claims::date(&claims, "nbf")?,
            expires_at,
            auth_time: claims::date(&claims, "auth_time")?,
            binding,
            claims,
        })
    }
}
