//! Tokens that are good by themselves and must not be taken all the same: what an entry says, and the list that is asked.
//!
//! `control` reads and keeps entries, `policy::decide` asks for each verified token, also for one that was found in a
//! cache. An entry that cannot be read makes its whole document one that cannot be read.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Principal, UnixSeconds};

/// One entry: of which issuer, whom or what, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Revocation {
    target: Target,
    /// Only tokens that were issued before this.
    issued_before: Option<UnixSeconds>,
    until: Option<UnixSeconds>,
}

/// What an entry is about. An entry replaces another one of the same target and kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    issuer: String,
    what: What,
    /// Whether the entry is about older tokens only.
    is_older: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    Token(String),
    Subject(String),
    Client(String),
    Everything,
}

/// A list of entries as it is written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    revocations: Vec<Revocation>,
}

/// An entry as it is written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    issuer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<UnixSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<UnixSeconds>,
}

/// Why a document is no list of entries. Its text has a place where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationFault {
    /// Not JSON, or not of the right shape.
    #[error("{0}")]
    Unreadable(String),
    /// Two entries say the same of the same.
    #[error("entry {0} is about the same as an earlier one")]
    Twice(usize),
}

impl TryFrom<Written> for Revocation {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written {
            issuer,
            jti,
            sub,
            client,
            issued_before,
            until,
        } = written;
        let what = match (jti, sub, client) {
            (Some(token), None, None) => What::Token(token),
            (None, Some(subject), None) => What::Subject(subject),
            (None, None, Some(client)) => What::Client(client),
            (None, None, None) => What::Everything,
            _ => return Err("an entry has only one of `jti`, `sub` and `client`"),
        };
        let is_empty = match &what {
            What::Token(text) | What::Subject(text) | What::Client(text) => text.is_empty(),
            What::Everything => false,
        };
        if issuer.is_empty() || is_empty {
            return Err("an entry must not have empty text");
        }
        match (&what, issued_before) {
            (What::Everything, None) => {
                return Err("an entry has one of `jti`, `sub`, `client` and `issued_before`");
            }
            (What::Token(_), Some(_)) => return Err("an entry with `jti` has no `issued_before`"),
            _ => {}
        }
        Ok(Self {
            target: Target {
                issuer,
                what,
                is_older: issued_before.is_some(),
            },
            issued_before,
            until,
        })
    }
}

impl From<Revocation> for Written {
    fn from(entry: Revocation) -> Self {
        let Target { issuer, what, .. } = entry.target;
        let mut written = Self {
            issuer,
            jti: None,
            sub: None,
            client: None,
            issued_before: entry.issued_before,
            until: entry.until,
        };
        match what {
            What::Token(token) => written.jti = Some(token),
            What::Subject(subject) => written.sub = Some(subject),
            What::Client(client) => written.client = Some(client),
            What::Everything => {}
        }
        written
    }
}

impl Revocation {
    /// What it is about.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether it still says something.
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Reads `{"revocations": […]}`.
    pub fn read_all(document: &[u8]) -> Result<Vec<Self>, RevocationFault> {
        let document: Document = serde_json::from_slice(document)
            .map_err(|error| RevocationFault::Unreadable(error.to_string()))?;
        let mut seen = HashMap::new();
        for (index, entry) in document.revocations.iter().enumerate() {
            if seen.insert(&entry.target, index).is_some() {
                return Err(RevocationFault::Twice(index + 1));
            }
        }
        Ok(document.revocations)
    }

    /// What [`Self::read_all`] reads.
    pub fn write_all<'a>(entries: impl Iterator<Item = &'a Self>) -> String {
        let document = Document {
            revocations: entries.cloned().collect(),
        };
        // Only strings and numbers: nothing that could fail.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// Entries, ready to be asked.
#[derive(Debug, Default)]
pub struct RevocationList {
    issuers: HashMap<Box<str>, OfIssuer>,
    entries: usize,
}

#[derive(Debug, Default)]
struct OfIssuer {
    everything: Rule,
    tokens: HashMap<Box<str>, Rule>,
    subjects: HashMap<Box<str>, Rule>,
    clients: HashMap<Box<str>, Rule>,
}

/// What both kinds of entry say of one target; each with its end.
#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    any: Option<UnixSeconds>,
    older: Option<(UnixSeconds, UnixSeconds)>,
}

