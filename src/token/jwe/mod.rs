//! Encrypted access tokens: a JWS inside a compact JWE (RFC 7516 section 7.1, RFC 7519 section 5.2), read strictly.
//!
//! `Verifier` seals off what came encrypted ([`SealedToken::read`]: nothing secret is touched, and whatever can be seen
//! to be wrong is refused), the gateway opens it away from its workers ([`SealedToken::open`]: one private-key
//! operation per key that may be meant), and `Verifier` then verifies what was inside like any other token. Encryption
//! proves nothing about the sender: everybody has the public key.

mod alg;
mod content;
mod key;
mod thumbprint;

use std::sync::Arc;

use aws_lc_rs::agreement::{ParsedPublicKey, UnparsedPublicKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::TokenError;
use super::json::Json;
use crate::definition::EncryptionAlg;
use alg::{ContentAlg, KeyAlg};
use content::Content;
use key::{Agreement, Curve};
pub use key::{DecryptionKey, KeyFault};
pub use thumbprint::{public_rsa_key, public_thumbprint};

/// The most keys of an API: a token without `kid` is tried with each, at one private-key operation per key.
pub const MAX_DECRYPTION_KEYS: usize = 4;

/// The longest header, as it is encoded. One with a chain of certificates still fits.
const MAX_HEADER: usize = 4_096;
const MAX_KID: usize = 256;
/// `apu` and `apv` are names or nonces.
const MAX_PARTY: usize = 512;

/// How an API takes encrypted tokens.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// At least one.
    pub keys: Arc<DecryptionKeys>,
    /// What becomes of tokens that are only signed.
    pub unencrypted: Unencrypted,
}

/// What becomes of a token that is only signed, where tokens can be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unencrypted {
    /// It is verified.
    Accept,
    /// It is refused.
    Refuse,
}

/// The keys of an API, and the one algorithm that its definition names.
#[derive(Debug)]
pub struct DecryptionKeys {
    keys: Vec<DecryptionKey>,
    only: Option<KeyAlg>,
}

impl DecryptionKeys {
    /// At most [`MAX_DECRYPTION_KEYS`] are of use. With `only`, tokens that are encrypted otherwise are refused.
    pub fn new(keys: Vec<DecryptionKey>, only: Option<EncryptionAlg>) -> Arc<Self> {
        Arc::new(Self {
            keys,
            only: only.map(KeyAlg::from),
        })
    }

    /// Their thumbprints, for people.
    pub fn thumbprints(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(DecryptionKey::thumbprint)
    }
}

/// An encrypted token whose form is right, with the keys that may open it.
pub struct SealedToken {
    keys: Arc<DecryptionKeys>,
    /// Positions in `keys`; at least one.
    candidates: Vec<usize>,
    alg: KeyAlg,
    enc: ContentAlg,
    agreement: Option<Agreement>,
    /// The first part as it came: what is authenticated beside the content.
    protected: Box<str>,
    wrapped: Box<[u8]>,
    content: Content,
}

/// What [`SealedToken::open`] made of a token.
pub struct OpenedToken {
    keys: Arc<DecryptionKeys>,
    inner: Option<Zeroizing<String>>,
}

/// Whether a token has the five parts of a JWE rather than the three of a JWS.
pub(super) fn is_encrypted(token: &str) -> bool {
    // Counted in bytes, and those by the chunk, this takes a fraction of an instruction for each byte.
    let dots = |chunk: &[u8]| {
        let add = |dots: u8, byte: &u8| dots.wrapping_add(u8::from(*byte == b'.'));
        usize::from(chunk.iter().fold(0, add))
    };
    token.as_bytes().chunks(128).map(dots).sum::<usize>() == 4
}

