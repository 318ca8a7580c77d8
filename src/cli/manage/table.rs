//! Tables for people: what a Management API answered, without control characters.

use std::io::{self, Write};

use serde_json::Value;

/// The longest text of a cell.
const WIDEST: usize = 60;

/// One row for each object, one column for each of these members.
pub(super) fn list(members: &[&str], objects: &[Value], out: &mut dyn Write) -> io::Result<()> {
    let heads: Vec<String> = members
        .iter()
        .map(|member| member.to_uppercase().replace('_', " "))
        .collect();
    let mut rows = vec![heads];
    rows.extend(objects.iter().map(|object| {
        let cells = members.iter().map(|member| shortened(&cell(object.get(*member))));
        cells.collect()
    }));
    let widths: Vec<usize> = (0..members.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// One line for each member.
pub(super) fn one(object: &Value, out: &mut dyn Write) -> io::Result<()> {
    let Some(members) = object.as_object() else {
        return writeln!(out, "{}", cell(Some(object)));
    };
    let width = members.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, value) in members {
        writeln!(out, "{name:<width$}  {}", cell(Some(value)))?;
    }
    Ok(())
}

fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(|item| name(item).is_some()) => {
            items.iter().filter_map(name).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    };
    text.chars().filter(|character| !character.is_control()).collect()
}

/// A permission, or a text.
fn name(item: &Value) -> Option<&str> {
    item.as_str().or_else(|| item.get("value")?.as_str())
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    let kept: String = text.chars().take(WIDEST - 1).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_steers_the_terminal() {
        let mut out = Vec::new();
        let objects = [
            json!({ "identifier": "urn:a", "scopes": [{ "value": "read:a" }, { "value": "write:a" }] }),
            json!({ "identifier": "https://long.example\u{1b}[2J", "name": "b".repeat(80) }),
        ];
        list(&["identifier", "name", "scopes"], &objects, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("IDENTIFIER               NAME"), "{text}");
        assert!(lines[1].ends_with("read:a write:a"), "{text}");
        assert!(lines[2].contains('…') && !text.contains('\u{1b}'), "{text}");
    }
}
