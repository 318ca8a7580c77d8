//! HTTP/2 connections to one upstream server: few of them, each with many requests at once.
//!
//! A request is sent again only where the server has said that it never looked at it (RFC 9113 section 8.7): a refused
//! stream, or one above the last of a GOAWAY; or where hyper gives it back unsent. A connection that has said GOAWAY
//! gets no further request and ends with those that it has.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONNECTION, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::Held;
use super::send::Unsent;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::pool::{NoConnection, OpenSlot, ServerPool};
use crate::gateway::request_body::RequestBody;
use crate::net::UpstreamStream;
use crate::policy::Reason;

/// Requests of one connection at once, unless the server allows fewer.
const MAX_STREAMS: usize = 100;
/// After so many requests given up in a row a connection gets no further one.
const MAX_UNANSWERED: u32 = 3;
/// How often one request is begun.
const ATTEMPTS: usize = 3;
const STREAM_WINDOW: u32 = 64 << 10;
/// More than all streams together may hold: those that nobody reads must not stop the others. It also gives h2 room for
/// many small DATA frames.
const CONNECTION_WINDOW: u32 = 8 << 20;
const HEADER_LIST: u32 = 64 << 10;
/// gRPC servers close the connection of a client that asks more than every 5 minutes whether they are still there.
const PING_EVERY: Duration = Duration::from_secs(330);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// The HTTP/2 connections of one worker to one server.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Http2Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    /// Whoever has it connects; the others use what comes of it.
    connecting: tokio::sync::Mutex<()>,
    /// Connections that came to nothing.
    failures: Cell<u64>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    streams: Cell<usize>,
    /// What the server allows; 1 until it has said so.
    allowed: Rc<Cell<usize>>,
    /// Gets no further request.
    is_leaving: Cell<bool>,
    /// Requests given up in a row, without an answer to any other meanwhile.
    unanswered: Cell<u32>,
    /// The round of the pool in which it last had a request.
    used: Cell<u32>,
    slot: OpenSlot,
}

/// One request on a connection, until its response is over.
#[derive(Debug)]
pub(in crate::gateway) struct Stream {
    connection: Rc<Connection>,
    is_waiting: bool,
}

/// Runs what belongs to a connection on the thread of its worker.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

/// Sends a request on a connection that has room, or a new one.
pub(super) async fn send(
    request: Outgoing,
    server: &Rc<ServerPool>,
    connections: &Http2Connections,
    connect_timeout: Duration,
) -> Result<(Response<()>, Held), Unsent> {
    let scheme = if server.is_tls() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    let mut request = to_http2(request.into_request(), scheme).ok_or(Unsent::Over(Reason::BadRequest))?;
    for _ in 0..ATTEMPTS {
        let mut stream = match connections.stream(server, connect_timeout).await {
            Ok(stream) => stream,
            Err(none) => return Err(Unsent::NoConnection(none, request.into())),
        };
        // What has no body can be said once more; a body has gone into the connection.
        let copy = matches!(request.body(), RequestBody::Empty).then(|| copy_of(&request));
        let sent = stream.connection.sender.clone().try_send_request(request);
        let mut failed = match sent.await {
            Ok(response) => {
                stream.answered();
                let (head, incoming) = response.into_parts();
                return Ok((Response::from_parts(head, ()), Held::Http2(stream, incoming)));
            }
            Err(failed) => failed,
        };
        stream.failed(failed.error());
        tracing::debug!(server = %server.name, error = ?failed.error(), "HTTP/2 request failed");
        request = match (failed.take_message(), copy) {
            (Some(unsent), _) => unsent,
            (None, Some(copy)) if was_never_looked_at(failed.error()) => copy,
            _ => return Err(Unsent::Over(Reason::UpstreamProtocol)),
        };
    }
    Err(Unsent::Over(Reason::UpstreamProtocol))
}

impl Http2Connections {
    /// Requests in flight.
    pub(in crate::gateway) fn in_use(&self) -> usize {
        self.open.borrow().iter().map(|one| one.streams.get()).sum()
    }

    /// A place for one request.
    async fn stream(
        &self,
        server: &Rc<ServerPool>,
        connect_timeout: Duration,
    ) -> Result<Stream, NoConnection> {
        if let Some(stream) = self.with_room(server) {
            return Ok(stream);
        }
        let failures = self.failures.get();
        let _turn = self.connecting.lock().await;
        if let Some(stream) = self.with_room(server) {
            return Ok(stream);
        }
        // What somebody else found out while this one waited is not tried again for each that waits.
        if self.failures.get() != failures {
            return Err(NoConnection::Failed);
        }
        let connected = match server.open(connect_timeout).await {
            Ok((stream, slot)) => connect(stream, slot, server.round())
                .await
                .ok_or(NoConnection::Failed),
            Err(none) => Err(none),
        };
        let connection = connected.inspect_err(|none| {
            if *none == NoConnection::Failed {
                self.failures.set(self.failures.get().wrapping_add(1));
            }
        })?;
        let stream = Stream::on(&connection, server);
        if !server.is_retired() {
            self.open.borrow_mut().push(connection);
        }
        Ok(stream)
    }

