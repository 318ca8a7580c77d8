//! A configuration of any form: no panic, at least one fault or settings that can be enforced.
//!
//! The input is the configuration. Every file that it names has the content of one definition, and every variable holds
//! a long secret.

#![no_main]
#![allow(clippy::panic)]

use std::collections::HashMap;
use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use scopegate::config::{Sources, load_with};
use scopegate::snapshot::{ClaimsOf, CompileSettings, compile};

const DEFINITION: &[u8] = br#"{"identifier": "https://items.example.com", "name": "Items",
    "scopes": [{"value": "read:items"}, {"value": "write:items"}], "signing_alg": "RS256"}"#;

struct Memory<'a> {
    configuration: &'a [u8],
}

impl Sources for Memory<'_> {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("/c/scopegate.yaml") {
            Ok(self.configuration.to_vec())
        } else {
            Ok(DEFINITION.to_vec())
        }
    }

    fn variable(&self, _name: &str) -> Option<String> {
        Some("a-secret-that-is-long-enough-".repeat(4))
    }
}

fuzz_target!(|data: &[u8]| {
    let memory = Memory { configuration: data };
    match load_with(Path::new("/c/scopegate.yaml"), &memory) {
        Ok(settings) => {
            assert!(!settings.listeners.is_empty());
            let compiled = compile(
                &settings.plan,
                &HashMap::new(),
                &CompileSettings {
                    generation: 1,
                    config_hash: settings.hash.as_str().into(),
                    max_token_bytes: settings.limits.token_bytes,
                    claims: ClaimsOf::Requests,
                },
            );
            if let Err(faults) = compiled {
                panic!("accepted, and cannot be enforced: {faults:?}");
            }
        }
        Err(faults) => assert!(!faults.to_string().is_empty(), "refused without a fault"),
    }
});
