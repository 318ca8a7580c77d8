//! Several issuers of one API, each with tokens shaped as a product makes them: read in their own way on one table of
//! routes, and never verified with one another's keys. All keys have the same id.
//!
//! Where the shapes come from:
//! - Auth0: docs.auth0.com, "Access token profiles" (research: the Auth0 profile).
//! - Keycloak: the response shown at docs.walt.id/wallet/api/auth/jwt-oidc/keycloak/api-endpoints ("Client Access Token");
//!   `TokenUtil` of keycloak/keycloak for the values of the claim `typ`.
//! - Entra ID: MicrosoftDocs/entra-docs, docs/identity-platform/access-token-claims-reference.md and
//!   id-token-claims-reference.md.
//! - Okta: both decoded tokens at groups.google.com/g/rabbitmq-users/c/O3GdCKf8soM, with the issuer and audience of a
//!   custom authorization server.

use scopegate::definition::SigningAlg;
use serde_json::{Value, json};

use crate::harness::client::get_with;
use crate::harness::gateway::run;
use crate::harness::issuer::now;
use crate::harness::{Gateway, Upstream};
use crate::support::api::with;
use crate::support::forge::{SigningKey, jwks};

const KID: &str = "same";
const TENANT: &str = "9f2d6c1e-3b6a-4f0e-8a51-0c2f7e1b7d11";
const APPLICATION: &str = "4b1f6f0c-7c7d-4a0a-8d0b-5a4f1c9c2f55";

/// A product: what it is called here, its issuer, and the slot of its key. The two versions of Entra ID have one key set.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Product {
    Auth0,
    Keycloak,
    Entra1,
    Entra2,
    Okta,
    Own,
}

use Product::{Auth0, Entra1, Entra2, Keycloak, Okta, Own};

impl Product {
    const ALL: [Self; 6] = [Auth0, Keycloak, Entra1, Entra2, Okta, Own];

    fn issuer(self) -> String {
        match self {
            Auth0 => "https://tenant.eu.auth0.com/".into(),
            Keycloak => "https://sso.example.com/realms/shop".into(),
            Entra1 => format!("https://sts.windows.net/{TENANT}/"),
            Entra2 => format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
            Okta => "https://example.okta.com/oauth2/default".into(),
            Own => "https://authority.example.com/".into(),
        }
    }

    fn alg(self) -> SigningAlg {
        match self {
            Okta | Own => SigningAlg::ES256,
            _ => SigningAlg::RS256,
        }
    }

    fn key(self) -> SigningKey {
        let slot = match self {
            Auth0 | Okta => 0,
            Keycloak | Own => 1,
            Entra1 | Entra2 => 2,
        };
        SigningKey::fixture(self.alg(), slot)
    }

    fn has_key_of(self, other: Self) -> bool {
        self == other || matches!((self, other), (Entra1, Entra2) | (Entra2, Entra1))
    }

    fn header(self) -> Value {
        let alg = self.alg().name();
        match self {
            Okta => json!({"kid": KID, "alg": alg}),
            Entra1 => json!({"typ": "JWT", "alg": alg, "x5t": KID, "kid": KID}),
            _ => json!({"alg": alg, "typ": "JWT", "kid": KID}),
        }
    }

