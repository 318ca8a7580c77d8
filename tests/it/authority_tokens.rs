//! The token endpoint of the authority for applications: every kind of token is accepted by the gateway, every refusal
//! says what it should, and no secret is seen anywhere.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use scopegate::authority::StoreAddress;
use scopegate::authority::model::{Credential, KeyState};
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::net::{ClientCertificate, PairFiles, ServerTls, TlsSettings, TlsVersion};
use serde_json::{Value, json};

use crate::harness::client::{self, get_with, head};
use crate::harness::gateway::Folder;
use crate::harness::http1::{Response, Wire};
use crate::harness::issuer::now;
use crate::harness::prover::hash;
use crate::harness::tenant::{SECRET, access_token, assert_refused, basic, claims, form, parts, refusal};
use crate::harness::tls::{Authority, TlsClient};
use crate::harness::{Gateway, Prover, RunningAuthority, Upstream};
use crate::support::api::DIALECTS;
use crate::support::forge::SigningKey;
use crate::support::seal::Recipient;

const ITEMS: &str = "urn:items";
const ALGS: [SigningAlg; 3] = [SigningAlg::RS256, SigningAlg::PS256, SigningAlg::HS256];
const HMAC_SECRET: &str = "the-hmac-secret-of-an-api-0123456789";

fn scopes() -> Value {
    json!([{ "value": "read:items" }, { "value": "write:items" }, { "value": "delete:items" }])
}

/// An authority with one API and a client, `c1`, that may read and write.
fn furnished() -> RunningAuthority {
    let authority = RunningAuthority::start();
    furnish(&authority, json!({}));
    authority
}

fn furnish(authority: &RunningAuthority, rest: Value) {
    let mut api = json!({ "identifier": ITEMS, "scopes": scopes() });
    for (name, value) in crate::harness::tenant::members(rest) {
        api[name] = value;
    }
    authority.put_api(api);
    authority.put_client("c1", json!({}));
    authority.put_grant("c1", ITEMS, json!({ "scope": ["read:items", "write:items"] }));
}

/// A gateway that trusts the authority. `apis` are whole, each with its upstream.
fn gateway(authority: &RunningAuthority, top: &str, apis: &str, files: &[(&str, &str)]) -> Gateway {
    let issuer = &authority.issuer;
    Gateway::start_with(
        &format!("{top}issuers:\n  - issuer: {issuer}\napis:\n{apis}"),
        files,
    )
}

fn dialect_name(dialect: TokenDialect) -> String {
    serde_json::to_value(dialect)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn every_kind_of_token_is_accepted_by_the_gateway() {
    let (authority, upstream) = (RunningAuthority::start(), Upstream::start());
    authority.put_client("c1", json!({}));
    let upstream_url = upstream.url();
    let mut yaml = String::new();
    let mut cells = Vec::new();
    for alg in ALGS {
        for dialect in DIALECTS {
            let (alg_name, dialect_name) = (alg.name(), dialect_name(dialect));
            let name = format!("{alg_name}-{dialect_name}")
                .to_ascii_lowercase()
                .replace('_', "-");
            let audience = format!("urn:{name}");
            let mut api = json!({
                "identifier": audience, "scopes": scopes(), "signing_alg": alg_name,
                "token_dialect": dialect_name, "enforce_policies": dialect.has_permissions(),
                "token_lifetime": 600, "token_lifetime_for_web": 600,
            });
            let mut secret = "";
            if alg.is_symmetric() {
                api["signing_secret"] = json!(HMAC_SECRET);
                secret = "    signing_secret: file:secret\n";
            }
            authority.put_api(api);
            authority.put_grant("c1", &audience, json!({ "scope": ["read:items", "write:items"] }));
            let enforce = dialect.has_permissions();
            yaml.push_str(&format!(
                "  - definition:
      identifier: {audience}
      signing_alg: {alg_name}
      token_dialect: {dialect_name}
      enforce_policies: {enforce}
      scopes: [{{ value: read:items }}, {{ value: write:items }}, {{ value: delete:items }}]
    hosts: [{name}.test]
{secret}    upstream: {upstream_url}
    routes:
      - {{ path: /items, require: read:items }}
      - {{ path: /gone, require: delete:items }}
"
            ));
            cells.push((alg, dialect, name, audience));
        }
    }
    let gateway = gateway(&authority, "", &yaml, &[("secret", HMAC_SECRET)]);
    for (alg, dialect, name, audience) in cells {
        let answer = authority.ask_for("c1", &audience, &[]);
        let token = access_token(&answer);
        let body = answer.json();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["access_token", "scope", "expires_in", "token_type"],
            "{name}"
        );
        assert_eq!(
            (&body["scope"], &body["expires_in"], &body["token_type"]),
            (&json!("read:items write:items"), &json!(600), &json!("Bearer")),
            "{name}"
        );
        let (header, text) = parts(&token);
        let header: Value = serde_json::from_str(&header).unwrap();
        let typ = if dialect.is_rfc9068() { "at+jwt" } else { "JWT" };
        assert_eq!(
            (&header["alg"], &header["typ"]),
            (&json!(alg.name()), &json!(typ)),
            "{name}"
        );
        assert_eq!(header.get("kid").is_some(), !alg.is_symmetric(), "{name}");
        let told = claims(&token);
        let mut expected = vec!["iss", "sub", "aud", "iat", "exp", "scope"];
        expected.extend(if dialect.is_rfc9068() {
            ["jti", "client_id"]
        } else {
            ["gty", "azp"]
        });
        if dialect.has_permissions() {
            expected.push("permissions");
        }
        let names: Vec<&String> = told.as_object().unwrap().keys().collect();
        assert_eq!(names, expected, "{text}");
        assert_eq!(told["iss"], authority.issuer, "{name}");
        assert_eq!(
            (&told["sub"], &told["aud"]),
            (&json!("c1@clients"), &json!(audience)),
            "{name}"
        );
        let issued_at = told["iat"].as_i64().unwrap();
        assert_eq!(told["exp"], issued_at + 600, "{name}");
        assert!((now() - 60..=now()).contains(&issued_at), "{name}");

        let bearer = format!("Bearer {token}");
        let host = format!("{name}.test");
        let ask = |target: &str| {
            let fields = [("host", host.as_str()), ("authorization", &bearer)];
            client::get(gateway.address(), target, &fields)
        };
        let before = upstream.requests();
        let allowed = ask("/items");
        assert_eq!(allowed.status, 200, "{name}: {}", allowed.text());
        assert_eq!(upstream.requests(), before + 1, "{name}");
        let denied = ask("/gone");
        let reason = if dialect.has_permissions() {
            "insufficient_permission"
        } else {
            "insufficient_scope"
        };
        assert_eq!(
            (denied.status, &denied.json()["reason"]),
            (403, &json!(reason)),
            "{name}"
        );
        assert_eq!(upstream.requests(), before + 1, "{name}");
        // It is for no other API.
        let other = [("host", "rs256-access-token.test"), ("authorization", &bearer)];
        let elsewhere = client::get(gateway.address(), "/items", &other).status;
        assert_eq!(
            elsewhere,
            if name == "rs256-access-token" { 200 } else { 401 },
            "{name}"
        );
    }
}

