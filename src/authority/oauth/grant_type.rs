//! The grant types that the token endpoint has: a closed list.

/// How a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantType {
    /// By an application for itself (RFC 6749 section 4.4).
    ClientCredentials,
    /// With the name and the password of a user (RFC 6749 section 4.3).
    Password,
    /// The same, with the name of the list of users: Auth0's extension.
    PasswordRealm,
    /// With a refresh token (RFC 6749 section 6).
    RefreshToken,
}

impl GrantType {
    /// Every one.
    pub(super) const ALL: [Self; 4] = [
        Self::ClientCredentials,
        Self::Password,
        Self::PasswordRealm,
        Self::RefreshToken,
    ];

    /// As it is sent, and as it stands in `grant_types` of a client.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::PasswordRealm => "http://auth0.com/oauth/grant-type/password-realm",
            Self::RefreshToken => "refresh_token",
        }
    }

    /// Reads the name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant_type| grant_type.name() == name)
    }

    /// The `gty` claim of the Auth0 profile.
    pub(super) fn claim(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client-credentials",
            Self::Password | Self::PasswordRealm => "password",
            Self::RefreshToken => "refresh_token",
        }
    }

    /// A word for the log and the metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::PasswordRealm => "password_realm",
            Self::RefreshToken => "refresh_token",
        }
    }
}
