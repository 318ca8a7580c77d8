//! `scopegate check`: every fault of a configuration, or the table of what each route asks.
//!
//! Reads files and the environment, opens no socket. A fault goes to `err`, the table to `out`, notes to `err`; with
//! JSON everything is one object on `out`, so that a program has one thing to read.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::Output;
use crate::clock::unix_now;
use crate::config::{self, Faults, Settings, Sources};
use crate::policy::{Conditions, Mode, RequirementPlan};
use crate::snapshot::{ApiPlan, RoutePlan};

/// Checks a configuration: `true` where it is valid. The caller turns `false` into exit code 1.
pub fn run(
    path: &Path,
    sources: &dyn Sources,
    output: Output,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    match (config::load_with(path, sources), output) {
        (Ok(settings), Output::Text) => print_table(&settings, out, err).map(|()| true),
        (Ok(settings), Output::Json) => print_json(&report(&settings), out).map(|()| true),
        (Err(faults), Output::Text) => print_faults(&faults, err).map(|()| false),
        (Err(faults), Output::Json) => {
            print_json(&serde_json::json!({"valid": false, "faults": faults}), out).map(|()| false)
        }
    }
}

/// What a valid configuration says.
#[derive(Clone, Debug, Serialize)]
struct Report {
    valid: bool,
    hash: String,
    routes: Vec<Row>,
    notes: Vec<String>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    /// The identifier of the API.
    api: String,
    /// Empty: every host that no other API names.
    hosts: Vec<String>,
    /// Empty: any.
    methods: Vec<String>,
    path: String,
    /// In words.
    require: String,
    public: bool,
    mode: &'static str,
    /// The claim that permissions are read from: `scope` or `permissions`; absent where none is asked for.
    read_from: Option<&'static str>,
}

fn report(settings: &Settings) -> Report {
    let apis = settings.plan.apis.iter();
    let routes = apis.flat_map(|api| api.routes.iter().map(move |route| row(api, route)));
    Report {
        valid: true,
        hash: settings.hash.clone(),
        routes: routes.collect(),
        notes: notes(settings),
    }
}

fn row(api: &ApiPlan, route: &RoutePlan) -> Row {
    let asks_for_permissions = match &route.require {
        RequirementPlan::Public => false,
        RequirementPlan::Token(conditions) => !conditions.all_of.is_empty() || !conditions.any_of.is_empty(),
    };
    let claim = if api.definition.permissions_decide() {
        "permissions"
    } else {
        "scope"
    };
    Row {
        api: api.definition.identifier.clone(),
        hosts: api.hosts.clone(),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        path: route.pattern.as_str().to_owned(),
        require: in_words(&route.require),
        public: route.require == RequirementPlan::Public,
        mode: match route.mode.unwrap_or(api.mode) {
            Mode::Enforce => "enforce",
            Mode::Report => "report",
        },
        read_from: asks_for_permissions.then_some(claim),
    }
}

/// `read:items and (write:items or admin:items) and org_id in [a, b]`.
fn in_words(require: &RequirementPlan) -> String {
    let RequirementPlan::Token(conditions) = require else {
        return "public".into();
    };
    let mut parts = conditions.all_of.clone();
    match conditions.any_of.as_slice() {
        [] => {}
        [only] => parts.push(only.clone()),
        several => parts.push(format!("({})", several.join(" or "))),
    }
    for test in &conditions.claims {
        parts.push(format!("{} in [{}]", test.claim, test.values.join(", ")));
    }
    if !conditions.clients.is_empty() {
        parts.push(format!("client in [{}]", conditions.clients.join(", ")));
    }
    if let Some(step_up) = &conditions.step_up {
        parts.push(step_up.to_string());
    }
    if parts.is_empty() {
        "authenticated".into()
    } else {
        parts.join(" and ")
    }
}

/// What is valid, and still worth a look.
fn notes(settings: &Settings) -> Vec<String> {
    let mut notes: Vec<_> = settings.plan.apis.iter().flat_map(notes_of).collect();
    for issuer in &settings.issuers {
        if !settings
            .plan
            .apis
            .iter()
            .any(|api| api.issuers.iter().any(|trusted| trusted.issuer == issuer.issuer))
        {
            notes.push(format!("issuer {} is trusted by no API", issuer.issuer));
        }
    }
    for expiry in settings
        .expiries
        .iter()
        .filter(|expiry| expiry.not_after <= unix_now())
    {
        notes.push(format!(
            "the certificate in {} has expired",
            expiry.file.display()
        ));
    }
    if settings.admin.is_some_and(|address| !address.ip().is_loopback()) {
        notes.push(
            "the admin listener is not on loopback: whoever reaches it can read the configuration".into(),
        );
    }
    notes
}