impl SealedToken {
    /// Reads everything that can be read without a private key. Its length must have been checked.
    pub(super) fn read(token: &str, keys: &Arc<DecryptionKeys>) -> Result<Self, TokenError> {
        let mut parts = token.split('.');
        let mut part = || parts.next().ok_or(TokenError::Malformed("it has too few parts"));
        let (protected, wrapped) = (part()?, decoded(part()?)?);
        let content = Content {
            iv: decoded(part()?)?,
            ciphertext: decoded(part()?)?,
            tag: decoded(part()?)?,
        };
        let header = header(protected)?;
        let (alg, enc) = algorithms(&header, keys.only)?;
        check_types(&header)?;
        let kid = match header.get("kid") {
            None => None,
            Some(Json::String(kid)) if kid.len() <= MAX_KID => Some(&**kid),
            Some(_) => return Err(TokenError::Malformed("its key id is not a short string")),
        };
        let agreement = match alg.oaep() {
            Some(_) => None,
            None => Some(agreement(&header)?),
        };
        let curve = agreement.as_ref().map(|agreement| agreement.curve);
        let candidates: Vec<usize> = keys
            .keys
            .iter()
            .enumerate()
            .filter(|(_, key)| key.is_called(kid) && key.fits(alg, curve, enc, &wrapped))
            .map(|(position, _)| position)
            .take(MAX_DECRYPTION_KEYS)
            .collect();
        // Lengths and names are no secret: what cannot fit costs no private-key operation.
        if candidates.is_empty() || !content.fits(enc) {
            return Err(TokenError::DecryptionFailed);
        }
        Ok(Self {
            keys: Arc::clone(keys),
            candidates,
            alg,
            enc,
            agreement,
            protected: protected.into(),
            wrapped,
            content,
        })
    }

    /// Decrypts: up to some milliseconds of work, which must not be done where requests are served. Where the content
    /// key cannot be had, a random one takes its place, so that every failure costs and looks the same (RFC 7516
    /// section 11.5).
    pub fn open(&self) -> OpenedToken {
        let inner = self
            .candidates
            .iter()
            .filter_map(|&position| self.keys.keys.get(position))
            .find_map(|key| self.open_with(key));
        OpenedToken {
            keys: Arc::clone(&self.keys),
            inner,
        }
    }

    fn open_with(&self, key: &DecryptionKey) -> Option<Zeroizing<String>> {
        let mut random = Zeroizing::new(vec![0; self.enc.key_length()]);
        rand::fill(&mut random).ok()?;
        let content_key = key
            .content_key((self.alg, self.enc), self.agreement.as_ref(), &self.wrapped)
            .unwrap_or(random);
        let mut plain = self
            .content
            .open(self.enc, &content_key, self.protected.as_bytes())
            .ok()?;
        match String::from_utf8(std::mem::take(&mut *plain)) {
            Ok(text) => Some(Zeroizing::new(text)),
            Err(not_text) => {
                drop(Zeroizing::new(not_text.into_bytes()));
                None
            }
        }
    }
}

impl OpenedToken {
    /// What was inside. `None` where other keys than these were asked for: then nothing is known.
    pub(super) fn inner(&self, keys: &Arc<DecryptionKeys>) -> Option<Result<&str, TokenError>> {
        let is_of = Arc::ptr_eq(&self.keys, keys);
        is_of.then(|| {
            self.inner
                .as_deref()
                .map(String::as_str)
                .ok_or(TokenError::DecryptionFailed)
        })
    }
}

impl PartialEq for SealedToken {
    /// As one value: to compare what is inside would take the keys.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for SealedToken {}

impl std::fmt::Debug for SealedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedToken({}, {})", self.alg.name(), self.enc.name())
    }
}

impl std::fmt::Debug for OpenedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenedToken([redacted])")
    }
}

fn decoded(part: &str) -> Result<Box<[u8]>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map(Vec::into_boxed_slice)
        .map_err(|_position| TokenError::Malformed("a part of it is not base64url"))
}

fn header(protected: &str) -> Result<Json<'static>, TokenError> {
    const NOT_AN_OBJECT: TokenError = TokenError::Malformed("the header is not a JSON object");
    if protected.len() > MAX_HEADER {
        return Err(TokenError::Malformed("its header is too long"));
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(protected)
        .map_err(|_position| NOT_AN_OBJECT)?;
    match Json::read(&bytes) {
        Ok(object @ Json::Object(_)) => Ok(object.into_owned()),
        Ok(_) | Err(_) => Err(NOT_AN_OBJECT),
    }
}

