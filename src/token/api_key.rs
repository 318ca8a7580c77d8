//! API keys: the credentials of a client in place of a token (RFC 7617, RFC 6749 section 2.3.1), and what they are
//! exchanged for.
//!
//! `policy` finds the key of a request, the gateway exchanges it at the issuer and the token that comes of it is verified
//! like any other. Nothing here opens a socket. A key never shows itself, and is read only where it is not known.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::json::Json;
use super::jws::Jws;
use super::{BearerError, BearerToken, Scheme, TokenError, UnixSeconds, claims};

/// The longest key in bytes, as it stands in its header.
pub const MAX_API_KEY: usize = 2_048;

/// A key as it stands in a request, not looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PresentedKey<'a> {
    text: &'a [u8],
    form: KeyForm,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// As credentials of the scheme `Basic`. Where every `%` begins an escape of two hexadecimal digits, escapes are
    /// undone, in each part by itself; everything else stands for itself, `+` too.
    Basic,
    /// Id, colon, secret, each as it is.
    Pair,
}

/// A key that has been read. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    text: Zeroizing<Vec<u8>>,
    form: KeyForm,
    client_id: Zeroizing<String>,
    secret: Zeroizing<String>,
}

/// The token that a key was exchanged for. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ExchangedToken(Zeroizing<String>);

/// What came of a key: a token that must still be verified, or why there is none.
pub type Exchange = Result<Arc<ExchangedToken>, TokenError>;

/// The key among the values of all `Authorization` lines; `None` where there is none of the scheme `Basic`.
///
/// # Errors
/// [`BearerError::Multiple`], where it has company.
pub fn basic_key<'a>(
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<PresentedKey<'a>>, BearerError> {
    let mut found = None;
    let mut count = 0;
    for value in values.by_ref() {
        count += 1;
        if let Some(text) = after_basic(value) {
            found = Some(text);
        }
    }
    match found {
        Some(_) if count > 1 => Err(BearerError::Multiple),
        found => Ok(found.map(|text| PresentedKey {
            text,
            form: KeyForm::Basic,
        })),
    }
}

/// The key among the values of a header of its own.
///
/// # Errors
/// [`BearerError::Multiple`].
pub fn header_key<'a>(
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<PresentedKey<'a>>, BearerError> {
    let found = values.next();
    if values.next().is_some() {
        return Err(BearerError::Multiple);
    }
    Ok(found.map(|text| PresentedKey {
        text,
        form: KeyForm::Pair,
    }))
}

/// What follows the scheme `Basic`.
fn after_basic(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(5)?;
    let is_basic = scheme.eq_ignore_ascii_case(b"basic") && matches!(rest.first(), None | Some(b' '));
    is_basic.then(|| rest.trim_ascii_start())
}

impl<'a> PresentedKey<'a> {
    /// What a cache may digest: the key as it stands there, and its form.
    ///
    /// # Errors
    /// [`TokenError::MalformedKey`], where it is too long to be one.
    pub fn text(self) -> Result<(&'a [u8], KeyForm), TokenError> {
        if self.text.len() > MAX_API_KEY {
            return Err(TokenError::MalformedKey);
        }
        Ok((self.text, self.form))
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`TokenError::MalformedKey`].
    pub fn read(self) -> Result<ApiKey, TokenError> {
        let (text, form) = self.text()?;
        read(text, form).ok_or(TokenError::MalformedKey)
    }

    /// What a verifier says of a key that nothing is known of.
    pub fn unexchanged(self) -> TokenError {
        match self.read() {
            Ok(key) => TokenError::Unexchanged(Arc::new(key)),
            Err(malformed) => malformed,
        }
    }
}

fn read(text: &[u8], form: KeyForm) -> Option<ApiKey> {
    let decoded = match form {
        KeyForm::Basic => Zeroizing::new(STANDARD.decode(text).ok()?),
        KeyForm::Pair => Zeroizing::new(text.to_vec()),
    };
    let pair = std::str::from_utf8(&decoded).ok()?;
    let (client_id, secret) = pair.split_once(':')?;
    let part = |part: &str| {
        let part = match form {
            KeyForm::Basic => unescaped(part)?,
            KeyForm::Pair => Cow::Borrowed(part),
        };
        let part = Zeroizing::new(part.into_owned());
        (!part.is_empty() && !part.contains(char::is_control)).then_some(part)
    };
    Some(ApiKey {
        text: Zeroizing::new(text.to_vec()),
        form,
        client_id: part(client_id)?,
        secret: part(secret)?,
    })
}

/// With `%XX` undone, where every `%` begins one; `None` where what comes of it is not UTF-8.
fn unescaped(part: &str) -> Option<Cow<'_, str>> {
    let mut pieces = part.split('%');
    let Some(first) = pieces.next().filter(|first| first.len() < part.len()) else {
        return Some(Cow::Borrowed(part));
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(part.len()));
    bytes.extend_from_slice(first.as_bytes());
    for piece in pieces {
        let escape = piece.as_bytes().split_first_chunk::<2>();
        let Some((byte, rest)) = escape.and_then(|(digits, rest)| Some((byte(*digits)?, rest))) else {
            // A `%` that stands for itself: so do all of them.
            return Some(Cow::Borrowed(part));
        };
        bytes.push(byte);
        bytes.extend_from_slice(rest);
    }
    std::str::from_utf8(&bytes)
        .ok()
        .map(|text| Cow::Owned(text.to_owned()))
}

