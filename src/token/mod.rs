//! From the bytes of an `Authorization` header to a principal. Pure: bytes and `now` in, values out.
//!
//! `policy::decide` calls it through [`VerifyToken`]. Nothing here opens a socket, reads the clock or logs. The one way
//! to a [`Principal`] is [`Verifier`]: from what a token says, or from what its issuer says of it.

mod api_key;
mod assertion;
mod bearer;
mod binding;
mod claims;
mod discovery;
mod dpop;
mod introspection;
mod json;
mod jwe;
mod jwk;
mod jws;
mod keys;
mod path;
mod places;
mod principal;
mod proofs;
mod reading;
mod revocation;
mod scope;
mod verify;

pub use api_key::{
    ApiKey, Exchange, ExchangedToken, KeyForm, MAX_API_KEY, PresentedKey, TokenAnswer, basic_key, header_key,
};
pub use assertion::{AssertionFault, AssertionKey};
pub use bearer::{BearerError, BearerToken, Scheme, bearer_token, header_token};
pub use binding::{Binding, ProofError, Thumbprint};
pub use discovery::{oauth_metadata_address, openid_metadata_address};
pub use dpop::{
    KnownHeader, PROOF_ALGORITHMS, Proof, ProofScope, ProofTimes, check_first_proof, check_proof,
};
pub use introspection::{
    AnswerFault, AudienceRule, IntrospectedTokens, Introspection, IntrospectionAnswer, MAX_ANSWER,
    OpaqueToken,
};
pub use json::{Json, JsonError, Number};
pub use jwe::{
    DecryptionKey, DecryptionKeys, Encryption, KeyFault, MAX_DECRYPTION_KEYS, OpenedToken, SealedToken,
    Unencrypted, public_rsa_key, public_thumbprint,
};
pub use jwk::{JwksError, KeySet, SkippedKey, WhySkipped};
pub use jws::{Jws, MalformedJws};
pub use keys::{VerificationKey, VerificationKeys};
pub use path::{ClaimPath, PathFault};
pub use places::{
    ProtocolForm, cookie_token, protocol_token, query_token, without_cookie, without_parameter,
    without_protocol,
};
pub use principal::{KeptClaims, Principal};
pub use proofs::{ProofDesk, ProofSettings};
pub use reading::{GrantedBy, IssuerKind, Reading};
pub use revocation::{Revocation, RevocationFault, RevocationList, Target};
pub use scope::{ScopeSet, ScopeTable, TooManyScopes};
pub use verify::{TrustedIssuer, Verifier, VerifierSettings, VerifyToken};

/// Seconds since 1970-01-01T00:00:00Z, as in `exp` (RFC 7519 section 2, NumericDate).
pub type UnixSeconds = i64;

/// Why a token is not accepted. Closed; each variant is one reason of `policy::Reason`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than the limit; nothing of it was read.
    #[error("the token is longer than the limit")]
    TooLarge,
    /// Not a compact JWS, not base64url, not JSON, duplicate members, or `crit`.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// `alg` names nothing that is implemented; `none` is one of these.
    #[error("the token names an algorithm that is not supported")]
    UnsupportedAlg,
    /// `alg` is another one than the definition says.
    #[error("the token is signed with another algorithm than the API asks for")]
    AlgMismatch,
    /// `alg` or `enc` of an encrypted token names nothing that is implemented.
    #[error("the token is encrypted with an algorithm that is not supported")]
    UnsupportedEncryption,
    /// `alg` of an encrypted token is another one than the definition says.
    #[error("the token is encrypted with another algorithm than the definition says")]
    EncryptionMismatch,
    /// Only signed, where the API takes encrypted tokens.
    #[error("the token is not encrypted")]
    Unencrypted,
    /// Encrypted, and not opened yet: whoever is told so opens it and asks once more.
    #[error("the token is encrypted and could not be decrypted in time")]
    Sealed(std::sync::Arc<SealedToken>),
    /// Its issuer has to be asked about it: whoever is told so asks, and decides once more.
    #[error("the token is opaque and its issuer could not be asked in time")]
    Opaque(std::sync::Arc<OpaqueToken>),
    /// A key in place of a token: whoever is told so has it exchanged, and decides once more.
    #[error("the API key could not be exchanged in time")]
    Unexchanged(std::sync::Arc<ApiKey>),
    /// A key that is none: too long, not base64, without a colon.
    #[error("the API key cannot be read")]
    MalformedKey,
    /// The issuer does not know the credentials.
    #[error("the issuer does not accept the API key")]
    WrongKey,
    /// It knows them, and gives no token for this API.
    #[error("the issuer gives the holder of the API key no token for this API: see its grants")]
    KeyNotGranted,
    /// It gives one that only its holder can use, whose key the gateway does not have.
    #[error(
        "the issuer gives the holder of the API key a token that is not a bearer token: an application whose credentials \
         are API keys must not be made to prove possession"
    )]
    KeyNotBearer,
    /// Too many keys were wrong, or the issuer has said so.
    #[error("too many API keys were wrong")]
    KeyThrottled {
        /// Until when.
        until: UnixSeconds,
    },
    /// Its issuer says that it is not good, and nothing else (RFC 7662 section 2.2).
    #[error("the issuer says that the token is not active")]
    Inactive,
    /// Not encrypted for a key of the API, or not what was encrypted.
    #[error("the token cannot be decrypted")]
    DecryptionFailed,
    /// `typ` is not that of an access token of this profile, or the claims are those of an ID token.
    #[error("the token is not an access token of the profile that the API asks for")]
    WrongType,
    /// `iss` is none of the API's issuers.
    #[error("the issuer is not trusted by this API")]
    IssuerMismatch,
    /// The issuer's keys have not been fetched, or are too old.
    #[error("the keys of issuer {issuer} are not available")]
    KeysUnavailable {
        /// The issuer identifier.
        issuer: std::sync::Arc<str>,
    },
    /// The issuer has no such key; it may have one after a fetch.
    #[error("issuer {issuer} has no key of this id")]
    UnknownKid {
        /// The issuer identifier.
        issuer: std::sync::Arc<str>,
        /// `kid` of the token; empty where it has none.
        kid: Box<str>,
    },
    /// The signature does not fit.
    #[error("the signature is wrong")]
    BadSignature,
    /// The identifier is not in `aud`.
    #[error("the token is for another audience")]
    AudienceMismatch,
    /// At or past `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` lies in the future.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// Older than `max_age`.
    #[error("the token is too old")]
    TooOld,
    /// A claim that must be there is not.
    #[error("the claim `{0}` is missing")]
    MissingClaim(&'static str),
    /// A claim has a type or a value that it must not have.
    #[error("the claim `{0}` is malformed")]
    MalformedClaim(&'static str),
    /// The same, for a claim that the configuration names.
    #[error("the claim `{0}` is malformed")]
    MalformedAt(std::sync::Arc<str>),
    /// Good by itself, and on a list.
    #[error("the token was revoked")]
    Revoked,
    /// The token is bound to a DPoP key (RFC 9449), and the API takes no proofs.
    #[error("the token is bound to a key and came without a proof")]
    DpopMissing,
    /// The token is bound to a certificate (RFC 8705), and the API looks at none.
    #[error("the token is bound to a certificate and came without it")]
    CertificateMissing,
    /// The token is good, but whoever sent it has not proved that it is theirs.
    #[error(transparent)]
    Proof(#[from] ProofError),
}
