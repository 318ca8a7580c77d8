//! The issuers of an API, and how the tokens of each are read: preset, then what is written.

use super::super::faults::Fault;
use super::super::file::{Api, Issuer, Path, Paths, Trusted, TrustedIssuer};
use super::super::reader::{Placed, repeated};
use super::requirement::defined;
use crate::definition::{ApiDefinition, SigningAlg, nearest};
use crate::snapshot::IssuerPlan;
use crate::token::{ClaimPath, GrantedBy, IssuerKind, Reading};

/// The issuers that an API trusts. `definition` is `None` where it is at fault; then nothing is said of what needs it.
/// `fixed` is `None` also where its permissions may be others tomorrow.
pub(super) fn trusted(
    api: &Api,
    issuers: &[Issuer],
    (definition, fixed): (Option<&ApiDefinition>, Option<&ApiDefinition>),
    faults: &mut Vec<Fault>,
) -> Vec<IssuerPlan> {
    let kind = |name: &str| {
        let issuer = issuers.iter().find(|issuer| issuer.issuer.value == name);
        issuer.and_then(|issuer| issuer.kind).map(|word| word.0)
    };
    let Some(written) = &api.issuers else {
        let all = issuers.iter().map(|issuer| {
            let kind = issuer.kind.map(|word| word.0);
            plan(&issuer.issuer.value, of_kind(kind, definition))
        });
        return all.collect();
    };
    let names: Vec<Placed<String>> = written.iter().map(|trusted| trusted.issuer().clone()).collect();
    faults.extend(repeated(&names, "issuers"));
    let all = || issuers.iter().map(|issuer| issuer.issuer.value.as_str());
    for name in &names {
        if !all().any(|known| known == name.value) {
            let hint = nearest(&name.value, all()).map(|known| format!("did you mean `{known}`?"));
            let message = format!("`{}` is not one of the issuers of this file", name.value);
            faults.push(Fault::new(&name.place, message).with_any_hint(hint));
        }
    }
    let one = |trusted: &Trusted| {
        let name = trusted.issuer().value.as_str();
        let reading = match (trusted, definition) {
            (Trusted::Read(written), Some(definition)) => {
                Some(read(written, kind(name), (definition, fixed), faults))
            }
            _ => of_kind(kind(name), definition),
        };
        plan(name, reading)
    };
    written.iter().map(one).collect()
}

fn plan(issuer: &str, reading: Option<Reading>) -> IssuerPlan {
    IssuerPlan {
        issuer: issuer.into(),
        reading,
    }
}

fn of_kind(kind: Option<IssuerKind>, definition: Option<&ApiDefinition>) -> Option<Reading> {
    Some(Reading::of_kind(kind?, definition?))
}

/// The preset with what is written in its place.
fn read(
    written: &TrustedIssuer,
    kind: Option<IssuerKind>,
    (definition, fixed): (&ApiDefinition, Option<&ApiDefinition>),
    faults: &mut Vec<Fault>,
) -> Reading {
    let mut reading = Reading::of_kind(kind.unwrap_or(IssuerKind::Auth0), definition);
    if let Some(algorithms) = &written.algorithms {
        let known = algorithms.iter().map(|alg| (&alg.place, alg.value.0));
        reading.algorithms = known
            .map(|(place, alg)| {
                if alg.is_symmetric() && alg != definition.signing_alg {
                    faults.push(symmetric(place, alg));
                }
                alg
            })
            .collect();
    }
    if let Some(audiences) = &written.audiences {
        faults.extend(repeated(audiences, "audiences"));
        reading.audiences = texts(audiences);
    }
    if let Some(types) = &written.token_types {
        faults.extend(repeated(types, "token_types"));
        let prefixed = types
            .iter()
            .filter(|typ| typ.value.to_ascii_lowercase().starts_with("application/"));
        faults.extend(prefixed.map(|typ| {
            let fault = Fault::new(&typ.place, "`token_types` are written without `application/`");
            fault.with_hint("a token may have it or not")
        }));
        reading.types = texts(types);
        reading.untyped = false;
    }
    reading.untyped = written.accept_untyped.unwrap_or(reading.untyped);
    if let Some(claims) = &written.type_claims {
        let claims = claims.0.iter().filter_map(|(name, values)| {
            let path = ClaimPath::parse(&name.value).map_err(|fault| {
                faults.push(Fault::new(&name.place, format!("`{}` {fault}", name.value)));
            });
            Some((path.ok()?, texts(&values.0)))
        });
        reading.type_claims = claims.collect();
    }
    let paths = |paths: &Option<Paths>, preset: Vec<ClaimPath>| paths.clone().map_or(preset, |paths| paths.0);
    reading.scopes = paths(&written.scopes_from, reading.scopes);
    reading.client = paths(&written.client_from, reading.client);
    let path = |path: &Option<Path>, preset: ClaimPath| path.clone().map_or(preset, |path| path.0);
    reading.subject = path(&written.subject_from, reading.subject);
    reading.token_id = path(&written.token_id_from, reading.token_id);
    reading.granted_by = written.granted_by.map_or(reading.granted_by, |word| word.0);
    permissions(written, &mut reading, fixed, faults);
    reading
}

/// Where permissions come from, and what roles stand for. Written where they count for nothing they are a mistake.
fn permissions(
    written: &TrustedIssuer,
    reading: &mut Reading,
    fixed: Option<&ApiDefinition>,
    faults: &mut Vec<Fault>,
) {
    if reading.granted_by == GrantedBy::Scope {
        let from = written.permissions_from.as_ref();
        let places = [
            ("permissions_from", from.map(|from| &from.place)),
            ("roles", written.roles.as_ref().map(|roles| &roles.place)),
        ];
        for (key, place) in places {
            let fault = place.map(|place| {
                let message = format!("`{key}` counts for nothing where scopes decide");
                let hint = "set granted_by: permissions, or `enforce_policies` and a `token_dialect` that ends in _authz";
                Fault::new(place, message).with_hint(hint)
            });
            faults.extend(fault);
        }
    }
    if let Some(from) = &written.permissions_from {
        reading.permissions.clone_from(&from.value.0);
    }
    if let Some(roles) = &written.roles {
        let roles = roles.value.0.iter().map(|(role, permissions)| {
            defined(permissions, fixed, &[], faults);
            faults.extend(repeated(permissions, &role.value));
            (role.value.clone(), texts(permissions))
        });
        reading.roles = Some(roles.collect());
    }
}

fn symmetric(place: &crate::definition::Place, alg: SigningAlg) -> Fault {
    let message = format!(
        "{} needs a secret that the API shares with the issuer",
        alg.name()
    );
    Fault::new(place, message).with_hint("it can only be the `signing_alg` of the definition")
}

fn texts(written: &[Placed<String>]) -> Vec<String> {
    written.iter().map(|text| text.value.clone()).collect()
}
