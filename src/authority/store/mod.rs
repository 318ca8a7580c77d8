//! Where objects are kept: SQLite in one file, or PostgreSQL for several replicas.
//!
//! A store is a list of objects, each with the revision at which it last changed. All that the authority knows it holds
//! in memory; a commit says which revision it was made at, and is refused as stale when somebody else has committed
//! since. So the rules among objects need no constraints here, and both databases behave the same. It must never look
//! at what an object means.

mod postgres;
mod seal;
mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::authority::model::{Body, Kind, Object};
use postgres::Postgres;
pub use postgres::PostgresAddress;
pub use seal::SealingKey;
use sqlite::Sqlite;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// SQLite in memory: gone with the process.
    Memory,
    /// A database of PostgreSQL, for several replicas.
    Postgres(Box<PostgresAddress>),
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    backend: Backend,
    key: Arc<SealingKey>,
}

#[derive(Debug)]
enum Backend {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

/// What changed since a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// The newest revision of the store.
    pub revision: u64,
    /// Held kinds only, each object once, in the order of the last change.
    pub objects: Vec<Object>,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has committed: read what changed and try again.
    #[error("the store has changed meanwhile")]
    Stale,
    /// It cannot be opened or reached.
    #[error("the store {address} cannot be used: {why}")]
    Unreachable {
        /// Without credentials.
        address: String,
        /// What the database said.
        why: String,
    },
    /// It was written by a newer version of this program.
    #[error("the store has format {found}; this version knows up to {known}")]
    Newer {
        /// Of the store.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// It was sealed with another key.
    #[error("the encryption key is not that of the store")]
    WrongKey,
    /// There is no room left. Reading goes on.
    #[error("the disk of the store is full")]
    Full,
    /// Anything else that the database said.
    #[error("the store failed: {0}")]
    Failed(String),
    /// An object that cannot be opened or read.
    #[error("the stored {kind} `{id}` is damaged: {why}")]
    Damaged {
        /// Of what kind.
        kind: String,
        /// Which one.
        id: String,
        /// What is wrong.
        why: String,
    },
}

/// A row as a database has it.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    kind: String,
    id: String,
    /// JSON; none: deleted.
    open: Option<String>,
    sealed: Option<Vec<u8>>,
}

/// Objects that are looked at together in a sweep.
const PAGE: u32 = 500;

/// What the key check is sealed for.
const KEY_CHECK: (Kind, &str) = (Kind::SigningKey, "the key of this store");