fn byte(digits: [u8; 2]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let [high, low] = digits;
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

impl ApiKey {
    /// As it stands in the request.
    pub fn presented(&self) -> PresentedKey<'_> {
        PresentedKey {
            text: &self.text,
            form: self.form,
        }
    }

    /// Whose key it is said to be.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The secret itself; the name makes each use easy to find in a review.
    pub fn expose_secret(&self) -> &str {
        &self.secret
    }
}

impl ExchangedToken {
    /// A token as an issuer gave it; `None` where it is nothing that can follow `Bearer` (RFC 6750 section 2.1).
    pub fn new(token: &str) -> Option<Self> {
        let is_sound = BearerToken::found(token, Scheme::Bearer).is_well_formed();
        is_sound.then(|| Self(Zeroizing::new(token.to_owned())))
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// When it ends or becomes too old, as far as it says so itself. Nobody has verified it: good for deciding when to
    /// fetch another, and for nothing else.
    pub fn says_it_ends(&self, max_age: Option<i64>) -> Option<UnixSeconds> {
        let jws = Jws::read(&self.0).ok()?;
        let date = |name| claims::date(&jws.claims, name).ok().flatten();
        let too_old = max_age.and_then(|max_age| Some(date("iat")?.saturating_add(max_age)));
        [date("exp"), too_old].into_iter().flatten().min()
    }
}

/// What the token endpoint of an issuer answers (RFC 6749 sections 5.1 and 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenAnswer {
    /// A bearer token, and for how many seconds it is good, where that is told.
    Granted(Arc<ExchangedToken>, Option<i64>),
    /// The credentials are not right.
    WrongKey,
    /// They are, and there is no token for this API.
    NotGranted,
    /// There is a token, but not one that anybody may bear.
    NotBearer,
}

impl TokenAnswer {
    /// Reads the body of an answer with status 200. `None` where it says nothing.
    pub fn read(body: &[u8]) -> Option<Self> {
        let answer = Json::read(body).ok()?;
        let kind = answer.get("token_type").and_then(Json::as_str)?;
        let token = answer.get("access_token").and_then(Json::as_str)?;
        if !kind.eq_ignore_ascii_case("bearer") {
            return Some(Self::NotBearer);
        }
        let token = ExchangedToken::new(token)?;
        let expires_in = claims::date(&answer, "expires_in").ok().flatten();
        Some(Self::Granted(Arc::new(token), expires_in))
    }

    /// Reads the body of an answer with another status. `None` where it says nothing about the credentials.
    pub fn read_error(status: u16, body: &[u8]) -> Option<Self> {
        let answer = Json::read(body).ok();
        let error = answer.as_ref().and_then(|answer| answer.get("error")?.as_str());
        match (status, error) {
            (401, _) | (400, Some("invalid_client")) => Some(Self::WrongKey),
            // It is the gateway that is not understood.
            (_, Some("unsupported_grant_type")) => None,
            (400 | 403, Some(_)) => Some(Self::NotGranted),
            _ => None,
        }
    }
}

impl std::fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PresentedKey([redacted])")
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey([redacted])")
    }
}

