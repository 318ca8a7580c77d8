//! The README keeps its word: every reason, metric, key and default that there is stands in it, and what it shows works
//! as it is shown.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails where it stands"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use scopegate::policy::Reason;
use scopegate::telemetry::{Decision, Metrics, Source};
use serde_json::Value;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).unwrap()
}

/// The blocks of a language, without their fences.
fn blocks(readme: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in readme.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(found)) => open = Some((found == language, String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|block| block.0).map(|block| block.1)),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The section under a heading, up to the next of the same or a higher rank.
fn section(readme: &str, heading: &str) -> String {
    let rank = heading.split(' ').next().unwrap().len();
    let is_end = |line: &str| {
        let marks = line.bytes().take_while(|&byte| byte == b'#').count();
        (1..=rank).contains(&marks) && line.as_bytes().get(marks) == Some(&b' ')
    };
    let lines: Vec<&str> = readme
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !is_end(line))
        .collect();
    assert!(!lines.is_empty(), "there is no section `{heading}`");
    lines.join("\n")
}

#[test]
fn every_reason_has_its_row() {
    let section = section(&readme(), "### Reasons");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), Reason::ALL.len());
    for (row, reason) in rows.into_iter().zip(Reason::ALL) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let code = reason.error_code();
        let challenge = match cells[2] {
            "–" | "no error code" => reason.name(),
            code => code.trim_matches('`'),
        };
        assert_eq!(cells[0].trim_matches('`'), reason.name());
        assert_eq!(cells[1], reason.status().as_str(), "{}", reason.name());
        assert_eq!(challenge, code, "{}", reason.name());
        if reason.status() != 200 {
            assert_eq!(cells[3], reason.grpc_status().to_string(), "{}", reason.name());
        }
        assert_eq!(cells[4], reason.text(), "{}", reason.name());
    }
}

#[test]
fn every_metric_has_its_row_with_its_labels() {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry, Reason::names()).unwrap();
    // A family shows itself once it has a series.
    let route = metrics.route("api", "/");
    route.decided(Decision::Allow, 0);
    route.answered(&http::Method::GET, 200, Source::Upstream);
    metrics.issuer("issuer");
    metrics.introspection("issuer");
    metrics.exchange("api");
    metrics.cache("token");
    metrics.upstream("upstream");
    metrics.upstream_is_healthy("upstream", true);
    metrics.connection_errors("silent");
    metrics.certificate_expiry("server");
    metrics.tls_handshakes.with_label_values(&["ok"]);
    metrics.proxy_headers.with_label_values(&["ok"]);
    metrics.definition_fetches.with_label_values(&["ok"]);
    metrics
        .authority_token_requests
        .with_label_values(&["client_credentials", "ok"]);
    metrics.config_in_force(1, "hash");
    metrics.access_log_suppressed().for_each(drop);
    let section = section(&readme(), "## Metrics");
    let mut families = 0;
    for family in registry.gather() {
        let name = family.name();
        if name.starts_with("process_") {
            continue;
        }
        families += 1;
        let start = format!("| `{name}` |");
        let row = section.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        let labels = row.split('|').nth(2).unwrap();
        let documented: BTreeSet<&str> = labels
            .split(',')
            .map(|label| label.trim().trim_matches('`'))
            .collect();
        let found: BTreeSet<&str> = match family.get_metric()[0].get_label() {
            [] => BTreeSet::from([""]),
            labels => labels.iter().map(|label| label.name()).collect(),
        };
        assert_eq!(documented, found, "{name}");
    }
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| `scopegate_"))
        .count();
    assert_eq!(rows, families, "a row of a metric that there is not");
}

#[test]
fn every_key_of_the_configuration_is_explained() {
    // What lies deeper in a definition than its own fields is a matter of the issuing side.
    const ISSUING_SIDE: [&str; 10] = [
        "TokenEncryption",
        "EncryptionKey",
        "AuthorizationDetail",
        "ProofOfPossession",
        "SubjectTypeAuthorization",
        "SubjectPolicy",
        "SubjectPolicy2",
        "UserAccess",
        "ClientAccess",
        "AuthorizationPolicy",
    ];
    let schema = serde_json::to_value(scopegate::config::schema()).unwrap();
    let mut keys = BTreeSet::new();
    properties(&schema["properties"], &mut keys);
    let definitions = schema["$defs"].as_object().unwrap();
    for name in ISSUING_SIDE {
        assert!(
            definitions.contains_key(name),
            "{name} is not in the schema any more"
        );
    }
    for (_, definition) in definitions
        .iter()
        .filter(|(name, _)| !ISSUING_SIDE.contains(&name.as_str()))
    {
        properties(&definition["properties"], &mut keys);
    }
    assert!(keys.len() > 70, "{keys:?}");
    let readme = readme();
    let described = ["## Configuration", "## The definition"].map(|heading| section(&readme, heading));
    let words: BTreeSet<&str> = described
        .iter()
        .flat_map(|section| section.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect();
    let missing: Vec<&String> = keys.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}

fn properties(properties: &Value, keys: &mut BTreeSet<String>) {
    keys.extend(
        properties
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone()),
    );
}

#[test]
fn whole_configurations_are_valid_and_commands_print_what_is_shown() {
    let readme = readme();
    let folder = tempfile::tempdir().unwrap();
    let [definition] = &blocks(&readme, "json")[..] else {
        panic!("one definition is shown")
    };
    std::fs::write(folder.path().join("definition.json"), definition).unwrap();
    let configurations: Vec<String> = blocks(&readme, "yaml")
        .into_iter()
        .filter(|block| block.contains("listeners:"))
        .collect();
    let [configuration] = &configurations[..] else {
        panic!("one whole configuration is shown")
    };
    std::fs::write(folder.path().join("scopegate.yaml"), configuration).unwrap();
    let mut runs = 0;
    for block in blocks(&readme, "console") {
        for (command, shown) in commands(&block) {
            // What needs a running gateway is tried by `tests/clients`.
            if ["scopegate run", "scopegate health", "curl"]
                .iter()
                .any(|live| command.starts_with(live))
            {
                continue;
            }
            runs += 1;
            assert_eq!(run(&command, folder.path()), shown, "$ {command}");
        }
    }
    assert!(runs >= 5, "{runs}");
}

/// Each command of a block, with what is shown below it.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.into(), String::new()));
        } else if let Some((_, shown)) = commands.last_mut() {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    commands
}

/// What a shell prints, both outputs together.
fn run(command: &str, folder: &Path) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_scopegate")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(binaries.to_path_buf()).chain(std::env::split_paths(&path)));
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(folder)
        .env("PATH", path.unwrap())
        .env_remove("SCOPEGATE_CONFIG")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_file_that_is_linked_exists() {
    let readme = readme();
    let links = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        if let Some(anchor) = link.strip_prefix('#') {
            let has_heading = readme.lines().filter(|line| line.starts_with('#')).any(|line| {
                let title = line.trim_start_matches('#').trim().to_lowercase();
                title.replace(' ', "-") == anchor
            });
            assert!(has_heading, "#{anchor}");
        } else {
            assert!(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(),
                "{link}"
            );
        }
    }
}
