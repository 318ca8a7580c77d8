//! Proof of possession: the address that proofs are for, and how they are taken.

use super::*;

#[test]
fn proofs_are_for_an_address_that_must_be_known() {
    let load = |mechanism: &str, required: bool, rest: &str| {
        let items = format!(
            r#"{{"identifier": "urn:items", "proof_of_possession": {{"mechanism": "{mechanism}", "required": {required}}}}}"#
        );
        Memory::with(&one_api(rest, &["{path: /a, require: public}"])).file("etc/items.json", items)
    };
    for required in [true, false] {
        assert_eq!(
            load("dpop", required, "").faults(),
            [
                "etc/items.json:1:52: `proof_of_possession` with `dpop` needs `public_url`: proofs are for the address that clients see (set public_url beside `definition`)"
            ]
        );
        assert!(load("mtls", required, "").load().is_ok());
        let with_address = load("dpop", required, "public_url: https://items.example.com");
        assert!(with_address.load().is_ok());
    }
}

#[test]
fn how_proofs_are_taken() {
    let with = |text: &str| Memory::with(&format!("{text}\n{}", one_api("", &[ROUTE])));
    let settings =
        with("dpop: {max_age: 2m, max_ahead: 0s, proofs: 5, nonce_lifetime: 5m, nonce_secret: env:NONCE}")
            .variable("NONCE", "0123456789abcdef0123456789abcdef")
            .load()
            .unwrap();
    let proofs = &settings.dpop.proofs;
    assert_eq!(
        (
            proofs.max_age,
            proofs.max_ahead,
            proofs.entries,
            proofs.nonce_lifetime
        ),
        (
            Duration::from_secs(120),
            Duration::ZERO,
            5,
            Some(Duration::from_secs(300))
        )
    );
    let shown = redacted(&settings).to_string();
    assert!(shown.contains(r#""nonce_secret":"[redacted]""#), "{shown}");
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    let defaults = with("").load().unwrap().dpop;
    assert_eq!(defaults.proofs, crate::token::ProofSettings::default());
    assert!(defaults.nonce_secret.is_none());
    for (text, fault) in [
        ("dpop: {max_age: 0s}", "`max_age` is 0s; it must be"),
        ("dpop: {max_age: 11m}", "`max_age`"),
        ("dpop: {max_ahead: 6m}", "`max_ahead`"),
        ("dpop: {proofs: 0}", "`proofs`"),
        ("dpop: {nonce_lifetime: 1s}", "`nonce_lifetime`"),
        ("dpop: {nonce: 5m}", "unknown key `nonce`"),
        (
            "dpop: {nonce_secret: env:NONCE}",
            "`nonce_secret` is of no use without `nonce_lifetime`",
        ),
        (
            "dpop: {nonce_lifetime: 5m, nonce_secret: env:SHORT}",
            "the nonce secret has 5 bytes; it needs at least 32",
        ),
        (
            "client_certificate_field: client_cert",
            "`client_certificate_field` is read from trusted proxies only, and there are none",
        ),
        (
            "trusted_proxies: [10.0.0.0/8]\nclient_certificate_field: x_client",
            "`client_certificate_field` cannot be `x_client`",
        ),
    ] {
        let faults = with(text)
            .variable("NONCE", "0123456789abcdef0123456789abcdef")
            .variable("SHORT", "short")
            .faults();
        let is_told = faults.len() == 1 && faults[0].contains(fault);
        assert!(
            is_told || fault.ends_with("must be") && faults.len() == 1,
            "{text}: {faults:?}"
        );
    }
    let proxied = with("trusted_proxies: [10.0.0.0/8]\nclient_certificate_field: x_forwarded_client_cert");
    assert_eq!(
        proxied.load().unwrap().client_certificate_field,
        Some(crate::gateway::CertificateField::XForwardedClientCert)
    );
}
