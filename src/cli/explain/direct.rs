//! The verifier of one described request: nothing is cached, and no proof is remembered.

use std::sync::Arc;

use super::Described;
use crate::config::Settings;
use crate::definition::Secret;
use crate::policy::Api;
use crate::snapshot::{Lists, Revocations};
use crate::token::{
    Exchange, PresentedKey, Principal, ProofDesk, Thumbprint, TokenError, UnixSeconds, VerifyToken,
};

/// Verifies without a cache, and remembers no proof: one request is decided.
pub(super) struct Direct {
    proofs: ProofDesk,
    revocations: Revocations,
    certificate: Option<Thumbprint>,
    /// What came of the API key of the request, once that is known.
    pub(super) exchange: Option<Exchange>,
}

impl VerifyToken<Api> for Direct {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        let verified = match api.verifier.verify(token, now) {
            Err(TokenError::Sealed(sealed)) => api.verifier.verify_opened(token, &sealed.open(), now),
            verified => verified,
        };
        verified.map(Arc::new)
    }

    fn exchange(&self, _api: &Api, key: PresentedKey<'_>) -> Exchange {
        self.exchange.clone().unwrap_or_else(|| Err(key.unexchanged()))
    }

    fn proofs(&self) -> Option<&ProofDesk> {
        Some(&self.proofs)
    }

    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> bool {
        self.revocations.is_revoked(principal, now)
    }

    fn certificate(&self) -> Option<Thumbprint> {
        self.certificate
    }
}

impl Direct {
    /// The process that made a nonce is another one, unless they share a secret: without it none can be checked, and
    /// what is asked for is shown.
    pub(super) fn new(settings: &Settings, described: &Described, revocations: Lists) -> Self {
        let in_force = Revocations::default();
        in_force.replace(revocations);
        let nonce_key = settings
            .dpop
            .nonce_secret
            .as_ref()
            .map_or(&[][..], Secret::expose);
        Self {
            proofs: ProofDesk::new(&settings.dpop.proofs, &[], nonce_key),
            revocations: in_force,
            certificate: described.certificate.as_deref().map(Thumbprint::of),
            exchange: None,
        }
    }
}
