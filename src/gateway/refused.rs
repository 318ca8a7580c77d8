//! The memory of tokens that were refused although their signature, or what was encrypted, had to be looked at.
//!
//! The same bad token again costs no second verification. It stands beside the cache of verified tokens and shares its
//! keys, so whatever changes the verdict, a key above all, is of another generation and asked anew; it holds a few
//! thousand tokens for a few seconds, and nothing in it can push out a good one. A flood of tokens that are all different
//! costs one verification each, with it or without.

use std::hash::BuildHasherDefault;
use std::time::Duration;

use moka::sync::Cache;

use super::verified::{Digest, FirstBytes};
use crate::telemetry::{CacheMetrics, Metrics};
use crate::token::TokenError;

const ENTRIES: u64 = 4_096;
/// So short that a clock which was wrong and is set back costs nobody more than this.
const LONGEST: Duration = Duration::from_secs(10);

/// Refused tokens of all workers.
#[derive(Debug)]
pub(super) struct RefusedTokens {
    cache: Cache<Digest, TokenError, BuildHasherDefault<FirstBytes>>,
    metrics: CacheMetrics,
}

impl RefusedTokens {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            cache: Cache::builder()
                .max_capacity(ENTRIES)
                .time_to_live(LONGEST)
                .build_with_hasher(BuildHasherDefault::default()),
            metrics: metrics.cache("refused_token"),
        }
    }

    /// Why a token was refused a moment ago.
    pub(super) fn get(&self, digest: &Digest) -> Option<TokenError> {
        let known = self.cache.get(digest);
        let counter = match &known {
            Some(_) => &self.metrics.hits,
            None => &self.metrics.misses,
        };
        counter.inc();
        known
    }

    /// Remembers a refusal where it is worth it.
    pub(super) fn put(&self, digest: Digest, error: &TokenError) {
        if is_final(error) {
            self.cache.insert(digest, error.clone());
        }
    }

    /// Sets the gauge of entries, about.
    pub(super) fn count_entries(&self) {
        let entries = i64::try_from(self.cache.entry_count()).unwrap_or(i64::MAX);
        self.metrics.entries.set(entries);
    }
}

/// Whether a verdict came after the work that is to be saved, and stays the same for as long as keys and settings do. Time
/// only moves on: what has expired has expired. What is not valid yet may be valid the next second, and an unknown key may
/// be there with the next fetch; what is refused at the first look costs less than to look it up.
fn is_final(error: &TokenError) -> bool {
    match error {
        TokenError::BadSignature
        | TokenError::DecryptionFailed
        | TokenError::WrongType
        | TokenError::AudienceMismatch
        | TokenError::MissingClaim(_)
        | TokenError::MalformedClaim(_)
        | TokenError::MalformedAt(_)
        | TokenError::DpopMissing
        | TokenError::CertificateMissing
        | TokenError::Expired
        | TokenError::TooOld => true,
        TokenError::TooLarge
        | TokenError::Malformed(_)
        | TokenError::UnsupportedAlg
        | TokenError::AlgMismatch
        | TokenError::UnsupportedEncryption
        | TokenError::EncryptionMismatch
        | TokenError::Unencrypted
        | TokenError::Sealed(_)
        | TokenError::Opaque(_)
        | TokenError::Inactive
        // These are no tokens.
        | TokenError::Unexchanged(_)
        | TokenError::MalformedKey
        | TokenError::WrongKey
        | TokenError::KeyNotGranted
        | TokenError::KeyNotBearer
        | TokenError::KeyThrottled { .. }
        | TokenError::IssuerMismatch
        | TokenError::KeysUnavailable { .. }
        | TokenError::UnknownKid { .. }
        | TokenError::NotYetValid
        | TokenError::IssuedInFuture
        // An entry may be taken back.
        | TokenError::Revoked
        | TokenError::Proof(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_or_keys_may_change_is_not_remembered() {
        let metrics = Metrics::new(&prometheus::Registry::new(), &["ok"]).unwrap();
        let tokens = RefusedTokens::new(&metrics);
        let unknown = TokenError::UnknownKid {
            issuer: "https://issuer/".into(),
            kid: "k".into(),
        };
        for error in [unknown, TokenError::NotYetValid, TokenError::IssuedInFuture] {
            tokens.put([1; 16], &error);
            assert_eq!(tokens.get(&[1; 16]), None, "{error}");
        }
        tokens.put([1; 16], &TokenError::BadSignature);
        assert_eq!(tokens.get(&[1; 16]), Some(TokenError::BadSignature));
        assert_eq!(tokens.get(&[2; 16]), None);
    }

    #[test]
    fn a_flood_of_different_ones_stays_small() {
        let metrics = Metrics::new(&prometheus::Registry::new(), &["ok"]).unwrap();
        let tokens = RefusedTokens::new(&metrics);
        for number in 0..200_000_u128 {
            let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            tokens.put(mixed.to_le_bytes(), &TokenError::BadSignature);
        }
        tokens.cache.run_pending_tasks();
        assert!(tokens.cache.entry_count() <= ENTRIES);
        tokens.count_entries();
        assert!(tokens.metrics.entries.get() > 0);
    }
}
