//! The one reading of a path. What is matched is what is forwarded, byte for byte: an ambiguous path is refused, never
//! rewritten.
//!
//! A literal of a pattern is compared with the percent-decoded segment, since that is what an upstream would compare:
//! `/%61dmin` meets the route of `/admin`. Spellings that a decoder, a normaliser or a second decoder could turn into
//! another path are refused, some of them unless the matched route allows that exact form.

use std::borrow::Cow;

use super::PathForm;

/// The forms of [`PathForm`] that a path contains, or that a route allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathForms(u8);

impl PathForms {
    /// The set of these forms.
    pub fn of(forms: &[PathForm]) -> Self {
        forms.iter().fold(Self::default(), |set, &form| set.with(form))
    }

    /// Whether every form of this set is in the other.
    pub fn is_subset_of(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn with(self, form: PathForm) -> Self {
        Self(self.0 | 1 << form as u8)
    }
}

/// The path is refused whatever the routes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path is ambiguous")]
pub struct BadPath;

/// A path that has been looked through once.
#[derive(Clone, Copy, Debug)]
pub struct RequestPath<'a> {
    raw: &'a str,
    forms: PathForms,
}

impl<'a> RequestPath<'a> {
    /// Looks through the path of a request target, without its query.
    ///
    /// Refuses at once: no leading slash, control bytes, spaces, non-ASCII bytes, `\`, `#`, `?`, incomplete
    /// percent-encoding, encoded control bytes, and dot segments in any spelling.
    pub fn read(raw: &'a str) -> Result<Self, BadPath> {
        let Some(b'/') = raw.as_bytes().first() else {
            return Err(BadPath);
        };
        let mut forms = PathForms::default();
        let mut has_percent = false;
        let mut has_dot = false;
        let mut previous = 0;
        for &byte in raw.as_bytes() {
            match byte {
                0..=b' ' | 0x7f.. | b'\\' | b'#' | b'?' => return Err(BadPath),
                b'/' if previous == b'/' => forms = forms.with(PathForm::DoubleSlash),
                b';' => forms = forms.with(PathForm::Semicolon),
                b'%' => has_percent = true,
                b'.' => has_dot = true,
                _ => {}
            }
            previous = byte;
        }
        if has_percent {
            forms = PathForms(forms.0 | encoded_forms(raw)?.0);
        }
        if PathForms::of(&[PathForm::Semicolon]).is_subset_of(forms) && has_nameless_segment(raw) {
            forms = forms.with(PathForm::DoubleSlash);
        }
        if (has_dot || has_percent) && has_dot_segment(raw) {
            return Err(BadPath);
        }
        Ok(Self { raw, forms })
    }

    /// The bytes as they came.
    pub fn as_str(&self) -> &'a str {
        self.raw
    }

    /// The forms in it that a route has to allow.
    pub fn forms(&self) -> PathForms {
        self.forms
    }
}

/// What a literal of a pattern is compared with: the segment percent-decoded, without its `;` parameters. Cut after
/// decoding, so that `/admin%3Bx` meets the route of `/admin` as well: some upstreams cut there.
pub(super) fn literal_of(segment: &str) -> Cow<'_, [u8]> {
    let bytes = segment.as_bytes();
    if bytes.contains(&b'%') {
        let mut decoded = decode(bytes);
        decoded.truncate(without_parameters(&decoded).len());
        Cow::Owned(decoded)
    } else {
        Cow::Borrowed(without_parameters(bytes))
    }
}

fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|&byte| byte == b';').next().unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return decoded,
            [b'%', high, low, rest @ ..] => match pair(*high, *low) {
                Some(byte) => {
                    decoded.push(byte);
                    rest
                }
                None => {
                    decoded.extend([b'%', *high, *low]);
                    rest
                }
            },
            [byte, rest @ ..] => {
                decoded.push(*byte);
                rest
            }
        };
    }
}

fn encoded_forms(raw: &str) -> Result<PathForms, BadPath> {
    let mut forms = PathForms::default();
    let mut before = 0;
    for after in raw.split('%').skip(1) {
        let &[high, low, ref rest @ ..] = after.as_bytes() else {
            return Err(BadPath);
        };
        let byte = pair(high, low).ok_or(BadPath)?;
        if is_overlong(before, byte) {
            return Err(BadPath);
        }
        before = if rest.is_empty() { byte } else { 0 };
        match byte {
            0..=0x1f | 0x7f => return Err(BadPath),
            b'/' => forms = forms.with(PathForm::EncodedSlash),
            b'\\' => forms = forms.with(PathForm::EncodedBackslash),
            b'%' => forms = forms.with(PathForm::EncodedPercent),
            b';' => forms = forms.with(PathForm::Semicolon),
            _ => {}
        }
    }
    Ok(forms)
}