fn algorithms(header: &Json<'_>, only: Option<KeyAlg>) -> Result<(KeyAlg, ContentAlg), TokenError> {
    // RFC 7516 section 4.1.13: no extension is implemented. Nothing is ever decompressed (RFC 8725 section 3.6).
    if header.get("crit").is_some() {
        return Err(TokenError::Malformed("it has critical extensions"));
    }
    if header.get("zip").is_some() {
        return Err(TokenError::Malformed("it is compressed"));
    }
    let text = |name, otherwise| {
        let text = header.get(name).and_then(Json::as_str);
        text.ok_or(TokenError::Malformed(otherwise))
    };
    let alg = text("alg", "it names no algorithm")?;
    let enc = text("enc", "it names no algorithm for its content")?;
    let alg = KeyAlg::from_name(alg).ok_or(TokenError::UnsupportedEncryption)?;
    let enc = ContentAlg::from_name(enc).ok_or(TokenError::UnsupportedEncryption)?;
    if only.is_some_and(|only| only != alg) {
        return Err(TokenError::EncryptionMismatch);
    }
    Ok((alg, enc))
}

/// `typ` and `cty`, where they are there, must be those of a token in a token (RFC 7519 section 5). What is inside says
/// itself what it is, and is held to it.
fn check_types(header: &Json<'_>) -> Result<(), TokenError> {
    let is_one_of = |name, known: &[&str]| match header.get(name) {
        None => true,
        Some(Json::String(text)) => {
            let short = match text.split_at_checked(12) {
                Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
                _ => text,
            };
            known.iter().any(|known| short.eq_ignore_ascii_case(known))
        }
        Some(_) => false,
    };
    if is_one_of("typ", &["JWT", "at+jwt", "JOSE"]) && is_one_of("cty", &["JWT", "at+jwt"]) {
        Ok(())
    } else {
        Err(TokenError::WrongType)
    }
}

/// What ECDH-ES needs of the header (RFC 7518 section 4.6.1, RFC 8037 section 3.2). A point that is not on its curve is
/// refused here: with it, the answer would say something about the private key.
fn agreement(header: &Json<'_>) -> Result<Agreement, TokenError> {
    const BAD_EPHEMERAL: TokenError = TokenError::Malformed("its ephemeral key is not a public key");
    let key = header
        .get("epk")
        .ok_or(TokenError::Malformed("it has no ephemeral key"))?;
    let text = |name| key.get(name).and_then(Json::as_str);
    let curve = text("crv").and_then(Curve::from_name).ok_or(BAD_EPHEMERAL)?;
    let kind = if curve == Curve::X25519 { "OKP" } else { "EC" };
    if text("kty") != Some(kind) || key.get("d").is_some() {
        return Err(BAD_EPHEMERAL);
    }
    let coordinate = |name| {
        let bytes = URL_SAFE_NO_PAD.decode(text(name)?).ok()?;
        let missing = curve.length().checked_sub(bytes.len())?;
        // RFC 7518 section 6.2.1.2 asks for the full length; Authlib leaves zeros out, which P-521 has half the time.
        // The number is the same, and the header is authenticated as it came.
        let is_whole = missing == 0 || (curve != Curve::X25519 && !bytes.is_empty());
        is_whole.then(|| [vec![0; missing], bytes].concat())
    };
    let x = coordinate("x").ok_or(BAD_EPHEMERAL)?;
    let point = match curve {
        Curve::X25519 => x,
        _ => [&[4][..], &x, &coordinate("y").ok_or(BAD_EPHEMERAL)?].concat(),
    };
    let point = UnparsedPublicKey::new(curve.agreement(), point);
    Ok(Agreement {
        curve,
        ephemeral: ParsedPublicKey::try_from(&point).map_err(|_rejected| BAD_EPHEMERAL)?,
        party_u: party(header, "apu")?,
        party_v: party(header, "apv")?,
    })
}

fn party(header: &Json<'_>, name: &str) -> Result<Vec<u8>, TokenError> {
    const BAD_PARTY: TokenError = TokenError::Malformed("its `apu` or `apv` is not base64url");
    match header.get(name) {
        None => Ok(Vec::new()),
        Some(Json::String(text)) if text.len() <= MAX_PARTY => {
            URL_SAFE_NO_PAD.decode(&**text).map_err(|_position| BAD_PARTY)
        }
        Some(_) => Err(BAD_PARTY),
    }
}

#[cfg(test)]
mod tests;