#[test]
fn discovery_and_the_key_set() {
    let authority = furnished();
    let get = |target: &str| client::get(authority.address, target, &[]);
    let one = get("/.well-known/openid-configuration");
    let other = get("/.well-known/oauth-authorization-server");
    assert_eq!((one.status, one.text()), (200, other.text()));
    assert_eq!(one.field("access-control-allow-origin"), Some("*"));
    let document = one.json();
    let issuer = &authority.issuer;
    for (name, path) in [
        ("issuer", ""),
        ("token_endpoint", "oauth/token"),
        ("revocation_endpoint", "oauth/revoke"),
        ("jwks_uri", ".well-known/jwks.json"),
    ] {
        assert_eq!(document[name], format!("{issuer}{path}"));
    }
    assert_eq!(
        document["id_token_signing_alg_values_supported"],
        json!(["HS256", "RS256", "PS256"])
    );
    assert!(document.get("authorization_endpoint").is_none(), "there is none");

    let keys = get("/.well-known/jwks.json");
    assert_eq!(
        keys.field("cache-control"),
        Some("public, max-age=15, stale-while-revalidate=15, stale-if-error=86400")
    );
    assert_eq!(keys.field("access-control-allow-origin"), Some("*"));
    let set = keys.json();
    let set = set["keys"].as_array().unwrap();
    assert_eq!(set.len(), 2, "current and next");
    for key in set {
        assert_eq!(
            (&key["kty"], &key["use"], &key["alg"], &key["e"]),
            (&json!("RSA"), &json!("sig"), &json!("RS256"), &json!("AQAB"))
        );
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(key.get(private).is_none());
        }
    }
    // A key that signs with two algorithms says neither.
    authority.put_api(json!({ "identifier": "urn:ps", "signing_alg": "PS256" }));
    let set = get("/.well-known/jwks.json").json();
    assert!(set["keys"][0].get("alg").is_none() && set["keys"][1].get("alg").is_none());

    for (method, target, status) in [
        ("GET", "/oauth/token", 405),
        ("PUT", "/oauth/token", 405),
        ("POST", "/.well-known/jwks.json", 405),
        ("GET", "/oauth/revoke", 405),
        ("GET", "/oauth/tokens", 404),
        ("OPTIONS", "/oauth/token", 204),
        ("HEAD", "/.well-known/jwks.json", 200),
    ] {
        let response = client::Client::connect(authority.address).request(method, target, &[], b"");
        assert_eq!(response.status, status, "{method} {target}");
        if status == 405 {
            assert!(response.field("allow").is_some(), "{method} {target}");
        }
    }
}

#[test]
fn ways_of_authentication() {
    let authority = furnished();
    authority.put_client(
        "post",
        json!({ "token_endpoint_auth_method": "client_secret_post" }),
    );
    authority.put_client(
        "basic",
        json!({ "token_endpoint_auth_method": "client_secret_basic" }),
    );
    authority.put_client("public", json!({ "token_endpoint_auth_method": "none" }));
    for client in ["post", "basic", "public"] {
        authority.put_grant(client, ITEMS, json!({ "scope": [] }));
    }
    let in_header = |client: &str, secret: &str, more: &[(&str, &str)]| {
        let mut fields = vec![("grant_type", "client_credentials"), ("audience", ITEMS)];
        fields.extend(more);
        authority.ask_with(&[("authorization", &basic(client, secret))], &fields)
    };
    for (client, body, header) in [
        ("c1", 200, 200),
        ("post", 200, 401),
        ("basic", 401, 200),
        ("public", 401, 401),
    ] {
        assert_eq!(authority.ask_for(client, ITEMS, &[]).status, body, "{client}");
        assert_eq!(in_header(client, SECRET, &[]).status, header, "{client}");
        assert_eq!(
            in_header(client, SECRET, &[("client_id", client)]).status,
            header,
            "{client}"
        );
    }
    // RFC 6749 section 2.3.1: both parts are form-encoded.
    assert_eq!(in_header("%63%31", &SECRET.replace('-', "%2D"), &[]).status, 200);
    // JSON, as one SDK sends it.
    let json = json!({
        "grant_type": "client_credentials", "client_id": "c1", "client_secret": SECRET, "audience": ITEMS,
        "organization": null, "scope": null, "unknown": [1],
    });
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
    ] {
        let fields = [("content-type", content_type)];
        let response = client::post(
            authority.address,
            "/oauth/token",
            &fields,
            json.to_string().as_bytes(),
        );
        assert_eq!(access_token(&response).split('.').count(), 3);
        assert_eq!(response.field("cache-control"), Some("no-store"));
        assert_eq!(response.field("pragma"), Some("no-cache"));
    }
    let resource = authority.ask(&[
        ("grant_type", "client_credentials"),
        ("client_id", "c1"),
        ("client_secret", SECRET),
        ("resource", ITEMS),
    ]);
    assert_eq!(claims(&access_token(&resource))["aud"], ITEMS);

    let both = in_header("c1", SECRET, &[("client_secret", SECRET)]);
    let other = in_header("c1", SECRET, &[("client_id", "post")]);
    for response in [both, other] {
        assert_eq!(refusal(&response).1, "invalid_request");
    }
    let wrong = in_header("c1", "wrong", &[]);
    assert_refused(&wrong, 401, "access_denied", "Unauthorized");
    assert!(wrong.field("www-authenticate").unwrap().starts_with("Basic "));
    assert!(
        authority
            .ask_for("c0", ITEMS, &[])
            .field("www-authenticate")
            .is_none()
    );
}

