//! The one reading of a host: lower case, without port and trailing dot (RFC 9110 section 7.2, RFC 3986 section 3.2.2).

use std::borrow::Cow;

/// A host name or address, normalised for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a>(Cow<'a, str>);

/// Not a host with an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host with an optional port")]
pub struct BadHost;

impl<'a> Host<'a> {
    /// Reads `uri-host [ ":" port ]`. User information, an empty host and anything beyond letters, digits, `-`, `_`,
    /// `.` and an address in brackets are refused.
    pub fn read(authority: &'a str) -> Result<Self, BadHost> {
        if is_normal(authority) {
            return Ok(Self(Cow::Borrowed(authority)));
        }
        let (name, port) = split_port(authority)?;
        let is_port = |port: &str| {
            port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        };
        if !port.is_none_or(is_port) {
            return Err(BadHost);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_literal = name.starts_with('[');
        let fits = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => true,
            b'-' | b'_' => !is_literal,
            b':' | b'[' | b']' => is_literal,
            _ => false,
        };
        if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.bytes().all(fits) {
            return Err(BadHost);
        }
        Ok(Self(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }))
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether there is nothing to look at any closer: a name in lower case without a port.
fn is_normal(authority: &str) -> bool {
    let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    (1..=255).contains(&authority.len())
        && authority.bytes().all(is_plain)
        && !authority.starts_with('.')
        && !authority.ends_with('.')
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), BadHost> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(BadHost)?;
        let (name, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((name, Some(port))),
            None if rest.is_empty() => Ok((name, None)),
            None => Err(BadHost),
        };
    }
    Ok(match authority.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (authority, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("my_service", "my_service"),
            ("a:", "a"),
        ] {
            assert_eq!(Host::read(authority).unwrap().as_str(), host);
        }
    }

    #[test]
    fn refused() {
        for authority in [
            "", ":80", ".", "a b", "a/b", "user@a", "a@b", "a,b", "a:b", "a:123456", "[::1", "[::1]x", "é",
            "a:80:80", "a\\b", "::1",
        ] {
            assert!(Host::read(authority).is_err(), "{authority:?}");
        }
    }
}
