//! Lists of revoked tokens: where they come from, who may push, and what is refused.

use super::*;

const ONE: &str = r#"{"revocations": [{"issuer": "i", "jti": "a"}]}"#;

fn with(lines: &str) -> Memory {
    top(lines)
        .file("etc/revoked.json", ONE)
        .variable("S", GOOD_SECRET)
        .variable("SHORT", "kR9v-Zt3mQ")
        .variable("SAMPLE", &"changeme".repeat(4))
        .variable("SPACED", &format!("{GOOD_SECRET} x"))
}

#[test]
fn what_is_written() {
    assert_eq!(top("").load().unwrap().revocations, None);
    let settings = with("revocations: {file: revoked.json}").load().unwrap();
    let revocations = settings.revocations.clone().unwrap();
    assert_eq!(revocations.file, Some("etc/revoked.json".into()));
    assert_eq!((revocations.entries, revocations.push), (100_000, None));
    // A list that changes is no new configuration.
    assert!(!settings.files.contains(&PathBuf::from("etc/revoked.json")));
    let settings = with("revocations: {entries: 7, push: {secret: env:S, store: pushed.json}}")
        .load()
        .unwrap();
    let revocations = settings.revocations.clone().unwrap();
    let push = revocations.push.unwrap();
    assert_eq!(
        (revocations.entries, push.store),
        (7, Some("etc/pushed.json".into()))
    );
    assert_eq!(push.secret.expose(), GOOD_SECRET.as_bytes());
    let shown = redacted(&settings).to_string();
    assert!(
        shown.contains(r#""secret":"[redacted]""#) && !shown.contains(GOOD_SECRET),
        "{shown}"
    );
}

#[test]
fn what_is_refused() {
    for (lines, fault) in [
        ("revocations: {}", "`revocations` needs `file` or `push`"),
        (
            "revocations: {entries: 7}",
            "`revocations` needs `file` or `push`",
        ),
        (
            "revocations: {file: none.json}",
            "cannot read etc/none.json: there is no such file",
        ),
        (
            "revocations: {file: gate.yaml}",
            "gate.yaml is no list of revocations: expected",
        ),
        (
            "revocations: {file: two.json, entries: 1}",
            "two.json has 2 entries; the most is 1 (set revocations.entries)",
        ),
        (
            "revocations: {file: revoked.json, entries: 0}",
            "`entries` is 0; it must be 1 to 1000000",
        ),
        ("revocations: {push: {}}", "`secret` is missing"),
        (
            "revocations: {push: {secret: hunter2}}",
            "`secret` must refer to a secret",
        ),
        ("revocations: {push: {secret: env:SHORT}}", "needs at least 32"),
        ("revocations: {push: {secret: env:SAMPLE}}", "or is a sample"),
        (
            "revocations: {push: {secret: env:SPACED}}",
            "must be visible ASCII without spaces",
        ),
        (
            "admin: off\nrevocations: {push: {secret: env:S}}",
            "`push` needs the admin listener, which is off (set admin.address)",
        ),
        ("revocations: {file: revoked.json, jti: [a]}", "unknown key `jti`"),
    ] {
        let two = ONE.replace("}]", r#"}, {"issuer": "i", "sub": "a"}]"#);
        let faults = with(lines).file("etc/two.json", two).faults();
        assert!(
            faults.len() == 1 && faults[0].contains(fault) && faults[0].starts_with("etc/gate.yaml:"),
            "{lines}: {faults:?}"
        );
    }
}
