//! Listening sockets and the accept loop.
//!
//! `app` binds and clones; each worker runs one accept loop per listener. An accept loop ends only with a drain: an
//! error of `accept`, such as too many open files, makes it wait and go on, never exit and never spin.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::net::balance::{Place, Seated};
use crate::net::slots::Slot;
use crate::net::{ConnectionSlots, DrainWatcher, TrustedProxies};

/// A bound socket, before any worker accepts from it.
#[derive(Debug)]
pub struct BoundListener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

/// An accepted connection, with its place among the open connections.
///
/// Whoever owns the socket owns the place: a connection that becomes a tunnel goes on being counted.
#[derive(Debug)]
pub struct ClientSocket {
    stream: TcpStream,
    /// Read already, and to be read again before anything else.
    early: Bytes,
    slot: Slot,
    _seated: Seated,
}

impl BoundListener {
    /// Binds and listens. Port 0 takes a free port.
    ///
    /// # Errors
    /// What the operating system says: address in use, not available, not permitted.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::passed(std::net::TcpListener::from(socket))
    }

    /// A socket that somebody else has bound: a service manager, or whoever replaces this process.
    ///
    /// # Errors
    /// It is not one that listens.
    pub fn passed(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Where it is bound, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A listener for the runtime that calls this. All of them take from the same queue, so that an idle worker
    /// takes the next connection.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub fn attach(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.socket.try_clone()?)
    }
}

/// Accepts until a drain begins. `on_connection` must return at once: it spawns a task.
///
/// A connection over the limit is accepted and closed, which tells the client sooner than a full queue would. While
/// memory is out, none is accepted: the one that an accept waited for already waits with those in the queue.
pub async fn accept_loop(
    listener: TcpListener,
    slots: Arc<ConnectionSlots>,
    drain: DrainWatcher,
    on_connection: impl Fn(ClientSocket, SocketAddr),
) {
    let proxies = TrustedProxies::default();
    accept_from_proxies(
        (listener, 0),
        slots,
        &proxies,
        (drain, Place::alone()),
        on_connection,
    )
    .await;
}

/// The same where connections from `proxies` are somebody else's, who becomes known later (see [`ClientSocket::is_of`]),
/// for a worker that has this place among others, of which some get what it accepts. The number of the listener is for
/// them.
pub async fn accept_from_proxies(
    (listener, number): (TcpListener, usize),
    slots: Arc<ConnectionSlots>,
    proxies: &TrustedProxies,
    (drain, place): (DrainWatcher, Place),
    on_connection: impl Fn(ClientSocket, SocketAddr),
) {
    let mut back_off = BACK_OFF_FIRST;
    let begun = drain.begun();
    tokio::pin!(begun);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut begun => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF_FIRST;
                if slots.memory().holds_connections() {
                    tokio::select! {
                        () = &mut begun => return,
                        () = until_memory(&slots) => {}
                    }
                }
                let slot = if proxies.contains(peer.ip()) {
                    slots.take_for_somebody()
                } else {
                    slots.take(peer.ip())
                };
                let Some(slot) = slot else {
                    continue;
                };
                // Fails only on a connection that is gone already; serving it will find out.
                let _ = stream.set_nodelay(true);
                match place.give(stream, slot, (peer, number), &drain) {
                    Ok(Some(socket)) => on_connection(socket, peer),
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%peer, %error, "connection closed"),
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, wait = ?back_off, "cannot accept connections");
                tokio::select! {
                    () = &mut begun => return,
                    () = tokio::time::sleep(back_off) => {}
                }
                back_off = (back_off * 2).min(BACK_OFF_LAST);
            }
        }
    }
}

/// Waits until connections may be taken on again.
async fn until_memory(slots: &ConnectionSlots) {
    while slots.memory().holds_connections() {
        tokio::time::sleep(BACK_OFF_LAST / 5).await;
    }
}

/// Whether the client went away between its connect and our accept: the next accept can succeed at once.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

impl ClientSocket {
    pub(super) fn new(stream: TcpStream, slot: Slot, seated: Seated) -> Self {
        Self {
            stream,
            early: Bytes::new(),
            slot,
            _seated: seated,
        }
    }

    /// Counts it with its client, of a connection that a proxy has passed on. False where the client has as many as it
    /// may; the connection is to be closed then.
    pub fn is_of(&mut self, client: IpAddr) -> bool {
        self.slot.belongs_to(client)
    }

    /// The next byte, which stays to be read; `None` at the end.
    pub(super) async fn first_byte(&self) -> io::Result<Option<u8>> {
        if let Some(first) = self.early.first() {
            return Ok(Some(*first));
        }
        let mut byte = [0];
        let count = self.stream.peek(&mut byte).await?;
        Ok(byte.first().copied().filter(|_| count > 0))
    }

