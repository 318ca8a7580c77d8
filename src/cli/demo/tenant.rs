//! What the demo registers at its authority, as anybody would: over the Management API, and its tokens from the token
//! endpoint.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::control::{CallError, ManagementClient, TenantCredentials, ask_for_token, path_segment};
use crate::definition::Secret;
use crate::net::{ClientTls, Fetcher};

/// The API that is protected.
pub(super) const AUDIENCE: &str = "https://items.example.com";
const OTHER_AUDIENCE: &str = "https://other.example.com";
const PERMISSIONS: [(&str, &str); 3] = [
    ("read:items", "Read items"),
    ("create:items", "Create items"),
    ("delete:items", "Delete items"),
];
/// Seconds.
const LIFETIME: u32 = 3_600;
/// One call.
const PATIENCE: Duration = Duration::from_secs(30);

/// An application, and what it takes to be it.
pub(super) struct Application {
    pub(super) name: &'static str,
    pub(super) client_id: String,
    pub(super) client_secret: Zeroizing<String>,
}

/// Everything that was registered.
pub(super) struct Tenant {
    pub(super) administrator: Application,
    /// May read.
    pub(super) reader: Application,
    /// May do everything.
    pub(super) editor: Application,
    pub(super) tokens: Tokens,
}

/// Tokens to show.
pub(super) struct Tokens {
    pub(super) reader: String,
    pub(super) editor: String,
    /// Of the reader, but its time is over.
    pub(super) expired: String,
    /// Of the reader, for another API.
    pub(super) elsewhere: String,
    /// Of the administrator, for changing APIs.
    pub(super) manager: String,
}

impl Tenant {
    pub(super) async fn register(
        issuer: &str,
        administrator: Application,
        tls: Option<ClientTls>,
    ) -> Result<Self, CallError> {
        let fetcher = Fetcher::new(tls.clone(), PATIENCE, false);
        let credentials = TenantCredentials {
            issuer: issuer.to_owned(),
            client_id: administrator.client_id.clone(),
            client_secret: Secret::new(administrator.client_secret.as_bytes()),
        };
        let client = ManagementClient::new(credentials, Fetcher::new(tls, PATIENCE, false));
        create_api(&client, AUDIENCE, "Items").await?;
        create_api(&client, OTHER_AUDIENCE, "Other").await?;
        let reader = application(&client, "reader").await?;
        let editor = application(&client, "editor").await?;
        let all = PERMISSIONS.map(|(name, _)| name);
        grant(&client, &reader, AUDIENCE, &["read:items"]).await?;
        grant(&client, &reader, OTHER_AUDIENCE, &["read:items"]).await?;
        grant(&client, &editor, AUDIENCE, &all).await?;

        let ask = |application, audience| token(&fetcher, issuer, application, audience, None);
        // Tokens of this API are over as soon as they are made, until it says otherwise.
        let expired = ask(&reader, AUDIENCE).await?;
        let path = format!("resource-servers/{}", path_segment(AUDIENCE));
        let lifetime = json!({ "token_lifetime": LIFETIME });
        client.call(Method::PATCH, &path, Some(&lifetime), &[]).await?;
        let tokens = Tokens {
            expired,
            reader: ask(&reader, AUDIENCE).await?,
            editor: ask(&editor, AUDIENCE).await?,
            elsewhere: ask(&reader, OTHER_AUDIENCE).await?,
            manager: token(
                &fetcher,
                issuer,
                &administrator,
                &format!("{issuer}api/v2/"),
                Some("update:resource_servers"),
            )
            .await?,
        };
        Ok(Self {
            administrator,
            reader,
            editor,
            tokens,
        })
    }
}

/// The permissions of the API as a `PATCH` says them, without one of them.
pub(super) fn scopes(without: Option<&str>) -> Value {
    PERMISSIONS
        .iter()
        .filter(|(name, _)| Some(*name) != without)
        .map(|(name, description)| json!({ "value": name, "description": description }))
        .collect()
}

async fn create_api(client: &ManagementClient, identifier: &str, name: &str) -> Result<(), CallError> {
    let api = json!({
        "identifier": identifier, "name": name, "signing_alg": "RS256", "enforce_policies": true,
        "token_dialect": "access_token_authz", "token_lifetime": 0, "token_lifetime_for_web": 0,
        "scopes": scopes(None),
    });
    let made = client.call(Method::POST, "resource-servers", Some(&api), &[]);
    made.await.map(drop)
}

async fn application(client: &ManagementClient, name: &'static str) -> Result<Application, CallError> {
    let app = json!({ "name": name, "app_type": "non_interactive", "grant_types": ["client_credentials"] });
    let made = client.call(Method::POST, "clients", Some(&app), &[]).await?.body;
    Ok(Application {
        name,
        client_id: text(&made, "client_id")?,
        client_secret: text(&made, "client_secret")?.into(),
    })
}

async fn grant(
    client: &ManagementClient,
    application: &Application,
    audience: &str,
    permissions: &[&str],
) -> Result<(), CallError> {
    let grant = json!({ "client_id": application.client_id, "audience": audience, "scope": permissions });
    let made = client.call(Method::POST, "client-grants", Some(&grant), &[]);
    made.await.map(drop)
}

/// A token with these scopes, or with all that were granted.
async fn token(
    fetcher: &Fetcher,
    issuer: &str,
    application: &Application,
    audience: &str,
    scope: Option<&str>,
) -> Result<String, CallError> {
    let mut asked = json!({
        "grant_type": "client_credentials", "client_id": application.client_id,
        "client_secret": application.client_secret.as_str(), "audience": audience,
    });
    if let (Some(scope), Some(members)) = (scope, asked.as_object_mut()) {
        members.insert("scope".into(), Value::from(scope));
    }
    text(
        &ask_for_token(fetcher, issuer, &asked).await?.body,
        "access_token",
    )
}

fn text(body: &Value, member: &str) -> Result<String, CallError> {
    let found = body.get(member).and_then(Value::as_str);
    found.map(str::to_owned).ok_or(CallError::Unexpected)
}
