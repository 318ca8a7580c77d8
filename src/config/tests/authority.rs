//! The authority, and definitions that are followed.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Followed, Following};
use super::*;
use crate::authority::{EncryptionKey, StoreAddress};
use crate::control::KeySource;
use crate::snapshot::DefinitionOrigin;

const AUTHORITY: &str = "authority: {address: 127.0.0.1:9000, issuer: 'http://127.0.0.1:9000/'";

fn alone(rest: &str) -> Memory {
    Memory::default().file("etc/gate.yaml", format!("{AUTHORITY}{rest}}}"))
}

#[test]
fn an_authority_can_stand_alone() {
    let settings = alone("").load().unwrap();
    let authority = settings.authority.unwrap();
    assert_eq!(authority.address.port(), 9000);
    assert_eq!(authority.management_audience(), "http://127.0.0.1:9000/api/v2/");
    assert_eq!(
        authority.store,
        StoreAddress::Sqlite("etc/scopegate.db".into()),
        "beside the file that names it"
    );
    assert!(
        matches!(authority.encryption_key, EncryptionKey::Kept(path) if path == Path::new("etc/scopegate.db.key"))
    );
    assert!(settings.listeners.is_empty() && settings.plan.apis.is_empty());
    let memory = alone(", store: memory").load().unwrap().authority.unwrap();
    assert!(matches!(memory.encryption_key, EncryptionKey::Ephemeral));
    // Half of a gateway is none.
    let half = Memory::default().file(
        "etc/gate.yaml",
        format!("{AUTHORITY}}}\nlisteners: [{{address: 127.0.0.1:8080}}]"),
    );
    assert!(
        half.faults()[0].contains("`apis` is missing"),
        "{:?}",
        half.faults()
    );
}

#[test]
fn keys_of_32_bytes_in_either_writing() {
    let expected: Vec<u8> = (0..32).collect();
    for text in [
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ] {
        let loaded = alone(", encryption_key: env:KEY")
            .variable("KEY", text)
            .load()
            .unwrap();
        let EncryptionKey::Given(key) = loaded.authority.unwrap().encryption_key else {
            panic!("{text}");
        };
        assert_eq!(key.expose(), expected, "{text}");
    }
    for text in ["short", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg=="] {
        let faults = alone(", encryption_key: env:KEY").variable("KEY", text).faults();
        assert!(
            faults[0].contains("is not 32 bytes") && !faults[0].contains(text),
            "{faults:?}"
        );
    }
}

#[test]
fn a_store_in_postgresql_shows_no_password() {
    let key = ", encryption_key: env:KEY";
    let secret = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let url = "postgres://gate:hush@db.example:5433/gate";
    let shown = "postgres://db.example:5433/gate";
    for store in [url, "env:STORE", "file:store"] {
        let settings = alone(&format!("{key}, store: '{store}'"))
            .variable("KEY", secret)
            .variable("STORE", url)
            .file("etc/store", format!("{url}\n"))
            .load()
            .unwrap();
        let authority = settings.authority.as_ref().unwrap();
        let StoreAddress::Postgres(address) = &authority.store else {
            panic!("{store}");
        };
        assert_eq!(address.to_string(), shown);
        let document = redacted(&settings);
        assert_eq!(document["authority"]["store"], shown);
        assert!(!format!("{document} {authority:?}").contains("hush"));
    }

    for (store, key, fault) in [
        (url, "", "`encryption_key` is missing"),
        (
            "postgres://gate:hush@db.example/gate?sslmode=prefer",
            key,
            "the address of `store` has an `sslmode`",
        ),
        ("env:NONE", key, "`NONE` is not set"),
        (
            "env:ODD",
            key,
            "the address of `store` is no address of PostgreSQL",
        ),
    ] {
        let faults = alone(&format!("{key}, store: '{store}'"))
            .variable("KEY", secret)
            .variable("ODD", "sqlite:hush.db")
            .faults();
        assert!(faults[0].contains(fault), "{store}: {faults:?}");
        assert!(
            faults[0].contains("etc/gate.yaml:1:") && !faults.join(" ").contains("hush"),
            "{faults:?}"
        );
    }
}

