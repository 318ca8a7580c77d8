//! What a comparison is made with: keys, a certificate, and tokens, right and wrong in every way that a gateway must see.
//! `main` signs with the same kind of key; `benches/peers/run` asks for all of it as files, and for what one verification
//! costs. None of it protects anything.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{AUDIENCE, ISSUER};

/// The key id of every key here.
pub(crate) const KEY_ID: &str = "bench";

/// How many tokens with a bad signature there are.
const FORGED: usize = 4_000;

/// A new RSA-2048 key: to sign with, and the public half in PEM.
pub(crate) fn signing_key() -> (EncodingKey, String) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).expect("a key in DER");
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).expect("a key in DER");
    let key =
        EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).expect("a key in PEM");
    (key, pem("PUBLIC KEY", public.as_ref()))
}

/// The key set that a signing key is verified with.
pub(crate) fn key_set(key: &EncodingKey, algorithm: Algorithm) -> String {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).expect("a JWK");
    jwk.common.key_id = Some(KEY_ID.into());
    jwk.common.key_algorithm = Some(match algorithm {
        Algorithm::HS256 => jsonwebtoken::jwk::KeyAlgorithm::HS256,
        _ => jsonwebtoken::jwk::KeyAlgorithm::RS256,
    });
    serde_json::to_string(&JwkSet { keys: vec![jwk] }).expect("a key set")
}

/// Claims as an access token of the client-credentials grant has them.
pub(crate) fn claims(number: usize, lifetime: Duration) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    json!({
        "iss": ISSUER, "sub": format!("client-{number}@clients"), "aud": AUDIENCE, "azp": format!("client-{number}"),
        "iat": now, "exp": now + lifetime.as_secs(), "scope": "read:items write:items", "gty": "client-credentials",
    })
}

pub(crate) fn sign(key: &EncodingKey, algorithm: Algorithm, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = Some(KEY_ID.into());
    jsonwebtoken::encode(&header, claims, key).expect("a token")
}

/// Writes all of it into a folder; of good RS256 tokens that many, all distinct.
pub(crate) fn write(folder: &Path, distinct: usize) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
    let (key, public) = signing_key();
    let (other, _) = signing_key();
    let (secret_key, _) = signing_key();
    // Any text without a pattern will do for a secret.
    let secret = &sign(&secret_key, Algorithm::RS256, &json!({}))[100..164];
    let hmac = EncodingKey::from_secret(secret.as_bytes());
    write("public.pem", &public);
    write("jwks-RS256.json", &key_set(&key, Algorithm::RS256));
    write("jwks-HS256.json", &key_set(&hmac, Algorithm::HS256));
    write("hs256.secret", secret);

    let certified = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])
        .expect("a certificate of its own");
    write("tls.crt", &certified.cert.pem());
    write("tls.key", &certified.signing_key.serialize_pem());
    // HAProxy wants both in one file.
    write(
        "tls.pem",
        &(certified.cert.pem() + &certified.signing_key.serialize_pem()),
    );

    write("distinct.txt", &many(&key, 1_000, distinct));
    write("forged.txt", &many(&other, 0, FORGED));
    // Last: where this file is, the others are complete.
    let facts = json!({
        "issuer": ISSUER, "audience": AUDIENCE, "distinct": distinct,
        "tokens": named(&key, &other, &hmac, &public),
    });
    write("facts.json", &facts.to_string());
}

/// One right token of each algorithm, and one for each way to be wrong.
fn named(key: &EncodingKey, other: &EncodingKey, hmac: &EncodingKey, public: &str) -> Value {
    let with = |name: &str, value: Value| {
        let mut claims = claims(0, LIFETIME);
        claims[name] = value;
        claims
    };
    let mut without_scope = claims(0, LIFETIME);
    without_scope.as_object_mut().expect("an object").remove("scope");
    let rs256 = |claims: &Value| sign(key, Algorithm::RS256, claims);
    let hs256 = |key: &EncodingKey, claims: &Value| sign(key, Algorithm::HS256, claims);
    let plain = claims(0, LIFETIME);
    let good = rs256(&plain);
    let (start, signature) = good.rsplit_once('.').expect("three parts");
    let (header, _) = start.split_once('.').expect("two parts");
    let changed = if signature.starts_with('A') { "B" } else { "A" };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let now = plain["iat"].as_u64().expect("a time");
    json!({
        "good": good,
        "good_hs256": hs256(hmac, &plain),
        "bad_signature": format!("{start}.{changed}{}", &signature[1..]),
        "swapped_claims": format!("{header}.{}.{signature}", encode(&with("sub", json!("admin")))),
        "wrong_key": sign(other, Algorithm::RS256, &plain),
        "alg_none": format!("{}.{}.", encode(&json!({"alg": "none", "typ": "JWT"})), encode(&plain)),
        // The public key as an HMAC secret.
        "alg_confusion": hs256(&EncodingKey::from_secret(public.as_bytes()), &plain),
        "expired": rs256(&with("exp", json!(now - 3_600))),
        "wrong_issuer": rs256(&with("iss", json!("https://other.example.com/"))),
        "wrong_audience": rs256(&with("aud", json!("https://other.example.com"))),
        "missing_scope": rs256(&with("scope", json!("write:items"))),
        "similar_scope": rs256(&with("scope", json!("read:items2 xread:items"))),
        "no_scope": rs256(&without_scope),
        "not_a_token": "not.a.token",
        "bad_signature_hs256": hs256(&EncodingKey::from_secret(b"another secret of some length"), &plain),
        "missing_scope_hs256": hs256(hmac, &with("scope", json!("write:items"))),
    })
}

/// Tokens of different subjects, one a line.
fn many(key: &EncodingKey, first: usize, count: usize) -> String {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(threads);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|index| {
                let numbers = first + (index * share).min(count)..first + ((index + 1) * share).min(count);
                scope.spawn(move || {
                    numbers
                        .map(|number| sign(key, Algorithm::RS256, &claims(number, LIFETIME)) + "\n")
                        .collect::<String>()
                })
            })
            .collect();
        parts
            .into_iter()
            .map(|part| part.join().expect("a signing thread"))
            .collect()
    })
}

/// The CPU microseconds of one RSA-2048 verification over a message of a token's size: the median of many short runs.
pub(crate) fn verification_cost() -> f64 {
    const RUNS: usize = 15;
    const EACH: u32 = 1_000;
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let message = [b'x'; 500];
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature)
        .expect("a signature");
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref()).expect("a key");
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = cpu_nanoseconds();
            for _ in 0..EACH {
                key.verify_sig(std::hint::black_box(&message), &signature)
                    .expect("a good signature");
            }
            (cpu_nanoseconds() - start) / 1e3 / f64::from(EACH)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

/// CPU time of this thread; the clock would count what else the machine does.
fn cpu_nanoseconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("scheduler statistics");
    text.split(' ')
        .next()
        .and_then(|count| count.parse().ok())
        .expect("a count")
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .map(|start| &body[start..body.len().min(start + 64)])
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// Tokens in files serve for a month of comparisons.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);