#[test]
fn every_refusal_says_what_it_should() {
    let authority = furnished();
    authority.put_client("no-grant", json!({}));
    authority.put_client(
        "users-only",
        json!({ "grant_types": ["password", "refresh_token"] }),
    );
    authority.put_api(json!({
        "identifier": "urn:closed", "subject_type_authorization": { "client": { "policy": "deny_all" } },
    }));
    authority.put_grant("c1", "urn:closed", json!({ "scope": [] }));
    let with = |change: &[(&str, &str)]| {
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", "c1"),
            ("client_secret", SECRET),
            ("audience", ITEMS),
        ];
        for (name, value) in change {
            fields.retain(|field| field.0 != *name);
            fields.push((name, value));
        }
        authority.ask(&fields)
    };
    assert_eq!(with(&[]).status, 200);
    let denied = "access_denied";
    type Case<'a> = (&'a [(&'a str, &'a str)], u16, &'a str, &'a str);
    let cases: [Case<'_>; 14] = [
        (&[("client_secret", "wrong")], 401, denied, "Unauthorized"),
        (&[("client_secret", "")], 401, denied, "Unauthorized"),
        (&[("client_id", "nobody")], 401, denied, "Unauthorized"),
        (
            &[("client_id", "")],
            400,
            "invalid_request",
            "Missing required parameter: client_id",
        ),
        (
            &[("grant_type", "")],
            400,
            "invalid_request",
            "Missing required parameter: grant_type",
        ),
        (
            &[("grant_type", "authorization_code")],
            400,
            "unsupported_grant_type",
            "Grant type not supported",
        ),
        (
            &[("client_id", "users-only")],
            403,
            "unauthorized_client",
            "Grant type 'client_credentials' not allowed for the client.",
        ),
        (
            &[("grant_type", "password")],
            403,
            "unauthorized_client",
            "Grant type 'password' not allowed for the client.",
        ),
        (
            &[("audience", "")],
            403,
            denied,
            "Non-global clients are not allowed access to APIv1",
        ),
        (
            &[("audience", "urn:none")],
            403,
            denied,
            "Service not enabled within domain: urn:none",
        ),
        (
            &[("client_id", "no-grant")],
            403,
            denied,
            "Client is not authorized to access \"urn:items\". You need to create a \"client-grant\" associated to \
             this API. See: https://auth0.com/docs/api/v2#!/Client_Grants/post_client_grants",
        ),
        (
            &[("scope", "read:items delete:items admin")],
            403,
            denied,
            "Client has not been granted scopes: delete:items admin",
        ),
        (
            &[("audience", "urn:closed")],
            403,
            denied,
            "\"urn:closed\" does not allow access for this kind of subject.",
        ),
        (
            &[("client_id", "users-only"), ("grant_type", "refresh_token")],
            400,
            "invalid_request",
            "Missing required parameter: refresh_token",
        ),
    ];
    for (change, status, error, description) in cases {
        assert_refused(&with(change), status, error, description);
    }
    let off = with(&[("client_id", "users-only")]).json();
    assert_eq!(
        off["error_uri"],
        "https://auth0.com/docs/clients/client-grant-types"
    );
    for (content_type, body) in [
        ("application/json", "[]"),
        ("application/json", "{\"grant_type\":\"a\",\"grant_type\":\"b\"}"),
        ("application/x-www-form-urlencoded", "grant_type=a&grant_type=b"),
    ] {
        let fields = [("content-type", content_type)];
        let response = client::post(authority.address, "/oauth/token", &fields, body.as_bytes());
        assert_eq!(
            (refusal(&response).0, refusal(&response).1.as_str()),
            (400, "invalid_request"),
            "{body}"
        );
    }
}

#[test]
fn scopes_and_lifetimes() {
    let authority = furnished();
    let scope = |client: &str, scope: &str| {
        let response = authority.ask_for(client, ITEMS, &[("scope", scope)]);
        let token = claims(&access_token(&response));
        let body = response.json();
        assert_eq!(body.get("scope"), token.get("scope"), "{scope}");
        body.get("scope").cloned()
    };
    for (asked, given) in [
        ("", "read:items write:items"),
        ("write:items", "write:items"),
        ("write:items read:items write:items", "read:items write:items"),
    ] {
        assert_eq!(scope("c1", asked), Some(json!(given)), "{asked}");
    }
    authority.put_client("all", json!({}));
    authority.put_grant("all", ITEMS, json!({ "allow_all_scopes": true }));
    assert_eq!(
        scope("all", ""),
        Some(json!("read:items write:items delete:items"))
    );
    assert_eq!(scope("all", "delete:items"), Some(json!("delete:items")));
    authority.put_client("none", json!({}));
    authority.put_grant("none", ITEMS, json!({ "scope": [] }));
    assert_eq!(scope("none", ""), None);

    authority.put_api(json!({
        "identifier": ITEMS, "scopes": scopes(), "token_dialect": "access_token_authz", "token_lifetime": 2_592_000,
    }));
    let response = authority.ask_for("none", ITEMS, &[]);
    let token = claims(&access_token(&response));
    assert_eq!(token["permissions"], json!([]));
    assert_eq!(response.json()["expires_in"], 2_592_000);
    assert_eq!(
        token["exp"].as_i64().unwrap() - token["iat"].as_i64().unwrap(),
        2_592_000
    );
    let token = claims(&access_token(&authority.ask_for(
        "c1",
        ITEMS,
        &[("scope", "read:items")],
    )));
    assert_eq!(token["permissions"], json!(["read:items"]));
}

