//! One connection to PostgreSQL, with the task that drives it.
//!
//! Used by [`super::Postgres`]. The task runs on the runtime of the authority, and ends with the session.

use std::error::Error as _;
use std::fmt::Write as _;
use std::future::poll_fn;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::StoreError;
use super::{PostgresAddress, TIMEOUT};
use crate::net::ClientTls;

/// Protocol name for TLS (ALPN) that servers from version 17 on ask for.
const ALPN: &[u8] = b"postgresql";

/// What every session is told: nothing takes longer than [`TIMEOUT`], nobody who has gone holds a lock, every
/// transaction sees what was committed before each of its statements, and what is acknowledged is on the disk.
const TOLD: &str = "
SET statement_timeout = '5s';
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '5s';
SET default_transaction_isolation = 'read committed';
SET client_min_messages = 'error';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// What the listening connection tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) listening: bool,
    /// Only to be another value each time.
    announced: u64,
}

/// A server, and how it is spoken to.
pub(super) struct Server {
    address: PostgresAddress,
    tls: Option<MakeRustlsConnect>,
}

/// A connection. Ends when it is dropped.
pub(super) struct Session {
    pub(super) client: Client,
    driver: JoinSet<()>,
}

impl Session {
    /// Returns once the connection is lost.
    pub(super) async fn ended(&mut self) {
        self.driver.join_next().await;
    }
}

impl Server {
    pub(super) fn new(address: &PostgresAddress) -> Result<Self, StoreError> {
        let mut server = Self {
            address: address.clone(),
            tls: None,
        };
        if address.has_tls() {
            let tls = match address.root_certificates() {
                Some(path) => ClientTls::from_file(path),
                None => ClientTls::system(),
            };
            let tls = tls.map_err(|error| server.unreachable(error.to_string()))?;
            let mut config = (*tls.config()).clone();
            config.alpn_protocols = vec![ALPN.to_vec()];
            server.tls = Some(MakeRustlsConnect::new(config));
        }
        Ok(server)
    }

    /// A connection that is ready to be asked. What is announced on it is told to `tell`.
    pub(super) async fn connect(&self, tell: Option<watch::Sender<Heard>>) -> Result<Session, StoreError> {
        let connecting = async {
            let config = self.address.config();
            let session = match self.tls.clone() {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    let driver = drive(connection, tell);
                    Session { client, driver }
                }
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await?;
                    let driver = drive(connection, tell);
                    Session { client, driver }
                }
            };
            session.client.batch_execute(TOLD).await?;
            Ok(session)
        };
        match timeout(TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error: Error| self.unreachable(text(&error))),
            Err(_late) => Err(self.unreachable("no connection in time")),
        }
    }

    /// A connection that is told what replicas announce.
    pub(super) async fn listen(&self, tell: &watch::Sender<Heard>) -> Result<Session, StoreError> {
        let session = self.connect(Some(tell.clone())).await?;
        match timeout(TIMEOUT, session.client.batch_execute("LISTEN scopegate")).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(error)) => Err(self.fault(&error)),
            Err(_late) => Err(self.unreachable("no answer in time")),
        }
    }

    /// It cannot be used at the moment.
    pub(super) fn unreachable(&self, why: impl Into<String>) -> StoreError {
        StoreError::Unreachable {
            address: self.address.to_string(),
            why: why.into(),
        }
    }

    /// What an error of a statement means.
    pub(super) fn fault(&self, error: &Error) -> StoreError {
        match error.code() {
            Some(&SqlState::DISK_FULL) => StoreError::Full,
            // Connections, resources, an operator, or a server that has become a copy of another one.
            Some(code)
                if !["08", "53", "57", "25"]
                    .iter()
                    .any(|class| code.code().starts_with(class)) =>
            {
                StoreError::Failed(text(error))
            }
            _ => self.unreachable(text(error)),
        }
    }
}

fn drive<S>(mut connection: Connection<Socket, S>, tell: Option<watch::Sender<Heard>>) -> JoinSet<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Whoever asks meets the error as well.
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let (AsyncMessage::Notification(_), Some(tell)) = (message, &tell) {
                tell.send_modify(|heard| heard.announced = heard.announced.wrapping_add(1));
            }
        }
    });
    driver
}

/// What the server says, or else what happened on the way there. Never a detail, which may quote values.
fn text(error: &Error) -> String {
    if let Some(told) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", told.message(), told.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}
