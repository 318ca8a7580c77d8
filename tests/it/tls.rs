//! TLS towards clients: which certificate they are shown, which they must show, and files that change under load.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ProtocolVersion, version};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::harness::client::{get, head};
use crate::harness::gateway::{self, Folder, ITEMS, items};
use crate::harness::tls::{Authority, Kind, Pair, TlsClient};
use crate::harness::{Client, Gateway, Issuer, Upstream, eventually};

const ROUTES: &str = "    routes:
      - { path: \"/p/{*rest}\", require: public }
      - { path: /items, require: read:items }
";

/// A gateway with one TLS listener; `tls` is what stands in its mapping, `files` are pairs by name.
struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn start(tls: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with(
            &format!("listeners: [{{ address: 127.0.0.1:0, tls: {{ {tls} }} }}]\n"),
            files,
        )
    }

    fn start_with(listeners: &str, files: &[(&str, &str)]) -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let gateway = Gateway::start_with(
            &format!("{listeners}{}", items(&issuer, &upstream, ROUTES)),
            files,
        );
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    fn handshakes(&self, result: &str) -> f64 {
        self.gateway
            .metrics()
            .value("scopegate_tls_handshakes_total", &[("result", result)])
    }

    #[track_caller]
    fn counts(&self, result: &str, count: f64) {
        eventually(result, || self.handshakes(result) == count);
    }
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

const ONE: &str = "certificate: a.crt, private_key: a.key";

fn files<'a>(pair: &'a Pair, authority: &'a str) -> [(&'static str, &'a str); 3] {
    [
        ("a.crt", &pair.certificate),
        ("a.key", &pair.key),
        ("ca.crt", authority),
    ]
}

#[test]
fn both_versions_of_http_over_both_versions_of_tls_with_any_key() {
    let authority = Authority::new("servers");
    for kind in [Kind::Rsa, Kind::Ecdsa, Kind::Ed25519] {
        let pair = authority.issue_for(&["localhost"], kind, 2099);
        let world = World::start(ONE, &files(&pair, ""));
        for (versions, spoken) in [
            (&version::TLS12, ProtocolVersion::TLSv1_2),
            (&version::TLS13, ProtocolVersion::TLSv1_3),
        ] {
            let client = TlsClient::with(&authority, None, &[versions]);
            let mut session = client.connect(world.address(), "localhost").unwrap();
            assert_eq!(
                (session.version(), session.protocol()),
                (Some(spoken), None),
                "{kind:?}"
            );
            assert_eq!(session.get("/p/a", &[]).unwrap().0, 200);
            let seen = world.upstream.last();
            assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
            assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
            // On the same connection: the token is looked at as ever.
            let before = world.upstream.requests();
            assert_eq!(session.get("/items", &[]).unwrap().0, 401);
            assert_eq!(world.upstream.requests(), before);
            let bearer = format!("Bearer {}", world.issuer.token(ITEMS, "read:items"));
            assert_eq!(
                session.get("/items", &[("authorization", &bearer)]).unwrap().0,
                200
            );
            assert_eq!(
                client.http2(world.address(), "localhost", "localhost", "/p/a").0,
                200
            );
            assert_eq!(world.upstream.last().field("via"), Some("2.0 scopegate"));
        }
        world.counts("ok", 4.0);
    }
}