fn notes_of(api: &ApiPlan) -> Vec<String> {
    let mut notes = Vec::new();
    let identifier = &api.definition.identifier;
    let public = api
        .routes
        .iter()
        .filter(|route| route.require == RequirementPlan::Public);
    let public: Vec<_> = public.map(shown).collect();
    if !public.is_empty() {
        notes.push(format!(
            "{identifier}: public, no token is looked at: {}",
            public.join(", ")
        ));
    }
    let open = api
        .routes
        .iter()
        .filter(|route| !route.allow.is_empty() && matches!(route.require, RequirementPlan::Public));
    for route in open {
        notes.push(format!(
            "{identifier}: {}: `allow` lets paths pass without a token that an upstream may read as those of another \
             route",
            shown(route)
        ));
    }
    for word in ["public", "authenticated"]
        .into_iter()
        .filter(|word| api.definition.defines(word))
    {
        notes.push(format!(
            "{identifier}: the permission `{word}` is asked for as `require: [{word}]`; the bare word means \
             something else"
        ));
    }
    for server in &api.upstream.servers {
        if let Some(host) = server.host().filter(|host| !config::is_loopback(host)) {
            notes.push(format!(
                "{identifier}: upstream {host} is not on loopback: whoever reaches it directly is not checked"
            ));
        }
    }
    let asks = api.routes.iter().any(|route| {
        matches!(
            &route.require,
            RequirementPlan::Token(Conditions { step_up: Some(_), .. })
        )
    });
    if api.definition.authorization_policy.is_some() && !asks {
        notes.push(format!(
            "{identifier}: the definition has an `authorization_policy`, which its issuer enforces; `step_up: require_2fa` \
             asks for a second factor here as well"
        ));
    }
    if api.mode == Mode::Report {
        notes.push(format!("{identifier}: `mode: report` lets every request pass"));
    }
    notes.extend(unused(api));
    notes
}

/// Permissions that no route asks for: often a route that was forgotten.
fn unused(api: &ApiPlan) -> Option<String> {
    let is_asked_for = |name: &String| {
        api.routes.iter().any(|route| match &route.require {
            RequirementPlan::Public => false,
            RequirementPlan::Token(conditions) => {
                conditions.all_of.contains(name) || conditions.any_of.contains(name)
            }
        })
    };
    let permissions = api
        .definition
        .permissions
        .iter()
        .map(|permission| &permission.value);
    let unused: Vec<_> = permissions
        .filter(|name| !is_asked_for(name))
        .map(String::as_str)
        .collect();
    let identifier = &api.definition.identifier;
    match unused.as_slice() {
        [] => None,
        _ if unused.len() > 10 => Some(format!(
            "{identifier}: {} permissions are asked for by no route",
            unused.len()
        )),
        _ => Some(format!(
            "{identifier}: asked for by no route: {}",
            unused.join(", ")
        )),
    }
}

fn shown(route: &RoutePlan) -> String {
    let methods: Vec<_> = route.methods.iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() {
        "*".to_owned()
    } else {
        methods.join(",")
    };
    format!("{methods} {}", route.pattern.as_str())
}

fn print_table(settings: &Settings, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    let report = report(settings);
    let head = ["API", "HOST", "METHOD", "PATH", "REQUIRES", "MODE", "READ FROM"].map(str::to_owned);
    let mut cells = vec![head];
    cells.extend(report.routes.iter().map(|row| {
        let listed = |items: &[String]| {
            if items.is_empty() {
                "*".into()
            } else {
                items.join(",")
            }
        };
        // A public route must not be overlooked in a long table.
        let require = if row.public {
            "PUBLIC".into()
        } else {
            row.require.clone()
        };
        let read_from = row.read_from.unwrap_or("-").to_owned();
        let (hosts, methods) = (listed(&row.hosts), listed(&row.methods));
        [
            row.api.clone(),
            hosts,
            methods,
            row.path.clone(),
            require,
            row.mode.to_owned(),
            read_from,
        ]
    }));
    let mut widths = [0; 7];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &cells {
        let line: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    for note in &report.notes {
        writeln!(err, "note: {note}")?;
    }
    Ok(())
}

fn print_faults(faults: &Faults, err: &mut dyn Write) -> io::Result<()> {
    writeln!(err, "{faults}")?;
    match faults.iter().count() {
        1 => writeln!(err, "1 fault"),
        count => writeln!(err, "{count} faults"),
    }
}

fn print_json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::System;

    fn check(path: &str, output: Output) -> (bool, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let valid = run(&path, &System, output, &mut out, &mut err).unwrap();
        (
            valid,
            String::from_utf8(out).unwrap(),
            String::from_utf8(err).unwrap(),
        )
    }

    #[test]
    fn a_valid_file_is_a_table() {
        let (valid, out, err) = check("config/scopegate.yaml", Output::Text);
        assert!(valid);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 13, "{out}");
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(lines[0]), "API HOST METHOD PATH REQUIRES MODE READ FROM");
        assert_eq!(
            squeezed(lines[1]),
            "https://items.example.com/ items.example.com,localhost GET /healthz PUBLIC enforce -"
        );
        assert_eq!(
            squeezed(lines[5]),
            "https://items.example.com/ items.example.com,localhost PUT,PATCH /items/{id} (write:items or admin:items) \
             enforce permissions"
        );
        assert_eq!(
            squeezed(lines[12]),
            "urn:reports reports.example.com PUT /reports/{id} read:reports and publish:reports enforce scope"
        );
        assert!(
            err.contains("note: https://items.example.com/: public, no token is looked at: GET /healthz"),
            "{err}"
        );
    }

    #[test]
    fn json_says_the_same() {
        let (valid, out, err) = check("config/scopegate.yaml", Output::Json);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(valid && err.is_empty() && json["valid"] == true);
        assert_eq!(json["routes"].as_array().unwrap().len(), 12);
        assert_eq!(json["routes"][0]["public"], true);
        assert_eq!(
            json["routes"][5]["require"],
            "admin:items and authenticated within 900s"
        );
    }

    #[test]
    fn faults_are_printed_whole() {
        let (valid, out, err) = check("config/items.json", Output::Text);
        assert!(!valid && out.is_empty());
        assert!(
            err.contains("config/items.json:1:1: `listeners` is missing"),
            "{err}"
        );
        assert!(err.trim_end().ends_with("faults"), "{err}");
        let (valid, out, err) = check("config/items.json", Output::Json);
        assert!(!valid && err.is_empty());
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["faults"][0]["line"], 1);
    }
}
