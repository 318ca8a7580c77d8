//! The example of RFC 9449, and each of the checks by itself.

mod known;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

const TIMES: ProofTimes = ProofTimes {
    max_age: 60,
    max_ahead: 10,
};

/// RFC 9449 section 7.1, figure 13, without the line breaks.
const RFC_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik\
VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR\
nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE\
QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj\
oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z\
WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF\
c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E\
OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";

/// The access token of the same figure.
const RFC_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

/// `jkt` of the same key: RFC 9449 section 6.1.
const RFC_KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const RFC_TIME: UnixSeconds = 1_562_262_618;

fn rfc_scope<'a>(key: &'a Thumbprint, known: &'a KnownHeader) -> ProofScope<'a> {
    ProofScope {
        method: "GET",
        base: "https://resource.example.org",
        path: "/protectedresource",
        token: RFC_TOKEN,
        key,
        known,
    }
}

#[test]
fn the_example_of_the_standard() {
    let key = Thumbprint::read(RFC_KEY).unwrap();
    let check = |scope: ProofScope<'_>, now| check_proof(RFC_PROOF, scope, TIMES, now);
    let known = KnownHeader::default();
    let proof = check(rfc_scope(&key, &known), RFC_TIME).unwrap();
    assert_eq!(
        (&*proof.id, proof.nonce, proof.good_until),
        ("e1j3V_bKic8-LAEB", None, RFC_TIME + 60)
    );
    assert!(known.0.get().is_some());
    let scope = rfc_scope(&key, &known);
    assert_eq!(
        check(
            ProofScope {
                method: "POST",
                ..scope
            },
            RFC_TIME
        ),
        Err(ProofError::WrongMethod)
    );
    assert_eq!(
        check(
            ProofScope {
                method: "get",
                ..scope
            },
            RFC_TIME
        ),
        Err(ProofError::WrongMethod)
    );
    assert_eq!(
        check(
            ProofScope {
                token: "another",
                ..scope
            },
            RFC_TIME
        ),
        Err(ProofError::WrongToken)
    );
    let other = Thumbprint([0; 32]);
    assert_eq!(
        check(ProofScope { key: &other, ..scope }, RFC_TIME),
        Err(ProofError::WrongKey)
    );
    for (now, expected) in [
        (RFC_TIME - 11, Some(ProofError::Future)),
        (RFC_TIME - 10, None),
        (RFC_TIME + 60, None),
        (RFC_TIME + 61, Some(ProofError::Stale)),
        (UnixSeconds::MAX, Some(ProofError::Stale)),
        (UnixSeconds::MIN, Some(ProofError::Future)),
    ] {
        assert_eq!(check(scope, now).err(), expected, "{now}");
    }
    // Every character counts.
    for place in [10, 200, 400, RFC_PROOF.len() - 10] {
        let mut spoiled = RFC_PROOF.to_owned();
        let other = if spoiled.as_bytes()[place] == b'A' {
            "B"
        } else {
            "A"
        };
        spoiled.replace_range(place..=place, other);
        assert!(check_proof(&spoiled, scope, TIMES, RFC_TIME).is_err(), "{place}");
    }
}

/// The example of RFC 7638 section 3.1.
#[test]
fn the_thumbprint_of_the_standard() {
    let jwk = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
    let material = Material::of_proof(&Json::read(jwk.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        Some(material.thumbprint()),
        Thumbprint::read("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
    );
}

/// A proof that is right until a test changes it.
struct Draft {
    pair: EcdsaKeyPair,
    header: Value,
    claims: Value,
}

const NOW: UnixSeconds = 1_800_000_000;

/// What the proofs are for, unless a test says otherwise.
const HERE: (&str, &str) = ("https://items.example.com", "/items");

fn draft() -> Draft {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (header, claims) = draft_of(&pair);
    Draft { pair, header, claims }
}

/// Header and claims of a right proof.
fn draft_of(pair: &EcdsaKeyPair) -> (Value, Value) {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    let claims = json!({
        "jti": "1", "htm": "GET", "htu": "https://items.example.com/items", "iat": NOW,
        "ath": URL_SAFE_NO_PAD.encode(Thumbprint::of(b"token").0),
    });
    (json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}), claims)
}

