//! The id of a request: in the answer, in the log, and in `X-Request-Id`.

use http::HeaderValue;

/// Up to 64 letters, digits, `-`, `_` and `.`: 24 hexadecimal digits, or what a trusted proxy has given.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId {
    text: [u8; LONGEST],
    length: u8,
}

impl RequestId {
    /// One of ours: `prefix` is that of the worker, `number` counts its requests.
    pub(super) fn new(prefix: u64, number: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let value = u128::from(prefix) << 32 | u128::from(number & 0xffff_ffff);
        let mut text = [b'0'; LONGEST];
        for (index, digit) in text.iter_mut().take(OWN.into()).rev().enumerate() {
            let nibble = usize::try_from(value >> (index * 4) & 0xf).unwrap_or_default();
            *digit = DIGITS.get(nibble).copied().unwrap_or(b'0');
        }
        Self { text, length: OWN }
    }

    /// One that came with a request; `None` where it has another form.
    pub(super) fn given(value: &HeaderValue) -> Option<Self> {
        let value = value.as_bytes();
        let is_sound = !value.is_empty()
            && value
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !is_sound {
            return None;
        }
        let mut text = [b'0'; LONGEST];
        text.get_mut(..value.len())?.copy_from_slice(value);
        let length = u8::try_from(value.len()).ok()?;
        Some(Self { text, length })
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// As the value of a header.
    pub(super) fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.bytes()).unwrap_or(HeaderValue::from_static("0"))
    }

    fn bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.length)).unwrap_or_default()
    }
}

const LONGEST: usize = 64;
const OWN: u8 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_and_theirs() {
        assert_eq!(
            RequestId::new(0xab, 0x1_0000_0002).as_str(),
            "00000000000000ab00000002"
        );
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
