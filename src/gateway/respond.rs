//! The one place that turns a reason into an answer (DESIGN §3.5).
//!
//! The client learns the reason and its fixed text, never the log's detail, and nothing that it sent comes back.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body as _;

use super::body::ResponseBody;
use super::deadline::Deadlines;
use super::grpc::{self, Dialect};
use super::record::Record;
use super::request_id::RequestId;
use crate::net::ClientBody;
use crate::policy::{Challenge, Denial, Reason, RouteId, RouteTable};

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// What is read of the body of a refused request, in bytes and time.
const DISCARD_BYTES: usize = 256 << 10;
const DISCARD_FOR: Duration = Duration::from_secs(1);

/// How the client of a request is answered, should it be refused.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) request_id: RequestId,
    pub(super) dialect: Dialect,
    must_close: bool,
    is_http1: bool,
}

impl Reply {
    /// Looks at what the client speaks.
    pub(super) fn to(parts: &Parts, request_id: RequestId) -> Self {
        // After CONNECT the client may go on as if there were a tunnel (RFC 9931 section 3).
        let must_close = parts.method == Method::CONNECT && parts.version == Version::HTTP_11;
        Self {
            request_id,
            dialect: Dialect::of(parts),
            must_close,
            is_http1: parts.version <= Version::HTTP_11,
        }
    }

    /// Answers with a document for anybody, scripts of other origins included (RFC 9728 section 3.2).
    pub(super) fn document(&self, document: &str, mut record: Record) -> Response<ResponseBody> {
        record.answered_here(StatusCode::OK);
        let body = if record.is_of_head() {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(document.as_bytes())
        };
        let mut response = Response::new(ResponseBody::own(body, record));
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
        fields.insert(CACHE_CONTROL, DOCUMENT_AGE);
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }

    /// Answers a permitted request that got no answer.
    pub(super) fn fail(
        &self,
        reason: Reason,
        route: RouteId,
        table: &RouteTable,
        mut record: Record,
    ) -> Response<ResponseBody> {
        record.failed(reason);
        let denial = Denial {
            route: Some(route),
            ..Denial::of(reason)
        };
        self.refuse(&denial, table, None, record)
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
            Challenge::value(denial.reason, realm, denial.scheme, Some(&route.requirement))
        });
        let mut fields = HeaderMap::with_capacity(6);
        if let Some(challenge) = challenge {
            fields.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(nonce) = denial.nonce().and_then(|nonce| HeaderValue::from_str(nonce).ok()) {
            fields.insert(DPOP_NONCE, nonce);
        }
        if denial.reason == Reason::MethodNotAllowed {
            // An empty list says that no method is allowed (RFC 9110 section 10.2.1).
            fields.insert(
                ALLOW,
                denial.allow.clone().unwrap_or(HeaderValue::from_static("")),
            );
        }
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let status = denial.reason.status();
        if matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            fields.insert(RETRY_AFTER, HeaderValue::from(retry_after.unwrap_or(1).max(1)));
        }
        // Where somebody before us reads a message otherwise, what follows it here may be no request of theirs (RFC 9112
        // section 11.2).
        if self.must_close || self.is_http1 && denial.reason == Reason::BadRequest {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match self.dialect {
            Dialect::Http => http(denial.reason, fields, &self.request_id, record),
            Dialect::Grpc => trailers_only(denial.reason, fields, record),
        }
    }
}

/// What an API says of itself changes with its definition, which is seldom.
const DOCUMENT_AGE: HeaderValue = HeaderValue::from_static("public, max-age=300");

fn http(
    reason: Reason,
    mut fields: HeaderMap,
    request_id: &RequestId,
    record: Record,
) -> Response<ResponseBody> {
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Every part is of a fixed alphabet without quotes and backslashes.
    let body = [
        "{\"error\":\"",
        reason.error_code(),
        "\",\"error_description\":\"",
        reason.text(),
        "\",\"reason\":\"",
        reason.name(),
        "\",\"request_id\":\"",
        request_id.as_str(),
        "\"}\n",
    ]
    .concat();
    fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    // In HTTP/2, hyper would send the body of an answer to `HEAD`.
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
fn trailers_only(reason: Reason, mut fields: HeaderMap, record: Record) -> Response<ResponseBody> {
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    grpc::insert_status(&mut fields, reason);
    let mut response = Response::new(ResponseBody::own(Bytes::new(), record));
    *response.headers_mut() = fields;
    response
}

/// Reads on for a little while after a refusal: a client that is still sending may not look at the answer before it is
/// done, and loses it when the connection or the stream is reset under it (RFC 9112 section 9.6).
pub(super) fn discard(mut body: ClientBody, deadlines: &Rc<Deadlines>) {
    if body.is_end_stream() {
        return;
    }
    let deadline = deadlines.after(DISCARD_FOR, Instant::now());
    tokio::task::spawn_local(async move {
        let reading = async {
            let mut left = DISCARD_BYTES;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                left = match left.checked_sub(bytes) {
                    Some(left) => left,
                    None => return,
                };
            }
        };
        deadline.limit(reading).await
    });
}
