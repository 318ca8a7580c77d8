//! One question to an introspection endpoint (RFC 7662 section 2), with everything that the gateway authenticates by.
//!
//! The token goes into the body and nowhere else.

use crate::gateway::desk::{Asker, Form, QuestionFault, basic, signed};
use crate::net::{FetchError, Fetched};
use crate::snapshot::{ClientAuthentication, IntrospectionEndpoint};
use crate::token::IntrospectionAnswer;

/// Asks about a token.
pub(super) async fn ask(
    asker: &Asker<'_>,
    endpoint: &IntrospectionEndpoint,
    address: &str,
    token: &str,
) -> Result<IntrospectionAnswer, QuestionFault> {
    let mut form = Form::default();
    form.push("token", token.as_bytes());
    form.push("token_type_hint", b"access_token");
    let mut authorization = None;
    let client_id = &endpoint.client_id;
    match &endpoint.authentication {
        ClientAuthentication::Basic(secret) => authorization = Some(basic(client_id, secret.expose())?),
        ClientAuthentication::Post(secret) => {
            form.push("client_id", client_id.as_bytes());
            form.push("client_secret", secret.expose());
        }
        ClientAuthentication::PrivateKey { key, audience } => {
            let assertion = signed(key.clone(), client_id.clone(), audience.clone()).await?;
            form.push("client_id", client_id.as_bytes());
            form.push("client_assertion_type", ASSERTION_TYPE.as_bytes());
            form.push("client_assertion", assertion.as_bytes());
        }
    }
    let posted = asker.fetcher.post_form(address, form.into_bytes(), authorization);
    let Fetched { body, media_type, .. } = posted.await.map_err(|error| match error {
        FetchError::Status(status) if matches!(status.as_u16(), 401 | 403) => {
            QuestionFault::Credentials(status.as_u16())
        }
        error => QuestionFault::Fetch(error),
    })?;
    match &*media_type {
        "application/json" => IntrospectionAnswer::read(&body).map_err(QuestionFault::Answer),
        "application/token-introspection+jwt" | "application/jwt" => Err(QuestionFault::Signed),
        _ => Err(QuestionFault::NotJson),
    }
}

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
