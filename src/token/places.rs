//! Finds tokens in other places than `Authorization`: a cookie (RFC 6265), a WebSocket sub-protocol (RFC 6455 section
//! 1.9), a query parameter (RFC 6750 section 2.3); and takes them out of what is forwarded.
//!
//! `policy::TokenPlaces` says which. It must never be lenient: what an upstream could take for the same name, and so for
//! another token than we verified, is found as well, refused, and taken out with the rest.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::BearerError;

/// How a token stands among the sub-protocols that a client offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolForm {
    /// It is the element that follows this one: `bearer, TOKEN`.
    After(Box<str>),
    /// It is what follows this at the beginning of an element.
    Prefix(Box<str>),
    /// The same, in base64url, as Kubernetes has it.
    EncodedPrefix(Box<str>),
}

/// What an element of a list has to do with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likeness {
    /// It is the one that is looked for.
    Same,
    /// Somebody may take it for that.
    Alike,
    Other,
}

/// The token in the cookie of this name; `lines` are the values of all `Cookie` fields. An empty cookie is none: that is
/// how cookies are taken back.
pub fn cookie_token<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    name: &str,
) -> Result<Cow<'a, str>, BearerError> {
    let cookies = lines.flat_map(|line| line.split(|&byte| byte == b';'));
    only(
        cookies.map(|cookie| (likeness_of_cookie(cookie, name), split_at_equals(cookie).1)),
        |value| text(trim(value)).map(Cow::Borrowed),
    )
}

/// A `Cookie` field without the cookie of this name, and without what could be taken for it. `None` where it has none of
/// them; an empty one where nothing is left.
pub fn without_cookie(line: &[u8], name: &str) -> Option<Vec<u8>> {
    let kept = |cookie: &&[u8]| likeness_of_cookie(cookie, name) == Likeness::Other;
    let cookies = || line.split(|&byte| byte == b';');
    if cookies().all(|cookie| kept(&cookie)) {
        return None;
    }
    let left: Vec<&[u8]> = cookies()
        .filter(kept)
        .map(trim)
        .filter(|cookie| !cookie.is_empty())
        .collect();
    Some(left.join(&b"; "[..]))
}

/// The token in the parameter of this name.
pub fn query_token<'a>(query: &'a str, name: &str) -> Result<Cow<'a, str>, BearerError> {
    let parameters = query.as_bytes().split(|&byte| byte == b'&');
    only(
        parameters.map(|parameter| {
            (
                likeness_of_parameter(parameter, name),
                split_at_equals(parameter).1,
            )
        }),
        |value| {
            if !value.contains(&b'%') {
                return text(value).map(Cow::Borrowed);
            }
            let decoded = String::from_utf8(decoded(value).collect());
            decoded
                .map(Cow::Owned)
                .map_err(|_not_utf8| BearerError::Malformed)
        },
    )
}

/// A query without the parameter of this name, and without what could be taken for it. `None` where it has none of them.
pub fn without_parameter(query: &str, name: &str) -> Option<String> {
    let kept = |parameter: &&str| likeness_of_parameter(parameter.as_bytes(), name) == Likeness::Other;
    if query.split('&').all(|parameter| kept(&parameter)) {
        return None;
    }
    let left: Vec<&str> = query.split('&').filter(kept).collect();
    Some(left.join("&"))
}

/// The token among the sub-protocols; `lines` are the values of all `Sec-WebSocket-Protocol` fields.
pub fn protocol_token<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    form: &ProtocolForm,
) -> Result<Cow<'a, str>, BearerError> {
    let mut elements = elements(lines);
    let mut found = None;
    while let Some(element) = elements.next() {
        let token = match form {
            ProtocolForm::After(marker) if element == marker.as_bytes() => {
                elements.next().ok_or(BearerError::Malformed)?
            }
            ProtocolForm::Prefix(prefix) | ProtocolForm::EncodedPrefix(prefix)
                if element.starts_with(prefix.as_bytes()) =>
            {
                element.get(prefix.len()..).unwrap_or_default()
            }
            _ => continue,
        };
        if found.replace(token).is_some() {
            return Err(BearerError::Multiple);
        }
    }
    let token = found.ok_or(BearerError::Missing)?;
    if token.is_empty() {
        return Err(BearerError::Malformed);
    }
    match form {
        ProtocolForm::After(_) | ProtocolForm::Prefix(_) => text(token).map(Cow::Borrowed),
        ProtocolForm::EncodedPrefix(_) => URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|token| !token.is_empty())
            .map(Cow::Owned)
            .ok_or(BearerError::Malformed),
    }
}

