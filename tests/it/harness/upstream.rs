//! An upstream that keeps every byte of what reaches it, and answers as a test says.
//!
//! It is the canary: after a refusal, nothing may have reached it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use serde_json::json;

use super::DEADLINE;
use super::http1::{Fields, Head, Wire};
use super::server::{Server, Watched};

/// How the upstream answers a request.
#[derive(Clone, Debug, Default)]
pub(crate) enum Behaviour {
    /// 200 and what it got, as JSON: `method`, `target`, `fields` (pairs), `body` (text), `trailers`.
    #[default]
    Echo,
    /// This status, these fields and this body, with its length.
    Respond(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes; the connection stays.
    Raw(Vec<u8>),
    /// These bytes, and the connection closes.
    RawAndClose(Vec<u8>),
    /// Answers later.
    Delay(Duration, Box<Behaviour>),
    /// Answers when [`Upstream::release`] is called.
    Hold(Box<Behaviour>),
    /// Never answers.
    Hang,
    /// Closes without an answer.
    Close,
    /// Says this length, sends fewer bytes and closes.
    ShortBody { said: usize, sent: Vec<u8> },
    /// Chunks with a pause between them, then trailers.
    Chunks {
        chunks: Vec<Vec<u8>>,
        pause: Duration,
        trailers: Vec<(&'static str, &'static str)>,
    },
    /// Heads of informational responses first, each with its empty line.
    Informational(Vec<&'static str>, Box<Behaviour>),
    /// Answers without having read the body, and closes.
    Early(Box<Behaviour>),
    /// 200, these fields and a chunk each time [`Upstream::release`] is called; the last chunk is the end.
    Steps {
        fields: &'static str,
        chunks: Vec<&'static str>,
    },
    /// 101 with this protocol, then sends back every byte that comes.
    Upgrade(&'static str),
}

/// A request as it reached the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// On which connection, from 1.
    pub(crate) connection: usize,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl Seen {
    pub(crate) fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of the only field of this name.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

#[derive(Debug, Default)]
struct State {
    usual: Behaviour,
    next: VecDeque<Behaviour>,
    seen: Vec<Seen>,
    /// Bytes that were no request.
    broken: usize,
    released: usize,
    is_over: bool,
}

/// A running upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    server: Server,
    state: Arc<Watched<State>>,
}

impl Upstream {
    /// Echoes.
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same at an address of this machine.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let state = Arc::new(Watched::<State>::default());
        let for_server = Arc::clone(&state);
        let server = Server::start_at(address, move |mut wire, number| {
            if let Err(error) = serve(&mut wire, number, &for_server)
                && error.kind() == io::ErrorKind::InvalidData
            {
                for_server.change(|state| state.broken += 1);
            }
        });
        Self { server, state }
    }

    /// Its address answers no more.
    pub(crate) fn stop(&self) {
        self.server.stop();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// From now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.state.change(|state| state.usual = behaviour);
    }

    /// For the next request; several calls queue.
    pub(crate) fn next(&self, behaviour: Behaviour) {
        self.state.change(|state| state.next.push_back(behaviour));
    }

    /// Lets one held request go on.
    pub(crate) fn release(&self) {
        self.state.change(|state| state.released += 1);
    }

    /// Everything that came, in the order of its heads.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.read(|state| state.seen.clone())
    }

    /// The request that came last.
    #[track_caller]
    pub(crate) fn last(&self) -> Seen {
        self.state
            .read(|state| state.seen.last().cloned())
            .expect("no request reached the upstream")
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.read(|state| state.seen.len())
    }

    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    /// How often something came that is no HTTP/1.1.
    pub(crate) fn broken(&self) -> usize {
        self.state.read(|state| state.broken)
    }

    /// Waits until so many requests have come in all.
    #[track_caller]
    pub(crate) fn wait_for_requests(&self, count: usize) {
        self.state
            .expect("requests at the upstream", |state| state.seen.len() >= count);
    }

    /// Breaks off every open connection.
    pub(crate) fn disconnect_all(&self) {
        self.server.disconnect_all();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.change(|state| state.is_over = true);
    }
}

fn serve(wire: &mut Wire, number: usize, state: &Watched<State>) -> io::Result<()> {
    // A connection may be idle for long: a pool holds it.
    while let Some(head) = wire.within(DEADLINE * 3).head()? {
        let behaviour = state.change(|state| state.next.pop_front().unwrap_or_else(|| state.usual.clone()));
        let is_early = matches!(behaviour, Behaviour::Early(_));
        let mut seen = Seen {
            connection: number,
            head,
            body: Vec::new(),
            trailers: Vec::new(),
        };
        if !is_early {
            if seen.head.field("expect").is_some() {
                wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            (seen.body, seen.trailers) = wire.within(DEADLINE).request_body(&seen.head)?;
        }
        state.change(|state| state.seen.push(seen.clone()));
        if !answer(wire, &behaviour, &seen, state)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the connection goes on.
fn answer(wire: &mut Wire, behaviour: &Behaviour, seen: &Seen, state: &Watched<State>) -> io::Result<bool> {
    match behaviour {
        Behaviour::Echo => {
            let body = json!({
                "method": seen.method(), "target": seen.target(), "fields": seen.head.fields,
                "body": String::from_utf8_lossy(&seen.body), "trailers": seen.trailers,
            });
            let fields = [("content-type", "application/json".to_owned())];
            respond(wire, 200, &fields, body.to_string().as_bytes(), seen)?;
        }
        Behaviour::Respond(status, fields, body) => respond(wire, *status, fields, body, seen)?,
        Behaviour::Raw(bytes) => wire.send(bytes)?,
        Behaviour::RawAndClose(bytes) => {
            wire.send(bytes)?;
            return Ok(false);
        }
        Behaviour::Delay(time, then) => {
            state.wait(*time, |state| state.is_over);
            return answer(wire, then, seen, state);
        }
        Behaviour::Hold(then) => {
            let is_released = |state: &State| state.released > 0 || state.is_over;
            if !state.wait(DEADLINE, is_released) {
                return Ok(false);
            }
            state.change(|state| state.released = state.released.saturating_sub(1));
            return answer(wire, then, seen, state);
        }
        Behaviour::Hang => {
            // Until the other side gives up.
            drop(wire.within(DEADLINE).read_to_end());
            return Ok(false);
        }
        Behaviour::Close => return Ok(false),
        Behaviour::ShortBody { said, sent } => {
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {said}\r\n\r\n").as_bytes())?;
            wire.send(sent)?;
            return Ok(false);
        }
        Behaviour::Chunks {
            chunks,
            pause,
            trailers,
        } => {
            wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for chunk in chunks {
                let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                wire.send(&framed)?;
                state.wait(*pause, |state| state.is_over);
            }
            let trailers: String = trailers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            wire.send(format!("0\r\n{trailers}\r\n").as_bytes())?;
        }
        Behaviour::Steps { fields, chunks } => {
            let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{fields}\r\n");
            wire.send(head.as_bytes())?;
            for chunk in chunks {
                let is_released = |state: &State| state.released > 0 || state.is_over;
                if !state.wait(DEADLINE, is_released) {
                    return Ok(false);
                }
                state.change(|state| state.released = state.released.saturating_sub(1));
                wire.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes())?;
            }
            wire.send(b"0\r\n\r\n")?;
        }
        Behaviour::Informational(heads, then) => {
            for head in heads {
                wire.send(head.as_bytes())?;
            }
            return answer(wire, then, seen, state);
        }
        Behaviour::Early(then) => {
            answer(wire, then, seen, state)?;
            // Closing with unread bytes would reset the connection, and the answer might be lost with it.
            wire.finish()?;
            drop(wire.within(Duration::from_secs(2)).read_to_end());
            return Ok(false);
        }
        Behaviour::Upgrade(protocol) => {
            let accept = seen
                .field("sec-websocket-key")
                .map_or_else(String::new, websocket_accept);
            wire.send(
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\
                     sec-websocket-accept: {accept}\r\n\r\n"
                )
                .as_bytes(),
            )?;
            loop {
                let bytes = wire.within(DEADLINE).take_buffer();
                wire.send(&bytes)?;
                if wire.fill()? == 0 {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// RFC 6455 section 4.2.2.
fn websocket_accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

fn respond(
    wire: &mut Wire,
    status: u16,
    fields: &[(&'static str, String)],
    body: &[u8],
    seen: &Seen,
) -> io::Result<()> {
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = match status {
        204 | 304 => String::new(),
        _ => format!("content-length: {}\r\n", body.len()),
    };
    wire.send(format!("HTTP/1.1 {status} X\r\n{length}{fields}\r\n").as_bytes())?;
    if seen.method() == "HEAD" || matches!(status, 204 | 304) {
        return Ok(());
    }
    wire.send(body)
}
