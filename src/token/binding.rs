//! To which key or certificate a token is bound (`cnf`, RFC 7800), and what can be wrong with the proof of it.
//!
//! `verify` reads the binding out of a token, `policy::possession` asks for the proof. Nothing here looks at a request.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::TokenError;
use super::json::Json;
use crate::definition::PopMechanism;

/// SHA-256 of a public key (RFC 7638) or of a certificate in DER (RFC 8705 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thumbprint(pub [u8; 32]);

impl Thumbprint {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut thumbprint = [0; 32];
        thumbprint.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(thumbprint)
    }

    /// From base64url without padding.
    pub(super) fn read(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// What the holder of a token must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The private key of this public key (`jkt`, RFC 9449 section 6.1).
    Key(Thumbprint),
    /// The private key of this certificate (`x5t#S256`, RFC 8705 section 3.1).
    Certificate(Thumbprint),
}

/// Why the holder of a token is not taken for its owner. Closed; each variant is one reason of `policy::Reason`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The scheme is `DPoP`, and there is no `DPoP` header.
    #[error("there is no DPoP header")]
    Missing,
    /// A token that is bound to a key came with the scheme `Bearer` (RFC 9449 section 7.2).
    #[error("the token is bound to a key and came as a bearer token")]
    Downgrade,
    /// The API asks for a bound token, or the scheme does, and the token is not bound.
    #[error("the token is not bound to a key or a certificate")]
    Unbound,
    /// More than one header, not a JWS, another type, an algorithm or a key that is not allowed, a wrong signature, a
    /// claim that is not there.
    #[error("the proof is not valid: {0}")]
    Invalid(&'static str),
    /// `jwk` is not the key that the token is bound to.
    #[error("the proof is signed with another key than the token is bound to")]
    WrongKey,
    /// `htm`
    #[error("the proof is for another method")]
    WrongMethod,
    /// `htu`
    #[error("the proof is for another address; expected {expected}")]
    WrongAddress {
        /// What `htu` had to be.
        expected: Box<str>,
    },
    /// `iat` is too long ago.
    #[error("the proof is too old")]
    Stale,
    /// `iat` lies in the future.
    #[error("the proof was made in the future")]
    Future,
    /// `ath` is missing or is not the hash of the token.
    #[error("the proof is not for this token")]
    WrongToken,
    /// `jti` was seen before.
    #[error("the proof was used before")]
    Replay,
    /// A nonce of ours is asked for, and the proof has none, or an old one.
    #[error("the proof has no nonce of this server, or an old one")]
    NonceWanted {
        /// For `DPoP-Nonce`.
        nonce: Box<str>,
    },
    /// No further proof can be remembered.
    #[error("too many proofs are remembered")]
    StoreFull,
    /// The token is bound to a certificate, and the client has shown none.
    #[error("the client has shown no certificate")]
    NoCertificate,
    /// The client has shown another certificate.
    #[error("the client has shown another certificate than the token is bound to")]
    WrongCertificate,
}

/// Reads `cnf`. A binding that the API does not check must never pass as none at all: such a token is refused, and so is
/// one with a binding of an unknown kind.
pub(super) fn binding(
    claims: &Json<'_>,
    checked: Option<PopMechanism>,
) -> Result<Option<Binding>, TokenError> {
    let Some(cnf) = claims.get("cnf") else {
        return Ok(None);
    };
    if !matches!(cnf, Json::Object(_)) {
        return Err(TokenError::MalformedClaim("cnf"));
    }
    let thumbprint = |value: &Json<'_>| {
        let read = value.as_str().and_then(Thumbprint::read);
        read.ok_or(TokenError::MalformedClaim("cnf"))
    };
    match (cnf.get("jkt"), cnf.get("x5t#S256"), checked) {
        (Some(key), None, Some(PopMechanism::Dpop)) => Ok(Some(Binding::Key(thumbprint(key)?))),
        (None, Some(certificate), Some(PopMechanism::Mtls)) => {
            Ok(Some(Binding::Certificate(thumbprint(certificate)?)))
        }
        (_, Some(_), Some(PopMechanism::Dpop)) => Err(TokenError::CertificateMissing),
        (Some(_), _, _) => Err(TokenError::DpopMissing),
        (None, Some(_), _) => Err(TokenError::CertificateMissing),
        (None, None, _) => Err(TokenError::MalformedClaim("cnf")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_api_checks_is_a_binding() {
        let thumbprint = URL_SAFE_NO_PAD.encode([7; 32]);
        let of = |cnf: &str, checked| {
            let claims = format!(r#"{{"cnf":{cnf}}}"#).replace("T", &thumbprint);
            binding(&Json::read(claims.as_bytes()).unwrap(), checked)
        };
        let (dpop, mtls) = (Some(PopMechanism::Dpop), Some(PopMechanism::Mtls));
        let bytes = Thumbprint([7; 32]);
        let malformed = Err(TokenError::MalformedClaim("cnf"));
        let (no_key, no_certificate) = (Err(TokenError::DpopMissing), Err(TokenError::CertificateMissing));
        for (cnf, checked, expected) in [
            (r#"{"jkt":"T"}"#, dpop, Ok(Some(Binding::Key(bytes)))),
            (r#"{"jkt":"T","kid":"a"}"#, dpop, Ok(Some(Binding::Key(bytes)))),
            (r#"{"x5t#S256":"T"}"#, mtls, Ok(Some(Binding::Certificate(bytes)))),
            (r#"{"jkt":"T"}"#, mtls, no_key.clone()),
            (r#"{"jkt":"T"}"#, None, no_key.clone()),
            (r#"{"x5t#S256":"T"}"#, dpop, no_certificate.clone()),
            (r#"{"x5t#S256":"T"}"#, None, no_certificate.clone()),
            (r#"{"jkt":"T","x5t#S256":"T"}"#, dpop, no_certificate),
            (r#"{"jkt":"T","x5t#S256":"T"}"#, mtls, no_key.clone()),
            (r#"{"jkt":"T","x5t#S256":"T"}"#, None, no_key),
            (r#"{"jkt":"x"}"#, dpop, malformed.clone()),
            (r#"{"jkt":null}"#, dpop, malformed.clone()),
            (r#"{"x5t#S256":7}"#, mtls, malformed.clone()),
            (r#"{"jwk":{}}"#, dpop, malformed.clone()),
            ("{}", None, malformed.clone()),
            ("[]", dpop, malformed.clone()),
            ("null", mtls, malformed),
        ] {
            assert_eq!(of(cnf, checked), expected, "{cnf} {checked:?}");
        }
        assert_eq!(binding(&Json::read(b"{}").unwrap(), dpop), Ok(None));
    }
}
