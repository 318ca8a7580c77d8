//! Routes and what they ask as they are written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::super::faults::Fault;
use super::super::reader::{FromNode, Keys, Mirror, Names, Placed, Word, misshapen};
use super::super::values::{Period, Size};
use super::StepUp;
use crate::definition::{Node, Value, Words, refuse_null, wrong_kind};
use crate::policy::{Mode, OnExpiry, PathForm, Upgrade};

/// What one path asks.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Route {
    /// The path: `{name}` is one segment, `{*rest}` at the end is everything below.
    #[schemars(regex(pattern = "^/"))]
    pub(in super::super) path: Placed<String>,
    /// The methods. Default: any.
    #[schemars(length(min = 1))]
    pub(in super::super) methods: Option<Vec<Placed<String>>>,
    /// `public`, `authenticated`, a permission, a list of permissions that must all be there, or a rule.
    pub(in super::super) require: Placed<Require>,
    /// Overrides the mode of the API.
    pub(in super::super) mode: Option<Word<Mode>>,
    /// Until the response head is there; overrides the upstream's.
    pub(in super::super) timeout: Option<Placed<Period>>,
    /// The largest request body; overrides the limit of the gateway.
    pub(in super::super) max_body: Option<Placed<Size>>,
    /// Between two parts of a response, or of what a WebSocket carries; overrides `idle_timeout` of the upstream and
    /// `timeouts.stream_idle`.
    pub(in super::super) idle_timeout: Option<Placed<Period>>,
    /// The protocols that a connection may change to, once its token is found good. Default: none.
    #[schemars(length(min = 1))]
    pub(in super::super) upgrade: Option<Placed<Vec<Word<Upgrade>>>>,
    /// Whether a WebSocket, an event stream or a gRPC stream is closed when its token expires. Default: close.
    pub(in super::super) on_expiry: Option<Word<OnExpiry>>,
    /// Spellings of the path that are refused otherwise.
    #[schemars(length(min = 1))]
    pub(in super::super) allow: Option<Vec<Word<PathForm>>>,
}

impl Mirror for Route {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        keys.unsupported(&["rate_limit"]);
        let path = keys.required("path");
        let methods = keys.optional("methods");
        let require = keys.required("require");
        let mode = keys.optional("mode");
        let timeout = keys.optional("timeout");
        let max_body = keys.optional("max_body");
        let idle_timeout = keys.optional("idle_timeout");
        let upgrade = keys.optional("upgrade");
        let on_expiry = keys.optional("on_expiry");
        let allow = keys.optional("allow");
        Some(Self {
            path: path?,
            methods,
            require: require?,
            mode,
            timeout,
            max_body,
            idle_timeout,
            upgrade,
            on_expiry,
            allow,
        })
    }
}

/// What a route asks of a request.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum Require {
    /// `public`, `authenticated`, or a permission.
    Word(String),
    /// Permissions that must all be there.
    AllOf(#[schemars(length(min = 1))] Vec<Placed<String>>),
    /// Conditions that must all hold.
    Rule(Rule),
}

impl FromNode for Require {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Text(_) => String::from_node(key, node, faults).map(Self::Word),
            Value::List(_) => Vec::from_node(key, node, faults).map(Self::AllOf),
            Value::Map(_) => Rule::from_node(key, node, faults).map(Self::Rule),
            _ => {
                faults.push(misshapen(&wrong_kind(key, node, "a word, a list or a mapping")));
                None
            }
        }
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1), transform = refuse_null)]
pub(in super::super) struct Rule {
    /// Permissions that must all be there.
    #[schemars(length(min = 1))]
    pub(in super::super) all_of: Option<Vec<Placed<String>>>,
    /// Permissions of which one must be there.
    #[schemars(length(min = 1))]
    pub(in super::super) any_of: Option<Vec<Placed<String>>>,
    /// Claims, each with a value or a list of values of which the token must carry one.
    pub(in super::super) claims: Option<Names<ClaimValues>>,
    /// The only clients that may call.
    #[schemars(length(min = 1))]
    pub(in super::super) clients: Option<Vec<Placed<String>>>,
    /// Recent or strong authentication (RFC 9470); overrides that of the API.
    pub(in super::super) step_up: Option<Placed<StepUp>>,
}

impl Mirror for Rule {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let all_of = keys.optional("all_of");
        let any_of = keys.optional("any_of");
        let claims = keys.optional("claims");
        let clients = keys.optional("clients");
        let step_up = keys.optional("step_up");
        let rule = Self {
            all_of,
            any_of,
            claims,
            clients,
            step_up,
        };
        // Where nothing of it could be read, that is the fault; that it is empty as well need not be said.
        (keys.is_empty() || rule.claims.is_some() || !rule.is_empty()).then_some(rule)
    }
}

impl Rule {
    /// Whether no condition was written.
    pub(in super::super) fn is_empty(&self) -> bool {
        let Self {
            all_of,
            any_of,
            claims,
            clients,
            step_up,
        } = self;
        let claims = claims.as_ref().is_none_or(|claims| claims.0.is_empty());
        all_of.is_none() && any_of.is_none() && claims && clients.is_none() && step_up.is_none()
    }
}

/// One value or several, as their JSON text without quotes.
#[derive(Clone, Debug)]
pub(in super::super) struct ClaimValues(pub(in super::super) Vec<Placed<String>>);

impl FromNode for ClaimValues {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::<Placed<ClaimValue>>::from_node(key, node, faults)
                .map(|values| {
                    values.into_iter().map(|value| Placed {
                        place: value.place,
                        value: value.value.0,
                    })
                })
                .map(|values| Self(values.collect())),
            _ => ClaimValue::from_node(key, node, faults).map(|value| {
                Self(vec![Placed {
                    place: node.place.clone(),
                    value: value.0,
                }])
            }),
        }
    }
}

struct ClaimValue(String);

impl FromNode for ClaimValue {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match &node.value {
            Value::Bool(flag) => Some(Self(flag.to_string())),
            Value::Integer(number) => Some(Self(number.to_string())),
            Value::Text(_) => String::from_node(key, node, faults).map(Self),
            // A fraction has more than one spelling, and only one of them would ever match.
            _ => {
                faults.push(misshapen(&wrong_kind(
                    key,
                    node,
                    "text, a whole number, or true or false",
                )));
                None
            }
        }
    }
}

impl JsonSchema for ClaimValues {
    fn schema_name() -> Cow<'static, str> {
        "ClaimValues".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let scalar = serde_json::json!({"type": ["string", "integer", "boolean"]});
        json_schema!({"anyOf": [scalar, {"type": "array", "minItems": 1, "items": scalar}]})
    }
}

impl Words for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[("enforce", Self::Enforce), ("report", Self::Report)];
}

impl Words for Upgrade {
    const WORDS: &'static [(&'static str, Self)] = &[("websocket", Self::WebSocket)];
}

impl Words for OnExpiry {
    const WORDS: &'static [(&'static str, Self)] = &[("close", Self::Close), ("continue", Self::Continue)];
}

impl Words for PathForm {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("encoded_slash", Self::EncodedSlash),
        ("encoded_backslash", Self::EncodedBackslash),
        ("encoded_percent", Self::EncodedPercent),
        ("double_slash", Self::DoubleSlash),
        ("semicolon", Self::Semicolon),
    ];
}
