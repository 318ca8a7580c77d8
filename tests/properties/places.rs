//! Cookies, queries and sub-protocols of any form: a token is found where there is exactly one, and once it was taken
//! out nothing of it is left.

use proptest::collection::vec;
use proptest::prelude::*;
use scopegate::token::{
    BearerError, ProtocolForm, cookie_token, protocol_token, query_token, without_cookie, without_parameter,
    without_protocol,
};

const NAME: &str = "access_token";
/// Where it stands in an input, it is not by chance.
const TOKEN: &str = "eyJ0b2tlbiI.x-_~+/.y";

/// What stands between the separators: names that are nearly the same, escapes, quotes, and anything.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(format!("{NAME}={TOKEN}")),
        2 => prop::sample::select(vec![
            "Access_Token=x", "access_token[]=x", "access.token=x", "%61ccess_token=x", " access_token=x", "access_token",
            "access_token=", "=access_token", "access_token%00=x", "+access_token=x", "bearer", "b64.eA", "b64.", "prefix.x",
            "a=\"access_token=x", "a=b,access_token=x", "a=1;access_token=x", "%", "%6", "\"", "",
        ]).prop_map(str::to_owned),
        2 => "[ -~]{0,12}",
        1 => "\\PC{0,6}",
    ]
}

fn joined(separator: &'static str) -> impl Strategy<Value = String> {
    vec(piece(), 0..6).prop_map(move |pieces| pieces.join(separator))
}

fn form() -> impl Strategy<Value = ProtocolForm> {
    prop::sample::select(vec![
        ProtocolForm::After("bearer".into()),
        ProtocolForm::Prefix("prefix.".into()),
        ProtocolForm::EncodedPrefix("b64.".into()),
    ])
}

fn lines(lines: &[String]) -> impl Iterator<Item = &[u8]> {
    lines.iter().map(|line| line.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn of_a_query_nothing_is_left(query in joined("&")) {
        let found = query_token(&query, NAME);
        let left = without_parameter(&query, NAME);
        if found != Err(BearerError::Missing) {
            prop_assert!(left.is_some());
        }
        if let Ok(token) = &found {
            prop_assert!(!token.is_empty());
        }
        let left = left.unwrap_or(query);
        prop_assert_eq!(query_token(&left, NAME), Err(BearerError::Missing));
        prop_assert_eq!(without_parameter(&left, NAME), None);
    }

    #[test]
    fn of_a_cookie_nothing_is_left(given in vec(joined("; "), 0..3)) {
        let found = cookie_token(lines(&given), NAME);
        let left: Vec<String> = given
            .iter()
            .map(|line| without_cookie(line.as_bytes(), NAME).map_or_else(|| line.clone(), |left| String::from_utf8(left).unwrap()))
            .collect();
        if found != Err(BearerError::Missing) {
            prop_assert!(left != given);
        }
        prop_assert_eq!(cookie_token(lines(&left), NAME), Err(BearerError::Missing));
        for line in &left {
            prop_assert_eq!(without_cookie(line.as_bytes(), NAME), None, "{}", line);
        }
    }

    #[test]
    fn of_sub_protocols_nothing_is_left(given in vec(joined(", "), 0..3), form in form()) {
        let found = protocol_token(lines(&given), &form);
        let left = without_protocol(lines(&given), &form);
        prop_assert_eq!(left.is_some(), found != Err(BearerError::Missing));
        if let Some(left) = left {
            // What followed the name of a form may have been that name.
            let again = without_protocol(std::iter::once(left.as_slice()), &form);
            prop_assert_eq!(again, None);
        }
    }

    /// Among others that have nothing to do with it, the one token is found as it is, and the others stay as they are.
    #[test]
    fn the_one_token_is_found(
        before in vec("[a-z]{1,4}=[a-zA-Z0-9/?]{0,6}", 0..3),
        after in vec("[a-z]{1,4}=[a-zA-Z0-9/?]{0,6}", 0..3),
        token in "[A-Za-z0-9._~-]{1,40}",
    ) {
        let own = format!("{NAME}={token}");
        let all = |separator: &str| {
            let pieces: Vec<&str> = before.iter().chain([&own]).chain(&after).map(String::as_str).collect();
            pieces.join(separator)
        };
        let rest = |separator: &str| {
            before.iter().chain(&after).map(String::as_str).collect::<Vec<_>>().join(separator)
        };
        let query = all("&");
        prop_assert_eq!(query_token(&query, NAME).unwrap(), token.as_str());
        prop_assert_eq!(without_parameter(&query, NAME).unwrap(), rest("&"));
        let cookie = all("; ");
        prop_assert_eq!(cookie_token(std::iter::once(cookie.as_bytes()), NAME).unwrap(), token.as_str());
        prop_assert_eq!(without_cookie(cookie.as_bytes(), NAME).unwrap(), rest("; ").into_bytes());
    }
}
