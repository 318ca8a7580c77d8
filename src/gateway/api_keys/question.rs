//! One question to a token endpoint: for a token of an API, with the credentials of a client (RFC 6749 section 4.4.2).

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::gateway::desk::{Asker, Form, QuestionFault, basic};
use crate::net::{FetchError, Fetched};
use crate::snapshot::{ExchangeEndpoint, KeyAuthentication};
use crate::token::{ApiKey, Exchange, TokenAnswer, TokenError};

/// Asks for a token of the API of this identifier.
pub(super) async fn ask(
    asker: &Asker<'_>,
    endpoint: &ExchangeEndpoint,
    address: &str,
    audience: &str,
    key: &ApiKey,
) -> Result<TokenAnswer, QuestionFault> {
    let mut form = Form::default();
    form.push("grant_type", b"client_credentials");
    form.push("audience", audience.as_bytes());
    if let Some(scope) = &endpoint.scope {
        form.push("scope", scope.as_bytes());
    }
    let mut authorization = None;
    match endpoint.authentication {
        KeyAuthentication::Post => {
            form.push("client_id", key.client_id().as_bytes());
            form.push("client_secret", key.expose_secret().as_bytes());
        }
        KeyAuthentication::Basic => {
            authorization = Some(basic(key.client_id(), key.expose_secret().as_bytes())?);
        }
    }
    let posted = asker
        .fetcher
        .post_form_for_any(address, form.into_bytes(), authorization);
    let answer = posted.await.map_err(QuestionFault::Fetch)?;
    let status = answer.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(QuestionFault::Throttled(retry_after(answer.headers())));
    }
    if status != StatusCode::OK {
        let told = TokenAnswer::read_error(status.as_u16(), answer.body());
        return told.ok_or(QuestionFault::Fetch(FetchError::Status(status)));
    }
    let Fetched { body, media_type, .. } = Fetched::of(answer).map_err(QuestionFault::Fetch)?;
    match &*media_type {
        "application/json" => TokenAnswer::read(&body).ok_or(QuestionFault::NoToken),
        _ => Err(QuestionFault::NotJson),
    }
}

/// RFC 9110 section 10.2.3; a date is as good as nothing.
fn retry_after(fields: &HeaderMap) -> Duration {
    let value = fields.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = value.and_then(|value| value.trim().parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).clamp(Duration::from_secs(1), LONGEST_WAIT)
}

/// Exchanges a key once. For `explain`.
///
/// # Errors
/// What is wrong, in words.
pub async fn exchange_once(
    endpoint: &ExchangeEndpoint,
    audience: &str,
    key: &ApiKey,
) -> Result<Exchange, String> {
    let asker = Asker::new(&endpoint.asked, endpoint.asked.timeout);
    let asked = async {
        let address = match &endpoint.asked.address {
            Some(address) => address.clone(),
            None => asker.discover().await?,
        };
        ask(&asker, endpoint, &address, audience, key).await
    };
    let answer = asked.await.map_err(|fault: QuestionFault| fault.to_string())?;
    Ok(match answer {
        TokenAnswer::Granted(token, _) => Ok(token),
        TokenAnswer::WrongKey => Err(TokenError::WrongKey),
        TokenAnswer::NotGranted => Err(TokenError::KeyNotGranted),
        TokenAnswer::NotBearer => Err(TokenError::KeyNotBearer),
    })
}

/// Nobody is obeyed for longer, whatever they say.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