impl Store {
    /// Opens a store, and makes it where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(address: &StoreAddress, key: SealingKey) -> Result<Self, StoreError> {
        let backend = match address {
            StoreAddress::Sqlite(path) => Backend::Sqlite(Sqlite::open(Some(path)).await?),
            StoreAddress::Memory => Backend::Sqlite(Sqlite::open(None).await?),
            StoreAddress::Postgres(address) => Backend::Postgres(Box::new(Postgres::open(address).await?)),
        };
        let store = Self {
            backend,
            key: Arc::new(key),
        };
        store.check_key().await?;
        Ok(store)
    }

    /// A wrong key is told at the start, not at the first secret.
    async fn check_key(&self) -> Result<(), StoreError> {
        let (kind, id) = KEY_CHECK;
        let members = Map::from_iter([("check".to_owned(), Value::from(true))]);
        let mine = self
            .key
            .seal(kind, id, &members)
            .map_err(|error| StoreError::Failed(error.to_string()))?
            .unwrap_or_default();
        let kept = match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.key_check(mine).await?,
            Backend::Postgres(postgres) => postgres.key_check(mine).await?,
        };
        match self.key.open(kind, id, &kept) {
            Ok(_members) => Ok(()),
            Err(_cannot_open) => Err(StoreError::WrongKey),
        }
    }

    /// What changed after a revision; everything that there is for 0.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changes_since(&self, revision: u64) -> Result<Changes, StoreError> {
        let held: Vec<&'static str> = Kind::ALL
            .into_iter()
            .filter(|kind| kind.is_held())
            .map(Kind::name)
            .collect();
        let (revision, rows) = match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.changes_since(revision, held).await?,
            Backend::Postgres(postgres) => postgres.changes_since(revision, held).await?,
        };
        let objects = rows
            .into_iter()
            .map(|row| self.opened(row))
            .collect::<Result<_, _>>()?;
        Ok(Changes { revision, objects })
    }

    /// One object of a kind that is not held in memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, kind: Kind, id: &str) -> Result<Option<Object>, StoreError> {
        let row = match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.get(kind.name(), id).await?,
            Backend::Postgres(postgres) => postgres.get(kind.name(), id).await?,
        };
        let object = row.map(|row| self.opened(row)).transpose()?;
        Ok(object.filter(|object| object.body.is_some()))
    }

    /// Leaves nothing of the objects of a kind that is not held in memory that are over, or were deleted. One that is
    /// changed meanwhile stays. Returns how many are gone; it does not count as a change.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(&self, kind: Kind, is_over: impl Fn(&Object) -> bool) -> Result<u64, StoreError> {
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let rows = match &self.backend {
                Backend::Sqlite(sqlite) => sqlite.page(kind.name(), &after).await?,
                Backend::Postgres(postgres) => postgres.page(kind.name(), &after).await?,
            };
            let Some(last) = rows.last() else {
                return Ok(count);
            };
            after.clone_from(&last.id);
            let goes = |row: &Row| {
                let object = self.opened(row.clone());
                object.is_ok_and(|object| object.body.is_none() || is_over(&object))
            };
            let gone: Vec<Row> = rows.into_iter().filter(goes).collect();
            if !gone.is_empty() {
                count += match &self.backend {
                    Backend::Sqlite(sqlite) => sqlite.forget(gone).await?,
                    Backend::Postgres(postgres) => postgres.forget(gone).await?,
                };
            }
        }
    }

    /// Stores changes that were made at a revision, all or none, and returns the revision that they have.
    ///
    /// # Errors
    /// [`StoreError::Stale`] when that is not the revision of the store any more, and whatever else may happen.
    pub async fn commit(&self, at: u64, changes: &[Object]) -> Result<u64, StoreError> {
        let rows = changes
            .iter()
            .map(|object| self.sealed(object))
            .collect::<Result<Vec<_>, _>>()?;
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.commit(at, rows).await,
            Backend::Postgres(postgres) => postgres.commit(at, rows).await,
        }
    }

    /// Waits until somebody else may have changed the store.
    pub async fn changed(&self, since: u64) {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.changed(since).await,
            Backend::Postgres(postgres) => postgres.changed(since).await,
        }
    }

    fn sealed(&self, object: &Object) -> Result<Row, StoreError> {
        let damaged = |why: String| StoreError::Damaged {
            kind: object.kind.name().into(),
            id: object.id.clone(),
            why,
        };
        let (open, sealed) = match &object.body {
            None => (None, None),
            Some(body) => {
                let open = serde_json::to_string(&body.open).map_err(|error| damaged(error.to_string()))?;
                let sealed = self.key.seal(object.kind, &object.id, &body.sealed);
                (Some(open), sealed.map_err(|error| damaged(error.to_string()))?)
            }
        };
        Ok(Row {
            kind: object.kind.name().into(),
            id: object.id.clone(),
            open,
            sealed,
        })
    }

    fn opened(&self, row: Row) -> Result<Object, StoreError> {
        let damaged = |why: String| StoreError::Damaged {
            kind: row.kind.clone(),
            id: row.id.clone(),
            why,
        };
        let kind = Kind::of_name(&row.kind).ok_or_else(|| damaged("its kind is unknown".into()))?;
        let body = match &row.open {
            None => None,
            Some(open) => Some(Body {
                open: serde_json::from_str(open).map_err(|error| damaged(error.to_string()))?,
                sealed: match &row.sealed {
                    None => Map::new(),
                    Some(sealed) => self
                        .key
                        .open(kind, &row.id, sealed)
                        .map_err(|error| damaged(error.to_string()))?,
                },
            }),
        };
        Ok(Object {
            kind,
            id: row.id,
            body,
        })
    }
}
