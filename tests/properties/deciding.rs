//! The whole verdict: its order, its reasons, report mode, and what a route can ask.

use std::collections::BTreeSet;
use std::time::Duration;

use http::HeaderName;
use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::policy::{
    ClaimTest, Conditions, Decision, Mode, Permit, Preflight, Reason, RequirementPlan, StepUp,
};
use scopegate::snapshot::{ApiPlan, IdentityHeader, RoutePlan, Snapshot};
use scopegate::token::Json;
use serde_json::{Value, json};

use crate::support::api::{LEEWAY, NOW, SCOPES, TestApi, with};
use crate::support::routes::{
    Uncached, Untouched, api_plan, guarded, public, route, snapshot, snapshot_of, verdict, verdict_by,
    with_methods,
};

fn api() -> TestApi {
    TestApi::new(SigningAlg::HS256, TokenDialect::AccessToken)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A bearer token whose claims differ from the right ones in these members.
fn token_with(api: TestApi, members: &[(&str, Option<Value>)]) -> String {
    let claims = members.iter().fold(api.claims(), |claims, (name, value)| {
        with(claims, name, value.clone())
    });
    bearer(&api.sign(&api.header(), &claims))
}

fn reason(decision: &Decision) -> Reason {
    match decision {
        Decision::Forward(permit) => permit.reason(),
        Decision::Refuse(denial) => denial.reason,
    }
}

fn asks(conditions: Conditions) -> RequirementPlan {
    RequirementPlan::Token(conditions)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn no_route_no_look_at_the_token() {
    let snapshot = snapshot_of(
        api(),
        vec![
            with_methods(guarded("/items", &["read:items"]), &["GET"]),
            public("/open"),
        ],
    );
    let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    for (method, path, fields, expected) in [
        ("GET", "/none", &twice[..], Reason::NoRoute),
        ("GET", "/none", &twice[..1], Reason::NoRoute),
        ("PUT", "/items", &twice[..1], Reason::MethodNotAllowed),
        ("get", "/items", &twice[..1], Reason::MethodNotAllowed),
        ("GET", "/items/..", &twice[..1], Reason::BadPath),
        ("GET", "//items", &twice[..1], Reason::BadPath),
        ("GET", "/items;x", &twice[..1], Reason::BadPath),
        ("GET", "/none;x", &twice[..1], Reason::BadPath),
        // What a public route is sent does not matter.
        ("GET", "/open", &twice[..], Reason::Public),
        (
            "GET",
            "/open",
            &[("authorization", "Bearer ,")][..],
            Reason::Public,
        ),
        // No token that could be looked at.
        ("GET", "/items", &twice[..], Reason::MultipleTokens),
        ("GET", "/items", &[][..], Reason::MissingToken),
        (
            "GET",
            "/items",
            &[("authorization", "Basic eA==")][..],
            Reason::MissingToken,
        ),
        (
            "GET",
            "/items",
            &[("authorization", "Bearer")][..],
            Reason::MalformedAuthorization,
        ),
        (
            "GET",
            "/items",
            &[("cookie", "access_token=a")][..],
            Reason::MissingToken,
        ),
    ] {
        let decision = verdict_by(&snapshot, method, "localhost", path, fields, &Untouched);
        assert_eq!(reason(&decision), expected, "{method} {path} {fields:?}");
    }
    let decision = verdict_by(&snapshot, "GET", "a b", "/open", &[], &Untouched);
    assert_eq!(reason(&decision), Reason::BadRequest);
}

/// The form of RFC 6750 is asked for once a token has failed; whatever else it fails for, this is what is told.
#[test]
fn what_is_not_one_token_is_malformed() {
    let snapshot = snapshot_of(api(), vec![guarded("/items", &["read:items"])]);
    for value in [
        "Bearer a b",
        "Bearer a, Bearer b",
        "Bearer \"a\"",
        "Bearer a ",
        "Bearer =",
    ] {
        let decision = verdict_by(
            &snapshot,
            "GET",
            "localhost",
            "/items",
            &[("authorization", value)],
            &Uncached,
        );
        assert_eq!(reason(&decision), Reason::MalformedAuthorization, "{value}");
    }
}

/// A request on each way to a refusal, on a route that can refuse for every reason.
fn demanding() -> RequirementPlan {
    asks(Conditions {
        all_of: names(&["read:items"]),
        any_of: names(&["write:items", "admin:items"]),
        claims: vec![ClaimTest {
            claim: "org_id".into(),
            values: names(&["org_1", "org_2"]),
        }],
        clients: names(&["client", "other"]),
        step_up: Some(StepUp {
            within: Some(Duration::from_secs(900)),
            methods: names(&["mfa"]),
            acr: names(&["gold"]),
            ..StepUp::default()
        }),
    })
}

/// What meets [`demanding`], with these members changed.
fn meets(members: &[(&str, Option<Value>)]) -> String {
    let mut all = vec![
        ("org_id", Some(json!("org_2"))),
        ("auth_time", Some(json!(NOW - 900))),
        ("amr", Some(json!(["pwd", "mfa"]))),
        ("acr", Some(json!("gold"))),
    ];
    all.extend(members.iter().cloned());
    token_with(api(), &all)
}

fn refusals() -> Vec<(String, Reason)> {
    let absent = None;
    vec![
        (meets(&[]), Reason::Ok),
        (
            meets(&[("scope", Some(json!("read:items admin:items")))]),
            Reason::Ok,
        ),
        (meets(&[("scope", absent.clone())]), Reason::InsufficientScope),
        (
            meets(&[("scope", Some(json!("write:items admin:items")))]),
            Reason::InsufficientScope,
        ),
        (
            meets(&[("scope", Some(json!("read:items")))]),
            Reason::InsufficientScope,
        ),
        (
            meets(&[("scope", Some(json!("READ:ITEMS WRITE:ITEMS")))]),
            Reason::InsufficientScope,
        ),
        (
            meets(&[("scope", Some(json!("read:items2 write:items")))]),
            Reason::InsufficientScope,
        ),
        (
            meets(&[("scope", Some(json!("read:items,write:items")))]),
            Reason::InsufficientScope,
        ),
        (
            meets(&[("scope", Some(json!("read:items\twrite:items")))]),
            Reason::InsufficientScope,
        ),
        (
            meets(&[("scope", Some(json!(["read:items write:items"])))]),
            Reason::InsufficientScope,
        ),
        (meets(&[("scope", Some(json!("*")))]), Reason::InsufficientScope),
        (meets(&[("azp", Some(json!("third")))]), Reason::ClientNotAllowed),
        (meets(&[("azp", Some(json!("CLIENT")))]), Reason::ClientNotAllowed),
        (meets(&[("azp", absent.clone())]), Reason::ClientNotAllowed),
        (
            meets(&[("azp", absent.clone()), ("client_id", Some(json!("other")))]),
            Reason::Ok,
        ),
        (meets(&[("org_id", absent.clone())]), Reason::ClaimMismatch),
        (meets(&[("org_id", Some(json!("org_3")))]), Reason::ClaimMismatch),
        (
            meets(&[("org_id", Some(json!("org_1 org_2")))]),
            Reason::ClaimMismatch,
        ),
        (meets(&[("org_id", Some(json!(null)))]), Reason::ClaimMismatch),
        (
            meets(&[("org_id", Some(json!({"org_1": "org_1"})))]),
            Reason::ClaimMismatch,
        ),
        (
            meets(&[("org_id", Some(json!([["org_1"]])))]),
            Reason::ClaimMismatch,
        ),
        (meets(&[("org_id", Some(json!([])))]), Reason::ClaimMismatch),
        (meets(&[("org_id", Some(json!(["x", "org_1"])))]), Reason::Ok),
        (meets(&[("auth_time", absent.clone())]), Reason::StepUpRequired),
        (
            meets(&[("auth_time", Some(json!(NOW - 901)))]),
            Reason::StepUpRequired,
        ),
        (meets(&[("auth_time", Some(json!(NOW + LEEWAY)))]), Reason::Ok),
        (
            meets(&[("auth_time", Some(json!(NOW + LEEWAY + 1)))]),
            Reason::StepUpRequired,
        ),
        (
            meets(&[("auth_time", Some(json!(i64::MAX)))]),
            Reason::StepUpRequired,
        ),
        (
            meets(&[("auth_time", Some(json!(i64::MIN)))]),
            Reason::StepUpRequired,
        ),
        (meets(&[("amr", absent.clone())]), Reason::StepUpRequired),
        (meets(&[("amr", Some(json!("mfa")))]), Reason::MalformedClaim),
        (meets(&[("acr", Some(json!(["gold"])))]), Reason::MalformedClaim),
        (meets(&[("amr", Some(json!(["pwd"])))]), Reason::StepUpRequired),
        (meets(&[("acr", absent.clone())]), Reason::StepUpRequired),
        (meets(&[("acr", Some(json!("silver")))]), Reason::StepUpRequired),
        // Scope before client before claim before step-up.
        (
            meets(&[
                ("scope", absent.clone()),
                ("azp", absent.clone()),
                ("org_id", absent.clone()),
            ]),
            Reason::InsufficientScope,
        ),
        (
            meets(&[("azp", absent.clone()), ("org_id", absent.clone())]),
            Reason::ClientNotAllowed,
        ),
        (
            meets(&[("org_id", absent.clone()), ("acr", absent)]),
            Reason::ClaimMismatch,
        ),
        (meets(&[("exp", Some(json!(1)))]), Reason::Expired),
        (meets(&[("aud", Some(json!("x")))]), Reason::AudienceMismatch),
        (bearer("a.b.c"), Reason::MalformedToken),
        (bearer("a"), Reason::MalformedToken),
    ]
}

#[test]
fn each_condition_refuses_with_its_reason() {
    let snapshot = snapshot_of(api(), vec![route("/x", demanding())]);
    for (authorization, expected) in refusals() {
        let decision = verdict(&snapshot, "GET", "/x", &[("authorization", &authorization)]);
        assert_eq!(reason(&decision), expected, "{authorization}");
        match decision {
            Decision::Forward(permit) => {
                assert!(permit.principal().is_some() && permit.shadow().is_none());
            }
            Decision::Refuse(denial) => {
                assert_eq!(denial.route.map(|id| id.0), Some(0));
                let is_verified = expected.status() == 403
                    || matches!(expected, Reason::StepUpRequired | Reason::MalformedClaim);
                assert_eq!(denial.principal.is_some(), is_verified, "{expected:?}");
                assert!(denial.key_miss().is_none());
            }
        }
    }
}

#[test]
fn only_claims_that_somebody_asks_for_are_kept() {
    let mut plan = api_plan(api(), &[], vec![route("/x", demanding()), public("/y")]);
    plan.forward.identity_headers = vec![IdentityHeader {
        name: HeaderName::from_static("x-client"),
        claim: "client_id".into(),
    }];
    let snapshot = snapshot(vec![plan], Some(api())).unwrap();
    let authorization = meets(&[("name", Some(json!("Ada"))), ("gty", Some(json!("password")))]);
    let permit = permit(verdict(
        &snapshot,
        "GET",
        "/x",
        &[("authorization", &authorization)],
    ));
    let principal = permit.principal().unwrap();
    // `azp` is what `client_id` is called in this token.
    for (name, expected) in [
        ("org_id", json!("org_2")),
        ("amr", json!(["pwd", "mfa"])),
        ("acr", json!("gold")),
        ("gty", json!("password")),
        ("client_id", json!("client")),
    ] {
        let expected = expected.to_string();
        assert_eq!(
            principal.claim(name),
            Some(&Json::read(expected.as_bytes()).unwrap()),
            "{name}"
        );
    }
    for name in ["name", "iss", "aud", "sub", "scope", "auth_time"] {
        assert_eq!(principal.claim(name), None, "{name}");
    }
    assert_eq!(principal.subject(), Some("auth0|user"));
    assert_eq!(principal.auth_time(), Some(NOW - 900));
    // Alone, a verifier keeps them all.
    let token = authorization.strip_prefix("Bearer ").unwrap();
    let principal = api().verifier().verify(token, NOW).unwrap();
    assert!(principal.claim("name").is_some() && principal.claim("scope").is_some());
}

fn in_mode(mut plan: ApiPlan, mode: Mode) -> Snapshot {
    plan.mode = mode;
    snapshot(vec![plan], Some(api())).unwrap()
}

fn permit(decision: Decision) -> Permit {
    match decision {
        Decision::Forward(permit) => permit,
        Decision::Refuse(denial) => panic!("{denial:?}"),
    }
}

#[test]
fn report_mode_waives_what_a_route_asks_and_nothing_else() {
    let routes = vec![with_methods(route("/x", demanding()), &["GET"]), public("/open")];
    let snapshot = in_mode(api_plan(api(), &[], routes), Mode::Report);
    for (authorization, expected) in refusals() {
        let decision = permit(verdict(
            &snapshot,
            "GET",
            "/x",
            &[("authorization", &authorization)],
        ));
        let shadow = decision.shadow().map(|denial| denial.reason);
        assert_eq!(
            shadow,
            (expected != Reason::Ok).then_some(expected),
            "{authorization}"
        );
        assert_eq!(decision.reason(), Reason::Ok);
    }
    let two = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
    for (fields, expected) in [
        (&two[..0], Reason::MissingToken),
        (&two[..], Reason::MultipleTokens),
        (
            &[("authorization", "Bearer ")][..],
            Reason::MalformedAuthorization,
        ),
    ] {
        let decision = permit(verdict(&snapshot, "GET", "/x", fields));
        assert_eq!(decision.shadow().map(|denial| denial.reason), Some(expected));
        assert!(decision.principal().is_none(), "nobody was verified");
    }
    for (method, path, expected) in [
        ("GET", "/none", Reason::NoRoute),
        ("PUT", "/x", Reason::MethodNotAllowed),
        ("GET", "/x;v=1", Reason::BadPath),
        ("GET", "/x/../x", Reason::BadPath),
        ("GET", "//x", Reason::BadPath),
    ] {
        match verdict(&snapshot, method, path, &[]) {
            Decision::Refuse(denial) => assert_eq!(denial.reason, expected, "{path}"),
            Decision::Forward(permit) => panic!("{path}: {permit:?}"),
        }
    }
    let open = permit(verdict(&snapshot, "GET", "/open", &[]));
    assert!(open.shadow().is_none() && open.reason() == Reason::Public);
}

#[test]
fn the_mode_of_a_route_goes_before_that_of_its_api() {
    let moded = |path, mode| RoutePlan {
        mode,
        ..route(path, demanding())
    };
    let routes = || {
        vec![
            moded("/api", None),
            moded("/enforced", Some(Mode::Enforce)),
            moded("/reported", Some(Mode::Report)),
        ]
    };
    for (mode, path, is_forwarded) in [
        (Mode::Enforce, "/api", false),
        (Mode::Enforce, "/enforced", false),
        (Mode::Enforce, "/reported", true),
        (Mode::Report, "/api", true),
        (Mode::Report, "/enforced", false),
        (Mode::Report, "/reported", true),
    ] {
        let snapshot = in_mode(api_plan(api(), &[], routes()), mode);
        let decision = verdict(&snapshot, "GET", path, &[]);
        assert_eq!(
            matches!(decision, Decision::Forward(_)),
            is_forwarded,
            "{mode:?} {path}"
        );
    }
}

/// Keys that are not there are told apart from tokens that are bad, also where nothing is enforced.
#[test]
fn keys_that_are_not_there() {
    let api = TestApi::new(SigningAlg::ES256, TokenDialect::AccessToken);
    let plan = || api_plan(api, &[], vec![guarded("/x", &[])]);
    let without = snapshot(vec![plan()], None).unwrap();
    let fields = |token: String| bearer(&token);
    let authorization = fields(api.token());
    let Decision::Refuse(denial) = verdict(&without, "GET", "/x", &[("authorization", &authorization)])
    else {
        panic!("accepted without a key");
    };
    assert_eq!(denial.reason, Reason::KeysUnavailable);
    assert_eq!(denial.reason.status(), 503);

    let snapshot = snapshot(vec![plan()], Some(api)).unwrap();
    for (kid, miss) in [
        (Some(json!("new")), Some("new")),
        (None, None),
        (Some(json!("")), None),
    ] {
        let header = with(api.header(), "kid", kid.clone());
        let authorization = fields(api.sign(&header, &api.claims()));
        let decision = verdict(&snapshot, "GET", "/x", &[("authorization", &authorization)]);
        match (decision, kid) {
            // The only key that fits serves a token that names none.
            (Decision::Forward(_), None) => {}
            (Decision::Refuse(denial), Some(_)) => {
                assert_eq!(denial.reason, Reason::UnknownKid);
                assert_eq!(denial.key_miss().map(|miss| miss.kid), miss);
            }
            (other, kid) => panic!("{kid:?}: {other:?}"),
        }
    }
}

/// Every set of scopes against every pair of `all_of` and `any_of`.
#[test]
fn scopes_are_sets() {
    let subsets: Vec<Vec<&str>> = (0..8_usize)
        .map(|bits| {
            let is_in = |at: &usize| bits >> at & 1 == 1;
            (0..3).filter(is_in).map(|at| SCOPES[at]).collect()
        })
        .collect();
    let pairs: Vec<(&Vec<&str>, &Vec<&str>)> = subsets
        .iter()
        .flat_map(|all| subsets.iter().map(move |any| (all, any)))
        .collect();
    let routes = pairs
        .iter()
        .enumerate()
        .map(|(at, (all, any))| {
            let conditions = Conditions {
                all_of: names(all),
                any_of: names(any),
                ..Conditions::default()
            };
            route(&format!("/{at}"), asks(conditions))
        })
        .collect();
    let snapshot = snapshot_of(api(), routes);
    for held in &subsets {
        let authorization = token_with(api(), &[("scope", Some(json!(held.join(" "))))]);
        let held: BTreeSet<&str> = held.iter().copied().collect();
        for (at, (all, any)) in pairs.iter().enumerate() {
            let has_all = all.iter().all(|scope| held.contains(scope));
            let has_any = any.is_empty() || any.iter().any(|scope| held.contains(scope));
            let expected = if has_all && has_any {
                Reason::Ok
            } else {
                Reason::InsufficientScope
            };
            let decision = verdict(
                &snapshot,
                "GET",
                &format!("/{at}"),
                &[("authorization", &authorization)],
            );
            assert_eq!(
                reason(&decision),
                expected,
                "{held:?}: all of {all:?}, any of {any:?}"
            );
        }
    }
}

/// `permissions` decides where RBAC is on and the dialect promises it, `scope` everywhere else.
#[test]
fn which_claim_decides() {
    let scope = || Some(json!("read:items"));
    let permissions = || Some(json!(["read:items"]));
    for (dialect, enforce, by_permissions) in [
        (TokenDialect::AccessToken, false, false),
        (TokenDialect::AccessToken, true, false),
        (TokenDialect::AccessTokenAuthz, false, false),
        (TokenDialect::AccessTokenAuthz, true, true),
        (TokenDialect::Rfc9068, false, false),
        (TokenDialect::Rfc9068, true, false),
        (TokenDialect::Rfc9068Authz, false, false),
        (TokenDialect::Rfc9068Authz, true, true),
    ] {
        let api = TestApi {
            enforce_policies: enforce,
            ..TestApi::new(SigningAlg::HS256, dialect)
        };
        let snapshot = snapshot_of(api, vec![guarded("/x", &["read:items"])]);
        for (scope, permissions) in [
            (scope(), permissions()),
            (scope(), None),
            (None, permissions()),
            (None, None),
            (scope(), Some(json!([]))),
            (Some(json!("")), permissions()),
        ] {
            let has = |claim: &Option<Value>| {
                claim
                    .as_ref()
                    .is_some_and(|value| *value != json!([]) && *value != json!(""))
            };
            let expected = match (by_permissions, has(&scope), has(&permissions)) {
                (true, _, true) | (false, true, _) => Reason::Ok,
                (true, ..) => Reason::InsufficientPermission,
                (false, ..) => Reason::InsufficientScope,
            };
            let claims = [("scope", scope.clone()), ("permissions", permissions.clone())];
            let authorization = token_with(api, &claims);
            let decision = verdict(&snapshot, "GET", "/x", &[("authorization", &authorization)]);
            assert_eq!(
                reason(&decision),
                expected,
                "{dialect:?} enforce={enforce} {claims:?}"
            );
        }
    }
}

#[test]
fn any_valid_token_will_do_where_nothing_is_asked() {
    for dialect in [TokenDialect::AccessToken, TokenDialect::AccessTokenAuthz] {
        let api = TestApi::new(SigningAlg::HS256, dialect);
        let snapshot = snapshot_of(api, vec![guarded("/me", &[])]);
        let authorization = token_with(api, &[("scope", None), ("permissions", None)]);
        let decision = verdict(&snapshot, "GET", "/me", &[("authorization", &authorization)]);
        assert_eq!(reason(&decision), Reason::Ok, "{dialect:?}");
        assert_eq!(
            reason(&verdict(&snapshot, "GET", "/me", &[])),
            Reason::MissingToken
        );
    }
}

#[test]
fn preflights() {
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "PUT"),
    ];
    let other = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "PATCH"),
    ];
    let odd = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "P T"),
    ];
    let routes = || {
        vec![
            with_methods(guarded("/x", &["read:items"]), &["GET", "PUT"]),
            guarded("/any", &["read:items"]),
        ]
    };
    for (rule, method, path, fields, expected) in [
        (
            Preflight::Forward,
            "OPTIONS",
            "/x",
            &preflight[..],
            Reason::Public,
        ),
        (
            Preflight::Forward,
            "OPTIONS",
            "/x",
            &other[..],
            Reason::MethodNotAllowed,
        ),
        (
            Preflight::Forward,
            "OPTIONS",
            "/x",
            &odd[..],
            Reason::MethodNotAllowed,
        ),
        (
            Preflight::Forward,
            "OPTIONS",
            "/x",
            &preflight[..1],
            Reason::MethodNotAllowed,
        ),
        (
            Preflight::Forward,
            "OPTIONS",
            "/x",
            &preflight[1..],
            Reason::MethodNotAllowed,
        ),
        (
            Preflight::Forward,
            "OPTIONS",
            "/none",
            &preflight[..],
            Reason::NoRoute,
        ),
        (
            Preflight::Forward,
            "OPTIONS",
            "/x;y",
            &preflight[..],
            Reason::BadPath,
        ),
        (
            Preflight::Forward,
            "OPTIONS",
            "/any",
            &preflight[..],
            Reason::Public,
        ),
        (
            Preflight::Forward,
            "OPTIONS",
            "/any",
            &preflight[..1],
            Reason::MissingToken,
        ),
        (
            Preflight::Forward,
            "PUT",
            "/x",
            &preflight[..],
            Reason::MissingToken,
        ),
        (
            Preflight::Forward,
            "GET",
            "/any",
            &preflight[..],
            Reason::MissingToken,
        ),
        (
            Preflight::Decide,
            "OPTIONS",
            "/x",
            &preflight[..],
            Reason::MethodNotAllowed,
        ),
        (
            Preflight::Decide,
            "OPTIONS",
            "/any",
            &preflight[..],
            Reason::MissingToken,
        ),
    ] {
        let mut plan = api_plan(api(), &[], routes());
        plan.forward.cors_preflight = rule;
        let snapshot = snapshot(vec![plan], None).unwrap();
        let decision = verdict_by(&snapshot, method, "localhost", path, fields, &Untouched);
        assert_eq!(reason(&decision), expected, "{rule:?} {method} {path} {fields:?}");
        if let Decision::Refuse(denial) = decision {
            let is_method = expected == Reason::MethodNotAllowed;
            assert_eq!(denial.allow.is_some(), is_method, "{path}");
        }
    }
}
