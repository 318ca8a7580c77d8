//! A client that sends the bytes it is given and reads what comes back.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::DEADLINE;
use super::http1::{Response, Wire};

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Wire,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self {
            wire: Wire::new(TcpStream::connect_timeout(&address, DEADLINE).unwrap()),
        }
    }

    /// Sends bytes as they are. That the other side may have left already shows in what is read afterwards.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.wire.send(bytes.as_ref()));
    }

    /// No more bytes from this side.
    pub(crate) fn finish(&mut self) {
        drop(self.wire.finish());
    }

    /// The next response to a request that is not `HEAD`.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The next response to a request with this method.
    #[track_caller]
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        match self.try_response_to(method) {
            Ok(Some(response)) => response,
            Ok(None) => panic!("the connection was closed without a response"),
            Err(error) => panic!("no whole response: {error}"),
        }
    }

    /// The next response; `None` where the connection ends in its place, an error where it ends within.
    pub(crate) fn try_response_to(&mut self, method: &str) -> io::Result<Option<Response>> {
        self.wire.within(DEADLINE).response(method)
    }

    /// Whether the other side closes in this time without sending anything more.
    pub(crate) fn is_closed_within(&mut self, time: Duration) -> bool {
        match self.wire.within(time).fill() {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    /// Some bytes, as soon as there are any: of a stream, or after an upgrade. None where the connection ends.
    #[track_caller]
    pub(crate) fn some_bytes(&mut self) -> Vec<u8> {
        let early = self.wire.take_buffer();
        if !early.is_empty() {
            return early;
        }
        self.wire.within(DEADLINE).fill().unwrap();
        self.wire.take_buffer()
    }

    /// Everything until the other side closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.wire.within(DEADLINE).read_to_end().unwrap_or_default()
    }

    /// A request on this connection, which stays open.
    #[track_caller]
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.send(head(
            method,
            target,
            fields,
            (!body.is_empty()).then_some(body.len()),
        ));
        if !body.is_empty() {
            self.send(body);
        }
        self.response_to(method)
    }

    #[track_caller]
    pub(crate) fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.request("GET", target, fields, b"")
    }
}

/// `GET` on a connection of its own.
#[track_caller]
pub(crate) fn get(address: SocketAddr, target: &str, fields: &[(&str, &str)]) -> Response {
    Client::connect(address).get(target, fields)
}

/// `GET` with a bearer token, on a connection of its own.
#[track_caller]
pub(crate) fn get_with(address: SocketAddr, target: &str, token: &str) -> Response {
    get(address, target, &[("authorization", &format!("Bearer {token}"))])
}

/// `POST` on a connection of its own.
#[track_caller]
pub(crate) fn post(address: SocketAddr, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
    Client::connect(address).request("POST", target, fields, body)
}

/// The head of a request. `Host` is `localhost` unless the fields have one.
pub(crate) fn head(method: &str, target: &str, fields: &[(&str, &str)], length: Option<usize>) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("host: localhost\r\n");
    }
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = length {
        text.push_str(&format!("content-length: {length}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}
