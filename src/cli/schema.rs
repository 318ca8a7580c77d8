//! `scopegate schema`: the JSON Schema of the configuration.
//!
//! Editors complete and check from it; `config/scopegate.schema.json` is its output.

use std::io::{self, Write};

use crate::config;

/// Writes the schema, with a newline at its end.
pub fn run(out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &config::schema())?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SCOPEGATE_WRITE_SCHEMA=1 cargo test` writes the committed file anew.
    #[test]
    fn the_schema_is_json() {
        let mut out = Vec::new();
        run(&mut out).unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["title"], "scopegate");
        if std::env::var_os("SCOPEGATE_WRITE_SCHEMA").is_some() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scopegate.schema.json");
            std::fs::write(path, out).unwrap();
        }
    }
}
