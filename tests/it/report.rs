//! `mode: report`: the whole decision is made, counted and logged, and the request passes all the same. What cannot be
//! routed does not, and nobody gets an identity that was not verified.

use serde_json::json;

use crate::harness::gateway::{ITEMS, decisions, items};
use crate::harness::{Gateway, Issuer, Upstream};

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

/// The API reports, or one route of it does.
fn worlds() -> Vec<World> {
    let forward = "    forward: { identity_headers: { X-Auth-Subject: sub, X-Auth-Scopes: scope } }\n";
    [
        "    mode: report\n    routes: [{ path: /items, methods: [GET], require: write:items }, { path: /enforced, require: write:items, mode: enforce }]\n",
        "    routes: [{ path: /items, methods: [GET], require: write:items, mode: report }, { path: /enforced, require: write:items }]\n",
    ]
    .into_iter()
    .map(|rest| {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let gateway = Gateway::start(&items(&issuer, &upstream, &format!("{forward}{rest}")));
        World {
            issuer,
            upstream,
            gateway,
        }
    })
    .collect()
}

#[test]
fn what_would_be_refused_passes_and_is_counted() {
    for world in worlds() {
        let lacking = world.issuer.token(ITEMS, "read:items");
        let elsewhere = world.issuer.token("urn:other", "write:items");
        let good = world.issuer.token(ITEMS, "write:items");
        let unknown = {
            use scopegate::definition::{SigningAlg, TokenDialect};
            let draft = world
                .issuer
                .draft(SigningAlg::RS256, TokenDialect::AccessToken, ITEMS);
            world.issuer.sign(&draft.header("kid", "unknown"))
        };
        let bearer = |token: &str| Some(format!("Bearer {token}"));
        for (reason, decision, authorization, subject) in [
            ("missing_token", "shadow_deny", None, None),
            ("malformed_authorization", "shadow_deny", bearer("a b"), None),
            ("malformed_token", "shadow_deny", bearer("nonsense"), None),
            ("audience_mismatch", "shadow_deny", bearer(&elsewhere), None),
            ("unknown_kid", "shadow_deny", bearer(&unknown), None),
            // It was verified; what it lacks is leave.
            (
                "insufficient_scope",
                "shadow_deny",
                bearer(&lacking),
                Some("auth0|user"),
            ),
            ("ok", "allow", bearer(&good), Some("auth0|user")),
        ] {
            let mut fields = vec![
                ("x-auth-subject", "root"),
                ("x-auth-scopes", "admin"),
                ("x-other", "kept"),
            ];
            fields.extend(authorization.as_deref().map(|value| ("authorization", value)));
            let labels = [
                ("api", ITEMS),
                ("route", "/items"),
                ("decision", decision),
                ("reason", reason),
            ];
            let before = decisions(&world.gateway.metrics(), &labels);
            let response = world.gateway.client().get("/items", &fields);
            assert_eq!(response.status, 200, "{reason}");
            assert!(response.field("www-authenticate").is_none());
            let seen = world.upstream.last();
            assert_eq!(seen.field("x-auth-subject"), subject, "{reason}");
            assert_ne!(seen.field("x-auth-scopes"), Some("admin"), "{reason}");
            assert_eq!(seen.field("x-other"), Some("kept"));
            let id = seen.field("x-request-id").unwrap();
            let line = world.gateway.folder.log_line("request_id", id);
            assert_eq!(
                (&line["decision"], &line["reason"]),
                (&json!(decision), &json!(reason))
            );
            assert_eq!(line["status"], 200);
            assert_eq!(
                decisions(&world.gateway.metrics(), &labels) - before,
                1.0,
                "{reason}"
            );
        }
        world.gateway.until_idle();
    }
}

#[test]
fn what_has_no_route_or_another_route_is_refused() {
    for world in worlds() {
        for (method, target, fields, status, reason) in [
            ("GET", "/nowhere", &[][..], 404, "no_route"),
            ("POST", "/items", &[], 405, "method_not_allowed"),
            ("GET", "/items/../enforced", &[], 400, "bad_path"),
            ("GET", "/items%2f", &[], 400, "bad_path"),
            ("GET", "/items", &[("x_user", "1")], 400, "bad_request"),
            ("GET", "/enforced", &[], 401, "missing_token"),
        ] {
            let response = world.gateway.client().request(method, target, fields, b"");
            assert_eq!(response.status, status, "{method} {target}");
            assert_eq!(response.json()["reason"], reason, "{method} {target}");
        }
        assert_eq!(world.upstream.requests(), 0);
        let shadowed = decisions(&world.gateway.metrics(), &[("decision", "shadow_deny")]);
        assert_eq!(shadowed, 0.0);
    }
}
