//! A request as it goes to the upstream: the client's head, edited, the fields that the gateway adds, and the body.
//!
//! What is added stands apart from what the client sent, as it is written: none of it has the name of a field that is
//! still there, so nothing has to be looked up. `headers` sees to that.

use bytes::{Buf as _, Bytes};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::request_body::RequestBody;
use crate::net::http1::write_field;

/// A permitted request, ready to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) head: Box<Parts>,
    pub(super) added: Added,
    pub(super) body: RequestBody,
}

/// Fields that the gateway adds to those of the client: lines of HTTP/1.1, each with its end.
#[derive(Debug)]
pub(super) struct Added(Vec<u8>);

impl Outgoing {
    /// All in one.
    pub(super) fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::from_parts(*self.head, self.body);
        self.added.merge_into(request.headers_mut());
        request
    }
}

impl From<Request<RequestBody>> for Outgoing {
    fn from(request: Request<RequestBody>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            head: Box::new(head),
            added: Added(Vec::new()),
            body,
        }
    }
}

impl Added {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(USUAL))
    }

    /// One more. The caller has removed the field of this name that the client may have sent.
    pub(super) fn push(&mut self, name: &HeaderName, value: &HeaderValue) {
        write_field(name.as_str(), value.as_bytes(), &mut self.0);
    }

    /// The same for a value that need not be made one first. Anything but visible ASCII is none, and is not added.
    pub(super) fn push_visible(&mut self, name: &HeaderName, value: &[u8]) {
        if value.iter().all(u8::is_ascii_graphic) {
            write_field(name.as_str(), value, &mut self.0);
        }
    }

    /// As they are written.
    pub(super) fn lines(&self) -> &[u8] {
        &self.0
    }

    /// Puts them among the others.
    pub(super) fn merge_into(self, fields: &mut HeaderMap) {
        let mut rest = Bytes::from(self.0);
        while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            let line = rest.split_to(end);
            rest.advance(2);
            // No name has a colon, and no value an end of a line.
            let Some(colon) = line.windows(2).position(|two| two == b": ") else {
                continue;
            };
            let (name, value) = (line.slice(..colon), line.slice(colon + 2..));
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(&name),
                HeaderValue::from_maybe_shared(value),
            ) {
                fields.insert(name, value);
            }
        }
    }
}

/// Bytes of what is added to most requests, and some more.
const USUAL: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_the_same_in_both_versions() {
        let mut added = Added::new();
        added.push(
            &HeaderName::from_static("x-user"),
            &HeaderValue::from_static("a: b"),
        );
        added.push(&HeaderName::from_static("x-none"), &HeaderValue::from_static(""));
        added.push_visible(&HeaderName::from_static("x-id"), b"0f");
        assert_eq!(added.lines(), b"x-user: a: b\r\nx-none: \r\nx-id: 0f\r\n");
        let mut fields = HeaderMap::new();
        fields.insert("x-own", HeaderValue::from_static("1"));
        added.merge_into(&mut fields);
        assert_eq!(fields.len(), 4);
        for (name, value) in [("x-own", "1"), ("x-user", "a: b"), ("x-none", ""), ("x-id", "0f")] {
            assert_eq!(fields[name], value);
        }
    }

    #[test]
    fn no_line_is_broken() {
        let mut added = Added::new();
        for value in [&b"a\r\nx-admin: 1"[..], b"a b", b"\xe4", b"\0"] {
            added.push_visible(&HeaderName::from_static("x-id"), value);
        }
        assert_eq!(added.lines(), b"");
    }
}
