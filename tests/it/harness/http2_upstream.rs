//! An upstream that speaks HTTP/2 by prior knowledge and keeps what reaches it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, Version};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::DEADLINE;
use super::server::Watched;

/// How a request is answered.
#[derive(Clone, Debug, Default)]
pub(crate) enum Http2Behaviour {
    /// 200 with what came, as JSON, and `x-trailer: 1` as trailers.
    #[default]
    Echo,
    /// `REFUSED_STREAM`: it was not looked at.
    Refuse,
    /// `INTERNAL_ERROR`: it may have been.
    Reset,
    /// 200 and a part of the body, then a reset.
    BreakOff,
    /// So many 103 first, then like `Echo`.
    Hints(usize),
    /// When [`Http2Upstream::release`] was called, like `Echo`.
    Hold,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Http2Seen {
    pub(crate) connection: usize,
    pub(crate) head: Arc<http::request::Parts>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    next: std::collections::VecDeque<Http2Behaviour>,
    usual: Http2Behaviour,
    seen: Vec<Http2Seen>,
    is_released: bool,
}

/// A running upstream; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Http2Upstream {
    address: SocketAddr,
    state: Arc<Watched<State>>,
    _end: oneshot::Sender<()>,
}

impl Http2Upstream {
    pub(crate) fn start() -> Self {
        Self::allowing(1_000)
    }

    /// Allows so many requests of a connection at once.
    pub(crate) fn allowing(streams: u32) -> Self {
        let state = Arc::new(Watched::<State>::default());
        let (end, ended) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let for_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let serving = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(stream, Arc::clone(&for_thread), streams));
                    }
                };
                tokio::select! {
                    () = serving => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            state,
            _end: end,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// For the next request; several calls queue.
    pub(crate) fn next(&self, behaviour: Http2Behaviour) {
        self.state.change(|state| state.next.push_back(behaviour));
    }

    /// From now on.
    pub(crate) fn behave(&self, behaviour: Http2Behaviour) {
        self.state.change(|state| state.usual = behaviour);
    }

    /// Lets all held requests go on.
    pub(crate) fn release(&self) {
        self.state.change(|state| state.is_released = true);
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.read(|state| state.seen.len())
    }

    #[track_caller]
    pub(crate) fn wait_for_requests(&self, count: usize) {
        self.state
            .expect("requests at the upstream", |state| state.seen.len() >= count);
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.read(|state| state.connections)
    }

    #[track_caller]
    pub(crate) fn last(&self) -> Http2Seen {
        self.state
            .read(|state| state.seen.last().cloned())
            .expect("no request reached the upstream")
    }
}

async fn serve(stream: tokio::net::TcpStream, state: Arc<Watched<State>>, streams: u32) {
    let number = state.change(|state| {
        state.connections += 1;
        state.connections
    });
    let Ok(mut connection) = h2::server::Builder::new()
        .max_concurrent_streams(streams)
        .handshake::<_, Bytes>(stream)
        .await
    else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond, Arc::clone(&state), number));
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    state: Arc<Watched<State>>,
    connection: usize,
) {
    let behaviour = state.change(|state| state.next.pop_front().unwrap_or_else(|| state.usual.clone()));
    let (head, mut incoming) = request.into_parts();
    let mut seen = Http2Seen {
        connection,
        head: Arc::new(head),
        body: Vec::new(),
        trailers: None,
    };
    assert_eq!(seen.head.version, Version::HTTP_2);
    if let Http2Behaviour::Refuse | Http2Behaviour::Reset = behaviour {
        state.change(|state| state.seen.push(seen));
        respond.send_reset(match behaviour {
            Http2Behaviour::Refuse => Reason::REFUSED_STREAM,
            _ => Reason::INTERNAL_ERROR,
        });
        return;
    }
    while let Some(Ok(data)) = incoming.data().await {
        seen.body.extend_from_slice(&data);
        drop(incoming.flow_control().release_capacity(data.len()));
    }
    seen.trailers = incoming.trailers().await.ok().flatten();
    state.change(|state| state.seen.push(seen.clone()));
    if let Http2Behaviour::Hints(count) = behaviour {
        for _ in 0..count {
            let hint = Response::builder().status(103).header("link", "</a>").body(());
            respond.send_informational(hint.unwrap()).unwrap();
        }
    }
    if let Http2Behaviour::Hold = behaviour {
        let begun = std::time::Instant::now();
        while !state.read(|state| state.is_released) && begun.elapsed() < DEADLINE {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    let fields: Vec<_> = seen
        .head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
        .collect();
    let body = json!({
        "method": seen.head.method.as_str(), "uri": seen.head.uri.to_string(), "fields": fields,
        "body": String::from_utf8_lossy(&seen.body),
    });
    let Ok(mut send) = respond.send_response(Response::new(()), false) else {
        return;
    };
    if let Http2Behaviour::BreakOff = behaviour {
        drop(send.send_data(Bytes::from_static(b"half"), false));
        // The part goes out first.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        send.send_reset(Reason::INTERNAL_ERROR);
        return;
    }
    let mut body = Bytes::from(body.to_string());
    while !body.is_empty() {
        send.reserve_capacity(body.len());
        let Some(Ok(room)) = poll_fn(|cx| send.poll_capacity(cx)).await else {
            return;
        };
        drop(send.send_data(body.split_to(room.min(body.len())), false));
    }
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-trailer"),
        http::HeaderValue::from_static("1"),
    )]);
    drop(send.send_trailers(trailers));
}
