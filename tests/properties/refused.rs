//! What must be refused, and with which word: one thing spoiled at a time in a token that is right otherwise.
//!
//! Each table holds cases of the same kind; `the_tables_are_large` keeps them from shrinking unnoticed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::policy::Reason;
use scopegate::token::{KeySet, TokenError, TrustedIssuer, VerificationKeys};
use serde_json::{Value, json};

use crate::oracle::{verdict, verify};
use crate::support::api::{AUDIENCE, ISSUER, KID, MAX_BYTES, NOW, TestApi, with};
use crate::support::forge::{SigningKey, encode, jwks};

use TokenError::{
    AlgMismatch, AudienceMismatch, BadSignature, CertificateMissing, DpopMissing, Expired, IssuedInFuture,
    IssuerMismatch, Malformed, MalformedClaim, MissingClaim, NotYetValid, TooLarge, UnsupportedAlg,
    WrongType,
};

/// A token for an API, and the word that its refusal must have; `Reason::Ok` where it must be accepted.
struct Case {
    name: String,
    api: TestApi,
    token: String,
    expected: Reason,
}

impl Case {
    fn new(name: impl Into<String>, api: TestApi, token: String, expected: &TokenError) -> Self {
        Self {
            name: name.into(),
            api,
            token,
            expected: Reason::from(expected),
        }
    }

    fn reason(&self) -> Reason {
        match verdict(self.api, &self.token) {
            Ok(()) => Reason::Ok,
            Err(error) => Reason::from(&error),
        }
    }
}

fn rs256() -> TestApi {
    TestApi::new(SigningAlg::RS256, TokenDialect::AccessToken)
}

fn rfc9068() -> TestApi {
    TestApi::new(SigningAlg::ES256, TokenDialect::Rfc9068)
}

fn malformed() -> TokenError {
    Malformed("")
}

/// A01: names of algorithms, exact bytes.
fn algorithms() -> Vec<Case> {
    let api = rs256();
    let mut names: Vec<String> = case_variants("none");
    names.extend(
        [
            "",
            " none",
            "none ",
            "none\0",
            "null",
            "NULL",
            "0",
            "rs256",
            "Rs256",
            "rS256",
            "RS256 ",
            " RS256",
            "RS256\0",
            "RS-256",
            "RS256,HS256",
            "RSA256",
            "RS1",
            "RS224",
            "ES256K",
            "ES512",
            "ES521",
            "hs256",
            "HS1",
            "HS224",
            "HS256 ",
            "ed25519",
            "Ed448",
            "EDDSA",
            "eddsa",
            "A128KW",
            "dir",
            "RSA-OAEP",
            "RSA1_5",
            "PBES2-HS256+A128KW",
            "ECDH-ES",
            "A256GCMKW",
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "SHA256withRSA",
            "ML-DSA-65",
            "RS256\u{200b}",
            "\u{ff32}\u{ff33}256",
            "true",
            "[]",
        ]
        .map(String::from),
    );
    let mut cases: Vec<Case> = names
        .iter()
        .flat_map(|name| {
            let header = with(api.header(), "alg", Some(json!(name)));
            let signed = api.sign(&header, &api.claims());
            let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
            [
                Case::new(format!("alg {name:?}"), api, signed, &UnsupportedAlg),
                Case::new(format!("alg {name:?}, unsigned"), api, unsigned, &UnsupportedAlg),
            ]
        })
        .collect();
    for (name, value) in json_types().into_iter().filter(|(_, value)| !value.is_string()) {
        let token = api.sign(&with(api.header(), "alg", Some(value)), &api.claims());
        cases.push(Case::new(format!("alg is {name}"), api, token, &malformed()));
    }
    let token = api.sign(&with(api.header(), "alg", None), &api.claims());
    cases.push(Case::new("no alg", api, token, &malformed()));
    // The fully specified name belongs to EdDSA alone.
    let token = api.sign(&with(api.header(), "alg", Some(json!("Ed25519"))), &api.claims());
    cases.push(Case::new("alg Ed25519", api, token, &UnsupportedAlg));
    cases
}

fn case_variants(word: &str) -> Vec<String> {
    (0..1_u32 << word.len())
        .map(|bits| {
            word.chars()
                .enumerate()
                .map(|(index, c)| {
                    if bits >> index & 1 == 1 {
                        c.to_ascii_uppercase()
                    } else {
                        c
                    }
                })
                .collect()
        })
        .collect()
}

