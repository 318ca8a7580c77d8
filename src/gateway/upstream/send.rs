//! Gets a request onto a connection: an idle one, a new one, one that somebody else gives back, or one to another
//! server.
//!
//! Only what was not sent is tried again, and another server is asked only where there was no connection. So no request
//! reaches two servers, or one server twice.

use std::rc::Rc;
use std::time::Duration;

use http::Response;
use tokio::time::{Instant, timeout_at};

use super::{Held, ServerId, Servers, http2};
use crate::gateway::client;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::pool::{NoConnection, Sending, ServerPool, Waiting};
use crate::policy::Reason;

/// So many servers are asked for a connection.
const SERVERS: usize = 3;

/// Why a request came to no server.
pub(super) enum Unsent {
    /// There is no connection; nothing was sent.
    NoConnection(NoConnection, Outgoing),
    /// It may have been sent, or cannot be.
    Over(Reason),
}

/// What became of a request, and at which server.
pub(in crate::gateway) struct Sent {
    pub(in crate::gateway) server: ServerId,
    pub(in crate::gateway) result: Result<(Response<()>, Held), Reason>,
}

/// Sends a request that no idle connection could take at once, first of all to the server that was chosen for it.
pub(in crate::gateway) async fn send(
    mut request: Outgoing,
    servers: &Servers,
    chosen: ServerId,
    connect_timeout: Duration,
    client: &Rc<client::Connection>,
) -> Sent {
    let mut tried = [chosen; SERVERS];
    let mut server = chosen;
    for attempt in 1..=SERVERS {
        let Some(pool) = servers.get(server).map(|server| &server.pool) else {
            break;
        };
        let (none, unsent) = match send_to(request, pool, servers, connect_timeout, client).await {
            Ok(answered) => {
                return Sent {
                    server,
                    result: Ok(answered),
                };
            }
            Err(Unsent::Over(reason)) => {
                return Sent {
                    server,
                    result: Err(reason),
                };
            }
            Err(Unsent::NoConnection(none, unsent)) => (none, unsent),
        };
        if none == NoConnection::Failed {
            servers.failed(server);
        }
        let next = tried
            .get(..attempt)
            .filter(|_| attempt < SERVERS && none == NoConnection::Failed)
            .and_then(|tried| servers.choose_but(tried));
        let (Some(next), Some(place)) = (next, tried.get_mut(attempt)) else {
            return Sent {
                server,
                result: Err(none.reason()),
            };
        };
        // The server that is asked last is counted with the request.
        pool.metrics.connect.inc();
        *place = next;
        server = next;
        request = unsent;
    }
    Sent {
        server,
        result: Err(Reason::Internal),
    }
}

/// Sends to one server, and waits for a connection where there are too many.
async fn send_to(
    mut request: Outgoing,
    server: &Rc<ServerPool>,
    servers: &Servers,
    connect_timeout: Duration,
    client: &Rc<client::Connection>,
) -> Result<(Response<()>, Held), Unsent> {
    let mut place: Option<(Waiting, Instant)> = None;
    loop {
        // Who comes later does not go before those who wait.
        if place.is_some() || !server.is_waited_for() {
            let sent = match &server.http2 {
                None => send_http1(request, server, connect_timeout, client).await,
                Some(connections) => http2::send(request, server, connections, connect_timeout).await,
            };
            request = match sent {
                Err(Unsent::NoConnection(NoConnection::Full, unsent)) => unsent,
                sent => return sent,
            };
        }
        let full = |request| Unsent::NoConnection(NoConnection::Full, request);
        let (waiting, deadline) = match &place {
            Some(place) => place,
            None => match server.wait(servers.waiting.requests) {
                Some(waiting) => place.insert((waiting, Instant::now() + servers.waiting.timeout)),
                None => return Err(full(request)),
            },
        };
        if timeout_at(*deadline, waiting.for_room()).await.is_err() {
            return Err(full(request));
        }
    }
}

async fn send_http1(
    mut request: Outgoing,
    server: &Rc<ServerPool>,
    connect_timeout: Duration,
    client: &Rc<client::Connection>,
) -> Result<(Response<()>, Held), Unsent> {
    while let Some(lease) = server.idle() {
        match lease.send(request, Rc::clone(client)) {
            Ok(sending) => return answer(sending).await,
            Err(unsent) => request = unsent,
        }
    }
    let lease = match server.connect(connect_timeout).await {
        Ok(lease) => lease,
        Err(none) => return Err(Unsent::NoConnection(none, request)),
    };
    match lease.send(request, Rc::clone(client)) {
        Ok(sending) => answer(sending).await,
        // Closed before anything was sent: that is no connection either.
        Err(request) => Err(Unsent::NoConnection(NoConnection::Failed, request)),
    }
}

async fn answer(sending: Sending) -> Result<(Response<()>, Held), Unsent> {
    match sending.await {
        Ok((response, lease)) => Ok((response, Held::Http1(lease))),
        Err(_) => Err(Unsent::Over(Reason::UpstreamProtocol)),
    }
}
