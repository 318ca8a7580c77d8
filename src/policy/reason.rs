//! The closed list of reasons: one word for metric, log, body and `explain`, with its status and its public text.
//!
//! A new reason is added here and nowhere else. The text is what a client may know: it names the check, never the
//! token, and nothing that the client sent.

mod causes;

use std::sync::LazyLock;

use http::StatusCode;

/// Why a request was allowed or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the table below is the documentation")]
pub enum Reason {
    Ok,
    Public,
    NoRoute,
    MethodNotAllowed,
    BadPath,
    BadRequest,
    MisdirectedRequest,
    UriTooLong,
    HeadersTooLarge,
    BodyTooLarge,
    RequestTimeout,
    ExpectationFailed,
    MissingToken,
    MultipleTokens,
    MalformedAuthorization,
    CrossSite,
    MalformedToken,
    TokenTooLarge,
    UnsupportedAlg,
    AlgMismatch,
    Unencrypted,
    DecryptionFailed,
    UnknownKid,
    BadSignature,
    WrongType,
    IssuerMismatch,
    AudienceMismatch,
    Expired,
    NotYetValid,
    IssuedInFuture,
    TooOld,
    Revoked,
    MissingClaim,
    MalformedClaim,
    Inactive,
    InsufficientScope,
    InsufficientPermission,
    ClaimMismatch,
    ClientNotAllowed,
    StepUpRequired,
    DpopMissing,
    DpopDowngrade,
    DpopInvalid,
    DpopWrongKey,
    DpopWrongMethod,
    DpopWrongAddress,
    DpopStale,
    DpopFuture,
    DpopWrongToken,
    DpopNonce,
    DpopReplay,
    DpopStoreFull,
    TokenUnbound,
    CertificateMissing,
    CertificateMismatch,
    KeysUnavailable,
    IntrospectionUnavailable,
    BadApiKey,
    ApiKeyNotGranted,
    ApiKeyThrottled,
    ExchangeUnavailable,
    Overloaded,
    UpstreamConnect,
    UpstreamTimeout,
    UpstreamProtocol,
    UpstreamUnhealthy,
    Internal,
}

/// At which step of a request a reason arises, in the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The head of the request.
    Request,
    /// Host, path and method.
    Route,
    /// Finding the token.
    Bearer,
    /// What the token says about itself.
    Token,
    /// The key and the signature.
    Signature,
    /// The claims and the times.
    Claims,
    /// What the token is bound to.
    Possession,
    /// What the route asks.
    Requirement,
    /// The upstream.
    Forward,
}

/// How a refusal is told in `WWW-Authenticate` (RFC 6750 section 3, RFC 9449 section 7.1, RFC 9470 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChallengeKind {
    None,
    /// No error code: the client sent no credentials.
    Bare,
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
    StepUp,
    /// RFC 9449 section 7.1: the proof, not the token.
    InvalidProof,
    UseNonce,
}

/// Everything about a reason.
struct Facts {
    name: &'static str,
    status: u16,
    challenge: ChallengeKind,
    stage: Stage,
    text: &'static str,
}

const fn facts(
    name: &'static str,
    status: u16,
    challenge: ChallengeKind,
    stage: Stage,
    text: &'static str,
) -> Facts {
    Facts {
        name,
        status,
        challenge,
        stage,
        text,
    }
}

