//! Encrypted access tokens (JWE around a signed token): every algorithm and content encryption is opened once and then
//! found in the cache; whatever is changed in one is refused, and the upstream hears nothing of it; a flood of junk is
//! bounded, and holds up nobody who has a good token.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::token::DecryptionKey;
use serde_json::{Value, json};

use crate::harness::client::get_with;
use crate::harness::gateway::{ITEMS, decisions, items, run};
use crate::harness::{Client, Gateway, Issuer, Upstream, eventually};
use crate::support::forge::encode;
use crate::support::seal::{CONTENTS, CURVES, ECDH_ALGS, RSA_ALGS, Recipient, Seal};

const ROUTES: &str = "    routes: [{ path: /items, require: read:items }]\n";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    /// One API with these keys of recipients, by file.
    fn start(keys: &[&str], rest: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let names: Vec<String> = keys.iter().map(|kind| format!("file:{kind}.pem")).collect();
        let pems: Vec<_> = keys
            .iter()
            .map(|kind| (format!("{kind}.pem"), Recipient::fixture(kind, 0).pem()))
            .collect();
        let files: Vec<_> = pems
            .iter()
            .map(|(name, pem)| (name.as_str(), pem.as_str()))
            .collect();
        let rest = format!("    decryption_keys: [{}]\n{rest}{ROUTES}", names.join(", "));
        let gateway = Gateway::start_with(&items(&issuer, &upstream, &rest), &files);
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn signed(&self) -> String {
        self.issuer.token(ITEMS, "read:items")
    }

    /// Status and reason, after a look at the upstream.
    #[track_caller]
    fn ask(&self, what: &str, token: &str) -> (u16, String) {
        let before = self.upstream.requests();
        let response = get_with(self.gateway.address(), "/items", token);
        let forwarded = usize::from(response.status == 200);
        assert_eq!(self.upstream.requests() - before, forwarded, "{what}");
        if response.status == 200 {
            return (200, String::new());
        }
        (
            response.status,
            response.json()["reason"].as_str().unwrap().to_owned(),
        )
    }

    #[track_caller]
    fn refused(&self, what: &str, token: &str, reason: &str) {
        assert_eq!(self.ask(what, token), (401, reason.to_owned()), "{what}");
    }

    /// How many tokens have been decrypted.
    fn decrypted(&self) -> f64 {
        let labels = [("stage", "decrypt")];
        self.gateway
            .metrics()
            .value("scopegate_auth_duration_seconds_count", &labels)
    }
}

#[test]
fn every_algorithm_and_every_content() {
    let mut kinds: Vec<(&[&str], &[&str], &[&str])> = vec![(&["RSA"], &["RSA"], &RSA_ALGS)];
    kinds.push((&CURVES, &CURVES, &ECDH_ALGS));
    for (keys, recipients, algs) in kinds {
        let world = World::start(keys, "");
        let (signed, mut count) = (world.signed(), 0.0);
        for recipient in recipients {
            for alg in algs {
                for enc in CONTENTS {
                    let what = format!("{recipient} {alg} {enc}");
                    let seal = Seal::new(alg, enc).with("apu", "QWxpY2U").with("apv", "Qm9i");
                    let token = Recipient::fixture(recipient, 0).seal(&seal, signed.as_bytes());
                    count += 1.0;
                    for _ in 0..3 {
                        assert_eq!(world.ask(&what, &token).0, 200, "{what}");
                    }
                    let other = Recipient::fixture(recipient, 1).seal(&seal, signed.as_bytes());
                    world.refused(&what, &other, "decryption_failed");
                    count += 1.0;
                }
            }
        }
        assert_eq!(
            world.decrypted(),
            count,
            "a good token is decrypted once, and found then"
        );
        // The definition asks for no encryption.
        assert_eq!(world.ask("only signed", &signed).0, 200);
        world.gateway.until_idle();
    }
}

fn thumbprint(recipient: &Recipient) -> String {
    DecryptionKey::read(recipient.pem().as_bytes())
        .unwrap()
        .thumbprint()
        .to_owned()
}

