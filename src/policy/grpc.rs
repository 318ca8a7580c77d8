//! What gRPC over HTTP/2 says about requests and statuses: who speaks it, how long a call may take, and which status a
//! reason is (the gRPC protocol's "Requests" and "Responses", and its list of status codes).
//!
//! `gateway` uses it to answer in the client's way. Nothing here touches a socket.

use std::time::Duration;

use super::Reason;

/// A status of gRPC that the gateway itself gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum GrpcStatus {
    Ok = 0,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Reason {
    /// The `grpc-status` of a refusal; 0 for what is allowed.
    pub fn grpc_status(self) -> u8 {
        // Every reason is named, so that a new one cannot be forgotten.
        let status = match self {
            Self::Ok | Self::Public => GrpcStatus::Ok,
            Self::BadPath
            | Self::BadRequest
            | Self::MisdirectedRequest
            | Self::UriTooLong
            | Self::ExpectationFailed
            | Self::MultipleTokens
            | Self::MalformedAuthorization => GrpcStatus::InvalidArgument,
            Self::RequestTimeout | Self::UpstreamTimeout => GrpcStatus::DeadlineExceeded,
            Self::NoRoute | Self::MethodNotAllowed => GrpcStatus::NotFound,
            Self::InsufficientScope
            | Self::InsufficientPermission
            | Self::ClaimMismatch
            | Self::ClientNotAllowed
            | Self::ApiKeyNotGranted
            | Self::CrossSite => GrpcStatus::PermissionDenied,
            // The gateway is full, or the message is larger than it takes: to ask again at once does not help.
            Self::HeadersTooLarge
            | Self::BodyTooLarge
            | Self::Overloaded
            | Self::DpopStoreFull
            | Self::ApiKeyThrottled => GrpcStatus::ResourceExhausted,
            Self::KeysUnavailable
            | Self::IntrospectionUnavailable
            | Self::ExchangeUnavailable
            | Self::UpstreamConnect
            | Self::UpstreamProtocol
            | Self::UpstreamUnhealthy => GrpcStatus::Unavailable,
            Self::Internal => GrpcStatus::Internal,
            Self::MissingToken
            | Self::BadApiKey
            | Self::MalformedToken
            | Self::TokenTooLarge
            | Self::UnsupportedAlg
            | Self::AlgMismatch
            | Self::Unencrypted
            | Self::DecryptionFailed
            | Self::UnknownKid
            | Self::BadSignature
            | Self::WrongType
            | Self::IssuerMismatch
            | Self::AudienceMismatch
            | Self::Expired
            | Self::NotYetValid
            | Self::IssuedInFuture
            | Self::TooOld
            | Self::Revoked
            | Self::MissingClaim
            | Self::MalformedClaim
            | Self::Inactive
            | Self::StepUpRequired
            | Self::DpopMissing
            | Self::DpopDowngrade
            | Self::DpopInvalid
            | Self::DpopWrongKey
            | Self::DpopWrongMethod
            | Self::DpopWrongAddress
            | Self::DpopStale
            | Self::DpopFuture
            | Self::DpopWrongToken
            | Self::DpopNonce
            | Self::DpopReplay
            | Self::TokenUnbound
            | Self::CertificateMissing
            | Self::CertificateMismatch => GrpcStatus::Unauthenticated,
        };
        status as u8
    }

    /// The `grpc-message` of a refusal: the word and its text, percent-encoded.
    pub fn grpc_message(self) -> String {
        let mut message = String::with_capacity(96);
        for byte in [self.name(), ": ", self.text()]
            .iter()
            .flat_map(|part| part.bytes())
        {
            match byte {
                b'%' | 0..=0x1f | 0x7f.. => message.push_str(&format!("%{byte:02X}")),
                _ => message.push(char::from(byte)),
            }
        }
        message
    }
}

/// Whether a `Content-Type` is that of gRPC. The types of gRPC-Web are others: its clients read the HTTP status.
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Reads `grpc-timeout`: at most eight digits and a unit. `None` where it is anything else.
pub fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3_600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_status_that_its_kind_asks_for() {
        for reason in Reason::ALL {
            let expected: &[u8] = match reason.status().as_u16() {
                200 => &[0],
                401 => &[16],
                403 => &[7],
                404 | 405 => &[5],
                400 | 414 | 417 | 421 => &[3],
                413 | 429 | 431 => &[8],
                408 | 504 => &[4],
                502 => &[14],
                503 => &[8, 14],
                500 => &[13],
                other => panic!("{reason:?} has status {other}, for which gRPC needs a status"),
            };
            assert!(expected.contains(&reason.grpc_status()), "{reason:?}");
            assert_eq!(
                reason.grpc_message(),
                format!("{}: {}", reason.name(), reason.text()),
                "nothing in it needs to be encoded"
            );
        }
    }

    #[test]
    fn content_types() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web-text+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn timeouts() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("5S", Some(Duration::from_secs(5))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("00000001n", Some(Duration::from_nanos(1))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("5 S", None),
            ("+5S", None),
            ("-5S", None),
            ("1.5S", None),
            ("123456789S", None),
            ("5SS", None),
            (" 5S", None),
            ("٥S", None),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text}");
        }
    }
}