#[test]
fn faults_of_the_authority() {
    for (lines, fault) in [
        (
            "address: 127.0.0.1:9000, issuer: 'https://a/b/'",
            "must be an origin and a slash",
        ),
        (
            "address: 127.0.0.1:9000, issuer: 'https://a.example'",
            "must be an origin and a slash",
        ),
        (
            "address: 127.0.0.1:9000, issuer: 'https://A.example/'",
            "must be in lower case",
        ),
        (
            "address: 127.0.0.1:9000, issuer: 'http://a.example/'",
            "must begin with https://",
        ),
        ("address: 9000, issuer: 'https://a.example/'", "`address`"),
        ("issuer: 'https://a.example/'", "`address` is missing"),
        (
            "address: 127.0.0.1:9901, issuer: 'https://a.example/'",
            "already taken",
        ),
        (
            "address: 127.0.0.1:9000, issuer: 'https://a.example/', store: 'mysql:x'",
            "names no store",
        ),
        (
            "address: 127.0.0.1:9000, issuer: 'https://a.example/', stor: x",
            "unknown key `stor`",
        ),
        (
            "address: 127.0.0.1:9000, issuer: 'https://a.example/', encryption_key: hush",
            "a secret is never written here",
        ),
    ] {
        let faults = Memory::default()
            .file("etc/gate.yaml", format!("authority: {{{lines}}}"))
            .faults();
        assert!(
            faults.iter().any(|found| found.contains(fault)),
            "{lines}: {faults:?}"
        );
        assert!(!faults.join(" ").contains("hush"));
    }
}

const FOLLOWING: &str = "
listeners: [{address: 127.0.0.1:8080}]
apis:
  - definition: {follow: 'urn:items'}
    upstream: http://127.0.0.1:3000
    routes: [{path: /items, require: read:items}, {path: /more, require: {any_of: [gone, read:items]}}]
";

fn following(definition: Option<Value>) -> Result<Settings, Faults> {
    let memory = Memory::default().file(
        "etc/gate.yaml",
        format!("{AUTHORITY}, store: memory}}{FOLLOWING}"),
    );
    let followed = Followed::default();
    let told = definition.map(|definition| ("urn:items".to_owned(), Arc::new(definition)));
    followed.replace(told.into_iter().collect());
    let sources = Following {
        sources: &memory,
        followed: &followed,
    };
    load_with(Path::new("etc/gate.yaml"), &sources)
}

#[test]
fn a_definition_can_be_followed() {
    let awaited = following(None).unwrap();
    assert_eq!(awaited.awaited().collect::<Vec<_>>(), ["urn:items"]);
    assert_eq!(awaited.issuers[0].issuer, "http://127.0.0.1:9000/");
    assert_eq!(awaited.issuers[0].source, Some(KeySource::Discovery));

    let told = following(Some(
        json!({"identifier": "urn:items", "scopes": [{"value": "read:items"}], "token_lifetime": 60}),
    ))
    .unwrap();
    assert_eq!(told.awaited().count(), 0);
    let api = &told.plan.apis[0];
    assert_eq!(
        (api.origin, api.definition.token_lifetime),
        (DefinitionOrigin::Followed, 60)
    );
    assert_ne!(
        told.hash, awaited.hash,
        "what is followed is part of what is in force"
    );

    // What a route asks for may be gone tomorrow: that is no fault of this file.
    assert!(following(Some(json!({"identifier": "urn:items"}))).is_ok());
    let faults = following(Some(json!({"identifier": "urn:items", "token_lifetime": "x"}))).unwrap_err();
    assert!(faults.to_string().contains("definition of urn:items"), "{faults}");
}
