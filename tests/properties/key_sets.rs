//! JWK sets with odd keys: each is left out with its word, and none spoils the others.

use scopegate::definition::SigningAlg;
use scopegate::token::{JwksError, KeySet, VerificationKeys, WhySkipped};
use serde_json::{Value, json};

use crate::support::api::with;
use crate::support::forge::{SigningKey, encode, jwks};

fn key(alg: SigningAlg) -> Value {
    SigningKey::fixture(alg, 0).jwk("odd")
}

fn rsa() -> Value {
    key(SigningAlg::RS256)
}

fn p256() -> Value {
    key(SigningAlg::ES256)
}

/// A modulus of so many bits.
fn modulus(bits: usize) -> String {
    let mut bytes = vec![0xff; bits.div_ceil(8)];
    bytes[0] >>= (8 - bits % 8) % 8;
    encode(&bytes)
}

fn coordinate(jwk: &Value, name: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(jwk[name].as_str().unwrap())
        .unwrap()
}

/// Keys that must not be used, with the word for each. The text need not be JSON that a map can hold.
fn odd_keys() -> Vec<(&'static str, String, WhySkipped)> {
    use WhySkipped::{Invalid, NotForSignatures, Symmetric, Unreadable, Unsupported, Weak, WrongAlgorithm};
    let set = |jwk: Value, name: &str, value: Value| with(jwk, name, Some(value)).to_string();
    let flipped = |name: &str| {
        let mut bytes = coordinate(&p256(), name);
        bytes[10] ^= 1;
        set(p256(), name, json!(encode(&bytes)))
    };
    let x = coordinate(&p256(), "x");
    let y = coordinate(&p256(), "y");
    let shifted = with(p256(), "x", Some(json!(encode(&x[..31]))));
    let shifted = with(shifted, "y", Some(json!(encode(&[&x[31..], &y[..]].concat()))));
    vec![
        (
            "a secret",
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "odd", "alg": "HS256"}).to_string(),
            Symmetric,
        ),
        (
            "a secret without its key",
            json!({"kty": "oct", "kid": "odd"}).to_string(),
            Symmetric,
        ),
        (
            "for encryption",
            set(rsa(), "use", json!("enc")),
            NotForSignatures,
        ),
        (
            "for something else",
            set(rsa(), "use", json!("SIG")),
            NotForSignatures,
        ),
        ("no operation", set(rsa(), "key_ops", json!([])), NotForSignatures),
        (
            "to sign",
            set(rsa(), "key_ops", json!(["sign"])),
            NotForSignatures,
        ),
        (
            "to encrypt",
            set(rsa(), "key_ops", json!(["encrypt", "wrapKey"])),
            NotForSignatures,
        ),
        (
            "use and key_ops disagree",
            with(rsa(), "use", Some(json!("enc")))
                .as_object()
                .map_or(String::new(), |jwk| {
                    set(Value::Object(jwk.clone()), "key_ops", json!(["verify"]))
                }),
            NotForSignatures,
        ),
        ("RSA with 512 bits", set(rsa(), "n", json!(modulus(512))), Weak),
        ("RSA with 1024 bits", set(rsa(), "n", json!(modulus(1_024))), Weak),
        ("RSA with 2047 bits", set(rsa(), "n", json!(modulus(2_047))), Weak),
        (
            "RSA with 1024 bits behind zeros",
            set(
                rsa(),
                "n",
                json!(encode(&[vec![0; 128], vec![0xff; 128]].concat())),
            ),
            Weak,
        ),
        ("RSA with 8200 bits", set(rsa(), "n", json!(modulus(8_200))), Weak),
        ("RSA without a modulus", set(rsa(), "n", json!("")), Weak),
        ("an even exponent", set(rsa(), "e", json!("AQAC")), Weak),
        ("exponent 1", set(rsa(), "e", json!("AQ")), Weak),
        ("exponent 0", set(rsa(), "e", json!("AA")), Weak),
        ("no exponent", set(rsa(), "e", json!("")), Weak),
        (
            "a huge exponent",
            set(rsa(), "e", json!(encode(&[0xff; 9]))),
            Weak,
        ),
        ("another x", flipped("x"), Invalid),
        ("another y", flipped("y"), Invalid),
        (
            "the point at infinity",
            set(
                with(p256(), "x", Some(json!(encode(&[0; 32])))),
                "y",
                json!(encode(&[0; 32])),
            ),
            Invalid,
        ),
        (
            "no coordinates",
            set(with(p256(), "x", Some(json!(""))), "y", json!("")),
            Invalid,
        ),
        ("a short x", set(p256(), "x", json!(encode(&x[1..]))), Invalid),
        (
            "a long x",
            set(p256(), "x", json!(encode(&[&[0], &x[..]].concat()))),
            Invalid,
        ),
        ("the border of x and y shifted", shifted.to_string(), Invalid),
        (
            "x and y exchanged",
            set(with(p256(), "x", Some(json!(encode(&y)))), "y", json!(encode(&x))),
            Invalid,
        ),
        (
            "a point of another curve",
            set(p256(), "crv", json!("P-384")),
            Invalid,
        ),
        ("P-521", set(p256(), "crv", json!("P-521")), Unsupported),
        ("secp256k1", set(p256(), "crv", json!("secp256k1")), Unsupported),
        (
            "an unknown curve",
            set(p256(), "crv", json!("P-257")),
            Unsupported,
        ),
        (
            "X25519",
            json!({"kty": "OKP", "crv": "X25519", "x": encode(&[9; 32]), "kid": "odd"}).to_string(),
            Unsupported,
        ),
        (
            "Ed448",
            json!({"kty": "OKP", "crv": "Ed448", "x": encode(&[9; 57]), "kid": "odd"}).to_string(),
            Unsupported,
        ),
        (
            "a short Ed25519",
            set(key(SigningAlg::EdDSA), "x", json!(encode(&[9; 31]))),
            Invalid,
        ),
        (
            "a long Ed25519",
            set(key(SigningAlg::EdDSA), "x", json!(encode(&[9; 33]))),
            Invalid,
        ),
        (
            "AKP",
            json!({"kty": "AKP", "alg": "ML-DSA-65", "pub": encode(&[1; 1_952]), "kid": "odd"}).to_string(),
            Unsupported,
        ),
        (
            "an unknown type",
            json!({"kty": "XYZ", "kid": "odd"}).to_string(),
            Unsupported,
        ),
        ("RSA in lower case", set(rsa(), "kty", json!("rsa")), Unsupported),
        (
            "an RSA key for ES256",
            set(rsa(), "alg", json!("ES256")),
            WrongAlgorithm,
        ),
        (
            "an RSA key for HS256",
            set(rsa(), "alg", json!("HS256")),
            WrongAlgorithm,
        ),
        (
            "an RSA key for RSA-OAEP",
            set(rsa(), "alg", json!("RSA-OAEP")),
            WrongAlgorithm,
        ),
        (
            "an RSA key for none",
            set(rsa(), "alg", json!("none")),
            WrongAlgorithm,
        ),
        (
            "a P-256 key for ES384",
            set(p256(), "alg", json!("ES384")),
            WrongAlgorithm,
        ),
        (
            "a P-256 key for ES256K",
            set(p256(), "alg", json!("ES256K")),
            WrongAlgorithm,
        ),
        (
            "an Ed25519 key for RS256",
            set(key(SigningAlg::EdDSA), "alg", json!("RS256")),
            WrongAlgorithm,
        ),
        (
            "an RSA key for Ed25519",
            set(rsa(), "alg", json!("Ed25519")),
            WrongAlgorithm,
        ),
        (
            "a member twice",
            format!("{{\"kid\":\"odd\",{}", &rsa().to_string()[1..]),
            Unreadable,
        ),
        (
            "a member twice, further down",
            format!("{{\"x\":{{\"a\":1,\"a\":2}},{}", &rsa().to_string()[1..]),
            Unreadable,
        ),
        ("a huge id", set(rsa(), "kid", json!("k".repeat(257))), Unreadable),
        ("an id that is a number", set(rsa(), "kid", json!(7)), Unreadable),
        ("not base64url", set(rsa(), "n", json!("+/+/")), Unreadable),
        ("an array", "[]".into(), Unreadable),
        ("a number", "7".into(), Unreadable),
        ("null", "null".into(), Unreadable),
    ]
}

