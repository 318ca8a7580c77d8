//! Secrets that stand elsewhere: `env:NAME` and `file:PATH`.
//!
//! Used for `signing_secret` and `decryption_keys`. A secret never stands in the configuration itself, and no fault ever quotes one, nor
//! what was written in its place: that may be the secret.

use zeroize::Zeroizing;

use super::faults::Fault;
use super::reader::Placed;
use super::source::{Files, beside};
use crate::definition::Secret;

/// The secret that a reference names.
pub(super) fn resolve(
    key: &str,
    reference: &Placed<String>,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Secret> {
    let place = &reference.place;
    let bytes = match reference.value.split_once(':') {
        Some(("env", name)) if is_variable(name) => match files.variable(name) {
            Some(value) => Zeroizing::new(value.into_bytes()),
            None => {
                faults.push(Fault::new(
                    place,
                    format!("the environment variable `{name}` is not set"),
                ));
                return None;
            }
        },
        Some(("file", path)) if !path.is_empty() => {
            without_newline(files.content(&beside(place, path), place, faults)?)
        }
        _ => {
            let message = format!("`{key}` must refer to a secret; a secret is never written here");
            faults.push(Fault::new(place, message).with_hint("write env:NAME or file:PATH"));
            return None;
        }
    };
    if bytes.is_empty() {
        faults.push(Fault::new(
            place,
            format!("the secret that `{key}` refers to is empty"),
        ));
        return None;
    }
    Some(Secret::new(bytes.as_slice()))
}

/// Whether a reference stands where the secret itself is expected.
pub(super) fn is_reference(bytes: &[u8]) -> bool {
    bytes.starts_with(b"env:") || bytes.starts_with(b"file:")
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Editors end a file with a newline that nobody means.
fn without_newline(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

/// Secrets of tutorials and placeholders, without anything but letters and digits.
const SAMPLES: [&str; 15] = [
    "your256bitsecret",
    "your384bitsecret",
    "your512bitsecret",
    "yoursecretkey",
    "yoursecret",
    "mysupersecretkey",
    "mysecretkey",
    "mysecret",
    "supersecret",
    "secretkey",
    "secret",
    "changeme",
    "password",
    "placeholder",
    "example",
];

/// Whether a secret is one that everybody knows: a sample, however padded or repeated, a run of few different
/// characters, or a marker that auth0-deploy-cli should have replaced.
pub(super) fn is_well_known(secret: &Secret) -> bool {
    let bytes = secret.expose();
    let mut seen = [false; 256];
    for byte in bytes {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    let different = seen.iter().filter(|seen| **seen).count();
    if different < 6 || is_marker(bytes) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let rest = SAMPLES
        .iter()
        .fold(Zeroizing::new(letters.to_ascii_lowercase()), |rest, sample| {
            Zeroizing::new(rest.replace(sample, ""))
        });
    // What is left of a padded sample is its padding: nothing, digits, or the same letter over and over.
    let first = rest.bytes().next();
    rest.bytes().all(|byte| byte.is_ascii_digit()) && (rest.len() < letters.len() || is_counting(&rest))
        || rest.bytes().all(|byte| Some(byte) == first)
}

/// `1234567890123…`: digits that only count.
fn is_counting(digits: &str) -> bool {
    let step = |pair: (u8, u8)| pair.1 == pair.0 + 1 || (pair.0 == b'9' && pair.1 <= b'1');
    digits.bytes().zip(digits.bytes().skip(1)).all(step)
}

/// `##NAME##` and `@@NAME@@` in an export.
fn is_marker(bytes: &[u8]) -> bool {
    [b"##", b"@@"]
        .iter()
        .any(|mark| bytes.starts_with(*mark) && bytes.ends_with(*mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_known_however_they_are_dressed() {
        for sample in [
            "secret",
            "your-256-bit-secret",
            "your-256-bit-secret-your-256-bit-secret",
            "changeme-changeme-changeme-changeme",
            "CHANGEME0000000000000000000000000",
            "secretsecretsecretsecretsecretsecret",
            "secret1234567890123456789012345678",
            "my_super_secret_key_xxxxxxxxxxxxxxx",
            "12345678901234567890123456789012",
            "01234567890123456789012345678901",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "ababababababababababababababababab",
            "##SIGNING_SECRET_OF_THE_ITEMS_API##",
            "@@SIGNING_SECRET_OF_THE_ITEMS_API@@",
        ] {
            assert!(is_well_known(&Secret::new(sample)), "{sample}");
        }
    }

    #[test]
    fn random_secrets_are_not() {
        for secret in [
            &b"d8f2b1c47e9a0356d8f2b1c47e9a0356"[..],
            b"correct horse battery staple and a few more words",
            b"kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1S",
            b"84719263508274619350827461935082",
            b"\x00\x9f\x12\xfe\x45\x88\x01\xab\xcd\xef\x33\x21\x07\x65\x10\x99",
        ] {
            assert!(!is_well_known(&Secret::new(secret)), "{secret:?}");
        }
    }
}
