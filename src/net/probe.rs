//! One GET to a server of an upstream, of which only the status is of interest: what an active health check asks.
//!
//! `control` uses it. Each probe is a connection of its own, made as those of requests are, so that it finds what they
//! would find; the body is not read.

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, timeout_at};

use crate::net::{ConnectError, Destination};
use crate::snapshot::{Endpoint, UpstreamProtocol};

/// Why there is no status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// There is no connection.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The deadline passed before the response head was there.
    #[error("no answer in time")]
    TimedOut,
    /// The server broke off or did not speak HTTP.
    #[error("the answer is no HTTP")]
    Protocol,
}

/// Asks for `path`.
///
/// # Errors
/// [`ProbeError`].
pub async fn probe(
    destination: &Destination,
    endpoint: &Endpoint,
    path: &PathAndQuery,
    deadline: Instant,
) -> Result<StatusCode, ProbeError> {
    let (stream, _) = destination.connect(deadline).await?;
    let io = TokioIo::new(stream);
    let host = match endpoint.address.host() {
        Some(_) => endpoint.address.to_string(),
        None => "localhost".into(),
    };
    let exchange = async {
        match endpoint.protocol {
            UpstreamProtocol::Http1 => {
                let request = Request::get(Uri::from(path.clone())).header(HOST, host);
                let (mut sender, mut connection) = http1::Builder::new()
                    .max_buf_size(MAX_HEAD)
                    .handshake(io)
                    .await
                    .ok()?;
                let answer = sender.send_request(finished(request)?);
                // A connection that ends has told the sender how; the answer may still be on its way to it.
                tokio::pin!(answer);
                let mut is_over = false;
                loop {
                    tokio::select! {
                        biased;
                        answer = &mut answer => return Some(answer.ok()?.status()),
                        _ = &mut connection, if !is_over => is_over = true,
                    }
                }
            }
            UpstreamProtocol::Http2 => {
                let scheme = endpoint.tls.as_ref().map_or(Scheme::HTTP, |_| Scheme::HTTPS);
                let uri = Uri::builder()
                    .scheme(scheme)
                    .authority(host)
                    .path_and_query(path.clone());
                let request = Request::get(uri.build().ok()?);
                let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .max_header_list_size(65_536)
                    .handshake(io)
                    .await
                    .ok()?;
                // It ends when the sender is gone.
                tokio::spawn(connection);
                Some(sender.send_request(finished(request)?).await.ok()?.status())
            }
        }
    };
    timeout_at(deadline, exchange)
        .await
        .map_err(|_elapsed| ProbeError::TimedOut)?
        .ok_or(ProbeError::Protocol)
}

fn finished(request: http::request::Builder) -> Option<Request<Empty<Bytes>>> {
    request
        .header(USER_AGENT, concat!("scopegate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .ok()
}

/// Of a response head.
const MAX_HEAD: usize = 64 << 10;
