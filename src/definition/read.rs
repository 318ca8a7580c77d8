//! Reading a resource-server object out of a document, with every fault of it at once.
//!
//! Called by `config` for definitions in files. A member that nobody knows is a fault: a mistyped `enforce_policies`
//! must not pass for one that is off.

use std::ops::RangeInclusive;

use super::document::{Located, Node};
use super::fields::wrong_kind;
use super::object::Object;
use super::permission;
use super::resource_server::{default_lifetime, default_web_lifetime};
use super::{
    ApiDefinition, AuthorizationDetail, AuthorizationPolicy, EncryptionKey, InvalidDefinition, Permission,
    PopMechanism, PopRequiredFor, ProofOfPossession, Secret, SubjectTypeAuthorization, TokenEncryption,
    schema,
};

type Faults = Vec<Located<InvalidDefinition>>;

/// Characters; no limit is documented for what has this one.
const ANY_LENGTH: RangeInclusive<usize> = 1..=4096;

impl ApiDefinition {
    /// Reads a definition, or says everything that is wrong with it, each fault with its place.
    pub fn read(node: &Node) -> Result<Self, Vec<Located<InvalidDefinition>>> {
        let mut faults = Faults::new();
        let definition = Object::of("definition", node, &mut faults).and_then(read_definition);
        match definition {
            Some(definition) if faults.is_empty() => Ok(definition),
            _ => Err(faults),
        }
    }
}

fn read_definition(mut api: Object<'_, '_>) -> Option<ApiDefinition> {
    let identifier = api
        .required("identifier")
        .and_then(|node| api.text(node, "identifier", 1..=600));
    let mut definition = ApiDefinition::new(identifier.clone().unwrap_or_default());
    if identifier
        .as_deref()
        .is_some_and(|identifier| identifier.contains(char::is_control))
    {
        // It stands in challenges, logs and tables.
        let rule = "must not contain control characters";
        api.fault_at(
            "identifier",
            InvalidDefinition::Characters {
                field: "identifier",
                rule,
            },
        );
    }
    definition.id = api.optional_text("id", "id", ANY_LENGTH);
    definition.name = api.optional_text("name", "name", 1..=200);
    if definition
        .name
        .as_deref()
        .is_some_and(|name| name.contains(['<', '>']))
    {
        let rule = "must not contain `<` or `>`";
        api.fault_at("name", InvalidDefinition::Characters { field: "name", rule });
    }
    definition.permissions = read_permissions(&mut api);
    definition.signing_alg = api
        .optional_word("signing_alg", "signing_alg")
        .unwrap_or(definition.signing_alg);
    definition.signing_secret = api
        .optional_text("signing_secret", "signing_secret", 16..=4096)
        .map(Secret::new);
    definition.allow_offline_access = api.flag("allow_offline_access").unwrap_or(false);
    definition.allow_online_access = api.flag("allow_online_access");
    definition.allow_online_access_with_ephemeral_sessions =
        api.flag("allow_online_access_with_ephemeral_sessions");
    definition.skip_consent_for_verifiable_first_party_clients = api
        .flag("skip_consent_for_verifiable_first_party_clients")
        .unwrap_or(false);
    read_lifetimes(&mut api, &mut definition);
    definition.enforce_policies = api.flag("enforce_policies").unwrap_or(false);
    definition.token_dialect = api
        .optional_word("token_dialect", "token_dialect")
        .unwrap_or_default();
    definition.token_encryption = api.nullable_object("token_encryption", read_encryption);
    definition.consent_policy = match api.nullable("consent_policy") {
        Some(node) => api.word(node, "consent_policy"),
        None => None,
    };
    definition.authorization_details = read_details(&mut api);
    definition.proof_of_possession = api.nullable_object("proof_of_possession", read_proof_of_possession);
    definition.subject_type_authorization = api
        .nullable_object("subject_type_authorization", read_subject_types)
        .unwrap_or(definition.subject_type_authorization);
    definition.authorization_policy = api.nullable_object("authorization_policy", read_authorization_policy);
    definition.client_id = api.optional_text("client_id", "client_id", ANY_LENGTH);
    definition.is_system = api.flag("is_system").unwrap_or(false);
    api.finish(schema::IGNORED);
    identifier.map(|_| definition)
}

fn read_lifetimes(api: &mut Object<'_, '_>, definition: &mut ApiDefinition) {
    let all = api.seconds("token_lifetime");
    definition.token_lifetime = all.unwrap_or_else(default_lifetime);
    let web = api.seconds("token_lifetime_for_web");
    definition.token_lifetime_for_web =
        web.unwrap_or_else(|| default_web_lifetime(definition.token_lifetime));
    if definition.token_lifetime_for_web > definition.token_lifetime {
        let (web, all) = (definition.token_lifetime_for_web, definition.token_lifetime);
        api.fault_at(
            "token_lifetime_for_web",
            InvalidDefinition::WebLifetime { web, all },
        );
    }
    definition.token_lifetime_for_anonymous_access_tokens =
        match api.nullable("token_lifetime_for_anonymous_access_tokens") {
            Some(node) => api.seconds_of(node, "token_lifetime_for_anonymous_access_tokens"),
            None => None,
        };
}

