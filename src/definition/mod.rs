//! The API definition: the object that Auth0 calls a resource server.
//!
//! This module owns its fields, limits, defaults, reserved names and its reading from JSON. `config` reads definitions
//! from files, `snapshot::compile` turns them into checks, and later the authority stores them. It must never know
//! about sockets, files, time or requests.

mod secret;

pub use secret::Secret;

/// How an access token for the API is signed (`signing_alg`).
///
/// Auth0 offers HS256, RS256 and PS256; the others are for issuers other than Auth0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum SigningAlg {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl SigningAlg {
    /// Every algorithm that a definition can name.
    pub const ALL: [Self; 12] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The JOSE name (RFC 7518 section 3.1, RFC 8037).
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Reads the exact JOSE name; case matters (RFC 7515 section 4.1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// Whether the signature is an HMAC under a secret that the API shares with the issuer.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// Which profile an access token follows and whether it carries `permissions` (`token_dialect`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TokenDialect {
    /// `access_token`: the Auth0 profile.
    #[default]
    AccessToken,
    /// `access_token_authz`: the Auth0 profile with `permissions`.
    AccessTokenAuthz,
    /// `rfc9068_profile`: RFC 9068.
    Rfc9068,
    /// `rfc9068_profile_authz`: RFC 9068 with `permissions`.
    Rfc9068Authz,
}

impl TokenDialect {
    /// Whether tokens of this dialect carry the `permissions` claim.
    pub fn has_permissions(self) -> bool {
        matches!(self, Self::AccessTokenAuthz | Self::Rfc9068Authz)
    }

    /// Whether tokens of this dialect follow RFC 9068 (`typ: at+jwt`, `client_id`, `jti`).
    pub fn is_rfc9068(self) -> bool {
        matches!(self, Self::Rfc9068 | Self::Rfc9068Authz)
    }
}

/// One permission (scope) that the API defines: an element of `scopes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What a token carries, such as `read:items`. 1 to 280 characters, no space.
    pub value: String,
    /// Shown to people. At most 500 characters.
    pub description: Option<String>,
}

/// A resource server, as the Management API describes it. Every value is within its limits.
#[derive(Clone, Debug)]
pub struct ApiDefinition {
    /// 24 hexadecimal characters at Auth0; absent in a file written by hand.
    pub id: Option<String>,
    /// Friendly name; no `<` or `>`.
    pub name: Option<String>,
    /// What `aud` must contain, compared byte for byte.
    pub identifier: String,
    /// `scopes`, in the order of the document.
    pub permissions: Vec<Permission>,
    /// `signing_alg`.
    pub signing_alg: SigningAlg,
    /// `signing_secret`: the HMAC key as UTF-8 bytes.
    pub signing_secret: Option<Secret>,
    /// Seconds, 0 to 2,592,000.
    pub token_lifetime: u32,
    /// Seconds, at most `token_lifetime`.
    pub token_lifetime_for_web: u32,
    /// RBAC switch.
    pub enforce_policies: bool,
    /// `token_dialect`.
    pub token_dialect: TokenDialect,
}

impl ApiDefinition {
    /// Whether the `permissions` claim decides rather than `scope`: RBAC is on and the dialect promises the claim.
    pub fn permissions_decide(&self) -> bool {
        self.enforce_policies && self.token_dialect.has_permissions()
    }
}
