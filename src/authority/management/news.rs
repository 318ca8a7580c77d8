//! Telling of changes to APIs as soon as they happen: entity tags, and questions that may wait for news.
//!
//! Beyond the contract of the Management API: a gateway that follows definitions asks with `If-None-Match` (RFC 9110
//! section 13.1.2) and `Prefer: wait=20` (RFC 7240 section 4.3). Whoever sends neither sees nothing of it but a tag.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::authority::{Answer, Authority, Request};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const TOLD: &str = "/api/v2/resource-servers";
/// The longest that anybody is kept waiting.
const LONGEST: Duration = Duration::from_secs(25);

/// Answers, and where nothing is new to whoever asks, waits for as long as they want.
pub(super) async fn answer(
    authority: &Authority,
    request: &Request,
    once: impl AsyncFn(&Authority, &Request) -> Answer,
) -> Answer {
    // Before the first answer: what changes after it is news.
    let mut revisions = authority.state().revisions();
    let mut answer = once(authority, request).await;
    if request.method != Method::GET || request.path != TOLD {
        return answer;
    }
    let wait = wait(request);
    let until = Instant::now() + wait.unwrap_or_default();
    loop {
        if answer.status != StatusCode::OK {
            return answer;
        }
        let tag = tag(&answer.body);
        let is_known = request.headers.get(IF_NONE_MATCH) == Some(&tag);
        if !is_known {
            return answer.with(ETAG, tag);
        }
        if wait.is_none() || timeout_at(until, revisions.changed()).await.is_err() {
            let same = Answer::empty(StatusCode::NOT_MODIFIED).with(ETAG, tag);
            return match wait {
                Some(_) => same.with(PREFERENCE_APPLIED, HeaderValue::from_static("wait")),
                None => same,
            };
        }
        answer = once(authority, request).await;
    }
}

fn tag(body: &[u8]) -> HeaderValue {
    let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, body));
    HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// `Prefer: wait=20`, in seconds.
fn wait(request: &Request) -> Option<Duration> {
    let prefer = request.headers.get(PREFER)?.to_str().ok()?;
    let mut preferences = prefer.split(',').map(str::trim);
    let seconds = preferences.find_map(|preference| preference.strip_prefix("wait="))?;
    Some(Duration::from_secs(seconds.parse().ok()?).min(LONGEST))
}
