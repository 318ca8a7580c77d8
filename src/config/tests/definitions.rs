//! Definitions in files of their own, and the secrets that they need or bring.

use super::*;

#[test]
fn a_definition_at_fault_is_reported_in_its_own_file() {
    let items = "{\n  \"identifier\": \"urn:items\",\n  \"enforce_polices\": true,\n  \"scopes\": [{\"value\": \"openid\"}]\n}";
    let faults = Memory::with(&one_api("", &[ROUTE]))
        .file("etc/items.json", items)
        .faults();
    assert_eq!(
        faults,
        [
            "etc/items.json:3:3: unknown key `enforce_polices` (did you mean `enforce_policies`?)",
            "etc/items.json:4:24: permission `openid` is a reserved name (name what it permits, such as `read:openid`)",
        ]
    );
}

#[test]
fn an_api_comes_out_of_an_export() {
    let export =
        "rules: []\nresourceServers:\n  - identifier: https://orders/\n    scopes: [{value: read:orders}]\n";
    let with = |identifier: &str| {
        let definition = format!("{{export: tenant/t.yaml, identifier: '{identifier}'}}");
        let config = one_api("", &["{path: /a, require: read:orders}"]).replace("items.json", &definition);
        Memory::with(&config).file("etc/tenant/t.yaml", export)
    };
    let settings = with("https://orders/").load().unwrap();
    assert_eq!(settings.plan.apis[0].definition.identifier, "https://orders/");
    assert_eq!(settings.files[1], PathBuf::from("etc/tenant/t.yaml"));
    let faults = with("https://orders").faults();
    assert_eq!(
        faults,
        [
            "etc/gate.yaml:4:53: no API of this export has the identifier `https://orders` (did you mean `https://orders/`?)"
        ]
    );
}

fn symmetric(alg: &str, secret: &str) -> Memory {
    let config = one_api(secret, &["{path: /a, require: authenticated}"]).replace(
        "items.json",
        &format!("{{identifier: 'urn:items', signing_alg: {alg}}}"),
    );
    Memory::with(&config)
        .variable("GOOD", GOOD_SECRET)
        .variable("SHORT", "kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1")
        .variable("SAMPLE", "your-256-bit-secret-your-256-bit-secret")
        .variable("EMPTY", "")
        .file("etc/key", format!("{GOOD_SECRET}\n"))
        .file("etc/key2", format!("{GOOD_SECRET}\r\n"))
}

#[test]
fn secrets_stand_elsewhere() {
    for reference in ["env:GOOD", "file:key", "file:key2"] {
        let settings = symmetric("HS256", &format!("signing_secret: {reference}"))
            .load()
            .unwrap();
        let api = &settings.plan.apis[0];
        assert_eq!(
            api.signing_secret.as_ref().unwrap().expose(),
            GOOD_SECRET.as_bytes()
        );
        assert_eq!(
            settings.issuers[0].source, None,
            "nothing is fetched for an HS* API"
        );
        assert!(!format!("{settings:?}").contains(GOOD_SECRET));
        assert!(!redacted(&settings).to_string().contains(GOOD_SECRET));
    }
    for (alg, secret, fault) in [
        (
            "HS256",
            "",
            "an API that is signed with HS256 needs `signing_secret`",
        ),
        (
            "HS256",
            "signing_secret: env:NONE",
            "the environment variable `NONE` is not set",
        ),
        ("HS256", "signing_secret: env:EMPTY", "is empty"),
        (
            "HS256",
            "signing_secret: env:SHORT",
            "the signing secret has 31 bytes; HS256 needs at least 32",
        ),
        (
            "HS384",
            "signing_secret: env:GOOD",
            "the signing secret has 32 bytes; HS384 needs at least 48",
        ),
        (
            "HS512",
            "signing_secret: env:GOOD",
            "the signing secret has 32 bytes; HS512 needs at least 64",
        ),
        ("HS256", "signing_secret: env:SAMPLE", "well-known sample"),
        ("HS256", "signing_secret: file:none", "cannot read etc/none"),
        (
            "RS256",
            "signing_secret: env:GOOD",
            "only for HS* APIs; this one is signed with RS256",
        ),
        (
            "HS256",
            "signing_secret: kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1S",
            "a secret is never written here",
        ),
        (
            "HS256",
            "signing_secret: 'env:a b'",
            "a secret is never written here",
        ),
    ] {
        let faults = symmetric(alg, secret).faults();
        assert!(
            faults.len() == 1 && faults[0].contains(fault),
            "{secret}: {faults:?}"
        );
        assert!(!faults[0].contains("Zt3mQ"), "{faults:?}");
    }
}

#[test]
fn a_definition_may_bring_its_secret() {
    let with = |secret: &str, lines: &str| {
        let alg = format!("HS256, signing_secret: '{secret}'");
        symmetric(&alg, lines)
    };
    assert!(with(GOOD_SECRET, "").load().is_ok());
    assert!(with(GOOD_SECRET, "signing_secret: env:GOOD").load().is_ok());
    for (secret, lines, fault) in [
        (
            "another-secret-0123456789-abcdef-xyz",
            "signing_secret: env:GOOD",
            "is not the one that the definition has",
        ),
        ("file:/run/secrets/items-signing-secret", "", "not a reference"),
        ("##SIGNING_SECRET_OF_THE_ITEMS_API##", "", "well-known sample"),
        ("0123456789abcdef", "", "needs at least 32"),
    ] {
        let faults = with(secret, lines).faults();
        assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:?}");
        assert!(!faults[0].contains(secret), "{faults:?}");
    }
    assert!(!format!("{:?}", with(GOOD_SECRET, "").load().unwrap()).contains(GOOD_SECRET));
    assert!(
        !redacted(&with(GOOD_SECRET, "").load().unwrap())
            .to_string()
            .contains(GOOD_SECRET)
    );
}
