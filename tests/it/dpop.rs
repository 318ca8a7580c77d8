//! DPoP through the front door: what is right passes once, and each thing that is wrong is refused with its own reason
//! and challenge, and never reaches the upstream.

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::{Value, json};

use crate::harness::gateway::{self, ITEMS, decisions};
use crate::harness::http1::Response;
use crate::harness::issuer::now;
use crate::harness::prover::hash;
use crate::harness::{Gateway, Http2Client, Issuer, Prover, Upstream};
use crate::support::forge::SigningKey;
use crate::support::seal::{Recipient, Seal};

const PUBLIC: &str = "https://items.example.com/v1";
const ADDRESS: &str = "https://items.example.com/v1/items";
/// What every challenge begins with, after its scheme.
const REALM: &str = r#"realm="urn:items", resource_metadata="https://items.example.com/.well-known/oauth-protected-resource/v1""#;
const ALGS: &str = "ES256 ES384 EdDSA PS256 RS256";

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    prover: Prover,
}

impl World {
    /// `possession` is what the definition says; `rest` and `top` are further lines of the API and of the file.
    fn start(possession: &str, top: &str, rest: &str) -> Self {
        Self::start_with(possession, top, rest, &[])
    }

    /// The same, with files beside the configuration.
    fn start_with(possession: &str, top: &str, rest: &str, files: &[(&str, &str)]) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let (issuer_url, upstream_url) = (issuer.identifier(), upstream.url());
        let yaml = format!(
            "{top}issuers:
  - issuer: {issuer_url}
apis:
  - definition:
      identifier: {ITEMS}
      signing_alg: RS256
      scopes: [{{ value: read:items }}, {{ value: write:items }}]
      proof_of_possession: {possession}
    public_url: {PUBLIC}/
    upstream: {upstream_url}
{rest}    routes:
      - {{ path: /items, require: read:items }}
      - {{ path: \"/items/{{id}}\", require: read:items, allow: [encoded_slash] }}
      - {{ path: /write, require: write:items }}
      - {{ path: /report, require: read:items, mode: report }}
"
        );
        let gateway = Gateway::start_with(&yaml, files);
        Self {
            issuer,
            upstream,
            gateway,
            prover: Prover::new(SigningAlg::ES256),
        }
    }

    fn allowed() -> Self {
        Self::start("{ mechanism: dpop, required: false }", "", "")
    }

    fn required() -> Self {
        Self::start("{ mechanism: dpop, required: true }", "", "")
    }

    fn bound_to(&self, prover: &Prover) -> String {
        let draft = self
            .issuer
            .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
        let cnf = json!({"jkt": prover.thumbprint()});
        self.issuer
            .sign(&draft.claim("scope", "read:items").claim("cnf", cnf))
    }

    fn bound(&self) -> String {
        self.bound_to(&self.prover)
    }

    fn unbound(&self) -> String {
        self.issuer.token(ITEMS, "read:items")
    }

    fn ask(&self, scheme: &str, token: &str, proofs: &[&str]) -> Response {
        self.ask_for("GET", "/items", scheme, token, proofs)
    }

    fn ask_for(&self, method: &str, target: &str, scheme: &str, token: &str, proofs: &[&str]) -> Response {
        let authorization = format!("{scheme} {token}");
        let mut fields = vec![("authorization", authorization.as_str())];
        fields.extend(proofs.iter().map(|proof| ("dpop", *proof)));
        self.gateway.client().request(method, target, &fields, b"")
    }

    /// A request that must not reach the upstream.
    #[track_caller]
    fn refused(&self, scheme: &str, token: &str, proofs: &[&str], status: u16, reason: &str) -> Response {
        let before = self.upstream.requests();
        let counted = decisions(
            &self.gateway.metrics(),
            &[("reason", reason), ("decision", "deny")],
        );
        let response = self.ask(scheme, token, proofs);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (status, &json!(reason)),
            "{}",
            response.text()
        );
        assert_eq!(self.upstream.requests(), before, "{reason}");
        let labels = [("reason", reason), ("decision", "deny")];
        assert_eq!(
            decisions(&self.gateway.metrics(), &labels),
            counted + 1.0,
            "{reason}"
        );
        response
    }
}

fn challenge(response: &Response) -> &str {
    response.field("www-authenticate").unwrap_or_default()
}