impl Draft {
    fn key(&self) -> Thumbprint {
        Material::P256(self.pair.public_key().as_ref().into()).thumbprint()
    }

    fn check(&self) -> Result<Proof, ProofError> {
        let (base, path) = HERE;
        self.check_at(base, path)
    }

    /// A proof gets one verdict, whatever right proofs of the same key have shown before.
    fn check_at(&self, base: &str, path: &str) -> Result<Proof, ProofError> {
        let verdict = self.check_knowing(&KnownHeader::default(), base, path);
        let known = KnownHeader::default();
        let right = draft_of(&self.pair);
        let (base_of_right, path_of_right) = HERE;
        let text = self.sign(&right.0, &right.1);
        assert!(check(&text, &self.key(), &known, base_of_right, path_of_right).is_ok());
        assert!(known.0.get().is_some());
        assert_eq!(self.check_knowing(&known, base, path), verdict);
        verdict
    }

    fn check_knowing(&self, known: &KnownHeader, base: &str, path: &str) -> Result<Proof, ProofError> {
        let text = self.sign(&self.header, &self.claims);
        check(&text, &self.key(), known, base, path)
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn check(
    text: &str,
    key: &Thumbprint,
    known: &KnownHeader,
    base: &str,
    path: &str,
) -> Result<Proof, ProofError> {
    let scope = ProofScope {
        method: "GET",
        base,
        path,
        token: "token",
        key,
        known,
    };
    check_proof(text, scope, TIMES, NOW)
}

#[test]
fn each_check_by_itself() {
    assert!(draft().check().is_ok());
    let with_header = |name: &str, value: Value| {
        let mut draft = draft();
        draft.header[name] = value;
        draft.check().map(|_| ())
    };
    let with_jwk = |name: &str, value: Value| {
        let mut draft = draft();
        draft.header["jwk"][name] = value;
        draft.check().map(|_| ())
    };
    let invalid = |why| Err(ProofError::Invalid(why));
    for typ in [json!("JWT"), json!("application/dpop+jwt"), json!(null), json!(7)] {
        assert_eq!(with_header("typ", typ), invalid("its type is not dpop+jwt"));
    }
    assert_eq!(with_header("typ", json!("DPoP+JWT")), Ok(()));
    for alg in ["none", "HS256", "HS512", "es256", "RS512", "ES512", ""] {
        assert_eq!(
            with_header("alg", json!(alg)),
            invalid("its algorithm is not allowed"),
            "{alg}"
        );
    }
    for alg in ["RS256", "PS256", "EdDSA", "Ed25519", "ES384"] {
        assert_eq!(
            with_header("alg", json!(alg)),
            invalid("its `jwk` does not fit its algorithm"),
            "{alg}"
        );
    }
    assert_eq!(
        with_header("crit", json!(["exp"])),
        invalid("it has critical extensions")
    );
    assert_eq!(with_header("jwk", json!("x")), invalid("it has no `jwk`"));
    for member in PRIVATE_MEMBERS {
        assert_eq!(
            with_jwk(member, json!("AA")),
            invalid("its `jwk` is not a public key")
        );
    }
    assert_eq!(with_jwk("kty", json!("oct")), invalid("its `jwk` cannot be used"));
    assert_eq!(
        with_jwk("crv", json!("P-521")),
        invalid("its `jwk` cannot be used")
    );
    assert_eq!(with_jwk("x", json!("AA")), invalid("its `jwk` cannot be used"));
    // Another key, whether or not it is on its curve: nothing is verified with it.
    let x = URL_SAFE_NO_PAD.encode([1; 32]);
    assert_eq!(with_jwk("x", json!(x)), Err(ProofError::WrongKey));
    assert_eq!(with_jwk("kid", json!("any")), Ok(()));
}

#[test]
fn each_claim_by_itself() {
    let with = |name: &str, value: Option<Value>| {
        let mut draft = draft();
        match value {
            Some(value) => draft.claims[name] = value,
            None => drop(draft.claims.as_object_mut().unwrap().remove(name)),
        }
        draft.check().map(|_| ())
    };
    let invalid = |why| Err(ProofError::Invalid(why));
    for value in [None, Some(json!(7)), Some(json!(null))] {
        assert_eq!(with("jti", value.clone()), invalid("it has no `jti`"));
        assert_eq!(with("htm", value.clone()), invalid("it has no `htm`"));
        assert_eq!(with("htu", value.clone()), invalid("it has no `htu`"));
        assert_eq!(with("ath", value), Err(ProofError::WrongToken));
    }
    for value in [None, Some(json!("1800000000")), Some(json!(null))] {
        assert_eq!(with("iat", value), invalid("it has no `iat`"));
    }
    assert_eq!(with("iat", Some(json!(1.8e9 + 0.5))), Ok(()));
    assert_eq!(with("iat", Some(json!(u64::MAX))), Err(ProofError::Future));
    assert_eq!(with("iat", Some(json!(-1))), Err(ProofError::Stale));
    let too_long = invalid("its `jti` is empty or too long");
    assert_eq!(with("jti", Some(json!("a".repeat(256)))), Ok(()));
    assert_eq!(with("jti", Some(json!("a".repeat(257)))), too_long);
    assert_eq!(with("jti", Some(json!(""))), too_long);
    assert_eq!(with("ath", Some(json!("x"))), Err(ProofError::WrongToken));
    assert_eq!(with("nonce", Some(json!(7))), invalid("its `nonce` is not text"));
    assert_eq!(with("nonce", Some(json!("x"))), Ok(()));
    assert_eq!(with("more", Some(json!({"a": 1}))), Ok(()));
    assert_eq!(
        check_proof(
            &"a".repeat(MAX_PROOF + 1),
            rfc_scope(&Thumbprint([0; 32]), &KnownHeader::default()),
            TIMES,
            NOW
        ),
        Err(ProofError::Invalid("it is too long"))
    );
}

#[test]
fn addresses_are_compared_in_one_form() {
    let is_right = |base: &str, path: &str, htu: &str| {
        let mut draft = draft();
        draft.claims["htu"] = json!(htu);
        match draft.check_at(base, path) {
            Ok(_) => true,
            Err(ProofError::WrongAddress { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    };
    let base = "https://items.example.com";
    for htu in [
        "https://items.example.com/items",
        "HTTPS://Items.Example.COM/items",
        "https://items.example.com:443/items",
        "https://items.example.com:/items",
        "https://items.example.com/items?page=2",
        "https://items.example.com/items#part",
        "https://items.example.com/%69tems",
    ] {
        assert!(is_right(base, "/items", htu), "{htu}");
    }
    for htu in [
        "http://items.example.com/items",
        "https://items.example.com:8443/items",
        "https://items.example.com.evil.example/items",
        "https://evil.example/items",
        "https://items.example.com@evil.example/items",
        "https://user@items.example.com/items",
        "https://items.example.com/Items",
        "https://items.example.com/items/",
        "https://items.example.com//items",
        "https://items.example.com/x/../items",
        "https://items.example.com/items%2F",
        "https://items.example.com/%zz",
        "https://items.example.com/%6",
        "https://items.example.com/%+9tems",
        "https://items.example.com\\items",
        "https:///items",
        "/items",
        "items",
        "",
        "?",
    ] {
        assert!(!is_right(base, "/items", htu), "{htu}");
    }
    assert!(is_right(base, "/", "https://items.example.com"));
    assert!(is_right(base, "/", "https://items.example.com?x"));
    assert!(is_right(
        "https://Items.example.com:443",
        "/a",
        "https://items.example.com/a"
    ));
    assert!(is_right("http://[::1]:8080", "/a", "http://[::1]:8080/a"));
    assert!(is_right(
        "https://example.com/v1",
        "/a",
        "https://example.com/v1/a"
    ));
    assert!(is_right(base, "/a%c3%a9", "https://items.example.com/a%C3%A9"));
    assert!(!is_right(base, "/a%2fb", "https://items.example.com/a/b"));
}