    /// The claims of an access token that may read items.
    fn claims(self) -> Value {
        let (iat, exp) = (now() - 60, now() + 3_600);
        let mut claims = match self {
            Auth0 => json!({
                "sub": "auth0|65f1", "aud": ["urn:items", "https://tenant.eu.auth0.com/userinfo"], "azp": "spa-client",
                "scope": "openid profile", "permissions": ["read:items"],
            }),
            Keycloak => json!({
                "jti": "f73a4a37-9550-4f88-97ef-3b45abee06f1", "aud": ["realm-management", "account"],
                "sub": "7ddaf89f-69eb-4ecf-a9ca-acba11211986", "typ": "Bearer", "azp": "shop-web", "acr": "1",
                "session_state": "5f0a", "nonce": "of the login", "allowed-origins": ["/*"],
                "realm_access": {"roles": ["offline_access", "default-roles-shop", "viewer"]},
                "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
                "scope": "email profile", "email_verified": false, "preferred_username": "jo",
            }),
            Entra1 => json!({
                "aud": format!("api://{APPLICATION}"), "nbf": iat, "acr": "1", "aio": "AXQ", "amr": ["pwd", "mfa"],
                "appid": "6f1c", "appidacr": "0", "idp": format!("https://sts.windows.net/{TENANT}/"), "ipaddr": "192.0.2.7",
                "oid": "0c2f-oid", "rh": "0.AX", "scp": "user_impersonation", "roles": ["Items.Read"], "sub": "pairwise-1",
                "tid": TENANT, "unique_name": "jo@example.com", "uti": "uti-1", "ver": "1.0",
            }),
            Entra2 => json!({
                "aud": APPLICATION, "nbf": iat, "aio": "AXQ", "azp": "6f1c", "azpacr": "1", "oid": "0c2f-oid", "rh": "0.AX",
                "roles": ["Items.Read"], "sub": "pairwise-2", "tid": TENANT, "uti": "uti-2", "ver": "2.0",
            }),
            Okta => json!({
                "ver": 1, "jti": "AT.MNAoEQ_jbKqoinrQo1D0X", "aud": "api://default", "sub": "jo@example.com",
                "cid": "0oa1client", "uid": "00u1user", "scp": ["openid", "read:items"], "auth_time": iat,
            }),
            Own => {
                json!({"aud": "urn:items", "sub": "jo", "client_id": "cli", "scope": "read:items", "permissions": ["read:items"]})
            }
        };
        claims["iss"] = json!(self.issuer());
        claims["iat"] = json!(iat);
        claims["exp"] = json!(exp);
        claims
    }

    fn token(self, claims: &Value) -> String {
        self.key().token(self.alg(), &self.header(), claims)
    }

    /// The claims of an ID token for the application that is the API as well: nothing but its kind is wrong with it.
    fn id_token(self) -> Option<Value> {
        let times = json!({"iss": self.issuer(), "iat": now() - 60, "exp": now() + 3_600, "sub": "jo"});
        let mut claims = match self {
            Keycloak => {
                json!({"typ": "ID", "azp": "account", "aud": "account", "at_hash": "x", "realm_access": {"roles": ["viewer"]}})
            }
            Entra1 => {
                json!({"aud": format!("api://{APPLICATION}"), "roles": ["Items.Read"], "tid": TENANT, "uti": "u", "ver": "1.0"})
            }
            Entra2 => {
                json!({"aud": APPLICATION, "roles": ["Items.Read"], "tid": TENANT, "uti": "u", "ver": "2.0"})
            }
            Okta => {
                json!({"ver": 1, "aud": "api://default", "jti": "ID.1", "amr": ["pwd"], "idp": "00o1", "scp": ["read:items"]})
            }
            Auth0 => json!({"aud": "urn:items", "nonce": "n", "permissions": ["read:items"]}),
            Own => return None,
        };
        claims
            .as_object_mut()
            .unwrap()
            .extend(times.as_object().unwrap().clone());
        Some(claims)
    }

    fn trusted(self) -> String {
        let issuer = self.issuer();
        match self {
            Auth0 => format!("- {issuer}"),
            Keycloak => format!(
                "- issuer: {issuer}
        audiences: [account]
        permissions_from: [[realm_access, roles], [resource_access, 'items.api', roles]]
        roles: {{ viewer: [read:items], admin: [read:items, write:items] }}"
            ),
            Entra1 => format!(
                "- issuer: {issuer}
        audiences: ['api://{APPLICATION}']
        subject_from: oid
        roles: {{ Items.Read: [read:items] }}"
            ),
            Entra2 => format!(
                "- issuer: {issuer}
        audiences: [{APPLICATION}]
        subject_from: oid
        roles: {{ Items.Read: [read:items], Items.Manage: [write:items] }}"
            ),
            Okta => format!(
                "- issuer: {issuer}\n        algorithms: [ES256]\n        audiences: ['api://default']\n        granted_by: scope"
            ),
            Own => format!("- issuer: {issuer}\n        algorithms: [ES256]"),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Auth0 => "auth0",
            Keycloak => "keycloak",
            Entra1 | Entra2 => "entra",
            Okta => "okta",
            Own => "",
        }
    }

    fn file(self) -> String {
        format!("{self:?}.json").to_ascii_lowercase()
    }
}

