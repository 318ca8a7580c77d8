//! The state of the authority while it runs: read by everyone, changed by one writer at a time.
//!
//! A change is made on a draft, stored, and only then published, whole. Where another process has changed the store
//! meanwhile, what it changed is read and the change is made again on top of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};

use super::model::{Draft, Kind, Object, Tenant, Unreadable};
use super::store::{Store, StoreError};

/// The state, and the store that it stands in.
#[derive(Debug)]
pub struct State {
    tenant: ArcSwap<Tenant>,
    store: Store,
    /// Held while a change is made, stored and published.
    writer: Mutex<()>,
    revision: watch::Sender<u64>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// Whoever asked is at fault.
    #[error("{0}")]
    Refused(E),
    /// The store is.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What is in the store cannot be understood.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
}

/// How often a change is made again on top of somebody else's.
const ATTEMPTS: usize = 50;

impl State {
    /// The state that a store has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(store: Store) -> Result<Self, WriteError<std::convert::Infallible>> {
        let changes = store.changes_since(0).await?;
        let tenant = Tenant::default().with(changes.revision, &changes.objects)?;
        let (revision, _) = watch::channel(tenant.revision());
        Ok(Self {
            tenant: ArcSwap::from_pointee(tenant),
            store,
            writer: Mutex::new(()),
            revision,
        })
    }

    /// The state as it is now.
    pub fn tenant(&self) -> Arc<Tenant> {
        self.tenant.load_full()
    }

    /// Tells the revision, and each time that it is another one.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Makes a change. `change` may be called again, on a newer state.
    ///
    /// # Errors
    /// Whatever `change` refuses, and failures of the store. Nothing has changed then.
    pub async fn write<T, E>(&self, change: impl Fn(&mut Draft) -> Result<T, E>) -> Result<T, WriteError<E>> {
        let _writer = self.writer.lock().await;
        for _ in 0..ATTEMPTS {
            let tenant = self.tenant.load_full();
            let mut draft = Draft::of(&tenant);
            let outcome = change(&mut draft).map_err(WriteError::Refused)?;
            let changes = draft.into_changes();
            if changes.is_empty() {
                return Ok(outcome);
            }
            match self.store.commit(tenant.revision(), &changes).await {
                Ok(revision) => {
                    self.publish(tenant.with(revision, &changes)?);
                    return Ok(outcome);
                }
                Err(StoreError::Stale) => self.catch_up().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Stale.into())
    }

    /// Makes a change to one object that is not held in memory. `change` gets what is stored, and says what is to be.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_unheld<T, E>(
        &self,
        kind: Kind,
        id: &str,
        change: impl Fn(&Tenant, Option<&Object>) -> Result<(T, Object), E>,
    ) -> Result<T, WriteError<E>> {
        let _writer = self.writer.lock().await;
        for _ in 0..ATTEMPTS {
            let tenant = self.tenant.load_full();
            let stored = self.store.get(kind, id).await?;
            let (outcome, object) = change(&tenant, stored.as_ref()).map_err(WriteError::Refused)?;
            match self.store.commit(tenant.revision(), &[object]).await {
                Ok(revision) => {
                    self.publish(tenant.with(revision, &[])?);
                    return Ok(outcome);
                }
                Err(StoreError::Stale) => self.catch_up().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Stale.into())
    }

    /// One object that is not held in memory.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn unheld(&self, kind: Kind, id: &str) -> Result<Option<Object>, StoreError> {
        self.store.get(kind, id).await
    }

    /// Removes what is over of a kind that is not held in memory, and says how much.
    ///
    /// # Errors
    /// The store failed; what is over can be removed another time.
    pub async fn sweep(
        &self,
        kind: Kind,
        is_over: impl Fn(&Tenant, &Object) -> bool,
    ) -> Result<u64, StoreError> {
        let tenant = self.tenant();
        self.store.sweep(kind, |object| is_over(&tenant, object)).await
    }

    /// Reads what others have changed, for as long as this runs.
    pub async fn follow(&self) {
        loop {
            self.store.changed(self.tenant.load().revision()).await;
            let caught_up = {
                let _writer = self.writer.lock().await;
                self.catch_up::<std::convert::Infallible>().await
            };
            // Whoever writes meanwhile is told at once.
            if let Err(error) = caught_up {
                tracing::error!(%error, "cannot read what changed in the store; the last state stays");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }

    async fn catch_up<E>(&self) -> Result<(), WriteError<E>> {
        let tenant = self.tenant.load_full();
        let changes = self.store.changes_since(tenant.revision()).await?;
        if changes.revision != tenant.revision() {
            self.publish(tenant.with(changes.revision, &changes.objects)?);
        }
        Ok(())
    }

    fn publish(&self, tenant: Tenant) {
        let revision = tenant.revision();
        self.tenant.store(Arc::new(tenant));
        self.revision.send_replace(revision);
    }
}
