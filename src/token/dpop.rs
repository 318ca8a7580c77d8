//! The proof that a request comes from the holder of a key: a `DPoP` header, checked as RFC 9449 section 4.3 says.
//!
//! Each check is a function of its own, and the cheap ones come first: the key is held against the token before
//! anything is verified with it, so that a stranger's key costs nothing. Whether a proof was seen before, and whether
//! its nonce is ours, is asked of `proofs`. Pure: `now` is passed in.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::binding::{ProofError, Thumbprint};
use super::json::{Json, Number};
use super::jwk::{Material, PublicKey};
use super::jws::{self, Encoded, MalformedJws};
use super::keys::VerificationKey;
use super::{UnixSeconds, claims};
use crate::definition::SigningAlg;

/// The longest proof: RSA with 8,192 bits fits.
const MAX_PROOF: usize = 8 << 10;

/// The longest header that is remembered: RSA with 4,096 bits fits.
const MAX_KNOWN: usize = 1 << 10;

/// The longest `jti` in bytes.
const MAX_JTI: usize = 256;

/// The algorithms that proofs may have; none is symmetric, and none is weak.
const ALGORITHMS: [SigningAlg; 5] = [
    SigningAlg::ES256,
    SigningAlg::ES384,
    SigningAlg::EdDSA,
    SigningAlg::PS256,
    SigningAlg::RS256,
];

/// The algorithms that proofs may have, for challenges and metadata.
pub const PROOF_ALGORITHMS: &[&str] = &["ES256", "ES384", "EdDSA", "PS256", "RS256"];

/// Members of a JWK that only its owner may know (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What a proof must be for.
#[derive(Clone, Copy, Debug)]
pub struct ProofScope<'a> {
    /// The method of the request, by case.
    pub method: &'a str,
    /// What clients see before the path: scheme, host, and the path up to that of the gateway, without a slash.
    pub base: &'a str,
    /// The path of the request as it came, without a query.
    pub path: &'a str,
    /// The access token.
    pub token: &'a str,
    /// The key that the token is bound to.
    pub key: &'a Thumbprint,
    /// What earlier proofs of this key have shown.
    pub known: &'a KnownHeader,
}

/// The header of a proof that was right, and its key: a client sends the same header each time, and what was found out
/// about it holds for the same bytes. There is one for each cached token.
#[derive(Debug, Default)]
pub struct KnownHeader(OnceLock<Box<Holder>>);

#[derive(Debug)]
struct Holder {
    /// As it came, in base64url.
    header: Box<str>,
    /// Of the key.
    thumbprint: Thumbprint,
    key: VerificationKey,
}

impl KnownHeader {
    /// The key of this very header, where it was found to be that of the thumbprint.
    fn key(&self, header: &str, thumbprint: &Thumbprint) -> Option<&VerificationKey> {
        let holder = self.0.get()?;
        let is_same = *holder.header == *header && holder.thumbprint == *thumbprint;
        is_same.then_some(&holder.key)
    }

    /// Keeps the first that comes, unless it is long.
    fn learn(&self, header: &str, thumbprint: &Thumbprint, key: VerificationKey) {
        if header.len() <= MAX_KNOWN {
            self.0.get_or_init(|| {
                Box::new(Holder {
                    header: header.into(),
                    thumbprint: *thumbprint,
                    key,
                })
            });
        }
    }
}

impl Clone for KnownHeader {
    /// It can be learned anew.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// How old a proof may be. Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofTimes {
    /// Since `iat`.
    pub max_age: i64,
    /// Before `iat`: the clock of the client may be ahead.
    pub max_ahead: i64,
}

/// A proof that is right but for what only a server with a memory can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// `jti`, 1 to 256 bytes.
    pub id: Box<str>,
    /// `nonce`
    pub nonce: Option<Box<str>>,
    /// The last second at which it is accepted.
    pub good_until: UnixSeconds,
}

/// Checks the one `DPoP` header of a request.
pub fn check_proof(
    text: &str,
    scope: ProofScope<'_>,
    times: ProofTimes,
    now: UnixSeconds,
) -> Result<Proof, ProofError> {
    let encoded = split(text)?;
    let checked = |key: &VerificationKey, claims: &Json<'_>, signature: &[u8]| {
        check_signature(key, encoded.signing_input, signature)?;
        let proof = check_claims(claims, scope.method, scope.base, scope.path, times, now)?;
        check_token(claims, scope.token)?;
        Ok(proof)
    };
    if let Some(key) = scope.known.key(encoded.header, scope.key) {
        let (payload, signature) = encoded.body().map_err(malformed)?;
        return checked(key, &read_claims(&payload)?, &signature);
    }
    let header = encoded.header().map_err(malformed)?;
    let (payload, signature) = encoded.body().map_err(malformed)?;
    let claims = read_claims(&payload)?;
    let (alg, material) = key_of(&header)?;
    if material.thumbprint() != *scope.key {
        return Err(ProofError::WrongKey);
    }
    let key = verification_key(alg, material)?;
    let proof = checked(&key, &claims, &signature)?;
    scope.known.learn(encoded.header, scope.key, key);
    Ok(proof)
}

