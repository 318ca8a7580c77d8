//! Tokens that say nothing themselves: what their issuer answers when it is asked about one (RFC 7662), and the principal
//! that comes of it.
//!
//! The gateway asks and hands the answer over; nothing here opens a socket. Whatever the answer says is held against the
//! same rules as the claims of a signed token, so that an issuer that calls a token good for another API, another
//! issuer's, or a refresh token does not let it in here.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::json::Json;
use super::verify::Trusted;
use super::{Principal, Reading, TokenError, UnixSeconds, Verifier, claims};

/// The longest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 64 << 10;

/// How an API takes tokens that an issuer has to be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspection {
    /// Who is asked; `iss` of an answer, where it is there.
    pub issuer: Arc<str>,
    /// About which tokens.
    pub tokens: IntrospectedTokens,
    /// Whether an answer must name the API.
    pub audience: AudienceRule,
}

/// Which tokens are asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntrospectedTokens {
    /// Those that have not the form of a JWS or a JWE.
    #[default]
    Opaque,
    /// All of them, whatever they look like.
    All,
}

/// What is asked of `aud` in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AudienceRule {
    /// It must be there and contain the identifier of the API.
    #[default]
    Required,
    /// Where it is there it must contain the identifier: for issuers that tell it to nobody.
    WherePresent,
}

/// A token that has to be asked about. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct OpaqueToken(Zeroizing<String>);

/// What an issuer says of a token.
#[derive(Clone, Debug, PartialEq)]
pub enum IntrospectionAnswer {
    /// It is good, as far as the issuer is concerned, and these are its facts: an object.
    Active(Json<'static>),
    /// It is not good; nothing else is known (RFC 7662 section 2.2).
    Inactive,
}

/// The answer says nothing about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// More than [`MAX_ANSWER`].
    #[error("the answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    /// Not JSON, duplicate members, too deep or too wide.
    #[error("the answer is no JSON object, or has duplicate members")]
    NotAnObject,
    /// RFC 7662 section 2.2: REQUIRED, a boolean.
    #[error("the answer has no `active` that is true or false")]
    NoActive,
}

impl Introspection {
    /// Whether this token is asked about.
    pub fn takes(&self, token: &str) -> bool {
        self.tokens == IntrospectedTokens::All || !looks_like_jose(token)
    }
}

/// Whether a token has the parts of a compact JWS or JWE and begins with what could be their header. Neither a wrong
/// yes nor a wrong no lets anybody in: each way ends in a check.
fn looks_like_jose(token: &str) -> bool {
    let dots = token.bytes().filter(|&byte| byte == b'.').count();
    if dots != 2 && dots != 4 {
        return false;
    }
    let header = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    bytes.trim_ascii_start().first() == Some(&b'{')
}

impl OpaqueToken {
    pub(super) fn new(token: &str) -> Self {
        Self(Zeroizing::new(token.into()))
    }

    /// The token itself; the name makes each use easy to find in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpaqueToken([redacted])")
    }
}

impl IntrospectionAnswer {
    /// Reads the body of an answer (RFC 7662 section 2.2).
    ///
    /// # Errors
    /// [`AnswerFault`]: then nothing is known of the token.
    pub fn read(body: &[u8]) -> Result<Self, AnswerFault> {
        if body.len() > MAX_ANSWER {
            return Err(AnswerFault::TooLarge);
        }
        let object = match Json::read(body) {
            Ok(object @ Json::Object(_)) => object,
            Ok(_) | Err(_) => return Err(AnswerFault::NotAnObject),
        };
        match object.get("active") {
            Some(Json::Bool(true)) => Ok(Self::Active(object.into_owned())),
            Some(Json::Bool(false)) => Ok(Self::Inactive),
            _ => Err(AnswerFault::NoActive),
        }
    }
}

/// Who is asked, about what, and how the answer is read.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) rules: Introspection,
    trusted: Trusted,
}

impl Verifier {
    /// The same for an API that asks about tokens: one of the issuers that it trusts. Nobody is asked where it does not
    /// trust that one.
    #[must_use]
    pub fn with_introspection(mut self, introspection: Option<Introspection>) -> Self {
        self.asked = introspection.and_then(|rules| {
            let mut issuers = self.issuers.iter();
            let mut trusted = issuers.find(|trusted| trusted.issuer == rules.issuer)?.clone();
            trusted.reading = trusted.reading.of_answers();
            Some(Asked { rules, trusted })
        });
        self
    }

    /// Whether, and whom, to ask about tokens.
    pub fn introspection(&self) -> Option<&Introspection> {
        self.asked.as_ref().map(|asked| &asked.rules)
    }

