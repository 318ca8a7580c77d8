//! `forward`: a permit and a request in, the upstream's response or a reason out.
//!
//! It takes the permit by value: what was not authorised cannot be forwarded. A request is sent again only where hyper
//! gives it back unsent, on a connection that had been closed meanwhile; nothing is ever sent twice.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

use super::body::{RequestBody, RequestBodyEnd, RequestProgress};
use super::deadline::Deadline;
use super::pool::{NoConnection, ServerPool};
use super::upstream::{Held, http2};
use crate::policy::{Permit, Reason};

/// A response head, with what its body needs.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) response: Response<Incoming>,
    pub(super) held: Held,
    pub(super) request_progress: Option<Rc<RequestProgress>>,
}

/// How long the upstream may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) connect: Duration,
    /// From sending the request, or the last part of its body, to the response head.
    pub(super) head: Duration,
}

/// Sends a request to a server and waits for the head of the response.
///
/// Where a connection is idle the request is on its way when this returns; the future only waits. That keeps the request
/// out of the future, which hyper moves about.
pub(super) fn forward(
    _permit: Permit,
    request: Request<RequestBody>,
    request_progress: Option<Rc<RequestProgress>>,
    server: Rc<ServerPool>,
    waits: Waits,
    deadline: Deadline,
) -> impl Future<Output = Result<Forwarded, Reason>> + use<> {
    let begun = match server.ready() {
        Some(mut lease) => {
            let sent = lease.sender.try_send_request(request);
            Ok((lease, sent))
        }
        None => Err(request),
    };
    async move {
        let sending = pin!(async {
            let unsent = match begun {
                Err(request) => request,
                Ok((lease, sent)) => match sent.await {
                    Ok(response) => return Ok((response, Held::Http1(lease))),
                    Err(mut unsent) => unsent.take_message().ok_or(Reason::UpstreamProtocol)?,
                },
            };
            Box::pin(send(unsent, &server, waits.connect)).await
        });
        let progress = request_progress.as_deref();
        let reason = match in_time(sending, progress, waits.head, deadline).await {
            Ok((response, held)) if is_sound(&response) => {
                return Ok(Forwarded {
                    response,
                    held,
                    request_progress,
                });
            }
            Ok(_) => Reason::UpstreamProtocol,
            Err(reason) => reason,
        };
        // A body that broke off explains the failure better than what the upstream made of it.
        Err(match progress.map(|progress| progress.end.get()) {
            Some(RequestBodyEnd::TooLarge) => Reason::BodyTooLarge,
            Some(RequestBodyEnd::Stalled) => Reason::RequestTimeout,
            Some(RequestBodyEnd::Broken) => Reason::BadRequest,
            _ => reason,
        })
    }
}

/// Sends where no connection was ready, or the one that seemed to be was closed: on the next idle one, or a new one.
async fn send(
    mut request: Request<RequestBody>,
    server: &Rc<ServerPool>,
    connect_timeout: Duration,
) -> Result<(Response<Incoming>, Held), Reason> {
    if let Some(connections) = &server.http2 {
        let (response, stream) = http2::send(request, server, connections, connect_timeout).await?;
        return Ok((response, Held::Http2(stream)));
    }
    while let Some(mut lease) = server.idle() {
        if lease.sender.ready().await.is_err() {
            continue;
        }
        match lease.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, Held::Http1(lease))),
            Err(mut unsent) => request = unsent.take_message().ok_or(Reason::UpstreamProtocol)?,
        }
    }
    let mut lease = server
        .connect(connect_timeout)
        .await
        .map_err(NoConnection::reason)?;
    match lease.sender.try_send_request(request).await {
        Ok(response) => Ok((response, Held::Http1(lease))),
        Err(_broken) => Err(Reason::UpstreamProtocol),
    }
}

/// Whether a head that hyper has parsed has one reading (RFC 9112 section 6.3): not two lengths of the body, and no
/// coding that would be lost on the way.
fn is_sound(response: &Response<Incoming>) -> bool {
    let fields = response.headers();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    match codings.next() {
        None => true,
        Some(coding) => {
            is_chunked(coding) && codings.next().is_none() && !fields.contains_key(CONTENT_LENGTH)
        }
    }
}

/// Waits for as long as the upstream may take. A slow upload is not the upstream's fault.
async fn in_time<T>(
    mut sending: Pin<&mut impl Future<Output = Result<T, Reason>>>,
    progress: Option<&RequestProgress>,
    patience: Duration,
    mut deadline: Deadline,
) -> Result<T, Reason> {
    loop {
        if let Some(result) = deadline.limit(sending.as_mut()).await {
            return result;
        }
        let now = Instant::now();
        let later = progress.map(|progress| progress.upstream_deadline(patience));
        let later = later
            .filter(|later| *later > now)
            .ok_or(Reason::UpstreamTimeout)?;
        deadline.renew(later - now, now);
    }
}