impl Reason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 67] = [
        Self::Ok,
        Self::Public,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::BadPath,
        Self::BadRequest,
        Self::MisdirectedRequest,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::ExpectationFailed,
        Self::MissingToken,
        Self::MultipleTokens,
        Self::MalformedAuthorization,
        Self::CrossSite,
        Self::MalformedToken,
        Self::TokenTooLarge,
        Self::UnsupportedAlg,
        Self::AlgMismatch,
        Self::Unencrypted,
        Self::DecryptionFailed,
        Self::UnknownKid,
        Self::BadSignature,
        Self::WrongType,
        Self::IssuerMismatch,
        Self::AudienceMismatch,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::TooOld,
        Self::Revoked,
        Self::MissingClaim,
        Self::MalformedClaim,
        Self::Inactive,
        Self::InsufficientScope,
        Self::InsufficientPermission,
        Self::ClaimMismatch,
        Self::ClientNotAllowed,
        Self::StepUpRequired,
        Self::DpopMissing,
        Self::DpopDowngrade,
        Self::DpopInvalid,
        Self::DpopWrongKey,
        Self::DpopWrongMethod,
        Self::DpopWrongAddress,
        Self::DpopStale,
        Self::DpopFuture,
        Self::DpopWrongToken,
        Self::DpopNonce,
        Self::DpopReplay,
        Self::DpopStoreFull,
        Self::TokenUnbound,
        Self::CertificateMissing,
        Self::CertificateMismatch,
        Self::KeysUnavailable,
        Self::IntrospectionUnavailable,
        Self::BadApiKey,
        Self::ApiKeyNotGranted,
        Self::ApiKeyThrottled,
        Self::ExchangeUnavailable,
        Self::Overloaded,
        Self::UpstreamConnect,
        Self::UpstreamTimeout,
        Self::UpstreamProtocol,
        Self::UpstreamUnhealthy,
        Self::Internal,
    ];

    #[rustfmt::skip]
    fn facts(self) -> Facts {
        use ChallengeKind as C;
        use Stage as S;
        match self {
            Self::Ok => facts("ok", 200, C::None, S::Forward, "the request is allowed"),
            Self::Public => facts("public", 200, C::None, S::Route, "the route is public"),
            Self::NoRoute => facts("no_route", 404, C::None, S::Route, "no route matches the path"),
            Self::MethodNotAllowed => facts("method_not_allowed", 405, C::None, S::Route, "the path has no route for this method"),
            Self::BadPath => facts("bad_path", 400, C::None, S::Request, "the path can be read in more than one way"),
            Self::BadRequest => facts("bad_request", 400, C::None, S::Request, "the request is malformed"),
            Self::MisdirectedRequest => facts("misdirected_request", 421, C::None, S::Request, "the host is not served on this connection"),
            Self::UriTooLong => facts("uri_too_long", 414, C::None, S::Request, "the request target is too long"),
            Self::HeadersTooLarge => facts("headers_too_large", 431, C::None, S::Request, "the header fields are too large"),
            Self::BodyTooLarge => facts("body_too_large", 413, C::None, S::Forward, "the request body is too large"),
            Self::RequestTimeout => facts("request_timeout", 408, C::None, S::Forward, "the request body did not arrive in time"),
            Self::ExpectationFailed => facts("expectation_failed", 417, C::None, S::Request, "no expectation but 100-continue is met"),
            Self::MissingToken => facts("missing_token", 401, C::Bare, S::Bearer, "an access token is required"),
            Self::MultipleTokens => facts("multiple_tokens", 400, C::InvalidRequest, S::Bearer, "there is more than one token"),
            Self::MalformedAuthorization => facts("malformed_authorization", 400, C::InvalidRequest, S::Bearer, "what stands in the place of the token cannot be read"),
            Self::CrossSite => facts("cross_site", 403, C::None, S::Bearer, "what a browser adds by itself does not authorise what another site asks for"),
            Self::MalformedToken => facts("malformed_token", 401, C::InvalidToken, S::Token, "the token cannot be read"),
            Self::TokenTooLarge => facts("token_too_large", 401, C::InvalidToken, S::Token, "the token is too large"),
            Self::UnsupportedAlg => facts("unsupported_alg", 401, C::InvalidToken, S::Token, "the algorithm of the token is not supported"),
            Self::AlgMismatch => facts("alg_mismatch", 401, C::InvalidToken, S::Token, "the token uses another algorithm than the API asks for"),
            Self::Unencrypted => facts("unencrypted", 401, C::InvalidToken, S::Token, "the token is not encrypted"),
            Self::DecryptionFailed => facts("decryption_failed", 401, C::InvalidToken, S::Token, "the token cannot be decrypted"),
            Self::WrongType => facts("wrong_type", 401, C::InvalidToken, S::Token, "the token is not an access token of the profile that the API asks for"),
            Self::IssuerMismatch => facts("issuer_mismatch", 401, C::InvalidToken, S::Token, "the issuer is not trusted by this API"),
            Self::UnknownKid => facts("unknown_kid", 401, C::InvalidToken, S::Signature, "the issuer has no such key"),
            Self::BadSignature => facts("bad_signature", 401, C::InvalidToken, S::Signature, "the signature is wrong"),
            Self::KeysUnavailable => facts("keys_unavailable", 503, C::None, S::Signature, "the keys of the issuer are not available"),
            Self::AudienceMismatch => facts("audience_mismatch", 401, C::InvalidToken, S::Claims, "the token is for another audience"),
            Self::MissingClaim => facts("missing_claim", 401, C::InvalidToken, S::Claims, "a required claim is missing"),
            Self::MalformedClaim => facts("malformed_claim", 401, C::InvalidToken, S::Claims, "a claim is malformed"),
            Self::Expired => facts("expired", 401, C::InvalidToken, S::Claims, "the token has expired"),
            Self::NotYetValid => facts("not_yet_valid", 401, C::InvalidToken, S::Claims, "the token is not valid yet"),
            Self::IssuedInFuture => facts("issued_in_future", 401, C::InvalidToken, S::Claims, "the token was issued in the future"),
            Self::TooOld => facts("too_old", 401, C::InvalidToken, S::Claims, "the token is too old"),
            Self::Revoked => facts("revoked", 401, C::InvalidToken, S::Claims, "the access token was revoked"),
            Self::DpopMissing => facts("dpop_missing", 401, C::InvalidToken, S::Possession, "the token is bound to a key and came without a proof"),
            Self::DpopDowngrade => facts("dpop_downgrade", 401, C::InvalidToken, S::Possession, "the token is bound to a key and came as a bearer token"),
            Self::DpopInvalid => facts("dpop_invalid", 401, C::InvalidProof, S::Possession, "the proof is not valid"),
            Self::DpopWrongKey => facts("dpop_wrong_key", 401, C::InvalidToken, S::Possession, "the proof is signed with another key than the token is bound to"),
            Self::DpopWrongMethod => facts("dpop_wrong_method", 401, C::InvalidProof, S::Possession, "the proof is for another method"),
            Self::DpopWrongAddress => facts("dpop_wrong_address", 401, C::InvalidProof, S::Possession, "the proof is for another address"),
            Self::DpopStale => facts("dpop_stale", 401, C::InvalidProof, S::Possession, "the proof is too old"),
            Self::DpopFuture => facts("dpop_future", 401, C::InvalidProof, S::Possession, "the proof was made in the future"),
            Self::DpopWrongToken => facts("dpop_wrong_token", 401, C::InvalidProof, S::Possession, "the proof is not for this token"),
            Self::DpopNonce => facts("dpop_nonce", 401, C::UseNonce, S::Possession, "the proof needs the nonce of this server"),
            Self::DpopReplay => facts("dpop_replay", 401, C::InvalidProof, S::Possession, "the proof was used before"),
            Self::DpopStoreFull => facts("dpop_store_full", 503, C::None, S::Possession, "too many proofs are being made"),
            Self::Inactive => facts("inactive", 401, C::InvalidToken, S::Claims, "the token is not active"),
            Self::IntrospectionUnavailable => facts("introspection_unavailable", 503, C::None, S::Claims, "the issuer cannot be asked about the token"),
            Self::BadApiKey => facts("bad_api_key", 401, C::Bare, S::Bearer, "the issuer does not accept the API key"),
            Self::ApiKeyNotGranted => facts("api_key_not_granted", 403, C::None, S::Bearer, "the issuer grants the holder of the API key no bearer token for this API"),
            Self::ApiKeyThrottled => facts("api_key_throttled", 429, C::None, S::Bearer, "too many API keys were wrong"),
            Self::ExchangeUnavailable => facts("exchange_unavailable", 503, C::None, S::Bearer, "the issuer cannot be asked for a token"),
            Self::TokenUnbound => facts("token_unbound", 401, C::InvalidToken, S::Possession, "the token is not bound to a key or a certificate"),
            Self::CertificateMissing => facts("certificate_missing", 401, C::InvalidToken, S::Possession, "the token is bound to a certificate and came without it"),
            Self::CertificateMismatch => facts("certificate_mismatch", 401, C::InvalidToken, S::Possession, "the token is bound to another certificate"),
            Self::InsufficientScope => facts("insufficient_scope", 403, C::InsufficientScope, S::Requirement, "the token lacks a scope that the route asks for"),
            Self::InsufficientPermission => facts("insufficient_permission", 403, C::InsufficientScope, S::Requirement, "the token lacks a permission that the route asks for"),
            Self::ClaimMismatch => facts("claim_mismatch", 403, C::None, S::Requirement, "a claim does not have the value that the route asks for"),
            Self::ClientNotAllowed => facts("client_not_allowed", 403, C::None, S::Requirement, "the client may not use this route"),
            Self::StepUpRequired => facts("step_up_required", 401, C::StepUp, S::Requirement, "a more recent or stronger authentication is required"),
            Self::Overloaded => facts("overloaded", 503, C::None, S::Forward, "too many requests are being served"),
            Self::UpstreamConnect => facts("upstream_connect", 502, C::None, S::Forward, "the upstream could not be reached"),
            Self::UpstreamTimeout => facts("upstream_timeout", 504, C::None, S::Forward, "the upstream did not answer in time"),
            Self::UpstreamProtocol => facts("upstream_protocol", 502, C::None, S::Forward, "the upstream broke off or did not speak HTTP"),
            Self::UpstreamUnhealthy => facts("upstream_unhealthy", 503, C::None, S::Forward, "no server of the upstream is healthy"),
            Self::Internal => facts("internal", 500, C::None, S::Forward, "the gateway failed"),
        }
    }

    /// The words of [`Reason::ALL`], by index.
    pub fn names() -> &'static [&'static str] {
        static NAMES: LazyLock<[&str; 67]> = LazyLock::new(|| Reason::ALL.map(Reason::name));
        &*NAMES
    }

    /// The word, in snake case.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The status of the answer; 200 for what is allowed.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.facts().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What the client is told: printable ASCII without quotes and backslashes.
    pub fn text(self) -> &'static str {
        self.facts().text
    }

    /// The step at which it arises.
    pub fn stage(self) -> Stage {
        self.facts().stage
    }

    /// The `error` of the body: that of RFC 6750 where there is one, else the reason itself.
    pub fn error_code(self) -> &'static str {
        let facts = self.facts();
        facts.challenge.error_code().unwrap_or(facts.name)
    }

    pub(super) fn challenge(self) -> ChallengeKind {
        self.facts().challenge
    }

    /// Position in [`Reason::ALL`]: for tables with one entry per reason.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl ChallengeKind {
    pub(super) fn error_code(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Bare => None,
            Self::InvalidRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
            Self::InsufficientScope => Some("insufficient_scope"),
            Self::StepUp => Some("insufficient_user_authentication"),
            Self::InvalidProof => Some("invalid_dpop_proof"),
            Self::UseNonce => Some("use_dpop_nonce"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_safe_to_print() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
            assert!(
                reason
                    .name()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
            let text = reason.text();
            assert!(
                text.bytes()
                    .all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\')
            );
            assert_eq!(reason.status().as_u16(), reason.facts().status);
        }
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