/// Whether two bytes in a row begin a longer form of UTF-8 than the character needs (RFC 3629 section 3): `%C0%AF` and
/// `%E0%80%AF` are a slash to a careless decoder. 0xC0 and 0xC1 begin nothing else.
fn is_overlong(before: u8, byte: u8) -> bool {
    matches!(
        (before, byte),
        (_, 0xc0 | 0xc1)
            | (0xe0, 0x80..=0x9f)
            | (0xf0, 0x80..=0x8f)
            | (0xf8, 0x80..=0x87)
            | (0xfc, 0x80..=0x83)
    )
}

/// Whether a segment before the last is nothing but parameters: cutting them leaves `//`, so `/;/admin` could become
/// `/admin`.
fn has_nameless_segment(raw: &str) -> bool {
    raw.rsplit('/')
        .skip(1)
        .any(|segment| segment.contains([';', '%']) && literal_of(segment).is_empty())
}

/// Whether a segment, after decoding as often as anything could decode it, is `.` or `..`. Encoded slashes separate
/// here too, and `;` ends a segment, since some upstreams read them so.
fn has_dot_segment(raw: &str) -> bool {
    let mut bytes = Cow::Borrowed(raw.as_bytes());
    loop {
        let found = bytes
            .split(|byte| matches!(byte, b'/' | b'\\'))
            .map(without_parameters)
            .any(|segment| segment == b"." || segment == b"..");
        if found {
            return true;
        }
        if !bytes.contains(&b'%') {
            return false;
        }
        let decoded = decode(&bytes);
        if decoded.len() == bytes.len() {
            return false;
        }
        bytes = Cow::Owned(decoded);
    }
}

fn pair(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain() {
        for path in [
            "/",
            "/items",
            "/items/",
            "/a.b/c..d/...",
            "/~user/x_y-z",
            "/%C3%A9",
            "/%E0%A0%80%F0%90%80%80",
            "/%E0x%80",
            "/a%20b",
            "/a:b@c",
            "/.a",
        ] {
            let read = RequestPath::read(path).unwrap();
            assert!(read.forms().is_empty(), "{path}");
            assert_eq!(read.as_str(), path);
        }
    }

    #[test]
    fn always_refused() {
        for path in [
            "",
            "items",
            "*",
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e%2e/b",
            "/%2E/b",
            "/.%2e/b",
            "/a/%2e",
            "/a\\b",
            "/a#b",
            "/a?b",
            "/a b",
            "/a\tb",
            "/a\0b",
            "/é",
            "/%",
            "/%2",
            "/%zz",
            "/%0a",
            "/%00",
            "/%7f",
            "/a/..;x/b",
            "/a;/../b",
            "/..;/b",
            "/a%2f..%2fb",
            "/a%2f%2e%2e",
            "/a%5c..%5cb",
            "/%252e%252e/b",
            "/%25252e%25252e/b",
            "/%c0%af",
            "/%C0%AE%C0%AE/b",
            "/a/..%3bx/b",
            "/%2e;/a",
        ] {
            assert!(RequestPath::read(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn needs_leave() {
        for (path, form) in [
            ("/a%2fb", PathForm::EncodedSlash),
            ("/a%2Fb", PathForm::EncodedSlash),
            ("/a%5Cb", PathForm::EncodedBackslash),
            ("/100%25", PathForm::EncodedPercent),
            ("//a", PathForm::DoubleSlash),
            ("/a//b", PathForm::DoubleSlash),
            ("/a//", PathForm::DoubleSlash),
            ("/a;v=1", PathForm::Semicolon),
            ("/a%3Bv=1", PathForm::Semicolon),
            ("/a/;v=1", PathForm::Semicolon),
        ] {
            assert_eq!(
                RequestPath::read(path).unwrap().forms(),
                PathForms::of(&[form]),
                "{path}"
            );
        }
    }

    #[test]
    fn a_segment_of_parameters_alone_is_an_empty_one() {
        let both = PathForms::of(&[PathForm::Semicolon, PathForm::DoubleSlash]);
        for path in ["/;/a", "/;v=1/a", "/%3B/a", "/a/;/b", "/a;v/;/b"] {
            assert_eq!(RequestPath::read(path).unwrap().forms(), both, "{path}");
        }
    }

    #[test]
    fn literals_are_compared_decoded() {
        assert_eq!(&*literal_of("%61dmin"), b"admin");
        assert_eq!(&*literal_of("admin;x=1"), b"admin");
        assert_eq!(&*literal_of("%61dmin%3Bx=1"), b"admin");
        assert_eq!(&*literal_of("admin;%61"), b"admin");
        assert_eq!(&*literal_of("a%20b"), b"a b");
    }
}
