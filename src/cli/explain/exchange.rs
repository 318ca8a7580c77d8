//! Exchanges the API key of a request at its issuer, once, as a running gateway would.

use http::request::Parts;

use super::{Direct, ExplainError, decision as decide};
use crate::cli::say;
use crate::config::Settings;
use crate::gateway::exchange_once;
use crate::policy::Decision;
use crate::snapshot::Snapshot;

/// Whether there was a key in place of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchanged {
    Yes,
    No,
}

/// The decision in the end: what it was, or what it is once the key was exchanged. `direct` knows from then on what came
/// of it. An issuer that does not answer is told of, and the decision stands.
pub(super) fn decision(
    first: Decision,
    snapshot: &Snapshot,
    parts: &Parts,
    settings: &Settings,
    direct: &mut Direct,
) -> Result<(Decision, Exchanged), ExplainError> {
    let denial = match &first {
        Decision::Refuse(denial) => Some(denial),
        Decision::Forward(permit) => permit.shadow(),
    };
    let asked = denial.and_then(|denial| {
        let route = snapshot.table.route(denial.route?)?;
        Some((denial.unexchanged()?, snapshot.table.api(route.api)?))
    });
    let Some((key, api)) = asked else {
        return Ok((first, Exchanged::No));
    };
    let Some(endpoint) = snapshot.exchange_endpoint(api.id) else {
        return Ok((first, Exchanged::Yes));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exchange = runtime.block_on(exchange_once(endpoint, &api.identifier, key));
    runtime.shutdown_background();
    match exchange {
        Ok(exchange) => {
            direct.exchange = Some(exchange);
            let decision = decide(&snapshot.table, parts, settings, direct);
            Ok((decision, Exchanged::Yes))
        }
        Err(error) => {
            let issuer = &endpoint.asked.issuer;
            say(&format!(
                "scopegate: {issuer} cannot be asked for a token: {error}"
            ));
            Ok((first, Exchanged::Yes))
        }
    }
}
