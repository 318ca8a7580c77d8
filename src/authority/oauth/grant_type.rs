//! The grant types that the token endpoint has: a closed list.

/// How a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantType {
    /// By an application for itself (RFC 6749 section 4.4).
    ClientCredentials,
}

impl GrantType {
    /// Every one.
    pub(super) const ALL: [Self; 1] = [Self::ClientCredentials];

    /// As it is sent, and as it stands in `grant_types` of a client.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
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
        }
    }
}
