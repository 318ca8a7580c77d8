//! Algorithms, profiles and dialects side by side behind one listener: each API accepts its own tokens and nobody
//! else's, over HTTP/1.1 and HTTP/2.

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::json;

use crate::harness::issuer::Draft;
use crate::harness::{Gateway, Http2Client, Issuer, Upstream};
use crate::support::api::DIALECTS;

const ALGORITHMS: [SigningAlg; 6] = [
    SigningAlg::RS256,
    SigningAlg::PS256,
    SigningAlg::ES256,
    SigningAlg::ES384,
    SigningAlg::EdDSA,
    SigningAlg::HS256,
];

/// As a definition writes it.
fn dialect_name(dialect: TokenDialect) -> &'static str {
    match dialect {
        TokenDialect::AccessToken => "access_token",
        TokenDialect::AccessTokenAuthz => "access_token_authz",
        TokenDialect::Rfc9068 => "rfc9068_profile",
        TokenDialect::Rfc9068Authz => "rfc9068_profile_authz",
    }
}

/// One API of the listener, found by its host.
#[derive(Clone, Copy)]
struct Api {
    alg: SigningAlg,
    dialect: TokenDialect,
    enforce_policies: bool,
}

impl Api {
    fn all() -> Vec<Self> {
        let mut apis = Vec::new();
        for alg in ALGORITHMS {
            for dialect in DIALECTS {
                let enforce_policies = dialect.has_permissions();
                apis.push(Self {
                    alg,
                    dialect,
                    enforce_policies,
                });
            }
        }
        // Permissions are promised, but nobody enforces policies: the scope decides.
        apis.push(Self {
            alg: SigningAlg::RS256,
            dialect: TokenDialect::AccessTokenAuthz,
            enforce_policies: false,
        });
        apis
    }

    fn name(self) -> String {
        let suffix = if self.enforce_policies == self.dialect.has_permissions() {
            ""
        } else {
            "-lax"
        };
        let dialect = dialect_name(self.dialect).replace('_', "-");
        format!("{}-{dialect}{suffix}", self.alg.name()).to_ascii_lowercase()
    }

    fn audience(self) -> String {
        format!("urn:{}", self.name())
    }

    fn host(self) -> String {
        format!("{}.test", self.name())
    }

    fn permissions_decide(self) -> bool {
        self.dialect.has_permissions() && self.enforce_policies
    }

    fn yaml(self, upstream: &Upstream) -> String {
        let (audience, host, upstream) = (self.audience(), self.host(), upstream.url());
        let (alg, dialect, enforce) = (self.alg.name(), dialect_name(self.dialect), self.enforce_policies);
        let secret = if self.alg.is_symmetric() {
            "    signing_secret: file:secret\n"
        } else {
            ""
        };
        format!(
            "  - definition:
      identifier: {audience}
      signing_alg: {alg}
      token_dialect: {dialect}
      enforce_policies: {enforce}
      scopes: [{{ value: read:items }}]
    hosts: [{host}]
{secret}    upstream: {upstream}
    routes: [{{ path: /items, require: read:items }}]
"
        )
    }

    fn draft(self, issuer: &Issuer) -> Draft {
        issuer.draft(self.alg, self.dialect, &self.audience())
    }

    /// A token that may read items, said in the claim that decides.
    fn token(self, issuer: &Issuer) -> String {
        issuer.sign(&self.allowed(self.draft(issuer)))
    }

    fn allowed(self, draft: Draft) -> Draft {
        if self.permissions_decide() {
            draft.claim("permissions", json!(["read:items"]))
        } else {
            draft.claim("scope", "openid read:items")
        }
    }
}

struct World {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    fn start() -> Self {
        let (issuer, upstream) = (Issuer::start(), Upstream::start());
        let apis: String = Api::all().iter().map(|api| api.yaml(&upstream)).collect();
        let yaml = format!("issuers: [{{ issuer: {} }}]\napis:\n{apis}", issuer.identifier());
        let gateway = Gateway::start_with(&yaml, &[("secret", &issuer.secret())]);
        Self {
            issuer,
            upstream,
            gateway,
        }
    }

