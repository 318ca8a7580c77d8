//! The store in one file: SQLite with a write-ahead log, on a thread of its own.
//!
//! Another process may write the same file: a commit at an old revision is stale here as well. An acknowledged commit is
//! on the disk (`synchronous = FULL`).

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{PAGE, Row, StoreError};

/// A connection on its own thread, which ends with this.
#[derive(Debug)]
pub(super) struct Sqlite {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Each brings the format from its position to the next. Never changed once released, only added to.
const MIGRATIONS: [&str; 1] = ["
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE revision (only INTEGER PRIMARY KEY CHECK (only = 1), value INTEGER NOT NULL) STRICT;
INSERT INTO revision VALUES (1, 0);
CREATE TABLE objects (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    open TEXT,
    sealed BLOB,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX objects_by_revision ON objects (revision);
"];

/// How long a writer waits for another process.
const BUSY: Duration = Duration::from_secs(5);
/// How often it is looked whether another process has written.
const POLL: Duration = Duration::from_millis(500);

impl Sqlite {
    /// Opens a file, or a store in memory.
    pub(super) async fn open(path: Option<&Path>) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let path = path.map(Path::to_owned);
        let (opened, is_open) = oneshot::channel();
        let work = move || {
            let mut connection = match connect(path.as_ref()) {
                Ok(connection) => connection,
                Err(error) => return drop(opened.send(Err(error))),
            };
            if opened.send(Ok(())).is_err() {
                return;
            }
            while let Ok(job) = queue.recv() {
                job(&mut connection);
            }
        };
        thread::Builder::new()
            .name("store".into())
            .spawn(work)
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        is_open.await.map_err(|_ended| ended())??;
        Ok(Self { jobs })
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, is_done) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            // Whoever asked may have gone; what was asked is done all the same.
            let _ = done.send(job(connection));
        };
        self.jobs.send(Box::new(job)).map_err(|_ended| ended())?;
        is_done.await.map_err(|_ended| ended())?
    }

    /// The key check of the store: the one that it has, or this one, which it has from now on.
    pub(super) async fn key_check(&self, mine: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        self.run(move |connection| {
            connection.execute(
                "INSERT INTO meta (name, value) VALUES ('key_check', ?1) ON CONFLICT DO NOTHING",
                [mine],
            )?;
            Ok(
                connection.query_row("SELECT value FROM meta WHERE name = 'key_check'", [], |row| {
                    row.get(0)
                })?,
            )
        })
        .await
    }

    pub(super) async fn changes_since(
        &self,
        since: u64,
        kinds: Vec<&'static str>,
    ) -> Result<(u64, Vec<Row>), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let revision = revision(&transaction)?;
            let mut rows = Vec::new();
            let mut found = transaction.prepare_cached(
                "SELECT kind, id, open, sealed FROM objects WHERE revision > ?1 ORDER BY revision, kind, id",
            )?;
            let mut found = found.query([i64::try_from(since).unwrap_or(i64::MAX)])?;
            while let Some(row) = found.next()? {
                let row = read(row)?;
                if kinds.contains(&row.kind.as_str()) {
                    rows.push(row);
                }
            }
            Ok((revision, rows))
        })
        .await
    }

    pub(super) async fn get(&self, kind: &'static str, id: &str) -> Result<Option<Row>, StoreError> {
        let id = id.to_owned();
        self.run(move |connection| {
            let mut found = connection
                .prepare_cached("SELECT kind, id, open, sealed FROM objects WHERE kind = ?1 AND id = ?2")?;
            Ok(found.query_row(params![kind, id], read).optional()?)
        })
        .await
    }

    /// The next objects of a kind by their ids, deleted ones too.
    pub(super) async fn page(&self, kind: &'static str, after: &str) -> Result<Vec<Row>, StoreError> {
        let after = after.to_owned();
        self.run(move |connection| {
            let mut found = connection.prepare_cached(
                "SELECT kind, id, open, sealed FROM objects WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            )?;
            let rows = found.query_map(params![kind, after, PAGE], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Removes these rows where they are still the same.
    pub(super) async fn forget(&self, rows: Vec<Row>) -> Result<u64, StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut count = 0;
            {
                let mut delete = transaction
                    .prepare_cached("DELETE FROM objects WHERE kind = ?1 AND id = ?2 AND open IS ?3")?;
                for row in rows {
                    let gone = delete.execute(params![row.kind, row.id, row.open])?;
                    count += u64::try_from(gone).unwrap_or(0);
                }
            }
            transaction.commit()?;
            Ok(count)
        })
        .await
    }

    pub(super) async fn commit(&self, at: u64, rows: Vec<Row>) -> Result<u64, StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if revision(&transaction)? != at {
                return Err(StoreError::Stale);
            }
            let next = at + 1;
            let stored = i64::try_from(next).unwrap_or(i64::MAX);
            transaction.execute("UPDATE revision SET value = ?1", [stored])?;
            {
                let mut put = transaction.prepare_cached(
                    "INSERT INTO objects (kind, id, revision, open, sealed) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (kind, id) DO UPDATE SET revision = ?3, open = ?4, sealed = ?5",
                )?;
                for row in rows {
                    put.execute(params![row.kind, row.id, stored, row.open, row.sealed])?;
                }
            }
            transaction.commit()?;
            Ok(next)
        })
        .await
    }

    /// Returns once the revision is another one; an error counts as a change, since whoever reads will meet it.
    pub(super) async fn changed(&self, since: u64) {
        loop {
            tokio::time::sleep(POLL).await;
            let now = self
                .run(|connection| {
                    let transaction = connection.transaction()?;
                    revision(&transaction)
                })
                .await;
            if !matches!(now, Ok(revision) if revision == since) {
                return;
            }
        }
    }
}

fn connect(path: Option<&PathBuf>) -> Result<Connection, StoreError> {
    let address = path.map_or_else(|| ":memory:".to_owned(), |path| path.display().to_string());
    let unreachable = |error: rusqlite::Error| StoreError::Unreachable {
        address: address.clone(),
        why: error.to_string(),
    };
    if let Some(path) = path {
        // Made here, so that nobody else can read it. SQLite gives its other files the same rights.
        let made = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path);
        made.map_err(|error| StoreError::Unreachable {
            address: address.clone(),
            why: error.to_string(),
        })?;
    }
    let mut connection = match path {
        Some(path) => Connection::open(path),
        None => Connection::open_in_memory(),
    }
    .map_err(unreachable)?;
    connection.busy_timeout(BUSY).map_err(unreachable)?;
    // Answers with the mode that is in force; one that cannot be had, as in memory, is no error.
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_mode| Ok(()))
        .map_err(unreachable)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(unreachable)?;
    migrate(&mut connection)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

fn revision(transaction: &Transaction<'_>) -> Result<u64, StoreError> {
    let revision: i64 = transaction.query_row("SELECT value FROM revision", [], |row| row.get(0))?;
    Ok(u64::try_from(revision).unwrap_or(0))
}

fn read(row: &rusqlite::Row<'_>) -> Result<Row, rusqlite::Error> {
    Ok(Row {
        kind: row.get(0)?,
        id: row.get(1)?,
        open: row.get(2)?,
        sealed: row.get(3)?,
    })
}

fn ended() -> StoreError {
    StoreError::Failed("the thread of the store has ended".into())
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Failed(error.to_string()),
        }
    }
}
