//! `POST /oauth/token`: who asks, how, and the answer; counted, and logged without a secret.

use super::authenticate::authenticate;
use super::exchange::{Exchange, Granted};
use super::fault::Fault;
use super::grant_type::GrantType;
use super::parameters::Parameters;
use crate::authority::{Answer, Authority, Request};

/// Answers.
pub(super) async fn answer(authority: &Authority, request: &Request) -> Answer {
    let parameters = match Parameters::read(request) {
        Ok(parameters) => parameters,
        Err(fault) => return refused(authority, request, None, None, &fault),
    };
    let grant_type = parameters.get("grant_type").and_then(GrantType::of_name);
    let (client_id, outcome) = match begin(authority, request, &parameters, grant_type) {
        Ok(exchange) => {
            let outcome = grant(&exchange).await;
            (Some(exchange.caller.client.client_id.clone()), outcome)
        }
        Err(fault) => (None, Err(fault)),
    };
    match outcome {
        Ok(granted) => {
            authority.oauth.count(grant_type, "ok");
            tracing::debug!(
                peer = %request.peer,
                client_id = client_id.as_deref(),
                grant_type = grant_type.map(GrantType::label),
                "issued a token"
            );
            granted.answer()
        }
        Err(fault) => refused(authority, request, grant_type, client_id.as_deref(), &fault),
    }
}

/// `client_id` only once the client was believed: what a stranger sends in its place may be anything.
fn refused(
    authority: &Authority,
    request: &Request,
    grant_type: Option<GrantType>,
    client_id: Option<&str>,
    fault: &Fault,
) -> Answer {
    authority.oauth.count(grant_type, fault.label());
    tracing::info!(
        peer = %request.peer,
        client_id,
        grant_type = grant_type.map(GrantType::label),
        result = fault.label(),
        "refused a token"
    );
    fault.answer()
}

/// The client, and whether it may ask in this way at all.
fn begin<'a>(
    authority: &'a Authority,
    request: &'a Request,
    parameters: &'a Parameters,
    grant_type: Option<GrantType>,
) -> Result<Exchange<'a>, Fault> {
    parameters.require("grant_type")?;
    let grant_type = grant_type.ok_or(Fault::UnsupportedGrantType)?;
    let tenant = authority.state().tenant();
    let caller = authenticate(authority, &tenant, request, parameters)?;
    // RFC 6749 section 4.4: only clients that can prove who they are.
    if grant_type == GrantType::ClientCredentials && caller.is_public {
        return Err(Fault::Unauthorized { in_header: false });
    }
    if !caller.client.may_use_grant_type(grant_type.name()) {
        return Err(Fault::GrantTypeOff(grant_type));
    }
    Ok(Exchange {
        authority,
        tenant,
        request,
        parameters,
        grant_type,
        caller,
    })
}

async fn grant(exchange: &Exchange<'_>) -> Result<Granted, Fault> {
    match exchange.grant_type {
        GrantType::ClientCredentials => exchange.for_client(),
        GrantType::Password | GrantType::PasswordRealm => exchange.with_password().await,
        GrantType::RefreshToken => exchange.with_refresh_token().await,
    }
}
