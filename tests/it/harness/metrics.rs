//! Reads the Prometheus text format (version 0.0.4), strictly: what it cannot read, it does not pass over.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::client;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    samples: Vec<Sample>,
    types: BTreeMap<String, String>,
}

impl Metrics {
    /// Scrapes `/metrics`.
    #[track_caller]
    pub(crate) fn scrape(admin: SocketAddr) -> Self {
        let response = client::get(admin, "/metrics", &[]);
        assert_eq!(response.status, 200, "{}", response.text());
        Self::parse(&response.text()).unwrap()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| line.to_owned())?;
                if metrics.types.insert(name.into(), kind.into()).is_some() {
                    return Err(format!("a second type: {line}"));
                }
            } else if !line.starts_with('#') {
                metrics.add(sample(line).ok_or_else(|| format!("not a sample: {line}"))?)?;
            }
        }
        Ok(metrics)
    }

    fn add(&mut self, sample: Sample) -> Result<(), String> {
        let is_known = |known: &Sample| known.name == sample.name && known.labels == sample.labels;
        if self.samples.iter().any(is_known) {
            return Err(format!("twice: {sample:?}"));
        }
        self.samples.push(sample);
        Ok(())
    }

    /// The sum of the series of this name that have these labels, and maybe others; `None` where there is none.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values: Vec<f64> = self
            .samples
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| {
                labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|own| own == value))
            })
            .map(|sample| sample.value)
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Like [`Self::get`], for series that must be there.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| {
            let near: Vec<_> = self.samples.iter().filter(|sample| sample.name == name).collect();
            panic!("no {name} {labels:?} among {near:?}")
        })
    }

    /// The labels of every series of this name.
    pub(crate) fn labels(&self, name: &str) -> Vec<&BTreeMap<String, String>> {
        let own = self.samples.iter().filter(|sample| sample.name == name);
        own.map(|sample| &sample.labels).collect()
    }

    /// Names of all families that have a type.
    pub(crate) fn families(&self) -> Vec<&str> {
        self.types.keys().map(String::as_str).collect()
    }

    /// How many series there are: what a hostile client must not be able to grow.
    pub(crate) fn series(&self) -> usize {
        self.samples.len()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
    };
    if !is_name(name) || !labels.keys().all(|label| is_name(label)) {
        return None;
    }
    let value = match rest.trim() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().ok()?,
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// A label value up to its quote, with `\\`, `\"` and `\n` undone, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            (_, c) => value.push(c),
        }
    }
}
