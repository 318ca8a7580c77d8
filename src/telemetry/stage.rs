//! The parts of a decision that are timed apart: the label `stage` of `scopegate_auth_duration_seconds`.
//!
//! `gateway` times them, `metrics.rs` has the family.

/// A part of the decision that is timed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The whole decision, without waiting for keys.
    Decide,
    /// Signature and claims of a token that was not in the cache.
    Verify,
    /// Waiting for a key fetch.
    KeyWait,
    /// Decrypting a token that was not in the cache, and waiting for one's turn.
    Decrypt,
    /// Waiting for what an issuer says of a token that is not in the cache.
    Introspect,
    /// Waiting for the token that a key is exchanged for.
    Exchange,
}

impl Stage {
    pub(super) const ALL: [Self; 6] = [
        Self::Decide,
        Self::Verify,
        Self::KeyWait,
        Self::Decrypt,
        Self::Introspect,
        Self::Exchange,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Verify => "verify",
            Self::KeyWait => "key_wait",
            Self::Decrypt => "decrypt",
            Self::Introspect => "introspect",
            Self::Exchange => "exchange",
        }
    }
}
