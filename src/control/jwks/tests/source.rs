//! One fetch: answers that are faults, discovery, and whom TLS trusts.

use std::net::Ipv4Addr;

use http::StatusCode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::PrivateKeyDer;
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::FetchError;

async fn fetch(issuer: &str, from: KeySource, settings: &JwksSettings) -> Result<KeySet, KeyFault> {
    match Source::new(issuer, &from, settings).fetch().await? {
        Answer::Keys { keys, .. } => Ok(keys),
        Answer::Unchanged => panic!("nothing to compare with"),
    }
}

#[tokio::test]
async fn bad_answers_are_faults_with_words_of_their_own() {
    let issuer = TestIssuer::start().await;
    let set = jwks(&["a"]);
    let large = format!("{}{set}", " ".repeat(600 << 10));
    let cases = [
        (
            Behaviour::Status("302 Found\r\nLocation: /jwks2"),
            KeyFault::Fetch(FetchError::Status(StatusCode::FOUND)),
            "status",
        ),
        (
            Behaviour::Status("204 No Content"),
            KeyFault::Fetch(FetchError::Status(StatusCode::NO_CONTENT)),
            "status",
        ),
        (
            Behaviour::Body(large),
            KeyFault::Fetch(FetchError::TooLarge),
            "too_large",
        ),
        (
            Behaviour::Endless,
            KeyFault::Fetch(FetchError::TooLarge),
            "too_large",
        ),
        (Behaviour::Hang, KeyFault::Fetch(FetchError::TimedOut), "timeout"),
        (
            Behaviour::HangUp,
            KeyFault::Fetch(FetchError::Protocol),
            "protocol",
        ),
        (
            Behaviour::With("Content-Encoding: gzip", set),
            KeyFault::Fetch(FetchError::Encoded),
            "protocol",
        ),
    ];
    for (behaviour, expected, label) in cases {
        issuer.set("/jwks", behaviour.clone());
        let fault = fetch("https://a/", KeySource::Uri(issuer.url("/jwks")), &settings())
            .await
            .unwrap_err();
        assert_eq!(fault, expected, "{behaviour:?}");
        assert_eq!(fault.label(), label);
    }
    for body in [
        "<html>Sign in</html>",
        "",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"AA"}]}"#,
    ] {
        issuer.set("/jwks", Behaviour::Body(body.into()));
        let fault = fetch("https://a/", KeySource::Uri(issuer.url("/jwks")), &settings())
            .await
            .unwrap_err();
        assert_eq!(fault.label(), "no_keys", "{body}");
        assert!(
            body.is_empty() || !fault.to_string().contains(body),
            "what was sent is not quoted: {fault}"
        );
    }
    let insecure = KeySource::Uri("http://192.0.2.1/jwks".into());
    let fault = fetch("https://a/", insecure, &settings()).await.unwrap_err();
    assert_eq!(fault, KeyFault::Fetch(FetchError::Insecure));
}

#[tokio::test]
async fn discovery_finds_the_set_and_refuses_the_document_of_another() {
    let server = TestIssuer::start().await;
    let issuer = server.url("/tenant/");
    let document =
        |issuer: &str, uri: &str| Behaviour::Body(json!({"issuer": issuer, "jwks_uri": uri}).to_string());
    let openid = "/tenant/.well-known/openid-configuration";
    let oauth = "/.well-known/oauth-authorization-server/tenant";
    server.set("/jwks", Behaviour::Body(jwks(&["a"])));

    server.set(openid, document(&issuer, &server.url("/jwks")));
    assert!(
        fetch(&issuer, KeySource::Discovery, &settings())
            .await
            .unwrap()
            .contains("a")
    );

    for other in [
        server.url("/tenant"),
        server.url("/other/"),
        issuer.to_uppercase(),
    ] {
        server.set(openid, document(&other, &server.url("/jwks")));
        let fault = fetch(&issuer, KeySource::Discovery, &settings())
            .await
            .unwrap_err();
        assert_eq!(fault, KeyFault::OtherIssuer, "{other}");
    }
    server.set(openid, document(&issuer, "http://192.0.2.1/jwks"));
    let fault = fetch(&issuer, KeySource::Discovery, &settings())
        .await
        .unwrap_err();
    assert_eq!(fault, KeyFault::Fetch(FetchError::Insecure));

    // Only RFC 8414.
    server.set(openid, Behaviour::Status("404 Not Found"));
    server.set(oauth, document(&issuer, &server.url("/jwks")));
    let mut source = Source::new(&issuer, &KeySource::Discovery, &settings());
    assert!(source.fetch().await.is_ok());
    // Discovery goes away, the keys do not.
    server.set(oauth, Behaviour::Status("500 Internal Server Error"));
    assert!(source.fetch().await.is_ok());
}

#[tokio::test]
async fn tls_trusts_the_named_file_and_nothing_else() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let server = TestIssuer::start_tls(TlsAcceptor::from(Arc::new(tls))).await;
    server.set("/jwks", Behaviour::Body(jwks(&["a"])));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let by_name = KeySource::Uri(server.url("/jwks"));
    let with_ca = JwksSettings {
        ca: Some(ca.clone()),
        ..settings()
    };

    let missing = fetch("https://a/", by_name.clone(), &with_ca).await.unwrap_err();
    assert!(matches!(missing, KeyFault::Trust(_)), "{missing}");
    std::fs::write(&ca, cert.pem()).unwrap();
    assert!(
        fetch("https://a/", by_name, &with_ca)
            .await
            .unwrap()
            .contains("a")
    );
    // The certificate names localhost, not the address.
    let by_address = KeySource::Uri(format!(
        "https://{}:{}/jwks",
        Ipv4Addr::LOCALHOST,
        server.address.port()
    ));
    let misnamed = fetch("https://a/", by_address, &with_ca).await.unwrap_err();
    assert_eq!(misnamed.label(), "tls", "{misnamed}");
    let other = generate_simple_self_signed(["localhost".into()]).unwrap();
    std::fs::write(&ca, other.cert.pem()).unwrap();
    let untrusted = fetch("https://a/", KeySource::Uri(server.url("/jwks")), &with_ca)
        .await
        .unwrap_err();
    assert_eq!(untrusted.label(), "tls", "{untrusted}");
}