#[test]
fn the_application_protocol_is_agreed_upon() {
    let authority = Authority::new("servers");
    let pair = authority.issue(&["localhost"]);
    let world = World::start_with(
        &format!(
            "listeners:
  - {{ address: 127.0.0.1:0, tls: {{ {ONE} }} }}
  - {{ address: 127.0.0.1:0, http2: false, tls: {{ {ONE} }} }}
"
        ),
        &files(&pair, ""),
    );
    let client = TlsClient::trusting(&authority);
    let agreed = |address, offered: &[&str]| {
        let session = client.clone().offering(offered).connect(address, "localhost");
        session.map(|session| session.protocol().unwrap_or_default())
    };
    let (both, only_http1) = (world.gateway.address(), world.gateway.http2_address());
    assert_eq!(agreed(both, &["http/1.1", "h2"]).unwrap(), "h2");
    assert_eq!(agreed(both, &["http/1.1"]).unwrap(), "http/1.1");
    assert_eq!(agreed(both, &[]).unwrap(), "");
    assert!(agreed(both, &["h3"]).is_err());
    assert_eq!(agreed(only_http1, &["h2", "http/1.1"]).unwrap(), "http/1.1");
    assert!(agreed(only_http1, &["h2"]).is_err());
    world.counts("incompatible", 2.0);
    // HTTP/2 without having agreed upon it is a bad request, and no way around the limits of either.
    let client = client.offering(&["http/1.1"]);
    let mut session = client.connect(both, "localhost").unwrap();
    let answer = session.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
        "{answer:?}"
    );
    // Nor is HTTP/1.1 where HTTP/2 was agreed upon.
    let client = client.offering(&["h2"]);
    let mut session = client.connect(both, "localhost").unwrap();
    let answer = session.exchange(b"GET /p/a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");
    assert_eq!(world.upstream.requests(), 0);
}

#[test]
fn the_lowest_version_is_kept_to() {
    let authority = Authority::new("servers");
    let pair = authority.issue(&["localhost"]);
    let world = World::start(&format!("{ONE}, min_version: \"1.3\""), &files(&pair, ""));
    let old = TlsClient::with(&authority, None, &[&version::TLS12]);
    assert!(old.connect(world.address(), "localhost").is_err());
    world.counts("incompatible", 1.0);
    let new = TlsClient::with(&authority, None, &[&version::TLS13]);
    assert_eq!(
        new.connect(world.address(), "localhost")
            .unwrap()
            .get("/p/a", &[])
            .unwrap()
            .0,
        200
    );
}

#[test]
fn the_name_picks_the_certificate_and_the_host_must_fit() {
    let authority = Authority::new("servers");
    let [first, second, wild, rsa] = [
        authority.issue(&["a.test", "also-a.test"]),
        authority.issue_for(&["b.test"], Kind::Ecdsa, 2099),
        authority.issue(&["*.w.test"]),
        authority.issue_for(&["b.test"], Kind::Rsa, 2098),
    ];
    let mut files = Vec::new();
    for (name, pair) in [("a", &first), ("b", &second), ("w", &wild), ("r", &rsa)] {
        files.push((format!("{name}.crt"), pair.certificate.as_str()));
        files.push((format!("{name}.key"), pair.key.as_str()));
    }
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let world = World::start(
        &format!(
            "{ONE}, certificates: [{{ certificate: b.crt, private_key: b.key }}, {{ certificate: w.crt, private_key: w.key }}, {{ certificate: r.crt, private_key: r.key }}]"
        ),
        &files,
    );
    let client = TlsClient::trusting(&authority);
    for (name, shown) in [("a.test", &first), ("B.test", &second), ("x.w.test", &wild)] {
        let session = client.connect(world.address(), name).unwrap();
        assert_eq!(session.certificate(), der(shown), "{name}");
    }
    // Another name gets the first certificate, and a client that checks goes away.
    for name in ["x.y.w.test", "unknown.test"] {
        assert!(client.connect(world.address(), name).is_err(), "{name}");
    }
    world.counts("refused", 2.0);

    let before = world.upstream.requests();
    for (name, host, status) in [
        ("a.test", "a.test", 200),
        ("a.test", "A.TEST.:8443", 200),
        ("a.test", "also-a.test", 200),
        ("a.test", "b.test", 421),
        ("a.test", "B.Test:443", 421),
        ("b.test", "a.test", 421),
        ("a.test", "x.w.test", 421),
        ("x.w.test", "y.w.test", 200),
        // No certificate is for it: whoever stands in front may use names of its own.
        ("a.test", "public.test", 200),
    ] {
        let mut session = client.connect(world.address(), name).unwrap();
        let (found, body) = session.get("/p/a", &[("host", host)]).unwrap();
        assert_eq!(found, status, "{name} {host}");
        assert_eq!(
            client.http2(world.address(), name, host, "/p/a").0,
            status,
            "HTTP/2: {name} {host}"
        );
        if status == 421 {
            assert!(body.contains("\"reason\":\"misdirected_request\""), "{body}");
            // The connection itself is good.
            assert_eq!(session.get("/p/a", &[("host", name)]).unwrap().0, 200);
        }
    }
    assert_eq!(world.upstream.requests() - before, 5 * 2 + 4);
    let misdirected = [("reason", "misdirected_request"), ("decision", "deny")];
    assert_eq!(gateway::decisions(&world.gateway.metrics(), &misdirected), 8.0);
}