    /// Status and reason of `GET /items` at an API, the same over both protocols.
    #[track_caller]
    fn ask(&self, api: Api, token: &str) -> (u16, String) {
        let (host, bearer) = (api.host(), format!("Bearer {token}"));
        let before = self.upstream.requests();
        let fields = [("host", host.as_str()), ("authorization", &bearer)];
        let first = self.gateway.client().get("/items", &fields);
        let mut http2 = Http2Client::connect(self.gateway.http2_address());
        let target = format!("http://{host}/items");
        let second = http2.request("GET", &target, &fields[1..], b"").unwrap();
        assert_eq!(first.status, second.status.as_u16(), "{}", api.name());
        let forwarded = if first.status == 200 { 2 } else { 0 };
        assert_eq!(self.upstream.requests() - before, forwarded, "{}", api.name());
        let body = first.json();
        let reason = body["reason"].as_str().unwrap_or_default().to_owned();
        if first.status != 200 {
            let body: serde_json::Value = serde_json::from_slice(&second.body).unwrap();
            assert_eq!(body["reason"], reason.as_str(), "{}", api.name());
            assert!(second.headers.contains_key("www-authenticate"), "{}", api.name());
        }
        (first.status, reason)
    }
}

#[test]
fn each_api_accepts_its_own_tokens() {
    let world = World::start();
    for api in Api::all() {
        let name = api.name();
        assert_eq!(world.ask(api, &api.token(&world.issuer)).0, 200, "{name}");
        let bare = world.issuer.sign(&api.draft(&world.issuer));
        let lacking = if api.permissions_decide() {
            "insufficient_permission"
        } else {
            "insufficient_scope"
        };
        assert_eq!(world.ask(api, &bare), (403, lacking.into()), "{name}");

        // The claim that does not decide decides nothing.
        let draft = api.draft(&world.issuer);
        let other = if api.permissions_decide() {
            draft.claim("scope", "read:items")
        } else {
            draft.claim("permissions", json!(["read:items"]))
        };
        assert_eq!(
            world.ask(api, &world.issuer.sign(&other)),
            (403, lacking.into()),
            "{name}"
        );
    }
    world.gateway.until_idle();
}

#[test]
fn no_api_accepts_what_is_not_for_it() {
    let world = World::start();
    for api in Api::all() {
        let name = api.name();
        let draft = || api.allowed(api.draft(&world.issuer));

        let other = draft().claim("aud", "urn:other");
        let expected = (401, "audience_mismatch".into());
        assert_eq!(world.ask(api, &world.issuer.sign(&other)), expected, "{name}");

        // As Auth0 signs them: the same key, the client as audience.
        let id_token = draft()
            .claim("aud", json!([api.audience(), "client"]))
            .claim("nonce", "n");
        let id_token = if api.dialect.is_rfc9068() {
            id_token.header("typ", "JWT")
        } else {
            id_token
        };
        let expected = (401, "wrong_type".into());
        assert_eq!(world.ask(api, &world.issuer.sign(&id_token)), expected, "{name}");

        let typ = if api.dialect.is_rfc9068() { "JWT" } else { "at+jwt" };
        let other_profile = draft().header("typ", typ);
        assert_eq!(
            world.ask(api, &world.issuer.sign(&other_profile)),
            expected,
            "{name}"
        );

        for alg in ALGORITHMS.into_iter().filter(|alg| *alg != api.alg) {
            // Right in everything but the algorithm.
            let draft = world.issuer.draft(alg, api.dialect, &api.audience());
            let token = world.issuer.sign(&api.allowed(draft));
            let expected = (401, "alg_mismatch".into());
            assert_eq!(world.ask(api, &token), expected, "{name} {}", alg.name());
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    use crate::support::forge::SigningKey;
    let world = World::start();
    let api = |alg: SigningAlg| {
        Api::all()
            .into_iter()
            .find(|api| api.alg == alg && api.dialect == TokenDialect::AccessToken)
            .unwrap()
    };
    // Signed with the published RSA key as if it were an HMAC secret.
    let public = SigningKey::fixture(SigningAlg::RS256, 1);
    let forger = SigningKey::hmac(public.public());
    for target in [SigningAlg::RS256, SigningAlg::HS256] {
        let api = api(target);
        for named in [SigningAlg::HS256, SigningAlg::RS256] {
            let draft = api.allowed(api.draft(&world.issuer)).header("alg", named.name());
            let token = forger.token(SigningAlg::HS256, &draft.header, &draft.claims);
            let reason = if named == target {
                "bad_signature"
            } else {
                "alg_mismatch"
            };
            assert_eq!(
                world.ask(api, &token),
                (401, reason.into()),
                "{} {}",
                api.name(),
                named.name()
            );
        }
    }
}