#[test]
fn each_left_out_with_its_word_and_none_spoils_the_set() {
    let good = SigningKey::fixture(SigningAlg::RS256, 1).jwk("good").to_string();
    for (name, odd, why) in odd_keys() {
        let document = format!("{{\"keys\":[{odd},{good}]}}");
        let (set, skipped) =
            KeySet::from_jwks(document.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(set.len(), 1, "{name}");
        assert!(set.contains("good") && !set.contains("odd"), "{name}");
        assert_eq!(skipped.len(), 1, "{name}");
        assert_eq!(skipped[0].why, why, "{name}");
        let alone = KeySet::from_jwks(format!("{{\"keys\":[{odd}]}}").as_bytes());
        assert_eq!(alone, Err(JwksError::NoUsableKey(skipped)), "{name}");
    }
    // All at once.
    let all: Vec<String> = odd_keys()
        .into_iter()
        .map(|(_, odd, _)| odd)
        .chain([good])
        .collect();
    let (set, skipped) = KeySet::from_jwks(format!("{{\"keys\":[{}]}}", all.join(",")).as_bytes()).unwrap();
    assert_eq!((set.len(), skipped.len()), (1, odd_keys().len()));
}

#[test]
fn what_does_no_harm() {
    let padded = |jwk: Value, name: &str| {
        let text = jwk[name].as_str().unwrap().to_owned();
        with(jwk, name, Some(json!(format!("{text}="))))
    };
    let (n, _) = SigningKey::fixture(SigningAlg::RS256, 0).rsa_numbers();
    for (name, jwk, alg) in [
        (
            "for signatures",
            with(rsa(), "use", Some(json!("sig"))),
            SigningAlg::RS256,
        ),
        (
            "to verify",
            with(rsa(), "key_ops", Some(json!(["verify"]))),
            SigningAlg::PS512,
        ),
        (
            "to sign and verify",
            with(rsa(), "key_ops", Some(json!(["sign", "verify"]))),
            SigningAlg::RS384,
        ),
        (
            "its own algorithm",
            with(rsa(), "alg", Some(json!("PS256"))),
            SigningAlg::PS256,
        ),
        (
            "the new name of EdDSA",
            with(key(SigningAlg::EdDSA), "alg", Some(json!("Ed25519"))),
            SigningAlg::EdDSA,
        ),
        (
            "members nobody knows",
            with(rsa(), "x", Some(json!({"y": [1]}))),
            SigningAlg::RS256,
        ),
        (
            "private members",
            with(with(rsa(), "d", Some(json!("AQAB"))), "p", Some(json!("AQAB"))),
            SigningAlg::RS256,
        ),
        (
            "a private member of the wrong type",
            with(p256(), "d", Some(json!(7))),
            SigningAlg::ES256,
        ),
        (
            "zeros before the modulus",
            with(rsa(), "n", Some(json!(encode(&[&[0], &n[..]].concat())))),
            SigningAlg::RS256,
        ),
        ("padding", padded(p256(), "x"), SigningAlg::ES256),
        (
            "exponent 3",
            with(rsa(), "e", Some(json!("Aw"))),
            SigningAlg::RS256,
        ),
        (
            "a certificate",
            with(rsa(), "x5c", Some(json!(["MIIB"]))),
            SigningAlg::RS256,
        ),
    ] {
        let (set, skipped) =
            KeySet::from_jwks(jwks(&[jwk]).as_bytes()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(skipped, [], "{name}");
        assert!(
            VerificationKeys::new(&set, &[alg])
                .find(alg, Some("odd"))
                .is_some(),
            "{name}"
        );
    }
}

/// A key that names its algorithm serves no other.
#[test]
fn a_key_serves_the_algorithm_that_it_names() {
    let named = with(rsa(), "alg", Some(json!("RS256")));
    let (set, _) = KeySet::from_jwks(jwks(&[named]).as_bytes()).unwrap();
    for alg in SigningAlg::ALL {
        let found = VerificationKeys::new(&set, &[alg])
            .find(alg, Some("odd"))
            .map(|key| key.alg());
        assert_eq!(found, (alg == SigningAlg::RS256).then_some(alg), "{}", alg.name());
    }
    let (set, _) = KeySet::from_jwks(jwks(&[rsa()]).as_bytes()).unwrap();
    for alg in SigningAlg::ALL {
        let is_rsa = matches!(alg.name().as_bytes(), [b'R' | b'P', b'S', ..]);
        assert_eq!(
            VerificationKeys::new(&set, &[alg])
                .find(alg, Some("odd"))
                .is_some(),
            is_rsa,
            "{}",
            alg.name()
        );
    }
}

#[test]
fn documents_that_are_no_set() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "\"keys\"",
        "<html>",
        "{\"keys\":null}",
        "{\"keys\":{}}",
        "{\"keys\":\"x\"}",
        "{\"Keys\":[]}",
        "{\"keys\":[]",
        "{\"keys\":[]}x",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[1,]}",
        "\u{feff}{\"keys\":[]}",
    ] {
        assert_eq!(
            KeySet::from_jwks(text.as_bytes()),
            Err(JwksError::NotASet),
            "{text}"
        );
    }
    assert_eq!(
        KeySet::from_jwks(b"{\"keys\":[]}"),
        Err(JwksError::NoUsableKey(vec![]))
    );
    assert_eq!(KeySet::from_jwks(b"\xff"), Err(JwksError::NotASet));
    // A set may say more about itself.
    let text = format!("{{\"x\":1,\"keys\":[{}],\"y\":[]}}", rsa());
    assert!(KeySet::from_jwks(text.as_bytes()).is_ok());
}

#[test]
fn a_set_has_at_most_64_keys() {
    let jwk = |n: usize| SigningKey::fixture(SigningAlg::ES256, n).jwk(&format!("k{n}"));
    let keys: Vec<Value> = (0..65).map(jwk).collect();
    let (set, skipped) = KeySet::from_jwks(jwks(&keys).as_bytes()).unwrap();
    assert_eq!((set.len(), skipped.len()), (64, 1));
    assert_eq!(skipped[0].why, WhySkipped::TooMany);
    assert_eq!(skipped[0].kid.as_deref(), Some("k64"));
    // Those that are left out take no room.
    let odd = json!({"kty": "XYZ"});
    let keys: Vec<Value> = std::iter::repeat_n(odd, 65).chain((0..64).map(jwk)).collect();
    let (set, skipped) = KeySet::from_jwks(jwks(&keys).as_bytes()).unwrap();
    assert_eq!((set.len(), skipped.len()), (64, 65));
}
