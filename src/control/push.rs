//! `/revocations` of the admin listener: the one thing there that changes something, for whoever shows the secret.
//!
//! `admin` hands over what comes for that path. Loopback alone is no permission: every process of a pod is there, and so
//! is what an application can be talked into sending.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::json;

use super::admin::{JSON, answer};
use super::revocations::{RevocationDesk, RevocationError};

/// Of one push.
const LARGEST_BODY: usize = 4 << 20;
/// For its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers a request for `/revocations`; `None` where nobody may push.
pub(super) async fn revocations<B>(
    desk: &RevocationDesk,
    request: Request<B>,
) -> Option<Response<Full<Bytes>>>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let secret = desk.secret()?;
    if !is_shown(secret, &request) {
        let mut refused = told(
            StatusCode::UNAUTHORIZED,
            "the secret of revocations.push is asked for",
        );
        let challenge = HeaderValue::from_static("Bearer realm=\"revocations\"");
        refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        return Some(refused);
    }
    let method = request.method().clone();
    if method == Method::GET || method == Method::HEAD {
        return Some(answer(StatusCode::OK, JSON, desk.shown().await));
    }
    if method != Method::POST && method != Method::DELETE {
        let mut refused = told(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, POST or DELETE");
        let allowed = HeaderValue::from_static("GET, HEAD, POST, DELETE");
        refused.headers_mut().insert(ALLOW, allowed);
        return Some(refused);
    }
    let reading = Limited::new(request.into_body(), LARGEST_BODY).collect();
    // A body that breaks off, takes too long or is too large: none of it is taken.
    let Ok(Ok(body)) = tokio::time::timeout(PATIENCE, reading).await else {
        return Some(told(
            StatusCode::BAD_REQUEST,
            "no whole body of at most 4MiB came in time",
        ));
    };
    let body = body.to_bytes();
    let done = if method == Method::POST {
        desk.push(&body).await
    } else {
        desk.withdraw(&body).await
    };
    Some(match done {
        Ok(count) => {
            tracing::info!(%method, pushed = count, "revocations");
            answer(StatusCode::OK, JSON, json!({ "pushed": count }).to_string())
        }
        Err(error) => {
            tracing::error!(%method, %error, "revocations");
            let status = match error {
                RevocationError::Fault(_) => StatusCode::BAD_REQUEST,
                RevocationError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
                RevocationError::File { .. } | RevocationError::NotStored(_) => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            told(status, &error.to_string())
        }
    })
}

fn told(status: StatusCode, error: &str) -> Response<Full<Bytes>> {
    answer(status, JSON, json!({ "error": error }).to_string())
}

fn is_shown<B>(secret: &[u8], request: &Request<B>) -> bool {
    let mut lines = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let shown = match line.as_bytes().split_at_checked(7) {
        Some((scheme, shown)) if scheme.eq_ignore_ascii_case(b"bearer ") => shown,
        _ => return false,
    };
    verify_slices_are_equal(shown, secret).is_ok()
}