/// A02: what an attacker knows of the public key, as an HMAC secret.
fn confusion() -> Vec<Case> {
    let mut cases = Vec::new();
    for asymmetric in [
        SigningAlg::RS256,
        SigningAlg::PS256,
        SigningAlg::ES256,
        SigningAlg::EdDSA,
    ] {
        let api = TestApi::new(asymmetric, TokenDialect::AccessToken);
        let key = api.key();
        let der = key.public();
        let pem = |label: &str, newline: &str| {
            let text = STANDARD.encode(der);
            let lines: Vec<&str> = text
                .as_bytes()
                .chunks(64)
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect();
            format!(
                "-----BEGIN {label}-----{newline}{}{newline}-----END {label}-----{newline}",
                lines.join(newline)
            )
        };
        let mut secrets = vec![
            ("DER", der.to_vec()),
            ("PEM", pem("PUBLIC KEY", "\n").into_bytes()),
            ("PEM of PKCS#1", pem("RSA PUBLIC KEY", "\n").into_bytes()),
            ("PEM with CRLF", pem("PUBLIC KEY", "\r\n").into_bytes()),
            (
                "PEM after a space",
                format!(" {}", pem("PUBLIC KEY", "\n")).into_bytes(),
            ),
            ("PEM, trimmed", pem("PUBLIC KEY", "\n").trim().as_bytes().to_vec()),
            ("JWK", key.jwk(KID).to_string().into_bytes()),
            ("JWKS", jwks(&[key.jwk(KID)]).into_bytes()),
            ("base64", STANDARD.encode(der).into_bytes()),
            ("kid", KID.as_bytes().to_vec()),
            ("nothing", Vec::new()),
        ];
        if matches!(asymmetric, SigningAlg::RS256 | SigningAlg::PS256) {
            let (modulus, _) = key.rsa_numbers();
            secrets.push(("modulus in base64url", encode(&modulus).into_bytes()));
            secrets.push(("modulus", modulus));
        }
        for (name, secret) in secrets {
            let forger = SigningKey::hmac(&secret);
            let symmetric = with(api.header(), "alg", Some(json!("HS256")));
            let honest = forger.token(SigningAlg::HS256, &symmetric, &api.claims());
            let lying = forger.token(SigningAlg::HS256, &api.header(), &api.claims());
            let what = asymmetric.name();
            cases.push(Case::new(
                format!("{what}: HS256 with {name}"),
                api,
                honest,
                &AlgMismatch,
            ));
            cases.push(Case::new(
                format!("{what}: {name}, as {what}"),
                api,
                lying,
                &BadSignature,
            ));
        }
    }
    cases
}

/// A06, A07, A14, A05: members of the header.
fn headers() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |api: TestApi, name: &str, value: Option<Value>, expected: &TokenError| {
        let token = api.sign(&with(api.header(), name, value.clone()), &api.claims());
        let value = value.map_or("absent".into(), |value| value.to_string());
        let dialect = api.dialect;
        cases.push(Case::new(
            format!("{dialect:?}: {name} {value:.60}"),
            api,
            token,
            expected,
        ));
    };
    for value in [
        json!(["exp"]),
        json!(["b64"]),
        json!(["http://example.invalid/UNDEFINED"]),
        json!([]),
        json!("exp"),
        json!(null),
        json!({}),
        json!(7),
        json!(["alg"]),
        json!([7]),
        json!(false),
    ] {
        add(rs256(), "crit", Some(value), &malformed());
    }
    for value in [json!(false), json!(true), json!(null), json!("false"), json!(0)] {
        add(rs256(), "b64", Some(value), &malformed());
    }
    for value in [
        json!("at+jwt"),
        json!("application/at+jwt"),
        json!("logout+jwt"),
        json!("dpop+jwt"),
        json!("JWS"),
        json!("JWE"),
        json!("JOSE"),
        json!("secevent+jwt"),
        json!("id_token+jwt"),
        json!("JWT "),
        json!(" JWT"),
        json!(""),
        json!("application/"),
        json!("application/application/JWT"),
        json!("JWT\u{0}"),
        json!("text/JWT"),
        json!(null),
        json!(7),
        json!(["JWT"]),
        json!({}),
        json!(true),
        json!("token-introspection+jwt"),
    ] {
        add(rs256(), "typ", Some(value), &WrongType);
    }
    for value in [
        Some(json!("JWT")),
        None,
        Some(json!("at+JWT ")),
        Some(json!("jwt")),
        Some(json!("at-jwt")),
        Some(json!("atjwt")),
        Some(json!("at jwt")),
        Some(json!("application/jwt")),
        Some(json!("oauth-authz-req+jwt")),
        Some(json!(["at+jwt"])),
        Some(json!(null)),
        Some(json!("dpop+jwt")),
        Some(json!("")),
    ] {
        add(rfc9068(), "typ", value, &WrongType);
    }
    let unknown = TokenError::UnknownKid {
        issuer: ISSUER.into(),
        kid: Box::default(),
    };
    for value in [
        "",
        "key-2",
        "KEY-1",
        "key-1 ",
        " key-1",
        "key-1\u{0}",
        "key-",
        "../../../dev/null",
        "/dev/null",
        "key-1' OR '1'='1",
        "key-1\r\nX-Evil: 1",
        "%6bey-1",
        "https://evil.example/jwks.json",
        "\u{ff4b}ey-1",
    ] {
        add(rs256(), "kid", Some(json!(value)), &unknown);
    }
    add(rs256(), "kid", Some(json!("k".repeat(256))), &unknown);
    add(rs256(), "kid", Some(json!("k".repeat(257))), &malformed());
    for (_, value) in json_types().into_iter().filter(|(_, value)| !value.is_string()) {
        let symmetric = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken);
        add(symmetric, "kid", Some(value.clone()), &malformed());
        add(rs256(), "kid", Some(value), &malformed());
    }
    cases
}

