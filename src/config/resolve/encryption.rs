//! Encrypted tokens: the private keys of an API, held against what its definition says.

use super::super::faults::Fault;
use super::super::file::Api;
use super::super::reader::Placed;
use super::super::secret;
use super::super::source::Files;
use crate::definition::{ApiDefinition, EncryptionKey, Node, Place};
use crate::token::{
    DecryptionKey, DecryptionKeys, Encryption, MAX_DECRYPTION_KEYS, Unencrypted, public_thumbprint,
};

/// How an API takes encrypted tokens; `None` where it takes none.
pub(super) fn encryption(
    api: &Api,
    definition: &ApiDefinition,
    node: &Node,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Encryption> {
    let defined = definition
        .token_encryption
        .as_ref()
        .map(|found| &found.encryption_key);
    let defined_at = node
        .get("token_encryption")
        .map_or(&node.place, |node| &node.place);
    let Some(written) = &api.decryption_keys else {
        if defined.is_some() {
            let message = "the definition has `token_encryption`, so the API needs `decryption_keys`";
            let hint = "decryption_keys: [file:PATH] with the private key in PEM or as a JWK";
            faults.push(Fault::new(&api.definition.place, message).with_hint(hint));
        } else if let Some(flag) = &api.accept_unencrypted {
            let message = "`accept_unencrypted` is only for APIs with `decryption_keys`";
            faults.push(Fault::new(&flag.place, message));
        }
        return None;
    };
    let keys = keys(written, files, faults)?;
    let keys = match defined {
        None => keys,
        Some(defined) => matched(keys, defined, written, defined_at, faults)?,
    };
    let accepts = api.accept_unencrypted.as_ref().map(|flag| flag.value);
    Some(Encryption {
        keys: DecryptionKeys::new(keys, defined.map(|key| key.alg)),
        unencrypted: if accepts.unwrap_or(defined.is_none()) {
            Unencrypted::Accept
        } else {
            Unencrypted::Refuse
        },
    })
}

/// All of them, or `None` where one is at fault.
fn keys(
    written: &[Placed<String>],
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Vec<DecryptionKey>> {
    if let Some(beyond) = written.get(MAX_DECRYPTION_KEYS) {
        let message = format!("an API has at most {MAX_DECRYPTION_KEYS} `decryption_keys`");
        let hint = "a token that names no key is tried with each of them";
        faults.push(Fault::new(&beyond.place, message).with_hint(hint));
        return None;
    }
    let mut keys: Vec<DecryptionKey> = Vec::new();
    for reference in written {
        let Some(content) = secret::resolve("decryption_keys", reference, files, faults) else {
            continue;
        };
        match DecryptionKey::read(content.expose()) {
            Ok(key) if keys.iter().any(|known| known.thumbprint() == key.thumbprint()) => {
                faults.push(Fault::new(
                    &reference.place,
                    "the same key is twice in `decryption_keys`",
                ));
            }
            Ok(key) => keys.push(key),
            Err(fault) => {
                let message = format!("this key cannot decrypt tokens: {fault}");
                let hint = "make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048";
                faults.push(Fault::new(&reference.place, message).with_hint(hint));
            }
        }
    }
    (keys.len() == written.len()).then_some(keys)
}

/// The keys, one of which is the other half of the key in the definition and gets its id.
fn matched(
    mut keys: Vec<DecryptionKey>,
    defined: &EncryptionKey,
    written: &[Placed<String>],
    defined_at: &Place,
    faults: &mut Vec<Fault>,
) -> Option<Vec<DecryptionKey>> {
    let from_pem = match &defined.pem {
        None => None,
        Some(pem) => {
            let thumbprint = public_thumbprint(pem.as_bytes());
            if thumbprint.is_none() {
                let message =
                    "the `pem` of `token_encryption` is neither an RSA public key nor a certificate of one";
                faults.push(Fault::new(defined_at, message));
                return None;
            }
            thumbprint
        }
    };
    let wanted = match (&from_pem, &defined.thumbprint_sha256) {
        (Some(pem), Some(told)) if **pem != **told => {
            let message = "`pem` and `thumbprint_sha256` of `token_encryption` are of two different keys";
            faults.push(Fault::new(defined_at, message));
            return None;
        }
        (Some(pem), _) => &**pem,
        (None, Some(told)) => told,
        (None, None) => {
            // Nothing to hold the keys against: each of them may be meant.
            return Some(match &defined.kid {
                Some(kid) => keys.into_iter().map(|key| key.also_known_as(kid)).collect(),
                None => keys,
            });
        }
    };
    let Some(position) = keys.iter().position(|key| key.thumbprint() == wanted) else {
        let message =
            "none of `decryption_keys` is the private half of the key in the definition's `token_encryption`";
        let hint = format!("the thumbprint (RFC 7638) of that key is {wanted}");
        faults.extend(
            written
                .first()
                .map(|first| Fault::new(&first.place, message).with_hint(&*hint)),
        );
        return None;
    };
    if let Some(kid) = &defined.kid {
        let key = keys.swap_remove(position).also_known_as(kid);
        keys.push(key);
    }
    Some(keys)
}
