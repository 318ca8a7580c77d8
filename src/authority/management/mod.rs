//! The Management API, `/api/v2`: APIs, applications, grants, roles, users and signing keys.
//!
//! A request is decided by the same core as any request to a gateway (`gate`, with the table of `routes`), held against
//! the OpenAPI document (`contract`), and then served by the file of its kind of object. What rules hold among objects is
//! the business of `model`. Whatever is refused is refused by a [`refusal::Refusal`], and a secret leaves this module only
//! for whoever may read it.

mod call;
mod client_grants;
mod clients;
mod contract;
mod credentials;
mod gate;
mod list;
mod meter;
mod news;
mod refusal;
mod resource_servers;
mod roles;
mod routes;
mod shape;
mod signing_keys;
mod time;
mod users;
#[cfg(test)]
mod tests;

use std::time::Instant;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{Answer, Authority, Request, unix_now};
use call::Call;
use gate::Admitted;
use meter::Reading;
use refusal::Refusal;

pub(super) use routes::SCOPES;

/// What the Management API remembers between requests.
#[derive(Debug)]
pub(super) struct Management {
    gate: gate::Gate,
    meters: meter::Meters,
}

impl Management {
    pub(super) fn new() -> Self {
        Self {
            gate: gate::Gate::new(),
            meters: meter::Meters::default(),
        }
    }
}

/// Answers a request to the Management API.
pub(super) async fn answer(authority: &Authority, request: &Request) -> Answer {
    with_correlation(news::answer(authority, request, once).await, request)
}

async fn once(authority: &Authority, request: &Request) -> Answer {
    match authority.management.gate.decide(authority, request) {
        Ok(admitted) => metered(authority, request, admitted).await,
        Err(refusal) => refusal.answer(),
    }
}

async fn metered(authority: &Authority, request: &Request, admitted: Admitted) -> Answer {
    let Some(client) = admitted
        .principal
        .as_ref()
        .and_then(|principal| principal.client_id())
    else {
        return served(authority, request, admitted).await;
    };
    let reading = authority.management.meters.take(client, Instant::now());
    let answer = if reading.is_over {
        Refusal::TooManyRequests.answer()
    } else {
        served(authority, request, admitted).await
    };
    with_reading(answer, reading)
}

async fn served(authority: &Authority, request: &Request, admitted: Admitted) -> Answer {
    let operation = admitted.operation;
    let outcome = match Call::read(authority, request, admitted) {
        Ok(call) => operation.serve(&call).await,
        Err(refusal) => Err(refusal),
    };
    outcome.unwrap_or_else(Refusal::into_answer)
}

/// A client that is told to wait does so: after a conflict there is nothing to wait for.
fn with_reading(answer: Answer, reading: Reading) -> Answer {
    if answer.status == StatusCode::CONFLICT {
        return answer;
    }
    // Within a second there is room again, whatever was taken.
    let reset = HeaderValue::from(unix_now().saturating_add(1));
    answer
        .with(LIMIT, HeaderValue::from(reading.limit))
        .with(REMAINING, HeaderValue::from(reading.remaining))
        .with(RESET, reset)
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");

/// Characters of an `X-Correlation-ID`; a longer one is not given back.
const LONGEST_CORRELATION: usize = 64;

fn with_correlation(answer: Answer, request: &Request) -> Answer {
    match request.headers.get(CORRELATION) {
        Some(id) if id.len() <= LONGEST_CORRELATION && id.to_str().is_ok() => {
            answer.with(CORRELATION, id.clone())
        }
        _ => answer,
    }
}