impl std::fmt::Debug for ExchangedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExchangedToken([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &str) -> Option<(String, String)> {
        let value = format!("Basic {}", STANDARD.encode(pair));
        let key = basic_key(std::iter::once(value.as_bytes())).unwrap().unwrap();
        let key = key.read().ok()?;
        assert!(!format!("{key:?}").contains(key.expose_secret()));
        assert_eq!(key.presented().read().as_ref(), Ok(&key));
        Some((key.client_id().into(), key.expose_secret().into()))
    }

    #[test]
    fn credentials_of_the_scheme_basic() {
        for (pair, id, secret) in [
            ("id:secret", "id", "secret"),
            ("id:se:cret", "id", "se:cret"),
            ("a%3Ab:p%25%2B%20", "a:b", "p%+ "),
            ("id:a+b/c==", "id", "a+b/c=="),
            // What is no escape stands for itself, and so does everything beside it.
            ("id:100%", "id", "100%"),
            ("id:%41%4", "id", "%41%4"),
            ("id:%zz%41", "id", "%zz%41"),
            ("i%64:%", "id", "%"),
            ("id:%C3%BC", "id", "ü"),
            ("ü:ü", "ü", "ü"),
        ] {
            assert_eq!(basic(pair), Some((id.into(), secret.into())), "{pair}");
        }
        for pair in [
            "",
            ":",
            "id",
            "id:",
            ":secret",
            "i\nd:s",
            "id:s\u{7f}",
            "id:%00",
            "id:%0a",
            "id:%FF",
            "%E2:x",
        ] {
            assert_eq!(basic(pair), None, "{pair:?}");
        }
    }

    #[test]
    fn what_is_no_key() {
        let find = |values: &[&'static str]| basic_key(values.iter().map(|value| value.as_bytes()));
        for value in ["Bearer a", "Basics aTpz", "Basi", "", "aTpz", "Basic\taTpz"] {
            assert_eq!(find(&[value]), Ok(None), "{value}");
        }
        assert_eq!(find(&["Basic aTpz", "Bearer x"]), Err(BearerError::Multiple));
        assert_eq!(find(&["Bearer x", "basic aTpz"]), Err(BearerError::Multiple));
        assert_eq!(
            find(&["Bearer x", "Bearer y"]),
            Ok(None),
            "others are told of them"
        );
        // One spelling: padding is there, nothing is around it, no bits are left over.
        for value in [
            "Basic",
            "Basic ",
            "Basic aTpzMQ",
            "Basic aTpz aTpz",
            "Basic aTpzMQ==,",
            "Basic aTpzMR==",
            "Basic aTpz ",
            "Basic \"aTpz\"",
            "Basic a_pz",
        ] {
            let key = find(&[value]).unwrap().unwrap();
            assert_eq!(key.read(), Err(TokenError::MalformedKey), "{value}");
        }
        assert_eq!(
            find(&["bASIC  aTpz"])
                .unwrap()
                .unwrap()
                .read()
                .unwrap()
                .client_id(),
            "i"
        );
        let long = format!("Basic {}", "A".repeat(MAX_API_KEY + 4));
        let key = basic_key(std::iter::once(long.as_bytes())).unwrap().unwrap();
        assert_eq!(key.text(), Err(TokenError::MalformedKey));
        assert_eq!(key.unexchanged(), TokenError::MalformedKey);
    }

    #[test]
    fn a_pair_is_as_it_is() {
        let read = |value: &'static str| {
            let key = header_key(std::iter::once(value.as_bytes())).unwrap().unwrap();
            key.read()
                .map(|key| (key.client_id().to_owned(), key.expose_secret().to_owned()))
        };
        assert_eq!(read("id:%41+ b:c"), Ok(("id".into(), "%41+ b:c".into())));
        for value in ["", "id", "id:", ":s", "aTpz"] {
            assert_eq!(read(value), Err(TokenError::MalformedKey), "{value}");
        }
        let two = [&b"a:b"[..], b"a:b"];
        assert_eq!(header_key(two.into_iter()), Err(BearerError::Multiple));
        assert_eq!(header_key(std::iter::empty()), Ok(None));
    }

    #[test]
    fn answers() {
        let granted = |body: &str| match TokenAnswer::read(body.as_bytes()) {
            Some(TokenAnswer::Granted(token, expires_in)) => Some((token.expose().to_owned(), expires_in)),
            _ => None,
        };
        assert_eq!(
            granted(r#"{"access_token":"a.b.c","token_type":"bearer","expires_in":60,"scope":"x"}"#),
            Some(("a.b.c".into(), Some(60)))
        );
        assert_eq!(
            granted(r#"{"access_token":"a","token_type":"Bearer"}"#),
            Some(("a".into(), None))
        );
        assert_eq!(
            granted(r#"{"access_token":"a","token_type":"Bearer","expires_in":"60"}"#),
            Some(("a".into(), None))
        );
        assert_eq!(
            TokenAnswer::read(br#"{"access_token":"a.b.c","token_type":"DPoP"}"#),
            Some(TokenAnswer::NotBearer)
        );
        for body in [
            "",
            "{}",
            "[]",
            r#"{"access_token":"a"}"#,
            r#"{"token_type":"Bearer"}"#,
            r#"{"access_token":"a b","token_type":"Bearer"}"#,
            r#"{"access_token":"","token_type":"Bearer"}"#,
            r#"{"access_token":"a\r\nx: y","token_type":"Bearer"}"#,
            r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
        ] {
            assert_eq!(TokenAnswer::read(body.as_bytes()), None, "{body}");
        }
        use TokenAnswer::{NotGranted, WrongKey};
        for (status, body, expected) in [
            (401, "", Some(WrongKey)),
            (401, r#"{"error":"access_denied"}"#, Some(WrongKey)),
            (400, r#"{"error":"invalid_client"}"#, Some(WrongKey)),
            (403, r#"{"error":"access_denied"}"#, Some(NotGranted)),
            (403, r#"{"error":"unauthorized_client"}"#, Some(NotGranted)),
            (400, r#"{"error":"invalid_scope"}"#, Some(NotGranted)),
            (400, r#"{"error":"invalid_request"}"#, Some(NotGranted)),
            (400, r#"{"error":"unsupported_grant_type"}"#, None),
            (400, "", None),
            (403, "<html>", None),
            (500, r#"{"error":"access_denied"}"#, None),
            (429, r#"{"error":"access_denied"}"#, None),
        ] {
            assert_eq!(
                TokenAnswer::read_error(status, body.as_bytes()),
                expected,
                "{status} {body}"
            );
        }
    }
}
