//! One caller of a Management API: gets its token by client credentials, and asks again when that has expired.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::definition::Secret;
use crate::net::{FetchError, Fetcher};

/// Who calls.
#[derive(Clone, Debug)]
pub struct TenantCredentials {
    /// The issuer identifier, with its slash: what every address is derived from.
    pub issuer: String,
    /// An application with a grant for the Management API.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
}

/// A caller. Holds one token at a time.
#[derive(Debug)]
pub struct ManagementClient {
    credentials: TenantCredentials,
    fetcher: Fetcher,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: Zeroizing<String>,
    until: Instant,
}

/// What the tenant answered.
#[derive(Clone, Debug)]
pub struct Said {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body; null where there is none, or where it is no JSON.
    pub body: Value,
}

/// Why there is no answer that is of use.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// Nothing came back.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// The token endpoint refused.
    #[error("no token: {status} {text}")]
    Token {
        /// The status.
        status: u16,
        /// `error_description`, or `error`.
        text: String,
        /// When to ask again, where it says so.
        retry_after: Option<Duration>,
    },
    /// The call was refused.
    #[error("{status}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// `message` of the body.
        text: String,
        /// When to ask again, where it says so.
        retry_after: Option<Duration>,
    },
    /// What was to be sent cannot be.
    #[error("{0}")]
    Argument(&'static str),
    /// The answer is not what such a tenant answers.
    #[error("the answer is not that of a Management API")]
    Unexpected,
}

/// The longest answer: 100 APIs with a thousand described permissions each would be more than anybody has.
const MAX_BODY: usize = 8 << 20;
/// A token is renewed so long before its end.
const MARGIN: Duration = Duration::from_secs(60);
/// The longest that a tenant may ask to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

impl ManagementClient {
    /// Nothing is asked yet.
    pub fn new(credentials: TenantCredentials, fetcher: Fetcher) -> Self {
        Self {
            credentials,
            fetcher,
            token: Mutex::new(None),
        }
    }

    /// Where it calls.
    pub fn issuer(&self) -> &str {
        &self.credentials.issuer
    }

    /// Calls below `/api/v2/`. A token that is not accepted any more is replaced once.
    ///
    /// # Errors
    /// [`CallError`]; every status below 400 is an answer.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Said, CallError> {
        let first = self.call_once(&method, path, body, fields).await;
        match first {
            Err(CallError::Refused { status: 401, .. }) => {
                *self.token.lock().await = None;
                self.call_once(&method, path, body, fields).await
            }
            other => other,
        }
    }

    async fn call_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Said, CallError> {
        let authorization = self.authorization().await?;
        let url = format!("{}api/v2/{path}", self.credentials.issuer);
        let mut request = Request::builder()
            .method(method)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, authorization);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let content = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request
            .body(Full::new(content))
            .map_err(|_malformed| CallError::Unexpected)?;
        let response = self.fetcher.send(&url, request, MAX_BODY).await?;
        let said = said(response);
        if said.status.as_u16() < 400 {
            return Ok(said);
        }
        Err(CallError::Refused {
            status: said.status.as_u16(),
            text: words(&said.body, &["message", "error_description", "error"]),
            retry_after: retry_after(&said.headers),
        })
    }

    async fn authorization(&self) -> Result<HeaderValue, CallError> {
        let mut token = self.token.lock().await;
        let now = Instant::now();
        if token.as_ref().is_none_or(|token| token.until <= now) {
            *token = Some(self.new_token(now).await?);
        }
        let text = token
            .as_ref()
            .map(|token| token.text.as_str())
            .unwrap_or_default();
        let text = Zeroizing::new(format!("Bearer {text}"));
        let mut value = HeaderValue::from_str(&text).map_err(|_malformed| CallError::Unexpected)?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn new_token(&self, now: Instant) -> Result<Token, CallError> {
        let TenantCredentials {
            issuer,
            client_id,
            client_secret,
        } = &self.credentials;
        let secret =
            std::str::from_utf8(client_secret.expose()).map_err(|_not_text| CallError::Unexpected)?;
        let said = ask_for_token(
            &self.fetcher,
            issuer,
            &json!({
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_secret": secret,
                "audience": format!("{issuer}api/v2/"),
            }),
        )
        .await?;
        let text = said.body.get("access_token").and_then(Value::as_str);
        let lifetime = said.body.get("expires_in").and_then(Value::as_u64).unwrap_or(60);
        let lifetime = Duration::from_secs(lifetime);
        Ok(Token {
            text: text.ok_or(CallError::Unexpected)?.to_owned().into(),
            until: now + lifetime.saturating_sub(MARGIN).max(lifetime / 2),
        })
    }
}

/// Asks a token endpoint.
///
/// # Errors
/// [`CallError::Fetch`], [`CallError::Token`].
pub async fn ask_for_token(fetcher: &Fetcher, issuer: &str, body: &Value) -> Result<Said, CallError> {
    let request = Request::post("/")
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|_malformed| CallError::Unexpected)?;
    let response = fetcher
        .send(&format!("{issuer}oauth/token"), request, MAX_BODY)
        .await?;
    let said = said(response);
    if said.status == StatusCode::OK {
        return Ok(said);
    }
    Err(CallError::Token {
        status: said.status.as_u16(),
        text: words(&said.body, &["error_description", "error", "message"]),
        retry_after: retry_after(&said.headers),
    })
}

/// Everything but letters, digits and `-._~` as `%XX` (RFC 3986 section 2.3): for a segment of a path, or the value of a
/// parameter.
pub fn path_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn said(response: http::Response<Bytes>) -> Said {
    let (head, body) = response.into_parts();
    Said {
        status: head.status,
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

/// The first of these members that is text; at most 300 characters of it, without control characters.
fn words(body: &Value, members: &[&str]) -> String {
    let text = members.iter().find_map(|member| body.get(member)?.as_str());
    let text = text.unwrap_or("without a word");
    text.chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect()
}

/// `Retry-After` in seconds, or the time of Auth0's `x-ratelimit-reset`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let reset = || {
        let reset = Duration::from_secs(number("x-ratelimit-reset")?);
        Some(reset.saturating_sub(now.unwrap_or_default()))
    };
    let wait = number("retry-after").map(Duration::from_secs).or_else(reset)?;
    Some(wait.min(LONGEST_WAIT))
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
