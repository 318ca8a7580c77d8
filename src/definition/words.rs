//! Closed lists of words, such as the values of `mode`.
//!
//! Read with [`word`]; the lists stand beside the types that they belong to.

/// A type of which every value has a name.
pub trait Words: Copy + Sized + 'static {
    /// Every name with its value.
    const WORDS: &'static [(&'static str, Self)];
}

/// The value that a word names, or else every word there is.
pub fn word<W: Words>(text: &str) -> Result<W, Vec<&'static str>> {
    match W::WORDS.iter().find(|(known, _)| *known == text) {
        Some((_, value)) => Ok(*value),
        None => Err(W::WORDS.iter().map(|(known, _)| *known).collect()),
    }
}
