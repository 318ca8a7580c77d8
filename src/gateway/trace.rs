//! The trace that a request belongs to (W3C Trace Context): passed on as it came, begun where there is none.
//!
//! One that is begun here is marked as sampled: the access log has its id, and an upstream that follows the usual rule
//! (do as the parent does) would record nothing of it otherwise.

use http::{HeaderMap, HeaderName};

use super::hex;
use super::outgoing::Added;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace {
    /// `00-`, 32 digits, `-`, 16 digits, `-`, two digits; of a later version, its beginning.
    parent: [u8; LENGTH],
    is_begun_here: bool,
}

impl Trace {
    /// Reads `traceparent`, and begins a trace where there is not exactly one good value of it (section 3.2.2).
    /// `random` gives 64 bits at a time.
    pub(super) fn of(fields: &HeaderMap, random: impl FnMut() -> u64) -> Self {
        let mut values = fields.get_all(TRACEPARENT).iter();
        let parent = values.next().and_then(|value| read(value.as_bytes()));
        match (parent, values.next()) {
            (Some(parent), None) => Self {
                parent,
                is_begun_here: false,
            },
            _ => Self::begin(random),
        }
    }

    fn begin(mut random: impl FnMut() -> u64) -> Self {
        let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-01";
        for at in [3, 19, 36] {
            if let Some(digits) = parent.get_mut(at..at + 16) {
                // Not all zero, which is not a trace.
                digits.copy_from_slice(&hex::digits_of_u64(random() | 1));
            }
        }
        Self {
            parent,
            is_begun_here: true,
        }
    }

    /// The trace id.
    pub(super) fn id(&self) -> &str {
        let id = self.parent.get(3..35).unwrap_or_default();
        std::str::from_utf8(id).unwrap_or_default()
    }

    /// Whether a field that the client sent goes: what was no trace, and state that belongs to none (section 3.3).
    pub(super) fn replaces(&self, name: &HeaderName) -> bool {
        self.is_begun_here && (*name == TRACEPARENT || *name == TRACESTATE)
    }

    /// Tells the upstream, where that is not said already.
    pub(super) fn write(&self, added: &mut Added) {
        if self.is_begun_here {
            added.push_visible(&TRACEPARENT, &self.parent);
        }
    }
}

/// The first 55 bytes of a good value. A later version may say more after another dash.
fn read(value: &[u8]) -> Option<[u8; LENGTH]> {
    let (parent, rest) = value.split_first_chunk::<LENGTH>()?;
    let version = parent.get(..2)?;
    let fits = if version == b"00" {
        rest.is_empty()
    } else {
        version != b"ff" && matches!(rest.first(), None | Some(b'-'))
    };
    let has_form = parent.iter().enumerate().all(|(index, byte)| match index {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let is_something = |part: Option<&[u8]>| part.is_some_and(|part| part.iter().any(|byte| *byte != b'0'));
    (fits && has_form && is_something(parent.get(3..35)) && is_something(parent.get(36..52)))
        .then_some(*parent)
}

const LENGTH: usize = 55;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn traced(values: &[&str]) -> (Trace, HeaderMap) {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        fields.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        let mut next = 0x0123_4567_89ab_cdef;
        let trace = Trace::of(&fields, || {
            next += 2;
            next
        });
        let mut added = Added::new();
        let replaced: Vec<HeaderName> = fields
            .keys()
            .filter(|name| trace.replaces(name))
            .cloned()
            .collect();
        for name in replaced {
            fields.remove(name);
        }
        trace.write(&mut added);
        added.merge_into(&mut fields);
        (trace, fields)
    }

    #[test]
    fn a_good_one_is_left_as_it_came() {
        let later = format!("cc{}-what-ever", &GOOD[2..]);
        for value in [GOOD, &later, &format!("01{}", &GOOD[2..])] {
            let (trace, fields) = traced(&[value]);
            assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(fields[TRACEPARENT], *value);
            assert_eq!(fields[TRACESTATE], "a=1");
        }
    }

    #[test]
    fn another_is_replaced_and_its_state_dropped() {
        let bad = [
            vec![],
            vec![GOOD, GOOD],
            vec![""],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"],
            vec!["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-00"],
            vec!["00-00000000000000000000000000000000-00f067aa0ba902b7-00"],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-00"],
            vec!["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more"],
            vec!["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00.more"],
            vec!["00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"],
        ];
        for values in bad {
            let (trace, fields) = traced(&values);
            let made = fields[TRACEPARENT].to_str().unwrap();
            assert_eq!(fields.get_all(TRACEPARENT).iter().count(), 1);
            assert!(!fields.contains_key(TRACESTATE), "{values:?}");
            assert_eq!(&made[3..35], trace.id());
            assert!(read(made.as_bytes()).is_some(), "{made}");
            assert_ne!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        }
    }
}
