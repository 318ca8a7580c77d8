//! The route table against a linear search: for every request, the tree and the list agree.

use std::cmp::Ordering;

use http::HeaderValue;
use proptest::collection::vec;
use proptest::prelude::*;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::policy::{Decision, Reason};
use scopegate::snapshot::{CompileFault, RoutePlan};

use crate::support::api::TestApi;
use crate::support::routes::{
    Untouched, api_plan, guarded, public, snapshot, snapshot_of, verdict_by, with_methods,
};

fn api() -> TestApi {
    TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken)
}

/// A route as the list sees it: segments in text, methods by name.
#[derive(Clone, Debug)]
struct Listed {
    segments: Vec<String>,
    methods: Vec<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    NoRoute,
    /// With the methods of `Allow`, sorted.
    MethodNotAllowed(Vec<String>),
    Route(usize),
}

impl Listed {
    fn pattern(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    fn plan(&self) -> RoutePlan {
        with_methods(public(&self.pattern()), &self.methods)
    }

    fn kind(segment: &str) -> u8 {
        match segment {
            rest if rest.starts_with("{*") => 2,
            parameter if parameter.starts_with('{') => 1,
            _ => 0,
        }
    }

    fn matches(&self, path: &[&str]) -> bool {
        for (at, segment) in self.segments.iter().enumerate() {
            let Some(&given) = path.get(at) else {
                return false;
            };
            match Self::kind(segment) {
                2 => return true,
                1 if given.is_empty() => return false,
                1 => {}
                _ if decoded(given) != *segment => return false,
                _ => {}
            }
        }
        path.len() == self.segments.len()
    }

    /// Greater is more specific: the first segment that differs in kind decides.
    fn specificity(&self, other: &Self) -> Ordering {
        let kinds = |listed: &Self| -> Vec<u8> {
            listed
                .segments
                .iter()
                .map(|segment| Self::kind(segment))
                .collect()
        };
        kinds(other).cmp(&kinds(self))
    }

    fn has_shape_of(&self, other: &Self) -> bool {
        let shape = |listed: &Self| -> Vec<String> {
            listed
                .segments
                .iter()
                .map(|segment| match Self::kind(segment) {
                    0 => segment.clone(),
                    kind => format!("{{{kind}}}"),
                })
                .collect()
        };
        shape(self) == shape(other)
    }

    fn conflicts_with(&self, other: &Self) -> bool {
        self.has_shape_of(other)
            && (self.methods.is_empty() && other.methods.is_empty()
                || self.methods.iter().any(|method| other.methods.contains(method)))
    }
}

/// What the generated paths need decoded.
fn decoded(segment: &str) -> String {
    segment.replace("%61", "a").replace("%62", "b")
}

fn linear(routes: &[Listed], method: &str, path: &str) -> Outcome {
    let segments: Vec<&str> = path[1..].split('/').collect();
    let matching: Vec<usize> = (0..routes.len())
        .filter(|&at| routes[at].matches(&segments))
        .collect();
    let Some(&best) = matching
        .iter()
        .max_by(|&&a, &&b| routes[a].specificity(&routes[b]))
    else {
        return Outcome::NoRoute;
    };
    let alike: Vec<usize> = matching
        .into_iter()
        .filter(|&at| routes[at].has_shape_of(&routes[best]))
        .collect();
    let named = |name: &str| {
        alike
            .iter()
            .copied()
            .find(|&at| routes[at].methods.contains(&name))
    };
    let any = alike.iter().copied().find(|&at| routes[at].methods.is_empty());
    let get = if method == "HEAD" { named("GET") } else { None };
    let found = match method {
        "CONNECT" | "TRACE" => None,
        _ => named(method).or(get).or(any),
    };
    match found {
        Some(at) => Outcome::Route(at),
        None => {
            let mut allow: Vec<String> = alike
                .iter()
                .flat_map(|&at| routes[at].methods.iter().map(|&name| name.to_owned()))
                .collect();
            if allow.iter().any(|name| name == "GET") && !allow.iter().any(|name| name == "HEAD") {
                allow.push("HEAD".into());
            }
            allow.sort();
            Outcome::MethodNotAllowed(allow)
        }
    }
}

fn names(allow: &HeaderValue) -> Vec<String> {
    let text = allow.to_str().unwrap();
    let mut names: Vec<String> = text
        .split(", ")
        .filter(|name| !name.is_empty())
        .map(String::from)
        .collect();
    names.sort();
    names
}

fn segments() -> impl Strategy<Value = Vec<String>> {
    let inner = prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just("ab"), 3 => Just("{x}")];
    let last = prop_oneof![
        3 => Just("a"), 2 => Just("b"), 2 => Just("{y}"), 3 => Just("{*rest}"), 2 => Just(""),
    ];
    (vec(inner, 0..4), last)
        .prop_map(|(inner, last)| inner.into_iter().chain([last]).map(String::from).collect())
}

