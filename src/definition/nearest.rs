//! The known word that looks most like a word that is not known.
//!
//! Used for the hints of faults: keys, values of closed lists, permission names.

/// The candidate most like `word`, or nothing where none is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What a person mistypes is short. The measure is quadratic, so that a hostile key must not reach it.
    if word.len() > 128 {
        return None;
    }
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 300)
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.78)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["listeners", "issuers", "apis", "limits", "timeouts"];
        for (word, meant) in [
            ("listener", Some("listeners")),
            ("issuer", Some("issuers")),
            ("timeout", Some("timeouts")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(1000), known), None);
    }
}
