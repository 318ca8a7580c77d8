//! The service that a connection was given, noting when requests begin and end.
//!
//! Only `connection` uses it. It changes nothing in requests and responses.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
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
        WatchedResponse {
            response: self.service.call(request),
            active,
        }
    }
}

pin_project! {
    /// The response to come.
    pub(super) struct WatchedResponse<F> {
        #[pin]
        response: F,
        active: Option<ActiveRequest>,
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
        Poll::Ready(response.map(|response| {
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
