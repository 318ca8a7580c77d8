//! The id of a request: in the answer, in the log, and in `X-Request-Id`.

use std::rc::Rc;

use http::HeaderValue;

use super::hex;

/// Up to 64 letters, digits, `-`, `_` and `.`: 24 hexadecimal digits, or what a trusted proxy has given.
#[derive(Clone, Debug)]
pub(super) enum RequestId {
    Own([u8; 24]),
    Given(Rc<str>),
}

impl RequestId {
    /// One of ours: `prefix` is that of the worker, `number` counts its requests.
    pub(super) fn new(prefix: u64, number: u32) -> Self {
        let mut text = [0; 24];
        let (first, last) = text.split_at_mut(16);
        first.copy_from_slice(&hex::digits_of_u64(prefix));
        last.copy_from_slice(&hex::digits(number));
        Self::Own(text)
    }

    /// One that came with a request; `None` where it has another form.
    pub(super) fn given(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let is_sound = (1..=LONGEST).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        is_sound.then(|| Self::Given(text.into()))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Own(text) => std::str::from_utf8(text).unwrap_or_default(),
            Self::Given(text) => text,
        }
    }

    /// As the bytes of the value of a header.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Own(text) => text,
            Self::Given(text) => text.as_bytes(),
        }
    }
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_theirs() {
        assert_eq!(RequestId::new(0xab, 2).as_str(), "00000000000000ab00000002");
        let given = |text: &str| {
            RequestId::given(&HeaderValue::from_str(text).unwrap()).map(|id| id.as_str().to_owned())
        };
        for good in ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", &"x".repeat(64)] {
            assert_eq!(given(good).as_deref(), Some(good));
        }
        for bad in ["", " ", "a b", "a\"b", "a,b", "é", &"x".repeat(65)] {
            assert_eq!(given(bad), None, "{bad}");
        }
    }
}
