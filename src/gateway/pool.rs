//! Connections to one upstream server, owned by one worker.
//!
//! A connection comes back only after a response that ended exactly and a request that was sent whole; otherwise it is
//! dropped, which closes it. Nothing here knows what a request is allowed to do.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client;
use super::outgoing::Outgoing;
use super::upstream::http1::{Broken, Connection, Switched};
use super::upstream::http2::Http2Connections;
use crate::net::{ConnectError, Destination, UpstreamStream};
use crate::policy::Reason;
use crate::snapshot::{Endpoint, UpstreamProtocol};
use crate::telemetry::{Metrics, UpstreamMetrics};

/// How many times a connection may be tidied past before it goes: with a round every 5 s, half a minute, which is below
/// the keep-alive time of most servers.
const IDLE_ROUNDS: u32 = 6;
/// Between two lines of the log about the same server.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
const MAX_IDLE: usize = 64;

/// The connections of one worker to one server.
#[derive(Debug)]
pub(super) struct ServerPool {
    destination: Destination,
    is_tls: bool,
    idle: RefCell<Vec<Idle>>,
    /// Present where the server speaks HTTP/2: `idle` stays empty then.
    pub(super) http2: Option<Http2Connections>,
    /// Counts the calls of `tidy`: a clock that costs nothing to read.
    round: Cell<u32>,
    open: Cell<usize>,
    max_open: usize,
    /// The configuration no longer names the server: nothing comes back.
    is_retired: Cell<bool>,
    pub(super) name: Box<str>,
    /// Requests that wait for a connection.
    waiting: Cell<usize>,
    /// Told when one has become free.
    room: Notify,
    /// When a failed connection was last logged.
    complained: Cell<Option<Instant>>,
    pub(super) metrics: UpstreamMetrics,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// The round in which it came back.
    since: u32,
    slot: OpenSlot,
}

/// One connection that is in use. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: Connection,
    slot: OpenSlot,
}

/// A request on its way over a connection, until the head of the response is there.
#[derive(Debug)]
pub(super) struct Sending {
    lease: Option<Lease>,
    client: Rc<client::Connection>,
}

/// Counts an open connection.
#[derive(Debug)]
pub(super) struct OpenSlot {
    pool: Rc<ServerPool>,
    /// Where it leads; `None` for a socket in the file system.
    peer: Option<SocketAddr>,
}

/// A request that waits for a connection. Dropping it ends the waiting.
#[derive(Debug)]
pub(super) struct Waiting(Rc<ServerPool>);

/// There is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// Refused, unreachable, not resolved, or too slow.
    Failed,
    /// As many as allowed are open.
    Full,
}

impl ServerPool {
    pub(super) fn new(endpoint: &Endpoint, max_open: usize, metrics: &Metrics) -> Rc<Self> {
        let name = endpoint.address.to_string();
        let is_http2 = endpoint.protocol == UpstreamProtocol::Http2;
        Rc::new(Self {
            destination: Destination::new(endpoint),
            is_tls: endpoint.tls.is_some(),
            idle: RefCell::default(),
            http2: is_http2.then(Http2Connections::default),
            round: Cell::new(0),
            open: Cell::new(0),
            max_open,
            is_retired: Cell::new(false),
            waiting: Cell::new(0),
            room: Notify::new(),
            complained: Cell::new(None),
            metrics: metrics.upstream(&name),
            name: name.into(),
        })
    }

    /// How many requests it has.
    pub(super) fn in_use(&self) -> usize {
        match &self.http2 {
            None => self.open.get().saturating_sub(self.idle.borrow().len()),
            Some(http2) => http2.in_use(),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.get()
    }

    /// The number of calls of `tidy`.
    pub(super) fn round(&self) -> u32 {
        self.round.get()
    }

    /// Whether a connection to this address may still be used.
    pub(super) fn still_has(&self, peer: Option<SocketAddr>) -> bool {
        self.destination.still_has(peer)
    }

    /// The connection that was used last, if nobody waits for one.
    pub(super) fn ready(&self) -> Option<Lease> {
        if self.is_waited_for() {
            return None;
        }
        self.idle()
    }

    /// A connection that has been used before and still stands; the most recent one, so that others may rest and go.
    pub(super) fn idle(&self) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        let Idle {
            connection,
            since,
            slot,
        } = idle.pop()?;
        if self.round.get().wrapping_sub(since) > IDLE_ROUNDS {
            // Those below it are older still.
            idle.clear();
            return None;
        }
        Some(Lease { connection, slot })
    }

    /// A new connection.
    pub(super) async fn connect(self: &Rc<Self>, timeout: Duration) -> Result<Lease, NoConnection> {
        let (stream, slot) = self.open(timeout).await?;
        let connection = Connection::new(stream);
        Ok(Lease { connection, slot })
    }

    /// A new stream, on which nothing has been said but what TLS says.
    pub(super) async fn open(
        self: &Rc<Self>,
        timeout: Duration,
    ) -> Result<(UpstreamStream, OpenSlot), NoConnection> {
        if self.open.get() >= self.max_open {
            return Err(NoConnection::Full);
        }
        self.open.set(self.open.get() + 1);
        let mut slot = OpenSlot {
            pool: Rc::clone(self),
            peer: None,
        };
        match self.destination.connect(Instant::now() + timeout).await {
            Ok((stream, peer)) => {
                slot.peer = peer;
                Ok((stream, slot))
            }
            Err(error) => {
                self.complain(&error);
                Err(NoConnection::Failed)
            }
        }
    }

