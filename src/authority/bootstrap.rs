//! The first start: signing keys, the Management API, and an administrator application that may do everything in it.

use serde_json::{Map, Value, json};

use super::model::{Api, Client, Draft, Fault, Grant, KeyState, SubjectType};
use super::settings::AuthoritySettings;
use super::signing::{self, KeyFault};
use super::{ids, management_scopes};

/// The administrator application, to be shown once.
pub struct Administrator {
    /// Its client id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: zeroize::Zeroizing<String>,
}

/// Why the first start failed.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// An object was refused.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The document of the Management API is wrong.
    #[error("the Management API: {0}")]
    Document(String),
}

impl std::fmt::Debug for Administrator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "administrator {}", self.client_id)
    }
}

/// What a first start adds, made beforehand since a change may be made twice.
#[derive(Debug)]
pub(super) struct First {
    keys: [super::model::KeyRecord; 2],
    api_id: String,
    grant_id: String,
    client: Client,
}

impl First {
    pub(super) fn new(
        settings: &AuthoritySettings,
        now: i64,
    ) -> Result<(Self, Administrator), BootstrapError> {
        let failed = |error: ids::NoRandomness| BootstrapError::Key(error.into());
        let name = settings.issuer.as_str();
        let client_id = ids::alphanumeric(32).map_err(failed)?;
        let client_secret = zeroize::Zeroizing::new(ids::secret().map_err(failed)?);
        let document = json!({
            "name": "Administrator",
            "description": "May do everything in the Management API. Made at the first start.",
            "app_type": "non_interactive",
            "is_first_party": true,
            "grant_types": ["client_credentials"],
            "jwt_configuration": { "secret_encoded": false, "lifetime_in_seconds": 36_000 },
        });
        let document = document.as_object().cloned().unwrap_or_default();
        let first = Self {
            keys: [
                signing::generate(KeyState::Current, now, name)?,
                signing::generate(KeyState::Next, now, name)?,
            ],
            api_id: ids::object_id().map_err(failed)?,
            grant_id: format!("cgr_{}", ids::alphanumeric(16).map_err(failed)?),
            client: Client::new(&client_id, document, Some(&client_secret)),
        };
        let administrator = Administrator {
            client_id,
            client_secret,
        };
        Ok((first, administrator))
    }

    pub(super) fn add(&self, draft: &mut Draft, settings: &AuthoritySettings) -> Result<(), BootstrapError> {
        for key in &self.keys {
            draft.put_key(key)?;
        }
        let api = Api::from_document(&self.api_id, management_api(settings))
            .map_err(|faults| BootstrapError::Document(faults.join("; ")))?;
        draft.put_api(&api)?;
        draft.put_client(&self.client)?;
        draft.put_grant(&Grant {
            id: self.grant_id.clone(),
            client_id: Some(self.client.client_id.clone()),
            audience: settings.management_audience(),
            scope: Some(management_scopes().map(str::to_owned).collect()),
            subject_type: SubjectType::Client,
            allow_all_scopes: None,
            default_for: None,
            organization_usage: None,
            allow_any_organization: None,
            authorization_details_types: None,
            is_system: None,
        })?;
        Ok(())
    }
}

/// As the Management API shows itself: deploy-cli knows it by this name.
fn management_api(settings: &AuthoritySettings) -> Map<String, Value> {
    let scopes: Vec<Value> = management_scopes()
        .map(|scope| json!({ "value": scope, "description": describe(scope) }))
        .collect();
    let document = json!({
        "name": "Auth0 Management API",
        "identifier": settings.management_audience(),
        "scopes": scopes,
        "signing_alg": "RS256",
        "allow_offline_access": false,
        "skip_consent_for_verifiable_first_party_clients": false,
        "token_lifetime": 86_400,
        "token_lifetime_for_web": 7_200,
        "is_system": true,
        "subject_type_authorization": {
            "client": { "policy": "require_client_grant" },
            "user": { "policy": "allow_all" },
        },
    });
    document.as_object().cloned().unwrap_or_default()
}

/// `read:client_grants` → `Read client grants`.
fn describe(scope: &str) -> String {
    let mut text = scope.replace([':', '_'], " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}
