//! A connection before its protocol is known, and HTTP/2 on it.
//!
//! Only `connection` uses it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::drive::Drive;
use super::service::WatchedService;
use super::{ConnectionEnd, ConnectionSettings, PREFACE, Protocol, SILENCE};
use crate::net::DrainWatcher;
use crate::net::activity::{Activity, Overdue, Phase};
use crate::net::frames::Frames;
use crate::net::http1::ClientRequest;
use crate::net::streams::{StreamExecutor, Streams};
use crate::net::watched::{ReadBefore, WatchedStream};

/// A connection whose protocol is known.
pub(super) struct Begun {
    pub(super) activity: Arc<Activity>,
    pub(super) read_before: ReadBefore,
    pub(super) is_http2: bool,
}

impl Begun {
    /// Waits for the first bytes where they are to tell the protocol.
    pub(super) async fn listen(
        stream: &mut (impl AsyncRead + Unpin),
        protocol: Protocol,
        settings: &ConnectionSettings,
        drain: &DrainWatcher,
    ) -> Result<Self, ConnectionEnd> {
        let accepted = Instant::now();
        let mut begun = Self {
            activity: Activity::new(accepted, drain.enter(), settings.share),
            read_before: ReadBefore::default(),
            is_http2: false,
        };
        if protocol == Protocol::Http1 {
            return Ok(begun);
        }
        let sniffing = read_preface(stream, &mut begun.read_before);
        let sniffed = tokio::select! {
            sniffed = timeout_at(accepted + settings.patience.first_byte, sniffing) => sniffed,
            () = silent_for_a_while(drain) => return Err(ConnectionEnd::Closed),
        };
        begun.is_http2 = sniffed.map_err(|_elapsed| ConnectionEnd::TimedOut(Overdue::FirstByte))??;
        if begun.read_before.end == 0 || (protocol == Protocol::Http2 && !begun.is_http2) {
            return Err(ConnectionEnd::Closed);
        }
        begun.activity.enter(if begun.is_http2 {
            Phase::IdleFrames
        } else {
            Phase::Head
        });
        Ok(begun)
    }

    /// Serves HTTP/2 until it ends.
    pub(super) async fn serve_http2<T, S, B>(
        self,
        stream: T,
        settings: &ConnectionSettings,
        service: S,
        drain: &DrainWatcher,
    ) -> ConnectionEnd
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
        S::Future: 'static,
        B: Body + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self {
            activity,
            read_before,
            ..
        } = self;
        let streams = Arc::<Streams>::default();
        let frames = Frames::new(PREFACE.len() - read_before.end, settings.http2.resets);
        let io = TokioIo::new(WatchedStream::new(
            stream,
            read_before,
            Arc::clone(&activity),
            Some(frames),
        ));
        let service = WatchedService::new(service, Arc::clone(&activity), Some(Arc::clone(&streams)));
        let executor = StreamExecutor(Arc::clone(&streams));
        let connection = settings.http2.builder(executor).serve_connection(io, service);
        Drive::new(&activity, settings.patience, drain, Some(&streams))
            .run(connection)
            .await
    }
}

/// The service of the data path, as hyper calls it.
#[derive(Debug)]
pub(super) struct OverHttp2<S>(pub(super) S);

impl<S: Service<ClientRequest>> Service<Request<Incoming>> for OverHttp2<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        self.0.call(request.into())
    }
}

/// Ends when a client that says nothing has been waited for long enough in a drain.
async fn silent_for_a_while(drain: &DrainWatcher) {
    drain.begun().await;
    tokio::time::sleep(SILENCE).await;
}

/// Reads until the bytes are the HTTP/2 preface, or cannot become it. An end of the stream is no preface.
async fn read_preface(stream: &mut (impl AsyncRead + Unpin), read: &mut ReadBefore) -> io::Result<bool> {
    loop {
        let Some(rest) = read.bytes.get_mut(read.end..) else {
            return Ok(true);
        };
        if rest.is_empty() {
            return Ok(true);
        }
        let count = stream.read(rest).await?;
        read.end += count;
        if count == 0 || !PREFACE.starts_with(read.unread()) {
            return Ok(false);
        }
    }
}