/// A client that signs assertions.
struct Signer {
    client_id: String,
    alg: SigningAlg,
    key: SigningKey,
}

impl Signer {
    fn put(authority: &RunningAuthority, client_id: &str, alg: SigningAlg) -> Self {
        let key = SigningKey::fixture(alg, 0);
        let credential = Credential {
            id: format!("cred_{client_id}"),
            name: None,
            credential_type: "public_key".into(),
            kid: format!("kid-{client_id}"),
            alg: alg.name().into(),
            pem: spki(&key),
            created_at: "2026-01-01T00:00:00Z".into(),
            updated_at: "2026-01-01T00:00:00Z".into(),
            expires_at: None,
        };
        let methods = json!({ "private_key_jwt": { "credentials": [{ "id": credential.id }] } });
        authority.put_client_with(
            client_id,
            json!({ "client_authentication_methods": methods }),
            vec![credential],
        );
        authority.put_grant(client_id, ITEMS, json!({ "scope": ["read:items"] }));
        Self {
            client_id: client_id.into(),
            alg,
            key,
        }
    }

    fn claims(&self, authority: &RunningAuthority) -> Value {
        json!({
            "iss": self.client_id, "sub": self.client_id, "aud": authority.issuer,
            "iat": now(), "exp": now() + 60, "jti": unique(),
        })
    }

    fn sign(&self, claims: &Value) -> String {
        self.key
            .token(self.alg, &json!({ "alg": self.alg.name() }), claims)
    }

    fn ask(authority: &RunningAuthority, assertion: &str) -> Response {
        authority.ask(&[
            ("grant_type", "client_credentials"),
            ("audience", ITEMS),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", assertion),
        ])
    }
}

fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("jti-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The PEM of a public RSA key.
pub(super) fn spki(key: &SigningKey) -> String {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use base64::Engine as _;
    let public = aws_lc_rs::rsa::PublicKey::from_der(key.public()).unwrap();
    let der = AsDer::<PublicKeyX509Der<'_>>::as_der(&public).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

#[test]
fn assertions() {
    let authority = furnished();
    for (client_id, alg) in [
        ("rs256", SigningAlg::RS256),
        ("rs384", SigningAlg::RS384),
        ("ps256", SigningAlg::PS256),
    ] {
        let signer = Signer::put(&authority, client_id, alg);
        let claims = signer.claims(&authority);
        let token = access_token(&Signer::ask(&authority, &signer.sign(&claims)));
        assert_eq!(crate::harness::tenant::claims(&token)["azp"], client_id);
    }
    let signer = Signer::put(&authority, "signer", SigningAlg::RS256);
    let right = || signer.claims(&authority);
    let with = |name: &str, value: Value| crate::support::api::with(right(), name, Some(value));
    let token_endpoint = format!("{}oauth/token", authority.issuer);
    for claims in [
        right(),
        with("aud", json!(token_endpoint)),
        // As the Python SDK says it, also where it speaks http.
        with("aud", json!(authority.issuer.replace("http://", "https://"))),
        with("aud", json!(["https://elsewhere.example/", token_endpoint])),
        with("exp", json!(now() + 290)),
        with("nbf", json!(now())),
        with("iat", json!(now() + 5)),
    ] {
        assert_eq!(
            Signer::ask(&authority, &signer.sign(&claims)).status,
            200,
            "{claims}"
        );
    }
    for kid in ["kid-signer", "cred_signer"] {
        let header = json!({ "alg": "RS256", "kid": kid, "typ": "JWT" });
        let assertion = signer.key.token(SigningAlg::RS256, &header, &right());
        assert_eq!(Signer::ask(&authority, &assertion).status, 200, "{kid}");
    }
    let refused = |assertion: &str, description: &str| {
        let response = Signer::ask(&authority, assertion);
        assert_refused(&response, 401, "invalid_client", description);
    };
    let (late, ahead, long) = (now() - 100, now() + 100, "x".repeat(65));
    let no_jti = "'jti' claim must be a text of 1 to 64 characters";
    let not_numbers = "'iat' and 'exp' claims must be whole numbers";
    let not_for_us = "'aud' claim must be the issuer or the token endpoint";
    let of_nobody = "'iss' and 'sub' claims must both be the client_id";
    let in_the_future = "'iat' or 'nbf' claim lies in the future";
    let cases = [
        (
            "exp",
            Some(json!(now() + 311)),
            "'exp' claim must be \u{2264} 5 minutes after 'iat'",
        ),
        ("exp", Some(json!(late)), "'exp' claim has passed"),
        ("exp", None, not_numbers),
        ("exp", Some(json!("soon")), not_numbers),
        ("iat", Some(json!(ahead)), in_the_future),
        ("iat", None, not_numbers),
        ("nbf", Some(json!(ahead)), in_the_future),
        ("aud", Some(json!("https://elsewhere.example/")), not_for_us),
        ("aud", None, not_for_us),
        ("jti", None, no_jti),
        ("jti", Some(json!(long)), no_jti),
        ("jti", Some(json!("")), no_jti),
        ("sub", Some(json!("c1")), of_nobody),
        ("iss", Some(json!(long)), of_nobody),
    ];
    for (number, (name, value, why)) in cases.into_iter().enumerate() {
        // Each has a client of its own: one that errs too often is asked to wait.
        let signer = Signer::put(&authority, &format!("signer-{number}"), SigningAlg::RS256);
        let claims = crate::support::api::with(signer.claims(&authority), name, value);
        refused(&signer.sign(&claims), why);
    }
    // A clock that is up to ten seconds off is no reason.
    let old = crate::support::api::with(with("iat", json!(now() - 60)), "exp", Some(json!(now() - 2)));
    assert_eq!(Signer::ask(&authority, &signer.sign(&old)).status, 200);

    let once = signer.sign(&right());
    assert_eq!(Signer::ask(&authority, &once).status, 200);
    refused(&once, "'jti' claim was used before");
    refused(
        &format!("{once}{}", "x".repeat(2_048)),
        "The client assertion is longer than 2048 bytes",
    );
    refused("a.b", "The client assertion is not a JSON Web Token");
}

#[test]
fn assertions_that_cannot_be_verified_say_nothing_more() {
    let authority = furnished();
    let signer = Signer::put(&authority, "signer", SigningAlg::RS256);
    let claims = || signer.claims(&authority);
    let other = SigningKey::fixture(SigningAlg::RS256, 1);
    let sign = |header: Value, claims: &Value| signer.key.token(SigningAlg::RS256, &header, claims);
    let right = json!({ "alg": "RS256" });
    let nobody = json!({ "iss": "nobody", "sub": "nobody", "aud": "x" });
    let has_a_secret = json!({ "iss": "c1", "sub": "c1", "aud": "x" });
    for (what, assertion) in [
        ("another key", other.token(SigningAlg::RS256, &right, &claims())),
        ("an unknown client", sign(right.clone(), &nobody)),
        ("a client with a secret", sign(right.clone(), &has_a_secret)),
        ("no algorithm", sign(json!({ "alg": "none" }), &claims())),
        (
            "an algorithm that is not that of the key",
            signer
                .key
                .token(SigningAlg::PS256, &json!({ "alg": "PS256" }), &claims()),
        ),
        (
            "an unknown kid",
            sign(json!({ "alg": "RS256", "kid": "x" }), &claims()),
        ),
        (
            "critical extensions",
            sign(json!({ "alg": "RS256", "crit": ["x"], "x": 1 }), &claims()),
        ),
    ] {
        let response = Signer::ask(&authority, &assertion);
        assert_eq!(
            refusal(&response),
            (
                401,
                "invalid_client".into(),
                "Client assertion could not be verified".into()
            ),
            "{what}"
        );
    }
    // It has a secret too, which does not count.
    let response = authority.ask_for("signer", ITEMS, &[]);
    assert_refused(&response, 401, "access_denied", "Unauthorized");
    let both = authority.ask_for(
        "signer",
        ITEMS,
        &[
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", &signer.sign(&claims())),
        ],
    );
    assert_eq!(refusal(&both).0, 400);
    let typeless = authority.ask(&[
        ("grant_type", "client_credentials"),
        ("audience", ITEMS),
        ("client_assertion", &signer.sign(&claims())),
    ]);
    assert_eq!(refusal(&typeless).0, 400);
    // An expired key, and one that the client is not told to use.
    for (expires_at, chosen) in [
        (Some("2020-01-01T00:00:00Z"), "cred_signer"),
        (None, "cred_other"),
    ] {
        authority.change(|draft| {
            let mut client = scopegate::authority::model::Client::clone(draft.client("signer").unwrap());
            client.credentials[0].expires_at = expires_at.map(str::to_owned);
            client.document.insert(
                "client_authentication_methods".into(),
                json!({ "private_key_jwt": { "credentials": [{ "id": chosen }] } }),
            );
            draft.put_client(&client)
        });
        let response = Signer::ask(&authority, &signer.sign(&claims()));
        assert_eq!(
            refusal(&response).2,
            "Client assertion could not be verified",
            "{chosen}"
        );
    }
}

#[test]
fn encrypted_tokens() {
    for (alg, kid) in [
        ("RSA-OAEP-256", None),
        ("RSA-OAEP-384", Some("enc-1")),
        ("RSA-OAEP-512", None),
    ] {
        let (authority, upstream) = (RunningAuthority::start(), Upstream::start());
        let recipient = Recipient::fixture("RSA", 0);
        let mut key = json!({ "alg": alg, "pem": recipient.public_pem() });
        if let Some(kid) = kid {
            key["kid"] = json!(kid);
        }
        furnish(
            &authority,
            json!({ "token_encryption": { "format": "compact-nested-jwe", "encryption_key": key } }),
        );
        let token = authority.token_of("c1", ITEMS);
        assert_eq!(token.split('.').count(), 5);
        let mut expected = json!({ "alg": alg, "enc": "A256GCM", "cty": "JWT" });
        if let Some(kid) = kid {
            expected["kid"] = json!(kid);
        }
        let header = token.split('.').next().unwrap();
        let header = parts(&format!("{header}.e30")).0;
        assert_eq!(header, expected.to_string());
        let (url, kid) = (
            upstream.url(),
            kid.map_or(String::new(), |kid| format!(", kid: {kid}")),
        );
        let pem = serde_json::to_string(&recipient.public_pem()).unwrap();
        let gateway = gateway(
            &authority,
            "",
            &format!(
                "  - definition:
      identifier: {ITEMS}
      scopes: [{{ value: read:items }}]
      token_encryption:
        format: compact-nested-jwe
        encryption_key: {{ alg: {alg}, pem: {pem}{kid} }}
    decryption_keys: [file:key.pem]
    upstream: {url}
    routes: [{{ path: /items, require: read:items }}]
"
            ),
            &[("key.pem", &recipient.pem())],
        );
        let response = get_with(gateway.address(), "/items", &token);
        assert_eq!(response.status, 200, "{alg}: {}", response.text());
        assert_eq!(upstream.requests(), 1);
        // Another content key for each.
        assert_ne!(authority.token_of("c1", ITEMS), token);
    }
}

#[test]
fn who_gets_a_token_bound_to_a_dpop_key() {
    let authority = RunningAuthority::start();
    authority.put_client("lax", json!({}));
    authority.put_client("strict", json!({ "require_proof_of_possession": true }));
    let required = json!({ "mechanism": "dpop", "required": true });
    let allowed = json!({ "mechanism": "dpop", "required": false });
    let public_only = json!({ "mechanism": "dpop", "required": true, "required_for": "public_clients" });
    for (name, possession) in [
        ("urn:none", Value::Null),
        ("urn:allowed", allowed),
        ("urn:required", required),
        ("urn:public", public_only),
    ] {
        authority.put_api(json!({ "identifier": name, "proof_of_possession": possession }));
        authority.put_grant("lax", name, json!({ "scope": [] }));
        authority.put_grant("strict", name, json!({ "scope": [] }));
    }
    let prover = Prover::new(SigningAlg::ES256);
    let address = format!("{}oauth/token", authority.issuer);
    let proof = || prover.sign(&prover.draft("POST", &address, "").without("ath"));
    let ask = |client: &str, audience: &str, proofs: &[String]| {
        let headers: Vec<_> = proofs.iter().map(|proof| ("dpop", proof.as_str())).collect();
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", SECRET),
            ("audience", audience),
        ];
        authority.ask_with(&headers, &fields)
    };
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Outcome {
        Plain,
        Bound,
        Refused,
    }
    use Outcome::{Bound, Plain, Refused};
    let outcome = |response: &Response| {
        if response.status != 200 {
            assert_eq!(
                (refusal(response).0, refusal(response).1.as_str()),
                (400, "invalid_request")
            );
            return Refused;
        }
        let body = response.json();
        let cnf = claims(body["access_token"].as_str().unwrap());
        match cnf.get("cnf") {
            Some(cnf) => {
                assert_eq!(*cnf, json!({ "jkt": prover.thumbprint() }));
                assert_eq!(body["token_type"], "DPoP");
                Bound
            }
            None => {
                assert_eq!(body["token_type"], "Bearer");
                Plain
            }
        }
    };
    for (client, is_proven, expected) in [
        ("lax", false, [Plain, Plain, Refused, Plain]),
        ("lax", true, [Plain, Bound, Bound, Bound]),
        ("strict", false, [Refused; 4]),
        ("strict", true, [Refused, Bound, Bound, Bound]),
    ] {
        let found = ["urn:none", "urn:allowed", "urn:required", "urn:public"].map(|audience| {
            let proofs = if is_proven { vec![proof()] } else { Vec::new() };
            outcome(&ask(client, audience, &proofs))
        });
        assert_eq!(found, expected, "{client} {is_proven}");
    }
    // What is wrong with a proof is told.
    let wrong = |draft: crate::harness::prover::ProofDraft| vec![prover.sign(&draft)];
    let draft = || prover.draft("POST", &address, "").without("ath");
    let once = proof();
    assert_eq!(ask("lax", "urn:allowed", std::slice::from_ref(&once)).status, 200);
    for (what, proofs) in [
        ("used before", vec![once]),
        ("two", vec![proof(), proof()]),
        ("no proof at all", vec!["x".into()]),
        ("another method", wrong(draft().claim("htm", "GET"))),
        (
            "another address",
            wrong(draft().claim("htu", "https://elsewhere.example/oauth/token")),
        ),
        ("too old", wrong(draft().claim("iat", now() - 1_000))),
        ("no id", wrong(draft().without("jti"))),
        ("another type", wrong(draft().header("typ", "JWT"))),
    ] {
        let response = ask("lax", "urn:allowed", &proofs);
        let found = refusal(&response);
        assert_eq!(
            (found.0, found.1.as_str()),
            (400, "invalid_dpop_proof"),
            "{what}: {}",
            found.2
        );
    }
}

#[test]
fn a_bound_token_is_accepted_with_its_proof() {
    let (authority, upstream) = (RunningAuthority::start(), Upstream::start());
    furnish(
        &authority,
        json!({ "proof_of_possession": { "mechanism": "dpop", "required": true } }),
    );
    let url = upstream.url();
    let gateway = gateway(
        &authority,
        "",
        &format!(
            "  - definition:
      identifier: {ITEMS}
      scopes: [{{ value: read:items }}]
      proof_of_possession: {{ mechanism: dpop, required: true }}
    public_url: https://items.example.com/
    upstream: {url}
    routes: [{{ path: /items, require: read:items }}]
"
        ),
        &[],
    );
    let prover = Prover::new(SigningAlg::ES256);
    let address = format!("{}oauth/token", authority.issuer);
    let first = prover.sign(&prover.draft("POST", &address, "").without("ath"));
    let answer = authority.ask_with(
        &[("dpop", &first)],
        &[
            ("grant_type", "client_credentials"),
            ("client_id", "c1"),
            ("client_secret", SECRET),
            ("audience", ITEMS),
        ],
    );
    let token = access_token(&answer);
    let ask = |prover: &Prover| {
        let proof = prover.proof("GET", "https://items.example.com/items", &token);
        let authorization = format!("DPoP {token}");
        let fields = [("authorization", authorization.as_str()), ("dpop", &proof)];
        client::get(gateway.address(), "/items", &fields).status
    };
    assert_eq!((ask(&prover), upstream.requests()), (200, 1));
    assert_eq!(
        (ask(&Prover::another(SigningAlg::ES256)), upstream.requests()),
        (401, 1)
    );
    assert_eq!(get_with(gateway.address(), "/items", &token).status, 401);
}

#[test]
fn tokens_bound_to_a_certificate() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (server, shown) = (servers.issue(&["localhost"]), clients.issue(&["client"]));
    let folder = Folder::new("", &[]);
    let settings = TlsSettings {
        pairs: vec![PairFiles {
            certificate: folder.path("a.crt"),
            private_key: folder.path("a.key"),
        }],
        client_ca: Some(folder.path("ca.crt")),
        client_certificate: ClientCertificate::Optional,
        min_version: TlsVersion::V1_2,
    };
    let contents = [
        ("a.crt", &server.certificate),
        ("a.key", &server.key),
        ("ca.crt", &clients.pem()),
    ]
    .map(|(name, text)| (folder.path(name), text.clone().into_bytes().into()));
    let tls = ServerTls::new(&settings, false, &contents.into_iter().collect()).unwrap();
    let authority = RunningAuthority::with_tls(StoreAddress::Memory, Some(tls));
    furnish(&authority, json!({}));
    let strict = json!({ "mechanism": "mtls", "required": true, "required_for": "all_clients" });
    authority.put_api(json!({ "identifier": "urn:required", "proof_of_possession": strict }));
    let lax = json!({ "mechanism": "mtls", "required": false });
    authority.put_api(json!({ "identifier": "urn:allowed", "proof_of_possession": lax }));
    for audience in ["urn:required", "urn:allowed"] {
        authority.put_grant("c1", audience, json!({ "scope": [] }));
    }
    let ask = |client: &TlsClient, audience: &str| {
        let body = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", "c1"),
            ("client_secret", SECRET),
            ("audience", audience),
        ]);
        let fields = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("connection", "close"),
        ];
        let mut request = head("POST", "/oauth/token", &fields, Some(body.len()));
        request.extend(body.as_bytes());
        let mut session = client.connect(authority.address, "localhost").unwrap();
        let answer = String::from_utf8(session.exchange(&request)).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()
    };
    let with = TlsClient::showing(&servers, &shown);
    let without = TlsClient::trusting(&servers);
    let thumbprint = {
        use rustls_pki_types::pem::PemObject as _;
        let der = rustls_pki_types::CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        crate::support::forge::encode(digest.as_ref())
    };
    let cnf = |answer: &Value| {
        claims(answer["access_token"].as_str().unwrap())
            .get("cnf")
            .cloned()
    };
    for audience in ["urn:required", "urn:allowed"] {
        let answer = ask(&with, audience);
        assert_eq!(
            cnf(&answer),
            Some(json!({ "x5t#S256": thumbprint })),
            "{audience}"
        );
        // RFC 8705 section 3: it is a bearer token.
        assert_eq!(answer["token_type"], "Bearer");
    }
    assert_eq!(cnf(&ask(&with, ITEMS)), None);
    assert_eq!(cnf(&ask(&without, "urn:allowed")), None);
    let refused = ask(&without, "urn:required");
    assert_eq!(
        (&refused["error"], &refused["error_description"]),
        (
            &json!("invalid_request"),
            &json!("A client certificate is required")
        )
    );
}

