//! `forward`: a permit and a request in, the upstream's response or a reason out.
//!
//! It takes the permit by value: what was not authorised cannot be forwarded. A request is sent again only where hyper
//! gives it back unsent, on a connection that had been closed meanwhile; nothing is ever sent twice.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{RequestBody, RequestBodyEnd, RequestProgress};
use super::deadline::Deadlines;
use super::pool::{Lease, NoConnection, ServerPool};
use crate::policy::{Permit, Reason};

/// A response head, with what its body needs.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) request_progress: Option<Rc<RequestProgress>>,
}

/// How long the upstream may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) connect: Duration,
    /// From sending the request to the response head.
    pub(super) head: Duration,
}

/// Sends a request to a server and waits for the head of the response.
pub(super) async fn forward(
    _permit: Permit,
    request: Request<RequestBody>,
    request_progress: Option<Rc<RequestProgress>>,
    server: &Rc<ServerPool>,
    waits: Waits,
    deadlines: &Rc<Deadlines>,
) -> Result<Forwarded, Reason> {
    match send(request, server, waits, deadlines).await {
        // We never ask for another protocol, so nothing on this connection can be believed any more.
        Ok((response, _)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Reason::UpstreamProtocol)
        }
        Ok((response, lease)) => Ok(Forwarded {
            response,
            lease,
            request_progress,
        }),
        // A body that broke off explains the failure better than what the upstream made of it.
        Err(reason) => Err(match request_progress.map(|progress| progress.end.get()) {
            Some(RequestBodyEnd::TooLarge) => Reason::BodyTooLarge,
            Some(RequestBodyEnd::Stalled) => Reason::RequestTimeout,
            Some(RequestBodyEnd::Broken) => Reason::BadRequest,
            _ => reason,
        }),
    }
}

async fn send(
    mut request: Request<RequestBody>,
    server: &Rc<ServerPool>,
    waits: Waits,
    deadlines: &Rc<Deadlines>,
) -> Result<(Response<Incoming>, Lease), Reason> {
    let sending = async {
        // A used connection may turn out to be closed; then the next one is tried, and at last a new one.
        while let Some(mut lease) = server.idle() {
            if lease.sender.ready().await.is_err() {
                continue;
            }
            match lease.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(mut unsent) => {
                    request = unsent.take_message().ok_or(Reason::UpstreamProtocol)?;
                }
            }
        }
        let mut lease = server.connect(waits.connect).await.map_err(|none| match none {
            NoConnection::Failed => Reason::UpstreamConnect,
            NoConnection::Full => Reason::Overloaded,
        })?;
        match lease.sender.try_send_request(request).await {
            Ok(response) => Ok((response, lease)),
            Err(_broken) => Err(Reason::UpstreamProtocol),
        }
    };
    let deadline = deadlines.after(waits.head, Instant::now());
    deadline
        .limit(sending)
        .await
        .unwrap_or(Err(Reason::UpstreamTimeout))
}
