//! The authority: the embedded authorization server that definitions can come from.
//!
//! It keeps APIs, applications, grants, roles and users ([`model`], [`store`]), has the Management API to change them
//! (`management`), and issues tokens (`oauth`, `signing`). `app` runs it on a thread of its own. It must never use
//! `gateway` or `control`: what it knows reaches them through `app`, and its issuer is one more trusted issuer, without
//! a shortcut.

mod ids;
mod settings;
mod kept_key;
pub mod model;
pub mod store;
mod state;
mod signing;
mod bootstrap;
mod http;
mod management;
mod oauth;

use std::sync::Arc;
use std::time::Duration;

pub use self::http::{Answer, Request, serve_authority};
pub use bootstrap::{Administrator, BootstrapError};
pub use ids::NoRandomness;
pub use kept_key::KeyFileError;
pub use settings::{AuthoritySettings, EncryptionKey};
pub use signing::KeyFault;
pub use state::{State, WriteError};
pub use store::{PostgresAddress, SealingKey, Store, StoreAddress, StoreError};

use crate::clock::unix_now;
use crate::telemetry::Metrics;
use bootstrap::First;
use model::{Draft, KeyRecord, KeyState};
use signing::Signers;

/// An authority that is open: its settings, its state, and what is made of them.
#[derive(Debug)]
pub struct Authority {
    settings: AuthoritySettings,
    state: State,
    signers: Signers,
    oauth: oauth::Endpoints,
    management: management::Management,
}

/// Why the authority cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The encryption key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the store.
    #[error(transparent)]
    Unreadable(#[from] model::Unreadable),
    /// The first start.
    #[error("the first start failed: {0}")]
    Bootstrap(#[from] BootstrapError),
}

impl Authority {
    /// Opens the store, and makes what a first start needs. The administrator is there on the first start only.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(settings: AuthoritySettings) -> Result<(Arc<Self>, Option<Administrator>), OpenError> {
        let key = kept_key::sealing_key(&settings.encryption_key, &settings.store)?;
        let store = Store::open(&settings.store, key).await?;
        let state = State::load(store).await.map_err(open_error)?;
        let mut administrator = None;
        if state.tenant().current_key().is_none() {
            let (first, made) = First::new(&settings, unix_now())?;
            let is_first = state
                .write(|draft: &mut Draft| {
                    // Another replica may have been first.
                    if draft.current_key().is_some() {
                        return Ok(false);
                    }
                    first.add(draft, &settings).map(|()| true)
                })
                .await
                .map_err(|error| match error {
                    WriteError::Refused(error) => OpenError::Bootstrap(error),
                    WriteError::Store(error) => error.into(),
                    WriteError::Unreadable(error) => error.into(),
                })?;
            administrator = is_first.then_some(made);
        }
        let oauth = oauth::Endpoints::new().map_err(|error| BootstrapError::Key(error.into()))?;
        let authority = Self {
            settings,
            state,
            signers: Signers::default(),
            oauth,
            management: management::Management::new(),
        };
        Ok((Arc::new(authority), administrator))
    }

    /// What it was told.
    pub fn settings(&self) -> &AuthoritySettings {
        &self.settings
    }

    /// What it knows.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Counts in `metrics` from now on.
    pub fn count_with(&self, metrics: &Metrics) {
        self.oauth.count_with(metrics.authority_token_requests.clone());
    }

    /// Makes the next signing key the current one, and a fresh one the next. Takes a second, on another thread. Returns
    /// the fresh one.
    ///
    /// # Errors
    /// There is no next key, or the store fails.
    pub async fn rotate_keys(&self) -> Result<Arc<KeyRecord>, WriteError<KeyFault>> {
        let (now, name) = (unix_now(), self.settings.issuer.clone());
        let fresh = tokio::task::spawn_blocking(move || signing::generate(KeyState::Next, now, &name))
            .await
            .map_err(|_panicked| WriteError::Refused(KeyFault::Generation))?
            .map_err(WriteError::Refused)?;
        let current = self
            .state
            .write(|draft: &mut Draft| signing::rotate(draft, &fresh, now))
            .await?;
        tracing::info!(kid = %current, next = %fresh.kid, "rotated the signing keys");
        Ok(Arc::new(fresh))
    }

    /// Takes a previous signing key out of the key set: what it signed is refused from now on.
    ///
    /// # Errors
    /// There is no such key, it is in use, or the store fails.
    pub async fn revoke_key(&self, kid: &str) -> Result<(), WriteError<KeyFault>> {
        let now = unix_now();
        self.state
            .write(|draft: &mut Draft| signing::revoke(draft, kid, now))
            .await?;
        tracing::info!(kid, "revoked a signing key");
        Ok(())
    }

    /// Removes from the store what nobody can use any more. Returns how much that was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        oauth::sweep(&self.state, unix_now()).await
    }

    /// Sweeps for as long as the authority runs.
    pub async fn keep_clean(&self) {
        loop {
            match self.sweep().await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed logins whose refresh tokens have ended"),
                Err(error) => tracing::warn!(%error, "cannot remove what has ended from the store"),
            }
            tokio::time::sleep(BETWEEN_SWEEPS).await;
        }
    }

    /// The hash of a new password of a user, in PHC form; `None` where there is too much to do at the moment.
    pub async fn hash_password(&self, password: zeroize::Zeroizing<String>) -> Option<String> {
        self.oauth.hash_password(password).await
    }
}

fn open_error(error: WriteError<std::convert::Infallible>) -> OpenError {
    match error {
        WriteError::Refused(never) => match never {},
        WriteError::Store(error) => error.into(),
        WriteError::Unreadable(error) => error.into(),
    }
}

/// Every permission of the Management API.
fn management_scopes() -> impl Iterator<Item = &'static str> {
    management::SCOPES.into_iter()
}

const BETWEEN_SWEEPS: Duration = Duration::from_secs(3_600);
