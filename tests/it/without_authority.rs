//! A sidecar that was built without the authority says so, and enforces what it is told all the same.

use crate::harness::gateway::{Folder, ITEMS, get, items, run};
use crate::harness::{Gateway, Issuer, Upstream};

const ROUTES: &str = "    routes: [{ path: /items, require: read:items }]\n";

#[test]
fn a_configuration_with_an_authority_is_at_fault() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let yaml = items(&issuer, &upstream, ROUTES);
    let authority = "authority: { address: 127.0.0.1:0, issuer: 'http://127.0.0.1:9000/', store: memory }\n";
    for text in [format!("{yaml}{authority}"), authority.to_owned()] {
        let folder = Folder::new(&text, &[]);
        let config = folder.config();
        for command in ["check", "run"] {
            let output = run(&[command, "--config", config.to_str().unwrap()], "");
            assert_eq!(output.status.code(), Some(1), "{command}: {output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            let lines = std::fs::read_to_string(&config).unwrap();
            let line = lines
                .lines()
                .position(|line| line.starts_with("authority:"))
                .unwrap()
                + 1;
            let place = format!("scopegate.yaml:{line}:");
            assert!(
                said.contains(&place) && said.contains("`authority` is left out of this build"),
                "{said}"
            );
            assert!(!said.contains("did you mean"), "{said}");
        }
    }
}

/// Definitions of an authority that stands in no file cannot be followed.
#[test]
fn a_definition_can_only_be_followed_elsewhere() {
    let folder = Folder::new(
        "issuers: [{ issuer: 'http://127.0.0.1:9000/' }]
apis: [{ definition: { follow: urn:items }, upstream: 'http://127.0.0.1:1', routes: [{ path: /, require: public }] }]
",
        &[],
    );
    let output = run(&["check", "--config", folder.config().to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn the_demo_needs_the_authority() {
    for arguments in [&["demo"][..], &["demo", "--tls"]] {
        let output = run(arguments, "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("this build has no authority"), "{said}");
    }
}

#[test]
fn tokens_are_judged_as_ever() {
    let (issuer, upstream) = (Issuer::start(), Upstream::start());
    let gateway = Gateway::start(&items(&issuer, &upstream, ROUTES));
    assert_eq!(get(&gateway, &issuer.token(ITEMS, "read:items")), 200);
    assert_eq!(upstream.requests(), 1);
    assert_eq!(get(&gateway, &issuer.token(ITEMS, "write:items")), 403);
    assert_eq!(get(&gateway, "nonsense"), 401);
    assert_eq!(upstream.requests(), 1);
}
