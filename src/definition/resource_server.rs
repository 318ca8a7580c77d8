//! The resource-server object, field by field, as the Management API describes it.
//!
//! Made by `read` (and later by the authority), used by everyone. The derived schema describes what a definition file
//! can say; the derived serialisation shows a definition to an operator, with its secret hidden. Every value is within
//! its limits: nothing here checks anything.

use schemars::JsonSchema;
use serde::Serialize;

use super::words::Words;
use super::{Secret, SigningAlg, TokenDialect};

/// One permission (scope) that the API defines: an element of `scopes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Permission {
    /// What a token carries, such as `read:items`. 1 to 280 characters, no space.
    #[schemars(length(min = 1, max = 280))]
    pub value: String,
    /// Shown to people. At most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub description: Option<String>,
}

/// A resource server, as the Management API describes it. Every value is within its limits.
///
/// Start from [`ApiDefinition::new`] where a value is made by hand: it sets every default.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, transform = super::schema::of_definition)]
pub struct ApiDefinition {
    /// 24 hexadecimal characters at Auth0; absent in a file written by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Friendly name; no `<` or `>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[^<>]+$"))]
    pub name: Option<String>,
    /// What `aud` must contain, compared byte for byte.
    #[schemars(length(min = 1, max = 600))]
    pub identifier: String,
    /// `scopes`, in the order of the document.
    #[serde(rename = "scopes")]
    #[schemars(default, length(max = 1000), with = "Option<Vec<Permission>>")]
    pub permissions: Vec<Permission>,
    /// `signing_alg`.
    #[schemars(default = "default_alg")]
    pub signing_alg: SigningAlg,
    /// `signing_secret`: the HMAC key as UTF-8 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 16), with = "Option<String>")]
    pub signing_secret: Option<Secret>,
    /// Whether refresh tokens may be asked for.
    #[schemars(default)]
    pub allow_offline_access: bool,
    /// Whether online refresh tokens may be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_online_access: Option<bool>,
    /// The same for ephemeral sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_online_access_with_ephemeral_sessions: Option<bool>,
    /// Whether first-party applications need no consent of the user.
    #[schemars(default)]
    pub skip_consent_for_verifiable_first_party_clients: bool,
    /// Seconds, 0 to 2,592,000.
    #[schemars(default = "default_lifetime", range(max = 2_592_000))]
    pub token_lifetime: u32,
    /// Seconds, at most `token_lifetime`. Default 7200, or `token_lifetime` where that is less.
    #[schemars(range(max = 2_592_000), with = "Option<u32>")]
    pub token_lifetime_for_web: u32,
    /// Seconds, for anonymous sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 2_592_000))]
    pub token_lifetime_for_anonymous_access_tokens: Option<u32>,
    /// RBAC switch.
    #[schemars(default)]
    pub enforce_policies: bool,
    /// `token_dialect`.
    #[schemars(default)]
    pub token_dialect: TokenDialect,
    /// Access tokens are encrypted (JWE) for this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_encryption: Option<TokenEncryption>,
    /// How the user consents to a single transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent_policy: Option<ConsentPolicy>,
    /// The types of rich authorization requests (RFC 9396) that the API accepts; each an object with a `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<Vec<AuthorizationDetail>>,
    /// Whether tokens are bound to a key of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_of_possession: Option<ProofOfPossession>,
    /// Who may ask for tokens.
    #[schemars(default)]
    pub subject_type_authorization: SubjectTypeAuthorization,
    /// The policy that decides at login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_policy: Option<AuthorizationPolicy>,
    /// The client that the API is linked to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Whether it belongs to the authorization server itself, as the Management API does.
    #[schemars(default)]
    pub is_system: bool,
}

impl ApiDefinition {
    /// An API of which only the identifier is known: no permissions, and the defaults of the Management API.
    pub fn new(identifier: impl Into<String>) -> Self {
        Self {
            id: None,
            name: None,
            identifier: identifier.into(),
            permissions: Vec::new(),
            signing_alg: default_alg(),
            signing_secret: None,
            allow_offline_access: false,
            allow_online_access: None,
            allow_online_access_with_ephemeral_sessions: None,
            skip_consent_for_verifiable_first_party_clients: false,
            token_lifetime: default_lifetime(),
            token_lifetime_for_web: default_web_lifetime(default_lifetime()),
            token_lifetime_for_anonymous_access_tokens: None,
            enforce_policies: false,
            token_dialect: TokenDialect::default(),
            token_encryption: None,
            consent_policy: None,
            authorization_details: None,
            proof_of_possession: None,
            subject_type_authorization: SubjectTypeAuthorization::default(),
            authorization_policy: None,
            client_id: None,
            is_system: false,
        }
    }

    /// Whether the `permissions` claim decides rather than `scope`: RBAC is on and the dialect promises the claim.
    pub fn permissions_decide(&self) -> bool {
        self.enforce_policies && self.token_dialect.has_permissions()
    }

    /// Whether the API defines a permission of this name.
    pub fn defines(&self, permission: &str) -> bool {
        self.permissions.iter().any(|known| known.value == permission)
    }
}

fn default_alg() -> SigningAlg {
    SigningAlg::RS256
}

pub(super) fn default_lifetime() -> u32 {
    86_400
}

/// Documentation says 86,400; the live API answers 7200.
pub(super) fn default_web_lifetime(token_lifetime: u32) -> u32 {
    token_lifetime.min(7_200)
}