/// One value of each kind of JSON that a claim may turn out to be.
fn json_types() -> Vec<(&'static str, Value)> {
    vec![
        ("null", json!(null)),
        ("true", json!(true)),
        ("false", json!(false)),
        ("zero", json!(0)),
        ("a negative number", json!(-1)),
        ("a fraction", json!(0.5)),
        ("an empty text", json!("")),
        ("text", json!("text")),
        ("a number as text", json!((NOW + 60).to_string())),
        ("an empty array", json!([])),
        ("an array of a number", json!([7])),
        ("an object", json!({"a": 1})),
    ]
}

/// A09: twelve kinds of JSON for each claim.
fn claim_types() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, value) in json_types() {
        let is_text = value.is_string();
        let is_number = value.is_number();
        let mut add = |api: TestApi, name: &'static str, expected: Option<TokenError>| {
            let token = api.sign(&api.header(), &with(api.claims(), name, Some(value.clone())));
            cases.push(Case {
                name: format!("{:?}: {name} is {kind}", api.dialect),
                api,
                token,
                expected: expected.as_ref().map_or(Reason::Ok, Reason::from),
            });
        };
        let text = |name| (!is_text).then_some(MalformedClaim(name));
        for api in [rs256(), rfc9068()] {
            add(api, "iss", text("iss").or(Some(IssuerMismatch)));
            let aud = match kind {
                "text" | "an empty text" | "a number as text" => AudienceMismatch,
                _ => MalformedClaim("aud"),
            };
            add(api, "aud", Some(aud));
            add(api, "sub", text("sub"));
            add(api, "jti", text("jti"));
            // Small numbers lie in the past: an `exp` of theirs is over, an `iat` or `nbf` is long since reached.
            add(
                api,
                "exp",
                Some(if is_number { Expired } else { MalformedClaim("exp") }),
            );
            add(api, "nbf", (!is_number).then_some(MalformedClaim("nbf")));
            add(api, "iat", (!is_number).then_some(MalformedClaim("iat")));
            add(
                api,
                "auth_time",
                (!is_number).then_some(MalformedClaim("auth_time")),
            );
        }
        add(rs256(), "azp", text("azp"));
        add(rfc9068(), "client_id", text("client_id"));
        // Two names of one thing that disagree.
        add(rs256(), "client_id", Some(MalformedClaim("azp")));
        add(rfc9068(), "azp", Some(MalformedClaim("azp")));
        let strings_or_text = match kind {
            "text" | "an empty text" | "a number as text" | "an empty array" => None,
            _ => Some(MalformedClaim("scope")),
        };
        add(rs256(), "scope", strings_or_text);
        let strings = (kind != "an empty array").then_some(MalformedClaim("permissions"));
        add(rs256(), "permissions", strings);
        let cnf = Some(MalformedClaim("cnf"));
        add(rs256(), "cnf", cnf);
    }
    cases
}