    /// The principal of a token that its issuer was asked about. An answer has what it has: only `aud` must be there,
    /// and whatever is there is held against the rules for signed tokens of that issuer.
    pub fn verify_introspected(
        &self,
        answer: IntrospectionAnswer,
        now: UnixSeconds,
    ) -> Result<Principal, TokenError> {
        let asked = self.asked.as_ref();
        let Asked { rules, trusted } = asked.ok_or(TokenError::Malformed("nobody is asked about it"))?;
        let IntrospectionAnswer::Active(claims) = answer else {
            return Err(TokenError::Inactive);
        };
        if claims::text(&claims, "iss")?.is_some_and(|issuer| *issuer != *rules.issuer) {
            return Err(TokenError::IssuerMismatch);
        }
        check_kind(&trusted.reading, &claims)?;
        let is_told = claims.get("aud").is_some() || rules.audience == AudienceRule::Required;
        if is_told && !claims::audience_is_one_of(&claims, &trusted.reading.audiences)? {
            return Err(TokenError::AudienceMismatch);
        }
        // Without it the token is good for as long as its issuer says so, and it is asked again soon.
        let expires_at = claims::date(&claims, "exp")?.unwrap_or(UnixSeconds::MAX);
        let principal = self.read(trusted, claims, expires_at)?;
        self.check_times(&principal, now)?;
        Ok(principal)
    }
}

/// Where an issuer tells what kind of token it is, that must be an access token: many of them also call a refresh token
/// or an ID token active. `token_type` is that of RFC 7662 section 2.2, `token_use` and `typ` are what some say beside it.
fn check_kind(reading: &Reading, claims: &Json<'_>) -> Result<(), TokenError> {
    const ACCESS: [&str; 6] = ["bearer", "dpop", "access_token", "access", "jwt", "at+jwt"];
    for name in ["token_type", "token_use", "typ"] {
        let kind = claims::text(claims, name)?;
        if kind.is_some_and(|kind| !ACCESS.iter().any(|known| kind.eq_ignore_ascii_case(known))) {
            return Err(TokenError::WrongType);
        }
        // RFC 9449 section 6.2: such a token has a key, and must not pass for one that has none.
        if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("dpop"))
            && claims.get("cnf").and_then(|cnf| cnf.get("jkt")).is_none()
        {
            return Err(TokenError::MalformedClaim("cnf"));
        }
    }
    let told_apart = reading.type_claims.iter();
    for (path, values) in told_apart {
        let found = path.text(claims)?;
        if found.is_some_and(|found| !values.iter().any(|value| value == found)) {
            return Err(TokenError::WrongType);
        }
    }
    if reading.is_foreign(claims) {
        return Err(TokenError::WrongType);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_signed_or_an_encrypted_token() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        let spaced = URL_SAFE_NO_PAD.encode("\n {\"alg\":\"RS256\"}");
        for (token, expected) in [
            (format!("{header}.e30.c2ln"), true),
            (format!("{spaced}.e30.c2ln"), true),
            (format!("{header}.a.b.c.d"), true),
            (format!("{header}.."), true),
            (format!("{header}.e30"), false),
            (format!("{header}.a.b.c"), false),
            (format!("{header}=.e30.c2ln"), false),
            (header, false),
            ("v2.local.abc".into(), false),
            ("abc.def.ghi".into(), false),
            (String::new(), false),
            ("2YotnFZFEjr1zCsicMWpAA".into(), false),
        ] {
            assert_eq!(looks_like_jose(&token), expected, "{token}");
        }
    }

    #[test]
    fn only_a_boolean_says_whether_a_token_is_active() {
        assert!(matches!(
            IntrospectionAnswer::read(br#"{"active":true}"#),
            Ok(IntrospectionAnswer::Active(_))
        ));
        assert_eq!(
            IntrospectionAnswer::read(br#"{"active":false,"exp":"x"}"#),
            Ok(IntrospectionAnswer::Inactive)
        );
        for (body, fault) in [
            (r#"{"active":"true"}"#, AnswerFault::NoActive),
            (r#"{"active":1}"#, AnswerFault::NoActive),
            (r#"{"active":null}"#, AnswerFault::NoActive),
            (r#"{"Active":true}"#, AnswerFault::NoActive),
            ("{}", AnswerFault::NoActive),
            (r#"{"active":false,"active":true}"#, AnswerFault::NotAnObject),
            (
                r#"{"active":true,"cnf":{"jkt":"a","jkt":"b"}}"#,
                AnswerFault::NotAnObject,
            ),
            (r#"[{"active":true}]"#, AnswerFault::NotAnObject),
            ("true", AnswerFault::NotAnObject),
            ("", AnswerFault::NotAnObject),
            (r#"{"active":true} x"#, AnswerFault::NotAnObject),
            ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", AnswerFault::NotAnObject),
        ] {
            assert_eq!(IntrospectionAnswer::read(body.as_bytes()), Err(fault), "{body}");
        }
        let long = format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(MAX_ANSWER));
        assert_eq!(
            IntrospectionAnswer::read(long.as_bytes()),
            Err(AnswerFault::TooLarge)
        );
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let error = TokenError::Opaque(Arc::new(OpaqueToken::new("hush")));
        assert!(!format!("{error:?} {error}").contains("hush"));
    }
}