fn listed() -> impl Strategy<Value = Listed> {
    let methods = prop_oneof![
        3 => Just(vec![]),
        2 => Just(vec!["GET"]),
        1 => Just(vec!["POST"]),
        1 => Just(vec!["GET", "HEAD"]),
        1 => Just(vec!["PUT", "DELETE"]),
        1 => Just(vec!["OPTIONS"]),
    ];
    (segments(), methods).prop_map(|(segments, methods)| Listed { segments, methods })
}

fn paths() -> impl Strategy<Value = String> {
    let inner = prop_oneof![
        Just("a"),
        Just("b"),
        Just("ab"),
        Just("c"),
        Just("%61"),
        Just("a%62")
    ];
    let last = prop_oneof![4 => Just("a"), 2 => Just("b"), 1 => Just("%62"), 1 => Just("c"), 2 => Just("")];
    (vec(inner, 0..4), last).prop_map(|(inner, last)| {
        let segments: Vec<&str> = inner.into_iter().chain([last]).collect();
        format!("/{}", segments.join("/"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_and_the_list_agree(
        all in vec(listed(), 1..14),
        requests in vec((paths(), prop::sample::select(vec![
            "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "CONNECT", "TRACE",
        ])), 24),
    ) {
        let mut routes: Vec<Listed> = Vec::new();
        for route in all {
            if !routes.iter().any(|known| known.conflicts_with(&route)) {
                routes.push(route);
            }
        }
        let snapshot = snapshot_of(api(), routes.iter().map(Listed::plan).collect());
        for (path, method) in requests {
            let outcome = match verdict_by(&snapshot, method, "localhost", &path, &[], &Untouched) {
                Decision::Forward(permit) => Outcome::Route(permit.route().0),
                Decision::Refuse(denial) if denial.reason == Reason::NoRoute => Outcome::NoRoute,
                Decision::Refuse(denial) if denial.reason == Reason::MethodNotAllowed => {
                    Outcome::MethodNotAllowed(names(&denial.allow.unwrap()))
                }
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(outcome, linear(&routes, method, &path), "{} {} {:?}", method, path, routes);
        }
    }

    #[test]
    fn equal_routes_are_faults_and_no_others(all in vec(listed(), 1..10)) {
        let mut expected = Vec::new();
        let mut kept: Vec<&Listed> = Vec::new();
        for (position, route) in all.iter().enumerate() {
            if kept.iter().any(|known| known.conflicts_with(route)) {
                expected.push(CompileFault::DuplicateRoute { api: 0, route: position });
            } else {
                kept.push(route);
            }
        }
        let plan = api_plan(api(), &[], all.iter().map(Listed::plan).collect());
        let faults = snapshot(vec![plan], None).err().unwrap_or_default();
        // A route that conflicts with one of its methods alone may still bring the others: only the first fault counts.
        prop_assert_eq!(faults.first(), expected.first());
    }
}

#[test]
fn hosts() {
    let plans = vec![
        api_plan(
            api(),
            &["a.example", "b.example"],
            vec![public("/x"), public("/only-a")],
        ),
        api_plan(api(), &["c.example"], vec![public("/x")]),
        api_plan(api(), &[], vec![public("/x"), public("/other")]),
        // Two APIs can share a host as long as their routes differ.
        api_plan(api(), &["c.example"], vec![public("/y")]),
    ];
    let snapshot = snapshot(plans, None).unwrap();
    for (authority, path, expected) in [
        ("a.example", "/x", Ok(0)),
        ("A.EXAMPLE", "/x", Ok(0)),
        ("a.example.", "/x", Ok(0)),
        ("a.example:8443", "/x", Ok(0)),
        ("b.example", "/only-a", Ok(0)),
        ("c.example", "/x", Ok(1)),
        ("c.example", "/y", Ok(3)),
        ("d.example", "/x", Ok(2)),
        ("127.0.0.1:80", "/x", Ok(2)),
        ("[::1]:80", "/x", Ok(2)),
        ("sub.a.example", "/x", Ok(2)),
        ("a.example.evil", "/x", Ok(2)),
        // A host that is named sees nothing of the APIs that name none.
        ("a.example", "/other", Err(Reason::NoRoute)),
        ("c.example", "/only-a", Err(Reason::NoRoute)),
        ("d.example", "/y", Err(Reason::NoRoute)),
        ("", "/x", Err(Reason::BadRequest)),
        ("a.example,b.example", "/x", Err(Reason::BadRequest)),
        ("user@a.example", "/x", Err(Reason::BadRequest)),
        ("a.example:http", "/x", Err(Reason::BadRequest)),
        ("a.example/", "/x", Err(Reason::BadRequest)),
        ("a.example\\", "/x", Err(Reason::BadRequest)),
        ("a.example%2e", "/x", Err(Reason::BadRequest)),
        ("[::1", "/x", Err(Reason::BadRequest)),
        ("a..example", "/x", Ok(2)),
        // A fault of the host is told before one of the path.
        ("", "/..", Err(Reason::BadRequest)),
    ] {
        let found = match verdict_by(&snapshot, "GET", authority, path, &[], &Untouched) {
            Decision::Forward(permit) => Ok(permit.api().0),
            Decision::Refuse(denial) => Err(denial.reason),
        };
        assert_eq!(found, expected, "{authority:?} {path}");
    }
}

#[test]
fn conflicts() {
    let duplicate = |api, route| CompileFault::DuplicateRoute { api, route };
    for (name, apis, expected) in [
        (
            "the same twice",
            vec![(vec![], vec![public("/a"), public("/a")])],
            vec![duplicate(0, 1)],
        ),
        (
            "other names of parameters",
            vec![(vec![], vec![public("/a/{x}"), public("/a/{y}")])],
            vec![duplicate(0, 1)],
        ),
        (
            "another spelling",
            vec![(vec![], vec![public("/a"), public("/%61")])],
            vec![duplicate(0, 1)],
        ),
        (
            "one method in common",
            vec![(
                vec![],
                vec![
                    with_methods(public("/a"), &["GET", "PUT"]),
                    with_methods(public("/a"), &["POST", "PUT"]),
                ],
            )],
            vec![duplicate(0, 1)],
        ),
        (
            "a method and any",
            vec![(vec![], vec![with_methods(public("/a"), &["GET"]), public("/a")])],
            vec![],
        ),
        (
            "GET and HEAD",
            vec![(
                vec![],
                vec![
                    with_methods(public("/a"), &["GET"]),
                    with_methods(public("/a"), &["HEAD"]),
                ],
            )],
            vec![],
        ),
        (
            "a parameter and the rest",
            vec![(vec![], vec![public("/a/{x}"), public("/a/{*x}")])],
            vec![],
        ),
        (
            "two APIs without hosts",
            vec![(vec![], vec![public("/a")]), (vec![], vec![public("/a")])],
            vec![duplicate(1, 0)],
        ),
        (
            "two APIs with one host",
            vec![
                (vec!["a.example"], vec![public("/a")]),
                (vec!["a.example"], vec![public("/a")]),
            ],
            vec![duplicate(1, 0)],
        ),
        (
            "two APIs with two hosts",
            vec![
                (vec!["a.example"], vec![public("/a")]),
                (vec!["b.example"], vec![public("/a")]),
            ],
            vec![],
        ),
        (
            "an API with a host and one without",
            vec![
                (vec!["a.example"], vec![public("/a")]),
                (vec![], vec![public("/a")]),
            ],
            vec![],
        ),
        (
            "a scope that is not defined",
            vec![(
                vec![],
                vec![guarded("/a", &["read:items", "nope"]), public("/a/b")],
            )],
            vec![CompileFault::UndefinedScope {
                api: 0,
                route: 0,
                scope: "nope".into(),
            }],
        ),
    ] {
        let plans = apis
            .into_iter()
            .map(|(hosts, routes)| api_plan(api(), &hosts, routes))
            .collect();
        assert_eq!(
            snapshot(plans, None).err().unwrap_or_default(),
            expected,
            "{name}"
        );
    }
}
