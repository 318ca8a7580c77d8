//! The sockets to listen on: passed by whoever started the process (`LISTEN_FDS`, as systemd does it), or bound here.
//!
//! A passed socket outlives the process, and its queue with it: while one process drains, the next already accepts from
//! the same queue, and no connection is refused in between.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use super::StartError;
use crate::net::BoundListener;

/// Sockets that were passed and are not in use yet.
pub(super) struct Sockets {
    passed: Vec<TcpListener>,
}

impl Sockets {
    /// Takes what was passed to this process.
    pub(super) fn passed() -> Self {
        let mut found = ListenFd::from_env();
        let mut passed = Vec::new();
        for index in 0..found.len() {
            match found.take_tcp_listener(index) {
                Ok(Some(socket)) => passed.push(socket),
                Ok(None) => {}
                Err(error) => tracing::warn!(index, %error, "cannot use a socket that was passed"),
            }
        }
        Self { passed }
    }

    /// The passed socket for an address, or else a new one.
    pub(super) fn bind(&mut self, address: SocketAddr) -> Result<BoundListener, StartError> {
        let is_it = |socket: &TcpListener| socket.local_addr().is_ok_and(|local| local == address);
        let bound = match self.passed.iter().position(is_it) {
            Some(index) => {
                tracing::info!(%address, "taking over a socket that was passed");
                BoundListener::passed(self.passed.swap_remove(index))
            }
            None => BoundListener::bind(address),
        };
        bound.map_err(|error| StartError::Bind { address, error })
    }

    /// A socket that no listener is for is closed here; whoever passed it meant something else.
    pub(super) fn warn_of_the_rest(self) {
        for socket in self.passed {
            let address = socket
                .local_addr()
                .map_or_else(|error| error.to_string(), |local| local.to_string());
            tracing::warn!(address, "a socket was passed that no listener has the address of");
        }
    }
}
