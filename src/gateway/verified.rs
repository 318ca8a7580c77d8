//! The cache of verified tokens in front of `Verifier::verify`.
//!
//! It holds facts, never decisions: a hit is asked again for its times, and its binding and the route are asked in any
//! case. The key is a
//! keyed digest of the whole token, the API and the generation of the snapshot, so neither a changed key set nor a
//! changed definition can meet an old entry, and no token stays in memory. Refused tokens are kept apart, in `refused`.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use moka::sync::Cache;
use prometheus::Histogram;

use super::desk::{Known, KnownAnswers};
use super::refused::RefusedTokens;
use super::sanitize::SanitizedHead;
use crate::policy::{Api, KeySpace};
use crate::snapshot::Revocations;
use crate::telemetry::{CacheMetrics, Metrics, Stage};
use crate::token::{
    Exchange, ExchangedToken, KeyForm, OpenedToken, PresentedKey, Principal, ProofDesk, Thumbprint,
    TokenError, UnixSeconds, VerifyToken,
};

/// No entry is kept longer, whatever its `exp`.
const LONGEST: Duration = Duration::from_secs(300);

/// The same for the tokens that keys were exchanged for: for so long, too, it is known that a key was right.
const LONGEST_EXCHANGED: Duration = Duration::from_secs(3_600);

/// One for each value of a byte.
const RECENT: usize = 256;

pub(super) type Digest = [u8; 16];
pub(super) type DigestMap<V> = Cache<Digest, V, BuildHasherDefault<FirstBytes>>;
type Principals = DigestMap<Arc<Principal>>;

/// Verified tokens of all workers.
#[derive(Debug)]
pub struct VerifiedTokens {
    cache: Option<Principals>,
    refused: RefusedTokens,
    /// Random, and never leaves the process.
    key: LessSafeKey,
    /// What issuers have said of tokens.
    pub(super) introspected: KnownAnswers<Arc<Principal>>,
    /// For which tokens keys were exchanged. Kept across snapshots: they are verified like any other.
    pub(super) exchanged: KnownAnswers<Arc<ExchangedToken>>,
    metrics: CacheMetrics,
    verify_timer: Histogram,
}

/// The tokens that one worker met last, a few of them: found without touching anything that workers share. A place is
/// taken by whatever came last; the digest says whether it is the token that is looked for, in the same snapshot.
#[derive(Debug, Default)]
pub(super) struct RecentTokens {
    places: RefCell<Box<[Option<Recent>]>>,
    /// A signature has been verified since this was asked last.
    has_verified: Cell<bool>,
}

type Recent = (Digest, Arc<Principal>);

/// Verifies through the cache, for the snapshot of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct CachedVerifier<'a> {
    pub(super) tokens: &'a VerifiedTokens,
    pub(super) recent: &'a RecentTokens,
    pub(super) generation: u64,
    pub(super) proofs: &'a ProofDesk,
    pub(super) revocations: &'a Revocations,
    pub(super) head: SanitizedHead<'a>,
}

/// Verifies a token that came encrypted and has been opened, and keeps what came of it under the token as it came: the
/// next request with it finds it where it finds any other.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenedVerifier<'a> {
    pub(super) cached: CachedVerifier<'a>,
    pub(super) opened: &'a OpenedToken,
}

/// Takes what an issuer has said of the token of this very request, in the same snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct IntrospectedVerifier<'a> {
    pub(super) cached: CachedVerifier<'a>,
    pub(super) known: &'a Known<Arc<Principal>>,
}

impl RecentTokens {
    fn get(&self, digest: &Digest) -> Option<Arc<Principal>> {
        let places = self.places.borrow();
        let (known, principal) = places.get(place(digest))?.as_ref()?;
        (known == digest).then(|| Arc::clone(principal))
    }

    fn put(&self, digest: Digest, principal: &Arc<Principal>) {
        let mut places = self.places.borrow_mut();
        if places.is_empty() {
            *places = vec![None; RECENT].into();
        }
        if let Some(place) = places.get_mut(place(&digest)) {
            *place = Some((digest, Arc::clone(principal)));
        }
    }

    /// Forgets everything. Called every few seconds, so that nothing here outlives the shared cache for long.
    pub(super) fn clear(&self) {
        self.places.take();
    }

    /// Whether a token was found good by its signature since the last call, rather than known already.
    pub(super) fn has_verified(&self) -> bool {
        self.has_verified.take()
    }
}

/// Any byte of a digest is as good as random.
fn place(digest: &Digest) -> usize {
    digest.last().copied().map_or(0, usize::from)
}

