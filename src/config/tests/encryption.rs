//! Encrypted tokens: the keys of an API, in every form, and what its definition says of them.

use std::sync::LazyLock;

use aws_lc_rs::agreement::{ECDH_P384, PrivateKey};
use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::token::Unencrypted;

const DECRYPTS: &str = "decryption_keys: [file:a.pem]";

/// PKCS#8 and the public half of two keys.
static KEYS: LazyLock<[(Vec<u8>, String); 2]> = LazyLock::new(|| {
    [KeySize::Rsa2048, KeySize::Rsa3072].map(|size| {
        let pair = KeyPair::generate(size).unwrap();
        let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        (private.as_ref().to_vec(), pem("PUBLIC KEY", public.as_ref()))
    })
});

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        lines.join("\n")
    )
}

fn private(key: usize) -> String {
    pem("PRIVATE KEY", &KEYS[key].0)
}

/// An API with these lines, a definition with this `encryption_key` (or none), and the two keys beside it.
fn api(lines: &str, key: Option<serde_json::Value>) -> Memory {
    let mut items = serde_json::json!({"identifier": "urn:items"});
    if let Some(key) = key {
        items["token_encryption"] =
            serde_json::json!({"format": "compact-nested-jwe", "encryption_key": key});
    }
    Memory::with(&one_api(lines, &["{path: /a, require: public}"]))
        .file("etc/items.json", items.to_string())
        .file("etc/a.pem", private(0))
        .file("etc/b.pem", private(1))
}

fn defined(key: usize) -> serde_json::Value {
    serde_json::json!({"alg": "RSA-OAEP-256", "kid": "k", "pem": KEYS[key].1})
}

#[track_caller]
fn is_at_fault(memory: &Memory, fault: &str) {
    let faults = memory.faults();
    assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:?}");
}

#[test]
fn keys_in_every_form() {
    let curve = PrivateKey::generate(&ECDH_P384).unwrap();
    let sec1 = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&curve).unwrap();
    let d = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([7; 32]);
    let jwk = format!(r#"{{"kty":"OKP","crv":"X25519","kid":"own","use":"enc","alg":"ECDH-ES","d":"{d}"}}"#);
    let settings = api(
        "decryption_keys: [file:a.pem, env:KEY, file:ec.pem, file:x.jwk]",
        None,
    )
    .variable("KEY", &private(1))
    .file("etc/ec.pem", pem("EC PRIVATE KEY", sec1.as_ref()))
    .file("etc/x.jwk", jwk)
    .load()
    .unwrap();
    let encryption = settings.plan.apis[0].encryption.as_ref().unwrap();
    assert_eq!(encryption.keys.thumbprints().count(), 4);
    assert_eq!(encryption.unencrypted, Unencrypted::Accept);
    assert!(
        settings.files.contains(&PathBuf::from("etc/x.jwk")),
        "it is watched"
    );
    let shown = redacted(&settings).to_string();
    assert!(!shown.contains(&d) && !format!("{settings:?}").contains(&d));

    for (content, fault) in [
        ("", "is empty"),
        ("secret", "neither a PEM private key"),
        (&*KEYS[0].1, "neither a PEM private key"),
        ("{}", "is not a private key for RSA"),
        (r#"{"kty":"oct","k":"AAAA"}"#, "is not a private key for RSA"),
        (
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            "is not a private key for RSA",
        ),
        (
            r#"{"kty":"EC","crv":"P-256","d":"AA"}"#,
            "is not a private key for RSA",
        ),
        (
            r#"{"kty":"OKP","crv":"Ed25519","d":"AA"}"#,
            "is not a private key for RSA",
        ),
        (
            &format!(r#"{{"kty":"OKP","crv":"X25519","use":"sig","d":"{d}"}}"#),
            "its `use` or `alg`",
        ),
        (
            &format!(r#"{{"kty":"OKP","crv":"X25519","alg":"RSA-OAEP","d":"{d}"}}"#),
            "its `use` or `alg`",
        ),
        (
            &format!(r#"{{"kty":"OKP","crv":"X25519","alg":"dir","d":"{d}"}}"#),
            "its `use` or `alg`",
        ),
        (
            &format!(r#"{{"kty":"OKP","kty":"OKP","crv":"X25519","d":"{d}"}}"#),
            "neither a PEM private key",
        ),
    ] {
        let memory = api(DECRYPTS, None).file("etc/a.pem", content);
        is_at_fault(&memory, fault);
        assert!(
            content.is_empty() || !memory.faults()[0].contains(content),
            "{content}"
        );
    }
    is_at_fault(
        &api("decryption_keys: [file:a.pem, file:a.pem]", None),
        "the same key is twice",
    );
    is_at_fault(
        &api("decryption_keys: [file:none.pem]", None),
        "there is no such file",
    );
    let five = "decryption_keys: [file:a.pem, file:b.pem, file:c, file:d, file:e]";
    is_at_fault(&api(five, None), "at most 4 `decryption_keys`");
}

#[test]
fn keys_are_held_against_the_definition() {
    let both = "decryption_keys: [file:b.pem, file:a.pem]";
    for lines in [DECRYPTS, both] {
        let settings = api(lines, Some(defined(0))).load().unwrap();
        let encryption = settings.plan.apis[0].encryption.as_ref().unwrap();
        assert_eq!(encryption.unencrypted, Unencrypted::Refuse);
    }
    let accepting = format!("{DECRYPTS}\naccept_unencrypted: true");
    let settings = api(&accepting, Some(defined(0))).load().unwrap();
    let encryption = settings.plan.apis[0].encryption.as_ref().unwrap();
    assert_eq!(encryption.unencrypted, Unencrypted::Accept);

    let hint = "is the private half of the key in the definition";
    is_at_fault(&api(DECRYPTS, Some(defined(1))), hint);
    is_at_fault(&api("", Some(defined(0))), "so the API needs `decryption_keys`");
    let mut bad = defined(0);
    bad["pem"] = "x".into();
    is_at_fault(
        &api(DECRYPTS, Some(bad)),
        "neither an RSA public key nor a certificate",
    );

    // A definition that comes from a tenant has a thumbprint in place of the key.
    let thumbprint = encryption.keys.thumbprints().next().unwrap();
    let told = |thumbprint: &str| serde_json::json!({"alg": "RSA-OAEP-256", "thumbprint_sha256": thumbprint});
    assert!(api(DECRYPTS, Some(told(thumbprint))).load().is_ok());
    is_at_fault(
        &api("decryption_keys: [file:b.pem]", Some(told(thumbprint))),
        hint,
    );
    let mut two = defined(1);
    two["thumbprint_sha256"] = thumbprint.into();
    is_at_fault(&api(DECRYPTS, Some(two)), "of two different keys");
}

#[test]
fn a_certificate_has_the_key_too() {
    let signing = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["items.test".to_owned()])
        .unwrap()
        .self_signed(&signing)
        .unwrap();
    let key = serde_json::json!({"alg": "RSA-OAEP-512", "pem": certificate.pem()});
    let memory = api(DECRYPTS, Some(key)).file("etc/a.pem", signing.serialize_pem());
    assert!(memory.load().is_ok(), "{:?}", memory.faults());
}
