//! One small HTTP/1.1 exchange: a GET for key sets and discovery documents, a POST of a form for questions about tokens and for tokens,
//! any method for a Management API.
//!
//! `control::jwks`, `control::tenant` and `gateway::introspection` use it. It follows no redirect, knows no proxy, keeps no connection and reads a bounded body; what
//! the server sent never becomes part of an error's text.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    HOST, USER_AGENT,
};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::net::{AddressRule, ClientTls, ConnectError, connect};

/// Makes small requests with fixed limits.
#[derive(Clone, Debug)]
pub struct Fetcher {
    tls: Option<ClientTls>,
    timeout: Duration,
    allow_http: bool,
}

/// What a successful request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The whole body.
    pub body: Bytes,
    /// `max-age` of `Cache-Control`; zero where it says `no-store` or `no-cache` (RFC 9111 section 5.2.2).
    pub max_age: Option<Duration>,
    /// `Content-Type` without its parameters, in lower case; empty where there is none.
    pub media_type: Box<str>,
}

/// Why a request failed. The texts name the check, never what the server sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address is not an absolute http or https URL, or carries a user name.
    #[error("not a usable address")]
    BadAddress,
    /// Plain http to an address that is not loopback.
    #[error("plain http is only for loopback addresses")]
    Insecure,
    /// There is no connection.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The deadline passed before the last byte.
    #[error("timed out")]
    TimedOut,
    /// Anything but 200; redirects are not followed.
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    /// The body is longer than 512 KiB, or 64 KiB where a form was posted.
    #[error("the answer is too large")]
    TooLarge,
    /// The body has a content encoding although none was asked for.
    #[error("the answer is compressed")]
    Encoded,
    /// The server broke HTTP, or the connection.
    #[error("the answer is not complete HTTP")]
    Protocol,
}

impl Fetched {
    /// What an answer brought.
    ///
    /// # Errors
    /// [`FetchError::Status`], where it is not 200.
    pub fn of(response: Response<Bytes>) -> Result<Self, FetchError> {
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let (max_age, media_type) = (max_age(response.headers()), media_type(response.headers()));
        Ok(Self {
            body: response.into_body(),
            max_age,
            media_type,
        })
    }
}

impl FetchError {
    /// One word, for the `result` of a metric.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TimedOut | Self::Connect(ConnectError::TimedOut) => "timeout",
            Self::Connect(ConnectError::Tls(_)) => "tls",
            Self::Connect(_) => "connect",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::BadAddress | Self::Insecure => "address",
            Self::Encoded | Self::Protocol => "protocol",
        }
    }
}

impl Fetcher {
    /// `timeout` is for one fetch from connect to last byte; 2 s of it at most for the connect. Without `tls` an https
    /// address fails.
    pub fn new(tls: Option<ClientTls>, timeout: Duration, allow_http: bool) -> Self {
        Self {
            tls,
            timeout: timeout.min(LONGEST),
            allow_http,
        }
    }

    /// Gets `url`.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, url: &str) -> Result<Fetched, FetchError> {
        let request = Request::get("/")
            .header(ACCEPT, "application/json, application/jwk-set+json")
            .body(Full::default())
            .map_err(|_malformed| FetchError::BadAddress)?;
        Fetched::of(self.send(url, request, MAX_BODY).await?)
    }

    /// Posts a form (`application/x-www-form-urlencoded`) to `url`.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn post_form(
        &self,
        url: &str,
        form: Bytes,
        authorization: Option<HeaderValue>,
    ) -> Result<Fetched, FetchError> {
        Fetched::of(self.post_form_for_any(url, form, authorization).await?)
    }

    /// The same, where any status is an answer.
    ///
    /// # Errors
    /// [`FetchError`], but not [`FetchError::Status`].
    pub async fn post_form_for_any(
        &self,
        url: &str,
        form: Bytes,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Bytes>, FetchError> {
        let length = form.len();
        let mut request = Request::post("/")
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(CONTENT_LENGTH, length)
            .body(Full::new(form))
            .map_err(|_malformed| FetchError::BadAddress)?;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        self.send(url, request, MAX_ANSWER).await
    }

    /// Sends a request of any method; its target is replaced by `url`. Any status is an answer.
    ///
    /// # Errors
    /// [`FetchError`], but not [`FetchError::Status`].
    pub async fn send(
        &self,
        url: &str,
        request: Request<Full<Bytes>>,
        max_body: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let target = Target::parse(url, self.allow_http)?;
        let deadline = Instant::now() + self.timeout;
        let connect_deadline = deadline.min(Instant::now() + CONNECT);
        let stream = connect(
            &target.host,
            target.port,
            AddressRule::NoLinkLocal,
            connect_deadline,
        )
        .await?;
        let exchange = async {
            match (&self.tls, target.is_https) {
                (Some(tls), true) => {
                    let stream = tls.handshake(&target.host, stream, deadline).await?;
                    exchange(stream, &target, request, max_body).await
                }
                (None, true) => Err(ConnectError::Tls("no trusted authorities".into()).into()),
                (_, false) => exchange(stream, &target, request, max_body).await,
            }
        };
        timeout_at(deadline, exchange)
            .await
            .map_err(|_elapsed| FetchError::TimedOut)?
    }
}

