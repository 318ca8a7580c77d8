//! API keys of any form: what is read is what was written, whoever wrote it, and nothing else is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use scopegate::token::{BearerError, MAX_API_KEY, TokenError, basic_key, header_key};

/// A part of a key: printable, escapes and what looks like them among it.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[A-Za-z0-9_-]{1,64}",
        2 => "[ -~]{1,24}",
        1 => "([%][0-9a-fA-F]{2}|[a-z+ ]){1,8}",
        1 => "\\PC{1,8}",
    ]
}

/// Every byte escaped that RFC 6749 section 2.3.1 does not let stand.
fn encoded(part: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    part.bytes().map(byte).collect()
}

fn read(pair: &str) -> Option<(String, String)> {
    let value = format!("Basic {}", STANDARD.encode(pair));
    let key = basic_key(std::iter::once(value.as_bytes())).unwrap().unwrap();
    let key = key.read().ok()?;
    Some((key.client_id().to_owned(), key.expose_secret().to_owned()))
}

/// Whether some `%` begins no escape: then all of them stand for themselves.
fn has_no_escapes(part: &str) -> bool {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    !part.contains('%') || part.split('%').skip(1).any(|rest| !is_escape(rest))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_a_client_of_rfc_6749_encodes_arrives(id in part(), secret in part()) {
        let pair = format!("{}:{}", encoded(&id), encoded(&secret));
        prop_assert_eq!(read(&pair), Some((id, secret)));
    }

    #[test]
    fn what_is_written_as_it_is_arrives_unless_it_looks_escaped(id in part(), secret in part()) {
        prop_assume!(!id.contains(':') && has_no_escapes(&id) && has_no_escapes(&secret));
        prop_assert_eq!(read(&format!("{id}:{secret}")), Some((id, secret)));
    }

    #[test]
    fn a_header_has_it_as_it_is(id in part(), secret in part()) {
        prop_assume!(!id.contains(':'));
        let pair = format!("{id}:{secret}");
        let key = header_key(std::iter::once(pair.as_bytes())).unwrap().unwrap().read().unwrap();
        prop_assert_eq!((key.client_id(), key.expose_secret()), (&*id, &*secret));
    }

    #[test]
    fn any_bytes_are_a_sound_key_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80), more in 0..3_000_usize) {
        let long = [bytes.clone(), vec![b'x'; more]].concat();
        for value in [long, [b"Basic ", &*bytes].concat(), format!("Basic {}", STANDARD.encode(&bytes)).into_bytes()] {
            let keys = [basic_key(std::iter::once(&*value)).unwrap(), header_key(std::iter::once(&*value)).unwrap()];
            for key in keys.into_iter().flatten() {
                match key.read() {
                    Ok(read) => {
                        prop_assert!(key.text().unwrap().0.len() <= MAX_API_KEY);
                        for part in [read.client_id(), read.expose_secret()] {
                            prop_assert!(!part.is_empty() && !part.contains(char::is_control));
                        }
                        prop_assert_eq!(format!("{:?}", read), "ApiKey([redacted])");
                    }
                    Err(error) => prop_assert_eq!(error, TokenError::MalformedKey),
                }
            }
        }
    }

    #[test]
    fn with_company_it_is_none(pair in "[a-z]{1,9}:[a-z]{1,9}", other in "(Basic|Bearer|Digest)? ?[a-z]{0,9}") {
        let value = format!("Basic {}", STANDARD.encode(pair));
        for lines in [[&*value, &*other], [&*other, &*value]] {
            prop_assert_eq!(basic_key(lines.into_iter().map(str::as_bytes)), Err(BearerError::Multiple));
        }
    }
}
