//! The encryption key of a store that nobody was given: kept in a file beside the store.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::ids::{self, NoRandomness};
use super::settings::EncryptionKey;
use super::store::{SealingKey, StoreAddress};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Not 32 bytes.
    #[error("the encryption key of the authority must have 32 bytes")]
    Length,
    /// The file cannot be read or written.
    #[error("the key file {path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file has something else in it.
    #[error("the key file {0} must have 64 hexadecimal digits")]
    Content(String),
    /// The store is there, and its key is not.
    #[error(
        "the key file {0} is gone: without it the secrets of the store cannot be read; restore it from a backup"
    )]
    Gone(String),
    /// No key can be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// The key, made where there is neither a key nor a store.
///
/// # Errors
/// [`KeyFileError`].
pub(super) fn sealing_key(key: &EncryptionKey, store: &StoreAddress) -> Result<SealingKey, KeyFileError> {
    let bytes = match key {
        EncryptionKey::Given(secret) => Zeroizing::new(secret.expose().to_vec()),
        EncryptionKey::Ephemeral => Zeroizing::new(ids::random::<{ SealingKey::LENGTH }>()?.to_vec()),
        EncryptionKey::Kept(path) => kept(path, store)?,
    };
    SealingKey::new(&bytes).ok_or(KeyFileError::Length)
}

fn kept(path: &Path, store: &StoreAddress) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let name = || path.display().to_string();
    let failed = |error| KeyFileError::File { path: name(), error };
    match std::fs::read_to_string(path) {
        Ok(text) => from_hexadecimal(text.trim()).ok_or_else(|| KeyFileError::Content(name())),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        Err(_absent) if matches!(store, StoreAddress::Sqlite(store) if store.exists()) => {
            Err(KeyFileError::Gone(name()))
        }
        Err(_absent) => {
            let bytes = Zeroizing::new(ids::random::<{ SealingKey::LENGTH }>()?.to_vec());
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = Zeroizing::new(text + "\n");
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(failed)?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
            Ok(bytes)
        }
    }
}

fn from_hexadecimal(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() != 2 * SealingKey::LENGTH {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..SealingKey::LENGTH)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    bytes.map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_never_in_place_of_one_that_is_gone() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("a.db");
        let path = folder.path().join("a.db.key");
        let address = StoreAddress::Sqlite(store.clone());
        let first = kept(&path, &address).unwrap();
        assert_eq!(kept(&path, &address).unwrap(), first);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&store, "").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(kept(&path, &address), Err(KeyFileError::Gone(_))));
        assert!(!path.exists());
        std::fs::write(&path, "too short").unwrap();
        assert!(matches!(kept(&path, &address), Err(KeyFileError::Content(_))));
    }
}