/// The sub-protocols without what has to do with the token: one field for all. `None` where there is none of it; an
/// empty one where nothing is left.
pub fn without_protocol<'a>(lines: impl Iterator<Item = &'a [u8]>, form: &ProtocolForm) -> Option<Vec<u8>> {
    let mut elements = elements(lines);
    let (mut left, mut is_there): (Vec<&[u8]>, bool) = (Vec::new(), false);
    while let Some(element) = elements.next() {
        match form {
            ProtocolForm::After(marker) if element == marker.as_bytes() => {
                is_there = true;
                elements.next();
            }
            ProtocolForm::Prefix(prefix) | ProtocolForm::EncodedPrefix(prefix)
                if element.starts_with(prefix.as_bytes()) =>
            {
                is_there = true;
            }
            _ => left.push(element),
        }
    }
    is_there.then(|| left.join(&b", "[..]))
}

/// The one value of the name that is looked for, where nothing can be taken for another one.
fn only<'a>(
    values: impl Iterator<Item = (Likeness, &'a [u8])>,
    read: impl Fn(&'a [u8]) -> Result<Cow<'a, str>, BearerError>,
) -> Result<Cow<'a, str>, BearerError> {
    let (mut found, mut is_alike) = (None, false);
    for (likeness, value) in values {
        match likeness {
            Likeness::Other => {}
            Likeness::Alike => is_alike = true,
            Likeness::Same if found.is_some() => return Err(BearerError::Multiple),
            Likeness::Same => found = Some(value),
        }
    }
    match found {
        _ if is_alike => Err(BearerError::Multiple),
        None | Some([]) => Err(BearerError::Missing),
        Some(value) => read(value),
    }
}

/// `name=value`, as it stands between semicolons. Cookies are an old format: some readers take a comma for a semicolon,
/// and see what stands between quotes.
fn likeness_of_cookie(cookie: &[u8], name: &str) -> Likeness {
    let (own, value) = split_at_equals(cookie);
    if trim(own) == name.as_bytes() {
        return Likeness::Same;
    }
    let hidden = value.split(|byte| matches!(byte, b',' | b'"' | b' ' | b'\t'));
    let is_alike = hidden
        .filter(|piece| piece.contains(&b'='))
        .any(|piece| is_alike(split_at_equals(piece).0, name));
    if is_alike || self::is_alike(trim(own), name) {
        Likeness::Alike
    } else {
        Likeness::Other
    }
}

/// `name=value`, as it stands between ampersands. Some readers take a semicolon for one.
fn likeness_of_parameter(parameter: &[u8], name: &str) -> Likeness {
    let mut pieces = parameter.split(|&byte| byte == b';');
    let own = pieces.next().map_or(parameter, |piece| split_at_equals(piece).0);
    if pieces.any(|piece| is_alike(split_at_equals(piece).0, name)) {
        return Likeness::Alike;
    }
    if decoded(own).eq(name.bytes()) {
        Likeness::Same
    } else if is_alike(own, name) {
        Likeness::Alike
    } else {
        Likeness::Other
    }
}

/// Whether some framework takes one name for the other: without case, once more decoded, as the name of a list, with
/// `_` for what a variable cannot have.
fn is_alike(one: &[u8], other: &str) -> bool {
    fold(one).eq(fold(other.as_bytes()))
}

fn fold(name: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let named = decoded(name).skip_while(|byte| matches!(byte, b' ' | b'+'));
    let folded = named.map(|byte| match byte {
        b'.' | b' ' | b'+' => b'_',
        byte => byte.to_ascii_lowercase(),
    });
    folded.take_while(|&byte| byte != b'[' && byte != 0)
}

/// Percent-decoded; what is no escape stays as it is.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        if let (b'%', [high, low, after @ ..]) = (first, after)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = after;
            return Some(high << 4 | low);
        }
        rest = after;
        Some(first)
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn elements<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines
        .flat_map(|line| line.split(|&byte| byte == b','))
        .map(trim)
        .filter(|element| !element.is_empty())
}

fn split_at_equals(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b'=') {
        Some(equals) => (
            text.get(..equals).unwrap_or_default(),
            text.get(equals + 1..).unwrap_or_default(),
        ),
        None => (text, &[]),
    }
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

