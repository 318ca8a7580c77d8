//! `verify`: a compact token and `now` in, a [`Principal`] or a [`TokenError`] out.
//!
//! The order is fixed: (decryption,) form, algorithm, type, issuer, key of that issuer, signature, audience, claims, binding,
//! times. `iss` of a token that is not verified picks one of the API's issuers, and from there on only what that issuer was
//! given counts: its algorithms and types, its keys, its audiences. The algorithm comes from the configuration and the key, never
//! from the token; `jku`, `x5u`, `jwk` and `x5c` of the header are not read (RFC 8725 sections 3.1 and 3.10).

use std::sync::Arc;
use std::time::Duration;

use super::binding::binding;
use super::introspection::{Asked, OpaqueToken};
use super::json::Json;
use super::jwe::{self, Encryption, OpenedToken, SealedToken, Unencrypted};
use super::jws::{self, Encoded, KnownHeaders, MalformedJws};
use super::principal::TimeRules;
use super::reading::Roles;
use super::{
    Exchange, ExchangedToken, KeptClaims, KnownHeader, PresentedKey, Principal, ProofDesk, Reading,
    ScopeTable, Thumbprint, TokenError, UnixSeconds, VerificationKey, VerificationKeys, claims,
};
use crate::definition::{ApiDefinition, PopMechanism, SigningAlg};

/// How tokens for one API are verified. Immutable; made when a snapshot is compiled.
#[derive(Debug)]
pub struct Verifier {
    /// What bound tokens are held against; `None`: they are refused.
    pub(super) proofs: Option<PopMechanism>,
    max_bytes: usize,
    times: TimeRules,
    scopes: Arc<ScopeTable>,
    /// The key of an HS* API; for such tokens no issuer has one.
    secret: Option<VerificationKey>,
    pub(super) issuers: Vec<Trusted>,
    encryption: Option<Encryption>,
    kept: KeptClaims,
    headers: KnownHeaders,
    /// Whether, and whom, to ask about tokens.
    pub(super) asked: Option<Asked>,
}

#[derive(Clone, Debug)]
pub(super) struct Trusted {
    pub(super) issuer: Arc<str>,
    keys: Option<Arc<VerificationKeys>>,
    pub(super) reading: Reading,
    roles: Option<Roles>,
    /// Whether some claim has another name than the standards and Auth0 give it.
    is_mapped: bool,
}

