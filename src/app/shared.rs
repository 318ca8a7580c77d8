//! What all workers share, made of the settings: caches, proofs, and what is revoked.
//!
//! `start` calls it once, before any thread is there.

use std::sync::Arc;

use super::StartError;
use crate::config::Settings;
use crate::control::RevocationDesk;
use crate::definition::Secret;
use crate::gateway::{GatewaySettings, Shared, VerifiedTokens};
use crate::net::MemoryPressure;
use crate::snapshot::Revocations;
use crate::telemetry::{AccessLog, Metrics};
use crate::token::ProofDesk;

pub(super) fn shared(
    settings: &Settings,
    metrics: &Metrics,
    access_log: AccessLog,
    memory: Arc<MemoryPressure>,
    revocations: Arc<Revocations>,
) -> Result<Arc<Shared>, StartError> {
    let tokens = VerifiedTokens::new(settings.token_cache_entries, metrics)
        .ok_or_else(|| StartError::System("the system has no randomness".into()))?;
    let proofs =
        proof_desk(settings).ok_or_else(|| StartError::System("the system has no randomness".into()))?;
    let gateway = GatewaySettings {
        limits: settings.limits.clone(),
        timeouts: settings.timeouts.clone(),
    };
    Ok(Shared::new(
        gateway,
        tokens,
        proofs,
        revocations,
        Arc::new(metrics.clone()),
        access_log,
        memory,
    ))
}

/// Nonces are under a key of this process, where none is shared with others.
fn proof_desk(settings: &Settings) -> Option<ProofDesk> {
    let (mut memory_key, mut nonce_key) = ([0; 32], [0; 32]);
    getrandom::fill(&mut memory_key).ok()?;
    getrandom::fill(&mut nonce_key).ok()?;
    let shared = settings.dpop.nonce_secret.as_ref().map(Secret::expose);
    Some(ProofDesk::new(
        &settings.dpop.proofs,
        &memory_key,
        shared.unwrap_or(&nonce_key),
    ))
}

/// The lists that workers ask, and whoever keeps them current, where lists are configured.
pub(super) fn revocations(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<(Arc<Revocations>, Option<Arc<RevocationDesk>>), StartError> {
    let Some(settings) = settings.revocations.clone() else {
        return Ok((Arc::default(), None));
    };
    let in_force = Arc::new(Revocations::configured());
    let desk = RevocationDesk::open(settings, Arc::clone(&in_force), metrics.clone())?;
    Ok((in_force, Some(Arc::new(desk))))
}
