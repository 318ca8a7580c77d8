//! What an API says of itself to clients that do not know it yet: protected-resource metadata (RFC 9728), made from its
//! definition when a snapshot is compiled.
//!
//! Only an API with a `public_url` has one: nobody else knows under which address it would be true.

use serde_json::{Map, Value, json};

use super::ApiPlan;
use crate::definition::PopMechanism;
use crate::policy::{PathPattern, TokenPlace};
use crate::token::PROOF_ALGORITHMS;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The document of one API, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The address for `resource_metadata` in challenges (RFC 9728 section 5.1).
    pub(super) address: String,
    /// At which paths it is served: with the path of the resource, and without.
    pub(super) patterns: Vec<PathPattern>,
    /// JSON.
    pub(super) document: String,
}

/// The metadata of an API.
pub(super) fn metadata(plan: &ApiPlan) -> Option<Metadata> {
    let public_url = plan.public_url.as_deref()?;
    let resource = resource(&plan.definition.identifier, public_url);
    let (origin, path) = split(resource)?;
    // RFC 9728 section 3.1: a slash that ends the host goes, and what follows it is the path.
    let path = if path == "/" { "" } else { path };
    let mut patterns: Vec<PathPattern> = [format!("{WELL_KNOWN}{path}"), WELL_KNOWN.to_owned()]
        .iter()
        .filter_map(|pattern| PathPattern::parse(pattern).ok())
        .collect();
    patterns.dedup_by(|one, other| one.as_str() == other.as_str());
    Some(Metadata {
        address: format!("{origin}{WELL_KNOWN}{path}"),
        patterns,
        document: document(plan, resource).to_string(),
    })
}

/// The identifier where it is an address of the same host, so that it is also the audience that tokens are asked for
/// with; else the address that clients see.
fn resource<'a>(identifier: &'a str, public_url: &'a str) -> &'a str {
    let of_identifier = split(identifier).filter(|(_, path)| !path.contains(['?', '#']));
    match (of_identifier, split(public_url)) {
        (Some((origin, _)), Some((public, _))) if origin.eq_ignore_ascii_case(public) => identifier,
        _ => public_url,
    }
}

/// Scheme and host, and the path.
fn split(address: &str) -> Option<(&str, &str)> {
    let after = address.find("://")? + 3;
    let host = address.get(after..)?;
    Some(address.split_at(after + host.find('/').unwrap_or(host.len())))
}

/// RFC 9728 section 2. What is empty is left out.
fn document(plan: &ApiPlan, resource: &str) -> Value {
    let definition = &plan.definition;
    let scopes = definition.permissions.iter().map(|permission| &permission.value);
    let scopes: Vec<&String> = scopes.collect();
    let mut document = Map::new();
    document.insert("resource".into(), json!(resource));
    let issuers: Vec<&String> = plan.issuers.iter().map(|trusted| &trusted.issuer).collect();
    document.insert("authorization_servers".into(), json!(issuers));
    if !scopes.is_empty() {
        document.insert("scopes_supported".into(), json!(scopes));
    }
    document.insert("bearer_methods_supported".into(), json!(bearer_methods(plan)));
    if let Some(name) = &definition.name {
        document.insert("resource_name".into(), json!(name));
    }
    match definition
        .proof_of_possession
        .map(|proof| (proof.mechanism, proof.required))
    {
        Some((PopMechanism::Dpop, required)) => {
            document.insert(
                "dpop_signing_alg_values_supported".into(),
                json!(PROOF_ALGORITHMS),
            );
            if required {
                document.insert("dpop_bound_access_tokens_required".into(), json!(true));
            }
        }
        Some((PopMechanism::Mtls, _)) => {
            document.insert("tls_client_certificate_bound_access_tokens".into(), json!(true));
        }
        None => {}
    }
    Value::Object(document)
}

/// Those of RFC 6750 section 2. Other places have no name.
fn bearer_methods(plan: &ApiPlan) -> Vec<&'static str> {
    if plan.token_places.is_empty() {
        return vec!["header"];
    }
    let methods = plan.token_places.iter().filter_map(|place| match place {
        TokenPlace::Authorization => Some("header"),
        TokenPlace::Query(name) if &**name == "access_token" => Some("query"),
        _ => None,
    });
    methods.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_what_clients_ask_for() {
        let public = "https://items.example.com";
        for (identifier, expected) in [
            ("https://items.example.com/mcp", "https://items.example.com/mcp"),
            ("https://items.example.com/", "https://items.example.com/"),
            ("HTTPS://Items.example.com/a", "HTTPS://Items.example.com/a"),
            ("https://items.example.com.evil.example/", public),
            ("https://items.example.com/a?b", public),
            ("http://items.example.com/", public),
            ("urn:items", public),
            ("items", public),
        ] {
            assert_eq!(resource(identifier, public), expected, "{identifier}");
        }
        assert_eq!(split("https://a.example"), Some(("https://a.example", "")));
        assert_eq!(
            split("https://a.example/b/c"),
            Some(("https://a.example", "/b/c"))
        );
        assert_eq!(split("urn:a"), None);
    }
}