#[test]
fn client_certificates_off_optional_and_required() {
    let (servers, clients, strangers) = (
        Authority::new("servers"),
        Authority::new("clients"),
        Authority::new("strangers"),
    );
    let pair = servers.issue(&["localhost"]);
    let (good, late, strange) = (
        clients.issue(&["client"]),
        clients.issue_for(&["client"], Kind::Ecdsa, 2021),
        strangers.issue(&["client"]),
    );
    let ca = clients.pem();
    for (mode, expected) in [
        ("off", [true, true, true, true]),
        ("optional", [true, true, false, false]),
        ("required", [false, true, false, false]),
        ("", [false, true, false, false]),
    ] {
        let mode_line = if mode.is_empty() {
            String::new()
        } else {
            format!(", client_certificate: {mode}")
        };
        let world = World::start(
            &format!("{ONE}, client_ca: ca.crt{mode_line}"),
            &files(&pair, &ca),
        );
        let asked = [None, Some(&good), Some(&late), Some(&strange)];
        let mut refused = 0;
        for (shown, is_served) in asked.into_iter().zip(expected) {
            for versions in [&version::TLS12, &version::TLS13] {
                let before = world.upstream.requests();
                let client = TlsClient::with(&servers, shown, &[versions]);
                // With TLS 1.3 a client learns of the refusal when it reads.
                let served = client
                    .connect(world.address(), "localhost")
                    .and_then(|mut session| session.get("/p/a", &[]));
                assert_eq!(served.is_ok(), is_served, "{mode} {shown:?}: {served:?}");
                assert_eq!(world.upstream.requests() - before, usize::from(is_served));
                refused += usize::from(!is_served);
            }
        }
        world.counts("client_certificate", refused as f64);
    }
}

#[test]
fn a_session_is_resumed_only_where_nothing_rests_on_it() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let pair = servers.issue(&["localhost"]);
    let shown = clients.issue(&["client"]);
    let resumes = |world: &World, client: &TlsClient| {
        let mut first = client.connect(world.address(), "localhost").unwrap();
        // Tickets of TLS 1.3 are read with the first response.
        assert_eq!(first.get("/p/a", &[]).unwrap().0, 200);
        let mut second = client.connect(world.address(), "localhost").unwrap();
        assert_eq!(second.get("/p/a", &[]).unwrap().0, 200);
        assert!(!second.may_send_early, "what is replayed would be decided twice");
        second.is_resumed()
    };
    let plain = World::start(ONE, &files(&pair, ""));
    let ca = clients.pem();
    let checked = World::start(
        &format!("{ONE}, client_ca: ca.crt, client_certificate: optional"),
        &files(&pair, &ca),
    );
    for versions in [&version::TLS12, &version::TLS13] {
        let client = TlsClient::with(&servers, None, &[versions]).with_early_data();
        assert!(resumes(&plain, &client), "{versions:?}");
        assert!(!resumes(&checked, &client), "{versions:?}");
        assert!(
            !resumes(&checked, &TlsClient::with(&servers, Some(&shown), &[versions])),
            "{versions:?}"
        );
    }
    // Not beyond a change of the files either.
    let client = TlsClient::trusting(&servers);
    assert!(resumes(&plain, &client));
    let next = servers.issue(&["localhost"]);
    plain.gateway.folder.write("a.crt", &next.certificate);
    plain.gateway.folder.write("a.key", &next.key);
    let fresh = TlsClient::trusting(&servers);
    eventually("the new certificate", || {
        let session = fresh.connect(plain.address(), "localhost").unwrap();
        session.certificate() == der(&next)
    });
    assert!(!client.connect(plain.address(), "localhost").unwrap().is_resumed());
}

