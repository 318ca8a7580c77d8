//! The content of an encrypted token: authenticated first, decrypted then (RFC 7518 sections 5.2 and 5.3).
//!
//! `open` in `mod.rs` calls it, with the right key or with a random one in its place: both fail and cost alike. It must
//! never say which of its steps failed.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::alg::ContentAlg;

/// The last three parts of a compact JWE.
pub(super) struct Content {
    pub(super) iv: Box<[u8]>,
    pub(super) ciphertext: Box<[u8]>,
    pub(super) tag: Box<[u8]>,
}

/// The content could not be opened; nobody is told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOpened;

/// AES-CBC works on blocks of so many bytes.
const BLOCK: usize = 16;

impl Content {
    /// Whether the lengths, which everybody can see, are those of the algorithm.
    pub(super) fn fits(&self, alg: ContentAlg) -> bool {
        use ContentAlg::{A128CbcHs256, A128Gcm, A192CbcHs384, A192Gcm, A256CbcHs512, A256Gcm};
        let is_blocks = !self.ciphertext.is_empty() && self.ciphertext.len().is_multiple_of(BLOCK);
        let (iv, tag) = (self.iv.len(), self.tag.len());
        match alg {
            A128Gcm | A192Gcm | A256Gcm => (iv, tag) == (12, 16),
            A128CbcHs256 => (iv, tag) == (BLOCK, 16) && is_blocks,
            A192CbcHs384 => (iv, tag) == (BLOCK, 24) && is_blocks,
            A256CbcHs512 => (iv, tag) == (BLOCK, 32) && is_blocks,
        }
    }

    /// Decrypts with a key of the length that the algorithm asks for. `protected` is the first part as it came.
    pub(super) fn open(
        &self,
        alg: ContentAlg,
        key: &[u8],
        protected: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        use ContentAlg::{A128CbcHs256, A128Gcm, A192CbcHs384, A192Gcm, A256CbcHs512, A256Gcm};
        match alg {
            A128Gcm => self.gcm(&aead::AES_128_GCM, key, protected),
            A192Gcm => self.gcm(&aead::AES_192_GCM, key, protected),
            A256Gcm => self.gcm(&aead::AES_256_GCM, key, protected),
            A128CbcHs256 => self.cbc(hmac::HMAC_SHA256, key, protected),
            A192CbcHs384 => self.cbc(hmac::HMAC_SHA384, key, protected),
            A256CbcHs512 => self.cbc(hmac::HMAC_SHA512, key, protected),
        }
    }

    fn gcm(
        &self,
        alg: &'static aead::Algorithm,
        key: &[u8],
        protected: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        let key = UnboundKey::new(alg, key).map_err(not_opened)?;
        let nonce = Nonce::try_assume_unique_for_key(&self.iv).map_err(not_opened)?;
        let mut plain = Zeroizing::new(vec![0; self.ciphertext.len()]);
        LessSafeKey::new(key)
            .open_separate_gather(
                nonce,
                Aad::from(protected),
                &self.ciphertext,
                &self.tag,
                &mut plain,
            )
            .map_err(not_opened)?;
        Ok(plain)
    }

    /// RFC 7518 section 5.2.2.2. The first half of the key authenticates, the second decrypts.
    fn cbc(
        &self,
        mac: hmac::Algorithm,
        key: &[u8],
        protected: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        let (mac_key, cipher_key) = key.split_at_checked(key.len() / 2).ok_or(NotOpened)?;
        let bits = u64::try_from(protected.len()).map_err(not_opened)?;
        let bits = bits.checked_mul(8).ok_or(NotOpened)?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(mac, mac_key));
        context.update(protected);
        context.update(&self.iv);
        context.update(&self.ciphertext);
        context.update(&bits.to_be_bytes());
        let expected = context.sign();
        let expected = expected.as_ref().get(..self.tag.len()).ok_or(NotOpened)?;
        verify_slices_are_equal(expected, &self.tag).map_err(not_opened)?;

        let alg = match cipher_key.len() {
            16 => &AES_128,
            24 => &AES_192,
            _ => &AES_256,
        };
        let cipher_key = UnboundCipherKey::new(alg, cipher_key).map_err(not_opened)?;
        let iv: [u8; BLOCK] = (*self.iv).try_into().map_err(not_opened)?;
        let mut plain = Zeroizing::new(self.ciphertext.to_vec());
        let length = PaddedBlockDecryptingKey::cbc_pkcs7(cipher_key)
            .and_then(|key| key.decrypt(&mut plain, DecryptionContext::Iv128(iv.into())))
            .map_err(not_opened)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

fn not_opened(_why: impl Sized) -> NotOpened {
    NotOpened
}
