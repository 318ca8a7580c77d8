//! Finds the token in the `Authorization` lines of a request (RFC 6750 section 2.1, RFC 9449 section 7.1, RFC 9110
//! section 11.4).
//!
//! It only finds; what the token says is read elsewhere. It must never be lenient: an upstream that reads another
//! token than we did would defeat the check.

/// What stands where the token should be: one word, not yet looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BearerToken<'a> {
    text: &'a str,
    scheme: Scheme,
}

/// The scheme with which a token came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 6750.
    #[default]
    Bearer,
    /// RFC 9449: with a proof. Many an API does not know it.
    Dpop,
}

impl<'a> BearerToken<'a> {
    /// One that was found in another place than `Authorization`.
    pub fn found(text: &'a str, scheme: Scheme) -> Self {
        Self { text, scheme }
    }

    /// The compact token.
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// The scheme.
    pub fn scheme(self) -> Scheme {
        self.scheme
    }

    /// Whether it has the form of RFC 6750 (`b64token`). Nothing else can be verified, so this is asked only to tell
    /// why a token was not: looking at each character of a good one would cost more than finding it in a cache.
    pub fn is_well_formed(self) -> bool {
        is_b64token(self.text.as_bytes())
    }
}

impl std::fmt::Debug for BearerToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken([redacted])")
    }
}

/// Why there is no bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// No `Authorization` line, or one of another scheme.
    #[error("there is no bearer token")]
    Missing,
    /// More than one `Authorization` line.
    #[error("there is more than one Authorization header")]
    Multiple,
    /// The scheme is `Bearer`, but what follows is not one token.
    #[error("the Authorization header cannot be read")]
    Malformed,
}

/// Reads the one token among the values of all `Authorization` lines.
pub fn bearer_token<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<BearerToken<'a>, BearerError> {
    let value = values.next().ok_or(BearerError::Missing)?;
    if values.next().is_some() {
        return Err(BearerError::Multiple);
    }
    let (scheme, rest) = match value.iter().position(|&byte| byte == b' ') {
        Some(space) => value.split_at(space),
        None => (value, &[][..]),
    };
    let scheme = if scheme.eq_ignore_ascii_case(b"bearer") {
        Scheme::Bearer
    } else if scheme.eq_ignore_ascii_case(b"dpop") {
        Scheme::Dpop
    } else {
        // `Bearer,` or a tab in place of the space is an attempt at our scheme, not another scheme.
        let is_token = !scheme.is_empty() && scheme.iter().all(u8::is_ascii_alphanumeric);
        return Err(if is_token || scheme.is_empty() || scheme.contains(&b'-') {
            BearerError::Missing
        } else {
            BearerError::Malformed
        });
    };
    let start = rest
        .iter()
        .position(|&byte| byte != b' ')
        .ok_or(BearerError::Malformed)?;
    let token = rest.get(start..).unwrap_or_default();
    std::str::from_utf8(token)
        .map(|text| BearerToken { text, scheme })
        .map_err(|_not_utf8| BearerError::Malformed)
}

/// Reads the one token among the values of another field: behind a scheme, or alone.
pub fn header_token<'a>(
    mut values: impl Iterator<Item = &'a [u8]>,
    scheme: Option<&str>,
) -> Result<&'a str, BearerError> {
    let value = values.next().ok_or(BearerError::Missing)?;
    if values.next().is_some() {
        return Err(BearerError::Multiple);
    }
    let token = match scheme {
        None => value,
        Some(scheme) => {
            let (own, rest) = value
                .split_at_checked(scheme.len())
                .ok_or(BearerError::Malformed)?;
            if !own.eq_ignore_ascii_case(scheme.as_bytes()) || !rest.starts_with(b" ") {
                return Err(BearerError::Malformed);
            }
            rest.trim_ascii_start()
        }
    };
    if token.is_empty() {
        return Err(BearerError::Malformed);
    }
    std::str::from_utf8(token).map_err(|_not_utf8| BearerError::Malformed)
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|&&byte| byte == b'=').count();
    let body = token.get(..token.len() - padding).unwrap_or_default();
    let fits =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `decide` makes of it, for a token that cannot be verified.
    fn read<'a>(values: &[&'a str]) -> Result<&'a str, BearerError> {
        let token = bearer_token(values.iter().map(|value| value.as_bytes()))?;
        if token.is_well_formed() {
            Ok(token.as_str())
        } else {
            Err(BearerError::Malformed)
        }
    }

    #[test]
    fn one_token() {
        for (value, token) in [
            ("Bearer a.b.c", "a.b.c"),
            ("bearer a.b.c", "a.b.c"),
            ("BEARER  x", "x"),
            ("Bearer x==", "x=="),
        ] {
            assert_eq!(read(&[value]), Ok(token), "{value}");
        }
    }

    #[test]
    fn no_token() {
        assert_eq!(read(&[]), Err(BearerError::Missing));
        for value in ["Basic dXNlcjpwYXNz", "", "Digest a=b", "Bearers x", "DPoPs x"] {
            assert_eq!(read(&[value]), Err(BearerError::Missing), "{value:?}");
        }
    }

    #[test]
    fn schemes() {
        for (value, scheme) in [
            ("Bearer a.b.c", Scheme::Bearer),
            ("DPoP a.b.c", Scheme::Dpop),
            ("dpop a.b.c", Scheme::Dpop),
        ] {
            let token = bearer_token(std::iter::once(value.as_bytes())).unwrap();
            assert_eq!((token.as_str(), token.scheme()), ("a.b.c", scheme));
        }
    }

    #[test]
    fn more_than_one() {
        assert_eq!(read(&["Bearer a", "Bearer a"]), Err(BearerError::Multiple));
        assert_eq!(read(&["Basic a", "Bearer a"]), Err(BearerError::Multiple));
    }

    #[test]
    fn unreadable() {
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer a, Bearer b",
            "Bearer =",
            "Bearer a=b",
            "Bearer\ta",
            "Bearer a\t",
            "Bearer \"a\"",
            "Bearer a ",
            "Bearer, a",
            "Bearer é",
            "DPoP",
            "DPoP a, b",
        ] {
            assert_eq!(read(&[value]), Err(BearerError::Malformed), "{value:?}");
        }
    }
}