#[test]
fn a_changed_authority_of_clients_is_in_force_at_once() {
    let (servers, old, new) = (
        Authority::new("servers"),
        Authority::new("old"),
        Authority::new("new"),
    );
    let pair = servers.issue(&["localhost"]);
    let (of_old, of_new) = (old.issue(&["client"]), new.issue(&["client"]));
    let ca = old.pem();
    let world = World::start(&format!("{ONE}, client_ca: ca.crt"), &files(&pair, &ca));
    let is_served = |shown: &Pair| {
        let client = TlsClient::showing(&servers, shown);
        let session = client.connect(world.address(), "localhost");
        session.and_then(|mut session| session.get("/p/a", &[])).is_ok()
    };
    let kept = TlsClient::showing(&servers, &of_old);
    assert!(is_served(&of_old) && !is_served(&of_new));
    kept.connect(world.address(), "localhost")
        .unwrap()
        .get("/p/a", &[])
        .unwrap();

    // Gone or empty: the check stays as it was, and is never left away.
    for text in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        world.gateway.folder.write("ca.crt", text);
        eventually("the fault", || !succeeded(&world));
        assert!(is_served(&of_old) && !is_served(&of_new));
        let nobody = TlsClient::trusting(&servers).connect(world.address(), "localhost");
        assert!(nobody.and_then(|mut session| session.get("/p/a", &[])).is_err());
    }
    world.gateway.folder.write("ca.crt", &new.pem());
    eventually("the new authority", || is_served(&of_new));
    assert!(!is_served(&of_old) && succeeded(&world));
    // Not by way of a session from before.
    assert!(
        kept.connect(world.address(), "localhost")
            .and_then(|mut session| session.get("/p/a", &[]))
            .is_err()
    );
}

fn succeeded(world: &World) -> bool {
    world
        .gateway
        .metrics()
        .value("scopegate_config_last_reload_successful", &[])
        == 1.0
}