    /// Puts bytes back that were read too much. Everything that was put back before must have been read.
    pub(super) fn give_back(&mut self, bytes: &[u8]) {
        self.early = Bytes::copy_from_slice(bytes);
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let count = this.early.len().min(buf.remaining());
            buf.put_slice(this.early.get(..count).unwrap_or_default());
            this.early.advance(count);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Connections that the kernel holds until a worker takes them.
const BACKLOG: i32 = 1_024;
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
const BACK_OFF_LAST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::{drain, worker_places};

    fn slots(limit: usize) -> Arc<ConnectionSlots> {
        ConnectionSlots::new(limit, None, IntCounter::new("refused", "refused").unwrap())
    }

    #[tokio::test]
    async fn two_loops_share_one_queue_and_end_with_the_drain() {
        let bound = BoundListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(bound.address().port(), 0);
        let slots = slots(10);
        let (trigger, watcher) = drain();
        let loops: Vec<_> = (0..2)
            .map(|_| {
                let listener = bound.attach().unwrap();
                tokio::spawn(accept_loop(
                    listener,
                    Arc::clone(&slots),
                    watcher.clone(),
                    |mut socket, _| {
                        tokio::spawn(async move { socket.write_all(b"hello").await });
                    },
                ))
            })
            .collect();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(bound.address()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "hello");
        }
        trigger.drain(Duration::from_secs(1)).await;
        for running in loops {
            running.await.unwrap();
        }
    }

    /// One worker accepts all, as after a burst; what is open is spread all the same, and counts for the drain on its way.
    #[tokio::test]
    async fn a_worker_with_more_connections_gives_the_next_away() {
        let bound = BoundListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (trigger, watcher) = drain();
        let mut places = worker_places(2).into_iter();
        let ((here, _), (_there, mut handed)) = (places.next().unwrap(), places.next().unwrap());
        let (keep, mut kept) = tokio::sync::mpsc::unbounded_channel();
        let listener = (bound.attach().unwrap(), 7);
        tokio::spawn(async move {
            let keep = |socket, _| keep.send(socket).unwrap();
            let proxies = TrustedProxies::default();
            accept_from_proxies(listener, slots(10), &proxies, (watcher, here), keep).await;
        });
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(bound.address()).await.unwrap());
        }
        let (_first, _third) = (kept.recv().await.unwrap(), kept.recv().await.unwrap());
        let given = handed.recv().await.unwrap();
        assert_eq!(trigger.in_flight(), 1);
        let (mut socket, peer, number, in_flight) = given.open().unwrap();
        assert_eq!((peer, number), (clients[1].local_addr().unwrap(), 7));
        drop(in_flight);
        assert_eq!(trigger.in_flight(), 0);
        socket.write_all(b"hello").await.unwrap();
        drop(socket);
        let mut text = String::new();
        clients[1].read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
        assert!(kept.try_recv().is_err() && handed.try_recv().is_err());
    }

    #[tokio::test]
    async fn closes_what_is_over_the_limit_and_counts_it() {
        let bound = BoundListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let slots = slots(1);
        let (_trigger, watcher) = drain();
        let (give, mut taken) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(accept_loop(
            bound.attach().unwrap(),
            Arc::clone(&slots),
            watcher,
            move |socket, peer| give.send((socket, peer)).unwrap(),
        ));
        let _first = TcpStream::connect(bound.address()).await.unwrap();
        let (held, _) = taken.recv().await.unwrap();
        let mut second = TcpStream::connect(bound.address()).await.unwrap();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!((slots.open(), slots.refused()), (1, 1));

        drop(held);
        let _third = TcpStream::connect(bound.address()).await.unwrap();
        taken.recv().await.unwrap();
        assert_eq!(slots.refused(), 1);
    }

    #[tokio::test]
    async fn goes_on_when_accept_fails_and_leaves_the_thread_to_others() {
        let bound = BoundListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (trigger, watcher) = drain();
        let accepting = tokio::spawn(accept_loop(bound.attach().unwrap(), slots(1), watcher, |_, _| {}));
        tokio::time::sleep(Duration::from_millis(20)).await;
        // From now on every accept fails at once, as it does when there are no file descriptors left.
        socket2::SockRef::from(&bound.socket)
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        let begin = std::time::Instant::now();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(begin.elapsed() < Duration::from_secs(2));
        assert!(!accepting.is_finished());
        trigger.drain(Duration::from_secs(1)).await;
        tokio::time::timeout(Duration::from_secs(2), accepting)
            .await
            .unwrap()
            .unwrap();
    }
}
