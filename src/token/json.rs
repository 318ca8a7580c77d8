//! JSON from outside, read strictly: no duplicate members at any depth, bounded depth and size.
//!
//! Tokens and key sets are read through it, so that no other reader can understand the same bytes differently
//! (RFC 7515 section 4, RFC 7519 section 4). The grammar is `serde_json`'s; the bounds and the refusals are here. Texts are
//! borrowed from what is read: most of a token is looked at once and never kept.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

const MAX_DEPTH: usize = 16;
const MAX_MEMBERS: usize = 256;
const MAX_ELEMENTS: usize = 1_024;

/// A JSON value. Its texts are those of the bytes that it was read from, but for the ones with escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// A string.
    String(Cow<'a, str>),
    /// An array of at most 1,024 elements.
    Array(Vec<Self>),
    /// An object of at most 256 members with distinct names, in the order of the text.
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// A finite number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Fits an `i64`.
    Integer(i64),
    /// An integer above `i64::MAX`.
    Large(u64),
    /// Has a fraction or an exponent.
    Float(f64),
}

/// The text is not JSON, or breaks a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON, duplicate members, or too deep or wide")]
pub struct JsonError;

impl<'a> Json<'a> {
    /// Reads one value and nothing after it.
    pub fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        // As a whole it is looked at far quicker than text by text.
        let text = std::str::from_utf8(bytes).map_err(|_position| JsonError)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Strict { depth: 0 }
            .deserialize(&mut deserializer)
            .map_err(|_text| JsonError)?;
        deserializer.end().map_err(|_text| JsonError)?;
        Ok(value)
    }

    /// The member of an object; `None` for other values.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(key, _)| is_same(key, name))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same with texts of its own.
    pub fn into_owned(self) -> Json<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Number(number) => Json::Number(number),
            Self::String(text) => Json::String(owned(text)),
            Self::Array(elements) => Json::Array(elements.into_iter().map(Json::into_owned).collect()),
            Self::Object(members) => Json::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (owned(name), value.into_owned()))
                    .collect(),
            ),
        }
    }

    /// Gives an object a member, in place of the one that it may have; or takes it away.
    pub(super) fn put(&mut self, name: &'static str, value: Option<Self>) {
        let Self::Object(members) = self else { return };
        members.retain(|(key, _)| &**key != name);
        members.extend(value.map(|value| (name.into(), value)));
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// Whether a scalar has this text: a string its content, a number or a boolean its JSON text.
    pub fn is_text(&self, text: &str) -> bool {
        match self {
            Self::String(content) => &**content == text,
            Self::Bool(value) => text == if *value { "true" } else { "false" },
            Self::Number(Number::Integer(value)) => text.parse() == Ok(*value),
            Self::Number(Number::Large(value)) => text.parse() == Ok(*value),
            Self::Number(Number::Float(value)) => text.parse() == Ok(*value),
            Self::Null | Self::Array(_) | Self::Object(_) => false,
        }
    }
}

/// Reads a value at a depth.
struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        if self.depth > MAX_DEPTH {
            return Err(D::Error::custom("too deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(Number::Integer(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(
            i64::try_from(value).map_or(Number::Large(value), Number::Integer),
        ))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        if value.is_finite() {
            Ok(Json::Number(Number::Float(value)))
        } else {
            Err(E::custom("not a finite number"))
        }
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(text.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(Strict {
            depth: self.depth + 1,
        })? {
            if elements.len() == MAX_ELEMENTS {
                return Err(A::Error::custom("too many elements"));
            }
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::with_capacity(8);
        while let Some(name) = access.next_key_seed(Name)? {
            if members.len() == MAX_MEMBERS || members.iter().any(|(known, _)| is_same(known, &name)) {
                return Err(A::Error::custom("too many members, or one twice"));
            }
            members.push((
                name,
                access.next_value_seed(Strict {
                    depth: self.depth + 1,
                })?,
            ));
        }
        Ok(Json::Object(members))
    }
}

/// Whether two names are the same. Claims have names of three letters, most of them, and begin with different ones.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().next() == other.bytes().next() && one == other
}

/// Reads the name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let value =
            Json::read(br#"{"a":[1,-2,18446744073709551615,1.5,"x",true,null],"b":{"c":"d"}}"#).unwrap();
        assert_eq!(
            value.get("b").and_then(|b| b.get("c")).and_then(Json::as_str),
            Some("d")
        );
        assert_eq!(
            value.get("a").and_then(Json::as_array).unwrap(),
            [
                Json::Number(Number::Integer(1)),
                Json::Number(Number::Integer(-2)),
                Json::Number(Number::Large(u64::MAX)),
                Json::Number(Number::Float(1.5)),
                Json::String("x".into()),
                Json::Bool(true),
                Json::Null,
            ]
        );
    }

    #[test]
    fn refused() {
        let deep = "[".repeat(18) + &"]".repeat(18);
        let wide = format!("[{}0]", "0,".repeat(MAX_ELEMENTS));
        let members: Vec<String> = (0..=MAX_MEMBERS).map(|n| format!("\"m{n}\":0")).collect();
        let many = format!("{{{}}}", members.join(","));
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"[{"b":1,"\u0062":2}]"#,
            "{} x",
            "{}{}",
            "1e999",
            "NaN",
            "",
            "{'a':1}",
            r#""\ud800""#,
            &deep,
            &wide,
            &many,
        ] {
            assert_eq!(Json::read(text.as_bytes()), Err(JsonError), "{text}");
        }
        assert_eq!(Json::read(b"\"\xff\""), Err(JsonError));
        assert_eq!(Json::read(b"\xef\xbb\xbf{}"), Err(JsonError));
    }

    #[test]
    fn text_of_scalars() {
        assert!(Json::String("org_1".into()).is_text("org_1"));
        assert!(Json::Bool(true).is_text("true"));
        assert!(Json::Number(Number::Integer(7)).is_text("7"));
        assert!(!Json::Number(Number::Integer(7)).is_text("x"));
        assert!(!Json::Null.is_text("null"));
    }
}