impl RevocationList {
    /// A list of these entries.
    pub fn new<'a>(entries: impl Iterator<Item = &'a Revocation>) -> Self {
        let mut list = Self::default();
        for entry in entries {
            list.entries += 1;
            let Target { issuer, what, .. } = &entry.target;
            let of = list.issuers.entry(issuer.as_str().into()).or_default();
            let rule = match what {
                What::Everything => &mut of.everything,
                What::Token(token) => of.tokens.entry(token.as_str().into()).or_default(),
                What::Subject(subject) => of.subjects.entry(subject.as_str().into()).or_default(),
                What::Client(client) => of.clients.entry(client.as_str().into()).or_default(),
            };
            let until = entry.until.unwrap_or(UnixSeconds::MAX);
            match entry.issued_before {
                None => rule.any = Some(until),
                Some(before) => rule.older = Some((before, until)),
            }
        }
        list
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether some entry is about the token of this principal.
    pub fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> bool {
        let Some(of) = self.issuers.get(principal.issuer()) else {
            return false;
        };
        let names = [
            (&of.tokens, principal.token_id()),
            (&of.subjects, principal.subject()),
            (&of.clients, principal.client_id()),
        ];
        let named = names
            .into_iter()
            .filter(|(rules, _)| !rules.is_empty())
            .filter_map(|(rules, name)| rules.get(name?));
        let mut rules = std::iter::once(&of.everything).chain(named);
        rules.any(|rule| rule.holds(principal.issued_at(), now))
    }
}

impl Rule {
    /// A token that does not say when it was issued counts as an old one.
    fn holds(&self, issued_at: Option<UnixSeconds>, now: UnixSeconds) -> bool {
        let is_older = |before: UnixSeconds| issued_at.is_none_or(|issued_at| issued_at < before);
        self.any.is_some_and(|until| now < until)
            || self
                .older
                .is_some_and(|(before, until)| now < until && is_older(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let one = |entry: &str| Revocation::read_all(format!("{{\"revocations\":[{entry}]}}").as_bytes());
        for entry in [
            r#"{"issuer":"i","jti":"a"}"#,
            r#"{"issuer":"i","sub":"a","until":7}"#,
            r#"{"issuer":"i","sub":"a","issued_before":7}"#,
            r#"{"issuer":"i","client":"a","issued_before":7,"until":9}"#,
            r#"{"issuer":"i","issued_before":7}"#,
        ] {
            let read = one(entry).unwrap();
            assert_eq!(
                Revocation::write_all(read.iter()),
                format!("{{\"revocations\":[{entry}]}}")
            );
        }
        for (entry, fault) in [
            ("{}", "missing field `issuer`"),
            (
                r#"{"issuer":"i"}"#,
                "one of `jti`, `sub`, `client` and `issued_before`",
            ),
            (
                r#"{"issuer":"i","until":7}"#,
                "one of `jti`, `sub`, `client` and `issued_before`",
            ),
            (r#"{"issuer":"i","jti":"a","sub":"b"}"#, "only one of"),
            (
                r#"{"issuer":"i","jti":"a","issued_before":7}"#,
                "no `issued_before`",
            ),
            (r#"{"issuer":"i","jti":""}"#, "empty text"),
            (r#"{"issuer":"","jti":"a"}"#, "empty text"),
            (r#"{"issuer":"i","jti":7}"#, "invalid type"),
            (r#"{"issuer":"i","jti":"a","jti":"b"}"#, "duplicate field"),
            (r#"{"issuer":"i","azp":"a"}"#, "unknown field `azp`"),
            (r#"{"issuer":"i","sub":"a","until":1.5}"#, "invalid type"),
            (r#"{"issuer":"i","sub":"a","until":"tomorrow"}"#, "invalid type"),
            (
                r#"{"issuer":"i","sub":"a"},{"issuer":"i","sub":"a"}"#,
                "entry 2 is about the same",
            ),
        ] {
            let told = one(entry).unwrap_err().to_string();
            assert!(told.contains(fault), "{entry}: {told}");
        }
        // Two kinds of entry about one subject stand beside each other.
        let both = r#"{"issuer":"i","sub":"a"},{"issuer":"i","sub":"a","issued_before":7}"#;
        assert_eq!(one(both).unwrap().len(), 2);
        for text in [
            "",
            "[]",
            "{}",
            r#"{"revocations":{}}"#,
            r#"{"revocations":[],"x":1}"#,
            r#"{"revocations":[]}x"#,
        ] {
            assert!(Revocation::read_all(text.as_bytes()).is_err(), "{text}");
        }
    }
}
