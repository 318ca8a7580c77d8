//! Listeners: TLS files, PROXY protocol, trusted proxies.

use std::sync::LazyLock;

use super::*;
use crate::gateway::ForwardedFields;
use crate::net::{ClientCertificate, ProxyVersions, Role, TlsVersion};

/// Certificate and key of two pairs.
pub(super) static PAIRS: LazyLock<[(String, String); 2]> = LazyLock::new(|| {
    ["a.test", "b.test"].map(|name| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
});

/// A file with one listener, and two good pairs beside it.
fn listener(lines: &str, rest: &str) -> Memory {
    let config = one_api("", &[ROUTE]).replacen(
        "listeners: [{address: 127.0.0.1:8080}]\n",
        &format!(
            "listeners:\n  - address: 127.0.0.1:8443\n    {}\n{rest}\n",
            lines.replace('\n', "\n    ")
        ),
        1,
    );
    let [(a, a_key), (b, b_key)] = &*PAIRS;
    Memory::with(&config)
        .file("etc/a.crt", a.as_str())
        .file("etc/a.key", a_key.as_str())
        .file("etc/b.crt", b.as_str())
        .file("etc/b.key", b_key.as_str())
        .file("etc/empty.pem", "")
        .file(
            "etc/broken.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
}

#[track_caller]
fn is_fault(memory: &Memory, fault: &str) {
    let faults = memory.faults();
    assert!(
        faults.len() == 1 && faults[0].contains(fault),
        "{fault}: {faults:#?}"
    );
}

#[test]
fn tls_has_the_documented_defaults() {
    let settings = listener("tls: { certificate: a.crt, private_key: a.key }", "")
        .load()
        .unwrap();
    let [listener] = &settings.listeners[..] else {
        panic!()
    };
    let tls = listener.tls.as_ref().unwrap();
    assert!(listener.http2 && listener.proxy_protocol.is_none());
    assert_eq!(tls.pairs[0].certificate, Path::new("etc/a.crt"));
    assert_eq!(
        (tls.client_certificate, tls.min_version),
        (ClientCertificate::Off, TlsVersion::V1_2)
    );
    assert!(tls.client_ca.is_none() && settings.trusted_proxies.is_empty());
    assert_eq!(settings.forwarded_fields, ForwardedFields::XForwarded);
    for file in ["etc/a.crt", "etc/a.key"] {
        assert!(
            settings.files.iter().any(|known| known == Path::new(file)),
            "{file} is watched"
        );
    }
    let text = redacted(&settings).to_string();
    assert!(text.contains("a.key") && !text.contains("PRIVATE"), "{text}");
}

#[test]
fn everything_can_be_said() {
    let lines = "http2: false\nproxy_protocol: v2\ntls:\n  certificate: a.crt\n  private_key: a.key\n  certificates: [{certificate: b.crt, private_key: b.key}]\n  client_ca: b.crt\n  min_version: \"1.3\"";
    let settings = listener(lines, "trusted_proxies: [10.0.0.0/8, '2001:db8::/32', 192.0.2.1, '::ffff:192.0.2.2']\nforwarded_fields: both")
        .load()
        .unwrap();
    let tls = settings.listeners[0].tls.as_ref().unwrap();
    assert!(!settings.listeners[0].http2);
    assert_eq!(settings.listeners[0].proxy_protocol, Some(ProxyVersions::V2));
    assert_eq!(
        (tls.pairs.len(), tls.client_certificate, tls.min_version),
        (2, ClientCertificate::Required, TlsVersion::V1_3)
    );
    let roles: Vec<_> = settings.expiries.iter().map(|expiry| expiry.role).collect();
    assert_eq!(roles, [Role::Server, Role::Server, Role::ClientCa]);
    let trusts = |address: &str| settings.trusted_proxies.contains(address.parse().unwrap());
    assert!(trusts("10.1.2.3") && trusts("::ffff:10.1.2.3") && trusts("192.0.2.2") && trusts("2001:db8::1"));
    assert!(!trusts("11.0.0.1") && !trusts("192.0.2.3") && !trusts("::10.1.2.3"));
}

#[test]
fn bad_pairs_are_faults_at_the_place_of_the_file() {
    for (tls, fault) in [
        (
            "{ certificate: a.crt, private_key: b.key }",
            "etc/gate.yaml:3:45: cannot use etc/b.key: the private key does not belong to the certificate (certificate and key must be of the same pair)",
        ),
        (
            "{ certificate: a.key, private_key: a.key }",
            "cannot use etc/a.key: there is no PEM certificate in it",
        ),
        (
            "{ certificate: empty.pem, private_key: a.key }",
            "there is no PEM certificate in it",
        ),
        (
            "{ certificate: broken.pem, private_key: a.key }",
            "cannot use etc/broken.pem: it cannot be read as a certificate",
        ),
        (
            "{ certificate: a.crt, private_key: a.crt }",
            "cannot use etc/a.crt: there is no PEM private key in it",
        ),
        (
            "{ certificate: a.crt, private_key: none.key }",
            "cannot read etc/none.key: there is no such file",
        ),
        (
            "{ certificate: a.crt, private_key: a.key, certificates: [{ certificate: b.crt, private_key: a.key }] }",
            "cannot use etc/a.key: the private key does not belong",
        ),
        (
            "{ certificate: a.crt, private_key: a.key, client_ca: empty.pem }",
            "cannot use etc/empty.pem: there is no PEM certificate in it",
        ),
        (
            "{ certificate: a.crt, private_key: a.key, client_ca: broken.pem, client_certificate: optional }",
            "cannot use etc/broken.pem",
        ),
        (
            "{ certificate: a.crt, private_key: a.key, client_ca: none.pem, client_certificate: \"off\" }",
            "cannot read etc/none.pem",
        ),
        (
            "{ certificate: a.crt, private_key: a.key, client_certificate: required }",
            "client certificates cannot be checked without `client_ca`",
        ),
        (
            "{ certificate: a.crt, private_key: a.key, min_version: \"1.1\" }",
            "`min_version` cannot be `1.1`",
        ),
        ("{ certificate: a.crt }", "`private_key` is missing"),
    ] {
        is_fault(&listener(&format!("tls: {tls}"), ""), fault);
    }
}

#[test]
fn whom_to_trust_must_be_clear() {
    is_fault(
        &listener("proxy_protocol: v1", ""),
        "`proxy_protocol` needs `trusted_proxies`",
    );
    is_fault(
        &listener("proxy_protocol: v3", "trusted_proxies: [10.0.0.1]"),
        "`proxy_protocol` cannot be `v3`",
    );
    is_fault(
        &listener("http2: true", "trusted_proxies: []"),
        "`trusted_proxies` must not be empty",
    );
    for bad in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "localhost",
        "10.0.0",
        "'*'",
        "'2001:db8::1/32'",
    ] {
        let memory = listener("http2: true", &format!("trusted_proxies: [{bad}]"));
        is_fault(&memory, "is neither an IP address nor a network");
    }
}
