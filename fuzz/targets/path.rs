//! A path of any form: decided as public only where no reading of it lies within the guarded prefix beside.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::policy::Decision;
use scopegate::snapshot::Snapshot;
use support::api::TestApi;
use support::readings::{GUARDED, can_reach_the_guarded};
use support::routes::{Untouched, guarded, public, snapshot_of, verdict_by};

fuzz_target!(|data: &[u8]| {
    let Ok(path) = std::str::from_utf8(data) else {
        return;
    };
    static TABLE: OnceLock<Snapshot> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        snapshot_of(
            TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken),
            vec![
                guarded(GUARDED, &["admin:items"]),
                guarded("/admin/{*rest}", &["admin:items"]),
                public("/{*rest}"),
            ],
        )
    });
    if let Decision::Forward(_) = verdict_by(table, "GET", "localhost", path, &[], &Untouched) {
        assert!(path.starts_with('/'), "{path:?}");
        assert!(!can_reach_the_guarded(path), "{path:?}");
    }
});
