//! Which reason each error of `token` stands for: every variant has one, and a new variant does not compile without.
//!
//! The reasons themselves are in `reason.rs`, which is the only place that this belongs to.

use super::Reason;
use crate::token::{BearerError, ProofError, TokenError};

impl From<BearerError> for Reason {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::Missing => Self::MissingToken,
            BearerError::Multiple => Self::MultipleTokens,
            BearerError::Malformed => Self::MalformedAuthorization,
        }
    }
}

impl From<&TokenError> for Reason {
    fn from(error: &TokenError) -> Self {
        match error {
            TokenError::TooLarge => Self::TokenTooLarge,
            TokenError::Malformed(_) => Self::MalformedToken,
            TokenError::UnsupportedAlg | TokenError::UnsupportedEncryption => Self::UnsupportedAlg,
            TokenError::AlgMismatch | TokenError::EncryptionMismatch => Self::AlgMismatch,
            TokenError::Unencrypted => Self::Unencrypted,
            TokenError::DecryptionFailed => Self::DecryptionFailed,
            // Nobody could be found to open it: it says nothing about the token.
            TokenError::Sealed(_) => Self::Overloaded,
            // Nobody could be asked about it.
            TokenError::Opaque(_) => Self::IntrospectionUnavailable,
            // Nobody could be asked for a token.
            TokenError::Unexchanged(_) => Self::ExchangeUnavailable,
            TokenError::MalformedKey => Self::MalformedAuthorization,
            TokenError::WrongKey => Self::BadApiKey,
            TokenError::KeyNotGranted | TokenError::KeyNotBearer => Self::ApiKeyNotGranted,
            TokenError::KeyThrottled { .. } => Self::ApiKeyThrottled,
            TokenError::Inactive => Self::Inactive,
            TokenError::WrongType => Self::WrongType,
            TokenError::IssuerMismatch => Self::IssuerMismatch,
            TokenError::KeysUnavailable { .. } => Self::KeysUnavailable,
            TokenError::UnknownKid { .. } => Self::UnknownKid,
            TokenError::BadSignature => Self::BadSignature,
            TokenError::AudienceMismatch => Self::AudienceMismatch,
            TokenError::Expired => Self::Expired,
            TokenError::NotYetValid => Self::NotYetValid,
            TokenError::IssuedInFuture => Self::IssuedInFuture,
            TokenError::TooOld => Self::TooOld,
            TokenError::Revoked => Self::Revoked,
            TokenError::MissingClaim(_) => Self::MissingClaim,
            TokenError::MalformedClaim(_) | TokenError::MalformedAt(_) => Self::MalformedClaim,
            TokenError::DpopMissing => Self::DpopMissing,
            TokenError::CertificateMissing => Self::CertificateMissing,
            TokenError::Proof(error) => Self::from(error),
        }
    }
}

impl From<&ProofError> for Reason {
    fn from(error: &ProofError) -> Self {
        match error {
            ProofError::Missing => Self::DpopMissing,
            ProofError::Downgrade => Self::DpopDowngrade,
            ProofError::Unbound => Self::TokenUnbound,
            ProofError::Invalid(_) => Self::DpopInvalid,
            ProofError::WrongKey => Self::DpopWrongKey,
            ProofError::WrongMethod => Self::DpopWrongMethod,
            ProofError::WrongAddress { .. } => Self::DpopWrongAddress,
            ProofError::Stale => Self::DpopStale,
            ProofError::Future => Self::DpopFuture,
            ProofError::WrongToken => Self::DpopWrongToken,
            ProofError::Replay => Self::DpopReplay,
            ProofError::NonceWanted { .. } => Self::DpopNonce,
            ProofError::StoreFull => Self::DpopStoreFull,
            ProofError::NoCertificate => Self::CertificateMissing,
            ProofError::WrongCertificate => Self::CertificateMismatch,
        }
    }
}
