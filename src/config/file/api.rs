//! APIs and their upstreams as they are written.

use schemars::JsonSchema;

use super::super::faults::Fault;
use super::super::reader::{FromNode, Keys, Mirror, Names, Placed, Word, misshapen};
use super::super::values::Period;
use super::{ApiKeys, Introspection, Route, StepUp, Tokens, Trusted, Upstream};
use crate::definition::{ApiDefinition, Node, Value, Words, refuse_null, wrong_kind};
use crate::policy::Mode;
use crate::snapshot::{Preflight, TokenForwarding};

/// One API and how it is protected.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Api {
    /// The resource-server object: a file (JSON or YAML), the object itself, or an API of an auth0-deploy-cli export.
    pub(in super::super) definition: Placed<Definition>,
    /// The issuers whose tokens are accepted, by name or with how their tokens are read. Default: all of `issuers`.
    #[schemars(length(min = 1))]
    pub(in super::super) issuers: Option<Vec<Trusted>>,
    /// The HMAC key of an HS* API: `env:NAME` or `file:PATH`.
    #[schemars(regex(pattern = r"^(env|file):."))]
    pub(in super::super) signing_secret: Option<Placed<String>>,
    /// The private keys that encrypted tokens (JWE) are decrypted with: `file:PATH` or `env:NAME` of a PEM or a JWK.
    #[schemars(length(min = 1, max = 4))]
    pub(in super::super) decryption_keys: Option<Vec<Placed<String>>>,
    /// Whether tokens that are only signed are accepted beside encrypted ones. Default: where the definition has no
    /// `token_encryption`.
    pub(in super::super) accept_unencrypted: Option<Placed<bool>>,
    /// That its issuer is asked about tokens (RFC 7662). Default: it is not, and every token must be signed.
    pub(in super::super) introspection: Option<Placed<Introspection>>,
    /// That the credentials of clients are taken in place of tokens: `exchange`, or how. Default: they are not.
    pub(in super::super) api_keys: Option<Placed<ApiKeys>>,
    /// The host names of the API, without a port. Default: every host that no other API names.
    #[schemars(length(min = 1))]
    pub(in super::super) hosts: Option<Vec<Placed<String>>>,
    /// The address under which clients see the API.
    pub(in super::super) public_url: Option<Placed<String>>,
    /// `enforce` (the default), or `report`: decide, count and log, but let the request pass.
    pub(in super::super) mode: Option<Word<Mode>>,
    /// Tolerance for the times of a token. Default 10s, at most 5m.
    pub(in super::super) leeway: Option<Placed<Period>>,
    /// The oldest token that is accepted, counted from `iat`. Default: no such bound.
    pub(in super::super) max_age: Option<Placed<Period>>,
    /// Where tokens come from. Default: the `Authorization` header.
    pub(in super::super) tokens: Option<Tokens>,
    /// What every route that is not public asks of the authentication (RFC 9470), unless it says otherwise itself.
    pub(in super::super) step_up: Option<Placed<StepUp>>,
    /// Where allowed requests go: `http://host:port`, `https://host:port`, `unix:PATH`, or servers and how they are used.
    pub(in super::super) upstream: Placed<Upstream>,
    /// What the upstream is told.
    pub(in super::super) forward: Option<Forward>,
    /// `decide` (the default): a CORS preflight needs a route like any other request. `forward`: it goes to the upstream.
    pub(in super::super) cors_preflight: Option<Word<Preflight>>,
    /// What each path asks. A path that no route matches is refused.
    #[schemars(length(min = 1, max = 10_000))]
    pub(in super::super) routes: Vec<Placed<Route>>,
}

impl Mirror for Api {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        keys.unsupported(&["openapi", "upgrade", "rate_limit"]);
        let definition = keys.required("definition");
        let issuers = keys.optional("issuers");
        let signing_secret = keys.optional("signing_secret");
        let decryption_keys = keys.optional("decryption_keys");
        let accept_unencrypted = keys.optional("accept_unencrypted");
        let introspection = keys.optional("introspection");
        let api_keys = keys.optional("api_keys");
        let hosts = keys.optional("hosts");
        let public_url = keys.optional("public_url");
        let mode = keys.optional("mode");
        let leeway = keys.optional("leeway");
        let max_age = keys.optional("max_age");
        let tokens = keys.optional("tokens");
        let step_up = keys.optional("step_up");
        let upstream = keys.required("upstream");
        let forward = keys.optional("forward");
        let cors_preflight = keys.optional("cors_preflight");
        let routes: Option<Vec<_>> = keys.required("routes");
        Some(Self {
            definition: definition?,
            issuers,
            signing_secret,
            decryption_keys,
            accept_unencrypted,
            introspection,
            api_keys,
            hosts,
            public_url,
            mode,
            leeway,
            max_age,
            tokens,
            step_up,
            upstream: upstream?,
            forward,
            cors_preflight,
            routes: routes.unwrap_or_default(),
        })
    }
}

/// Where the definition of an API is.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum Definition {
    /// A file with one resource-server object.
    File(String),
    /// One API of an export of a tenant.
    Export(Export),
    /// One API of an authority.
    Follow(Follow),
    /// The resource-server object itself.
    Inline(#[schemars(with = "ApiDefinition")] Node),
}

impl FromNode for Definition {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Text(_) => String::from_node(key, node, faults).map(Self::File),
            // A resource-server object has no member of that name.
            Value::Map(_) if node.get("export").is_some() => {
                Export::from_node(key, node, faults).map(Self::Export)
            }
            Value::Map(_) if node.get("follow").is_some() => {
                Follow::from_node(key, node, faults).map(Self::Follow)
            }
            Value::Map(_) => Some(Self::Inline(node.clone())),
            _ => {
                faults.push(misshapen(&wrong_kind(
                    key,
                    node,
                    "the path of a file or a mapping",
                )));
                None
            }
        }
    }
}

/// One API of a `tenant.yaml` that auth0-deploy-cli has exported.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Export {
    /// The file.
    pub(in super::super) export: Placed<String>,
    /// The identifier of the API, compared byte for byte.
    pub(in super::super) identifier: Placed<String>,
}

impl Mirror for Export {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let (export, identifier) = (keys.required("export"), keys.required("identifier"));
        Some(Self {
            export: export?,
            identifier: identifier?,
        })
    }
}

/// One API of the authority, followed: a change there is enforced here without a reload.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Follow {
    /// The identifier of the API, compared byte for byte.
    #[schemars(length(min = 1, max = 600))]
    pub(in super::super) follow: Placed<String>,
}

impl Mirror for Follow {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let follow = keys.required("follow");
        Some(Self { follow: follow? })
    }
}

/// What the upstream is told.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Forward {
    /// Whether the token is forwarded (`keep`, the default) or removed (`strip`).
    pub(in super::super) token: Option<Word<TokenForwarding>>,
    /// Headers that carry claims: the header, and the name of the claim.
    pub(in super::super) identity_headers: Option<Names<Placed<String>>>,
}

impl Mirror for Forward {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            token: keys.optional("token"),
            identity_headers: keys.optional("identity_headers"),
        })
    }
}

impl Words for TokenForwarding {
    const WORDS: &'static [(&'static str, Self)] = &[("keep", Self::Keep), ("strip", Self::Strip)];
}

impl Words for Preflight {
    const WORDS: &'static [(&'static str, Self)] = &[("decide", Self::Decide), ("forward", Self::Forward)];
}
