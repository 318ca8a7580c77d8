//! Rules on the names of permissions.
//!
//! Used by the reading of `scopes`. The characters are those of RFC 6749's `scope-token`, so that a name can always
//! stand in a `scope` claim and between the quotes of a `WWW-Authenticate` challenge.

use std::collections::HashMap;

use super::document::{Located, Place};
use super::{InvalidDefinition, Permission};

/// The most permissions of one API.
pub const MOST: usize = 1000;
/// The most characters of a name.
pub const LONGEST_VALUE: usize = 280;
/// The most characters of a description.
pub const LONGEST_DESCRIPTION: usize = 500;

/// Names that OpenID Connect and the user profile use, in alphabetical order.
pub const RESERVED: [&str; 14] = [
    "address",
    "created_at",
    "email",
    "email_verified",
    "family_name",
    "given_name",
    "identities",
    "name",
    "nickname",
    "offline_access",
    "openid",
    "phone",
    "picture",
    "profile",
];

/// What is wrong with one name, if anything.
pub fn check_value(value: &str) -> Option<InvalidDefinition> {
    let length = value.chars().count();
    if !(1..=LONGEST_VALUE).contains(&length) {
        return Some(InvalidDefinition::Length {
            field: "scopes.value",
            length,
            min: 1,
            max: LONGEST_VALUE,
        });
    }
    if !value.bytes().all(is_scope_character) {
        let rule = "may only contain printable ASCII without space, `\"` and `\\` (RFC 6749 section 3.3)";
        return Some(InvalidDefinition::Characters {
            field: "scopes.value",
            rule,
        });
    }
    if RESERVED.contains(&value) {
        return Some(InvalidDefinition::ReservedPermission { value: value.into() });
    }
    None
}

/// RFC 6749 section 3.3: `%x21 / %x23-5B / %x5D-7E`.
fn is_scope_character(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}

/// Every permission after the first of its name.
pub fn duplicates(permissions: &[Located<Permission>]) -> Vec<Located<InvalidDefinition>> {
    let mut first: HashMap<&str, &Place> = HashMap::new();
    let mut faults = Vec::new();
    for permission in permissions {
        let value = permission.value.value.as_str();
        if let Some(place) = first.get(value) {
            let fault = InvalidDefinition::DuplicatePermission {
                value: value.into(),
                first: (*place).clone(),
            };
            faults.push(Located::new(&permission.place, fault));
        } else {
            first.insert(value, &permission.place);
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_refused() {
        for name in RESERVED {
            assert_eq!(
                check_value(name),
                Some(InvalidDefinition::ReservedPermission { value: name.into() })
            );
        }
        assert!(RESERVED.is_sorted());
        assert_eq!(check_value("read:profile"), None);
        assert_eq!(check_value("OpenID"), None, "names are compared byte for byte");
    }

    #[test]
    fn names_fit_a_scope_claim_and_a_challenge() {
        for good in [
            "read:items",
            "a",
            "!",
            "~",
            "https://x/y",
            "public",
            &"a".repeat(280),
        ] {
            assert_eq!(check_value(good), None, "{good}");
        }
        for bad in [
            "",
            "a b",
            "a\tb",
            "a\"b",
            "a\\b",
            "a\u{7f}",
            "lesen:bücher",
            "a\nb",
            &"a".repeat(281),
        ] {
            assert!(check_value(bad).is_some(), "{bad:?}");
        }
    }
}