/// A form to the token endpoint from an address of this machine.
fn ask_from(address: &str, authority: &RunningAuthority, fields: &[(&str, &str)]) -> Response {
    let from: SocketAddr = format!("{address}:0").parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&authority.address.into()).unwrap();
    let mut wire = Wire::new(TcpStream::from(socket));
    let body = form(fields);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    wire.send(&head("POST", "/oauth/token", &headers, Some(body.len())))
        .unwrap();
    wire.send(body.as_bytes()).unwrap();
    wire.within(crate::harness::DEADLINE)
        .response("POST")
        .unwrap()
        .unwrap()
}

#[test]
fn a_flood_of_wrong_secrets_locks_nobody_else_out() {
    let authority = furnished();
    let fields = |secret: &'static str| {
        [
            ("grant_type", "client_credentials"),
            ("client_id", "c1"),
            ("client_secret", secret),
            ("audience", ITEMS),
        ]
    };
    for _ in 0..10 {
        assert_eq!(ask_from("127.0.0.2", &authority, &fields("wrong")).status, 401);
    }
    for secret in ["wrong", SECRET] {
        let response = ask_from("127.0.0.2", &authority, &fields(secret));
        assert_eq!(
            (refusal(&response).0, refusal(&response).1.as_str()),
            (429, "too_many_requests")
        );
        let seconds: i64 = response.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=12).contains(&seconds), "{seconds}");
        let reset: i64 = response.field("x-ratelimit-reset").unwrap().parse().unwrap();
        assert!((now()..=now() + 13).contains(&reset), "{reset}");
    }
    assert_eq!(ask_from("127.0.0.3", &authority, &fields(SECRET)).status, 200);
    // Right ones are not counted.
    for _ in 0..30 {
        assert_eq!(ask_from("127.0.0.3", &authority, &fields(SECRET)).status, 200);
    }
}

