//! Passwords: hashed with Argon2id (RFC 9106) as soon as they arrive, and kept in no other form.
//!
//! What people choose can be guessed, unlike the secrets that the authority makes, so each guess must cost something:
//! 19 MiB and some 20 ms, which is why it is done away from the thread that answers.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::refusal::Refusal;
use crate::authority::ids;

/// The hash of a password, in PHC form: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
pub(super) async fn hash(password: &str) -> Result<String, Refusal> {
    let salt: [u8; 16] = ids::random()?;
    let password = Zeroizing::new(password.to_owned());
    let hashed = tokio::task::spawn_blocking(move || hash_with(&password, &salt)).await;
    hashed.ok().flatten().ok_or(Refusal::Internal)
}

fn hash_with(password: &str, salt: &[u8]) -> Option<String> {
    let parameters = Params::DEFAULT;
    let (memory, passes, lanes) = (parameters.m_cost(), parameters.t_cost(), parameters.p_cost());
    let mut hash = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .ok()?;
    Some(format!(
        "$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(hash)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_implementation_agrees() {
        // As argon2-cffi, which is the reference implementation in C, has it.
        let hash = hash_with("password", b"somesaltsomesalt").unwrap();
        assert_eq!(
            hash,
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$K13EBUiG7JV+9ZxztmHFTdb7J0WQsnj2V8bZaqyPptE"
        );
        assert_ne!(hash, hash_with("Password", b"somesaltsomesalt").unwrap());
        assert_ne!(hash, hash_with("password", b"someothersaltxxx").unwrap());
    }
}
