//! Where an upstream server is, and connections to it.
//!
//! A worker has one [`Destination`] for each of its pools, the health check another one: nothing is shared but the TLS
//! client. The address is the operator's choice, so any is connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use super::names::Name;
use super::tls::{Alpn, ClientTls};
use super::{ConnectError, connect_to_any};
use crate::snapshot::{Endpoint, ServerAddress, UpstreamProtocol};

/// One server to connect to.
#[derive(Debug)]
pub struct Destination {
    place: Place,
    tls: Option<DestinationTls>,
}

#[derive(Debug)]
enum Place {
    Address(SocketAddr),
    Name(Arc<Name>),
    Unix(PathBuf),
}

#[derive(Debug)]
struct DestinationTls {
    client: ClientTls,
    server_name: String,
    needs_http2: bool,
}

/// A connection to an upstream server.
#[derive(Debug)]
pub enum UpstreamStream {
    /// In cleartext.
    Tcp(TcpStream),
    /// In cleartext, on this machine.
    Unix(UnixStream),
    /// With a certificate that was checked.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Destination {
    /// The server of an endpoint. Nothing is looked up yet.
    pub fn new(endpoint: &Endpoint) -> Self {
        let place = match &endpoint.address {
            ServerAddress::Unix(path) => Place::Unix(path.clone()),
            ServerAddress::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => Place::Address(SocketAddr::new(ip, *port)),
                Err(_) => Place::Name(Name::new(host, *port)),
            },
        };
        let tls = endpoint.tls.as_ref().map(|tls| DestinationTls {
            client: ClientTls::from(Arc::clone(&tls.client)),
            server_name: match (&tls.server_name, endpoint.address.host()) {
                (Some(name), _) => name.clone(),
                (None, host) => host.unwrap_or_default().to_owned(),
            },
            needs_http2: endpoint.protocol == UpstreamProtocol::Http2,
        });
        Self { place, tls }
    }

    /// A new connection, with its TLS handshake where there is one. Returns also the address, where there is one.
    ///
    /// # Errors
    /// [`ConnectError`]; of several addresses, that of the last.
    pub async fn connect(
        &self,
        deadline: Instant,
    ) -> Result<(UpstreamStream, Option<SocketAddr>), ConnectError> {
        let stream = match &self.place {
            Place::Unix(path) => {
                let connecting = timeout_at(deadline, UnixStream::connect(path));
                return match connecting.await {
                    Ok(Ok(stream)) => Ok((UpstreamStream::Unix(stream), None)),
                    Ok(Err(error)) => Err(ConnectError::Io(error.kind())),
                    Err(_elapsed) => Err(ConnectError::TimedOut),
                };
            }
            Place::Address(address) => connect_to_any(&[*address], deadline).await?,
            Place::Name(name) => connect_by_name(name, deadline).await?,
        };
        let address = stream.peer_addr().ok();
        let Some(tls) = &self.tls else {
            return Ok((UpstreamStream::Tcp(stream), address));
        };
        let stream = tls.client.handshake(&tls.server_name, stream, deadline).await?;
        if tls.needs_http2 && stream.get_ref().1.alpn_protocol() != Some(Alpn::Http2.protocol()) {
            return Err(ConnectError::NotHttp2);
        }
        Ok((UpstreamStream::Tls(Box::new(stream)), address))
    }

    /// Whether new connections may still go to this address: a name can lose it.
    pub fn still_has(&self, address: Option<SocketAddr>) -> bool {
        match (&self.place, address) {
            (Place::Name(name), Some(address)) => name.has(address),
            _ => true,
        }
    }

    /// Looks the name up again in the background where that was long ago. Called now and then while there are
    /// connections, which would otherwise stay where they are for ever.
    pub fn refresh(&self) {
        if let Place::Name(name) = &self.place {
            name.refresh_if_old();
        }
    }
}

async fn connect_by_name(name: &Arc<Name>, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let addresses = name.addresses(deadline).await?;
    match connect_to_any(&addresses, deadline).await {
        Err(error) => match name.other_addresses(deadline).await {
            Some(others) => connect_to_any(&others, deadline).await,
            None => Err(error),
        },
        connected => connected,
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
