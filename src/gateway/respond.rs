//! The one place that turns a reason into an answer (DESIGN §3.5).
//!
//! The client learns the reason and its fixed text, never the log's detail, and nothing that it sent comes back.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use super::body::ResponseBody;
use super::record::Record;
use super::request_id::RequestId;
use crate::policy::{Challenge, Denial, Reason, RouteTable};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// How the client of a request is answered, should it be refused.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) request_id: RequestId,
    dialect: Dialect,
    must_close: bool,
}

/// In which form a client reads a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Http,
    Grpc,
}

impl Reply {
    /// Looks at what the client speaks.
    pub(super) fn to(parts: &Parts, request_id: RequestId) -> Self {
        // gRPC clients say so in their content type.
        let dialect = match parts.headers.get(CONTENT_TYPE) {
            Some(value) if value.as_bytes().starts_with(b"application/grpc") => Dialect::Grpc,
            _ => Dialect::Http,
        };
        // After CONNECT the client may go on as if there were a tunnel (RFC 9931 section 3).
        let must_close = parts.method == Method::CONNECT && parts.version == Version::HTTP_11;
        Self {
            request_id,
            dialect,
            must_close,
        }
    }

    /// Answers a refusal. `retry_after` is in seconds.
    pub(super) fn refuse(
        &self,
        denial: &Denial,
        table: &RouteTable,
        retry_after: Option<u64>,
        record: Record,
    ) -> Response<ResponseBody> {
        let route = denial.route.and_then(|id| table.route(id));
        let challenge = route.and_then(|route| {
            let realm = &table.api(route.api)?.realm;
            Challenge::value(denial.reason, realm, Some(&route.requirement))
        });
        let mut fields = HeaderMap::with_capacity(6);
        if let Some(challenge) = challenge {
            fields.insert(WWW_AUTHENTICATE, challenge);
        }
        if denial.reason == Reason::MethodNotAllowed {
            // An empty list says that no method is allowed (RFC 9110 section 10.2.1).
            fields.insert(
                ALLOW,
                denial.allow.clone().unwrap_or(HeaderValue::from_static("")),
            );
        }
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if denial.reason.status() == StatusCode::SERVICE_UNAVAILABLE {
            fields.insert(RETRY_AFTER, HeaderValue::from(retry_after.unwrap_or(1).max(1)));
        }
        if self.must_close {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match self.dialect {
            Dialect::Http => http(denial.reason, fields, self.request_id, record),
            Dialect::Grpc => grpc(denial.reason, fields, record),
        }
    }
}

fn http(
    reason: Reason,
    mut fields: HeaderMap,
    request_id: RequestId,
    record: Record,
) -> Response<ResponseBody> {
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Every part is of a fixed alphabet without quotes and backslashes.
    let body = format!(
        "{{\"error\":\"{}\",\"error_description\":\"{}\",\"reason\":\"{}\",\"request_id\":\"{}\"}}\n",
        reason.error_code(),
        reason.text(),
        reason.name(),
        request_id.as_str(),
    );
    fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    // hyper leaves the body of an answer to `HEAD` away in HTTP/1.1 only.
    let body = if record.is_of_head() {
        Bytes::new()
    } else {
        Bytes::from(body)
    };
    let mut response = Response::new(ResponseBody::own(body, record));
    *response.status_mut() = reason.status();
    *response.headers_mut() = fields;
    response
}

/// A trailers-only response (gRPC over HTTP/2, "Responses").
fn grpc(reason: Reason, mut fields: HeaderMap, record: Record) -> Response<ResponseBody> {
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(GRPC_STATUS, HeaderValue::from(u16::from(reason.grpc_status())));
    let message = HeaderValue::try_from(format!("{}: {}", reason.name(), reason.text()));
    fields.insert(
        GRPC_MESSAGE,
        message.unwrap_or(HeaderValue::from_static("refused")),
    );
    let mut response = Response::new(ResponseBody::own(Bytes::new(), record));
    *response.headers_mut() = fields;
    response
}