    fn with_room(&self, server: &ServerPool) -> Option<Stream> {
        let open = self.open.borrow();
        let with_room = open.iter().find(|one| one.has_room(server))?;
        Some(Stream::on(with_room, server))
    }

    /// Lets go of all; they end with the requests that they have.
    pub(in crate::gateway) fn retire(&self) {
        let open = self.open.take();
        drop(open);
    }

    /// Lets go of what is closed, leaving or was not used for so many rounds.
    pub(in crate::gateway) fn tidy(&self, server: &ServerPool, idle_rounds: u32) {
        let is_kept = |one: &Rc<Connection>| {
            let is_fresh = server.round().wrapping_sub(one.used.get()) <= idle_rounds;
            one.is_usable(server) && (one.streams.get() > 0 || is_fresh)
        };
        // Dropping one may drop what it holds, so not under the borrow.
        let (kept, gone): (Vec<_>, Vec<_>) = self.open.take().into_iter().partition(is_kept);
        self.open.borrow_mut().extend(kept);
        drop(gone);
    }
}

impl Connection {
    fn is_usable(&self, server: &ServerPool) -> bool {
        !self.is_leaving.get() && !self.sender.is_closed() && server.still_has(self.slot.peer())
    }

    fn has_room(&self, server: &ServerPool) -> bool {
        // Until the server has said what it allows, requests wait in the connection: better than being refused.
        let allowed = match self.allowed.get() {
            0 | 1 => MAX_STREAMS,
            allowed => allowed.min(MAX_STREAMS),
        };
        self.streams.get() < allowed && self.is_usable(server)
    }
}

impl Stream {
    fn on(connection: &Rc<Connection>, server: &ServerPool) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        connection.used.set(server.round());
        Self {
            connection: Rc::clone(connection),
            is_waiting: true,
        }
    }

    fn answered(&mut self) {
        self.is_waiting = false;
        self.connection.unanswered.set(0);
    }

    fn failed(&mut self, error: &hyper::Error) {
        self.is_waiting = false;
        if is_go_away(error) || self.connection.sender.is_closed() {
            self.connection.is_leaving.set(true);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get().saturating_sub(1));
        if self.is_waiting {
            let unanswered = connection.unanswered.get().saturating_add(1);
            connection.unanswered.set(unanswered);
            // The server may be gone without a word.
            if unanswered >= MAX_UNANSWERED {
                connection.is_leaving.set(true);
            }
        }
        connection.slot.server().has_room();
    }
}

async fn connect(stream: UpstreamStream, slot: OpenSlot, round: u32) -> Option<Rc<Connection>> {
    let (sender, mut connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_max_send_streams(1)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(16 << 10)
        .header_table_size(4 << 10)
        .max_header_list_size(HEADER_LIST)
        .max_local_error_reset_streams(256)
        .max_send_buf_size(64 << 10)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let allowed = Rc::new(Cell::new(1));
    let told = Rc::clone(&allowed);
    // Ends when nobody has the sender any more, or the server closes; what it returns was told to the requests.
    tokio::task::spawn_local(poll_fn(move |cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        told.set(connection.current_max_send_streams());
        polled.map(drop)
    }));
    Some(Rc::new(Connection {
        sender,
        streams: Cell::new(0),
        allowed,
        is_leaving: Cell::new(false),
        unanswered: Cell::new(0),
        used: Cell::new(round),
        slot,
    }))
}

/// `Host` becomes `:authority`, and nothing is left that concerns an HTTP/1.1 connection (RFC 9113 section 8.2.2).
fn to_http2(request: Request<RequestBody>, scheme: Scheme) -> Option<Request<RequestBody>> {
    // It may have been made ready for another server, or have waited.
    if request.version() == Version::HTTP_2 {
        return Some(request);
    }
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.remove(HOST)?;
    parts.headers.remove(CONNECTION);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority(&host)?);
    parts.uri = Uri::from_parts(uri).ok()?;
    parts.version = Version::HTTP_2;
    Some(Request::from_parts(parts, body))
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    Authority::try_from(host.as_bytes()).ok()
}

fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

fn is_go_away(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(h2::Error::is_go_away)
}

/// Whether the server has said that it has not begun with a request.
fn was_never_looked_at(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|error| {
        // h2 tells of a GOAWAY those streams that are above its last one, and no others.
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