/// A10, A11, A12, A14, D01: claims with the right type and the wrong value, or missing.
fn claim_values() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |api: TestApi, name: &'static str, value: Option<Value>, expected: &TokenError| {
        let token = api.sign(&api.header(), &with(api.claims(), name, value.clone()));
        let value = value.map_or("absent".into(), |value| value.to_string());
        cases.push(Case::new(
            format!("{:?}: {name} {value}", api.dialect),
            api,
            token,
            expected,
        ));
    };
    for api in [rs256(), rfc9068()] {
        add(api, "iss", None, &MissingClaim("iss"));
        add(api, "aud", None, &MissingClaim("aud"));
        add(api, "exp", None, &MissingClaim("exp"));
        for issuer in [
            "https://tenant.example",
            "https://TENANT.example/",
            "http://tenant.example/",
            "https://tenant.example//",
            "https://tenant.example/ ",
            " https://tenant.example/",
            "https://tenant.example.evil/",
            "tenant.example",
            "https://tenant.example/\u{200b}",
            "https://tenant.example:443/",
            "https://tenant.example/?",
        ] {
            add(api, "iss", Some(json!(issuer)), &IssuerMismatch);
        }
        add(
            api,
            "iss",
            Some(json!("https://tenant.example/\u{0}")),
            &MalformedClaim("iss"),
        );
        add(api, "iss", Some(json!([ISSUER])), &MalformedClaim("iss"));
        add(api, "iss", Some(json!({ISSUER: ISSUER})), &MalformedClaim("iss"));
        for audience in [
            json!("https://items.example.com/"),
            json!("https://ITEMS.example.com"),
            json!("https://items.example.co"),
            json!("https://items.example.com "),
            json!("https://items.example.com https://x"),
            json!("*"),
            json!(["https://other.example"]),
            json!(["https://items.example.com/", "x"]),
            json!([""]),
            json!("https://items.example.com\u{0}"),
            json!("urn:items"),
        ] {
            add(api, "aud", Some(audience), &AudienceMismatch);
        }
        for audience in [
            json!([AUDIENCE, 7]),
            json!([7, AUDIENCE]),
            json!([AUDIENCE, null]),
            json!([[AUDIENCE]]),
            json!({AUDIENCE: true}),
            json!([{"aud": AUDIENCE}]),
        ] {
            add(api, "aud", Some(audience), &MalformedClaim("aud"));
        }
        add(api, "exp", Some(json!(NOW - 3_600)), &Expired);
        add(api, "nbf", Some(json!(NOW + 3_600)), &NotYetValid);
        add(api, "iat", Some(json!(NOW + 3_600)), &IssuedInFuture);
        add(
            api,
            "sub",
            Some(json!("user\r\nX-Evil: 1")),
            &MalformedClaim("sub"),
        );
        add(api, "sub", Some(json!("user\u{0}")), &MalformedClaim("sub"));
        add(api, "sub", Some(json!("user\u{85}")), &MalformedClaim("sub"));
        add(api, "jti", Some(json!("a\nb")), &MalformedClaim("jti"));
        add(
            api,
            "cnf",
            Some(json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})),
            &DpopMissing,
        );
        add(api, "cnf", Some(json!({"jkt": null})), &DpopMissing);
        add(
            api,
            "cnf",
            Some(json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"})),
            &CertificateMissing,
        );
        add(
            api,
            "cnf",
            Some(json!({"jkt": "a", "x5t#S256": "b"})),
            &DpopMissing,
        );
        add(api, "cnf", Some(json!({"jwk": {}})), &MalformedClaim("cnf"));
        add(api, "cnf", Some(json!({})), &MalformedClaim("cnf"));
        add(
            api,
            "scope",
            Some(json!(["read:items", 7])),
            &MalformedClaim("scope"),
        );
        add(
            api,
            "scope",
            Some(json!([["read:items"]])),
            &MalformedClaim("scope"),
        );
        add(
            api,
            "scope",
            Some(json!({"read:items": true})),
            &MalformedClaim("scope"),
        );
        add(
            api,
            "permissions",
            Some(json!("read:items")),
            &MalformedClaim("permissions"),
        );
        add(
            api,
            "permissions",
            Some(json!(["read:items", null])),
            &MalformedClaim("permissions"),
        );
    }
    for name in ["sub", "client_id", "iat", "jti"] {
        add(rfc9068(), name, None, &MissingClaim(name));
    }
    for name in ["nonce", "at_hash", "c_hash", "events"] {
        for value in [json!("x"), json!(null), json!({})] {
            add(rs256(), name, Some(value), &WrongType);
        }
    }
    cases
}

