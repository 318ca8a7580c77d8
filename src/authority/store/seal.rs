//! Encryption at rest: AES-256-GCM under one key, bound to the object that it belongs to.
//!
//! A sealed part that is moved to another object does not open. The key comes from outside of the store.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use serde_json::{Map, Value};

use crate::authority::model::Kind;

/// The key of the store.
pub struct SealingKey(RandomizedNonceKey);

/// What was sealed does not open: another key, or somebody changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not open with the encryption key of the store")]
pub(crate) struct CannotOpen;

impl SealingKey {
    /// Bytes of a key.
    pub const LENGTH: usize = 32;

    /// A key of 32 random bytes; `None` for another number of bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        // A wrong length is all that can be wrong.
        RandomizedNonceKey::new(&AES_256_GCM, bytes).ok().map(Self)
    }

    /// Seals members for one object; nothing for none.
    pub(super) fn seal(
        &self,
        kind: Kind,
        id: &str,
        members: &Map<String, Value>,
    ) -> Result<Option<Vec<u8>>, CannotOpen> {
        if members.is_empty() {
            return Ok(None);
        }
        let mut text = serde_json::to_vec(members).map_err(|_error| CannotOpen)?;
        let nonce = self
            .0
            .seal_in_place_append_tag(aad(kind, id), &mut text)
            .map_err(|_error| CannotOpen)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut text);
        Ok(Some(sealed))
    }

    /// Opens what was sealed for this object.
    pub(super) fn open(&self, kind: Kind, id: &str, sealed: &[u8]) -> Result<Map<String, Value>, CannotOpen> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(CannotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_error| CannotOpen)?;
        let mut text = zeroize::Zeroizing::new(text.to_vec());
        let text = self
            .0
            .open_in_place(nonce, aad(kind, id), &mut text)
            .map_err(|_error| CannotOpen)?;
        serde_json::from_slice(text).map_err(|_error| CannotOpen)
    }
}

fn aad(kind: Kind, id: &str) -> Aad<String> {
    Aad::from(format!("{}/{id}", kind.name()))
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_for_the_object_and_the_key_that_it_was_sealed_with() {
        let key = SealingKey::new(&[7; 32]).unwrap();
        let members: Map<String, Value> = serde_json::from_str(r#"{"client_secret":"hush"}"#).unwrap();
        let sealed = key.seal(Kind::Client, "a", &members).unwrap().unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"hush"));
        assert_eq!(key.open(Kind::Client, "a", &sealed).unwrap(), members);
        assert_eq!(key.open(Kind::Client, "b", &sealed), Err(CannotOpen));
        assert_eq!(key.open(Kind::Api, "a", &sealed), Err(CannotOpen));
        assert_eq!(
            SealingKey::new(&[8; 32])
                .unwrap()
                .open(Kind::Client, "a", &sealed),
            Err(CannotOpen)
        );
        for length in [0, 11, 12, 27, sealed.len() - 1] {
            assert_eq!(
                key.open(Kind::Client, "a", &sealed[..length]),
                Err(CannotOpen),
                "{length}"
            );
        }
        assert_eq!(key.seal(Kind::Client, "a", &Map::new()).unwrap(), None);
        assert!(SealingKey::new(&[0; 31]).is_none());
    }
}
