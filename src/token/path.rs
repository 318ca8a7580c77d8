//! Where in a token a claim stands: the names of members, from the outermost inwards.
//!
//! `config` reads one from text or from a list, `reading` follows it. Nothing is guessed: what stands on the way and is
//! no object is an error, never an absent claim.

use std::fmt;
use std::sync::Arc;

use super::json::Json;
use super::{TokenError, claims};

/// The most names of one path: deeper than any issuer nests.
const MOST_NAMES: usize = 8;

/// A path of member names; at least one, none empty.
#[derive(Clone)]
pub struct ClaimPath {
    names: Box<[Box<str>]>,
    /// As it is written: what errors and people are told.
    shown: Arc<str>,
    /// The same, where it is one of the claims that standards name.
    well_known: Option<&'static str>,
}

/// Why a text or a list is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Nothing at all, or nothing between two dots.
    #[error("has an empty name")]
    Empty,
    /// Deeper than any token.
    #[error("has more than {MOST_NAMES} names")]
    TooLong,
    /// A backslash before something else than a dot or a backslash.
    #[error("has a `\\` that stands before neither `.` nor `\\`")]
    Escape,
    /// Most likely one name, which would be read as several.
    #[error("looks like an address, of which each dot would begin a new name")]
    Address,
}

impl ClaimPath {
    /// Reads `realm_access.roles`; `\.` is a dot within a name, `\\` a backslash.
    pub fn parse(text: &str) -> Result<Self, PathFault> {
        let mut names = vec![String::new()];
        let mut is_split = false;
        let mut rest = text.chars();
        while let Some(next) = rest.next() {
            let into = match next {
                '.' => {
                    is_split = true;
                    names.push(String::new());
                    continue;
                }
                '\\' => match rest.next() {
                    Some(escaped @ ('.' | '\\')) => escaped,
                    _ => return Err(PathFault::Escape),
                },
                other => other,
            };
            if let Some(last) = names.last_mut() {
                last.push(into);
            }
        }
        // `https://example.com/roles` is the name of one claim, and nobody means the claim `https://example`.
        if is_split && names.iter().any(|name| name.contains("://")) {
            return Err(PathFault::Address);
        }
        Self::of(names.iter().map(String::as_str))
    }

