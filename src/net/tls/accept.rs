//! The handshake: with a deadline, with what is in force at its beginning, and counted by how it ended.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::{IntCounter, IntCounterVec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::identities::Identities;
use super::server::ServerTls;
use crate::net::{ClientSocket, Protocol};

/// The TLS of one listener, replaced as a whole when its files change. Shared by every accept loop of it.
#[derive(Debug)]
pub struct TlsListener {
    current: ArcSwap<ServerTls>,
    handshakes: [IntCounter; HandshakeEnd::ALL.len()],
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeEnd {
    /// There is a connection.
    Ok,
    /// It took too long.
    TimedOut,
    /// The client went away.
    Gone,
    /// The client does not speak TLS.
    Plaintext,
    /// No version, cipher suite or application protocol in common.
    Incompatible,
    /// The client's certificate is not good, or was not shown.
    ClientCertificate,
    /// The client refused, most often our certificate.
    Refused,
    /// Anything else.
    Failed,
}

/// What is known of the client after the handshake.
#[derive(Clone, Debug)]
pub struct TlsPeer {
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: Option<rustls::ProtocolVersion>,
    /// The name that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// The client's certificate in DER, checked; `None` where it has shown none.
    pub client_certificate: Option<Arc<[u8]>>,
    /// For [`Identities::is_misdirected`].
    pub identities: Arc<Identities>,
}

impl TlsListener {
    /// Begins with `tls`; handshakes are counted by the label `result`.
    pub fn new(tls: ServerTls, handshakes: &IntCounterVec) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(tls),
            handshakes: HandshakeEnd::ALL.map(|end| handshakes.with_label_values(&[end.name()])),
        })
    }

    /// New handshakes use this from now on; connections that stand are left alone.
    pub fn replace(&self, tls: ServerTls) {
        self.current.store(Arc::new(tls));
    }

    /// Shakes hands. Says which protocol was agreed upon.
    pub async fn accept(
        &self,
        socket: ClientSocket,
        deadline: Instant,
    ) -> Result<(TlsStream<ClientSocket>, Protocol, TlsPeer), HandshakeEnd> {
        let accepted = self.shake_hands(socket, deadline).await;
        let end = accepted.as_ref().map_or_else(|end| *end, |_| HandshakeEnd::Ok);
        if let Some(counter) = self.handshakes.get(end as usize) {
            counter.inc();
        }
        accepted
    }

    async fn shake_hands(
        &self,
        socket: ClientSocket,
        deadline: Instant,
    ) -> Result<(TlsStream<ClientSocket>, Protocol, TlsPeer), HandshakeEnd> {
        let first = timeout_at(deadline, socket.first_byte()).await;
        match first.map_err(|_elapsed| HandshakeEnd::TimedOut)? {
            Ok(Some(HANDSHAKE)) => {}
            Ok(Some(other)) => {
                if other.is_ascii_alphabetic() {
                    say_that_tls_is_spoken(socket).await;
                }
                return Err(HandshakeEnd::Plaintext);
            }
            Ok(None) | Err(_) => return Err(HandshakeEnd::Gone),
        }
        let tls = self.current.load_full();
        let accepting = TlsAcceptor::from(Arc::clone(&tls.config)).accept(socket);
        let accepted = timeout_at(deadline, accepting).await;
        let stream = accepted
            .map_err(|_elapsed| HandshakeEnd::TimedOut)?
            .map_err(|error| {
                tracing::debug!(%error, "TLS handshake");
                HandshakeEnd::of(&error)
            })?;
        let (_, session) = stream.get_ref();
        let protocol = match session.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let peer = TlsPeer {
            version: session.protocol_version(),
            server_name: session.server_name().map(|name| name.to_ascii_lowercase().into()),
            client_certificate: session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| Arc::from(certificate.as_ref())),
            identities: Arc::clone(&tls.identities),
        };
        Ok((stream, protocol, peer))
    }
}

impl HandshakeEnd {
    /// Every end, in the order of its number.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::TimedOut,
        Self::Gone,
        Self::Plaintext,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::Refused,
        Self::Failed,
    ];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TimedOut => "timeout",
            Self::Gone => "gone",
            Self::Plaintext => "plaintext",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    fn of(error: &io::Error) -> Self {
        let cause = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause {
            None => Self::Gone,
            Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
                Self::Incompatible
            }
            Some(
                rustls::Error::NoCertificatesPresented
                | rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidCertRevocationList(_),
            ) => Self::ClientCertificate,
            Some(rustls::Error::AlertReceived(_)) => Self::Refused,
            Some(_) => Self::Failed,
        }
    }
}

/// The answer to a request in cleartext. What the client still sends is read for a while: a socket that is closed with
/// something unread takes the answer back.
async fn say_that_tls_is_spoken(mut socket: ClientSocket) {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 33\r\n\
        connection: close\r\n\r\nthis port speaks TLS: use https\r\n";
    let saying = async {
        socket.write_all(ANSWER).await?;
        socket.shutdown().await?;
        let mut rest = [0; 1024];
        let mut left = 64_usize;
        while left > 0 && socket.read(&mut rest).await? > 0 {
            left -= 1;
        }
        io::Result::Ok(())
    };
    // Whether it arrives is the client's business.
    let _ = timeout(Duration::from_secs(1), saying).await;
}

/// The content type of a TLS record that begins a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
