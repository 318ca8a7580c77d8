//! Which key or certificate a token is bound to: by what the API has, what the client demands, and what was shown.

use http::HeaderMap;

use super::authenticate::Caller;
use super::fault::Fault;
use crate::authority::{Authority, Request, unix_now};
use crate::definition::{ApiDefinition, PopMechanism, PopRequiredFor};
use crate::token::{Binding, ProofDesk, ProofError, Thumbprint, check_first_proof};

/// The binding of a token for this API.
///
/// # Errors
/// [`Fault::NoProof`] where there must be one; [`Fault::Proof`] for a DPoP proof that is wrong.
pub(super) fn binding(
    authority: &Authority,
    request: &Request,
    caller: &Caller,
    api: &ApiDefinition,
) -> Result<Option<Binding>, Fault> {
    let is_demanded = caller.client.requires_proof_of_possession();
    let Some(wanted) = api.proof_of_possession else {
        return if is_demanded {
            Err(Fault::NoProof(
                "The client requires proof of possession, which the API does not support",
            ))
        } else {
            Ok(None)
        };
    };
    let concerns_caller = wanted.required_for != Some(PopRequiredFor::PublicClients) || caller.is_public;
    let shown = match wanted.mechanism {
        PopMechanism::Dpop => proven_key(authority, request, caller)?.map(Binding::Key),
        PopMechanism::Mtls => certificate(request).map(Binding::Certificate),
    };
    match (shown, wanted.mechanism) {
        (None, PopMechanism::Dpop) if is_demanded || (wanted.required && concerns_caller) => {
            Err(Fault::NoProof("A DPoP proof is required"))
        }
        (None, PopMechanism::Mtls) if is_demanded || (wanted.required && concerns_caller) => {
            Err(Fault::NoProof("A client certificate is required"))
        }
        (shown, _) => Ok(shown),
    }
}

/// The key of the DPoP proof of a request; `None` where there is no proof.
fn proven_key(
    authority: &Authority,
    request: &Request,
    caller: &Caller,
) -> Result<Option<Thumbprint>, Fault> {
    let Some(proof) = header(&request.headers)? else {
        return Ok(None);
    };
    let desk: &ProofDesk = if caller.is_public {
        &authority.oauth.proofs_with_nonce
    } else {
        &authority.oauth.proofs
    };
    let base = authority.settings().issuer.trim_end_matches('/');
    let now = unix_now();
    let place = (request.method.as_str(), base, request.path.as_str());
    let (proof, key) = check_first_proof(proof, place, desk.times(), now).map_err(Fault::Proof)?;
    match desk.take(&proof, &key, now) {
        Ok(()) => Ok(Some(key)),
        Err(ProofError::StoreFull) => Err(Fault::Busy),
        Err(error) => Err(Fault::Proof(error)),
    }
}

fn header(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let invalid = |why| Fault::Proof(ProofError::Invalid(why));
    let mut fields = headers.get_all("dpop").iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    if fields.next().is_some() {
        return Err(invalid("there is more than one DPoP header"));
    }
    field
        .to_str()
        .map(Some)
        .map_err(|_error| invalid("it is not text"))
}

/// The certificate whose key the client has, as the handshake has shown.
fn certificate(request: &Request) -> Option<Thumbprint> {
    let peer = request.tls.as_ref()?;
    peer.client_certificate.as_deref().map(Thumbprint::of)
}