/// A token with one of its parts replaced.
fn with_part(token: &str, index: usize, part: &str) -> String {
    let mut parts: Vec<&str> = token.split('.').collect();
    parts[index] = part;
    parts.join(".")
}

/// Another character at a place where every value is a value.
fn flipped(part: &str, at: usize) -> String {
    let mut bytes = part.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[test]
fn whatever_is_changed_is_refused() {
    let world = World::start(&["RSA", "P-256"], "");
    let signed = world.signed();
    let mut count = 0;
    for (recipient, alg, enc) in [
        ("RSA", "RSA-OAEP-256", "A256GCM"),
        ("RSA", "RSA-OAEP", "A128CBC-HS256"),
        ("P-256", "ECDH-ES", "A256CBC-HS512"),
        ("P-256", "ECDH-ES+A256KW", "A128GCM"),
    ] {
        let recipient = Recipient::fixture(recipient, 0);
        let token = recipient.seal(&Seal::new(alg, enc), signed.as_bytes());
        let another = recipient.seal(&Seal::new(alg, enc), signed.as_bytes());
        let others: Vec<&str> = another.split('.').collect();
        for (index, part) in token.split('.').enumerate() {
            if part.is_empty() {
                world.refused(
                    "a key where none belongs",
                    &with_part(&token, index, "AAAA"),
                    "decryption_failed",
                );
                continue;
            }
            for at in [0, part.len() / 4, part.len() / 2] {
                let what = format!("{alg} {enc}: part {index}, character {at}");
                let found = world.ask(&what, &with_part(&token, index, &flipped(part, at)));
                let allowed: &[&str] = match index {
                    // What is left of the JSON says how it is refused.
                    0 => &[
                        "malformed_token",
                        "unsupported_alg",
                        "wrong_type",
                        "decryption_failed",
                    ],
                    _ => &["decryption_failed"],
                };
                assert!(
                    found.0 == 401 && allowed.contains(&found.1.as_str()),
                    "{what}: {found:?}"
                );
                count += 1;
            }
            for (what, changed) in [
                ("shorter", part[4..].to_owned()),
                ("longer", format!("AAAA{part}")),
                ("empty", String::new()),
                ("half", part[..part.len() / 8 * 4].to_owned()),
            ] {
                let what = format!("{alg} {enc}: part {index} {what}");
                let found = world.ask(&what, &with_part(&token, index, &changed));
                let expected = if index == 0 {
                    "malformed_token"
                } else {
                    "decryption_failed"
                };
                assert_eq!(found, (401, expected.into()), "{what}");
                count += 1;
            }
            for (what, changed) in [
                ("of another alphabet", format!("{part}~")),
                ("of other letters", format!("{part}+")),
            ] {
                world.refused(what, &with_part(&token, index, &changed), "malformed_token");
                count += 1;
            }
            if index > 0 {
                world.refused(
                    "of another token",
                    &with_part(&token, index, others[index]),
                    "decryption_failed",
                );
                count += 1;
            }
        }
        for (what, changed) in [
            ("four parts", token.rsplit_once('.').unwrap().0.to_owned()),
            ("six parts", format!("{token}.AAAA")),
            ("a part in front", format!("AAAA.{token}")),
            ("a dot for a part", token.replacen('.', "..", 1)),
        ] {
            world.refused(what, &changed, "malformed_token");
            count += 1;
        }
        assert_eq!(world.ask("the token itself", &token).0, 200);
    }
    assert!(count >= 100, "{count} mutations");
}

#[test]
fn headers_and_contents_that_no_good_issuer_makes() {
    let world = World::start(&["RSA", "P-256"], "");
    let (rsa, p256) = (Recipient::fixture("RSA", 0), Recipient::fixture("P-256", 0));
    let signed = world.signed();
    let oaep = || Seal::new("RSA-OAEP-256", "A256GCM");
    let ecdh = || Seal::new("ECDH-ES", "A256GCM");
    let before = world.decrypted();
    // Everything is authenticated, and refused for what it says, without a private key.
    let headers: Vec<(&str, Value, &str)> = vec![
        ("alg", json!("RSA1_5"), "unsupported_alg"),
        ("alg", json!("dir"), "unsupported_alg"),
        ("alg", json!("none"), "unsupported_alg"),
        ("alg", json!("A256KW"), "unsupported_alg"),
        ("alg", json!("A256GCMKW"), "unsupported_alg"),
        ("alg", json!("PBES2-HS512+A256KW"), "unsupported_alg"),
        ("alg", json!("rsa-oaep-256"), "unsupported_alg"),
        ("alg", json!("RS256"), "unsupported_alg"),
        ("alg", json!(null), "malformed_token"),
        ("alg", json!(["RSA-OAEP-256"]), "malformed_token"),
        ("alg", json!("ECDH-ES"), "malformed_token"),
        ("enc", json!("A256CTR"), "unsupported_alg"),
        ("enc", json!("none"), "unsupported_alg"),
        ("enc", json!(null), "malformed_token"),
        ("enc", json!(7), "malformed_token"),
        ("enc", json!("A256CBC-HS512"), "decryption_failed"),
        ("zip", json!("DEF"), "malformed_token"),
        ("zip", json!(""), "malformed_token"),
        ("crit", json!(["exp"]), "malformed_token"),
        ("crit", json!([]), "malformed_token"),
        ("kid", json!("nobody"), "decryption_failed"),
        ("kid", json!(""), "decryption_failed"),
        ("kid", json!(thumbprint(p256)), "decryption_failed"),
        ("kid", json!("k".repeat(300)), "malformed_token"),
        ("kid", json!(7), "malformed_token"),
        ("typ", json!("dpop+jwt"), "wrong_type"),
        ("typ", json!(7), "wrong_type"),
        ("cty", json!("json"), "wrong_type"),
        ("cty", json!(null), ""),
        ("typ", json!(null), ""),
        ("typ", json!("application/at+jwt"), ""),
        ("kid", json!(thumbprint(rsa)), ""),
        ("x5u", json!("https://evil.test/"), ""),
        ("p2c", json!(u32::MAX), ""),
        ("padding", json!("x".repeat(4_000)), "malformed_token"),
    ];
    let mut opened = 0.0;
    for (name, value, reason) in headers {
        let what = format!("{name}: {value}");
        let token = rsa.seal(&oaep().with(name, value), signed.as_bytes());
        if reason.is_empty() {
            assert_eq!(world.ask(&what, &token).0, 200, "{what}");
            opened += 1.0;
        } else {
            world.refused(&what, &token, reason);
        }
    }
    let point = json!({"kty": "EC", "crv": "P-256", "x": encode(&[1; 32]), "y": encode(&[2; 32])});
    let of_x25519 = json!({"kty": "OKP", "crv": "X25519", "x": encode(&[9; 32])});
    let zero = json!({"kty": "OKP", "crv": "X25519", "x": encode(&[0; 32])});
    for (epk, reason) in [
        (json!(null), "malformed_token"),
        (json!("x"), "malformed_token"),
        (json!({}), "malformed_token"),
        (point.clone(), "malformed_token"),
        (
            json!({"kty": "EC", "crv": "P-256", "x": encode(&[0; 32]), "y": encode(&[0; 32])}),
            "malformed_token",
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": encode(&[1; 31]), "y": encode(&[2; 32])}),
            "malformed_token",
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": encode(&[1; 33]), "y": encode(&[2; 31])}),
            "malformed_token",
        ),
        (
            json!({"kty": "EC", "crv": "secp256k1", "x": encode(&[1; 32]), "y": encode(&[2; 32])}),
            "malformed_token",
        ),
        (
            json!({"kty": "OKP", "crv": "P-256", "x": encode(&[1; 32]), "y": encode(&[2; 32])}),
            "malformed_token",
        ),
        (of_x25519, "decryption_failed"),
        (zero, "decryption_failed"),
    ] {
        let token = p256.seal(&ecdh().with("epk", epk.clone()), signed.as_bytes());
        world.refused(&epk.to_string(), &token, reason);
    }
    for party in [json!("not base64url!"), json!(7), json!("A".repeat(600))] {
        let token = p256.seal(&ecdh(), signed.as_bytes());
        let head = json!({"alg": "ECDH-ES", "enc": "A256GCM", "epk": point, "apu": party});
        world.refused(
            "apu",
            &with_part(&token, 0, &encode(head.to_string().as_bytes())),
            "malformed_token",
        );
    }
    for head in [
        r#"{"alg":"RSA-OAEP-256","alg":"RSA-OAEP-256","enc":"A256GCM"}"#,
        r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"} "x""#,
        r#"["RSA-OAEP-256"]"#,
        "null",
        "",
    ] {
        let token = rsa.seal(&oaep(), signed.as_bytes());
        world.refused(
            head,
            &with_part(&token, 0, &encode(head.as_bytes())),
            "malformed_token",
        );
    }
    assert_eq!(
        world.decrypted() - before,
        opened,
        "nothing else was worth a private key"
    );

    // Encryption proves nothing: what is inside is a token like any other.
    let draft = || {
        let draft = world
            .issuer
            .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
        draft.claim("scope", "read:items")
    };
    let unsigned = format!(
        "{}.{}.",
        encode(br#"{"alg":"none"}"#),
        encode(draft().claims.to_string().as_bytes())
    );
    let again = rsa.seal(&oaep(), signed.as_bytes());
    for (what, inner, reason) in [
        ("unsigned", unsigned, "unsupported_alg"),
        ("claims", draft().claims.to_string(), "malformed_token"),
        ("nothing", String::new(), "malformed_token"),
        ("encrypted twice", again, "malformed_token"),
        (
            "a signature of another",
            format!("{}AAAA", &signed[..signed.len() - 4]),
            "bad_signature",
        ),
        (
            "expired",
            world.issuer.sign(&draft().claim("exp", 1_000)),
            "expired",
        ),
        (
            "for another",
            world.issuer.sign(&draft().claim("aud", "urn:other")),
            "audience_mismatch",
        ),
        (
            "of another",
            world.issuer.sign(&draft().claim("iss", "https://evil.test/")),
            "issuer_mismatch",
        ),
        (
            "an ID token",
            world.issuer.sign(&draft().claim("nonce", "n")),
            "wrong_type",
        ),
    ] {
        for token in [
            rsa.seal(&oaep(), inner.as_bytes()),
            p256.seal(&ecdh(), inner.as_bytes()),
        ] {
            world.refused(what, &token, reason);
        }
    }
    world.refused("no text", &rsa.seal(&oaep(), &[0xff; 40]), "decryption_failed");
    let poor = world.issuer.token(ITEMS, "write:items");
    let poor = rsa.seal(&oaep(), poor.as_bytes());
    assert_eq!(
        world.ask("without the scope", &poor),
        (403, "insufficient_scope".into())
    );
    // The header of a JWE may repeat claims (RFC 7519 section 5.3): nobody believes them.
    let foreign = world.issuer.sign(&draft().claim("iss", "https://evil.test/"));
    let claiming = oaep().with("iss", world.issuer.identifier()).with("aud", ITEMS);
    world.refused(
        "claims in the header",
        &rsa.seal(&claiming, foreign.as_bytes()),
        "issuer_mismatch",
    );
    world.gateway.until_idle();
}

/// A definition with `token_encryption` for the RSA key.
fn encrypting(issuer: &Issuer, upstream: &Upstream, rest: &str) -> String {
    let pem = Recipient::fixture("RSA", 0).public_pem();
    let key = json!({"alg": "RSA-OAEP-384", "kid": "key-of-the-api", "pem": pem});
    let encryption = json!({"format": "compact-nested-jwe", "encryption_key": key});
    let yaml = items(issuer, upstream, &format!("{rest}{ROUTES}"));
    yaml.replace(
        "      signing_alg: RS256\n",
        &format!("      signing_alg: RS256\n      token_encryption: {encryption}\n"),
    )
}

#[test]
fn the_definition_says_how_tokens_are_encrypted() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let rsa = Recipient::fixture("RSA", 0);
    let files = [("a.pem", &*rsa.pem())];
    let rest = "    decryption_keys: [file:a.pem]\n";
    let gateway = Gateway::start_with(&encrypting(&issuer, &upstream, rest), &files);
    let world = World {
        issuer,
        upstream,
        gateway,
    };
    let signed = world.signed();
    let seal = |alg| Seal::new(alg, "A256GCM").with("kid", "key-of-the-api");
    let good = rsa.seal(&seal("RSA-OAEP-384"), signed.as_bytes());
    assert_eq!(world.ask("as it says", &good).0, 200);
    world.refused("only signed", &signed, "unencrypted");
    world.refused(
        "otherwise",
        &rsa.seal(&seal("RSA-OAEP-256"), signed.as_bytes()),
        "alg_mismatch",
    );
    assert_eq!(world.decrypted(), 1.0);

    // `explain` says the same, check by check.
    let config = world.gateway.folder.config();
    for (token, check, result, reason) in [
        (&good, "encryption", "pass", "ok"),
        (&signed, "encryption", "fail", "unencrypted"),
        (&format!("{good}+"), "token form", "fail", "malformed_token"),
        (
            &with_part(&good, 1, &encode(&[7; 256])),
            "encryption",
            "fail",
            "decryption_failed",
        ),
        (
            &rsa.seal(&seal("RSA-OAEP"), signed.as_bytes()),
            "encryption",
            "fail",
            "alg_mismatch",
        ),
    ] {
        let config = config.to_str().unwrap();
        let arguments = [
            "explain",
            "--config",
            config,
            "--output",
            "json",
            "GET /items",
            "--token",
            "-",
        ];
        let output = run(&arguments, token);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["reason"], reason, "{said}");
        let checks = said["checks"].as_array().unwrap();
        let found = checks.iter().find(|found| found["check"] == check).unwrap();
        assert_eq!(found["result"], result, "{said}");
    }

    // Both kinds, where the configuration says so.
    let both = format!("{rest}    accept_unencrypted: true\n");
    let generation = world.gateway.generation();
    world
        .gateway
        .configure(&encrypting(&world.issuer, &world.upstream, &both));
    eventually("the change", || world.gateway.generation() > generation);
    assert_eq!(world.ask("only signed", &signed).0, 200);
    assert_eq!(world.ask("encrypted", &good).0, 200);
}