struct World {
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn start() -> Self {
        let upstream = Upstream::start();
        let mut yaml = String::from("issuers:\n");
        for product in Product::ALL {
            yaml.push_str(&format!(
                "  - issuer: {}\n    jwks_file: {}\n",
                product.issuer(),
                product.file()
            ));
            if !product.kind().is_empty() {
                yaml.push_str(&format!("    kind: {}\n", product.kind()));
            }
        }
        yaml.push_str(&format!(
            "apis:
  - definition:
      identifier: urn:items
      signing_alg: RS256
      token_dialect: access_token_authz
      enforce_policies: true
      scopes: [{{ value: read:items }}, {{ value: write:items }}]
    upstream: {}
    forward:
      identity_headers: {{ X-Sub: sub, X-Client: client_id, X-Permissions: permissions, X-Scope: scope }}
    issuers:
",
            upstream.url()
        ));
        for product in Product::ALL {
            yaml.push_str(&format!("      {}\n", product.trusted()));
        }
        yaml.push_str("    routes:\n      - { path: /items, methods: [GET], require: read:items }\n      - { path: /items, methods: [POST], require: write:items }\n      - { path: /client, require: { clients: ['6f1c', 0oa1client] } }\n");
        let files: Vec<(String, String)> = Product::ALL
            .iter()
            .map(|product| (product.file(), jwks(&[product.key().jwk(KID)])))
            .collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let gateway = Gateway::start_with(&yaml, &files);
        Self { upstream, gateway }
    }

    /// The reason of a refusal; `ok` where the upstream answered.
    #[track_caller]
    fn reason(&self, path: &str, token: &str) -> String {
        let before = self.upstream.requests();
        let response = get_with(self.gateway.address(), path, token);
        let forwarded = self.upstream.requests() - before;
        if response.status == 200 {
            assert_eq!(forwarded, 1);
            return "ok".into();
        }
        assert_eq!(forwarded, 0, "refused and forwarded");
        response.json()["reason"].as_str().unwrap().to_owned()
    }
}

#[test]
fn each_product_is_read_in_its_own_way() {
    let world = World::start();
    for (product, subject, client, permissions) in [
        (Auth0, "auth0|65f1", "spa-client", Some("read:items")),
        (
            Keycloak,
            "7ddaf89f-69eb-4ecf-a9ca-acba11211986",
            "shop-web",
            Some("read:items"),
        ),
        (Entra1, "0c2f-oid", "6f1c", Some("read:items")),
        (Entra2, "0c2f-oid", "6f1c", Some("read:items")),
        (Okta, "jo@example.com", "0oa1client", Some("")),
        (Own, "jo", "cli", Some("read:items")),
    ] {
        let token = product.token(&product.claims());
        // The second time it is found in the cache, with what was made of its roles.
        for _ in 0..2 {
            assert_eq!(world.reason("/items", &token), "ok", "{product:?}");
            let seen = world.upstream.last();
            assert_eq!(seen.field("x-sub"), Some(subject), "{product:?}");
            assert_eq!(seen.field("x-client"), Some(client), "{product:?}");
            assert_eq!(seen.field("x-permissions"), permissions, "{product:?}");
        }
        let is_listed = matches!(product, Entra1 | Entra2 | Okta);
        let expected = if is_listed { "ok" } else { "client_not_allowed" };
        assert_eq!(world.reason("/client", &token), expected, "{product:?}");
        let write = crate::harness::client::post(
            world.gateway.address(),
            "/items",
            &[("authorization", &format!("Bearer {token}"))],
            b"x",
        );
        assert_eq!(write.status, 403, "{product:?}");
        if product == Okta {
            assert_eq!(write.json()["reason"], "insufficient_scope");
        }
    }
}

#[test]
fn id_tokens_are_no_access_tokens() {
    let world = World::start();
    for product in Product::ALL {
        let Some(claims) = product.id_token() else {
            continue;
        };
        assert_eq!(
            world.reason("/items", &product.token(&claims)),
            "wrong_type",
            "{product:?}"
        );
    }
    for typ in ["ID", "Refresh", "Offline", "Logout", "bearer", ""] {
        let claims = with(Keycloak.claims(), "typ", Some(json!(typ)));
        assert_eq!(
            world.reason("/items", &Keycloak.token(&claims)),
            "wrong_type",
            "{typ}"
        );
    }
    let bound = with(Keycloak.claims(), "typ", Some(json!("DPoP")));
    assert_eq!(world.reason("/items", &Keycloak.token(&bound)), "ok");
    for (product, typ, expected) in [
        (Okta, Some("application/okta-internal-at+jwt"), "ok"),
        (Okta, Some("at+jwt"), "ok"),
        (Okta, Some("id+jwt"), "wrong_type"),
        (Keycloak, Some("at+jwt"), "ok"),
        (Keycloak, None, "wrong_type"),
        (Entra2, None, "wrong_type"),
        // Good for another issuer of the API, and not for this one.
        (Entra2, Some("at+jwt"), "wrong_type"),
        (Auth0, Some("at+jwt"), "wrong_type"),
        (Auth0, None, "ok"),
    ] {
        let header = with(product.header(), "typ", typ.map(|typ| json!(typ)));
        let token = product.key().token(product.alg(), &header, &product.claims());
        assert_eq!(world.reason("/items", &token), expected, "{product:?} {typ:?}");
    }
}