#[test]
fn keys_are_rotated_and_revoked() {
    let (authority, upstream) = (furnished(), Upstream::start());
    let url = upstream.url();
    let apis = format!(
        "  - definition:
      identifier: {ITEMS}
      scopes: [{{ value: read:items }}]
    upstream: {url}
    routes: [{{ path: /items, require: read:items }}]
"
    );
    let kid = |token: &str| {
        let header: Value = serde_json::from_str(&parts(token).0).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    };
    let published = || {
        let set = client::get(authority.address, "/.well-known/jwks.json", &[]).json();
        let keys = set["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let old = authority.token_of("c1", ITEMS);
    let before = published();
    let first = gateway(&authority, "", &apis, &[]);
    assert_eq!(get_with(first.address(), "/items", &old).status, 200);

    let fresh = runtime.block_on(authority.authority.rotate_keys()).unwrap();
    let new = authority.token_of("c1", ITEMS);
    assert_eq!(kid(&old), before[0]);
    assert_eq!(kid(&new), before[1], "the next key signs");
    assert_eq!(published(), [before[1].as_str(), &fresh.kid, &before[0]]);
    // The key was published before it signed: no verifier has to fetch anything.
    for token in [&old, &new] {
        assert_eq!(get_with(first.address(), "/items", token).status, 200);
    }
    for kid in [before[1].as_str(), &fresh.kid, "unknown"] {
        runtime.block_on(authority.authority.revoke_key(kid)).unwrap_err();
    }
    runtime
        .block_on(authority.authority.revoke_key(&before[0]))
        .unwrap();
    runtime
        .block_on(authority.authority.revoke_key(&before[0]))
        .unwrap();
    assert_eq!(published(), [before[1].as_str(), &fresh.kid]);
    let second = gateway(&authority, "", &apis, &[]);
    let requests = upstream.requests();
    let refused = get_with(second.address(), "/items", &old);
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (401, &json!("unknown_kid"))
    );
    assert_eq!(upstream.requests(), requests);
    assert_eq!(get_with(second.address(), "/items", &new).status, 200);
    // A second rotation revokes what was previous.
    runtime.block_on(authority.authority.rotate_keys()).unwrap();
    runtime.block_on(authority.authority.rotate_keys()).unwrap();
    assert_eq!(published().len(), 3);
    let tenant = authority.authority.state().tenant();
    let revoked = tenant.keys().filter(|key| key.state == KeyState::Revoked);
    assert!(revoked.map(|key| key.revoked_at).all(|at| at.is_some()));
}

#[test]
fn requests_are_counted_under_names_from_a_list() {
    let authority = furnished();
    let registry = prometheus::Registry::new();
    let metrics = scopegate::telemetry::Metrics::new(&registry, scopegate::policy::Reason::names()).unwrap();
    authority.authority.count_with(&metrics);
    authority.token_of("c1", ITEMS);
    authority.ask_for("c1", "urn:none", &[]);
    authority.ask_for("c0", ITEMS, &[]);
    authority.ask(&[("grant_type", "anything")]);
    authority.ask(&[]);
    let text = metrics.encode().unwrap();
    let mut lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("scopegate_authority_token_requests_total"))
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            r#"{grant_type="client_credentials",result="access_denied"} 1"#,
            r#"{grant_type="client_credentials",result="invalid_client"} 1"#,
            r#"{grant_type="client_credentials",result="ok"} 1"#,
            r#"{grant_type="other",result="invalid_request"} 1"#,
            r#"{grant_type="other",result="unsupported_grant_type"} 1"#,
        ]
    );
}

