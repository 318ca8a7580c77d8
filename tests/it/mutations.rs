//! One change at a time, at every place of a token or proof that is right: each is refused with the reason that a second
//! reader of the token expects, and the upstream hears nothing of it.
//!
//! What is signed is changed without being signed anew; claims that are wrong and well signed are in `reasons`, in the
//! properties, and in tests/clients.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::{Map, Value, json};

use crate::harness::gateway::ITEMS;
use crate::harness::{Gateway, Issuer, Prover, Upstream, client};
use crate::support::forge::{SigningKey, jwks};
use crate::support::seal::{Recipient, Seal};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const MALFORMED: &str = "malformed_token";
const ADDRESS: &str = "https://items.example.com/items";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    /// How many requests were refused, by reason.
    refused: BTreeMap<&'static str, usize>,
}

impl World {
    /// One API, and the only key of its issuer, which is also that of tokens without a key id.
    fn start(definition: &str, rest: &str, files: &[(&str, &str)]) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let kid = draft(&issuer).header["kid"].as_str().unwrap().to_owned();
        let keys = jwks(&[SigningKey::fixture(SigningAlg::RS256, 1).jwk(&kid)]);
        let (identifier, url) = (issuer.identifier(), upstream.url());
        let yaml = format!(
            "issuers:
  - issuer: {identifier}
    jwks_inline: {keys}
apis:
  - definition:
      identifier: {ITEMS}
      signing_alg: RS256
      scopes: [{{ value: read:items }}]
{definition}    upstream: {url}
{rest}    routes: [{{ path: /items, require: read:items }}]
"
        );
        let gateway = Gateway::start_with(&yaml, files);
        Self {
            issuer,
            upstream,
            gateway,
            refused: BTreeMap::new(),
        }
    }

    fn ask(&self, authorization: &str, proof: Option<&str>) -> (u16, String) {
        let mut fields = vec![("authorization", authorization)];
        fields.extend(proof.map(|proof| ("dpop", proof)));
        let response = client::get(self.gateway.address(), "/items", &fields);
        let reason = if response.status == 200 {
            String::new()
        } else {
            response.json()["reason"].as_str().unwrap().to_owned()
        };
        (response.status, reason)
    }

    #[track_caller]
    fn accepted(&self, authorization: &str, proof: Option<&str>) {
        let before = self.upstream.requests();
        assert_eq!(self.ask(authorization, proof), (200, String::new()));
        assert_eq!(self.upstream.requests(), before + 1);
    }

    #[track_caller]
    fn refused(&mut self, what: &str, authorization: &str, proof: Option<&str>, reason: &'static str) {
        let before = self.upstream.requests();
        let found = self.ask(authorization, proof);
        // A key id that must not be looked up yet may be that of a new key.
        let is_put_off = reason == "unknown_kid" && found == (503, "keys_unavailable".to_owned());
        assert!(
            is_put_off || found == (401, reason.to_owned()),
            "{what}: {found:?} and not {reason}: {authorization} {proof:?}"
        );
        assert_eq!(self.upstream.requests(), before, "{what} reached the upstream");
        *self.refused.entry(reason).or_default() += 1;
    }

    /// That there were so many at the least, and each of these reasons among them.
    #[track_caller]
    fn was_thorough(&self, count: usize, reasons: &[&str]) {
        let refused = &self.refused;
        assert!(refused.values().sum::<usize>() >= count, "{refused:?}");
        for reason in reasons {
            assert!(
                refused.contains_key(reason),
                "{reason} never occurred: {refused:?}"
            );
        }
    }
}

fn draft(issuer: &Issuer) -> crate::harness::issuer::Draft {
    let draft = issuer.draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
    draft.claim("scope", "read:items")
}

/// Every change of one character in `step`, then cuts, additions, and parts of `other`.
fn mutations(right: &str, other: &str, step: usize) -> Vec<(String, String)> {
    let mut made = Vec::new();
    for at in (0..right.len()).step_by(step) {
        let mut bytes = right.as_bytes().to_vec();
        bytes[at] = match ALPHABET.iter().position(|&letter| letter == bytes[at]) {
            Some(index) => ALPHABET[(index + 1) % ALPHABET.len()],
            None => b'A',
        };
        made.push((format!("character {at}"), String::from_utf8(bytes).unwrap()));
    }
    for at in (8..right.len()).step_by(16) {
        made.push((format!("cut at {at}"), right[..at].to_owned()));
        made.push((
            format!("more at {at}"),
            format!("{}~{}", &right[..at], &right[at..]),
        ));
        made.push((
            format!("less at {at}"),
            format!("{}{}", &right[..at], &right[at + 1..]),
        ));
    }
    let (parts, others): (Vec<_>, Vec<_>) = (right.split('.').collect(), other.split('.').collect());
    for index in 0..parts.len() {
        for part in ["", "AAAA", others[index]] {
            let mut parts = parts.clone();
            parts[index] = part;
            made.push((format!("another part {index}"), parts.join(".")));
        }
    }
    made.push(("a part more".to_owned(), format!("{right}.AAAA")));
    made.push(("a part in front".to_owned(), format!("AAAA.{right}")));
    made.retain(|(_, token)| token != right);
    made
}