#[test]
fn keys_are_rotated_by_reload() {
    let world = World::start(&["RSA"], "    accept_unencrypted: false\n");
    let signed = world.signed();
    let seal = Seal::new("RSA-OAEP-256", "A256GCM");
    let [old, new] = [0, 1].map(|slot| Recipient::fixture("RSA", slot));
    let token = |recipient: &Recipient| recipient.seal(&seal, signed.as_bytes());
    world.refused("only signed", &signed, "unencrypted");
    assert_eq!(world.ask("the old key", &token(old)).0, 200);
    world.refused("the new key", &token(new), "decryption_failed");

    let with = |keys: &str| {
        let rest = format!("    decryption_keys: [{keys}]\n    accept_unencrypted: false\n{ROUTES}");
        let generation = world.gateway.generation();
        world
            .gateway
            .configure(&items(&world.issuer, &world.upstream, &rest));
        eventually("the change", || world.gateway.generation() > generation);
    };
    world.gateway.folder.write("new.pem", &new.pem());
    with("file:new.pem, file:RSA.pem");
    for recipient in [old, new] {
        assert_eq!(world.ask("both keys, without a name", &token(recipient)).0, 200);
        let named = seal.clone().with("kid", thumbprint(recipient));
        assert_eq!(
            world.ask("by name", &recipient.seal(&named, signed.as_bytes())).0,
            200
        );
    }
    with("file:new.pem");
    assert_eq!(world.ask("the new key", &token(new)).0, 200);
    world.refused("the old key", &token(old), "decryption_failed");

    // A key that is at fault changes nothing, and a good one in the same file does.
    let generation = world.gateway.generation();
    let succeeded = || {
        let metrics = world.gateway.metrics();
        metrics.value("scopegate_config_last_reload_successful", &[]) == 1.0
    };
    world.gateway.folder.write(
        "new.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    eventually("the fault to be seen", || !succeeded());
    assert_eq!(world.ask("the last good key", &token(new)).0, 200);
    assert_eq!(world.gateway.generation(), generation);
    world.gateway.folder.write("new.pem", &old.pem());
    eventually("the repair", || world.gateway.generation() > generation);
    assert_eq!(world.ask("the key in the file", &token(old)).0, 200);
    world.refused("the key that was there", &token(new), "decryption_failed");
}

#[test]
fn where_there_is_no_key_nothing_is_tried() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&items(&issuer, &upstream, ROUTES));
    let world = World {
        issuer,
        upstream,
        gateway,
    };
    let token =
        Recipient::fixture("RSA", 0).seal(&Seal::new("RSA-OAEP-256", "A256GCM"), world.signed().as_bytes());
    world.refused("encrypted", &token, "malformed_token");
    assert_eq!(world.decrypted(), 0.0);
}