    /// Says why there is no connection, but not for each of a thousand requests.
    fn complain(&self, error: &ConnectError) {
        let now = Instant::now();
        let is_new = self
            .complained
            .get()
            .is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY);
        if is_new {
            self.complained.set(Some(now));
            tracing::warn!(server = %self.name, %error, "no connection to the upstream");
        } else {
            tracing::debug!(server = %self.name, %error, "no connection to the upstream");
        }
    }

    /// Whether requests wait for a connection.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    /// A place among those that wait; `None` where `most` do.
    pub(super) fn wait(self: &Rc<Self>, most: usize) -> Option<Waiting> {
        if self.waiting.get() >= most {
            return None;
        }
        self.waiting.set(self.waiting.get() + 1);
        Some(Waiting(Rc::clone(self)))
    }

    /// A connection, or a place on one, has become free.
    pub(super) fn has_room(&self) {
        if self.is_waited_for() {
            self.room.notify_one();
        }
    }

    /// Closes what is idle, and whatever would come back later: the configuration no longer names the server. An idle
    /// connection holds its pool, so what came back to a pool that nobody tidies would stay for ever.
    pub(super) fn retire(&self) {
        self.is_retired.set(true);
        let idle = self.idle.take();
        drop(idle);
        if let Some(http2) = &self.http2 {
            http2.retire();
        }
    }

    /// Drops connections that have been idle for too long. Called every few seconds.
    pub(super) fn tidy(&self) {
        let round = self.round.get().wrapping_add(1);
        self.round.set(round);
        if self.open.get() > 0 {
            self.destination.refresh();
        }
        self.idle.borrow_mut().retain(|idle| {
            // Nobody drives it, so nobody has noticed yet whether the server has closed it.
            round.wrapping_sub(idle.since) <= IDLE_ROUNDS
                && idle.connection.is_usable()
                && self.destination.still_has(idle.slot.peer)
        });
        if let Some(http2) = &self.http2 {
            http2.tidy(self, IDLE_ROUNDS);
        }
    }
}

impl NoConnection {
    /// For the client.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Failed => Reason::UpstreamConnect,
            Self::Full => Reason::Overloaded,
        }
    }
}

impl OpenSlot {
    /// The server at the other end.
    pub(super) fn server(&self) -> &Rc<ServerPool> {
        &self.pool
    }

    /// Its address.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

impl Lease {
    /// Sends a request of this client, or gives it back where nothing of it was sent.
    pub(super) fn send(
        mut self,
        request: Outgoing,
        client: Rc<client::Connection>,
    ) -> Result<Sending, Outgoing> {
        self.connection.send(request)?;
        Ok(Sending {
            lease: Some(self),
            client,
        })
    }

    /// What is beneath the connection, once its server has agreed to another protocol; with its place among the
    /// connections of the server.
    pub(super) fn switch(self) -> Option<(Switched, OpenSlot)> {
        Some((self.connection.switch()?, self.slot))
    }

    /// Gives the connection back after an exact end.
    pub(super) fn give_back(self) {
        let Self { mut connection, slot } = self;
        if !connection.is_over() {
            return;
        }
        connection.rest();
        let pool = Rc::clone(&slot.pool);
        if pool.is_retired.get() {
            return;
        }
        let mut idle = pool.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push(Idle {
                connection,
                since: pool.round.get(),
                slot,
            });
            pool.has_room();
        }
    }
}

impl Future for Sending {
    type Output = Result<(Response<()>, Lease), Broken>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { lease, client } = self.get_mut();
        // Not polled any more once it has ended.
        let Some(held) = lease else {
            return Poll::Pending;
        };
        let answer = ready!(held.connection.poll_answer(client, cx));
        let lease = lease.take().ok_or(Broken::Closed)?;
        if let Err(broken) = &answer {
            tracing::debug!(server = %lease.slot.pool.name, %broken, "HTTP/1.1 request failed");
        }
        Poll::Ready(answer.map(|response| (response, lease)))
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        self.pool.open.set(self.pool.open.get().saturating_sub(1));
        self.pool.has_room();
    }
}

impl Waiting {
    /// Returns when it is worth while to try again. Those who wait are told one by one, the first first.
    pub(super) async fn for_room(&self) {
        self.0.room.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ServerAddress, UpstreamPlan};

    #[test]
    fn nothing_comes_back_to_a_retired_pool() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default());
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let metrics = Metrics::new(&prometheus::Registry::new(), &["ok"]).unwrap();
            let plan = UpstreamPlan::to(vec![ServerAddress::tcp("127.0.0.1", port)]);
            let pool = ServerPool::new(&plan.endpoint(&plan.servers[0]), 4, &metrics);
            let kept = pool.connect(Duration::from_secs(5)).await.unwrap();
            let late = pool.connect(Duration::from_secs(5)).await.unwrap();
            kept.give_back();
            assert_eq!((pool.in_use(), pool.idle.borrow().len()), (1, 1));
            pool.retire();
            let gone = Rc::downgrade(&pool);
            drop(pool);
            late.give_back();
            assert!(
                gone.upgrade().is_none(),
                "a connection holds the pool that nobody tidies"
            );
        });
    }
}
