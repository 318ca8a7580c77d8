//! Whatever asks an issuer something: finds the endpoint, writes forms, and proves who the gateway is.
//!
//! Desks ask, and `explain` does. Neither a token nor a secret ever gets into a fault.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::clock::unix_now;
use crate::net::{ClientTls, FetchError, Fetcher};
use crate::snapshot::{AskedEndpoint, EndpointKind};
use crate::token::{AnswerFault, AssertionKey, oauth_metadata_address, openid_metadata_address};

/// Why there is no answer. The texts go to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::gateway) enum QuestionFault {
    #[error("discovery: {0}")]
    Discovery(FetchError),
    #[error("discovery: the document is not one of this issuer")]
    DiscoveryDocument,
    #[error("discovery: the issuer names no {}; set `{}`", .0.member(), .0.key())]
    NoEndpoint(EndpointKind),
    #[error("{0}")]
    Fetch(FetchError),
    #[error(
        "the endpoint does not accept the credentials of the gateway (status {0}): see client_id and authentication"
    )]
    Credentials(u16),
    #[error(
        "the endpoint answers with a signed JWT (RFC 9701), which is not supported: it must answer application/json"
    )]
    Signed,
    #[error("the answer is not application/json")]
    NotJson,
    #[error("{0}")]
    Answer(AnswerFault),
    #[error("the answer has no token, or one that cannot be sent")]
    NoToken,
    #[error("the issuer asks for patience: too many questions (status 429)")]
    Throttled(Duration),
    #[error("cannot sign an assertion")]
    Signing,
    #[error("timed out")]
    TimedOut,
}

/// RFC 8414 section 2.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    introspection_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

/// What the endpoint of an issuer is asked with.
#[derive(Debug)]
pub(in crate::gateway) struct Asker<'a> {
    pub(in crate::gateway) endpoint: &'a AskedEndpoint,
    pub(in crate::gateway) fetcher: Fetcher,
}

impl<'a> Asker<'a> {
    pub(in crate::gateway) fn new(endpoint: &'a AskedEndpoint, timeout: Duration) -> Self {
        let tls = endpoint.tls.clone().map(ClientTls::from);
        Self {
            endpoint,
            fetcher: Fetcher::new(tls, timeout, endpoint.allow_http),
        }
    }

    /// The address that discovery gives (RFC 8414 section 2).
    pub(in crate::gateway) async fn discover(&self) -> Result<String, QuestionFault> {
        let issuer = &self.endpoint.issuer;
        match self.metadata(&openid_metadata_address(issuer)).await {
            // There is no such document, or it does not tell: the issuer may speak plain OAuth 2.0.
            Err(QuestionFault::Discovery(FetchError::Status(_)) | QuestionFault::NoEndpoint(_)) => {
                let address = oauth_metadata_address(issuer);
                self.metadata(&address.ok_or(QuestionFault::NoEndpoint(self.endpoint.kind))?)
                    .await
            }
            found => found,
        }
    }

    async fn metadata(&self, address: &str) -> Result<String, QuestionFault> {
        let document = self
            .fetcher
            .get(address)
            .await
            .map_err(QuestionFault::Discovery)?;
        let metadata: Metadata =
            serde_json::from_slice(&document.body).map_err(|_malformed| QuestionFault::DiscoveryDocument)?;
        if metadata.issuer != *self.endpoint.issuer {
            return Err(QuestionFault::DiscoveryDocument);
        }
        let kind = self.endpoint.kind;
        let address = match kind {
            EndpointKind::Introspection => metadata.introspection_endpoint,
            EndpointKind::Token => metadata.token_endpoint,
        };
        address.ok_or(QuestionFault::NoEndpoint(kind))
    }
}

impl QuestionFault {
    /// The word in the `result` of the metric.
    pub(in crate::gateway) fn label(&self) -> &'static str {
        match self {
            Self::DiscoveryDocument | Self::NoEndpoint(_) => "discovery",
            Self::Discovery(error) | Self::Fetch(error) => error.label(),
            Self::Credentials(_) | Self::Signing => "credentials",
            Self::Signed | Self::NotJson => "media_type",
            Self::Answer(AnswerFault::TooLarge) => "too_large",
            Self::Answer(_) | Self::NoToken => "malformed",
            Self::Throttled(_) => "throttled",
            Self::TimedOut => "timeout",
        }
    }

    /// How long nobody should come again, as far as the endpoint has said.
    pub(in crate::gateway) fn retry_after(&self) -> Duration {
        match self {
            Self::Throttled(wait) => *wait,
            _ => Duration::ZERO,
        }
    }
}

/// A private-key operation takes up to some milliseconds: not where requests are served.
pub(in crate::gateway) async fn signed(
    key: AssertionKey,
    client_id: String,
    audience: String,
) -> Result<String, QuestionFault> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_no_randomness| QuestionFault::Signing)?;
    let jti = URL_SAFE_NO_PAD.encode(random);
    let signing = tokio::task::spawn_blocking(move || key.sign(&client_id, &audience, &jti, unix_now()));
    match signing.await {
        Ok(Ok(assertion)) => Ok(assertion),
        Ok(Err(_)) | Err(_) => Err(QuestionFault::Signing),
    }
}

/// RFC 6749 section 2.3.1: both parts are encoded like a form before they are joined.
pub(in crate::gateway) fn basic(client_id: &str, secret: &[u8]) -> Result<HeaderValue, QuestionFault> {
    let mut pair = Zeroizing::new(Vec::new());
    encode(client_id.as_bytes(), &mut pair);
    pair.push(b':');
    encode(secret, &mut pair);
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
    let mut value = HeaderValue::from_str(&text).map_err(|_never| QuestionFault::Signing)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A body of `application/x-www-form-urlencoded`.
#[derive(Default)]
pub(in crate::gateway) struct Form(Vec<u8>);

impl Form {
    pub(in crate::gateway) fn push(&mut self, name: &str, value: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        encode(value, &mut self.0);
    }

    pub(in crate::gateway) fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// Every byte that is not plain everywhere is escaped, a space too.
fn encode(text: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            to.push(byte);
        } else {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            to.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_before_they_are_joined() {
        let value = basic("a client:1", "p%s/+ü".as_bytes()).unwrap();
        let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(
            STANDARD.decode(text).unwrap(),
            b"a%20client%3A1:p%25s%2F%2B%C3%BC"
        );
        assert!(value.is_sensitive());
    }

    #[test]
    fn nothing_of_a_value_can_end_it() {
        let mut form = Form::default();
        form.push("token", b"a+b/c==&client_id=x~ ");
        form.push("b", b"");
        assert_eq!(
            form.into_bytes(),
            "token=a%2Bb%2Fc%3D%3D%26client_id%3Dx%7E%20&b="
        );
    }
}