    /// The path of these names, each as it is.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, PathFault> {
        let names: Box<[Box<str>]> = names.into_iter().map(Box::from).collect();
        if names.is_empty() || names.iter().any(|name| name.is_empty()) {
            return Err(PathFault::Empty);
        }
        if names.len() > MOST_NAMES {
            return Err(PathFault::TooLong);
        }
        let escaped: Vec<String> = names
            .iter()
            .map(|name| name.replace('\\', "\\\\").replace('.', "\\."))
            .collect();
        Ok(Self {
            shown: escaped.join(".").into(),
            well_known: None,
            names,
        })
    }

    /// The path of one name that is known to be good.
    pub(super) fn top(name: &'static str) -> Self {
        Self {
            names: [Box::from(name)].into(),
            shown: name.into(),
            well_known: Some(name),
        }
    }

    /// The path of two names that are known to be good.
    pub(super) fn within(outer: &'static str, inner: &'static str) -> Self {
        Self {
            names: [Box::from(outer), Box::from(inner)].into(),
            shown: format!("{outer}.{inner}").into(),
            well_known: None,
        }
    }

    /// As text: what [`Self::parse`] reads.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The names, from the outermost inwards.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// What stands there; `None` where a name on the way is not there.
    pub fn find<'a>(&self, claims: &'a Json<'a>) -> Result<Option<&'a Json<'a>>, TokenError> {
        let mut at = claims;
        for name in &self.names {
            if !matches!(at, Json::Object(_)) {
                return Err(self.malformed());
            }
            match at.get(name) {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// A string there. Control characters are refused: they end up in headers and logs.
    pub(super) fn text<'a>(&self, claims: &'a Json<'a>) -> Result<Option<&'a str>, TokenError> {
        match self.find(claims)? {
            None => Ok(None),
            Some(Json::String(text)) if !claims::has_control(text) => Ok(Some(text)),
            Some(_) => Err(self.malformed()),
        }
    }

    /// The elements of an array of strings there.
    pub(super) fn strings<'a>(&self, claims: &'a Json<'a>) -> Result<Option<Vec<&'a str>>, TokenError> {
        let Some(found) = self.find(claims)? else {
            return Ok(None);
        };
        let elements = found.as_array().ok_or_else(|| self.malformed())?;
        let texts = elements
            .iter()
            .map(|element| element.as_str().ok_or_else(|| self.malformed()));
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// The words of a string there with single spaces, or the elements of an array of strings.
    pub(super) fn words<'a>(&self, claims: &'a Json<'a>) -> Result<Option<Vec<&'a str>>, TokenError> {
        match self.find(claims)? {
            Some(Json::String(text)) => Ok(Some(text.split(' ').filter(|word| !word.is_empty()).collect())),
            _ => self.strings(claims),
        }
    }

    pub(super) fn malformed(&self) -> TokenError {
        match self.well_known {
            Some(name) => TokenError::MalformedClaim(name),
            None => TokenError::MalformedAt(Arc::clone(&self.shown)),
        }
    }
}

impl PartialEq for ClaimPath {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for ClaimPath {}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimPath({})", self.shown)
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_lists_are_the_same_paths() {
        for (text, names) in [
            ("roles", &["roles"][..]),
            ("realm_access.roles", &["realm_access", "roles"]),
            (
                r"resource_access.my\.client.roles",
                &["resource_access", "my.client", "roles"],
            ),
            (r"a\\.b", &[r"a\", "b"]),
            ("https://example/roles", &["https://example/roles"]),
            (r"https://example\.com/roles", &["https://example.com/roles"]),
        ] {
            let path = ClaimPath::parse(text).unwrap();
            assert_eq!(path.names().collect::<Vec<_>>(), names, "{text}");
            assert_eq!(path.as_str(), text);
            assert_eq!(ClaimPath::of(names.iter().copied()), Ok(path));
        }
        for (text, fault) in [
            ("", PathFault::Empty),
            (".", PathFault::Empty),
            ("a..b", PathFault::Empty),
            (".a", PathFault::Empty),
            ("a.", PathFault::Empty),
            (r"a\", PathFault::Escape),
            (r"a\b", PathFault::Escape),
            ("a.b.c.d.e.f.g.h.i", PathFault::TooLong),
            ("https://example.com/roles", PathFault::Address),
        ] {
            assert_eq!(ClaimPath::parse(text), Err(fault), "{text}");
        }
        assert_eq!(ClaimPath::of([]), Err(PathFault::Empty));
    }

    #[test]
    fn what_is_no_object_on_the_way_is_malformed() {
        let path = ClaimPath::parse("a.b").unwrap();
        let malformed = || Err(TokenError::MalformedAt("a.b".into()));
        for (claims, expected) in [
            (r#"{"a":{"b":["x","y"]}}"#, Ok(Some(vec!["x", "y"]))),
            (r#"{"a":{"b":[]}}"#, Ok(Some(Vec::new()))),
            (r#"{"a":{}}"#, Ok(None)),
            ("{}", Ok(None)),
            (r#"{"a.b":["x"]}"#, Ok(None)),
            (r#"{"a":"b"}"#, malformed()),
            (r#"{"a":null}"#, malformed()),
            (r#"{"a":[{"b":["x"]}]}"#, malformed()),
            (r#"{"a":{"b":"x"}}"#, malformed()),
            (r#"{"a":{"b":null}}"#, malformed()),
            (r#"{"a":{"b":{"x":true}}}"#, malformed()),
            (r#"{"a":{"b":["x",7]}}"#, malformed()),
            (r#"{"a":{"b":[["x"]]}}"#, malformed()),
        ] {
            assert_eq!(
                path.strings(&Json::read(claims.as_bytes()).unwrap()),
                expected,
                "{claims}"
            );
        }
        let words = |claims: &str| {
            let claims = Json::read(claims.as_bytes()).unwrap();
            path.words(&claims)
                .map(|words| words.map(|words| words.join("+")))
        };
        assert_eq!(words(r#"{"a":{"b":"x  y "}}"#), Ok(Some("x+y".into())));
        assert_eq!(words(r#"{"a":{"b":["x","y"]}}"#), Ok(Some("x+y".into())));
        assert_eq!(
            words(r#"{"a":{"b":7}}"#),
            Err(TokenError::MalformedAt("a.b".into()))
        );
    }
}