/// A checked URL.
struct Target {
    is_https: bool,
    host: String,
    port: u16,
    authority: String,
    path: Uri,
}

impl Target {
    fn parse(url: &str, allow_http: bool) -> Result<Self, FetchError> {
        let uri: Uri = url.parse().map_err(|_malformed| FetchError::BadAddress)?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(FetchError::BadAddress),
        };
        let authority = uri.authority().ok_or(FetchError::BadAddress)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(FetchError::BadAddress);
        }
        if !is_https && !allow_http && !is_loopback(authority.host()) {
            return Err(FetchError::Insecure);
        }
        Ok(Self {
            is_https,
            host: authority
                .host()
                .trim_start_matches('[')
                .trim_end_matches(']')
                .into(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.as_str().into(),
            path: uri
                .path_and_query()
                .map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone())),
        })
    }
}

/// Whether a host as it stands in a URL is this machine.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn exchange<T>(
    stream: T,
    target: &Target,
    mut request: Request<Full<Bytes>>,
    max_body: usize,
) -> Result<Response<Bytes>, FetchError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|_broken| FetchError::Protocol)?;
    let host = HeaderValue::from_str(&target.authority).map_err(|_malformed| FetchError::BadAddress)?;
    *request.uri_mut() = target.path.clone();
    let fields = request.headers_mut();
    fields.insert(HOST, host);
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    fields.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("scopegate/", env!("CARGO_PKG_VERSION"))),
    );
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|_broken| FetchError::Protocol)?;
        let (head, body) = response.into_parts();
        let encoding = head.headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(FetchError::Encoded);
        }
        let body = Limited::new(body, max_body).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchError::TooLarge
            } else {
                FetchError::Protocol
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    beside(answer, connection).await
}

/// Runs the exchange while the connection, which it depends on, is polled as well. The connection may end first.
async fn beside<O>(answer: impl Future<Output = O>, connection: impl Future) -> O {
    tokio::pin!(answer, connection);
    let mut is_over = false;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            _ = &mut connection, if !is_over => is_over = true,
        }
    }
}

/// RFC 9110 section 8.3.1: parameters follow a semicolon, case does not matter.
fn media_type(headers: &HeaderMap) -> Box<str> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase().into()
}

/// RFC 9111 section 5.2: directives are separated by commas, names do not depend on case, the first `max-age` counts.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut found = None;
    for line in headers.get_all(CACHE_CONTROL) {
        for directive in line.to_str().unwrap_or_default().split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim();
            if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
                return Some(Duration::ZERO);
            }
            if name.eq_ignore_ascii_case("max-age") && found.is_none() {
                found = value
                    .trim()
                    .trim_matches('"')
                    .parse()
                    .ok()
                    .map(Duration::from_secs);
            }
        }
    }
    found
}

/// Of a fetch, whatever was configured.
const LONGEST: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(2);
/// Of a response body to a GET.
const MAX_BODY: usize = 512 << 10;
/// Of a response body to a form.
const MAX_ANSWER: usize = 64 << 10;
/// Of a response head.
const MAX_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_be_plain() {
        let cases = [
            ("https://example.com/jwks", false, Ok(())),
            ("http://127.0.0.1:9000/jwks", false, Ok(())),
            ("http://[::1]:9000/jwks", false, Ok(())),
            ("http://localhost/jwks", false, Ok(())),
            ("http://example.com/jwks", false, Err(FetchError::Insecure)),
            (
                "http://127.0.0.1.example.com/jwks",
                false,
                Err(FetchError::Insecure),
            ),
            ("http://example.com/jwks", true, Ok(())),
            (
                "https://user@example.com/jwks",
                false,
                Err(FetchError::BadAddress),
            ),
            (
                "http://127.0.0.1@example.com/jwks",
                false,
                Err(FetchError::BadAddress),
            ),
            ("ftp://example.com/jwks", false, Err(FetchError::BadAddress)),
            ("/jwks", false, Err(FetchError::BadAddress)),
        ];
        for (url, allow_http, expected) in cases {
            assert_eq!(Target::parse(url, allow_http).map(|_| ()), expected, "{url}");
        }
    }

    #[test]
    fn a_target_is_taken_apart() {
        let target = Target::parse("http://[::1]:9000/a/b?c=d", false).unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 9000));
        assert_eq!(target.authority, "[::1]:9000");
        assert_eq!(target.path, "/a/b?c=d");
        let target = Target::parse("https://example.com", false).unwrap();
        assert_eq!((target.host.as_str(), target.port), ("example.com", 443));
        assert_eq!(target.path, "/");
    }

    #[test]
    fn max_age_is_read_as_rfc_9111_says() {
        let cases = [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"61\"", Some(61)),
            ("max-age=5, max-age=9", Some(5)),
            ("no-cache, max-age=60", Some(0)),
            ("s-maxage=60", None),
            ("max-age=many", None),
        ];
        for (value, expected) in cases {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, value.parse().unwrap())]);
            assert_eq!(max_age(&headers), expected.map(Duration::from_secs), "{value}");
        }
    }
}
