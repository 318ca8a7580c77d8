//! No spelling of a path gets past a guarded prefix by way of a public one beside it.
//!
//! The oracle is `support::readings`: a path one of whose readings lies within the guarded prefix must not be decided as
//! public.

use proptest::collection::vec;
use proptest::prelude::*;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::policy::{Decision, PathForm, Reason};
use scopegate::snapshot::Snapshot;

use crate::support::api::TestApi;
use crate::support::readings::{GUARDED, can_reach_the_guarded, readings};
use crate::support::routes::{Untouched, allowing, guarded, public, snapshot_of, verdict_by};

/// A public rest beside the guarded prefix; the rest accepts these forms.
fn table(forms: &[PathForm]) -> Snapshot {
    let api = TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken);
    snapshot_of(
        api,
        vec![
            guarded(GUARDED, &["admin:items"]),
            guarded("/admin/{*rest}", &["admin:items"]),
            allowing(public("/{*rest}"), forms),
        ],
    )
}

fn is_public(snapshot: &Snapshot, path: &str) -> bool {
    match verdict_by(snapshot, "GET", "localhost", path, &[], &Untouched) {
        Decision::Forward(_) => true,
        Decision::Refuse(denial) => {
            assert!(
                matches!(denial.reason, Reason::BadPath | Reason::MissingToken),
                "{path}: {:?}",
                denial.reason
            );
            false
        }
    }
}

/// Spellings by hand, from the reports of other gateways and from what decoders do.
const BY_HAND: [&str; 96] = [
    "/admin",
    "/admin/",
    "/admin/x",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%61%64%6D%69%6E/x",
    "/admi%6e",
    "/admi%6E/",
    "//admin",
    "///admin",
    "/./admin",
    "/../admin",
    "/x/../admin",
    "/x/y/../../admin",
    "/x/./../admin",
    "/.//admin",
    "/x//../admin",
    "//x/../admin",
    "/admin/.",
    "/admin/..",
    "/admin/../admin",
    "/admin/./x",
    "/admin//x",
    "/admin//",
    "/%2e/admin",
    "/%2E/admin",
    "/%2e%2e/admin",
    "/.%2e/admin",
    "/%2e./admin",
    "/x/%2e%2e/admin",
    "/x/%2e%2E/admin",
    "/x/..%2fadmin",
    "/x/..%2Fadmin",
    "/x%2f..%2fadmin",
    "/x%2f../admin",
    "/x/%2e%2e%2fadmin",
    "/%2fadmin",
    "/%2Fadmin",
    "/%2f%2fadmin",
    "/%2f/admin",
    "//%2fadmin",
    "/admin%2f",
    "/admin%2fx",
    "/admin%2Fx",
    "/admin%2f..%2fadmin",
    "/%5cadmin",
    "/%5Cadmin",
    "/\\admin",
    "\\admin",
    "/admin\\x",
    "/admin%5cx",
    "/x\\..\\admin",
    "/x%5c..%5cadmin",
    "/x/..%5cadmin",
    "/x\\../admin",
    "/%252fadmin",
    "/%252Fadmin",
    "/%255cadmin",
    "/%2561dmin",
    "/%25%36%31dmin",
    "/%252e%252e/admin",
    "/x/%252e%252e/admin",
    "/x/%252e%252e%252fadmin",
    "/x/%25252e%25252e/admin",
    "/%2525252fadmin",
    "/admin;",
    "/admin;x",
    "/admin;x=1/y",
    "/;/admin",
    "/;x/admin",
    "/;/;/admin",
    "/admin;/x",
    "/admin/;/x",
    "/.;/admin",
    "/..;/admin",
    "/x/..;/admin",
    "/x/..;a=b/admin",
    "/x;/../admin",
    "/x/;/../admin",
    "/%3b/admin",
    "/%3B/admin",
    "/admin%3b",
    "/admin%3bx=1",
    "/admin%3Bx/y",
    "/x/..%3b/admin",
    "/x/%2e%2e%3b/admin",
    "/x/%2e%2e;/admin",
    "/admin%253b",
    "/x/..%253b/admin",
    "/x/.%3b/../admin",
    "/%2561%2564min/x",
    "/%61dmin;x",
    "/%61dmin%2f",
    "/%2f%61dmin",
    "/x/../%61dmin",
    "/admin/%2e%2e/admin",
];

