//! Upstreams behind TLS: whom the gateway believes to be the upstream, and what it shows.

use rcgen::date_time_ymd;
use serde_json::json;

use crate::harness::gateway::{Folder, ITEMS};
use crate::harness::tls_upstream::{Authority, Certified, TlsUpstream};
use crate::harness::{Client, Gateway, Issuer, Process, client};

/// A configuration with one public route to `https://HOST:PORT`, and more about its upstream.
fn configuration(issuer: &Issuer, host: &str, upstream: &TlsUpstream, more: &str) -> String {
    format!(
        "workers: 1
issuers: [{{ issuer: {issuer} }}]
apis:
  - definition: {{ identifier: {ITEMS}, signing_alg: RS256 }}
    upstream: {{ servers: ['https://{host}:{port}'], connect_timeout: 10s{more} }}
    routes: [{{ path: '/p/{{*rest}}', require: public }}]
",
        issuer = issuer.identifier(),
        port = upstream.port(),
    )
}

#[test]
fn a_server_with_the_right_certificate_is_believed() {
    let (issuer, authority) = (Issuer::start(), Authority::new());
    let files = [("ca.pem", &*authority.pem())];
    let by_name = TlsUpstream::start(&authority.issue("localhost"), &[], None);
    let more = ", tls: { ca: ca.pem }";
    let gateway = Gateway::start_with(&configuration(&issuer, "localhost", &by_name, more), &files);
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.get("/p/a", &[]).body, b"behind TLS");
    }
    let seen = by_name.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].server_name.as_deref(), Some("localhost"));
    assert_eq!(
        (seen[0].has_client_certificate, seen[0].target.as_str()),
        (false, "/p/a")
    );

    let by_address = TlsUpstream::start(&authority.issue("127.0.0.1"), &[], None);
    let gateway = Gateway::start_with(&configuration(&issuer, "127.0.0.1", &by_address, more), &files);
    assert_eq!(gateway.client().get("/p/a", &[]).status, 200);

    // The name in the certificate need not be the one that is connected to.
    let elsewhere = TlsUpstream::start(&authority.issue("items.internal"), &[], None);
    let more = ", tls: { ca: ca.pem, server_name: items.internal }";
    let gateway = Gateway::start_with(&configuration(&issuer, "127.0.0.1", &elsewhere, more), &files);
    assert_eq!(gateway.client().get("/p/a", &[]).status, 200);
    assert_eq!(elsewhere.seen()[0].server_name.as_deref(), Some("items.internal"));
}

/// A server that is not the one that is meant.
struct WrongServer<'a> {
    name: &'a str,
    certified: &'a Certified,
    alpn: &'a [&'a str],
    clients: Option<&'a Authority>,
    more: &'a str,
    /// What the log says about it.
    log: &'a str,
}

/// Every way in which a server can fail to be the one that is meant: nothing is sent to it, the client learns that
/// there is no upstream, and the log says why.
#[test]
fn a_server_with_a_wrong_certificate_gets_nothing() {
    let (issuer, authority, stranger) = (Issuer::start(), Authority::new(), Authority::new());
    let expired = authority.issue_with("localhost", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let good = authority.issue("localhost");
    let named_other = authority.issue("other.test");
    let of_stranger = stranger.issue("localhost");
    let case = |name, certified, log| WrongServer {
        name,
        certified,
        log,
        alpn: &[],
        clients: None,
        more: "",
    };
    let cases = [
        case("expired", &expired, "expired"),
        case("another name", &named_other, "not valid for name"),
        case("another authority", &of_stranger, "UnknownIssuer"),
        WrongServer {
            more: "server_name: items.internal",
            ..case("another name than the configured", &good, "not valid for name")
        },
        WrongServer {
            more: "http2",
            alpn: &["http/1.1"],
            ..case("no HTTP/2", &good, "TLS")
        },
        WrongServer {
            clients: Some(&stranger),
            ..case("a client certificate is needed", &good, "")
        },
    ];
    for case in cases {
        let WrongServer {
            name,
            certified,
            alpn,
            clients,
            more,
            log,
        } = case;
        let upstream = TlsUpstream::start(certified, alpn, clients);
        let more = match more {
            "http2" => ", http2: true, tls: { ca: CA }".to_owned(),
            more => format!(", tls: {{ ca: CA, {more} }}"),
        };
        // The process finds the file wherever its configuration is.
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).unwrap();
        let more = more.replace("CA", ca.to_str().unwrap());
        let process = Process::start(&configuration(&issuer, "localhost", &upstream, &more));
        let response = client::get(process.address(), "/p/a", &[]);
        assert_eq!(response.status, 502, "{name}");
        let reason = response.json()["reason"].clone();
        if clients.is_none() {
            assert_eq!(reason, json!("upstream_connect"), "{name}");
            process.wait_for_log("no connection to the upstream");
            let lines = process.log();
            let line = lines
                .iter()
                .find(|line| line["message"] == "no connection to the upstream");
            let error = line.unwrap()["error"].as_str().unwrap().to_owned();
            assert!(
                error.to_lowercase().contains(&log.to_lowercase()),
                "{name}: {error}"
            );
            assert!(
                line.unwrap()["server"]
                    .as_str()
                    .unwrap()
                    .starts_with("localhost:"),
                "{name}"
            );
        } else {
            // In TLS 1.3 the client is done before the server looks at what it was shown.
            assert!(
                reason == "upstream_connect" || reason == "upstream_protocol",
                "{name}: {reason}"
            );
        }
        assert!(
            !response.text().contains("certificate"),
            "{name}: {}",
            response.text()
        );
        assert_eq!(upstream.seen(), [], "{name}");
    }
}

