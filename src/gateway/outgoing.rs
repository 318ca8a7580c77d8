//! A request as it goes to the upstream: the client's head, edited, the fields that the gateway adds, and the body.
//!
//! What is added stands apart from what the client sent until it is written: none of it has the name of a field that is
//! still there, so nothing has to be looked up. `headers` sees to that.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::request_body::RequestBody;

/// A permitted request, ready to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) head: Parts,
    pub(super) added: Added,
    pub(super) body: RequestBody,
}

/// Fields that the gateway adds to those of the client.
#[derive(Debug)]
pub(super) struct Added(Vec<(HeaderName, HeaderValue)>);

impl Outgoing {
    /// All in one.
    pub(super) fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::from_parts(self.head, self.body);
        self.added.merge_into(request.headers_mut());
        request
    }
}

impl From<Request<RequestBody>> for Outgoing {
    fn from(request: Request<RequestBody>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            head,
            added: Added(Vec::new()),
            body,
        }
    }
}

impl Added {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(8))
    }

    /// One more. The caller has removed the field of this name that the client may have sent.
    pub(super) fn push(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Puts them among the others.
    pub(super) fn merge_into(self, fields: &mut HeaderMap) {
        for (name, value) in self.0 {
            fields.insert(name, value);
        }
    }
}
