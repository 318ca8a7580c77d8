//! Asks the issuer about an opaque token, once, as a running gateway would.

use std::cell::Cell;
use std::sync::Arc;

use http::request::Parts;

use super::{Direct, ExplainError, decision as decide};
use crate::cli::say;
use crate::config::Settings;
use crate::gateway::introspect_once;
use crate::policy::{Api, Decision, Denial};
use crate::snapshot::Snapshot;
use crate::token::{
    Exchange, IntrospectionAnswer, PresentedKey, Principal, ProofDesk, Thumbprint, TokenError, UnixSeconds,
    VerifyToken,
};

/// Whether an issuer had to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Introspected {
    Yes,
    No,
}

/// The decision in the end: what it was, or what it is once the issuer was asked. An endpoint that does not answer is
/// told of, and the decision stands.
pub(super) fn decision(
    first: Decision,
    snapshot: &Snapshot,
    parts: &Parts,
    settings: &Settings,
    direct: &Direct,
) -> Result<(Decision, Introspected), ExplainError> {
    let denial = match &first {
        Decision::Refuse(denial) => Some(denial),
        Decision::Forward(permit) => permit.shadow(),
    };
    let asked = denial.and_then(|denial| Some((denial.opaque()?, api_of(snapshot, denial)?)));
    let Some((token, api)) = asked else {
        return Ok((first, Introspected::No));
    };
    let Some(endpoint) = snapshot.introspection(api.id) else {
        return Ok((first, Introspected::No));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(introspect_once(endpoint, token.expose()));
    runtime.shutdown_background();
    match answer {
        Ok(answer) => {
            let told = Told {
                answer: Cell::new(Some(answer)),
                direct,
            };
            let decision = decide(&snapshot.table, parts, settings, &told);
            Ok((decision, Introspected::Yes))
        }
        Err(error) => {
            say(&format!(
                "scopegate: {} cannot be asked about the token: {error}",
                endpoint.asked.issuer
            ));
            Ok((first, Introspected::Yes))
        }
    }
}

fn api_of<'a>(snapshot: &'a Snapshot, denial: &Denial) -> Option<&'a Api> {
    let route = snapshot.table.route(denial.route?)?;
    snapshot.table.api(route.api)
}

/// Verifies by what the issuer has said. One request is decided, so it is asked once.
struct Told<'a> {
    answer: Cell<Option<IntrospectionAnswer>>,
    direct: &'a Direct,
}

impl VerifyToken<Api> for Told<'_> {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        let answer = self.answer.take();
        match answer {
            Some(answer) => api.verifier.verify_introspected(answer, now).map(Arc::new),
            None => self.direct.verify(api, token, now),
        }
    }

    fn exchange(&self, api: &Api, key: PresentedKey<'_>) -> Exchange {
        self.direct.exchange(api, key)
    }

    fn proofs(&self) -> Option<&ProofDesk> {
        self.direct.proofs()
    }

    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> bool {
        self.direct.is_revoked(principal, now)
    }

    fn certificate(&self) -> Option<Thumbprint> {
        self.direct.certificate()
    }
}