/// New connections without a pause until the end; every one of them must be served.
fn load(
    address: SocketAddr,
    client: &TlsClient,
    is_over: &Arc<AtomicBool>,
    count: &Arc<AtomicUsize>,
) -> std::thread::JoinHandle<()> {
    let (client, is_over, count) = (client.clone(), Arc::clone(is_over), Arc::clone(count));
    std::thread::spawn(move || {
        let mut kept = client.connect(address, "localhost").unwrap();
        while !is_over.load(Ordering::SeqCst) {
            let mut session = client.connect(address, "localhost").unwrap();
            assert_eq!(session.get("/p/new", &[]).unwrap().0, 200);
            assert_eq!(kept.get("/p/kept", &[]).unwrap().0, 200);
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
}

#[test]
fn certificates_change_under_load_without_a_failure() {
    let authority = Authority::new("servers");
    let first = authority.issue_for(&["localhost"], Kind::Ecdsa, 2031);
    let world = World::start(ONE, &files(&first, ""));
    let client = TlsClient::trusting(&authority);
    let expiry = || {
        let labels = [("role", "server")];
        world
            .gateway
            .metrics()
            .value("scopegate_certificate_expiry_timestamp_seconds", &labels)
    };
    assert_eq!(expiry(), 1_924_992_000.0);
    let shown = || {
        client
            .connect(world.address(), "localhost")
            .unwrap()
            .certificate()
    };
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..2)
        .map(|_| load(world.address(), &client, &is_over, &count))
        .collect();
    let goes_on = || {
        let before = count.load(Ordering::SeqCst);
        eventually("requests", || count.load(Ordering::SeqCst) > before + 20);
    };
    goes_on();
    assert_eq!(shown(), der(&first));

    // A key of another pair: what was there stays, and it shows.
    let second = authority.issue_for(&["localhost"], Kind::Rsa, 2032);
    world.gateway.folder.write("a.key", &second.key);
    eventually("the fault", || !succeeded(&world));
    goes_on();
    assert_eq!((shown(), expiry()), (der(&first), 1_924_992_000.0));
    // The certificate follows: the pair is whole again.
    world.gateway.folder.write("a.crt", &second.certificate);
    eventually("the second certificate", || shown() == der(&second));
    eventually("its end", || expiry() == 1_956_528_000.0);
    eventually("a good reload", || succeeded(&world));

    // What is broken in the configuration does not hold up a certificate.
    let third = authority.issue(&["localhost"]);
    world.gateway.configure("{{{");
    eventually("the fault", || !succeeded(&world));
    world.gateway.folder.write("a.crt", &third.certificate);
    world.gateway.folder.write("a.key", &third.key);
    eventually("the third certificate", || shown() == der(&third));
    goes_on();
    is_over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("a request failed");
    }
}

#[test]
fn bad_pairs_are_refused_by_check_and_at_the_start() {
    let authority = Authority::new("servers");
    let (pair, other) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let yaml = format!(
        "listeners:\n  - address: 127.0.0.1:0\n    tls:\n      certificate: a.crt\n      private_key: b.key\n{}",
        items(&issuer, &upstream, ROUTES)
    );
    let folder = Folder::new(&yaml, &[("a.crt", &pair.certificate), ("b.key", &other.key)]);
    let path = folder.config();
    for command in ["check", "run"] {
        let output = gateway::run(&[command, "--config", path.to_str().unwrap()], "");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {errors}");
        assert!(
            errors.contains("the private key does not belong to the certificate"),
            "{command}: {errors}"
        );
        assert!(errors.contains("scopegate.yaml:"), "{command}: {errors}");
    }
    // One that has expired is served, and said to have.
    let late = authority.issue_for(&["localhost"], Kind::Ecdsa, 2021);
    folder.write("a.crt", &late.certificate);
    folder.write("b.key", &late.key);
    let output = gateway::run(&["check", "--config", path.to_str().unwrap()], "");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains("has expired"), "{errors}");
}

#[test]
fn who_does_not_speak_tls_is_told_or_left() {
    let authority = Authority::new("servers");
    let pair = authority.issue(&["localhost"]);
    let listeners = format!(
        "timeouts: {{ handshake: 500ms }}\nlisteners: [{{ address: 127.0.0.1:0, tls: {{ {ONE} }} }}]\n"
    );
    let world = World::start_with(&listeners, &files(&pair, ""));
    let response = get(world.address(), "/p/a", &[]);
    assert_eq!((response.status, response.text().contains("TLS")), (400, true));
    // A large request is read for a while, so that the answer arrives.
    let mut client = Client::connect(world.address());
    client.send(head("POST", "/p/a", &[], Some(50_000)));
    client.send(vec![b'x'; 50_000]);
    assert_eq!(client.response().status, 400);
    world.counts("plaintext", 2.0);
    let mut client = Client::connect(world.address());
    client.send(b"\x00\x01\x02");
    assert!(client.is_closed_within(Duration::from_secs(5)));
    world.counts("plaintext", 3.0);

    // Nothing at all, the beginning of a record, and a record that is none.
    let silent = TcpStream::connect(world.address()).unwrap();
    let mut half = TcpStream::connect(world.address()).unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    world.counts("timeout", 2.0);
    drop((silent, half));
    let mut broken = Client::connect(world.address());
    broken.send([b"\x16\x03\x01\x00\x04".as_slice(), b"\xff\xff\xff\xff"].concat());
    broken.finish();
    broken.rest();
    eventually("the failure", || {
        world.handshakes("failed") + world.handshakes("gone") == 1.0
    });
    assert_eq!(world.upstream.requests(), 0);
    // Nobody else was kept waiting.
    let client = TlsClient::trusting(&authority);
    assert_eq!(
        client
            .connect(world.address(), "localhost")
            .unwrap()
            .get("/p/a", &[])
            .unwrap()
            .0,
        200
    );
}