impl VerifiedTokens {
    /// A cache of at most so many tokens; 0 switches it off. `None` where the system has no randomness.
    pub fn new(entries: u64, metrics: &Metrics) -> Option<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
        let cache = (entries > 0).then(|| {
            Cache::builder()
                .max_capacity(entries)
                .time_to_live(LONGEST)
                .build_with_hasher(BuildHasherDefault::default())
        });
        Some(Self {
            cache,
            refused: RefusedTokens::new(metrics),
            key,
            introspected: KnownAnswers::new(entries, LONGEST, metrics.cache("introspection")),
            exchanged: KnownAnswers::new(entries, LONGEST_EXCHANGED, metrics.cache("api_key")),
            metrics: metrics.cache("token"),
            verify_timer: metrics.stage(Stage::Verify),
        })
    }

    /// Sets the gauge of entries, about.
    pub(super) fn count_entries(&self) {
        let entries = self.cache.as_ref().map_or(0, Cache::entry_count);
        self.metrics
            .entries
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.introspected.count_entries();
        self.exchanged.count_entries();
        self.refused.count_entries();
    }

    /// Counts a token that was verified anew, and keeps it, good or not.
    fn admit(
        &self,
        cache: &Principals,
        digest: Digest,
        started: Instant,
        verified: Result<Principal, TokenError>,
    ) -> Result<Arc<Principal>, TokenError> {
        self.metrics.misses.inc();
        self.verify_timer.observe(started.elapsed().as_secs_f64());
        let principal = Arc::new(verified.inspect_err(|error| self.refused.put(digest, error))?);
        cache.insert(digest, Arc::clone(&principal));
        Ok(principal)
    }

    /// The tag of AES-GCM over the token, with snapshot and API as the nonce: GHASH, which is a universal hash under the
    /// secret key. Whoever does not have the key finds two tokens with one tag no better than by guessing 128 bits, and
    /// tags are seen by nobody, which is what makes a nonce that serves for many tokens harmless.
    pub(super) fn digest(&self, generation: u64, api: &Api, token: &str) -> Option<Digest> {
        let mut nonce = [0; 12];
        let (first, last) = nonce.split_at_mut(8);
        first.copy_from_slice(&generation.to_le_bytes());
        last.copy_from_slice(&u32::try_from(api.id.0).ok()?.to_le_bytes());
        self.tag(nonce, token.as_bytes())
    }

    /// The same over a key, with what keys of its API are remembered under and its form as the nonce.
    pub(super) fn digest_key(&self, space: KeySpace, text: &[u8], form: KeyForm) -> Option<Digest> {
        let mut nonce = space;
        if let (KeyForm::Pair, [first, ..]) = (form, &mut nonce) {
            *first ^= 0xff;
        }
        self.tag(nonce, text)
    }

    #[inline]
    fn tag(&self, nonce: [u8; 12], text: &[u8]) -> Option<Digest> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(text), &mut [])
            .ok()?;
        tag.as_ref().try_into().ok()
    }
}

impl VerifyToken<Api> for CachedVerifier<'_> {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        api.verifier.check_length(token)?;
        let digest = self.tokens.digest(self.generation, api, token);
        let (Some(cache), Some(digest)) = (&self.tokens.cache, digest) else {
            return api.verifier.verify(token, now).map(Arc::new);
        };
        let recent = self.recent.get(&digest);
        let is_recent = recent.is_some();
        if let Some(principal) = recent.or_else(|| cache.get(&digest)) {
            self.tokens.metrics.hits.inc();
            api.verifier.check_times(&principal, now)?;
            if !is_recent {
                self.recent.put(digest, &principal);
            }
            return Ok(principal);
        }
        if api.verifier.introspection().is_some()
            && let Some(known) = self.tokens.introspected.get(&digest)
        {
            return known.at(api, now);
        }
        if let Some(error) = self.tokens.refused.get(&digest) {
            return Err(error);
        }
        let started = Instant::now();
        match api.verifier.verify(token, now) {
            // Whoever opens it, or asks about it, comes back, and is counted then.
            Err(error @ (TokenError::Sealed(_) | TokenError::Opaque(_))) => Err(error),
            verified => {
                self.recent.has_verified.set(verified.is_ok());
                self.tokens.admit(cache, digest, started, verified)
            }
        }
    }

    fn exchange(&self, api: &Api, key: PresentedKey<'_>) -> Exchange {
        if let Some(exchange) = self.head.exchange() {
            return exchange.clone();
        }
        let (text, form) = key.text()?;
        let space = api.places.as_ref().and_then(|places| places.keys());
        let digest = space.and_then(|keys| self.tokens.digest_key(keys.space, text, form));
        match digest.and_then(|digest| self.tokens.exchanged.get(&digest)) {
            Some(Known::Good(token)) => Ok(token),
            Some(Known::Refused(error)) => Err(error),
            None => Err(key.unexchanged()),
        }
    }

    fn proofs(&self) -> Option<&ProofDesk> {
        Some(self.proofs)
    }

    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> bool {
        self.revocations.is_revoked(principal, now)
    }

    fn certificate(&self) -> Option<Thumbprint> {
        self.head.certificate()
    }
}

impl VerifyToken<Api> for OpenedVerifier<'_> {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        let CachedVerifier {
            tokens, generation, ..
        } = self.cached;
        let started = Instant::now();
        let verified = api.verifier.verify_opened(token, self.opened, now);
        match (&tokens.cache, tokens.digest(generation, api, token)) {
            (Some(cache), Some(digest)) => tokens.admit(cache, digest, started, verified),
            _ => verified.map(Arc::new),
        }
    }

    fn exchange(&self, api: &Api, key: PresentedKey<'_>) -> Exchange {
        self.cached.exchange(api, key)
    }

    fn proofs(&self) -> Option<&ProofDesk> {
        self.cached.proofs()
    }

    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> bool {
        self.cached.is_revoked(principal, now)
    }

    fn certificate(&self) -> Option<Thumbprint> {
        self.cached.certificate()
    }
}

impl VerifyToken<Api> for IntrospectedVerifier<'_> {
    fn verify(&self, api: &Api, _token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        self.known.at(api, now)
    }

    fn exchange(&self, api: &Api, key: PresentedKey<'_>) -> Exchange {
        self.cached.exchange(api, key)
    }

    fn proofs(&self) -> Option<&ProofDesk> {
        self.cached.proofs()
    }

    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> bool {
        self.cached.is_revoked(principal, now)
    }

    fn certificate(&self) -> Option<Thumbprint> {
        self.cached.certificate()
    }
}

/// A digest is as good as random: its first bytes are its hash.
#[derive(Debug, Default)]
pub(super) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
