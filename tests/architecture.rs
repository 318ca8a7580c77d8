//! The house rules that a machine can hold: which module may use which, how a file opens, how long it is, and that
//! nothing on the way of a request can end the process.
//!
//! What counts is the code of a file without comments and without what stands under `#[cfg(test)]`: tests may use what
//! they like. Files named `tests.rs` or `test_….rs`, and what lies under a directory `tests`, are tests as a whole; that
//! they are compiled as such is checked too.
//! A path is seen as `crate::x`, `crate::{x, y::z}`, or as many `super::` as lead to the root of the crate.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails where it stands"
)]

use std::fmt;
use std::path::{Path, PathBuf};

/// A module uses only what stands before it; peers, in one entry, never use one another.
const ORDER: [&[&str]; 12] = [
    &["definition"],
    &["token"],
    &["policy"],
    &["snapshot"],
    &["clock"],
    &["telemetry"],
    &["net"],
    &["gateway", "control", "authority"],
    &["config"],
    &["app"],
    &["cli"],
    &["main", "lib"],
];

const MAX_LINES: usize = 400;

/// Files that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// What ends the process, or the task, of a request.
const FORBIDDEN: [&str; 7] = [
    ".unwrap()",
    ".expect(",
    "panic!",
    "todo!",
    "unimplemented!",
    "unreachable!",
    ".unwrap_err()",
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    UnknownModule(String),
    WrongWay { user: String, used: String, line: usize },
    NoOpening,
    TooLong(usize),
    Forbidden { what: &'static str, line: usize },
    StaleException(String),
    NotOnlyForTests,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownModule(name) => write!(f, "module `{name}` has no place in the order"),
            Self::WrongWay { user, used, line } => write!(f, "line {line}: `{user}` must not use `{used}`"),
            Self::NoOpening => write!(f, "does not open with `//!`"),
            Self::TooLong(lines) => write!(f, "{lines} lines before its tests, at most {MAX_LINES}"),
            Self::Forbidden { what, line } => write!(f, "line {line}: `{what}`"),
            Self::NotOnlyForTests => write!(f, "is named like tests and compiled without them"),
            Self::StaleException(name) => write!(f, "{name} needs no exception any more"),
        }
    }
}

/// A file of `src`, by its path below `src`.
struct Source {
    name: String,
    text: String,
}

impl Source {
    /// `token/verify.rs` → `["token", "verify"]`; `token/mod.rs` → `["token"]`; `lib.rs` → `[]`.
    fn module_path(&self) -> Vec<&str> {
        let path: Vec<&str> = self.name.trim_end_matches(".rs").split('/').collect();
        match path.as_slice() {
            ["lib"] => Vec::new(),
            [parents @ .., "mod"] => parents.to_vec(),
            path => path.to_vec(),
        }
    }

    fn top(&self) -> &str {
        self.name
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
    }

    fn is_test(&self) -> bool {
        let stem = self.name.rsplit('/').next().unwrap_or_default();
        stem == "tests.rs" || stem.starts_with("test_") || self.name.contains("/tests/")
    }

    /// The names of the modules that are declared under `#[cfg(test)]`.
    fn test_modules(&self) -> impl Iterator<Item = &str> {
        let next = self.text.lines().skip(1);
        self.text
            .lines()
            .zip(next)
            .filter(|(line, _)| line.trim() == "#[cfg(test)]")
            .filter_map(|(_, next)| next.trim().strip_suffix(';')?.rsplit(' ').next())
    }

    /// Every line, those of tests left empty, so that lines keep their numbers.
    fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.text.lines().collect();
        let mut at = 0;
        while at < lines.len() {
            if lines[at].trim() == "#[cfg(test)]" {
                let end = end_of_item(&lines, at + 1);
                lines[at..=end].fill("");
                at = end;
            }
            at += 1;
        }
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        lines
    }

    /// The code without comments and tests.
    fn code(&self) -> String {
        let lines: Vec<&str> = self.lines().into_iter().map(without_comment).collect();
        lines.join("\n")
    }
}

/// The last line of the item that begins at a line: the line itself, or the next one that closes at its indentation.
fn end_of_item(lines: &[&str], start: usize) -> usize {
    let Some(first) = lines.get(start) else {
        return lines.len() - 1;
    };
    if first.ends_with([';', '}']) {
        return start;
    }
    let indentation = &first[..first.len() - first.trim_start().len()];
    let closing = format!("{indentation}}}");
    let after = lines[start..].iter().position(|line| *line == closing);
    after.map_or(lines.len() - 1, |after| start + after)
}

