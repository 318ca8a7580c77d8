//! The fields of a message head, taken off the bytes that it came in: the values share them. Pure.
//!
//! Both codecs of HTTP/1.1 read with it, towards clients and towards upstreams.

use std::cell::RefCell;

use bytes::Bytes;
use http::header::{CONNECTION, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

/// So many maps are kept: no more are in use between two waits, where no bodies are on their way.
const MAPS: usize = 16;
/// And so many heads of requests, which may wait for one another.
const HEADS: usize = 64;
/// None that has room for more fields.
const FIELDS: usize = 96;

thread_local! {
    static SPARE: RefCell<Room> = RefCell::default();
}

/// Room that is used again for each head.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Empty: that of a message which has gone becomes that of the next.
    fields: Vec<HeaderMap>,
    /// Of requests, likewise.
    #[expect(clippy::vec_box, reason = "they come in boxes, and go on in them")]
    heads: Vec<Box<Parts>>,
    places: Vec<Place>,
}

/// Where the name and the value of a field are in a head.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: (usize, usize),
    value: (usize, usize),
}

/// A name or a value has a byte that it must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadField;

impl Room {
    /// Uses that of this thread; it must not be used by what this calls.
    pub(crate) fn spare<T>(using: impl FnOnce(&mut Self) -> T) -> T {
        SPARE.with_borrow_mut(using)
    }

    /// Notes where in the input the fields are: once they are taken off it they can no longer be borrowed from it.
    pub(crate) fn note(&mut self, input: &[u8], fields: &[httparse::Header<'_>]) {
        self.places.clear();
        self.places.extend(fields.iter().map(|field| Place {
            name: place(input, field.name.as_bytes()),
            value: place(input, field.value),
        }));
    }

    /// Takes the fields that were noted out of what was taken off that input. Shows each to `look` before.
    pub(crate) fn take<E: From<BadField>>(
        &mut self,
        head: &Bytes,
        look: impl FnMut(&HeaderName, &[u8]) -> Result<(), E>,
    ) -> Result<HeaderMap, E> {
        let mut fields = self.fields.pop().unwrap_or_default();
        self.put(head, &mut fields, look)?;
        Ok(fields)
    }

    /// The same, into the head of a request that says nothing else yet.
    pub(super) fn take_head<E: From<BadField>>(
        &mut self,
        head: &Bytes,
        look: impl FnMut(&HeaderName, &[u8]) -> Result<(), E>,
    ) -> Result<Box<Parts>, E> {
        let mut parts = self
            .heads
            .pop()
            .unwrap_or_else(|| Box::new(Request::new(()).into_parts().0));
        self.put(head, &mut parts.headers, look)?;
        Ok(parts)
    }

    fn put<E: From<BadField>>(
        &self,
        head: &Bytes,
        fields: &mut HeaderMap,
        mut look: impl FnMut(&HeaderName, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        fields.reserve(self.places.len());
        for Place { name, value } in &self.places {
            let name = head.get(name.0..name.1).unwrap_or_default();
            let name = HeaderName::from_bytes(name).map_err(|_invalid| BadField)?;
            let value = HeaderValue::from_maybe_shared(head.slice(value.0..value.1));
            let value = value.map_err(|_invalid| BadField)?;
            look(&name, value.as_bytes())?;
            fields.append(name, value);
        }
        Ok(())
    }

    /// Keeps the room of fields that are of no use any more.
    pub(crate) fn keep(&mut self, mut fields: HeaderMap) {
        if self.fields.len() < MAPS && fields.capacity() <= FIELDS {
            fields.clear();
            self.fields.push(fields);
        }
    }

    /// The same for the head of a request.
    pub(crate) fn keep_head(&mut self, mut head: Box<Parts>) {
        if self.heads.len() < HEADS && head.headers.capacity() <= FIELDS {
            head.headers.clear();
            head.extensions.clear();
            head.method = Method::GET;
            head.uri = Uri::default();
            head.version = Version::HTTP_11;
            self.heads.push(head);
        }
    }
}

/// Where a part of the input begins and ends.
pub(super) fn place(input: &[u8], part: &[u8]) -> (usize, usize) {
    let start = part.as_ptr().addr() - input.as_ptr().addr();
    (start, start + part.len())
}

/// Whether `Connection` names this option (RFC 9110 section 7.6.1).
pub(crate) fn names_option(value: &[u8], wanted: &str) -> bool {
    let mut options = value.split(|byte| *byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Whether a head says that the connection closes (RFC 9112 section 9.6).
pub(super) fn closes(fields: &HeaderMap) -> bool {
    let mut values = fields.get_all(CONNECTION).iter();
    values.any(|value| names_option(value.as_bytes(), "close"))
}

/// Nothing but digits, and no more than a number has room for (RFC 9110 section 8.6).
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    digits.first()?;
    digits.iter().try_fold(0, add)
}

/// The trailers that a head announces (RFC 9110 section 6.6.2).
pub(crate) fn announced(fields: &HeaderMap) -> Vec<HeaderName> {
    fields
        .get_all(TRAILER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect()
}

/// Writes one field.
pub(crate) fn write_field(name: &str, value: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}