/// Claims that are there and wrong are never taken for absent, and absent ones grant nothing.
#[test]
fn what_is_read_is_read_strictly() {
    let world = World::start();
    let roles = |roles: Value| json!({ "roles": roles });
    let malformed = "malformed_claim";
    let nothing = "insufficient_permission";
    for (product, claim, value, expected) in [
        (Keycloak, "realm_access", None, nothing),
        (Keycloak, "realm_access", Some(roles(json!([]))), nothing),
        (Keycloak, "realm_access", Some(roles(json!(["admin"]))), "ok"),
        // A role that happens to have the name of a permission is not one.
        (
            Keycloak,
            "realm_access",
            Some(roles(json!(["read:items", "Viewer", "viewer "]))),
            nothing,
        ),
        (Keycloak, "realm_access", Some(roles(json!("viewer"))), malformed),
        (Keycloak, "realm_access", Some(roles(json!(null))), malformed),
        (
            Keycloak,
            "realm_access",
            Some(roles(json!(["viewer", 1]))),
            malformed,
        ),
        (
            Keycloak,
            "realm_access",
            Some(roles(json!({"viewer": true}))),
            malformed,
        ),
        (Keycloak, "realm_access", Some(json!(["viewer"])), malformed),
        (Keycloak, "realm_access", Some(json!("viewer")), malformed),
        (Keycloak, "realm_access", Some(json!(null)), malformed),
        (
            Keycloak,
            "resource_access",
            Some(json!({"items.api": "viewer"})),
            malformed,
        ),
        (Keycloak, "permissions", Some(json!(["write:items"])), "ok"),
        (Keycloak, "typ", None, "wrong_type"),
        (Keycloak, "typ", Some(json!(["Bearer"])), malformed),
        (Keycloak, "aud", None, "missing_claim"),
        (Keycloak, "aud", Some(json!("urn:items")), "audience_mismatch"),
        (Keycloak, "client_id", Some(json!("another")), malformed),
        (Keycloak, "client_id", Some(json!("shop-web")), "ok"),
        (Entra1, "aud", Some(json!(APPLICATION)), "audience_mismatch"),
        (
            Entra2,
            "aud",
            Some(json!(format!("api://{APPLICATION}"))),
            "audience_mismatch",
        ),
        (Entra2, "roles", Some(json!(["Items.Manage"])), nothing),
        (Entra2, "roles", Some(json!("Items.Read")), malformed),
        (Entra2, "roles", None, nothing),
        (Entra2, "azp", None, "wrong_type"),
        (Entra2, "azp", Some(json!(7)), malformed),
        (Entra2, "appid", Some(json!("another")), malformed),
        (Entra2, "oid", Some(json!(7)), malformed),
        (Entra2, "uti", Some(json!(7)), malformed),
        (Okta, "scp", Some(json!("openid read:items")), "ok"),
        (Okta, "scp", Some(json!(["read:item"])), "insufficient_scope"),
        (Okta, "scp", Some(json!([["read:items"]])), malformed),
        (Okta, "scp", Some(json!({"read:items": true})), malformed),
        (Okta, "scp", None, "insufficient_scope"),
        // Not where its scopes are.
        (Okta, "scope", Some(json!("write:items")), "ok"),
        (Okta, "cid", None, "wrong_type"),
        (Okta, "permissions", Some(json!("read:items")), malformed),
        (
            Auth0,
            "permissions",
            Some(json!(["Items.Read", "viewer"])),
            nothing,
        ),
        (Auth0, "permissions", Some(json!("read:items")), malformed),
    ] {
        let claims = with(product.claims(), claim, value.clone());
        let token = product.token(&claims);
        assert_eq!(
            world.reason("/items", &token),
            expected,
            "{product:?} {claim} {value:?}"
        );
    }
    // Two claims of roles count together, also where a name has a dot.
    let claims = with(Keycloak.claims(), "realm_access", None);
    let claims = with(
        claims,
        "resource_access",
        Some(json!({"items.api": {"roles": ["viewer"]}})),
    );
    assert_eq!(world.reason("/items", &Keycloak.token(&claims)), "ok");
}

