//! Routes that are equal, permissions that are called like a word, and how many there may be.

use super::*;

#[test]
fn equal_routes_are_found_whatever_their_parameters_are_called() {
    let faults = |routes: &[&str]| {
        Memory::with(&one_api("", routes))
            .load()
            .map_or_else(|faults| faults.iter().count(), |_| 0)
    };
    let id = "{path: '/items/{id}', methods: [GET, PUT], require: public}";
    assert_eq!(
        faults(&[id, "{path: '/items/{name}', methods: [PUT], require: public}"]),
        1
    );
    assert_eq!(
        faults(&[id, "{path: '/items/{name}', methods: [POST], require: public}"]),
        0
    );
    assert_eq!(
        faults(&[id, "{path: '/items/{name}', require: public}"]),
        0,
        "any method is less specific"
    );
    assert_eq!(
        faults(&[id, "{path: '/items/{*rest}', methods: [PUT], require: public}"]),
        0
    );
    assert_eq!(
        faults(&[
            "{path: '/a/{*x}', require: public}",
            "{path: '/a/{*y}', require: public}"
        ]),
        1
    );
}

#[test]
fn equal_routes_of_two_apis_are_equal_only_on_a_common_host() {
    let two = |first: &str, second: &str| {
        let api = |hosts: &str| {
            format!("  - {{definition: items.json, upstream: 'http://a', {hosts} routes: [{ROUTE}]}}\n")
        };
        let config = one_api("", &[ROUTE]);
        let head = config.split("  - definition").next().unwrap();
        Memory::with(&format!("{head}{}{}", api(first), api(second)))
            .load()
            .is_ok()
    };
    assert!(two("hosts: [a.example],", "hosts: [b.example],"));
    assert!(two("hosts: [a.example],", ""));
    assert!(!two("", ""));
    assert!(!two("hosts: [a.example],", "hosts: [b.example, A.example],"));
}

#[test]
fn permissions_called_like_a_word_are_reached_as_a_list() {
    let items = r#"{"identifier": "urn:items", "scopes": [{"value": "public"}, {"value": "authenticated"}]}"#;
    let routes = [
        "{path: /a, require: public}",
        "{path: /b, require: [public]}",
        "{path: /c, require: {any_of: [authenticated]}}",
    ];
    let settings = Memory::with(&one_api("", &routes))
        .file("etc/items.json", items)
        .load()
        .unwrap();
    let routes = &settings.plan.apis[0].routes;
    assert_eq!(routes[0].require, RequirementPlan::Public);
    let RequirementPlan::Token(conditions) = &routes[1].require else {
        panic!()
    };
    assert_eq!(conditions.all_of, ["public"]);
    let RequirementPlan::Token(conditions) = &routes[2].require else {
        panic!()
    };
    assert_eq!(conditions.any_of, ["authenticated"]);
}

#[test]
fn ten_thousand_routes_and_not_one_more() {
    let routes = |count: usize| {
        let routes: Vec<_> = (0..count)
            .map(|n| format!("{{path: /items/{n}, methods: [GET], require: read:items}}"))
            .collect();
        let routes: Vec<_> = routes.iter().map(String::as_str).collect();
        Memory::with(&one_api("", &routes)).load()
    };
    assert_eq!(routes(10_000).unwrap().plan.apis[0].routes.len(), 10_000);
    assert!(
        routes(10_001)
            .unwrap_err()
            .to_string()
            .contains("there are 10001 routes; the most is 10000")
    );
}