/// Each way into the guarded prefix with each way to write it.
fn spellings() -> Vec<String> {
    let ways = [
        "/",
        "//",
        "/./",
        "/x/../",
        "/%2e/",
        "/x/%2e%2e/",
        "/%2f",
        "/%5c",
        "/\\",
        "/;/",
        "/;a=b/",
        "/%3b/",
        "/x/..;/",
        "/x/..%2f",
        "/x%2f..%2f",
        "/x/..%5c",
        "/%252f",
        "/%2e%2f",
        "/x/.%2e/",
        "/%25%32%66",
    ];
    let names = [
        "admin",
        "%61dmin",
        "adm%69n",
        "%61%64%6d%69%6e",
        "%2561dmin",
        "a%64min;x",
        "admin%3bx",
    ];
    let ends = ["", "/", "/x", "//x", "/./x", "%2fx", "%5cx", ";x", "/;x", "\\x"];
    let mut all: Vec<String> = BY_HAND.iter().map(|&path| path.to_owned()).collect();
    for way in ways {
        for name in names {
            for end in ends {
                all.push(format!("{way}{name}{end}"));
            }
        }
    }
    all
}

#[test]
fn every_spelling_reaches_the_guarded_and_none_is_public() {
    let snapshot = table(&[]);
    let all = spellings();
    assert!(all.len() > 1_000, "{}", all.len());
    for path in all {
        // A spelling that is not one would prove nothing.
        assert!(
            !path.starts_with('/') || can_reach_the_guarded(&path),
            "{path} is no way in"
        );
        assert!(!is_public(&snapshot, &path), "{path}");
    }
}

/// What looks alike and is something else: refusing it would be a fault as well.
#[test]
fn what_no_reading_guards_is_public() {
    let snapshot = table(&[]);
    for path in [
        "/",
        "/administrator",
        "/admi",
        "/adminx/y",
        "/Admin",
        "/ADMIN/x",
        "/x/admin",
        "/x/admin/y",
        "/admin.html",
        "/admin-x",
        "/_admin",
        "/~admin",
        "/admin:x",
        "/%41dmin",
        "/a%20dmin",
        "/%C3%A1dmin",
        "/a/b/c",
        "/.admin",
        "/admin..",
        "/...",
        "/x/...y",
        "/admin,x",
        "/admin&x",
        "/admin=x",
        "/admin@x",
        "/admin!",
        "/admin*",
        "/admin'",
    ] {
        assert!(!can_reach_the_guarded(path), "{path}");
        assert!(is_public(&snapshot, path), "{path}");
    }
}

/// With `;` accepted on the public route, no spelling reaches the guarded one by way of it.
#[test]
fn leave_for_parameters_opens_nothing() {
    let snapshot = table(&[PathForm::Semicolon]);
    for path in spellings().into_iter().filter(|path| path.starts_with('/')) {
        assert!(!is_public(&snapshot, &path), "{path}");
    }
    assert!(is_public(&snapshot, "/x;y=1"));
    assert!(is_public(&snapshot, "/x%3By=1"));
}

fn fragment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "/", "/", "/", "\\", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", ";", "%3b", "%", "%25", "2f",
        "2e", "5c", "3b", "a", "%61", "61", "dmin", "admin", "admin", "admin/", "x", "x", "%20", "%00",
        "%0a", "#", "?", "~", "%C3%A9",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_generated_path_gets_past(fragments in vec(fragment(), 0..9)) {
        let path = format!("/{}", fragments.concat());
        let snapshot = TABLE.with(std::rc::Rc::clone);
        if is_public(&snapshot, &path) {
            prop_assert!(!can_reach_the_guarded(&path), "{} is public", path);
        }
    }
}

thread_local! {
    static TABLE: std::rc::Rc<Snapshot> = std::rc::Rc::new(table(&[]));
}

#[test]
fn the_oracle_reads_as_it_should() {
    for (path, reading) in [
        ("/x/%252e%252e%252fadmin", "/admin"),
        ("/x;a/..;b/admin;c", "/admin"),
        ("\\x\\..\\admin", "/admin"),
        ("/a/b/../../c", "/c"),
        ("/../../c/.", "/c/"),
    ] {
        assert!(
            readings(path).contains(reading.as_bytes()),
            "{path} is never {reading}"
        );
    }
    assert!(!readings("/x/%zz/admin").contains("/admin".as_bytes()));
}