/// An issuer whose tokens an API accepts.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// Compared with `iss` byte for byte.
    pub issuer: Arc<str>,
    /// The keys that fit its algorithms; `None` while there are none.
    pub keys: Option<Arc<VerificationKeys>>,
    /// How its tokens are read; `None`: as the definition says.
    pub reading: Option<Reading>,
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

    /// What came of the API key of the request. Without anybody to ask nothing is known of it.
    fn exchange(&self, _api: &A, key: PresentedKey<'_>) -> Exchange {
        Err(key.unexchanged())
    }

    /// Where proofs are taken; without it none is.
    fn proofs(&self) -> Option<&ProofDesk> {
        None
    }

    /// Whether a token that is good by itself was revoked. Without lists none was.
    fn is_revoked(&self, _principal: &Principal, _now: UnixSeconds) -> bool {
        false
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
        let own = Reading::of(definition);
        let issuers = issuers
            .into_iter()
            .map(|trusted| Trusted::new(trusted, &own, &scopes));
        Self {
            issuers: issuers.collect(),
            proofs: definition.proof_of_possession.map(|proof| proof.mechanism),
            max_bytes: settings.max_bytes,
            times: TimeRules {
                leeway: seconds(settings.leeway),
                max_age: settings.max_age.map(seconds),
            },
            scopes,
            secret,
            encryption: None,
            kept: KeptClaims::All,
            headers: KnownHeaders::default(),
            asked: None,
        }
    }

    /// The same for an API whose tokens may be encrypted.
    #[must_use]
    pub fn with_encryption(self, encryption: Option<Encryption>) -> Self {
        Self { encryption, ..self }
    }

    /// The same for an API that can ask for no other claims than these.
    #[must_use]
    pub fn with_claims(self, kept: KeptClaims) -> Self {
        Self { kept, ..self }
    }

    /// Verifies a compact token. One that is encrypted comes back as [`TokenError::Sealed`], one that has to be asked
    /// about as [`TokenError::Opaque`].
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Result<Principal, TokenError> {
        self.check_length(token)?;
        if self.asked.as_ref().is_some_and(|asked| asked.rules.takes(token)) {
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
        let malformed = |malformed: MalformedJws| TokenError::Malformed(malformed.0);
        let encoded = Encoded::split(token).map_err(malformed)?;
        let mut unknown = None;
        let header = match self.headers.get(encoded.header) {
            Some(known) => known,
            None => &*unknown.insert(encoded.header().map_err(malformed)?),
        };
        let (payload, signature) = encoded.body().map_err(malformed)?;
        let claims = jws::claims(&payload).map_err(malformed)?;
        let alg = self.check_header(header)?;
        let trusted = self.trusted(&claims)?;
        if !trusted.reading.algorithms.contains(&alg) {
            return Err(TokenError::AlgMismatch);
        }
        trusted.reading.check_type(header)?;
        let key = self.key(trusted, alg, header)?;
        if !key.verifies(encoded.signing_input, &signature) {
            return Err(TokenError::BadSignature);
        }
        if let Some(header) = unknown {
            self.headers.learn(encoded.header, header);
        }
        let principal = self.principal(trusted, claims)?;
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

    /// For how many seconds a token may serve that a key was exchanged for at `now`, `expires_in` as its issuer has told;
    /// `None` where nothing is known of that. Nothing of the token has been verified.
    pub fn serves_for(
        &self,
        token: &ExchangedToken,
        expires_in: Option<i64>,
        now: UnixSeconds,
    ) -> Option<i64> {
        let ends = token.says_it_ends(self.times.max_age);
        let left = ends.map(|ends| ends.saturating_sub(now));
        let left = [left, expires_in].into_iter().flatten().min()?;
        Some(left.saturating_sub(self.times.leeway).max(0))
    }

    /// From when on a token that was good is good no longer.
    pub fn good_until(&self, principal: &Principal) -> UnixSeconds {
        principal.good_until(self.times)
    }

    /// What a hit of a cache must ask again.
    pub fn check_times(&self, principal: &Principal, now: UnixSeconds) -> Result<(), TokenError> {
        principal.check_times(self.times, now)
    }

    /// The algorithm of a token that may be good for one of the issuers at least.
    fn check_header(&self, header: &Json<'_>) -> Result<SigningAlg, TokenError> {
        let name = header
            .get("alg")
            .and_then(Json::as_str)
            .ok_or(TokenError::Malformed("it names no algorithm"))?;
        let readings = || self.issuers.iter().map(|trusted| &trusted.reading);
        let is_taken = |alg| readings().any(|reading| reading.algorithms.contains(&alg));
        let alg = match SigningAlg::from_name(name) {
            Some(alg) if is_taken(alg) || self.issuers.is_empty() => alg,
            // RFC 9864 section 2.2: the fully specified name of the same algorithm.
            None if name == "Ed25519" && is_taken(SigningAlg::EdDSA) => SigningAlg::EdDSA,
            Some(_) => return Err(TokenError::AlgMismatch),
            None => return Err(TokenError::UnsupportedAlg),
        };
        // RFC 7515 section 4.1.11: no extension is implemented, so any that must be understood is refused.
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err(TokenError::Malformed("it has critical extensions"));
        }
        if !self.issuers.is_empty() && readings().all(|reading| reading.check_type(header).is_err()) {
            return Err(TokenError::WrongType);
        }
        Ok(alg)
    }

    fn trusted(&self, claims: &Json<'_>) -> Result<&Trusted, TokenError> {
        let issuer = claims::text(claims, "iss")?.ok_or(TokenError::MissingClaim("iss"))?;
        self.issuers
            .iter()
            .find(|trusted| &*trusted.issuer == issuer)
            .ok_or(TokenError::IssuerMismatch)
    }

    fn key<'a>(
        &'a self,
        trusted: &'a Trusted,
        alg: SigningAlg,
        header: &Json<'_>,
    ) -> Result<&'a VerificationKey, TokenError> {
        let kid = match header.get("kid") {
            None => None,
            Some(Json::String(kid)) if kid.len() <= 256 => Some(&**kid),
            Some(_) => return Err(TokenError::Malformed("its key id is not a short string")),
        };
        let unavailable = || TokenError::KeysUnavailable {
            issuer: Arc::clone(&trusted.issuer),
        };
        if alg.is_symmetric() {
            return self
                .secret
                .as_ref()
                .filter(|secret| secret.alg() == alg)
                .ok_or_else(unavailable);
        }
        let keys = trusted.keys.as_ref().ok_or_else(unavailable)?;
        keys.find(alg, kid).ok_or_else(|| TokenError::UnknownKid {
            issuer: Arc::clone(&trusted.issuer),
            kid: kid.unwrap_or_default().into(),
        })
    }

    /// Reads the claims of a token whose signature is right.
    fn principal(&self, trusted: &Trusted, claims: Json<'_>) -> Result<Principal, TokenError> {
        let reading = &trusted.reading;
        if !claims::audience_is_one_of(&claims, &reading.audiences)? {
            return Err(TokenError::AudienceMismatch);
        }
        let expires_at = claims::date(&claims, "exp")?.ok_or(TokenError::MissingClaim("exp"))?;
        reading.check_kind(&claims)?;
        self.read(trusted, claims, expires_at)
    }

    /// Reads what is the same for every kind of access token.
    pub(super) fn read(
        &self,
        trusted: &Trusted,
        mut claims: Json<'_>,
        expires_at: UnixSeconds,
    ) -> Result<Principal, TokenError> {
        let reading = &trusted.reading;
        let subject: Option<Box<str>> = reading.subject.text(&claims)?.map(Box::from);
        let client_id: Option<Box<str>> = reading.client(&claims)?.map(Box::from);
        let issued_at = claims::date(&claims, "iat")?;
        let token_id = reading.token_id.text(&claims)?.map(Box::from);
        let binding = binding(&claims, self.proofs)?;
        let named = reading.permissions(&claims)?;
        let permissions = match &trusted.roles {
            Some(roles) => roles.set(named.into_iter()),
            None => self.scopes.set(named.into_iter()),
        };
        let scopes = self.scopes.set(reading.scopes(&claims)?.into_iter());
        let (not_before, auth_time) = (claims::date(&claims, "nbf")?, claims::date(&claims, "auth_time")?);
        if trusted.is_mapped {
            let text =
                |text: &Option<Box<str>>| text.clone().map(|text| Json::String(String::from(text).into()));
            let scope = reading.scopes(&claims)?.join(" ");
            claims.put("sub", text(&subject));
            claims.put("client_id", text(&client_id));
            claims.put("scope", Some(Json::String(scope.into())));
            let names = self
                .scopes
                .names(&permissions)
                .map(|name| Json::String(name.to_owned().into()));
            claims.put("permissions", Some(Json::Array(names.collect())));
        }
        Ok(Principal {
            issuer: Arc::clone(&trusted.issuer),
            subject,
            client_id,
            token_id,
            scopes,
            permissions,
            granted_by: reading.granted_by,
            issued_at,
            not_before,
            expires_at,
            auth_time,
            binding,
            header: KnownHeader::default(),
            claims: self.kept.of(claims),
        })
    }
}

impl Trusted {
    fn new(trusted: TrustedIssuer, own: &Reading, scopes: &ScopeTable) -> Self {
        let reading = trusted.reading.unwrap_or_else(|| own.clone());
        let is_as_usual = reading.subject == own.subject
            && reading.client == own.client
            && reading.scopes == own.scopes
            && reading.permissions == own.permissions
            && reading.roles.is_none();
        Self {
            issuer: trusted.issuer,
            keys: trusted.keys,
            roles: Roles::compile(&reading, scopes),
            is_mapped: !is_as_usual,
            reading,
        }
    }
}

#[cfg(test)]
mod tests;
