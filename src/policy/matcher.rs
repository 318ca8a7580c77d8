//! Path patterns and the tree that finds the most specific one.
//!
//! `{name}` is one non-empty segment, `{*rest}` is zero or more characters after its slash. Segment by segment a literal
//! goes before a parameter, and a parameter before the rest. The tree decides by path alone; `table` looks at methods
//! afterwards, so a less specific pattern never answers for a method that the most specific one lacks.

use std::collections::BTreeMap;

use super::path::{RequestPath, literal_of};

/// A parsed pattern such as `/items/{id}` or `/admin/{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// Percent-decoded.
    Literal(Box<[u8]>),
    Parameter,
    Rest,
}

/// Why a pattern cannot be used. The text is for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

impl PathPattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(PatternError("a path starts with `/`".into()));
        };
        let count = path.split('/').count();
        let segments = path
            .split('/')
            .enumerate()
            .map(|(index, segment)| Segment::parse(segment, index + 1 == count))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            text: text.into(),
            segments,
        })
    }

    /// The pattern as it was written: the `route` label of metrics and logs.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether both match the same paths: the names of parameters do not matter.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        self.segments == other.segments
    }
}

impl Segment {
    fn parse(text: &str, is_last: bool) -> Result<Self, PatternError> {
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let (name, segment) = match name.strip_prefix('*') {
                Some(_) if !is_last => {
                    return Err(PatternError(format!("`{text}` must be the last segment")));
                }
                Some(name) => (name, Self::Rest),
                None => (name, Self::Parameter),
            };
            let is_name = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
            return if is_name {
                Ok(segment)
            } else {
                Err(PatternError(format!(
                    "`{text}`: a parameter is named with letters, digits, `_` and `-`"
                )))
            };
        }
        if text.contains(['{', '}']) {
            return Err(PatternError(format!(
                "`{text}`: a parameter is a whole segment, such as `{{id}}`"
            )));
        }
        if text.is_empty() {
            return if is_last {
                Ok(Self::Literal(Box::default()))
            } else {
                Err(PatternError("a path has no empty segment (`//`)".into()))
            };
        }
        // What a request could not contain, a pattern must not promise to protect.
        match RequestPath::read(&format!("/{text}")) {
            Ok(path) if path.forms().is_empty() => Ok(Self::Literal(literal_of(text).into())),
            _ => Err(PatternError(format!(
                "`{text}` has characters that a path must not have: write them percent-encoded, and no dot segments, `;`, `%2F`, `%5C` or `%25`"
            ))),
        }
    }
}

/// Patterns, each with a value, in a tree by segments.
#[derive(Debug)]
pub(super) struct PathTree<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    literals: BTreeMap<Box<[u8]>, Node<T>>,
    parameter: Option<Box<Node<T>>>,
    rest: Option<T>,
    here: Option<T>,
}

impl<T> Default for PathTree<T> {
    fn default() -> Self {
        Self {
            root: Node::default(),
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            literals: BTreeMap::new(),
            parameter: None,
            rest: None,
            here: None,
        }
    }
}

impl<T> PathTree<T> {
    /// The value of a pattern, made where there is none; patterns of one shape share it.
    pub(super) fn entry(&mut self, pattern: &PathPattern, make: impl FnOnce() -> T) -> &mut T {
        let mut node = &mut self.root;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(literal) => node.literals.entry(literal.clone()).or_default(),
                Segment::Parameter => node.parameter.get_or_insert_default(),
                Segment::Rest => return node.rest.get_or_insert_with(make),
            };
        }
        node.here.get_or_insert_with(make)
    }

    /// The value of the most specific pattern that matches.
    pub(super) fn find(&self, path: &RequestPath<'_>) -> Option<&T> {
        self.root.find(path.as_str().get(1..))
    }
}

impl<T> Node<T> {
    /// `rest` is what follows the slash after this node's segment; `None` at the end of the path. The depth is bounded
    /// by the patterns, and each node is visited at most once.
    fn find(&self, rest: Option<&str>) -> Option<&T> {
        let Some(rest) = rest else {
            return self.here.as_ref();
        };
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if !self.literals.is_empty()
            && let Some(found) = self
                .literals
                .get(&*literal_of(segment))
                .and_then(|node| node.find(after))
        {
            return Some(found);
        }
        if !segment.is_empty()
            && let Some(found) = self.parameter.as_ref().and_then(|node| node.find(after))
        {
            return Some(found);
        }
        self.rest.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(patterns: &[&'a str], path: &str) -> Option<&'a str> {
        let mut tree = PathTree::default();
        for pattern in patterns {
            tree.entry(&PathPattern::parse(pattern).unwrap(), || *pattern);
        }
        tree.find(&RequestPath::read(path).unwrap()).copied()
    }

    #[test]
    fn the_most_specific_wins() {
        let patterns = [
            "/",
            "/items",
            "/items/{id}",
            "/items/new",
            "/items/{id}/parts",
            "/items/{*rest}",
            "/{*rest}",
        ];
        for (path, expected) in [
            ("/", "/"),
            ("/items", "/items"),
            ("/items/", "/items/{*rest}"),
            ("/items/new", "/items/new"),
            ("/items/ne%77", "/items/new"),
            ("/items/7", "/items/{id}"),
            ("/items/7/parts", "/items/{id}/parts"),
            ("/items/new/parts", "/items/{id}/parts"),
            ("/items/7/other", "/items/{*rest}"),
            ("/other", "/{*rest}"),
            ("/item", "/{*rest}"),
            ("/ITEMS", "/{*rest}"),
        ] {
            assert_eq!(find(&patterns, path), Some(expected), "{path}");
        }
    }

    #[test]
    fn rest_needs_its_slash() {
        assert_eq!(find(&["/admin/{*rest}"], "/admin/"), Some("/admin/{*rest}"));
        assert_eq!(find(&["/admin/{*rest}"], "/admin/a/b"), Some("/admin/{*rest}"));
        assert_eq!(find(&["/admin/{*rest}"], "/admin"), None);
        assert_eq!(find(&["/{*rest}"], "/"), Some("/{*rest}"));
        assert_eq!(find(&["/items/{id}"], "/items/"), None);
        assert_eq!(find(&["/items/"], "/items"), None);
        assert_eq!(find(&["/a/{id}"], "/a//"), None);
    }

    #[test]
    fn parameters_match_without_their_names() {
        let pattern = |text| PathPattern::parse(text).unwrap();
        assert!(pattern("/a/{x}").has_shape_of(&pattern("/a/{y}")));
        assert!(!pattern("/a/{x}").has_shape_of(&pattern("/a/{*x}")));
        assert!(pattern("/%61").has_shape_of(&pattern("/a")));
    }

    #[test]
    fn refused_patterns() {
        for text in [
            "",
            "items",
            "/a//b",
            "//",
            "/{}",
            "/{*}",
            "/{*rest}/a",
            "/{a}b",
            "/a{b}",
            "/{a",
            "/..",
            "/a/./b",
            "/a%2fb",
            "/a;b",
            "/a b",
            "/a?b",
            "/a#b",
            "/%",
            "/{a b}",
            "/%25",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
