//! One HTTP/1.1 connection to an upstream server, and what makes it go on.
//!
//! The task of the request that has it on lease drives it: a task for each connection costs two more turns of the
//! scheduler, and a waking in each direction, per request. Where one task cannot do for both directions, an upload that
//! goes on beside its response or a tunnel, the connection gets a task of its own.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use http::header::UPGRADE;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::interim::{InterimHeads, Overheard};
use crate::gateway::client;
use crate::gateway::request_body::RequestBody;
use crate::net::UpstreamStream;

/// The head of a response.
const MAX_HEAD: usize = 64 << 10;

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(in crate::gateway) struct Connection {
    sender: SendRequest<RequestBody>,
    driver: Driver,
    interim: Arc<InterimHeads>,
}

#[derive(Debug)]
enum Driver {
    /// Whoever has the connection polls it.
    Holder(
        Box<http1::Connection<TokioIo<Overheard<UpstreamStream>>, RequestBody>>,
        Relay,
    ),
    /// A task, which ends when the sender is dropped or the server closes.
    Task,
    /// The connection has ended; what came of it was told to the sender.
    Over,
}

/// What the connection wakes: the task that drives it at the time, and nobody while it is idle.
///
/// Without it a connection would go on waking the task that had it last, and above all at the very moment when the next
/// one hands it a request, which polls that whole request once more for nothing.
#[derive(Debug)]
struct Relay {
    waker: Waker,
    target: Arc<Target>,
}

#[derive(Debug, Default)]
struct Target(Mutex<Option<Waker>>);

/// What became of a request: the head of the response, or the request where nothing of it was sent.
pub(in crate::gateway) type Answer = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

impl Wake for Target {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*target {
            waker.wake_by_ref();
        }
    }
}

impl Relay {
    fn new() -> Self {
        let target = Arc::<Target>::default();
        Self {
            waker: Arc::clone(&target).into(),
            target,
        }
    }

    fn lead_to(&self, waker: &Waker) {
        let mut target = self.target.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !target.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *target = Some(waker.clone());
        }
    }

    fn lead_nowhere(&self) {
        *self.target.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Connection {
    /// Begins HTTP/1.1 on a stream.
    pub(in crate::gateway) async fn new(stream: UpstreamStream) -> Option<Self> {
        let interim = Arc::<InterimHeads>::default();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(100)
            .handshake(TokioIo::new(Overheard::new(stream, &interim)))
            .await
            .ok()?;
        Some(Self {
            sender,
            driver: Driver::Holder(Box::new(connection), Relay::new()),
            interim,
        })
    }

    /// Whether it can take a request at once.
    pub(in crate::gateway) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(in crate::gateway) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Lets it read and write what it can. The task is woken once it can do more.
    pub(in crate::gateway) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Driver::Holder(connection, relay) = &mut self.driver {
            relay.lead_to(cx.waker());
            if Pin::new(connection)
                .poll(&mut Context::from_waker(&relay.waker))
                .is_ready()
            {
                self.driver = Driver::Over;
            }
        }
    }

    /// Nobody drives it for now.
    pub(in crate::gateway) fn rest(&mut self) {
        if let Driver::Holder(_, relay) = &self.driver {
            relay.lead_nowhere();
        }
    }

    /// Polls what the connection makes go on.
    ///
    /// Who drives the connection polls it each time, and need not be woken as well: that would poll the whole request
    /// once more for nothing.
    fn follow<T>(&self, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        match self.driver {
            Driver::Holder(..) => poll(&mut Context::from_waker(Waker::noop())),
            Driver::Task | Driver::Over => poll(cx),
        }
    }

    /// Waits until it can take a request; whether it ever can.
    pub(in crate::gateway) async fn until_ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            self.sender.poll_ready(cx)
        })
        .await
        .is_ok()
    }

    /// Hands a request over; nothing is written before it is driven. The answer comes by [`Self::poll_answer`].
    ///
    /// In a box: futures that hold one another by value are copied with each step of their way.
    pub(in crate::gateway) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Pin<Box<dyn Future<Output = Answer>>> {
        if request.headers().contains_key(UPGRADE) {
            self.hand_to_task();
        }
        self.interim.begin();
        Box::pin(self.sender.try_send_request(request))
    }

    /// Drives it, and looks whether what was sent has its answer. Interim answers go to the client before.
    pub(in crate::gateway) fn poll_answer(
        &mut self,
        sent: &mut Pin<Box<dyn Future<Output = Answer>>>,
        client: &client::Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Answer> {
        self.drive(cx);
        if self.interim.are_any() && self.tell(client) {
            // The answer itself waits where it is until they are written.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.follow(cx, |cx| sent.as_mut().poll(cx))
    }

    /// Passes interim answers on; whether that keeps the client busy.
    #[cold]
    fn tell(&self, client: &client::Connection) -> bool {
        let heads = self.interim.take();
        let Some(answers) = client.interim() else {
            return false;
        };
        for (status, fields) in &heads {
            answers.send(*status, fields);
        }
        !heads.is_empty()
    }

    /// Polls the body of a response, and drives the connection only where there is nothing of it yet.
    pub(in crate::gateway) fn poll_body<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if let Driver::Holder(_, relay) = &self.driver {
            // Taking a part wakes the connection; whoever takes it is awake.
            relay.lead_nowhere();
            let part = poll(&mut Context::from_waker(Waker::noop()));
            if part.is_ready() {
                return part;
            }
            self.drive(cx);
        }
        self.follow(cx, poll)
    }

    /// Lets a task drive it from now on.
    pub(in crate::gateway) fn hand_to_task(&mut self) {
        match std::mem::replace(&mut self.driver, Driver::Task) {
            Driver::Holder(connection, _) => {
                tokio::task::spawn_local(async move { drop(connection.with_upgrades().await) });
            }
            was => self.driver = was,
        }
    }
}
