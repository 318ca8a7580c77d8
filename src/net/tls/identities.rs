//! Which certificate a client is shown, by the name that it asks for (RFC 6066 section 3).
//!
//! A certificate that has the very name goes before one with a wildcard for it (RFC 9525 section 6.3: one label, the
//! leftmost); where neither is there, or no name was asked for, the first one of the configuration is shown.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Pair;

/// The certificates of a listener, by name.
#[derive(Debug)]
pub struct Identities {
    pairs: Vec<Arc<CertifiedKey>>,
    /// Positions in `pairs`: a name may have an RSA and an ECDSA certificate.
    names: HashMap<Box<str>, Vec<usize>>,
}

impl Identities {
    pub(super) fn new(pairs: &[Pair]) -> Self {
        let mut names: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (index, pair) in pairs.iter().enumerate() {
            for name in &pair.names {
                names.entry(name.clone()).or_default().push(index);
            }
        }
        Self {
            pairs: pairs.iter().map(|pair| Arc::clone(&pair.key)).collect(),
            names,
        }
    }

    /// The certificates for a name in lower case.
    fn of(&self, name: &str) -> Option<&[usize]> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let found = self.names.get(name).or_else(|| {
            let (label, parent) = name.split_once('.')?;
            if label.is_empty() {
                return None;
            }
            self.names.get(format!("*.{parent}").as_str())
        });
        found.map(Vec::as_slice)
    }

    /// Whether there is more than one, so that hosts are told apart at all.
    pub fn are_several(&self) -> bool {
        self.pairs.len() > 1
    }

    /// Whether a request for `host` (normalised, without port) does not belong on a connection that asked for `name`:
    /// it is for another of the certificates (RFC 9110 section 15.5.20). A host that no certificate is for belongs
    /// anywhere: whoever terminates TLS in front may use a name of its own for us.
    pub fn is_misdirected(&self, name: Option<&str>, host: &str) -> bool {
        if !self.are_several() || name == Some(host) {
            return false;
        }
        let Some(wanted) = self.of(host) else { return false };
        let shown = name.and_then(|name| self.of(name)).unwrap_or(&[0]);
        !wanted.iter().any(|index| shown.contains(index))
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| self.of(name));
        let candidates = || {
            found
                .unwrap_or(&[0])
                .iter()
                .filter_map(|index| self.pairs.get(*index))
        };
        candidates()
            .find(|pair| pair.key.choose_scheme(hello.signature_schemes()).is_some())
            .or_else(|| candidates().next())
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;

    fn pair(names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        Pair::from_pem(
            certified.cert.pem().as_bytes(),
            certified.signing_key.serialize_pem().as_bytes(),
            &aws_lc_rs::default_provider(),
        )
        .unwrap()
    }

    #[test]
    fn the_very_name_goes_before_a_wildcard_and_a_wildcard_is_one_label() {
        let identities = Identities::new(&[
            pair(&["default.test"]),
            pair(&["*.example.test"]),
            pair(&["A.example.test", "other.test"]),
            pair(&["other.test"]),
        ]);
        for (name, found) in [
            ("default.test", Some(&[0][..])),
            ("a.example.test", Some(&[2])),
            ("b.example.test", Some(&[1])),
            ("b.example.test.", Some(&[1])),
            ("a.b.example.test", None),
            ("example.test", None),
            (".example.test", None),
            ("other.test", Some(&[2, 3])),
            ("test", None),
            ("", None),
        ] {
            assert_eq!(identities.of(name), found, "{name}");
        }
    }

    #[test]
    fn only_a_host_of_another_certificate_is_misdirected() {
        let identities = Identities::new(&[pair(&["a.test", "b.test"]), pair(&["c.test", "*.c.test"])]);
        for (name, host, misdirected) in [
            (Some("a.test"), "a.test", false),
            (Some("a.test"), "b.test", false),
            (Some("a.test"), "c.test", true),
            (Some("a.test"), "x.c.test", true),
            (Some("c.test"), "a.test", true),
            (Some("x.c.test"), "y.c.test", false),
            (Some("a.test"), "public.test", false),
            (Some("internal.test"), "a.test", false),
            (Some("internal.test"), "c.test", true),
            (None, "a.test", false),
            (None, "c.test", true),
            (None, "127.0.0.1", false),
        ] {
            assert_eq!(
                identities.is_misdirected(name, host),
                misdirected,
                "{name:?} {host}"
            );
        }
        let one = Identities::new(&[pair(&["a.test"])]);
        assert!(!one.is_misdirected(Some("x.test"), "a.test"));
    }
}