/// A08: duplicate members, at any depth, in any spelling.
fn duplicates() -> Vec<Case> {
    let mut cases = Vec::new();
    for api in [rs256(), rfc9068()] {
        let header = api.header().to_string();
        let claims = api.claims().to_string();
        let with_first = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
        let with_last = |text: &str, member: &str| format!("{},{member}}}", &text[..text.len() - 1]);
        for member in [
            r#""alg":"none""#,
            r#""alg":"RS256""#,
            r#""kid":"x""#,
            r#""\u006bid":"x""#,
            r#""typ":"JWT""#,
            r#""\u0061lg":"none""#,
            r#""x":{"y":1,"y":2}"#,
            r#""x":[{"y":1,"\u0079":2}]"#,
        ] {
            for text in [with_first(&header, member), with_last(&header, member)] {
                let token = api.key().token_of_text(api.alg, &text, &claims);
                cases.push(Case::new(format!("header {text}"), api, token, &malformed()));
            }
        }
        for member in [
            r#""iss":"https://evil.example/""#,
            r#""aud":"x""#,
            r#""exp":9999999999"#,
            r#""sub":"admin""#,
            r#""scope":"admin:items""#,
            r#""\u0073cope":"admin:items""#,
            r#""iat":1"#,
            r#""org":{"id":1,"id":2}"#,
            r#""x":[[{"a":0,"a":0}]]"#,
        ] {
            for text in [with_first(&claims, member), with_last(&claims, member)] {
                let token = api.key().token_of_text(api.alg, &header, &text);
                cases.push(Case::new(format!("claims {text}"), api, token, &malformed()));
            }
        }
    }
    cases
}

/// A20, A21, A22: the compact form and what is in its parts.
fn forms() -> Vec<Case> {
    let api = rs256();
    let token = api.token();
    let parts: Vec<&str> = token.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    let mut cases = Vec::new();
    let mut add = |name: &str, token: String, expected: &TokenError| {
        cases.push(Case::new(name, api, token, expected));
    };
    for (name, text) in [
        ("empty", String::new()),
        ("one part", h.to_owned()),
        ("two parts", format!("{h}.{p}")),
        ("four parts", format!("{token}.{s}")),
        ("four parts, last empty", format!("{token}.")),
        ("four parts, first empty", format!(".{token}")),
        ("five parts", format!("{h}.{p}.{s}.{s}.{s}")),
        ("five parts, three empty", format!("{h}....{s}")),
        ("only dots", "..".into()),
        ("many dots", ".".repeat(1_000)),
        ("no header", format!(".{p}.{s}")),
        ("no payload", format!("{h}..{s}")),
        ("detached payload with its text", format!("{h}.{{}}.{s}")),
        ("parts swapped", format!("{p}.{h}.{s}")),
        ("space before", format!(" {token}")),
        ("space after", format!("{token} ")),
        ("newline after", format!("{token}\n")),
        ("NUL after", format!("{token}\0")),
        ("newline inside", format!("{h}.{p}\n.{s}")),
        ("tab inside", format!("{h}\t.{p}.{s}")),
        ("padding of the signature", format!("{token}=")),
        ("padding of two", format!("{token}==")),
        ("padding of the header", format!("{h}=.{p}.{s}")),
        ("padding of the payload", format!("{h}.{p}=.{s}")),
        ("percent-encoded dot", token.replacen('.', "%2E", 1)),
        ("full-width dot", token.replacen('.', "\u{ff0e}", 1)),
        (
            "JSON serialization",
            json!({"protected": h, "payload": p, "signature": s}).to_string(),
        ),
        (
            "JSON in base64url",
            encode(json!({"protected": h, "payload": p}).to_string().as_bytes()),
        ),
        ("quoted", format!("\"{token}\"")),
        ("twice", format!("{token},{token}")),
        ("the scheme as well", format!("Bearer {token}")),
    ] {
        add(name, text, &malformed());
    }
    for (name, header) in [
        ("array", "[]"),
        ("text", "\"x\""),
        ("null", "null"),
        ("number", "1"),
        ("empty text", ""),
        ("truncated", "{\"alg\":\"RS256\""),
        ("two objects", "{\"alg\":\"RS256\"}{}"),
        ("trailing comma", "{\"alg\":\"RS256\",}"),
        ("comment", "{\"alg\":\"RS256\"/**/}"),
        ("single quotes", "{'alg':'RS256'}"),
        ("byte order mark", "\u{feff}{\"alg\":\"RS256\"}"),
        ("NUL", "{\"alg\":\"RS256\"}\0"),
        ("NaN", "{\"alg\":\"RS256\",\"x\":NaN}"),
        ("lone surrogate", "{\"alg\":\"RS256\",\"x\":\"\\ud800\"}"),
        ("control character", "{\"alg\":\"RS256\",\"x\":\"\n\"}"),
        ("infinite", "{\"alg\":\"RS256\",\"x\":1e999}"),
    ] {
        let token = api
            .key()
            .token_of_text(api.alg, header, &api.claims().to_string());
        add(&format!("header: {name}"), token, &malformed());
        let claims = header.replace("\"alg\":\"RS256\"", "\"iss\":\"https://tenant.example/\"");
        let token = api
            .key()
            .token_of_text(api.alg, &api.header().to_string(), &claims);
        add(&format!("payload: {name}"), token, &malformed());
    }
    let nested =
        |depth: usize| serde_json::from_str(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))).unwrap();
    let deep: Value = nested(17);
    let wide = json!(vec![0; 1_025]);
    let many: Value = (0..300)
        .map(|n| (format!("m{n}"), json!(n)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for (name, value) in [("deep", deep), ("wide", wide), ("many members", many)] {
        let token = api.sign(&with(api.header(), "x", Some(value.clone())), &api.claims());
        add(&format!("header: {name}"), token, &malformed());
        let token = api.sign(&api.header(), &with(api.claims(), "x", Some(value)));
        add(&format!("payload: {name}"), token, &malformed());
    }
    let padding = "x".repeat(MAX_BYTES);
    let token = api.sign(&api.header(), &with(api.claims(), "x", Some(json!(padding))));
    add("too large", token, &TooLarge);
    add("too large and not a token", ".".repeat(MAX_BYTES + 1), &TooLarge);
    add(
        "as large as may be, and not a token",
        "a".repeat(MAX_BYTES),
        &malformed(),
    );
    cases
}

/// Every prefix of a token, and every token with one character replaced by its neighbour.
#[test]
fn truncated_and_flipped() {
    for api in [
        TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken),
        rfc9068(),
    ] {
        let verifier = api.verifier();
        let token = api.token();
        for end in 0..token.len() {
            assert!(verify(api, &verifier, &token[..end], NOW).is_err(), "{end} bytes");
        }
        for at in 0..token.len() {
            for other in [b'A', b'B', b'_', b'-', b'.', b'='] {
                let mut bytes = token.clone().into_bytes();
                if bytes[at] == other {
                    continue;
                }
                bytes[at] = other;
                let flipped = String::from_utf8(bytes).unwrap();
                assert!(
                    verify(api, &verifier, &flipped, NOW).is_err(),
                    "byte {at}: {flipped}"
                );
            }
        }
    }
}

