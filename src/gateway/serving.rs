//! What the service hands to the connection for a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;

use super::body::ResponseBody;

/// The answer to a request. Refusals are there at once; to wait for an upstream takes a box, so that who moves what it is
/// given several times moves a pointer.
pub enum Serving {
    /// It is there.
    Now(Option<Box<Response<ResponseBody>>>),
    /// It takes an upstream, or a key.
    Later(Pin<Box<dyn Future<Output = Response<ResponseBody>>>>),
}

impl Serving {
    pub(super) fn now(response: Response<ResponseBody>) -> Self {
        Self::Now(Some(Box::new(response)))
    }

    /// Waits for it.
    pub(super) async fn response(self) -> Response<ResponseBody> {
        match self.await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl Future for Serving {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            // What has ended is not polled.
            Self::Now(response) => response
                .take()
                .map_or(Poll::Pending, |response| Poll::Ready(Ok(*response))),
            Self::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}
