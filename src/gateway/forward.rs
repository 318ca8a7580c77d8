//! `forward`: a permit and a request in, the upstream's response or a reason out.
//!
//! It takes the permit by value: what was not authorised cannot be forwarded. A request goes to
//! another connection only where nothing of it was sent on the first, which had been closed meanwhile; nothing is ever
//! sent twice. What cannot go at
//! once is left to `upstream::send`.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Response;

use super::client;
use super::deadline::Deadline;
use super::outgoing::Outgoing;
use super::request_body::{RequestBodyEnd, RequestProgress};
use super::upstream::{Held, Sent, ServerId, Servers, send};
use crate::policy::{Permit, Reason, Route};
use crate::snapshot::Target;

/// A response head, with what its body needs.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) response: Response<()>,
    pub(super) held: Held,
    pub(super) request_progress: Option<Rc<RequestProgress>>,
    pub(super) server: ServerId,
}

/// There is no response head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) reason: Reason,
    /// The server that was asked last.
    pub(super) server: ServerId,
}

impl Failed {
    /// The time of the whole request was over.
    pub(super) fn too_late(server: ServerId) -> Self {
        Self {
            reason: Reason::UpstreamTimeout,
            server,
        }
    }
}

/// How long the upstream may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) connect: Duration,
    /// From sending the request, or the last part of its body, to the response head.
    pub(super) head: Duration,
}

impl Waits {
    /// Those of a route.
    pub(super) fn of(route: &Route, target: &Target) -> Self {
        Self {
            connect: target.connect_timeout,
            head: route.timeout.unwrap_or(target.timeout),
        }
    }
}

/// Sends a request to a server and waits for the head of the response.
///
/// Where a connection is idle the request is on its way when this returns; the future only waits. That keeps the request
/// out of the future, which is moved about.
pub(super) fn forward(
    _permit: Permit,
    request: Outgoing,
    request_progress: Option<Rc<RequestProgress>>,
    (servers, chosen): (Rc<Servers>, ServerId),
    client: Rc<client::Connection>,
    waits: Waits,
    deadline: Deadline,
) -> impl Future<Output = Result<Forwarded, Failed>> + use<> {
    let begun = match servers.get(chosen).and_then(|server| server.pool.ready()) {
        Some(lease) => lease.send(request, Rc::clone(&client)),
        None => Err(request),
    };
    async move {
        let sending = pin!(async {
            match begun {
                Ok(sent) => Sent {
                    server: chosen,
                    result: match sent.await {
                        Ok((response, lease)) => Ok((response, Held::Http1(lease))),
                        Err(_broken) => Err(Reason::UpstreamProtocol),
                    },
                },
                Err(unsent) => Box::pin(send(unsent, &servers, chosen, waits.connect, &client)).await,
            }
        });
        let progress = request_progress.as_deref();
        let (server, reason) = match in_time(sending, progress, waits.head, deadline).await {
            None => (chosen, Reason::UpstreamTimeout),
            Some(Sent { server, result }) => match result {
                Ok((response, mut held)) => {
                    held.go_on_by_itself();
                    servers.answered(server);
                    return Ok(Forwarded {
                        response,
                        held,
                        request_progress,
                        server,
                    });
                }
                Err(reason) => (server, reason),
            },
        };
        // A body that broke off explains the failure better than what the upstream made of it.
        let reason = match progress.map(|progress| progress.end.get()) {
            Some(RequestBodyEnd::TooLarge) => Reason::BodyTooLarge,
            Some(RequestBodyEnd::Stalled) => Reason::RequestTimeout,
            Some(RequestBodyEnd::Broken) => Reason::BadRequest,
            _ => reason,
        };
        if reason == Reason::UpstreamProtocol {
            servers.failed(server);
        }
        Err(Failed { reason, server })
    }
}

/// Waits for as long as the upstream may take; `None` where that is over. A slow upload is not the upstream's fault.
async fn in_time<T>(
    mut sending: Pin<&mut impl Future<Output = T>>,
    progress: Option<&RequestProgress>,
    patience: Duration,
    mut deadline: Deadline,
) -> Option<T> {
    loop {
        if let Some(result) = deadline.limit(sending.as_mut()).await {
            return Some(result);
        }
        let now = Instant::now();
        let later = progress.map(|progress| progress.upstream_deadline(patience));
        let later = later.filter(|later| *later > now)?;
        deadline.renew(later - now, now);
    }
}
