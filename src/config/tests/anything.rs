//! The examples that are shipped, and whatever else a file may hold.

use super::*;

#[test]
fn examples_are_valid_and_fit_the_schema() {
    struct Here;
    impl Sources for Here {
        fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
            // Keys are not kept in the repository.
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => Ok(listeners::PAIRS[0].0.clone().into()),
                Some("key") => Ok(listeners::PAIRS[0].1.clone().into()),
                _ => System.file(path),
            }
        }
        fn variable(&self, _: &str) -> Option<String> {
            Some(GOOD_SECRET.into())
        }
    }
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for example in [
        "scopegate.yaml",
        "api-keys.yaml",
        "auth0.yaml",
        "bound-tokens.yaml",
        "hs256.yaml",
        "opaque-tokens.yaml",
        "report-mode.yaml",
        "several-issuers.yaml",
        "streams.yaml",
        "tls.yaml",
    ] {
        let path = directory.join(example);
        let loaded = load_with(&path, &Here).map_err(|faults| faults.to_string());
        assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
        let text = std::fs::read_to_string(&path).unwrap();
        let json = parse::parse(&path.as_path().into(), &text).unwrap().to_json();
        let faults: Vec<_> = validator
            .iter_errors(&json)
            .map(|fault| fault.to_string())
            .collect();
        assert!(faults.is_empty(), "{example}: {faults:#?}");
    }
    let committed = std::fs::read_to_string(directory.join("scopegate.schema.json")).unwrap();
    let committed: serde_json::Value = serde_json::from_str(&committed).unwrap();
    assert_eq!(
        committed, schema,
        "write it anew: scopegate schema > config/scopegate.schema.json"
    );
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = Memory::default().file("etc/gate.yaml", text).load();
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "[-a-z0-9:{}\\[\\]&*!|>'\"#%@,? \n\t]{0,200}") {
        let _ = Memory::default().file("etc/gate.yaml", text).load();
    }

    #[test]
    fn arbitrary_values_never_panic(value in "[^\n']{0,40}", line in 0_usize..60) {
        let good = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scopegate.yaml")).unwrap();
        let lines: Vec<_> = good.lines().enumerate().map(|(number, text)| match text.split_once(": ") {
            Some((key, _)) if number == line => format!("{key}: '{value}'"),
            _ => text.to_owned(),
        }).collect();
        let _ = Memory::with(&lines.join("\n")).load();
    }
}
