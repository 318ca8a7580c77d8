//! Where an issuer tells about itself: the addresses of its metadata, made from its identifier.
//!
//! `control::jwks` looks for its keys there, `gateway::introspection` for its introspection endpoint.

/// OpenID Connect Discovery 1.0 section 4.1: appended to the issuer, without its last slash.
pub fn openid_metadata_address(issuer: &str) -> String {
    format!(
        "{}/.well-known/openid-configuration",
        issuer.strip_suffix('/').unwrap_or(issuer)
    )
}

/// RFC 8414 section 3.1: inserted between host and path, the last slash of the path removed.
pub fn oauth_metadata_address(issuer: &str) -> Option<String> {
    let (scheme, rest) = issuer.split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.strip_suffix('/').unwrap_or(path);
    let slash = if path.is_empty() { "" } else { "/" };
    Some(format!(
        "{scheme}://{host}/.well-known/oauth-authorization-server{slash}{path}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_addresses() {
        for (issuer, openid, oauth) in [
            (
                "https://tenant.eu.auth0.com/",
                "https://tenant.eu.auth0.com/.well-known/openid-configuration",
                "https://tenant.eu.auth0.com/.well-known/oauth-authorization-server",
            ),
            (
                "https://example.com",
                "https://example.com/.well-known/openid-configuration",
                "https://example.com/.well-known/oauth-authorization-server",
            ),
            (
                "https://example.com/realms/one/",
                "https://example.com/realms/one/.well-known/openid-configuration",
                "https://example.com/.well-known/oauth-authorization-server/realms/one",
            ),
        ] {
            assert_eq!(openid_metadata_address(issuer), openid);
            assert_eq!(oauth_metadata_address(issuer).as_deref(), Some(oauth));
        }
    }
}
