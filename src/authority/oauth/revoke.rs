//! `POST /oauth/revoke` (RFC 7009): a client gives a refresh token up, and with it all tokens of that login.

use http::StatusCode;

use super::authenticate::authenticate;
use super::fault::Fault;
use super::parameters::Parameters;
use super::refresh::{self, RefreshToken};
use crate::authority::{Answer, Authority, Request};

/// Answers. Whether there was such a token is not told.
pub(super) async fn answer(authority: &Authority, request: &Request) -> Answer {
    match revoke(authority, request).await {
        Ok(()) => super::uncached(Answer::empty(StatusCode::OK)),
        Err(fault) => fault.answer(),
    }
}

async fn revoke(authority: &Authority, request: &Request) -> Result<(), Fault> {
    let parameters = Parameters::read(request)?;
    let state = authority.state();
    let caller = authenticate(authority, &state.tenant(), request, &parameters)?;
    // An access token cannot be revoked: whoever accepts it asks nobody.
    let Some(token) = RefreshToken::read(parameters.require("token")?) else {
        return Ok(());
    };
    match refresh::find(state, token.family()).await? {
        Some(family) if family.client_id == caller.client.client_id => {
            refresh::end(state, token.family()).await
        }
        _ => Ok(()),
    }
}