/// Every token under the name of every issuer, signed with every key: only its own will do.
#[test]
fn no_key_speaks_for_another_issuer() {
    let world = World::start();
    let mut refused = 0;
    for shape in Product::ALL {
        for named in Product::ALL {
            for signer in Product::ALL {
                let claims = with(shape.claims(), "iss", Some(json!(named.issuer())));
                // The header as it would have to be, to get as far as possible.
                let header = with(named.header(), "alg", Some(json!(signer.alg().name())));
                let token = signer.key().token(signer.alg(), &header, &claims);
                let reason = world.reason("/items", &token);
                let case = format!("{shape:?} as {named:?} by {signer:?}: {reason}");
                if signer.alg() != named.alg() {
                    assert_eq!(reason, "alg_mismatch", "{case}");
                } else if !named.has_key_of(signer) {
                    assert_eq!(reason, "bad_signature", "{case}");
                } else if shape == named {
                    assert_eq!(reason, "ok", "{case}");
                } else {
                    let is_told = [
                        "audience_mismatch",
                        "wrong_type",
                        "insufficient_permission",
                        "insufficient_scope",
                    ]
                    .contains(&reason.as_str());
                    // The default shapes of Auth0 and of our own authority are one.
                    let is_alike = matches!((shape, named), (Auth0, Own) | (Own, Auth0));
                    assert!(is_told || (is_alike && reason == "ok"), "{case}");
                }
                refused += usize::from(reason != "ok");
            }
        }
    }
    assert!(refused > 200, "{refused}");
    // A name that is none of theirs, however near.
    for name in [
        "https://tenant.eu.auth0.com",
        "https://tenant.eu.auth0.com/ ",
        "https://sso.example.com/realms/shop/",
        "https://SSO.example.com/realms/shop",
        "https://sso.example.com/realms/other",
        "https://login.microsoftonline.com/common/v2.0",
        "",
    ] {
        for signer in Product::ALL {
            let claims = with(signer.claims(), "iss", Some(json!(name)));
            assert_eq!(
                world.reason("/items", &signer.token(&claims)),
                "issuer_mismatch",
                "{name}"
            );
        }
    }
    // The public key of one taken for a secret (RFC 8725 section 2.1).
    for product in Product::ALL {
        let secret = SigningKey::hmac(product.key().public());
        let header = with(product.header(), "alg", Some(json!("HS256")));
        let token = secret.token(SigningAlg::HS256, &header, &product.claims());
        assert_eq!(world.reason("/items", &token), "alg_mismatch", "{product:?}");
    }
}

#[test]
fn explain_reads_as_the_gateway_does() {
    let world = World::start();
    let config = world.gateway.folder.config();
    let ask = |claims: &Value| {
        let claims_file = world.gateway.folder.path("claims.json");
        std::fs::write(&claims_file, claims.to_string()).unwrap();
        let arguments = [
            "explain",
            "--config",
            config.to_str().unwrap(),
            "GET /items",
            "--claims",
            claims_file.to_str().unwrap(),
        ];
        let output = run(&arguments, "");
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let keycloak = |roles: Value| json!({"iss": Keycloak.issuer(), "realm_access": {"roles": roles}});
    assert!(ask(&keycloak(json!(["viewer"]))).contains("allow: ok"));
    let denied = ask(&keycloak(json!(["nobody"])));
    assert!(
        denied.contains("deny: insufficient_permission") && denied.contains("FAIL  permissions"),
        "{denied}"
    );
    let malformed = ask(&json!({"iss": Keycloak.issuer(), "realm_access": "viewer"}));
    assert!(
        malformed.contains("the claim `realm_access.roles` is malformed"),
        "{malformed}"
    );
    let id_token =
        ask(&json!({"iss": Keycloak.issuer(), "typ": "ID", "realm_access": {"roles": ["viewer"]}}));
    assert!(id_token.contains("FAIL  token type"), "{id_token}");
    for (issuer, claims) in [
        (Okta, json!({"scp": ["read:items"]})),
        (Entra2, json!({"roles": ["Items.Read"]})),
    ] {
        let claims = with(claims, "iss", Some(json!(issuer.issuer())));
        let told = ask(&claims);
        assert!(told.contains("allow: ok"), "{told}");
    }
}
