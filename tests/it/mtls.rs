//! Tokens that are bound to a certificate (RFC 8705): the right one, another one, none, and words of others about it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::{Value, json};

use crate::harness::gateway::{self, ITEMS};
use crate::harness::tls::{Authority, Pair, TlsClient};
use crate::harness::{Gateway, Issuer, Upstream};
use crate::support::forge::encode;

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
    servers: Authority,
    clients: Authority,
}

impl World {
    fn start(top: &str, tls: &str, possession: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let pair = servers.issue(&["localhost"]);
        let (issuer_url, upstream_url) = (issuer.identifier(), upstream.url());
        let gateway = Gateway::start_with(
            &format!(
                "{top}listeners: [{{ address: 127.0.0.1:0{tls} }}]
issuers:
  - issuer: {issuer_url}
apis:
  - definition:
      identifier: {ITEMS}
      signing_alg: RS256
      scopes: [{{ value: read:items }}]
      proof_of_possession: {possession}
    upstream: {upstream_url}
    routes: [{{ path: /items, require: read:items }}]
"
            ),
            &[
                ("a.crt", &pair.certificate),
                ("a.key", &pair.key),
                ("ca.crt", &clients.pem()),
            ],
        );
        Self {
            issuer,
            upstream,
            gateway,
            servers,
            clients,
        }
    }

    fn token(&self, cnf: Option<Value>) -> String {
        let draft = self
            .issuer
            .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS)
            .claim("scope", "read:items");
        self.issuer.sign(&match cnf {
            Some(cnf) => draft.claim("cnf", cnf),
            None => draft,
        })
    }

    fn bound_to(&self, pair: &Pair) -> String {
        self.token(Some(json!({"x5t#S256": encode(&digest(pair))})))
    }

    /// Status and reason of a request with this token on connections of this client, twice on one connection.
    fn ask(&self, client: &TlsClient, token: &str) -> (u16, String) {
        let mut session = client.connect(self.gateway.address(), "localhost").unwrap();
        let bearer = format!("Bearer {token}");
        let mut ask = || {
            let (status, body) = session.get("/items", &[("authorization", &bearer)]).unwrap();
            (status, reason(&body))
        };
        let first = ask();
        assert_eq!(ask(), first, "a cached token is asked the same");
        first
    }
}

fn reason(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body["reason"].as_str().unwrap_or("ok").to_owned()
}

fn der(pair: &Pair) -> Vec<u8> {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
    certificate.unwrap().to_vec()
}

fn digest(pair: &Pair) -> Vec<u8> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der(pair));
    digest.as_ref().to_vec()
}

const OPTIONAL: &str =
    ", tls: { certificate: a.crt, private_key: a.key, client_ca: ca.crt, client_certificate: optional }";

#[test]
fn the_certificate_of_the_connection_counts() {
    let world = World::start("", OPTIONAL, "{ mechanism: mtls, required: false }");
    let (own, another) = (world.clients.issue(&["own"]), world.clients.issue(&["another"]));
    let with_own = TlsClient::showing(&world.servers, &own);
    let with_another = TlsClient::showing(&world.servers, &another);
    let with_none = TlsClient::trusting(&world.servers);
    let (bound, unbound) = (world.bound_to(&own), world.token(None));
    let ok = (200, "ok".to_owned());
    let refused = |reason: &str| (401, reason.to_owned());
    assert_eq!(world.ask(&with_own, &bound), ok);
    let reached = world.upstream.requests();
    assert_eq!(world.ask(&with_another, &bound), refused("certificate_mismatch"));
    assert_eq!(world.ask(&with_none, &bound), refused("certificate_missing"));
    let to_a_key = world.token(Some(json!({"jkt": encode(&digest(&own))})));
    assert_eq!(world.ask(&with_own, &to_a_key), refused("dpop_missing"));
    let of_nothing = world.token(Some(json!({"x5t#S256": "x"})));
    assert_eq!(world.ask(&with_own, &of_nothing), refused("malformed_claim"));
    assert_eq!(world.upstream.requests(), reached);
    // Who is not bound may come with and without.
    for client in [&with_own, &with_none] {
        assert_eq!(world.ask(client, &unbound), ok);
    }
}

#[test]
fn where_it_is_required_no_other_token_passes() {
    let world = World::start("", OPTIONAL, "{ mechanism: mtls, required: true }");
    let own = world.clients.issue(&["own"]);
    let client = TlsClient::showing(&world.servers, &own);
    assert_eq!(
        world.ask(&client, &world.token(None)),
        (401, "token_unbound".to_owned())
    );
    assert_eq!(world.upstream.requests(), 0);
    assert_eq!(world.ask(&client, &world.bound_to(&own)).0, 200);
}

