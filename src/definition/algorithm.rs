//! How access tokens of an API are signed, and which profile they follow.
//!
//! Read from definitions; used by everything that looks at a token.

use schemars::JsonSchema;
use serde::Serialize;

use super::words::Words;

/// How an access token for the API is signed (`signing_alg`).
///
/// Auth0 offers HS256, RS256 and PS256; the others are for issuers other than Auth0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
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

    /// The fewest bytes that an HMAC key may have: those of the hash (RFC 7518 section 3.2). 0 where the key is a pair.
    pub fn shortest_secret(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => 0,
        }
    }

    /// Whether the signature is an HMAC under a secret that the API shares with the issuer.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// Which profile an access token follows and whether it carries `permissions` (`token_dialect`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub enum TokenDialect {
    /// `access_token`: the Auth0 profile.
    #[default]
    #[serde(rename = "access_token")]
    AccessToken,
    /// `access_token_authz`: the Auth0 profile with `permissions`.
    #[serde(rename = "access_token_authz")]
    AccessTokenAuthz,
    /// `rfc9068_profile`: RFC 9068.
    #[serde(rename = "rfc9068_profile")]
    Rfc9068,
    /// `rfc9068_profile_authz`: RFC 9068 with `permissions`.
    #[serde(rename = "rfc9068_profile_authz")]
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

impl Words for SigningAlg {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("HS256", Self::HS256),
        ("HS384", Self::HS384),
        ("HS512", Self::HS512),
        ("RS256", Self::RS256),
        ("RS384", Self::RS384),
        ("RS512", Self::RS512),
        ("PS256", Self::PS256),
        ("PS384", Self::PS384),
        ("PS512", Self::PS512),
        ("ES256", Self::ES256),
        ("ES384", Self::ES384),
        ("EdDSA", Self::EdDSA),
    ];
}

impl Words for TokenDialect {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("access_token", Self::AccessToken),
        ("access_token_authz", Self::AccessTokenAuthz),
        ("rfc9068_profile", Self::Rfc9068),
        ("rfc9068_profile_authz", Self::Rfc9068Authz),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_serialisation_writes() {
        for alg in SigningAlg::ALL {
            assert_eq!(serde_json::to_value(alg).unwrap(), alg.name());
            assert_eq!(SigningAlg::from_name(alg.name()), Some(alg));
            assert_eq!(alg.is_symmetric(), alg.shortest_secret() > 0);
        }
        for (word, alg) in SigningAlg::WORDS {
            assert_eq!(*word, alg.name());
        }
        assert_eq!(SigningAlg::WORDS.len(), SigningAlg::ALL.len());
        for (word, dialect) in TokenDialect::WORDS {
            assert_eq!(serde_json::to_value(dialect).unwrap(), *word);
        }
    }
}