/// A19: signatures of a wrong form or length.
fn signatures() -> Vec<Case> {
    let mut cases = Vec::new();
    for alg in SigningAlg::ALL {
        let api = TestApi::new(alg, TokenDialect::AccessToken);
        let token = api.token();
        let (input, signature) = token.rsplit_once('.').unwrap();
        let right = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(signature)
            .unwrap();
        let length = right.len();
        let mut flipped = right.clone();
        flipped[length / 2] ^= 1;
        let mut swapped = right.clone();
        swapped.rotate_left(length / 2);
        for (name, bytes) in [
            ("empty", Vec::new()),
            ("one byte", vec![1]),
            ("one byte short", right[..length - 1].to_vec()),
            ("first byte missing", right[1..].to_vec()),
            ("one byte long", [&right[..], &[0]].concat()),
            ("zero before", [&[0], &right[..]].concat()),
            ("twice", [&right[..], &right[..]].concat()),
            ("all zero", vec![0; length]),
            ("all ones", vec![0xff; length]),
            ("one bit", flipped),
            ("halves swapped", swapped),
            ("much too long", vec![0; 4_096]),
        ] {
            let token = format!("{input}.{}", encode(&bytes));
            cases.push(Case::new(
                format!("{}: {name}", alg.name()),
                api,
                token,
                &BadSignature,
            ));
        }
        let other = SigningKey::fixture(alg, 1).token(alg, &api.header(), &api.claims());
        cases.push(Case::new(
            format!("{}: another key", alg.name()),
            api,
            other,
            &BadSignature,
        ));
        let payload = encode(
            with(api.claims(), "sub", Some(json!("admin")))
                .to_string()
                .as_bytes(),
        );
        let head = input.split_once('.').unwrap().0;
        let token = format!("{head}.{payload}.{signature}");
        cases.push(Case::new(
            format!("{}: another payload", alg.name()),
            api,
            token,
            &BadSignature,
        ));
        for (name, text) in [
            ("base64 with padding", URL_SAFE.encode(&right)),
            ("percent-encoded", format!("{signature}%3D")),
            ("a last character that says more", malleable(signature)),
        ] {
            if text == signature {
                continue;
            }
            let token = format!("{input}.{text}");
            cases.push(Case::new(
                format!("{}: {name}", alg.name()),
                api,
                token,
                &malformed(),
            ));
        }
        if matches!(alg, SigningAlg::ES256 | SigningAlg::ES384) {
            let (r, s) = right.split_at(length / 2);
            let zero = vec![0; length / 2];
            let mut one = zero.clone();
            one[length / 2 - 1] = 1;
            for (name, bytes) in [
                ("DER", der_signature(r, s)),
                ("r is zero", [&zero[..], s].concat()),
                ("s is zero", [r, &zero[..]].concat()),
                ("r and s are one", [&one[..], &one[..]].concat()),
                ("r is the order or more", [&vec![0xff; length / 2], s].concat()),
                ("r only", r.to_vec()),
            ] {
                let token = format!("{input}.{}", encode(&bytes));
                cases.push(Case::new(
                    format!("{}: {name}", alg.name()),
                    api,
                    token,
                    &BadSignature,
                ));
            }
        }
    }
    let api = rs256();
    let token = api.token();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let bytes = URL_SAFE.decode(format!("{signature}==")).unwrap();
    let standard = STANDARD_NO_PAD.encode(bytes);
    if standard != signature {
        cases.push(Case::new(
            "base64, not base64url",
            api,
            format!("{input}.{standard}"),
            &malformed(),
        ));
    }
    cases
}