fn bytes(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// An object with as many members as there were: a change that makes two names one leaves fewer.
fn object(part: &str, right: &str) -> Option<Map<String, Value>> {
    let read = |part: &str| serde_json::from_slice::<Map<String, Value>>(&bytes(part)?).ok();
    read(part).filter(|found| read(right).is_none_or(|right| found.len() >= right.len()))
}

/// Why a token that differs from the right one must be refused: the first fault in the order of the README. A second
/// reader, which knows that the signature is wrong.
fn first_fault(token: &str, right: &str) -> &'static str {
    let (parts, rights): (Vec<_>, Vec<_>) = (token.split('.').collect(), right.split('.').collect());
    let [header, claims, signature] = parts[..] else {
        return MALFORMED;
    };
    let (Some(header), Some(claims), Some(_)) = (
        object(header, rights[0]),
        object(claims, rights[1]),
        bytes(signature),
    ) else {
        return MALFORMED;
    };
    let right_header = object(rights[0], rights[0]).unwrap();
    match header.get("alg").map(Value::as_str) {
        Some(Some("RS256")) => {}
        Some(Some(name)) if SigningAlg::from_name(name).is_some() => return "alg_mismatch",
        Some(Some(_)) => return "unsupported_alg",
        _ => return MALFORMED,
    }
    match header.get("typ").map(Value::as_str) {
        None => {}
        Some(Some(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
        _ => return "wrong_type",
    }
    match claims.get("iss") {
        None => return "missing_claim",
        Some(Value::String(issuer)) => {
            let right = object(rights[1], rights[1]).unwrap();
            if right["iss"] != issuer.as_str() {
                return "issuer_mismatch";
            }
        }
        Some(_) => return "malformed_claim",
    }
    match header.get("kid") {
        None => "bad_signature",
        Some(kid) if *kid == right_header["kid"] => "bad_signature",
        Some(Value::String(_)) => "unknown_kid",
        Some(_) => MALFORMED,
    }
}

const REASONS: [&str; 7] = [
    MALFORMED,
    "unsupported_alg",
    "wrong_type",
    "missing_claim",
    "issuer_mismatch",
    "unknown_kid",
    "bad_signature",
];

#[test]
fn of_a_signed_token() {
    let mut world = World::start("", "", &[]);
    let right = world.issuer.sign(&draft(&world.issuer));
    let other = world
        .issuer
        .sign(&draft(&world.issuer).claim("sub", "auth0|other"));
    world.accepted(&format!("Bearer {right}"), None);
    for (what, token) in mutations(&right, &other, 1) {
        let reason = first_fault(&token, &right);
        world.refused(&what, &format!("Bearer {token}"), None, reason);
    }
    world.accepted(&format!("Bearer {right}"), None);
    world.was_thorough(700, &REASONS);
}

/// Why an encrypted token that differs from the right one must be refused.
fn fault_of_a_sealed_one(token: &str, right: &str) -> &'static str {
    let parts: Vec<&str> = token.split('.').collect();
    if parts.len() != 5 || parts.iter().any(|part| bytes(part).is_none()) {
        return MALFORMED;
    }
    let Some(header) = object(parts[0], right.split('.').next().unwrap()) else {
        return MALFORMED;
    };
    let text = |name: &str| header.get(name).map(Value::as_str);
    match (text("alg"), text("enc")) {
        (Some(Some("RSA-OAEP-256")), Some(Some("A256GCM"))) => {}
        (Some(Some(_)), Some(Some(_))) => return "unsupported_alg",
        _ => return MALFORMED,
    }
    let is_jwt = |name| text(name).is_none_or(|typ| typ.is_some_and(|typ| typ.eq_ignore_ascii_case("JWT")));
    if is_jwt("typ") && is_jwt("cty") {
        "decryption_failed"
    } else {
        "wrong_type"
    }
}

#[test]
fn of_an_encrypted_token() {
    let recipient = Recipient::fixture("RSA", 0);
    let rest = "    decryption_keys: [\"file:key.pem\"]\n";
    let mut world = World::start("", rest, &[("key.pem", &recipient.pem())]);
    let sealed = || {
        let signed = world.issuer.sign(&draft(&world.issuer));
        recipient.seal(&Seal::new("RSA-OAEP-256", "A256GCM"), signed.as_bytes())
    };
    let (right, other) = (sealed(), sealed());
    world.accepted(&format!("Bearer {right}"), None);
    for (what, token) in mutations(&right, &other, 2) {
        let reason = fault_of_a_sealed_one(&token, &right);
        world.refused(&what, &format!("Bearer {token}"), None, reason);
    }
    world.accepted(&format!("Bearer {right}"), None);
    world.was_thorough(
        500,
        &[MALFORMED, "unsupported_alg", "wrong_type", "decryption_failed"],
    );
}

const POSSESSION: &str = "      proof_of_possession: { mechanism: dpop, required: false }\n";
const PUBLIC: &str = "    public_url: https://items.example.com\n";

#[test]
fn of_a_bound_token() {
    let mut world = World::start(POSSESSION, PUBLIC, &[]);
    let prover = Prover::new(SigningAlg::ES256);
    let bound = |subject: &str| {
        let cnf = json!({"jkt": prover.thumbprint()});
        let draft = draft(&world.issuer).claim("cnf", cnf).claim("sub", subject);
        world.issuer.sign(&draft)
    };
    let (right, other) = (bound("auth0|user"), bound("auth0|other"));
    let proof = |token: &str| prover.proof("GET", ADDRESS, token);
    world.accepted(&format!("DPoP {right}"), Some(&proof(&right)));
    for (what, token) in mutations(&right, &other, 2) {
        // The proof is right for what is sent.
        let reason = first_fault(&token, &right);
        world.refused(&what, &format!("DPoP {token}"), Some(&proof(&token)), reason);
    }
    world.accepted(&format!("DPoP {right}"), Some(&proof(&right)));
    world.was_thorough(400, &["bad_signature", "issuer_mismatch", MALFORMED]);
}

/// Why a proof that differs from the right one must be refused: its key is held against the token before anything is
/// verified with it.
fn fault_of_a_proof(proof: &str, right: &str) -> &'static str {
    const INVALID: &str = "dpop_invalid";
    let (parts, rights): (Vec<_>, Vec<_>) = (proof.split('.').collect(), right.split('.').collect());
    let [header, claims, signature] = parts[..] else {
        return INVALID;
    };
    let (Some(header), Some(_), Some(_)) = (
        object(header, rights[0]),
        object(claims, rights[1]),
        bytes(signature),
    ) else {
        return INVALID;
    };
    let is_a_proof = |typ: &str| typ.eq_ignore_ascii_case("dpop+jwt");
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    let member = |name: &str| header.get("jwk").and_then(|jwk| jwk.get(name)?.as_str());
    let is_read = text("alg") == Some("ES256")
        && text("typ").is_some_and(is_a_proof)
        && member("kty") == Some("EC")
        && member("crv") == Some("P-256");
    let coordinate = |name: &str| member(name).and_then(bytes);
    let (Some(x), Some(y)) = (coordinate("x"), coordinate("y")) else {
        return INVALID;
    };
    let key = &object(rights[0], rights[0]).unwrap()["jwk"];
    let is_own = member("x") == key["x"].as_str() && member("y") == key["y"].as_str();
    if is_read && x.len() == 32 && y.len() == 32 && !is_own {
        "dpop_wrong_key"
    } else {
        INVALID
    }
}

#[test]
fn of_a_proof() {
    let mut world = World::start(POSSESSION, PUBLIC, &[]);
    let (prover, stranger) = (Prover::new(SigningAlg::ES256), Prover::another(SigningAlg::ES256));
    let cnf = json!({"jkt": prover.thumbprint()});
    let token = world.issuer.sign(&draft(&world.issuer).claim("cnf", cnf));
    let authorization = format!("DPoP {token}");
    let right = prover.proof("GET", ADDRESS, &token);
    let other = stranger.proof("GET", ADDRESS, &token);
    for (what, proof) in mutations(&right, &other, 1) {
        let reason = fault_of_a_proof(&proof, &right);
        world.refused(&what, &authorization, Some(&proof), reason);
    }
    // None of all these has used it up.
    world.accepted(&authorization, Some(&right));
    world.was_thorough(400, &["dpop_invalid", "dpop_wrong_key"]);
}
