//! How the tokens of an issuer are read for an API, with every word of the preset filled in.

use serde_json::{Map, Value, json};

use super::name;
use crate::snapshot::{ApiPlan, IssuerPlan};
use crate::token::ClaimPath;

pub(super) fn trusted(api: &ApiPlan, issuer: &IssuerPlan) -> Value {
    let reading = api.reading(issuer);
    let text = |path: &ClaimPath| path.as_str().to_owned();
    let paths = |paths: &[ClaimPath]| -> Vec<String> { paths.iter().map(text).collect() };
    let claims = reading
        .type_claims
        .iter()
        .map(|(path, values)| (text(path), json!(values)));
    let roles = reading.roles.as_ref().map(|roles| {
        let roles = roles
            .iter()
            .map(|(role, permissions)| (role.clone(), json!(permissions)));
        roles.collect::<Map<_, _>>()
    });
    json!({
        "issuer": issuer.issuer,
        "algorithms": reading.algorithms.iter().map(|alg| alg.name()).collect::<Vec<_>>(),
        "audiences": reading.audiences,
        "token_types": reading.types,
        "accept_untyped": reading.untyped,
        "type_claims": claims.collect::<Map<_, _>>(),
        "scopes_from": paths(&reading.scopes),
        "permissions_from": paths(&reading.permissions),
        "roles": roles,
        "granted_by": name(reading.granted_by),
        "client_from": paths(&reading.client),
        "subject_from": text(&reading.subject),
        "token_id_from": text(&reading.token_id),
    })
}
