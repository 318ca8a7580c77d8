//! Tests that hold the mirror and its schema together.

use std::collections::BTreeSet;
use std::path::Path;

use super::api::Export;
use super::api_keys::ExchangeAs;
use super::listener::Pair;
use super::*;
use crate::definition::Place;
use crate::policy::PathForm;

/// The keys that a mirror asks for: the reader lists them when it meets an unknown key.
fn keys_read<T: FromNode>() -> BTreeSet<String> {
    let node = Node::from_json(&Place::whole(Path::new("f")), &serde_json::json!({"?": 1}));
    let mut faults = Vec::new();
    let _ = T::from_node("it", &node, &mut faults);
    let unknown = faults
        .iter()
        .find(|fault| fault.message == "unknown key `?`")
        .unwrap();
    let known = unknown
        .hint
        .as_deref()
        .unwrap()
        .strip_prefix("known here: ")
        .unwrap();
    known.split(", ").map(str::to_owned).collect()
}

fn the_same_keys<T: FromNode + JsonSchema>() {
    let schema = schemars::schema_for!(T).to_value();
    let in_schema: BTreeSet<_> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys_read::<T>(), in_schema, "{}", T::schema_name());
    assert_eq!(schema["additionalProperties"], false, "{}", T::schema_name());
}

#[test]
fn reader_and_schema_have_the_same_keys() {
    the_same_keys::<File>();
    the_same_keys::<Listener>();
    the_same_keys::<Tls>();
    the_same_keys::<Pair>();
    the_same_keys::<AdminListener>();
    the_same_keys::<Limits>();
    the_same_keys::<Timeouts>();
    the_same_keys::<TokenCache>();
    the_same_keys::<AccessLog>();
    the_same_keys::<Issuer>();
    the_same_keys::<Jwks>();
    the_same_keys::<Api>();
    the_same_keys::<Export>();
    the_same_keys::<UpstreamServers>();
    the_same_keys::<UpstreamTls>();
    the_same_keys::<Health>();
    the_same_keys::<Dpop>();
    the_same_keys::<Elsewhere>();
    the_same_keys::<Tokens>();
    the_same_keys::<Ejection>();
    the_same_keys::<Endpoint>();
    the_same_keys::<Introspection>();
    the_same_keys::<ExchangeAs>();
    the_same_keys::<Forward>();
    the_same_keys::<Revocations>();
    the_same_keys::<Push>();
    the_same_keys::<Route>();
    the_same_keys::<Rule>();
    the_same_keys::<StepUpRule>();
    the_same_keys::<TrustedIssuer>();
    the_same_keys::<Follow>();
    the_same_keys::<Definitions>();
    #[cfg(feature = "authority")]
    the_same_keys::<Authority>();
}

/// The list above would go stale without this.
#[test]
fn every_mapping_of_the_schema_is_compared_above() {
    let schema = schemars::schema_for!(File).to_value();
    let definitions = schema["$defs"].as_object().unwrap();
    let mappings = definitions
        .iter()
        .filter(|(_, schema)| schema["properties"].is_object());
    let names: BTreeSet<_> = mappings.map(|(name, _)| name.as_str()).collect();
    let mut compared = BTreeSet::from([
        "AccessLog",
        "AdminListener",
        "Api",
        "CertificatePair",
        "Definitions",
        "Dpop",
        "Ejection",
        "Elsewhere",
        "Endpoint",
        "ExchangeAs",
        "Export",
        "Follow",
        "Forward",
        "Health",
        "Introspection",
        "Issuer",
        "Jwks",
        "Limits",
        "Listener",
        "Push",
        "Revocations",
        "Route",
        "Rule",
        "StepUpRule",
        "Timeouts",
        "Tls",
        "TokenCache",
        "TrustedIssuer",
        "Tokens",
        "UpstreamServers",
        "UpstreamTls",
    ]);
    if cfg!(feature = "authority") {
        compared.insert("Authority");
    }
    // These are of the definition, whose own tests compare them.
    let of_definition = BTreeSet::from([
        "ApiDefinition",
        "AuthorizationDetail",
        "AuthorizationPolicy",
        "EncryptionKey",
        "Permission",
        "ProofOfPossession",
        "SubjectPolicy",
        "SubjectPolicy2",
        "SubjectTypeAuthorization",
        "TokenEncryption",
    ]);
    assert_eq!(names, compared.union(&of_definition).copied().collect());
}

#[test]
fn path_forms_have_the_names_of_the_policy() {
    let forms: Vec<_> = PathForm::WORDS
        .iter()
        .map(|(name, form)| (*form, *name))
        .collect();
    assert_eq!(forms, PathForm::ALL);
}