#[test]
fn report_mode_waits_for_the_token_too() {
    let world = World::start(&["RSA"], "    mode: report\n");
    let rsa = Recipient::fixture("RSA", 0);
    let good = rsa.seal(&Seal::new("RSA-OAEP-256", "A256GCM"), world.signed().as_bytes());
    assert_eq!(world.ask("good", &good).0, 200);
    assert_eq!(world.ask("bad", &with_part(&good, 1, &encode(&[7; 256]))).0, 200);
    world.gateway.until_idle();
    let metrics = world.gateway.metrics();
    for (decision, reason) in [("allow", "ok"), ("shadow_deny", "decryption_failed")] {
        let labels = [("decision", decision), ("reason", reason)];
        assert_eq!(decisions(&metrics, &labels), 1.0, "{decision} {reason}");
    }
}

#[test]
fn no_key_and_no_token_shows() {
    let world = World::start(&["RSA"], "");
    let rsa = Recipient::fixture("RSA", 0);
    let token = rsa.seal(&Seal::new("RSA-OAEP-256", "A256GCM"), world.signed().as_bytes());
    assert_eq!(world.ask("good", &token).0, 200);
    let shown = get_with(world.gateway.admin(), "/config", "");
    let text = shown.text();
    assert!(text.contains(&thumbprint(rsa)), "{text}");
    let secret = rsa.pem().lines().nth(5).unwrap().to_owned();
    world.gateway.until_idle();
    let log = format!("{:?}", world.gateway.folder.log());
    for said in [&text, &log] {
        assert!(!said.contains(&secret) && !said.contains("eyJ"), "{said}");
    }
}

