//! The authority: the embedded authorization server that definitions can come from.
//!
//! It keeps APIs, applications, grants, roles and users ([`model`], [`store`]), has the Management API to change them
//! ([`management`]), and issues tokens ([`oauth`], [`signing`]). `app` runs it on a thread of its own. It must never use
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
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::http::{Answer, Request, serve_authority};
pub use bootstrap::{Administrator, BootstrapError};
pub use kept_key::KeyFileError;
pub use settings::{AuthoritySettings, EncryptionKey};
pub use state::{State, WriteError};
pub use store::{SealingKey, Store, StoreAddress, StoreError};

use bootstrap::First;
use model::Draft;
use signing::Signers;

/// An authority that is open: its settings, its state, and what is made of them.
#[derive(Debug)]
pub struct Authority {
    settings: AuthoritySettings,
    state: State,
    signers: Signers,
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
        let authority = Self {
            settings,
            state,
            signers: Signers::default(),
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

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