/// How access tokens are encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TokenEncryption {
    /// Signed, then encrypted.
    pub format: EncryptionFormat,
    /// The key of the API.
    pub encryption_key: EncryptionKey,
}

/// The form of an encrypted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptionFormat {
    /// A JWS inside a compact JWE.
    CompactNestedJwe,
}

/// The public key that tokens are encrypted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EncryptionKey {
    /// Shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// How the content key is wrapped.
    pub alg: EncryptionAlg,
    /// `kid` of the JWE header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub kid: Option<String>,
    /// A public key or a certificate. The Management API never returns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub pem: Option<String>,
    /// What the Management API returns instead: the RFC 7638 thumbprint of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbprint_sha256: Option<String>,
}

/// Key wrapping of an encrypted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub enum EncryptionAlg {
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
    #[serde(rename = "RSA-OAEP-384")]
    RsaOaep384,
    #[serde(rename = "RSA-OAEP-512")]
    RsaOaep512,
}

/// How the user consents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConsentPolicy {
    /// To each transaction, with a second factor.
    TransactionalAuthorizationWithMfa,
}

/// One type of rich authorization request.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AuthorizationDetail {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its other members, as they were written.
    #[serde(flatten)]
    pub members: serde_json::Map<String, serde_json::Value>,
}

/// Sender constraining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ProofOfPossession {
    /// How the client proves that it has the key.
    pub mechanism: PopMechanism,
    /// Whether a token without a bound key is refused.
    pub required: bool,
    /// Of whom it is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_for: Option<PopRequiredFor>,
}

/// How a client proves that it has its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PopMechanism {
    /// A client certificate (RFC 8705).
    Mtls,
    /// A signed proof per request (RFC 9449).
    Dpop,
}

/// Of whom proof of possession is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PopRequiredFor {
    /// Everybody.
    AllClients,
    /// Clients without a credential of their own.
    PublicClients,
}

/// Who may ask for tokens, per kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SubjectTypeAuthorization {
    /// Tokens for users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<SubjectPolicy<UserAccess>>,
    /// Tokens for applications themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<SubjectPolicy<ClientAccess>>,
    /// Tokens for anonymous users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_user: Option<SubjectPolicy<ClientAccess>>,
}

impl Default for SubjectTypeAuthorization {
    fn default() -> Self {
        Self {
            user: Some(SubjectPolicy {
                policy: UserAccess::AllowAll,
            }),
            client: Some(SubjectPolicy {
                policy: ClientAccess::RequireClientGrant,
            }),
            anonymous_user: None,
        }
    }
}

/// The policy for one kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct SubjectPolicy<P> {
    /// The policy.
    pub policy: P,
}

/// Which applications get tokens for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserAccess {
    /// Any application.
    AllowAll,
    /// Applications with a grant.
    RequireClientGrant,
    /// None.
    DenyAll,
}

/// Which applications get tokens for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAccess {
    /// Applications with a grant.
    RequireClientGrant,
    /// None.
    DenyAll,
}

/// A policy that is kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AuthorizationPolicy {
    /// Its id.
    #[schemars(length(min = 1, max = 1024))]
    pub policy_id: String,
}

impl Words for EncryptionFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("compact-nested-jwe", Self::CompactNestedJwe)];
}

impl Words for EncryptionAlg {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("RSA-OAEP-256", Self::RsaOaep256),
        ("RSA-OAEP-384", Self::RsaOaep384),
        ("RSA-OAEP-512", Self::RsaOaep512),
    ];
}

impl Words for ConsentPolicy {
    const WORDS: &'static [(&'static str, Self)] = &[(
        "transactional-authorization-with-mfa",
        Self::TransactionalAuthorizationWithMfa,
    )];
}

impl Words for PopMechanism {
    const WORDS: &'static [(&'static str, Self)] = &[("mtls", Self::Mtls), ("dpop", Self::Dpop)];
}

impl Words for PopRequiredFor {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("all_clients", Self::AllClients),
        ("public_clients", Self::PublicClients),
    ];
}

impl Words for UserAccess {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("allow_all", Self::AllowAll),
        ("require_client_grant", Self::RequireClientGrant),
        ("deny_all", Self::DenyAll),
    ];
}

impl Words for ClientAccess {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("require_client_grant", Self::RequireClientGrant),
        ("deny_all", Self::DenyAll),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_are_what_serialisation_writes<W: Words + Serialize>() {
        for (word, value) in W::WORDS {
            assert_eq!(serde_json::to_value(value).unwrap(), *word);
        }
    }

    #[test]
    fn closed_words() {
        words_are_what_serialisation_writes::<EncryptionFormat>();
        words_are_what_serialisation_writes::<EncryptionAlg>();
        words_are_what_serialisation_writes::<ConsentPolicy>();
        words_are_what_serialisation_writes::<PopMechanism>();
        words_are_what_serialisation_writes::<PopRequiredFor>();
        words_are_what_serialisation_writes::<UserAccess>();
        words_are_what_serialisation_writes::<ClientAccess>();
    }

    #[test]
    fn a_secret_is_not_serialised() {
        let mut api = ApiDefinition::new("urn:items");
        api.signing_secret = Some(Secret::new("hush-hush-hush-hush"));
        assert!(!serde_json::to_string(&api).unwrap().contains("hush"));
        assert!(!format!("{api:?}").contains("hush"));
    }
}