/// Keeps everything that is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_secret_is_logged_or_told() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // What another test of the process has set up would see the lines in its place.
    let is_heard = tracing::subscriber::set_global_default(subscriber).is_ok();
    let authority = furnished();
    authority.put_api(json!({
        "identifier": "urn:hs", "signing_alg": "HS256", "signing_secret": HMAC_SECRET, "allow_offline_access": true,
    }));
    authority.put_grant("c1", "urn:hs", json!({ "scope": [] }));
    authority.put_client(
        "app",
        json!({
            "grant_types": ["password", "refresh_token"],
            "refresh_token": { "rotation_type": "rotating", "expiration_type": "expiring" },
        }),
    );
    let password = "the password of ada 0123456789";
    authority.put_user(json!({ "email": "ada@example.com" }), password, &[], &[]);
    let signer = Signer::put(&authority, "signer", SigningAlg::RS256);
    let assertion = signer.sign(&signer.claims(&authority));
    let wrong = "a-wrong-secret-that-may-be-nearly-right";
    let mut bodies = Vec::new();
    let mut secrets = vec![
        SECRET.to_owned(),
        HMAC_SECRET.to_owned(),
        password.to_owned(),
        wrong.to_owned(),
        assertion.clone(),
        authority.client_secret.clone(),
    ];
    secrets.push(authority.token_of("c1", ITEMS));
    secrets.push(authority.token_of("c1", "urn:hs"));
    bodies.push(authority.ask_for("c1", "urn:none", &[]));
    bodies.push(authority.ask_for("c0", ITEMS, &[]));
    bodies.push(authority.ask_for(SECRET, ITEMS, &[]));
    bodies.push(authority.ask_for("c1", ITEMS, &[("client_assertion", &assertion)]));
    bodies.push(authority.ask(&[("grant_type", wrong), ("client_secret", SECRET)]));
    bodies.push(authority.ask(&[
        ("grant_type", "client_credentials"),
        ("client_id", "c1"),
        ("client_secret", wrong),
        ("audience", ITEMS),
    ]));
    bodies.push(authority.ask_with(
        &[("authorization", &basic("c1", wrong))],
        &[("grant_type", "client_credentials")],
    ));
    secrets.push(access_token(&Signer::ask(&authority, &assertion)));
    bodies.push(Signer::ask(&authority, &assertion));
    let login = |password: &str| {
        authority.ask(&[
            ("grant_type", "password"),
            ("client_id", "app"),
            ("client_secret", SECRET),
            ("audience", "urn:hs"),
            ("username", "ada@example.com"),
            ("password", password),
            ("scope", "offline_access openid"),
        ])
    };
    bodies.push(login(wrong));
    let answer = login(password).json();
    let refresh = answer["refresh_token"].as_str().unwrap().to_owned();
    let again = || {
        authority.ask(&[
            ("grant_type", "refresh_token"),
            ("client_id", "app"),
            ("client_secret", SECRET),
            ("refresh_token", &refresh),
        ])
    };
    let renewed = again().json();
    for name in ["access_token", "id_token", "refresh_token"] {
        secrets.push(answer[name].as_str().unwrap().to_owned());
        secrets.push(renewed[name].as_str().unwrap().to_owned());
    }
    bodies.push(again());
    bodies.push(authority.send_form(
        "/oauth/revoke",
        &[],
        &[
            ("client_id", "app"),
            ("client_secret", wrong),
            ("token", &refresh),
        ],
    ));
    for secret in &secrets {
        assert!(secret.len() >= 16, "would be found by chance: {secret}");
        for body in &bodies {
            assert!(body.status >= 400, "{}", body.text());
            assert!(!body.text().contains(secret.as_str()), "{}", body.text());
        }
    }
    let log = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(!is_heard || log.contains("refused a token"), "nothing was logged");
    for secret in &secrets {
        let tail = &secret[secret.len() - 16..];
        assert!(
            !log.contains(secret.as_str()) && !log.contains(tail),
            "{secret} in the log"
        );
    }
    for encoded in [basic("c1", wrong), hash(SECRET)] {
        assert!(!log.contains(&encoded));
    }
}