#[test]
fn the_client_certificate_is_shown() {
    let (issuer, authority, clients) = (Issuer::start(), Authority::new(), Authority::new());
    let upstream = TlsUpstream::start(&authority.issue("localhost"), &["h2", "http/1.1"], Some(&clients));
    let own = clients.issue("gateway");
    let (ca, other) = (authority.pem(), clients.issue("other"));
    let files = [
        ("ca.pem", ca.as_str()),
        ("own.pem", &own.certificate),
        ("own.key", &own.key),
        ("other.key", &other.key),
    ];
    for (http2, alpn) in [(false, "http/1.1"), (true, "h2")] {
        let more =
            format!(", http2: {http2}, tls: {{ ca: ca.pem, certificate: own.pem, private_key: own.key }}");
        let gateway = Gateway::start_with(&configuration(&issuer, "localhost", &upstream, &more), &files);
        let response = gateway.client().get("/p/a", &[]);
        assert_eq!(response.status, 200, "{}", response.text());
        let seen = upstream.seen().pop().unwrap();
        assert!(seen.has_client_certificate);
        assert_eq!(seen.alpn.as_deref(), Some(alpn));
        // Nothing of the key is shown.
        let shown = Client::connect(gateway.admin()).get("/config", &[]).text();
        assert!(shown.contains("own.key") && !shown.contains("PRIVATE"), "{shown}");
    }

    // What cannot work is a fault of the configuration, with its place.
    for (more, fault) in [
        (
            "certificate: own.pem",
            "`certificate` is of no use without `private_key`",
        ),
        (
            "private_key: own.key",
            "`private_key` is of no use without `certificate`",
        ),
        (
            "certificate: own.pem, private_key: other.key",
            "the private key cannot be used",
        ),
        (
            "certificate: own.key, private_key: own.key",
            "the client certificate cannot be used",
        ),
        (
            "certificate: own.pem, private_key: own.pem",
            "the private key cannot be used",
        ),
        (
            "certificate: own.pem, private_key: none.key",
            "there is no such file",
        ),
        ("server_name: 'a b'", "`server_name` cannot be `a b`"),
    ] {
        let more = format!(", tls: {{ ca: ca.pem, {more} }}");
        let yaml = configuration(&issuer, "localhost", &upstream, &more);
        let folder = Folder::new(&yaml, &files);
        let faults = scopegate::config::load(&folder.config()).unwrap_err().to_string();
        assert!(
            faults.contains(fault) && faults.contains("scopegate.yaml:"),
            "{faults}"
        );
    }
}

#[test]
fn a_new_authority_takes_effect_with_a_reload_and_a_bad_one_does_not() {
    let (issuer, old, new) = (Issuer::start(), Authority::new(), Authority::new());
    let upstream = TlsUpstream::start(&new.issue("localhost"), &[], None);
    let yaml = configuration(&issuer, "localhost", &upstream, ", tls: { ca: ca.pem }");
    let gateway = Gateway::start_with(&yaml, &[("ca.pem", &old.pem())]);
    assert_eq!(gateway.client().get("/p/a", &[]).status, 502);
    gateway.folder.write("ca.pem", &new.pem());
    crate::harness::eventually("the new authority", || {
        gateway.client().get("/p/a", &[]).status == 200
    });
    let generation = gateway.generation();
    gateway.folder.write("ca.pem", "nothing of use");
    crate::harness::eventually("the failed reload", || {
        gateway
            .metrics()
            .value("scopegate_config_last_reload_successful", &[])
            == 0.0
    });
    assert_eq!(gateway.client().get("/p/a", &[]).status, 200);
    assert_eq!(gateway.generation(), generation);
}