/// Checks the one `DPoP` header of a request for a token (RFC 9449 section 5): there is no token yet, and the key is
/// the one that it will be bound to. `base` and `path` are those of [`ProofScope`].
pub fn check_first_proof(
    text: &str,
    (method, base, path): (&str, &str, &str),
    times: ProofTimes,
    now: UnixSeconds,
) -> Result<(Proof, Thumbprint), ProofError> {
    let encoded = split(text)?;
    let header = encoded.header().map_err(malformed)?;
    let (payload, signature) = encoded.body().map_err(malformed)?;
    let claims = read_claims(&payload)?;
    let (alg, material) = key_of(&header)?;
    let thumbprint = material.thumbprint();
    let key = verification_key(alg, material)?;
    check_signature(&key, encoded.signing_input, &signature)?;
    let proof = check_claims(&claims, method, base, path, times, now)?;
    Ok((proof, thumbprint))
}

fn split(text: &str) -> Result<Encoded<'_>, ProofError> {
    if text.len() > MAX_PROOF {
        return Err(ProofError::Invalid("it is too long"));
    }
    Encoded::split(text).map_err(malformed)
}

fn read_claims(payload: &[u8]) -> Result<Json<'_>, ProofError> {
    jws::claims(payload).map_err(malformed)
}

fn malformed(error: MalformedJws) -> ProofError {
    ProofError::Invalid(error.0)
}

/// The algorithm and the key that a header names. Nothing is verified yet.
fn key_of(header: &Json<'_>) -> Result<(SigningAlg, Material), ProofError> {
    check_type(header)?;
    let alg = algorithm(header)?;
    Ok((alg, public_key(header, alg)?))
}

fn check_claims(
    claims: &Json<'_>,
    method: &str,
    base: &str,
    path: &str,
    times: ProofTimes,
    now: UnixSeconds,
) -> Result<Proof, ProofError> {
    let id = required(claims, "jti", "it has no `jti`")?;
    if id.is_empty() || id.len() > MAX_JTI {
        return Err(ProofError::Invalid("its `jti` is empty or too long"));
    }
    check_method(claims, method)?;
    check_address(claims, base, path)?;
    let issued_at = check_times(claims, times, now)?;
    let nonce = claims::text(claims, "nonce");
    Ok(Proof {
        id: id.into(),
        nonce: nonce
            .map_err(|_malformed| ProofError::Invalid("its `nonce` is not text"))?
            .map(Box::from),
        good_until: issued_at.saturating_add(times.max_age),
    })
}

/// RFC 9449 section 4.2: `typ` is the media type without `application/`. No other header member may be critical.
fn check_type(header: &Json<'_>) -> Result<(), ProofError> {
    if header.get("crit").is_some() || header.get("b64").is_some() {
        return Err(ProofError::Invalid("it has critical extensions"));
    }
    match header.get("typ").and_then(Json::as_str) {
        Some(typ) if typ.eq_ignore_ascii_case("dpop+jwt") => Ok(()),
        _ => Err(ProofError::Invalid("its type is not dpop+jwt")),
    }
}

fn algorithm(header: &Json<'_>) -> Result<SigningAlg, ProofError> {
    let alg = match header.get("alg").and_then(Json::as_str) {
        // RFC 9864 section 2.2: the fully specified name of the same algorithm.
        Some("Ed25519") => Some(SigningAlg::EdDSA),
        Some(name) => SigningAlg::from_name(name),
        None => None,
    };
    alg.filter(|alg| ALGORITHMS.contains(alg))
        .ok_or(ProofError::Invalid("its algorithm is not allowed"))
}

fn public_key(header: &Json<'_>, alg: SigningAlg) -> Result<Material, ProofError> {
    let Some(jwk @ Json::Object(members)) = header.get("jwk") else {
        return Err(ProofError::Invalid("it has no `jwk`"));
    };
    if members.iter().any(|(name, _)| PRIVATE_MEMBERS.contains(&&**name)) {
        return Err(ProofError::Invalid("its `jwk` is not a public key"));
    }
    let material = Material::of_proof(jwk).map_err(|_why| ProofError::Invalid("its `jwk` cannot be used"))?;
    if material.fits(alg) {
        Ok(material)
    } else {
        Err(ProofError::Invalid("its `jwk` does not fit its algorithm"))
    }
}