fn dpop_challenge(error: &str, text: &Value) -> String {
    let text = text.as_str().unwrap();
    format!(r#"DPoP {REALM}, algs="{ALGS}", error="{error}", error_description="{text}""#)
}

#[test]
fn a_bound_token_passes_with_a_proof_of_every_algorithm() {
    let world = World::required();
    for alg in [
        SigningAlg::ES256,
        SigningAlg::ES384,
        SigningAlg::EdDSA,
        SigningAlg::PS256,
        SigningAlg::RS256,
    ] {
        let prover = Prover::new(alg);
        let token = world.bound_to(&prover);
        // The second time the token comes from the cache, the third time over HTTP/2.
        for _ in 0..2 {
            let proof = prover.proof("GET", ADDRESS, &token);
            let response = world.ask("DPoP", &token, &[&proof]);
            assert_eq!(response.status, 200, "{alg:?} {}", response.text());
            let seen = world.upstream.last();
            assert_eq!(
                seen.field("authorization"),
                Some(format!("DPoP {token}").as_str())
            );
            assert_eq!(seen.field("dpop"), Some(proof.as_str()));
        }
        let proof = prover.proof("GET", ADDRESS, &token);
        let authorization = format!("dpop {token}");
        let mut client = Http2Client::connect(world.gateway.http2_address());
        let fields = [
            ("authorization", authorization.as_str()),
            ("dpop", proof.as_str()),
        ];
        let response = client
            .request("GET", "http://localhost/items", &fields, b"")
            .unwrap();
        assert_eq!(response.status, 200);
    }
}

#[test]
fn each_wrong_proof_has_its_own_reason() {
    let world = World::allowed();
    let (prover, token) = (&world.prover, world.bound());
    let draft = || prover.draft("GET", ADDRESS, &token);
    let signed = |draft| prover.sign(&draft);
    let other = Prover::another(SigningAlg::ES256);
    let mut rsa = Prover::new(SigningAlg::RS256).draft("GET", ADDRESS, &token);
    rsa.header["alg"] = json!("RS256");
    let hmac = SigningKey::hmac(b"secret");
    let by_hmac = |alg: SigningAlg| {
        let draft = draft()
            .header("alg", alg.name())
            .header("jwk", json!({"kty": "oct", "k": "c2VjcmV0"}));
        hmac.token(alg, &draft.header, &draft.claims)
    };
    let unsigned = {
        let whole = signed(draft().header("alg", "none"));
        let (input, _) = whole.rsplit_once('.').unwrap();
        format!("{input}.")
    };
    let spoiled = {
        let whole = signed(draft());
        let last = whole.len() - 10;
        let other = if &whole[last..=last] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &whole[..last], &whole[last + 1..])
    };
    let invalid = ("dpop_invalid", "invalid_dpop_proof");
    let cases: Vec<(&str, String, (&str, &str))> = vec![
        (
            "another method",
            prover.proof("POST", ADDRESS, &token),
            ("dpop_wrong_method", "invalid_dpop_proof"),
        ),
        (
            "the method in another case",
            prover.proof("get", ADDRESS, &token),
            ("dpop_wrong_method", "invalid_dpop_proof"),
        ),
        (
            "another path",
            prover.proof("GET", "https://items.example.com/v1/other", &token),
            ("dpop_wrong_address", "invalid_dpop_proof"),
        ),
        (
            "another host",
            prover.proof("GET", "https://evil.example/v1/items", &token),
            ("dpop_wrong_address", "invalid_dpop_proof"),
        ),
        (
            "the address that the gateway listens at",
            prover.proof("GET", "http://localhost/items", &token),
            ("dpop_wrong_address", "invalid_dpop_proof"),
        ),
        (
            "too old",
            signed(draft().claim("iat", now() - 70)),
            ("dpop_stale", "invalid_dpop_proof"),
        ),
        (
            "of the future",
            signed(draft().claim("iat", now() + 60)),
            ("dpop_future", "invalid_dpop_proof"),
        ),
        (
            "another key",
            other.proof("GET", ADDRESS, &token),
            ("dpop_wrong_key", "invalid_token"),
        ),
        (
            "no hash of the token",
            signed(draft().without("ath")),
            ("dpop_wrong_token", "invalid_dpop_proof"),
        ),
        (
            "the hash of another token",
            signed(draft().claim("ath", hash("other"))),
            ("dpop_wrong_token", "invalid_dpop_proof"),
        ),
        ("another type", signed(draft().header("typ", "JWT")), invalid),
        ("no algorithm", unsigned, invalid),
        ("HS256", by_hmac(SigningAlg::HS256), invalid),
        ("a private key", signed(draft().jwk("d", "AAAA")), invalid),
        ("no key", signed(draft().header("jwk", json!(null))), invalid),
        (
            "the key of another algorithm",
            signed(draft().header("alg", "ES384")),
            invalid,
        ),
        (
            "a critical header",
            signed(draft().header("crit", json!(["b64"]))),
            invalid,
        ),
        ("a wrong signature", spoiled, invalid),
        ("no id", signed(draft().without("jti")), invalid),
        (
            "a huge id",
            signed(draft().claim("jti", "x".repeat(257))),
            invalid,
        ),
        ("no method", signed(draft().without("htm")), invalid),
        ("no address", signed(draft().without("htu")), invalid),
        ("no time", signed(draft().without("iat")), invalid),
        (
            "a huge proof",
            signed(draft().claim("x", "x".repeat(8 << 10))),
            invalid,
        ),
        ("nonsense", "nonsense".into(), invalid),
        ("nothing", String::new(), invalid),
        ("the token", token.clone(), invalid),
    ];
    for (name, proof, (reason, error)) in cases {
        // With a token that is not cached, and with one that is.
        for _ in 0..2 {
            let response = world.refused("DPoP", &token, &[&proof], 401, reason);
            assert_eq!(
                challenge(&response),
                dpop_challenge(error, &response.json()["error_description"]),
                "{name}"
            );
            assert_eq!(response.json()["error"], error, "{name}");
        }
    }
    let proofs = [
        prover.proof("GET", ADDRESS, &token),
        prover.proof("GET", ADDRESS, &token),
    ];
    world.refused("DPoP", &token, &[&proofs[0], &proofs[1]], 401, "dpop_invalid");
    let joined = format!("{}, {}", proofs[0], proofs[1]);
    world.refused("DPoP", &token, &[&joined], 401, "dpop_invalid");
    let response = world.refused("DPoP", &token, &[], 401, "dpop_missing");
    assert_eq!(
        challenge(&response),
        dpop_challenge("invalid_token", &response.json()["error_description"])
    );
    // Neither was used up by the refusals.
    assert_eq!(world.ask("DPoP", &token, &[&proofs[0]]).status, 200);
}