/// Fields about certificates, each as somebody would write it.
fn fields(pair: &Pair) -> [(&'static str, String); 2] {
    let hash: String = digest(pair).iter().map(|byte| format!("{byte:02x}")).collect();
    [
        ("client-cert", format!(":{}:", STANDARD.encode(der(pair)))),
        (
            "x-forwarded-client-cert",
            format!("By=spiffe://proxy;Hash={hash};Subject=\"CN=own\""),
        ),
    ]
}

fn over_cleartext(world: &World, token: &str, said: &[(&str, &str)]) -> (u16, String, String) {
    let bearer = format!("Bearer {token}");
    let fields = [&[("authorization", bearer.as_str())][..], said].concat();
    let response = world.gateway.client().get("/items", &fields);
    let challenge = response.field("www-authenticate").unwrap_or_default().to_owned();
    (response.status, reason(&response.text()), challenge)
}

#[test]
fn nobody_but_a_trusted_proxy_is_believed() {
    let possession = "{ mechanism: mtls, required: true }";
    let own = Authority::new("clients").issue(&["own"]);
    for (top, believed) in [
        ("", [false, false]),
        ("trusted_proxies: [127.0.0.1]\n", [false, false]),
        (
            "trusted_proxies: [10.0.0.0/8]\nclient_certificate_field: client_cert\n",
            [false, false],
        ),
        (
            "trusted_proxies: [127.0.0.1]\nclient_certificate_field: client_cert\n",
            [true, false],
        ),
        (
            "trusted_proxies: [127.0.0.1]\nclient_certificate_field: x_forwarded_client_cert\n",
            [false, true],
        ),
    ] {
        let world = World::start(top, "", possession);
        let token = world.bound_to(&own);
        for ((name, value), believed) in fields(&own).into_iter().zip(believed) {
            let reached = world.upstream.requests();
            let (status, reason, challenge) = over_cleartext(&world, &token, &[(name, &value)]);
            if believed {
                assert_eq!((status, reason.as_str()), (200, "ok"), "{top} {name}");
                let seen = world.upstream.last();
                assert_eq!(seen.head.all(name), Vec::<&str>::new(), "no upstream gets it");
            } else {
                assert_eq!(
                    (status, reason.as_str()),
                    (401, "certificate_missing"),
                    "{top} {name}"
                );
                assert!(
                    challenge.starts_with(&format!(r#"Bearer realm="{ITEMS}", error="invalid_token""#)),
                    "{challenge}"
                );
                assert_eq!(world.upstream.requests(), reached);
            }
        }
    }
}

#[test]
fn what_a_trusted_proxy_says_has_one_reading() {
    let clients = Authority::new("clients");
    let (own, another) = (clients.issue(&["own"]), clients.issue(&["another"]));
    let possession = "{ mechanism: mtls, required: true }";
    for (field, place) in [("client_cert", 0), ("x_forwarded_client_cert", 1)] {
        let top = format!("trusted_proxies: [127.0.0.1]\nclient_certificate_field: {field}\n");
        let world = World::start(&top, "", possession);
        let token = world.bound_to(&own);
        let (name, right) = fields(&own)[place].clone();
        let (_, wrong) = fields(&another)[place].clone();
        let ask = |values: &[&str]| {
            let said: Vec<(&str, &str)> = values.iter().map(|value| (name, *value)).collect();
            over_cleartext(&world, &token, &said).1
        };
        assert_eq!(ask(&[&right]), "ok");
        assert_eq!(ask(&[&wrong]), "certificate_mismatch");
        assert_eq!(ask(&[]), "certificate_missing");
        assert_eq!(ask(&["nonsense"]), "certificate_missing");
        // What the client wrote stands before what the proxy added, never in its place.
        assert_ne!(ask(&[&right, &wrong]), "ok");
        assert_ne!(ask(&[&format!("{right}, {wrong}")]), "ok");
        assert_eq!(world.upstream.requests(), 1);
    }
}

/// The certificate of a proxy is not that of its client.
#[test]
fn a_trusted_proxy_does_not_lend_its_own_certificate() {
    let world = World::start(
        "trusted_proxies: [127.0.0.1]\nclient_certificate_field: client_cert\n",
        OPTIONAL,
        "{ mechanism: mtls, required: true }",
    );
    let proxy = world.clients.issue(&["proxy"]);
    let client = TlsClient::showing(&world.servers, &proxy);
    assert_eq!(
        world.ask(&client, &world.bound_to(&proxy)),
        (401, "certificate_missing".to_owned())
    );
    assert_eq!(world.upstream.requests(), 0);
}

#[test]
fn explain_takes_a_certificate() {
    let world = World::start("", OPTIONAL, "{ mechanism: mtls, required: true }");
    let (own, another) = (world.clients.issue(&["own"]), world.clients.issue(&["another"]));
    let token = world.bound_to(&own);
    let folder = &world.gateway.folder;
    folder.write("own.pem", &own.certificate);
    folder.write("another.pem", &another.certificate);
    let explain = |certificate: Option<&str>| {
        let (config, path) = (folder.config(), certificate.map(|name| folder.path(name)));
        let mut arguments = vec!["explain", "--config", config.to_str().unwrap(), "GET /items"];
        arguments.extend(["--token", &token]);
        if let Some(path) = &path {
            arguments.extend(["--certificate", path.to_str().unwrap()]);
        }
        let output = gateway::run(&arguments, "");
        let text = String::from_utf8(output.stdout).unwrap();
        (
            output.status.code(),
            text.lines()
                .find(|line| line.contains(" binding "))
                .map(str::to_owned),
        )
    };
    let line = |text: &str| Some(format!("  FAIL  binding                  {text}"));
    assert_eq!(explain(Some("own.pem")).0, Some(0));
    assert_eq!(
        explain(Some("another.pem")),
        (
            Some(3),
            line("the client has shown another certificate than the token is bound to")
        )
    );
    assert_eq!(
        explain(None),
        (Some(3), line("the client has shown no certificate"))
    );
    // A key is no certificate.
    assert_eq!(explain(Some("a.key")).0, Some(2));
}
