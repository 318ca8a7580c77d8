//! Tables of cases in files under `tests/corpus`.

use std::path::Path;

/// The lines of a table that are neither empty nor a comment, with their numbers.
pub(crate) fn lines(name: &str) -> Vec<(usize, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}

/// `\r`, `\n`, `\t`, `\\`, `\xNN`, and `\{text*count}` for many of the same.
#[track_caller]
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let kind = after.chars().next().expect("something behind a backslash");
        rest = &after[1..];
        match kind {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '\\' => bytes.push(b'\\'),
            'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).expect("two digits"));
                rest = &rest[2..];
            }
            '{' => {
                let (many, after) = rest.split_once('}').expect("a closing brace");
                let (part, count) = many.rsplit_once('*').expect("a count");
                bytes.extend(unescape(part).repeat(count.parse().expect("a number")));
                rest = after;
            }
            other => panic!("`\\{other}` in {text}"),
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}
