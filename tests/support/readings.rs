//! Whatever an upstream, or something before it, could make of a path: the oracle for paths.
//!
//! By decoding, by taking backslashes for slashes, by merging slashes, by removing dot segments or by cutting `;`
//! parameters, in any order and as often as it likes. It folds no case and corrects no bad encoding.

use std::collections::BTreeSet;

/// The prefix that must not be reached by way of another.
pub(crate) const GUARDED: &str = "/admin";

/// One thing that somebody does to a path.
type Step = fn(&[u8]) -> Vec<u8>;

/// Every reading of a path, itself included.
pub(crate) fn readings(path: &str) -> BTreeSet<Vec<u8>> {
    const STEPS: [Step; 5] = [decode, slashes, merge, cut_parameters, remove_dots];
    let mut known = BTreeSet::from([path.as_bytes().to_vec()]);
    let mut pending: Vec<Vec<u8>> = known.iter().cloned().collect();
    while let Some(reading) = pending.pop() {
        for step in STEPS {
            let next = step(&reading);
            // Each step shortens or replaces, so the set is finite; the bound keeps a bad step from hanging the test.
            if known.len() < 4_096 && known.insert(next.clone()) {
                pending.push(next);
            }
        }
    }
    known
}

fn is_guarded(reading: &[u8]) -> bool {
    reading == GUARDED.as_bytes() || reading.starts_with(b"/admin/")
}

/// Whether a reading of the path lies within [`GUARDED`].
pub(crate) fn can_reach_the_guarded(path: &str) -> bool {
    readings(path).iter().any(|reading| is_guarded(reading))
}

fn decode(path: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        match (path[at], hex(path.get(at + 1)), hex(path.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap());
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn slashes(path: &[u8]) -> Vec<u8> {
    path.iter()
        .map(|&byte| if byte == b'\\' { b'/' } else { byte })
        .collect()
}

fn merge(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|a, b| *a == b'/' && *b == b'/');
    merged
}

fn cut_parameters(path: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = path
        .split(|&byte| byte == b'/')
        .map(|segment| segment.split(|&byte| byte == b';').next().unwrap_or_default())
        .collect();
    segments.join(&b'/')
}

/// RFC 3986 section 5.2.4.
fn remove_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    for (at, &segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match segment {
            b"." if is_last => kept.push(b""),
            b"." => {}
            b".." => {
                if kept.len() > 1 {
                    kept.pop();
                }
                if is_last {
                    kept.push(b"");
                }
            }
            segment => kept.push(segment),
        }
    }
    kept.join(&b'/')
}