/// Sends junk on a connection of its own until the end; what was answered.
fn junk(
    gateway: &Gateway,
    thread: u32,
    good: &str,
    is_over: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<Vec<u16>> {
    let (address, is_over, good) = (gateway.address(), Arc::clone(is_over), good.to_owned());
    std::thread::spawn(move || {
        let mut client = Client::connect(address);
        let mut statuses = Vec::new();
        while !is_over.load(Ordering::SeqCst) {
            // The same again would be known.
            let number = thread << 24 | u32::try_from(statuses.len()).unwrap();
            let bearer = format!("Bearer {}", spoiled(&good, number));
            statuses.push(client.get("/items", &[("authorization", &bearer)]).status);
        }
        statuses
    })
}

/// The median and the 99th percentile of some requests with a good token.
fn good_requests(gateway: &Gateway, token: &str) -> (Duration, Duration) {
    let mut client = gateway.client();
    let bearer = format!("Bearer {token}");
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 1_000 && (times.len() < 100 || began.elapsed() < Duration::from_secs(3)) {
        let asked = Instant::now();
        let response = client.get("/items", &[("authorization", &bearer)]);
        assert_eq!(response.status, 200, "{}", response.text());
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Junk of its own for each number.
fn spoiled(good: &str, number: u32) -> String {
    with_part(good, 3, &encode(&number.to_le_bytes().repeat(175)))
}

/// An API with a large key, and a good token: to open one costs an operation of some milliseconds.
fn dear() -> (World, String) {
    let key = aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa4096).unwrap();
    let recipient = Recipient::Rsa(key);
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let rest = format!("    decryption_keys: [file:large.pem]\n{ROUTES}");
    let yaml = items(&issuer, &upstream, &rest);
    let gateway = Gateway::start_with(&yaml, &[("large.pem", &recipient.pem())]);
    let world = World {
        issuer,
        upstream,
        gateway,
    };
    let seal = Seal::new("RSA-OAEP-256", "A256GCM");
    let good = recipient.seal(&seal, world.signed().as_bytes());
    (world, good)
}

#[test]
fn a_flood_of_junk_holds_up_nobody() {
    let (world, good) = dear();
    assert_eq!(world.ask("good", &good).0, 200);
    let (median, p99) = good_requests(&world.gateway, &good);
    let is_over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..12)
        .map(|number| junk(&world.gateway, number, &good, &is_over))
        .collect();
    let before = world.decrypted();
    eventually("the flood", || world.decrypted() > before + 5.0);
    let (began, before) = (Instant::now(), world.decrypted());
    let (flooded_median, flooded_p99) = good_requests(&world.gateway, &good);
    let operation = began.elapsed().div_f64(world.decrypted() - before + 1.0);
    is_over.store(true, Ordering::SeqCst);
    let statuses: Vec<u16> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    println!(
        "median {median:?} and p99 {p99:?} alone, {flooded_median:?} and {flooded_p99:?} beside {} of junk, {operation:?} each",
        statuses.len()
    );
    // A machine that is busy with other things may keep some waiting for too long.
    assert!(statuses.contains(&401) && statuses.iter().all(|status| [401, 503].contains(status)));
    // Where the operations were done by the workers, every second request would wait for one at least.
    assert!(flooded_median <= median * 2 + operation / 2);
    assert!(flooded_p99 <= p99 * 2 + operation * 2);
    world.gateway.until_idle();
}

#[test]
fn the_queue_is_bounded() {
    let (world, good) = dear();
    let gateway = &world.gateway;
    // More at once than may wait.
    let mut clients: Vec<_> = (0..300).map(|_| gateway.client()).collect();
    for (number, client) in (0..).zip(&mut clients) {
        let junk = spoiled(&good, number);
        client.send(format!(
            "GET /items HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {junk}\r\n\r\n"
        ));
    }
    let mut answers = BTreeSet::new();
    let (mut full, mut looked_at) = (0, 0);
    for client in &mut clients {
        let response = client.response();
        match response.status {
            503 => {
                assert_eq!(response.field("retry-after"), Some("1"));
                full += 1;
            }
            _ => looked_at += 1,
        }
        answers.insert((
            response.status,
            response.json()["reason"].as_str().unwrap().to_owned(),
        ));
    }
    println!("{looked_at} looked at, {full} turned away");
    let expected = [
        (401, "decryption_failed".to_owned()),
        (503, "overloaded".to_owned()),
    ];
    assert_eq!(answers, BTreeSet::from(expected));
    // Afterwards there is room again.
    assert_eq!(get_with(gateway.address(), "/items", &good).status, 200);
    assert_eq!(world.upstream.requests(), 1);
    // What was junk once takes no turn.
    let junk = spoiled(&good, 300);
    world.refused("junk", &junk, "decryption_failed");
    let before = world.decrypted();
    world.refused("the same junk", &junk, "decryption_failed");
    assert_eq!(world.decrypted(), before);
    gateway.until_idle();
}
