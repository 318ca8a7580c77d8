//! The service that a connection was given, noting when requests begin and end.
//!
//! Only `connection` uses it. It changes nothing in requests, and in responses only this: once a drain is announced, or
//! the connection has had its share, HTTP/1.1 clients are told that it closes (RFC 9112 section 9.6). HTTP/2 says GOAWAY.
//! A response waits for the interim answers before it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use pin_project_lite::pin_project;

use crate::net::activity::{ActiveRequest, Activity};
use crate::net::streams::{StreamSlot, Streams};

/// The service, noting when a request begins and when its response is over.
#[derive(Debug)]
pub(super) struct WatchedService<S> {
    service: S,
    activity: Arc<Activity>,
    /// `None` for HTTP/1.1.
    streams: Option<Arc<Streams>>,
}

impl<S> WatchedService<S> {
    pub(super) fn new(service: S, activity: Arc<Activity>, streams: Option<Arc<Streams>>) -> Self {
        Self {
            service,
            activity,
            streams,
        }
    }
}

impl<S, R, B> Service<R> for WatchedService<S>
where
    S: Service<R, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<WatchedBody<B>>;
    type Error = Infallible;
    type Future = WatchedResponse<S::Future>;

    fn call(&self, request: R) -> Self::Future {
        let active = Some(ActiveRequest::begin(&self.activity));
        WatchedResponse {
            response: self.service.call(request),
            active,
            slot: self.streams.as_ref().map(Streams::enter),
            is_http1: self.streams.is_none(),
        }
    }
}

pin_project! {
    /// The response to come.
    pub(super) struct WatchedResponse<F> {
        #[pin]
        response: F,
        active: Option<ActiveRequest>,
        slot: Option<StreamSlot>,
        is_http1: bool,
    }
}

impl<F, B> Future for WatchedResponse<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<WatchedBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(active) = this.active
            && active.interim().is_waiting()
        {
            // They go first, all of them; who writes them wakes this task.
            return Poll::Pending;
        }
        let response = ready!(this.response.poll(cx));
        let active = this.active.take();
        active.iter().for_each(|active| active.interim().close());
        let slot = this.slot.take();
        let says_close = *this.is_http1 && active.as_ref().is_some_and(ActiveRequest::is_last);
        Poll::Ready(response.map(|mut response| {
            if says_close && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response.map(|body| WatchedBody { body, active, slot })
        }))
    }
}

pin_project! {
    /// The response body; the request is over when hyper drops it.
    pub(super) struct WatchedBody<B> {
        #[pin]
        body: B,
        active: Option<ActiveRequest>,
        slot: Option<StreamSlot>,
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        if let Some(slot) = this.slot {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    slot.gave(frame.data_ref().map_or(0, Buf::remaining));
                    this.active.iter().for_each(ActiveRequest::moved);
                }
                _ => slot.asks(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
