//! How the tokens of one issuer are read for one API: plain data, and what becomes of it when a snapshot is compiled.
//!
//! `config` fills it in from a preset and from what is written, `verify` reads with it. A claim that is read here and has
//! a wrong type makes the token malformed; it is never passed over.

use std::collections::HashMap;

use super::json::Json;
use super::path::ClaimPath;
use super::{ScopeSet, ScopeTable, TokenError};
use crate::definition::{ApiDefinition, SigningAlg};

/// What the tokens of an issuer look like, and what counts in them. Every list is in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// With which they may be signed; at least one.
    pub algorithms: Vec<SigningAlg>,
    /// Of which `aud` must contain one; at least one.
    pub audiences: Vec<String>,
    /// What `typ` of the header may be: compared without case, and without `application/`.
    pub types: Vec<String>,
    /// Whether `typ` may be absent.
    pub untyped: bool,
    /// Claims that must have one of these texts in an access token.
    pub type_claims: Vec<(ClaimPath, Vec<String>)>,
    /// Claims of which an access token has one; empty: it need not.
    pub marks: Vec<ClaimPath>,
    /// Claims that only other kinds of token have.
    pub foreign: &'static [&'static str],
    /// Claims that must be there.
    pub required: &'static [&'static str],
    /// The client; those that are there must agree.
    pub client: Vec<ClaimPath>,
    /// The subject.
    pub subject: ClaimPath,
    /// The id of the token.
    pub token_id: ClaimPath,
    /// Scopes: the first of these that is there.
    pub scopes: Vec<ClaimPath>,
    /// Permissions, or roles where there is a map: all of these together.
    pub permissions: Vec<ClaimPath>,
    /// What each role stands for; one that is not in the map stands for nothing. `None`: permissions are there by their
    /// own names.
    pub roles: Option<Vec<(String, Vec<String>)>>,
    /// Which of them count.
    pub granted_by: GrantedBy,
}

/// Which claim says what a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantedBy {
    /// Scopes.
    Scope,
    /// Permissions: RBAC is on and the dialect promises the claim, or the issuer was given so.
    Permissions,
    /// A scope or a permission.
    Either,
}

/// What makes of a token one that is no access token of the Auth0 profile: what ID tokens and logout tokens carry.
const FOREIGN: &[&str] = &["nonce", "at_hash", "c_hash", "events"];

impl Reading {
    /// As the definition says, and nothing else.
    pub fn of(definition: &ApiDefinition) -> Self {
        let is_rfc9068 = definition.token_dialect.is_rfc9068();
        let (typ, required): (_, &[&str]) = if is_rfc9068 {
            // RFC 9068 section 2.2.
            ("at+jwt", &["sub", "client_id", "iat", "jti"])
        } else {
            ("JWT", &[])
        };
        Self {
            algorithms: vec![definition.signing_alg],
            audiences: vec![definition.identifier.clone()],
            types: vec![typ.into()],
            untyped: !is_rfc9068,
            type_claims: Vec::new(),
            marks: Vec::new(),
            foreign: if is_rfc9068 { &[] } else { FOREIGN },
            required,
            client: vec![ClaimPath::top("client_id"), ClaimPath::top("azp")],
            subject: ClaimPath::top("sub"),
            token_id: ClaimPath::top("jti"),
            scopes: vec![ClaimPath::top("scope"), ClaimPath::top("scp")],
            permissions: vec![ClaimPath::top("permissions")],
            roles: None,
            granted_by: if definition.permissions_decide() {
                GrantedBy::Permissions
            } else {
                GrantedBy::Scope
            },
        }
    }