fn verification_key(alg: SigningAlg, material: Material) -> Result<VerificationKey, ProofError> {
    let key = PublicKey {
        kid: None,
        alg: None,
        material,
    };
    VerificationKey::public(alg, &key).ok_or(ProofError::Invalid("its `jwk` cannot be used"))
}

fn check_signature(key: &VerificationKey, signing_input: &[u8], signature: &[u8]) -> Result<(), ProofError> {
    if key.verifies(signing_input, signature) {
        Ok(())
    } else {
        Err(ProofError::Invalid("its signature is wrong"))
    }
}

fn required<'a>(claims: &'a Json<'a>, name: &str, otherwise: &'static str) -> Result<&'a str, ProofError> {
    let claim = claims.get(name).and_then(Json::as_str);
    claim.ok_or(ProofError::Invalid(otherwise))
}

/// Methods are compared by case (RFC 9110 section 9.1).
fn check_method(claims: &Json<'_>, method: &str) -> Result<(), ProofError> {
    if required(claims, "htm", "it has no `htm`")? == method {
        Ok(())
    } else {
        Err(ProofError::WrongMethod)
    }
}

fn check_address(claims: &Json<'_>, base: &str, path: &str) -> Result<(), ProofError> {
    let found = required(claims, "htu", "it has no `htu`")?;
    if found.strip_prefix(base) == Some(path) && is_plain(found) {
        return Ok(());
    }
    let expected = format!("{base}{path}");
    let wanted = normalized(&expected);
    if wanted.is_some() && normalized(found) == wanted {
        Ok(())
    } else {
        Err(ProofError::WrongAddress {
            expected: expected.into(),
        })
    }
}

/// When it was made, where that is neither too long ago nor in the future.
fn check_times(claims: &Json<'_>, times: ProofTimes, now: UnixSeconds) -> Result<UnixSeconds, ProofError> {
    let issued_at = match claims.get("iat") {
        Some(Json::Number(Number::Integer(seconds))) => *seconds,
        Some(Json::Number(_)) => claims::date(claims, "iat")
            .ok()
            .flatten()
            .ok_or(ProofError::Future)?,
        _ => return Err(ProofError::Invalid("it has no `iat`")),
    };
    if issued_at < now.saturating_sub(times.max_age) {
        Err(ProofError::Stale)
    } else if issued_at > now.saturating_add(times.max_ahead) {
        Err(ProofError::Future)
    } else {
        Ok(issued_at)
    }
}

/// `ath` is base64url of the SHA-256 of the token's text.
fn check_token(claims: &Json<'_>, token: &str) -> Result<(), ProofError> {
    let hash = claims.get("ath").and_then(Json::as_str);
    if hash
        == Some(
            URL_SAFE_NO_PAD
                .encode(Thumbprint::of(token.as_bytes()).0)
                .as_str(),
        )
    {
        Ok(())
    } else {
        Err(ProofError::WrongToken)
    }
}

/// Whether an address is one that [`normalized`] takes, told without making anything. One without percent-encodings and
/// with a scheme in lower case, that is; of others it is not said.
fn is_plain(address: &str) -> bool {
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    let Some(rest) = rest.map(str::as_bytes) else {
        return false;
    };
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'@' | b'\\' | b'?' | b'#');
    rest.first().is_some_and(|&byte| byte != b'/') && rest.iter().all(is_plain)
}

/// An address as it is compared (RFC 3986 sections 6.2.2 and 6.2.3): without query and fragment, scheme and host in
/// lower case, without the default port, with percent-encodings in one form. Dot segments are left as they are: the
/// gateway refuses them in a path. `None`: not an address with a host.
fn normalized(address: &str) -> Option<String> {
    let address = address.split(['?', '#']).next()?;
    let (scheme, rest) = address.split_once("://")?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let is_host = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'\\');
    if authority.is_empty() || !authority.bytes().all(is_host) {
        return None;
    }
    let authority = authority.to_ascii_lowercase();
    let host = authority.strip_suffix(default_port).unwrap_or(&authority);
    let mut text = format!("{scheme}://{}", host.strip_suffix(':').unwrap_or(host));
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let code = u8::try_from(digit()? * 16 + digit()?).ok()?;
                if code.is_ascii_alphanumeric() || matches!(code, b'-' | b'.' | b'_' | b'~') {
                    text.push(char::from(code));
                } else {
                    text.push_str(&format!("%{code:02X}"));
                }
            }
            byte if byte.is_ascii_graphic() => text.push(char::from(byte)),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests;
