//! The issuers of an API as they are written: by name, or with how their tokens are read.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::super::faults::Fault;
use super::super::reader::{FromNode, Keys, Mirror, Names, Placed, Word, misshapen};
use super::route::ClaimValues;
use crate::definition::{Node, SigningAlg, Value, Words, refuse_null, wrong_kind};
use crate::token::{ClaimPath, GrantedBy, IssuerKind};

/// An issuer that an API trusts.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum Trusted {
    /// Its identifier; its tokens are read as its `kind` and the definition say.
    Name(Placed<String>),
    /// The same, with what is different for this API.
    Read(Box<TrustedIssuer>),
}

impl Trusted {
    /// The identifier.
    pub(in super::super) fn issuer(&self) -> &Placed<String> {
        match self {
            Self::Name(issuer) => issuer,
            Self::Read(trusted) => &trusted.issuer,
        }
    }
}

impl FromNode for Trusted {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Text(_) => Placed::from_node(key, node, faults).map(Self::Name),
            Value::Map(_) => TrustedIssuer::from_node(key, node, faults)
                .map(Box::new)
                .map(Self::Read),
            _ => {
                let expected = "the identifier of an issuer or a mapping";
                faults.push(misshapen(&wrong_kind(key, node, expected)));
                None
            }
        }
    }
}

/// How the tokens of one issuer are read for one API. What is left out is as the `kind` of the issuer says, or the
/// definition.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct TrustedIssuer {
    /// Its identifier: one of `issuers` of this file.
    pub(in super::super) issuer: Placed<String>,
    /// The algorithms that its tokens may be signed with. Default: that of the definition.
    #[schemars(length(min = 1))]
    pub(in super::super) algorithms: Option<Vec<Placed<Word<SigningAlg>>>>,
    /// What `aud` must contain one of. Default: the identifier of the definition.
    #[schemars(length(min = 1))]
    pub(in super::super) audiences: Option<Vec<Placed<String>>>,
    /// What `typ` of the header may be, without `application/`.
    #[schemars(length(min = 1))]
    pub(in super::super) token_types: Option<Vec<Placed<String>>>,
    /// Whether a header without `typ` will do. Default: no where `token_types` is set.
    pub(in super::super) accept_untyped: Option<bool>,
    /// Claims by which an access token is known, each with a value or a list of values.
    pub(in super::super) type_claims: Option<Names<ClaimValues>>,
    /// The claim that scopes are read from: a text with spaces or a list; of several, the first that is there.
    pub(in super::super) scopes_from: Option<Paths>,
    /// The claim that permissions or roles are read from, a list: `permissions`, `realm_access.roles`; of several, all.
    pub(in super::super) permissions_from: Option<Placed<Paths>>,
    /// What each role stands for: a list of permissions of the definition. A role that is not here stands for nothing.
    pub(in super::super) roles: Option<Placed<Names<Vec<Placed<String>>>>>,
    /// What counts on routes: `scope`, `permissions` or `either`. Default: as the definition says.
    pub(in super::super) granted_by: Option<Word<GrantedBy>>,
    /// The claim that names the client; several must not disagree.
    pub(in super::super) client_from: Option<Paths>,
    /// The claim that names the subject. Default: `sub`.
    pub(in super::super) subject_from: Option<Path>,
    /// The claim with the id of the token. Default: `jti`.
    pub(in super::super) token_id_from: Option<Path>,
}

impl Mirror for TrustedIssuer {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let issuer = keys.required("issuer");
        let algorithms = keys.optional("algorithms");
        let audiences = keys.optional("audiences");
        let token_types = keys.optional("token_types");
        let accept_untyped = keys.optional("accept_untyped");
        let type_claims = keys.optional("type_claims");
        let scopes_from = keys.optional("scopes_from");
        let permissions_from = keys.optional("permissions_from");
        let roles = keys.optional("roles");
        let granted_by = keys.optional("granted_by");
        let client_from = keys.optional("client_from");
        let subject_from = keys.optional("subject_from");
        let token_id_from = keys.optional("token_id_from");
        Some(Self {
            issuer: issuer?,
            algorithms,
            audiences,
            token_types,
            accept_untyped,
            type_claims,
            scopes_from,
            permissions_from,
            roles,
            granted_by,
            client_from,
            subject_from,
            token_id_from,
        })
    }
}

/// Where one claim stands.
#[derive(Clone, Debug)]
pub(in super::super) struct Path(pub(in super::super) ClaimPath);

/// Where one claim stands, or each of several.
#[derive(Clone, Debug)]
pub(in super::super) struct Paths(pub(in super::super) Vec<ClaimPath>);

impl FromNode for Path {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        let path = match node.value {
            Value::List(_) => {
                let names: Vec<String> = whole(key, node, faults)?;
                ClaimPath::of(names.iter().map(String::as_str))
            }
            _ => ClaimPath::parse(&String::from_node(key, node, faults)?),
        };
        let refused = |fault: crate::token::PathFault| {
            let fault = Fault::new(&node.place, format!("`{key}` {fault}"));
            faults
                .push(fault.with_hint(
                    r"names with dots between them, `\.` for a dot in a name; or a list of names",
                ));
        };
        path.map(Self).map_err(refused).ok()
    }
}

impl FromNode for Paths {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        let is_several = node
            .list()
            .is_some_and(|items| items.iter().any(|item| item.list().is_some()));
        let paths = if is_several {
            whole(key, node, faults)?
        } else {
            vec![Path::from_node(key, node, faults)?]
        };
        Some(Self(paths.into_iter().map(|path| path.0).collect()))
    }
}

/// Every element of a list, or none: a path that lost a name leads elsewhere.
fn whole<T: FromNode>(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Vec<T>> {
    let before = faults.len();
    Vec::from_node(key, node, faults).filter(|_| faults.len() == before)
}

impl JsonSchema for Path {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ClaimPath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let name = serde_json::json!({"type": "string", "minLength": 1});
        json_schema!({"anyOf": [name, {"type": "array", "minItems": 1, "maxItems": 8, "items": name}]})
    }
}

impl JsonSchema for Paths {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ClaimPaths".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = Path::json_schema(generator);
        json_schema!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
    }
}

impl Words for GrantedBy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("scope", Self::Scope),
        ("permissions", Self::Permissions),
        ("either", Self::Either),
    ];
}

impl Words for IssuerKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auth0", Self::Auth0),
        ("keycloak", Self::Keycloak),
        ("entra", Self::Entra),
        ("okta", Self::Okta),
    ];
}