/// Cuts `// …`; a `//` inside of a word, such as an address, stays.
fn without_comment(line: &str) -> &str {
    line.match_indices("//")
        .map(|(at, _)| at)
        .find(|&at| line[..at].chars().next_back().is_none_or(char::is_whitespace))
        .map_or(line, |at| &line[..at])
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|peers| peers.contains(&module))
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The top-level modules that a file names, with their lines.
fn uses(source: &Source) -> Vec<(String, usize)> {
    let code = source.code();
    let mut found = Vec::new();
    let mut roots = vec!["crate::".to_owned()];
    let depth = source.module_path().len();
    if depth > 0 {
        roots.push("super::".repeat(depth));
    }
    for root in roots {
        for (at, _) in code.match_indices(&root) {
            let before = code[..at].chars().next_back();
            // `super::super::` is also found inside of a longer chain, and `$crate` in macros is the same crate.
            if before.is_some_and(|c| is_word(c) || c == ':') {
                continue;
            }
            for module in first_names(&code[at + root.len()..]) {
                found.push((module, line_of(&code, at)));
            }
        }
    }
    // Names of types and functions at the root are not modules.
    found.retain(|(module, _)| module != "super" && module.chars().all(|c| c.is_lowercase() || c == '_'));
    found
}

/// `token::Json` → `token`; `{policy::{self, Reason}, token}` → `policy`, `token`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.trim_start().strip_prefix('{') else {
        return vec![path.chars().take_while(|&c| is_word(c)).collect()];
    };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut name = String::new();
    let mut is_first = true;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                is_first = true;
            }
            c if depth == 0 && is_first && is_word(c) => name.push(c),
            c if depth == 0 && !name.is_empty() && !c.is_whitespace() => is_first = false,
            c if depth == 0 && !name.is_empty() && c.is_whitespace() => is_first = false,
            _ => {}
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}

fn check(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//!") {
        faults.push(Fault::NoOpening);
    }
    if source.is_test() {
        return faults;
    }
    let lines = source.lines().len();
    let is_excepted = LONG_FILES.iter().any(|(name, _)| *name == source.name);
    match (lines > MAX_LINES, is_excepted) {
        (true, false) => faults.push(Fault::TooLong(lines)),
        (false, true) => faults.push(Fault::StaleException(source.name.clone())),
        _ => {}
    }
    let code = source.code();
    for what in FORBIDDEN {
        for (at, _) in code.match_indices(what) {
            let is_whole = what.starts_with('.') || !code[..at].chars().next_back().is_some_and(is_word);
            if is_whole {
                faults.push(Fault::Forbidden {
                    what,
                    line: line_of(&code, at),
                });
            }
        }
    }
    faults.extend(check_order(source));
    faults
}

