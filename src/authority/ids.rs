//! Fresh identifiers and secrets, in the forms that clients of the Management API expect.
//!
//! Randomness is the system's. Where the system has none, nothing is made: every function says so.

use std::time::{SystemTime, UNIX_EPOCH};

/// The system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness")]
pub struct NoRandomness;

/// 24 hexadecimal digits that begin with the time: ids of APIs sort in the order in which they were made.
///
/// # Errors
/// [`NoRandomness`].
pub(crate) fn object_id() -> Result<String, NoRandomness> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let random: [u8; 8] = random()?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{:08x}{random}", seconds & 0xffff_ffff))
}

/// So many letters and digits. 62 characters give just under 6 bits each.
///
/// # Errors
/// [`NoRandomness`].
pub(crate) fn alphanumeric(length: usize) -> Result<String, NoRandomness> {
    text(
        length,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    )
}

/// 64 characters of `A-Za-z0-9_-`: 384 random bits.
///
/// # Errors
/// [`NoRandomness`].
pub(crate) fn secret() -> Result<String, NoRandomness> {
    text(
        64,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-",
    )
}

/// Random bytes.
///
/// # Errors
/// [`NoRandomness`].
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_error| NoRandomness)?;
    Ok(bytes)
}

fn text(length: usize, alphabet: &[u8]) -> Result<String, NoRandomness> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // A byte of which the lowest six bits are beyond the alphabet is passed over, so that all are equally likely.
        let bytes: [u8; 64] = random()?;
        let characters = bytes
            .iter()
            .filter_map(|byte| alphabet.get(usize::from(byte & 63)));
        let missing = length - text.len();
        text.extend(characters.take(missing).map(|byte| char::from(*byte)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let id = object_id().unwrap();
        assert!(
            id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        let client_id = alphanumeric(32).unwrap();
        assert!(client_id.len() == 32 && client_id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let secret = secret().unwrap();
        assert!(
            secret.len() == 64
                && secret
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        );
        assert_ne!(secret, super::secret().unwrap());
    }
}
