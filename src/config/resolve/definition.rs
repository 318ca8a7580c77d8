//! Definitions: finding them, reading them, and refusing what this version cannot enforce.

use std::sync::Arc;

use super::super::faults::Fault;
use super::super::file::{Api, Definition};
use super::super::reader::Placed;
use super::super::secret;
use super::super::source::{Files, beside};
use super::encryption;
use crate::definition::{ApiDefinition, Node, PopMechanism, Secret, SigningAlg, tenant};
use crate::snapshot::DefinitionOrigin;
use crate::token::Encryption;

/// The definition of an API, and the keys of the API itself.
pub(super) struct Defined {
    pub(super) definition: Arc<ApiDefinition>,
    pub(super) origin: DefinitionOrigin,
    /// The HMAC key.
    pub(super) secret: Option<Secret>,
    pub(super) encryption: Option<Encryption>,
}

/// Finds and reads the definition of an API, and the keys that go with it.
pub(super) fn definition(api: &Api, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> Option<Defined> {
    let followed = match &api.definition.value {
        Definition::Follow(follow) => Some(follow.follow.value.as_str()),
        _ => None,
    };
    let node = match followed {
        Some(identifier) => match files.followed(identifier) {
            Some(node) => Some(node),
            None => return Some(awaited(identifier)),
        },
        None => find(&api.definition, files, faults),
    };
    let configured = api
        .signing_secret
        .as_ref()
        .and_then(|reference| secret::resolve("signing_secret", reference, files, faults));
    let node = node?;
    let definition = ApiDefinition::read(&node)
        .map_err(|found| {
            let found = found.into_iter();
            faults.extend(found.map(|fault| {
                Fault::new(&fault.place, fault.value.to_string()).with_any_hint(fault.value.hint())
            }));
        })
        .ok()?;
    refuse_unsupported(api, &definition, &node, faults);
    let secret = signing_secret(api, &definition, &node, configured, faults);
    let encryption = encryption::encryption(api, &definition, &node, files, faults);
    Some(Defined {
        definition: Arc::new(definition),
        origin: match followed {
            Some(_) => DefinitionOrigin::Followed,
            None => DefinitionOrigin::Here,
        },
        secret,
        encryption,
    })
}

/// Stands for a definition that the authority has not told yet. Nothing can be said of it but its identifier.
fn awaited(identifier: &str) -> Defined {
    Defined {
        definition: Arc::new(ApiDefinition::new(identifier)),
        origin: DefinitionOrigin::Awaited,
        secret: None,
        encryption: None,
    }
}

fn find(written: &Placed<Definition>, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> Option<Arc<Node>> {
    match &written.value {
        Definition::Inline(node) => Some(Arc::new(node.clone())),
        Definition::Follow(follow) => files.followed(&follow.follow.value),
        Definition::File(path) => files.document(&beside(&written.place, path), &written.place, faults),
        Definition::Export(export) => {
            let path = beside(&export.export.place, &export.export.value);
            let document = files.document(&path, &export.export.place, faults)?;
            match tenant::find(&document, &export.identifier.value) {
                Ok(node) => Some(Arc::new(node.clone())),
                Err(fault) => {
                    // What is asked for is at fault here, and the export only where it is none.
                    let (place, hint) = match &fault.value {
                        tenant::NotInExport::Shape(misshapen) => (&fault.place, misshapen.hint()),
                        tenant::NotInExport::Absent { nearest, .. } => (
                            &export.identifier.place,
                            nearest
                                .as_ref()
                                .map(|nearest| format!("did you mean `{nearest}`?")),
                        ),
                        tenant::NotInExport::Ambiguous { .. } => (&fault.place, None),
                    };
                    faults.push(Fault::new(place, fault.value.to_string()).with_any_hint(hint));
                    None
                }
            }
        }
    }
}

/// What a definition asks for and nobody would check must never be passed over.
fn refuse_unsupported(api: &Api, definition: &ApiDefinition, node: &Node, faults: &mut Vec<Fault>) {
    let place = |key| node.get(key).map_or(&node.place, |node| &node.place);
    let mechanism = definition.proof_of_possession.map(|proof| proof.mechanism);
    if mechanism == Some(PopMechanism::Dpop) && api.public_url.is_none() {
        let message = "`proof_of_possession` with `dpop` needs `public_url`: proofs are for the address that clients see";
        let hint = "set public_url beside `definition`";
        faults.push(Fault::new(place("proof_of_possession"), message).with_hint(hint));
    }
}

/// The secret of an HS* API; for any other API there must be none.
fn signing_secret(
    api: &Api,
    definition: &ApiDefinition,
    node: &Node,
    configured: Option<Secret>,
    faults: &mut Vec<Fault>,
) -> Option<Secret> {
    let in_definition = node.get("signing_secret").map_or(&node.place, |node| &node.place);
    let reference = api.signing_secret.as_ref().map(|reference| &reference.place);
    let alg = definition.signing_alg;
    if !alg.is_symmetric() {
        let places = [
            reference,
            definition.signing_secret.as_ref().map(|_| in_definition),
        ];
        for place in places.into_iter().flatten() {
            let message = format!(
                "`signing_secret` is only for HS* APIs; this one is signed with {}",
                alg.name()
            );
            faults.push(Fault::new(place, message));
        }
        return None;
    }
    let (secret, place) = match (reference, configured, &definition.signing_secret) {
        // The reference is at fault already, and what the definition says is not what was asked for.
        (Some(_), None, _) => return None,
        (Some(place), Some(configured), Some(defined)) if configured != *defined => {
            let message = "`signing_secret` is not the one that the definition has";
            faults.push(Fault::new(place, message).with_hint("remove one of the two"));
            return None;
        }
        (Some(place), Some(configured), _) => (configured, place),
        (None, _, Some(defined)) => (defined.clone(), in_definition),
        (None, _, None) => {
            let message = format!("an API that is signed with {} needs `signing_secret`", alg.name());
            let hint = "signing_secret: env:NAME or file:PATH";
            faults.push(Fault::new(&api.definition.place, message).with_hint(hint));
            return None;
        }
    };
    if let Some((message, hint)) = weakness(&secret, alg) {
        faults.push(Fault::new(place, message).with_hint(hint));
    }
    Some(secret)
}

/// Why nobody should rely on a secret, and what to do about it.
fn weakness(secret: &Secret, alg: SigningAlg) -> Option<(String, &'static str)> {
    const MAKE_ONE: &str = "make one with: openssl rand -base64 64";
    if secret::is_reference(secret.expose()) {
        let message = "a definition holds the secret itself, not a reference to it";
        return Some((
            message.into(),
            "move the reference to `signing_secret` beside `definition`",
        ));
    }
    if secret::is_well_known(secret) {
        return Some((
            "the signing secret is a well-known sample, or too uniform".into(),
            MAKE_ONE,
        ));
    }
    let (length, shortest) = (secret.expose().len(), alg.shortest_secret());
    if length < shortest {
        let alg = alg.name();
        let message = format!("the signing secret has {length} bytes; {alg} needs at least {shortest}");
        return Some((message, MAKE_ONE));
    }
    None
}