/// `null` clears the list, as an empty list does.
fn read_permissions(api: &mut Object<'_, '_>) -> Vec<Permission> {
    let Some(node) = api.nullable("scopes") else {
        return Vec::new();
    };
    let Some(items) = node.list() else {
        api.misshapen(wrong_kind("scopes", node, "a list"));
        return Vec::new();
    };
    if items.len() > permission::MOST {
        let fault = InvalidDefinition::TooManyPermissions {
            count: items.len(),
            max: permission::MOST,
        };
        api.faults.push(Located::new(&node.place, fault));
        return Vec::new();
    }
    let mut permissions = Vec::with_capacity(items.len());
    for item in items {
        let object = Object::of("scopes", item, api.faults);
        permissions.extend(object.and_then(|object| read_permission(object, item)));
    }
    api.faults.extend(permission::duplicates(&permissions));
    permissions
        .into_iter()
        .map(|permission| permission.value)
        .collect()
}

fn read_permission(mut object: Object<'_, '_>, item: &Node) -> Option<Located<Permission>> {
    let value = object.required("value");
    let description = match object.nullable("description") {
        Some(node) => object.text(node, "scopes.description", 0..=permission::LONGEST_DESCRIPTION),
        None => None,
    };
    let value = value.and_then(|node| match node.text() {
        Some(text) => {
            object
                .faults
                .extend(permission::check_value(text).map(|fault| Located::new(&node.place, fault)));
            Some(text.to_owned())
        }
        None => {
            object.misshapen(wrong_kind("value", node, "text"));
            None
        }
    });
    object.finish(&[]);
    Some(Located::new(
        &item.place,
        Permission {
            value: value?,
            description,
        },
    ))
}

fn read_encryption(mut object: Object<'_, '_>) -> Option<TokenEncryption> {
    let format = object.required("format");
    let format = format.and_then(|node| object.word(node, "token_encryption.format"));
    let key = object.required("encryption_key");
    let key = key
        .and_then(|node| Object::of("encryption_key", node, object.faults))
        .and_then(read_key);
    object.finish(&[]);
    Some(TokenEncryption {
        format: format?,
        encryption_key: key?,
    })
}

fn read_key(mut object: Object<'_, '_>) -> Option<EncryptionKey> {
    let name = object.optional_text("name", "token_encryption.encryption_key.name", 1..=128);
    let alg = object.required("alg");
    let alg = alg.and_then(|node| object.word(node, "token_encryption.encryption_key.alg"));
    let kid = object.optional_text("kid", "token_encryption.encryption_key.kid", 1..=128);
    let pem = object.optional_text("pem", "token_encryption.encryption_key.pem", 1..=4096);
    let thumbprint = "token_encryption.encryption_key.thumbprint_sha256";
    let thumbprint_sha256 = object.optional_text("thumbprint_sha256", thumbprint, 1..=128);
    object.finish(&[]);
    Some(EncryptionKey {
        name,
        alg: alg?,
        kid,
        pem,
        thumbprint_sha256,
    })
}

fn read_details(api: &mut Object<'_, '_>) -> Option<Vec<AuthorizationDetail>> {
    let node = api.nullable("authorization_details")?;
    let Some(items) = node.list() else {
        api.misshapen(wrong_kind("authorization_details", node, "a list"));
        return None;
    };
    let mut details = Vec::with_capacity(items.len());
    for item in items {
        let Some(mut object) = Object::of("authorization_details", item, api.faults) else {
            continue;
        };
        let kind = object.required("type");
        let kind = kind.and_then(|node| object.text(node, "authorization_details.type", ANY_LENGTH));
        let members = item
            .entries()
            .unwrap_or_default()
            .iter()
            .filter(|entry| entry.key != "type");
        let members = members
            .map(|entry| (entry.key.clone(), entry.node.to_json()))
            .collect();
        details.extend(kind.map(|kind| AuthorizationDetail { kind, members }));
    }
    Some(details)
}

fn read_proof_of_possession(mut object: Object<'_, '_>) -> Option<ProofOfPossession> {
    let mechanism = object.required("mechanism");
    let mechanism = mechanism.and_then(|node| object.word(node, "proof_of_possession.mechanism"));
    let required = object
        .required("required")
        .and_then(|node| object.flag_of(node, "required"));
    let required_for = object.optional_word("required_for", "proof_of_possession.required_for");
    if mechanism == Some(PopMechanism::Mtls) && required_for == Some(PopRequiredFor::PublicClients) {
        object.fault_at("required_for", InvalidDefinition::MtlsForPublicClients);
    }
    object.finish(&[]);
    Some(ProofOfPossession {
        mechanism: mechanism?,
        required: required?,
        required_for,
    })
}

fn read_subject_types(mut object: Object<'_, '_>) -> Option<SubjectTypeAuthorization> {
    let types = SubjectTypeAuthorization {
        user: object.subject_policy("user", "subject_type_authorization.user.policy"),
        client: object.subject_policy("client", "subject_type_authorization.client.policy"),
        anonymous_user: object.subject_policy(
            "anonymous_user",
            "subject_type_authorization.anonymous_user.policy",
        ),
    };
    object.finish(&[]);
    Some(types)
}

fn read_authorization_policy(mut object: Object<'_, '_>) -> Option<AuthorizationPolicy> {
    let policy_id = object.required("policy_id");
    let policy_id = policy_id.and_then(|node| object.text(node, "authorization_policy.policy_id", 1..=1024));
    object.finish(&[]);
    Some(AuthorizationPolicy {
        policy_id: policy_id?,
    })
}

#[cfg(test)]
mod tests;
