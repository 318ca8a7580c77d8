//! How a gRPC client is answered, and until when its call may take (gRPC over HTTP/2, "Requests" and "Responses").
//!
//! `respond` writes refusals with it, `body` ends responses with it. It knows no reasons of its own.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::policy::{Reason, grpc_timeout, is_grpc};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// In which form a client reads a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Http,
    Grpc,
}

impl Dialect {
    /// What the client speaks. There is no gRPC without HTTP/2: such a request is answered as any other.
    pub(super) fn of(parts: &Parts) -> Self {
        if parts.version != Version::HTTP_2 {
            return Self::Http;
        }
        match parts.headers.get(CONTENT_TYPE) {
            Some(value) if is_grpc(value.as_bytes()) => Self::Grpc,
            _ => Self::Http,
        }
    }

    /// How long the client gives the whole call; `None` where it does not say.
    pub(super) fn call_time(self, fields: &HeaderMap) -> Result<Option<Duration>, Reason> {
        if self == Self::Http {
            return Ok(None);
        }
        let mut values = fields.get_all(GRPC_TIMEOUT).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => grpc_timeout(value.as_bytes()).map(Some).ok_or(Reason::BadRequest),
            (Some(_), Some(_)) => Err(Reason::BadRequest),
        }
    }
}

/// The status of a call: in the head of an answer that is nothing else, or in the trailers of one that breaks off.
pub(super) fn insert_status(fields: &mut HeaderMap, reason: Reason) {
    fields.insert(GRPC_STATUS, HeaderValue::from(u16::from(reason.grpc_status())));
    let message = HeaderValue::try_from(reason.grpc_message());
    fields.insert(
        GRPC_MESSAGE,
        message.unwrap_or(HeaderValue::from_static("refused")),
    );
}
