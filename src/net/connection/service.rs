//! The service that a connection was given, noting when requests begin and end.
//!
//! Only `connection` uses it. It changes nothing in requests, and in responses only this: once a drain is announced,
//! HTTP/1.1 clients are told that the connection closes (RFC 9112 section 9.6). HTTP/2 says GOAWAY when it begins.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use crate::net::activity::{ActiveRequest, Activity};

/// The service, noting when a request begins and when its response is over.
#[derive(Debug)]
pub(super) struct WatchedService<S> {
    service: S,
    activity: Arc<Activity>,
}

impl<S> WatchedService<S> {
    pub(super) fn new(service: S, activity: Arc<Activity>) -> Self {
        Self { service, activity }
    }
}

impl<S, B> Service<Request<Incoming>> for WatchedService<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<WatchedBody<B>>;
    type Error = Infallible;
    type Future = WatchedResponse<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let active = Some(ActiveRequest::begin(&self.activity));
        let is_http1 = request.version() <= Version::HTTP_11;
        WatchedResponse {
            response: self.service.call(request),
            active,
            is_http1,
        }
    }
}

pin_project! {
    /// The response to come.
    pub(super) struct WatchedResponse<F> {
        #[pin]
        response: F,
        active: Option<ActiveRequest>,
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
        let response = ready!(this.response.poll(cx));
        let active = this.active.take();
        let says_close = *this.is_http1 && active.as_ref().is_some_and(ActiveRequest::is_leaving);
        Poll::Ready(response.map(|mut response| {
            if says_close && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response.map(|body| WatchedBody {
                body,
                _active: active,
            })
        }))
    }
}

pin_project! {
    /// The response body; the request is over when hyper drops it.
    pub(super) struct WatchedBody<B> {
        #[pin]
        body: B,
        _active: Option<ActiveRequest>,
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
