//! An HTTP/2 client in cleartext, by prior knowledge (RFC 9113 section 3.3).

use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;

use super::DEADLINE;

/// One connection, with a runtime of its own.
#[derive(Debug)]
pub(crate) struct Http2Client {
    runtime: Runtime,
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// A response whose body is on its way.
#[derive(Debug)]
pub(crate) struct Http2Stream {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Http2Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Http2Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let sender = runtime.block_on(in_time(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
            // It ends with the runtime.
            drop(tokio::spawn(connection));
            sender
        }));
        Self {
            runtime,
            address,
            sender,
        }
    }

    /// A request, up to the head of its response. The body comes frame by frame.
    pub(crate) fn open(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Result<Http2Stream, hyper::Error> {
        let target = format!("http://localhost:{}{target}", self.address.port());
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let sender = &mut self.sender;
        self.runtime.block_on(in_time(async {
            sender.ready().await?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok(Http2Stream {
                status: head.status,
                headers: head.headers,
                body,
            })
        }))
    }

    /// The next frame of a response; `None` is its end.
    pub(crate) fn frame(&self, stream: &mut Http2Stream) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        self.runtime.block_on(in_time(stream.body.frame()))
    }

    /// A request to the authority `localhost`, or to that of an absolute target.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Http2Response, hyper::Error> {
        let target = if target.starts_with('/') {
            format!("http://localhost:{}{target}", self.address.port())
        } else {
            target.to_owned()
        };
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let sender = &mut self.sender;
        self.runtime.block_on(in_time(async {
            sender.ready().await?;
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?;
            Ok(Http2Response {
                status: head.status,
                headers: head.headers,
                trailers: body.trailers().cloned(),
                body: body.to_bytes(),
            })
        }))
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("too slow")
}
