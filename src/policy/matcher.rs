//! Path patterns: `{name}` is one non-empty segment, `{*rest}` is zero or more characters after its slash.

/// A parsed pattern such as `/items/{id}` or `/admin/{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
}

/// Why a pattern cannot be used. The text is for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

impl PathPattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if !text.starts_with('/') {
            return Err(PatternError("a path starts with `/`".into()));
        }
        Ok(Self { text: text.into() })
    }

    /// The pattern as it was written: the `route` label of metrics and logs.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
