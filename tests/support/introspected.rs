//! What an accepted introspection answer must have, asked of the JSON itself: another reader than the product's, and
//! other code. Shared by the properties and the fuzz target.

use std::sync::Arc;

use scopegate::token::{
    AudienceRule, IntrospectedTokens, Introspection, IntrospectionAnswer, Principal, Verifier,
};
use serde_json::Value;

use super::api::{AUDIENCE, ISSUER, LEEWAY, NOW, TestApi};

/// The verifier of an API that asks [`ISSUER`] about every token.
pub(crate) fn asking(api: TestApi, audience: AudienceRule) -> Verifier {
    api.verifier().with_introspection(Some(Introspection {
        issuer: Arc::from(ISSUER),
        tokens: IntrospectedTokens::All,
        audience,
    }))
}

/// The principal of an answer, held against what the answer says.
pub(crate) fn accepted(verifier: &Verifier, audience: AudienceRule, body: &[u8]) -> Option<Principal> {
    let answer = IntrospectionAnswer::read(body).ok()?;
    let principal = verifier.verify_introspected(answer, NOW).ok()?;
    let said: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(said["active"], Value::Bool(true), "{said}");
    if let Some(issuer) = said.get("iss") {
        assert_eq!(issuer, ISSUER);
    }
    match &said["aud"] {
        Value::Null if said.get("aud").is_none() => assert_eq!(audience, AudienceRule::WherePresent),
        Value::Array(all) => assert!(all.iter().any(|one| one == AUDIENCE), "{said}"),
        one => assert_eq!(one, AUDIENCE),
    }
    let date = |name: &str| said.get(name).map(|date| date.as_f64().unwrap());
    #[allow(clippy::cast_precision_loss, reason = "the numbers of tests are small")]
    let (now, leeway) = (NOW as f64, LEEWAY as f64);
    assert!(date("exp").is_none_or(|exp| exp > now - leeway), "{said}");
    assert!(date("nbf").is_none_or(|nbf| nbf < now + leeway + 1.0), "{said}");
    assert!(date("iat").is_none_or(|iat| iat < now + leeway + 1.0), "{said}");
    assert!(said.get("cnf").is_none(), "the API takes no bound tokens: {said}");
    assert!(
        ["nonce", "at_hash", "c_hash", "events"]
            .iter()
            .all(|name| said.get(*name).is_none()),
        "{said}"
    );
    let kind = said.get("token_type").map(|kind| kind.as_str().unwrap());
    assert!(
        kind.is_none_or(|kind| !kind.to_ascii_lowercase().contains("refresh")),
        "{said}"
    );
    assert_eq!(principal.issuer(), ISSUER);
    assert_eq!(principal.subject(), said.get("sub").and_then(Value::as_str));
    Some(principal)
}