    /// As the access tokens of a product are made, where it says so.
    pub fn of_kind(kind: IssuerKind, definition: &ApiDefinition) -> Self {
        let own = Self::of(definition);
        let top = |names: &[&'static str]| names.iter().map(|name| ClaimPath::top(name)).collect();
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
        match kind {
            IssuerKind::Auth0 => own,
            // `typ` of the claims tells them apart: Bearer, DPoP, ID, Refresh, Offline, Logout. Older versions put the
            // `nonce` of the login into access tokens too.
            IssuerKind::Keycloak => Self {
                types: texts(&["JWT", "at+jwt"]),
                untyped: false,
                type_claims: vec![(ClaimPath::top("typ"), texts(&["Bearer", "DPoP"]))],
                foreign: &["at_hash", "c_hash", "events"],
                required: &[],
                client: top(&["azp", "client_id"]),
                scopes: top(&["scope"]),
                permissions: vec![ClaimPath::within("realm_access", "roles")],
                ..own
            },
            // `appid` is in access tokens of version 1, `azp` in those of version 2, and neither in ID tokens, which
            // can have `roles` and the same audience.
            IssuerKind::Entra => Self {
                types: texts(&["JWT"]),
                untyped: false,
                marks: top(&["azp", "appid"]),
                foreign: FOREIGN,
                required: &[],
                client: top(&["azp", "appid"]),
                token_id: ClaimPath::top("uti"),
                scopes: top(&["scp"]),
                permissions: top(&["roles"]),
                ..own
            },
            // `cid` is in access tokens only; most of them have no `typ`.
            IssuerKind::Okta => Self {
                types: texts(&["JWT", "at+jwt", "okta-internal-at+jwt"]),
                untyped: true,
                marks: top(&["cid"]),
                foreign: FOREIGN,
                required: &[],
                client: top(&["cid"]),
                scopes: top(&["scp"]),
                ..own
            },
        }
    }

    /// Whether keys of the issuer are needed to verify its tokens.
    pub fn needs_keys(&self) -> bool {
        self.algorithms.iter().any(|alg| !alg.is_symmetric())
    }

    /// Whether the header of a token says that it is an access token (RFC 7515 section 4.1.9: a media type, compared
    /// without case; `application/` may be left out).
    pub(super) fn check_type(&self, header: &Json<'_>) -> Result<(), TokenError> {
        let fits = match header.get("typ") {
            None => self.untyped,
            Some(Json::String(typ)) => {
                let short = match typ.split_at_checked(12) {
                    Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
                    _ => typ,
                };
                self.types.iter().any(|known| short.eq_ignore_ascii_case(known))
            }
            Some(_) => false,
        };
        if fits { Ok(()) } else { Err(TokenError::WrongType) }
    }

    /// Whether the claims are those of an access token, and those there that must be.
    pub(super) fn check_kind(&self, claims: &Json<'_>) -> Result<(), TokenError> {
        for name in self.required {
            claims.get(name).ok_or(TokenError::MissingClaim(name))?;
        }
        if self.is_foreign(claims) {
            return Err(TokenError::WrongType);
        }
        for (path, values) in &self.type_claims {
            let found = path.text(claims)?;
            if !found.is_some_and(|found| values.iter().any(|value| value == found)) {
                return Err(TokenError::WrongType);
            }
        }
        let mut is_marked = self.marks.is_empty();
        for mark in &self.marks {
            is_marked |= mark.text(claims)?.is_some();
        }
        if is_marked {
            Ok(())
        } else {
            Err(TokenError::WrongType)
        }
    }

    /// Whether there is what only other kinds of token have.
    pub(super) fn is_foreign(&self, claims: &Json<'_>) -> bool {
        self.foreign.iter().any(|name| claims.get(name).is_some())
    }

    /// The same for what an issuer answers when it is asked about a token (RFC 7662 section 2.2): there the names of the
    /// standard are, beside those that its tokens have, and nothing has to be there.
    pub(super) fn of_answers(&self) -> Self {
        let also = |paths: &[ClaimPath], name| {
            let standard = ClaimPath::top(name);
            let mut paths = paths.to_vec();
            if !paths.contains(&standard) {
                paths.push(standard);
            }
            paths
        };
        Self {
            marks: Vec::new(),
            foreign: if self.foreign.is_empty() {
                FOREIGN
            } else {
                self.foreign
            },
            required: &[],
            client: also(&self.client, "client_id"),
            scopes: also(&self.scopes, "scope"),
            ..self.clone()
        }
    }

    /// The client. The names for it are one thing; a token that carries several must not disagree.
    pub(super) fn client<'a>(&self, claims: &'a Json<'a>) -> Result<Option<&'a str>, TokenError> {
        let mut client = None;
        for path in &self.client {
            match (client, path.text(claims)?) {
                (Some(known), Some(other)) if known != other => return Err(path.malformed()),
                (known, found) => client = known.or(found),
            }
        }
        Ok(client)
    }

    pub(super) fn scopes<'a>(&self, claims: &'a Json<'a>) -> Result<Vec<&'a str>, TokenError> {
        for path in &self.scopes {
            if let Some(words) = path.words(claims)? {
                return Ok(words);
            }
        }
        Ok(Vec::new())
    }

    pub(super) fn permissions<'a>(&self, claims: &'a Json<'a>) -> Result<Vec<&'a str>, TokenError> {
        let mut all = Vec::new();
        for path in &self.permissions {
            all.extend(path.strings(claims)?.unwrap_or_default());
        }
        Ok(all)
    }
}

/// A product whose access tokens have a shape of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerKind {
    /// As the definition says: it is Auth0's.
    Auth0,
    /// Keycloak, and what is built on it.
    Keycloak,
    /// Microsoft Entra ID, versions 1 and 2 of its tokens.
    Entra,
    /// Okta, its custom authorization servers.
    Okta,
}

/// Roles with the bits of what they stand for.
#[derive(Clone, Debug)]
pub(super) struct Roles(HashMap<Box<str>, ScopeSet>);

impl Roles {
    /// `None` where permissions go by their own names. What a map names and the definition does not define is nothing;
    /// `config` and `compile` have refused it.
    pub(super) fn compile(reading: &Reading, scopes: &ScopeTable) -> Option<Self> {
        let roles = reading.roles.as_ref()?;
        let compiled = roles.iter().map(|(role, permissions)| {
            let set = scopes.set(permissions.iter().map(String::as_str));
            (role.as_str().into(), set)
        });
        Some(Self(compiled.collect()))
    }

    /// What all of these roles stand for together.
    pub(super) fn set<'a>(&self, roles: impl Iterator<Item = &'a str>) -> ScopeSet {
        let mut all = ScopeSet::default();
        for set in roles.filter_map(|role| self.0.get(role)) {
            all = all.union(set);
        }
        all
    }
}
