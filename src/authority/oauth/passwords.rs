//! Passwords of people: hashed with Argon2id, away from the thread that answers, two at a time.
//!
//! Each hash takes 19 MiB and about 20 ms, so how many are made at a time is bounded, and so is how many wait.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::fault::Fault;

/// Where passwords are hashed.
#[derive(Debug)]
pub(super) struct Passwords {
    waiting: Semaphore,
    running: Semaphore,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self {
            waiting: Semaphore::new(WAITING),
            running: Semaphore::new(RUNNING),
        }
    }

    /// The hash of a new password, in PHC form.
    ///
    /// # Errors
    /// [`Fault::Busy`], [`Fault::Ours`].
    pub(super) async fn hash(&self, password: Zeroizing<String>) -> Result<String, Fault> {
        self.run(move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string()).ok()
        })
        .await?
        .ok_or(Fault::Ours)
    }

    /// Whether a password is that of a hash. Without a hash it is wrong, and takes as long to be.
    ///
    /// # Errors
    /// [`Fault::Busy`], [`Fault::Ours`].
    pub(super) async fn is_right(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<bool, Fault> {
        self.run(move || {
            let is_known = hash.is_some();
            let hash = Zeroizing::new(hash.unwrap_or_else(|| OF_NOBODY.to_owned()));
            let is_right = PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            });
            is_right && is_known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        let _waiting = self.waiting.try_acquire().map_err(|_full| Fault::Busy)?;
        let _running = self.running.acquire().await.map_err(|_closed| Fault::Ours)?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_panicked| Fault::Ours)
    }
}

/// At a time.
const RUNNING: usize = 2;
/// Including those that are being made: about a second of work.
const WAITING: usize = 64;
/// No password has this hash; its parameters are those of all others.
const OF_NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn right_and_wrong() {
        block_on(async {
            let passwords = Passwords::new();
            let hash = passwords.hash(secret("correct horse")).await.unwrap();
            assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
            for (password, hash, expected) in [
                ("correct horse", Some(hash.clone()), true),
                ("correct horse ", Some(hash.clone()), false),
                ("", Some(hash.clone()), false),
                ("correct horse", None, false),
                ("correct horse", Some("no hash".to_owned()), false),
            ] {
                assert_eq!(
                    passwords.is_right(secret(password), hash).await,
                    Ok(expected),
                    "{password}"
                );
            }
        });
        // The stand-in is a hash like any other, or it would take no time.
        assert!(PasswordHash::new(OF_NOBODY).is_ok());
    }

    #[test]
    fn those_who_would_wait_too_long_are_told_so() {
        block_on(async {
            let passwords = Passwords::new();
            let _others = passwords
                .waiting
                .acquire_many(u32::try_from(WAITING).unwrap())
                .await
                .unwrap();
            assert_eq!(passwords.hash(secret("x")).await, Err(Fault::Busy));
        });
    }
}