fn text(token: &[u8]) -> Result<&str, BearerError> {
    std::str::from_utf8(token).map_err(|_not_utf8| BearerError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use BearerError::{Malformed, Missing, Multiple};

    fn bytes<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
        lines.iter().map(|line| line.as_bytes())
    }

    #[test]
    fn cookies() {
        for (lines, expected) in [
            (&["sid=a.b.c"][..], Ok("a.b.c")),
            (&["x=1; sid=a.b.c; y=2"], Ok("a.b.c")),
            (&["x=1;sid=a.b.c ;y"], Ok("a.b.c")),
            (&["x=1", "sid=a==", "y=2"], Ok("a==")),
            (&["side=x; asid=y; s=sid"], Err(Missing)),
            (&[], Err(Missing)),
            (&["sid"], Err(Missing)),
            (&["sid=; x=1"], Err(Missing)),
            (&["sid=a; sid=a"], Err(Multiple)),
            (&["sid=; sid=a"], Err(Multiple)),
            (&["sid=a", "sid=b"], Err(Multiple)),
            (&["sid=a; SID=b"], Err(Multiple)),
            (&["%73id=b; sid=a"], Err(Multiple)),
            (&["sid[0]=b; sid=a"], Err(Multiple)),
            (&["x=1, sid=b; sid=a"], Err(Multiple)),
            (&["x=\"sid=b\"; sid=a"], Err(Multiple)),
            (&["to=/y?sid=b; sid=a"], Ok("a")),
        ] {
            let found = cookie_token(bytes(lines), "sid");
            assert_eq!(found.as_deref().map_err(|error| *error), expected, "{lines:?}");
        }
        for (line, left) in [
            ("sid=a", Some("")),
            ("x=1; sid=a; y=2", Some("x=1; y=2")),
            ("x=\"a b\" ;sid=a", Some("x=\"a b\"")),
            ("x=1; SID=b; y=2, sid=c", Some("x=1")),
            ("x=1;  y=2", None),
        ] {
            let without = without_cookie(line.as_bytes(), "sid");
            assert_eq!(without.as_deref(), left.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn parameters() {
        for (query, expected) in [
            ("access_token=a.b.c", Ok("a.b.c")),
            ("x=1&access_token=a.b.c&y", Ok("a.b.c")),
            ("%61ccess%5ftoken=a", Ok("a")),
            ("access_token=a%2Fb%3D", Ok("a/b=")),
            ("access_token=a%zz", Ok("a%zz")),
            ("", Err(Missing)),
            ("access_token", Err(Missing)),
            ("access_token=", Err(Missing)),
            ("access_tokens=a&xaccess_token=b", Err(Missing)),
            ("access_token=%ff", Err(Malformed)),
            ("access_token=a&access_token=a", Err(Multiple)),
            ("access_token=a&Access_Token=b", Err(Multiple)),
            ("access_token=a&access_token[]=b", Err(Multiple)),
            ("access_token=a&access.token=b", Err(Multiple)),
            ("access_token=a&+access_token=b", Err(Multiple)),
            ("access_token=a&x=1;access_token=b", Err(Multiple)),
            ("access_token=a;access_token=b", Err(Multiple)),
            ("access_token=a&access_token%00=b", Err(Multiple)),
        ] {
            let found = query_token(query, "access_token");
            assert_eq!(found.as_deref().map_err(|error| *error), expected, "{query}");
        }
        for (query, left) in [
            ("access_token=a", Some("")),
            ("x=%20&access_token=a&y=1=2", Some("x=%20&y=1=2")),
            ("&access_token=a&", Some("&")),
            ("Access_Token=a&x", Some("x")),
            ("x=1;access_token=b&y", Some("y")),
            ("x=access_token", None),
        ] {
            let without = without_parameter(query, "access_token");
            assert_eq!(without.as_deref(), left, "{query}");
        }
    }

    #[test]
    fn protocols() {
        let after = ProtocolForm::After("bearer".into());
        let prefix = ProtocolForm::Prefix("token.".into());
        let encoded = ProtocolForm::EncodedPrefix("b64.".into());
        for (form, lines, expected, left) in [
            (&after, &["bearer, a.b.c"][..], Ok("a.b.c"), Some("")),
            (&after, &["chat,bearer,a.b.c , v2"], Ok("a.b.c"), Some("chat, v2")),
            (&after, &["bearer", "a.b.c"], Ok("a.b.c"), Some("")),
            (&after, &["chat"], Err(Missing), None),
            (&after, &["Bearer, a"], Err(Missing), None),
            (&after, &["chat, bearer"], Err(Malformed), Some("chat")),
            (&after, &["bearer, a, bearer, b"], Err(Multiple), Some("")),
            (&prefix, &["token.a.b.c, chat"], Ok("a.b.c"), Some("chat")),
            (&prefix, &["token."], Err(Malformed), Some("")),
            (&prefix, &["token.a, token.b"], Err(Multiple), Some("")),
            (&encoded, &["chat, b64.YS5iLmM"], Ok("a.b.c"), Some("chat")),
            (&encoded, &["b64.YS5iLmM="], Err(Malformed), Some("")),
            (&encoded, &["b64._w"], Err(Malformed), Some("")),
            (&encoded, &["b64."], Err(Malformed), Some("")),
        ] {
            let found = protocol_token(bytes(lines), form);
            assert_eq!(found.as_deref().map_err(|error| *error), expected, "{lines:?}");
            let without = without_protocol(bytes(lines), form);
            assert_eq!(without.as_deref(), left.map(str::as_bytes), "{lines:?}");
        }
    }
}