fn check_order(source: &Source) -> Vec<Fault> {
    let user = source.top();
    let Some(own) = rank(user) else {
        return vec![Fault::UnknownModule(user.to_owned())];
    };
    uses(source)
        .into_iter()
        .filter(|(used, _)| used != user)
        .filter_map(|(used, line)| match rank(&used) {
            None => Some(Fault::UnknownModule(used)),
            Some(theirs) if theirs < own => None,
            Some(_) => Some(Fault::WrongWay {
                user: user.to_owned(),
                used,
                line,
            }),
        })
        .collect()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(read(&root, &path));
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

fn read(root: &Path, path: &PathBuf) -> Source {
    Source {
        name: path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/"),
        text: std::fs::read_to_string(path).unwrap(),
    }
}

#[test]
fn the_house_rules_hold() {
    let sources = sources();
    assert!(
        sources.len() > 20,
        "only {} files found: the check looks in the wrong place",
        sources.len()
    );
    let faults: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            check(source)
                .into_iter()
                .map(move |fault| format!("src/{}: {fault}", source.name))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn tests_are_compiled_as_tests() {
    let sources = sources();
    let faults: Vec<String> = misnamed(&sources)
        .into_iter()
        .map(|name| format!("src/{name}: {}", Fault::NotOnlyForTests))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Files that are named like tests and that no `#[cfg(test)]` declares.
fn misnamed(sources: &[Source]) -> Vec<&str> {
    sources
        .iter()
        .filter(|source| source.is_test() && !source.name.contains("/tests/"))
        .filter(|source| {
            let path = source.module_path();
            let Some((own, parent)) = path.split_last() else {
                return true;
            };
            !sources
                .iter()
                .any(|other| other.module_path() == parent && other.test_modules().any(|name| name == *own))
        })
        .map(|source| source.name.as_str())
        .collect()
}

#[test]
fn exceptions_name_files_that_are_there() {
    let sources = sources();
    for (name, reason) in LONG_FILES {
        assert!(
            sources.iter().any(|source| source.name == name),
            "{name}: {reason}"
        );
    }
}

mod the_check_can_fail {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source {
            name: name.to_owned(),
            text: format!("//! Opening.\n{text}"),
        }
    }

    fn wrong_way(name: &str, text: &str) -> Vec<String> {
        check_order(&source(name, text))
            .into_iter()
            .map(|fault| match fault {
                Fault::WrongWay { used, .. } => used,
                other => panic!("{name}: {other}"),
            })
            .collect()
    }

    #[test]
    fn order() {
        let none: [&str; 0] = [];
        for (name, text, expected) in [
            ("token/verify.rs", "use crate::definition::Secret;", &none[..]),
            ("token/verify.rs", "use crate::policy::Reason;", &["policy"]),
            (
                "token/verify.rs",
                "fn f() -> crate::config::Settings {}",
                &["config"],
            ),
            ("token/verify.rs", "use crate::token::Json;", &none),
            (
                "policy/table.rs",
                "use crate::{token::Json, net::{Limits, x::y}};",
                &["net"],
            ),
            (
                "policy/table.rs",
                "use crate::{\n    app,\n    token::{self, gateway},\n    cli as c,\n};",
                &["app", "cli"],
            ),
            ("gateway/service.rs", "use crate::control::X;", &["control"]),
            ("control/jwks.rs", "use crate::gateway::X;", &["gateway"]),
            ("authority/mod.rs", "use crate::control::X;", &["control"]),
            ("control/mod.rs", "use crate::authority::X;", &["authority"]),
            ("token/a/b.rs", "use super::super::super::policy::X;", &["policy"]),
            ("token/mod.rs", "use super::policy::X;", &["policy"]),
            ("token/a.rs", "use super::policy::X;", &none),
            ("token/a.rs", "// use crate::policy::X;", &none),
            ("token/a.rs", "/// See [`crate::policy::X`].", &none),
            (
                "token/a.rs",
                "const X: &str = \"http://x\"; use crate::policy::X;",
                &["policy"],
            ),
            (
                "token/a.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests { use crate::policy::X; }",
                &none,
            ),
            // What follows a test counts again.
            (
                "token/a.rs",
                "#[cfg(test)]\nmod tests;\nuse crate::policy::X;\n#[cfg(test)]\nfn f() {\n    crate::net::x();\n}\nuse crate::cli::X;",
                &["policy", "cli"],
            ),
            ("main.rs", "use scopegate::cli; use crate::cli;", &none),
            ("app.rs", "use crate::config::X; use crate::cli::X;", &["cli"]),
        ] {
            assert_eq!(wrong_way(name, text), expected, "{name}: {text}");
        }
    }

    #[test]
    fn unknown_modules() {
        assert_eq!(
            check(&source("util.rs", "")),
            [Fault::UnknownModule("util".into())]
        );
        assert_eq!(
            check(&source("token/a.rs", "use crate::helpers::X;")),
            [Fault::UnknownModule("helpers".into())]
        );
    }

    #[test]
    fn opening() {
        let headless = Source {
            name: "token/a.rs".into(),
            text: "use std::fmt;\n".into(),
        };
        assert_eq!(check(&headless), [Fault::NoOpening]);
        let headless_test = Source {
            name: "token/verify/tests.rs".into(),
            text: "use super::*;\n".into(),
        };
        assert_eq!(check(&headless_test), [Fault::NoOpening]);
    }

    #[test]
    fn tests_that_are_none() {
        let declared = [
            source(
                "token/mod.rs",
                "#[cfg(test)]\nmod test_keys;\n#[cfg(test)]\nmod tests;",
            ),
            source("token/tests.rs", ""),
            source("token/test_keys.rs", ""),
        ];
        assert!(misnamed(&declared).is_empty());
        let plain = [source("token/mod.rs", "mod tests;"), source("token/tests.rs", "")];
        assert_eq!(misnamed(&plain), ["token/tests.rs"]);
    }

    #[test]
    fn length() {
        let long = "x();\n".repeat(MAX_LINES);
        assert_eq!(
            check(&source("token/a.rs", &long)),
            [Fault::TooLong(MAX_LINES + 1)]
        );
        let tests = format!("#[cfg(test)]\nmod tests {{\n{long}}}");
        assert_eq!(check(&source("token/a.rs", &tests)), []);
    }

    #[test]
    fn what_ends_the_process() {
        for (code, what) in [
            ("x.unwrap();", ".unwrap()"),
            ("x\n    .expect(\"y\");", ".expect("),
            ("panic!(\"x\")", "panic!"),
            ("todo!()", "todo!"),
            ("unreachable!()", "unreachable!"),
        ] {
            let faults = check(&source("token/a.rs", code));
            assert!(
                matches!(faults.as_slice(), [Fault::Forbidden { what: found, .. }] if *found == what),
                "{code}: {faults:?}"
            );
        }
        for code in [
            "x.unwrap_or(1)",
            "#[expect(dead_code)]",
            "// .unwrap()",
            "x.unwrap_or_default()",
        ] {
            assert_eq!(check(&source("token/a.rs", code)), [], "{code}");
        }
        let tests = "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); } }";
        assert_eq!(check(&source("token/a.rs", tests)), []);
    }
}
