//! The claims of an access token, by the profile and the dialect of its API. Pure: time and `jti` are passed in.
//!
//! The order of the members is that of Auth0's tokens; serialisation keeps it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::grant_type::GrantType;
use crate::authority::model::User;
use crate::definition::ApiDefinition;
use crate::token::{Binding, UnixSeconds};

/// What a token says.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    /// With its slash.
    pub(super) issuer: &'a str,
    pub(super) api: &'a ApiDefinition,
    pub(super) client_id: &'a str,
    /// `None`: the client itself.
    pub(super) user_id: Option<&'a str>,
    pub(super) grant_type: GrantType,
    /// In the order in which they are told.
    pub(super) scopes: &'a [String],
    /// Told only in a dialect that has them.
    pub(super) permissions: &'a [String],
    pub(super) binding: Option<Binding>,
    pub(super) now: UnixSeconds,
    /// Told only in the RFC 9068 profile.
    pub(super) jti: &'a str,
}

/// `typ` of the header.
pub(super) fn typ(api: &ApiDefinition) -> &'static str {
    if api.token_dialect.is_rfc9068() {
        "at+jwt"
    } else {
        "JWT"
    }
}

/// The claims.
pub(super) fn claims(facts: &Facts<'_>) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut say = |name: &str, value: Value| {
        claims.insert(name.into(), value);
    };
    say("iss", facts.issuer.into());
    say(
        "sub",
        match facts.user_id {
            Some(user_id) => user_id.into(),
            None => format!("{}@clients", facts.client_id).into(),
        },
    );
    say("aud", audience(facts));
    say("iat", facts.now.into());
    say(
        "exp",
        facts.now.saturating_add(facts.api.token_lifetime.into()).into(),
    );
    if !facts.scopes.is_empty() {
        say("scope", facts.scopes.join(" ").into());
    }
    if facts.api.token_dialect.is_rfc9068() {
        say("jti", facts.jti.into());
        say("client_id", facts.client_id.into());
    } else {
        say("gty", facts.grant_type.claim().into());
        say("azp", facts.client_id.into());
    }
    if facts.api.token_dialect.has_permissions() {
        say("permissions", facts.permissions.into());
    }
    match facts.binding {
        None => {}
        Some(Binding::Key(key)) => say("cnf", json!({ "jkt": URL_SAFE_NO_PAD.encode(key.0) })),
        Some(Binding::Certificate(certificate)) => {
            say(
                "cnf",
                json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(certificate.0) }),
            );
        }
    }
    claims
}

/// The API; and the endpoint for claims about the user where `openid` was asked for.
fn audience(facts: &Facts<'_>) -> Value {
    let api = facts.api.identifier.as_str();
    if facts.scopes.iter().any(|scope| scope == "openid") {
        json!([api, format!("{}userinfo", facts.issuer)])
    } else {
        api.into()
    }
}

/// What an ID token says.
#[derive(Clone, Debug)]
pub(super) struct IdFacts<'a> {
    /// With its slash.
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) user: &'a User,
    pub(super) scopes: &'a [String],
    pub(super) now: UnixSeconds,
    /// Seconds.
    pub(super) lifetime: i64,
}

/// The claims of an ID token: of the user what the scopes ask for (OpenID Connect Core section 5.4).
pub(super) fn id_claims(facts: &IdFacts<'_>) -> Map<String, Value> {
    let mut claims = Map::new();
    for (scope, names) in BY_SCOPE {
        if facts.scopes.iter().any(|asked| asked == scope) {
            for name in *names {
                if let Some(value) = facts.user.document.get(*name) {
                    claims.insert((*name).into(), value.clone());
                }
            }
        }
    }
    for (name, value) in [
        ("iss", Value::from(facts.issuer)),
        ("aud", facts.client_id.into()),
        ("sub", facts.user.user_id.as_str().into()),
        ("iat", facts.now.into()),
        ("exp", facts.now.saturating_add(facts.lifetime).into()),
    ] {
        claims.insert(name.into(), value);
    }
    claims
}

/// Which scope asks for which claims.
const BY_SCOPE: &[(&str, &[&str])] = &[
    (
        "profile",
        &[
            "name",
            "given_name",
            "family_name",
            "nickname",
            "picture",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("phone", &["phone_number", "phone_verified"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::TokenDialect;
    use crate::token::Thumbprint;

    fn told(dialect: TokenDialect, scopes: &[&str], change: impl FnOnce(&mut Facts<'_>)) -> String {
        let mut api = ApiDefinition::new("urn:items");
        api.token_dialect = dialect;
        api.token_lifetime = 60;
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut facts = Facts {
            issuer: "https://a.example/",
            api: &api,
            client_id: "c1",
            user_id: None,
            grant_type: GrantType::ClientCredentials,
            scopes: &scopes,
            permissions: &scopes,
            binding: None,
            now: 1_000,
            jti: "j1",
        };
        change(&mut facts);
        serde_json::to_string(&claims(&facts)).unwrap()
    }

    #[test]
    fn members_and_their_order() {
        let start = r#"{"iss":"https://a.example/","sub":"c1@clients","aud":"urn:items","iat":1000,"exp":1060,"scope":"read write","#;
        for (dialect, rest) in [
            (
                TokenDialect::AccessToken,
                r#""gty":"client-credentials","azp":"c1"}"#,
            ),
            (
                TokenDialect::AccessTokenAuthz,
                r#""gty":"client-credentials","azp":"c1","permissions":["read","write"]}"#,
            ),
            (TokenDialect::Rfc9068, r#""jti":"j1","client_id":"c1"}"#),
            (
                TokenDialect::Rfc9068Authz,
                r#""jti":"j1","client_id":"c1","permissions":["read","write"]}"#,
            ),
        ] {
            assert_eq!(
                told(dialect, &["read", "write"], |_| {}),
                format!("{start}{rest}")
            );
        }
    }

    #[test]
    fn nothing_granted() {
        assert_eq!(
            told(TokenDialect::AccessTokenAuthz, &[], |_| {}),
            r#"{"iss":"https://a.example/","sub":"c1@clients","aud":"urn:items","iat":1000,"exp":1060,"gty":"client-credentials","azp":"c1","permissions":[]}"#
        );
    }

    #[test]
    fn users_and_bindings() {
        let key = Thumbprint([0; 32]);
        let text = told(TokenDialect::Rfc9068, &["openid"], |facts| {
            facts.user_id = Some("auth0|1");
            facts.binding = Some(Binding::Key(key));
        });
        assert!(
            text.contains(r#""sub":"auth0|1","aud":["urn:items","https://a.example/userinfo"]"#),
            "{text}"
        );
        assert!(
            text.ends_with(r#""cnf":{"jkt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}"#),
            "{text}"
        );
        let text = told(TokenDialect::AccessToken, &["read"], |facts| {
            facts.binding = Some(Binding::Certificate(key));
        });
        assert!(
            text.ends_with(r#""cnf":{"x5t#S256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}"#),
            "{text}"
        );
    }
}