/// The same bytes to a lenient decoder: the bits that the last character has left over are set.
fn malleable(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if text.len().is_multiple_of(4) {
        return text.to_owned();
    }
    let last = *text.as_bytes().last().unwrap();
    let value = ALPHABET.iter().position(|&c| c == last).unwrap();
    format!("{}{}", &text[..text.len() - 1], char::from(ALPHABET[value | 1]))
}

fn der_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let bytes = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
        let sign: &[u8] = if bytes[0] >= 0x80 { &[0] } else { &[] };
        [&[2, u8::try_from(bytes.len() + sign.len()).unwrap()], sign, bytes].concat()
    };
    let content = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(content.len()).unwrap()][..], &content].concat()
}

type Table = fn() -> Vec<Case>;

const TABLES: [(&str, Table, usize); 8] = [
    ("algorithms", algorithms, 129),
    ("confusion", confusion, 96),
    ("headers", headers, 85),
    ("claim types", claim_types, 276),
    ("claim values", claim_values, 120),
    ("duplicates", duplicates, 68),
    ("forms", forms, 72),
    ("signatures", signatures, 210),
];

#[test]
fn each_with_its_word() {
    let mut wrong = Vec::new();
    for (table, cases, _) in TABLES {
        for case in cases() {
            let reason = case.reason();
            if reason != case.expected {
                wrong.push(format!(
                    "{table}: {}: {} instead of {}",
                    case.name,
                    reason.name(),
                    case.expected.name()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_tables_are_large() {
    for (table, cases, at_least) in TABLES {
        let count = cases().len();
        println!("{table}: {count}");
        assert!(count >= at_least, "{table}: {count} cases");
    }
}

/// A verifier knows the headers of the good tokens that it has met. What it says of any other is what one says that has
/// met none.
#[test]
fn what_came_before_changes_no_verdict() {
    let mut verifiers = HashMap::new();
    for case in TABLES.iter().flat_map(|(_, cases, _)| cases()) {
        let api = case.api;
        let verifier = verifiers.entry(format!("{api:?}")).or_insert_with(|| {
            let verifier = api.verifier();
            for more in [None, Some(json!(1))] {
                let header = with(api.header(), "more", more);
                let token = api.sign(&header, &api.claims());
                assert!(verifier.verify(&token, NOW).is_ok());
            }
            verifier
        });
        for _ in 0..2 {
            let reason = match verifier.verify(&case.token, NOW) {
                Ok(_) => Reason::Ok,
                Err(error) => Reason::from(&error),
            };
            assert_eq!(reason, case.expected, "{}", case.name);
        }
    }
    assert!(verifiers.len() > 1);
}

/// Keys that have not come, a set without a fitting key, and a token that names no key where several fit.
#[test]
fn keys_that_are_not_there() {
    let api = rs256();
    let issuer = |keys| {
        vec![TrustedIssuer {
            issuer: ISSUER.into(),
            keys,
            reading: None,
        }]
    };
    let unknown = |kid: &str| TokenError::UnknownKid {
        issuer: ISSUER.into(),
        kid: kid.into(),
    };
    let set = |keys: &[Value]| {
        let (set, _) = KeySet::from_jwks(jwks(keys).as_bytes()).unwrap();
        Some(Arc::new(VerificationKeys::new(&set, &[api.alg])))
    };
    let first = SigningKey::fixture(SigningAlg::RS256, 0);
    let second = SigningKey::fixture(SigningAlg::RS256, 1);
    let elliptic = SigningKey::fixture(SigningAlg::ES256, 0);
    let for_other = with(first.jwk(KID), "alg", Some(json!("PS256")));
    let nameless = api.sign(&with(api.header(), "kid", None), &api.claims());
    for (name, keys, token, expected) in [
        (
            "not fetched",
            None,
            api.token(),
            Err(TokenError::KeysUnavailable {
                issuer: ISSUER.into(),
            }),
        ),
        (
            "only other kinds",
            set(&[elliptic.jwk(KID)]),
            api.token(),
            Err(unknown(KID)),
        ),
        (
            "for another algorithm",
            set(&[for_other]),
            api.token(),
            Err(unknown(KID)),
        ),
        (
            "another id",
            set(&[first.jwk("key-2")]),
            api.token(),
            Err(unknown(KID)),
        ),
        (
            "another key of that id",
            set(&[second.jwk(KID)]),
            api.token(),
            Err(BadSignature),
        ),
        (
            "the first of two with that id",
            set(&[first.jwk(KID), second.jwk(KID)]),
            api.token(),
            Ok(()),
        ),
        ("no id, one key", set(&[first.jwk(KID)]), nameless.clone(), Ok(())),
        (
            "no id, one that fits",
            set(&[first.jwk(KID), elliptic.jwk("e")]),
            nameless.clone(),
            Ok(()),
        ),
        (
            "no id, two that fit",
            set(&[first.jwk("a"), second.jwk("b")]),
            nameless,
            Err(unknown("")),
        ),
    ] {
        let verifier = api.verifier_with(issuer(keys));
        assert_eq!(verify(api, &verifier, &token, NOW).map(drop), expected, "{name}");
    }
    // An HS* API has no keys to wait for, and an API that trusts nobody believes nobody.
    let symmetric = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken);
    assert!(
        symmetric
            .verifier_with(issuer(None))
            .verify(&symmetric.token(), NOW)
            .is_ok()
    );
    let nobody = api.verifier_with(Vec::new());
    assert_eq!(nobody.verify(&api.token(), NOW).unwrap_err(), IssuerMismatch);
}

/// The order of the checks is part of the contract: what a client learns first.
#[test]
fn the_earlier_check_speaks() {
    let api = rs256();
    let header = api.header();
    let claims = api.claims();
    let wrong_alg = with(header.clone(), "alg", Some(json!("none")));
    let wrong_typ = with(header.clone(), "typ", Some(json!("at+jwt")));
    let wrong_kid = with(header.clone(), "kid", Some(json!("x")));
    let wrong_iss = with(claims.clone(), "iss", Some(json!("https://evil.example/")));
    let expired = with(claims, "exp", Some(json!(1)));
    let spoiled = |header: &Value, claims: &Value| {
        let token = api.sign(header, claims);
        format!("{}.{}", token.rsplit_once('.').unwrap().0, encode(&[1; 256]))
    };
    let unknown = TokenError::UnknownKid {
        issuer: ISSUER.into(),
        kid: "x".into(),
    };
    for (token, expected) in [
        (spoiled(&wrong_alg, &wrong_iss), UnsupportedAlg),
        (spoiled(&wrong_typ, &wrong_iss), WrongType),
        (spoiled(&wrong_kid, &wrong_iss), IssuerMismatch),
        (spoiled(&wrong_kid, &expired), unknown),
        (spoiled(&header, &expired), BadSignature),
        (
            api.sign(&header, &with(expired.clone(), "aud", Some(json!("x")))),
            AudienceMismatch,
        ),
        (
            api.sign(&header, &with(expired.clone(), "cnf", Some(json!({"jkt": "x"})))),
            DpopMissing,
        ),
        (api.sign(&header, &expired), Expired),
    ] {
        assert_eq!(verdict(api, &token), Err(expected));
    }
}

/// Every variant of `TokenError` is met somewhere above.
#[test]
fn every_refusal_is_met() {
    let mut met: BTreeSet<Reason> = TABLES
        .iter()
        .flat_map(|(_, cases, _)| cases())
        .map(|case| case.expected)
        .collect();
    // `keys_that_are_not_there` and `accepted::age`.
    met.insert(Reason::KeysUnavailable);
    met.insert(Reason::TooOld);
    let every: [TokenError; 18] = [
        TooLarge,
        malformed(),
        UnsupportedAlg,
        AlgMismatch,
        WrongType,
        IssuerMismatch,
        TokenError::KeysUnavailable {
            issuer: ISSUER.into(),
        },
        TokenError::UnknownKid {
            issuer: ISSUER.into(),
            kid: Box::default(),
        },
        BadSignature,
        AudienceMismatch,
        Expired,
        NotYetValid,
        IssuedInFuture,
        TokenError::TooOld,
        MissingClaim(""),
        MalformedClaim(""),
        DpopMissing,
        CertificateMissing,
    ];
    for error in &every {
        assert!(met.contains(&Reason::from(error)), "{error:?}");
    }
}