#[test]
fn a_proof_is_good_once() {
    let world = World::allowed();
    let token = world.bound();
    let proof = world.prover.proof("GET", ADDRESS, &token);
    assert_eq!(world.ask("DPoP", &token, &[&proof]).status, 200);
    for _ in 0..3 {
        world.refused("DPoP", &token, &[&proof], 401, "dpop_replay");
    }
    // What lacks leave has used its proof as well.
    let proof = world
        .prover
        .proof("GET", "https://items.example.com/v1/write", &token);
    for reason in ["insufficient_scope", "dpop_replay"] {
        let response = world.ask_for("GET", "/write", "DPoP", &token, &[&proof]);
        assert_eq!(response.json()["reason"], reason);
    }
    assert_eq!(world.upstream.requests(), 1);
}

#[test]
fn a_bound_token_is_no_bearer_token_and_the_other_way_round() {
    let world = World::allowed();
    let (bound, unbound) = (world.bound(), world.unbound());
    let proof = world.prover.proof("GET", ADDRESS, &bound);
    for proofs in [&[][..], &[proof.as_str()]] {
        let response = world.refused("Bearer", &bound, proofs, 401, "dpop_downgrade");
        assert_eq!(
            challenge(&response),
            format!(
                r#"Bearer {REALM}, error="invalid_token", error_description="the token is bound to a key and came as a bearer token", DPoP {REALM}, algs="{ALGS}""#
            )
        );
    }
    let proof = world.prover.proof("GET", ADDRESS, &unbound);
    world.refused("DPoP", &unbound, &[&proof], 401, "token_unbound");
    assert_eq!(world.ask("Bearer", &unbound, &[]).status, 200);
    let nobody = world.gateway.client().get("/items", &[]);
    assert_eq!(
        (nobody.status, challenge(&nobody)),
        (
            401,
            format!(r#"Bearer {REALM}, DPoP {REALM}, algs="{ALGS}""#).as_str()
        )
    );
    let lacking = world.ask_for("GET", "/write", "Bearer", &unbound, &[]);
    assert!(challenge(&lacking).starts_with("Bearer ") && !challenge(&lacking).contains("DPoP"));
}

#[test]
fn where_it_is_required_no_other_token_passes() {
    let world = World::required();
    let unbound = world.unbound();
    let response = world.refused("Bearer", &unbound, &[], 401, "token_unbound");
    assert_eq!(
        challenge(&response),
        dpop_challenge("invalid_token", &response.json()["error_description"])
    );
    let nobody = world.gateway.client().get("/items", &[]);
    assert_eq!(challenge(&nobody), format!(r#"DPoP {REALM}, algs="{ALGS}""#));
    let bound = world.bound();
    world.refused("Bearer", &bound, &[], 401, "dpop_downgrade");
    // A token that is bound otherwise cannot be held against anything.
    let draft = world
        .issuer
        .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
    let cnf = json!({"x5t#S256": world.prover.thumbprint()});
    let other = world.issuer.sign(&draft.claim("cnf", cnf));
    world.refused("DPoP", &other, &[], 401, "certificate_missing");
}

#[test]
fn for_public_clients_is_left_to_the_issuer() {
    let world = World::start(
        "{ mechanism: dpop, required: true, required_for: public_clients }",
        "",
        "",
    );
    assert_eq!(world.ask("Bearer", &world.unbound(), &[]).status, 200);
    world.refused("Bearer", &world.bound(), &[], 401, "dpop_downgrade");
}

#[test]
fn an_api_without_it_does_not_know_the_scheme() {
    let world = World::start("null", "", "");
    let bound = world.bound();
    let proof = world.prover.proof("GET", ADDRESS, &bound);
    let response = world.refused("DPoP", &bound, &[&proof], 401, "missing_token");
    assert_eq!(challenge(&response), format!(r#"Bearer {REALM}"#));
    world.refused("Bearer", &bound, &[&proof], 401, "dpop_missing");
}

#[test]
fn the_path_is_compared_as_it_came_and_the_query_is_not() {
    let world = World::allowed();
    let token = world.bound();
    for (target, address, status) in [
        ("/items/7?page=2", "https://items.example.com/v1/items/7", 200),
        (
            "/items/7",
            "https://items.example.com/v1/items/7?page=2#part",
            200,
        ),
        ("/items/7", "HTTPS://ITEMS.example.com:443/v1/items/7", 200),
        ("/items/%61", "https://items.example.com/v1/items/a", 200),
        ("/items/a%2fb", "https://items.example.com/v1/items/a%2Fb", 200),
        ("/items/a%2fb", "https://items.example.com/v1/items/a/b", 401),
        ("/items/7", "https://items.example.com/v1/items/8", 401),
        ("/items/7", "https://items.example.com/items/7", 401),
    ] {
        let proof = world.prover.proof("GET", address, &token);
        // Who is asked for plays no part.
        let authorization = format!("DPoP {token}");
        let fields = [
            ("authorization", authorization.as_str()),
            ("dpop", &proof),
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
        ];
        let response = world.gateway.client().get(target, &fields);
        assert_eq!(response.status, status, "{target} {address} {}", response.text());
    }
}

#[test]
fn a_nonce_is_given_and_asked_for() {
    let world = World::start(
        "{ mechanism: dpop, required: true }",
        "dpop: { nonce_lifetime: 1h }\n",
        "",
    );
    let token = world.bound();
    let draft = || world.prover.draft("GET", ADDRESS, &token);
    let response = world.refused("DPoP", &token, &[&world.prover.sign(&draft())], 401, "dpop_nonce");
    assert_eq!(
        challenge(&response),
        dpop_challenge("use_dpop_nonce", &response.json()["error_description"])
    );
    assert_eq!(response.field("cache-control"), Some("no-store"));
    let nonce = response.field("dpop-nonce").unwrap().to_owned();
    let proof = world.prover.sign(&draft().claim("nonce", nonce.as_str()));
    assert_eq!(world.ask("DPoP", &token, &[&proof]).status, 200);
    world.refused("DPoP", &token, &[&proof], 401, "dpop_replay");
    for wrong in ["", "x", &nonce[1..], &nonce.to_lowercase()] {
        let proof = world.prover.sign(&draft().claim("nonce", wrong));
        let response = world.refused("DPoP", &token, &[&proof], 401, "dpop_nonce");
        assert!(response.field("dpop-nonce").is_some());
    }
    // What is wrong with a proof anyway is told first, and without a nonce.
    let proof = world.prover.sign(&draft().claim("htm", "POST"));
    let response = world.refused("DPoP", &token, &[&proof], 401, "dpop_wrong_method");
    assert_eq!(response.field("dpop-nonce"), None);
}

#[test]
fn replicas_with_one_secret_accept_each_others_nonces() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("nonce.key");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let top = format!(
        "dpop: {{ nonce_lifetime: 1h, nonce_secret: \"file:{}\" }}\n",
        secret.display()
    );
    let possession = "{ mechanism: dpop, required: true }";
    let worlds = [
        World::start(possession, &top, ""),
        World::start(possession, &top, ""),
        World::start(possession, "dpop: { nonce_lifetime: 1h }\n", ""),
    ];
    let token = worlds[0].bound();
    let proof = worlds[0].prover.proof("GET", ADDRESS, &token);
    let response = worlds[0].refused("DPoP", &token, &[&proof], 401, "dpop_nonce");
    let nonce = response.field("dpop-nonce").unwrap();
    for (world, status) in worlds.iter().zip([200, 200, 401]) {
        let token = world.bound();
        let draft = world.prover.draft("GET", ADDRESS, &token);
        let proof = world.prover.sign(&draft.claim("nonce", nonce));
        assert_eq!(world.ask("DPoP", &token, &[&proof]).status, status);
    }
}

#[test]
fn a_full_memory_refuses_and_forgets_nothing() {
    // 16 locks with one place each.
    let world = World::start(
        "{ mechanism: dpop, required: true }",
        "dpop: { proofs: 16, max_age: 10m }\n",
        "",
    );
    let token = world.bound();
    let mut taken = Vec::new();
    let mut full = 0;
    for _ in 0..100 {
        let proof = world.prover.proof("GET", ADDRESS, &token);
        let response = world.ask("DPoP", &token, &[&proof]);
        match response.status {
            200 => taken.push(proof),
            503 => {
                assert_eq!(response.json()["reason"], "dpop_store_full");
                assert!(response.field("retry-after").is_some() && challenge(&response).is_empty());
                full += 1;
            }
            other => panic!("{other}: {}", response.text()),
        }
    }
    assert!((1..=16).contains(&taken.len()) && full >= 84, "{}", taken.len());
    assert_eq!(world.upstream.requests(), taken.len());
    for proof in &taken {
        world.refused("DPoP", &token, &[proof], 401, "dpop_replay");
    }
}

#[test]
fn whoever_fills_the_memory_is_refused_alone() {
    // 16 locks with thirty places each.
    let world = World::start(
        "{ mechanism: dpop, required: true }",
        "dpop: { proofs: 480, max_age: 10m }\n",
        "",
    );
    let token = world.bound();
    let (mut taken, mut full) = (0, 0);
    for _ in 0..600 {
        let proof = world.prover.proof("GET", ADDRESS, &token);
        match world.ask("DPoP", &token, &[&proof]).status {
            200 => taken += 1,
            503 => full += 1,
            other => panic!("{other}"),
        }
    }
    assert!((200..=240).contains(&taken), "{taken} of {full}");
    assert_eq!(world.upstream.requests(), taken);
    let others = [SigningAlg::ES384, SigningAlg::EdDSA, SigningAlg::RS256].map(Prover::new);
    for other in others.iter().chain([&Prover::another(SigningAlg::ES256)]) {
        let token = world.bound_to(other);
        for _ in 0..5 {
            let proof = other.proof("GET", ADDRESS, &token);
            assert_eq!(world.ask("DPoP", &token, &[&proof]).status, 200);
        }
    }
}

#[test]
fn an_encrypted_token_is_bound_like_any_other() {
    let key = Recipient::fixture("RSA", 0);
    let world = World::start_with(
        "{ mechanism: dpop, required: true }",
        "",
        "    decryption_keys: [file:jwe.pem]\n    accept_unencrypted: false\n",
        &[("jwe.pem", &key.pem())],
    );
    let seal = Seal::new("RSA-OAEP-256", "A256GCM");
    let sealed = |signed: &str| key.seal(&seal, signed.as_bytes());
    let token = sealed(&world.bound());
    // Decrypted once, and found in the cache afterwards: each time a proof is asked for.
    for _ in 0..3 {
        let proof = world.prover.proof("GET", ADDRESS, &token);
        let response = world.ask("DPoP", &token, &[&proof]);
        assert_eq!(response.status, 200, "{}", response.text());
        world.refused("DPoP", &token, &[&proof], 401, "dpop_replay");
        world.refused("DPoP", &token, &[], 401, "dpop_missing");
        world.refused("Bearer", &token, &[], 401, "dpop_downgrade");
    }
    let decrypted = [("stage", "decrypt")];
    let metrics = world.gateway.metrics();
    assert_eq!(
        metrics.value("scopegate_auth_duration_seconds_count", &decrypted),
        1.0
    );
    // `ath` is of the token as it came, not of what is in it.
    let inner = world.bound();
    let proof = world.prover.proof("GET", ADDRESS, &inner);
    world.refused("DPoP", &sealed(&inner), &[&proof], 401, "dpop_wrong_token");
    let stranger = Prover::another(SigningAlg::ES256);
    let proof = stranger.proof("GET", ADDRESS, &token);
    world.refused("DPoP", &token, &[&proof], 401, "dpop_wrong_key");
    let unbound = sealed(&world.unbound());
    let proof = world.prover.proof("GET", ADDRESS, &unbound);
    world.refused("DPoP", &unbound, &[&proof], 401, "token_unbound");
    let signed = world.bound();
    let proof = world.prover.proof("GET", ADDRESS, &signed);
    world.refused("DPoP", &signed, &[&proof], 401, "unencrypted");
}

#[test]
fn a_bound_token_comes_in_no_other_place() {
    let world = World::start(
        "{ mechanism: dpop, required: false }",
        "",
        "    tokens: { from: [authorization, { header: X-Access-Token }, { query: access_token }] }\n",
    );
    let token = world.bound();
    let proof = || world.prover.proof("GET", ADDRESS, &token);
    assert_eq!(world.ask("DPoP", &token, &[&proof()]).status, 200);
    let before = world.upstream.requests();
    let query = format!("/items?access_token={token}");
    for (target, header) in [("/items", Some(token.as_str())), (query.as_str(), None)] {
        let proof = proof();
        let mut fields = vec![("dpop", proof.as_str())];
        fields.extend(header.map(|token| ("x-access-token", token)));
        let response = world.gateway.client().get(target, &fields);
        assert_eq!(
            (response.status, &response.json()["reason"]),
            (401, &json!("dpop_downgrade"))
        );
    }
    assert_eq!(world.upstream.requests(), before);
}

#[test]
fn a_route_that_reports_lets_it_pass_without_an_identity() {
    let world = World::start(
        "{ mechanism: dpop, required: true }",
        "",
        "    forward: { token: strip, identity_headers: { X-Auth-Subject: sub } }\n",
    );
    let token = world.bound();
    let address = "https://items.example.com/v1/report";
    let proof = world.prover.proof("GET", address, &token);
    for (reason, subject) in [("ok", Some("auth0|user")), ("dpop_replay", None)] {
        let response = world.ask_for("GET", "/report", "DPoP", &token, &[&proof]);
        assert_eq!(response.status, 200);
        let seen = world.upstream.last();
        assert_eq!(seen.field("x-auth-subject"), subject, "{reason}");
        assert_eq!(seen.field("authorization"), None);
        let labels = [("reason", reason), ("route", "/report")];
        assert_eq!(decisions(&world.gateway.metrics(), &labels), 1.0, "{reason}");
    }
    assert_eq!(
        world
            .ask("DPoP", &token, &[&world.prover.proof("GET", ADDRESS, &token)])
            .status,
        200
    );
    assert_eq!(
        world.upstream.last().field("dpop"),
        None,
        "a proof goes with its token"
    );
}

#[test]
fn explain_shows_each_check_of_a_proof() {
    let world = World::required();
    let token = world.bound();
    let config = world.gateway.folder.config();
    let explain = |proof: Option<&str>| {
        let header = proof.map(|proof| format!("DPoP: {proof}"));
        let mut arguments = vec!["explain", "--config", config.to_str().unwrap(), "GET /items"];
        arguments.extend(["--token", &token]);
        if let Some(header) = &header {
            arguments.extend(["-H", header]);
        }
        let output = gateway::run(&arguments, "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = explain(Some(&world.prover.proof("GET", ADDRESS, &token)));
    assert_eq!(code, Some(0), "{text}");
    for check in ["binding", "proof times", "proof token"] {
        assert!(text.contains(&format!("pass  {check}")), "{text}");
    }
    let elsewhere = world.prover.proof("GET", "https://elsewhere.example/", &token);
    let (code, text) = explain(Some(&elsewhere));
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("pass  proof form and signature")
            && text.contains(&format!(
                "FAIL  proof method and address the proof is for another address; expected {ADDRESS}"
            ))
            && text.contains("-     proof token              not reached")
            && text.contains(&format!("WWW-Authenticate: DPoP {REALM}")),
        "{text}"
    );
    let (code, text) = explain(None);
    assert_eq!(code, Some(3));
    assert!(text.contains("FAIL  binding"), "{text}");
}
