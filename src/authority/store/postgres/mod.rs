//! The store of several replicas: PostgreSQL, in the schema `scopegate` of one database.
//!
//! One connection asks, one listens for what other replicas announce. A connection that is lost fails the call that was
//! under way and nothing else: the next call makes a new one, and where that fails, calls fail at once until it is time
//! to try again. Nothing waits longer than [`TIMEOUT`] for the server.

mod address;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

pub use address::PostgresAddress;
use session::{Heard, Server, Session};

use super::{PAGE, Row, StoreError};

/// For a connection, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Another replica may be changing the tables, or holding the lock.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two attempts to connect: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often it is looked whether another replica has written, while nothing is announced.
const POLL: Duration = Duration::from_millis(500);
/// The same while it is: a connection may be dead without a sign.
const LOOK: Duration = Duration::from_secs(5);

/// Each brings the format from its position to the next. Never changed once released, only added to.
const MIGRATIONS: [&str; 1] = [r#"
CREATE TABLE scopegate.format (single INTEGER PRIMARY KEY CHECK (single = 1), value BIGINT NOT NULL);
INSERT INTO scopegate.format VALUES (1, 0);
CREATE TABLE scopegate.meta (name TEXT PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE scopegate.revision (single INTEGER PRIMARY KEY CHECK (single = 1), value BIGINT NOT NULL);
INSERT INTO scopegate.revision VALUES (1, 0);
CREATE TABLE scopegate.objects (
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    open TEXT,
    sealed BYTEA,
    PRIMARY KEY (kind, id)
);
CREATE INDEX objects_by_revision ON scopegate.objects (revision);
"#];

/// One statement, so that no lock outlives a connection that is lost. A replica that comes second waits for the row of
/// the revision, finds another revision in it, and changes nothing.
const COMMIT: &str = "
WITH next AS (
    UPDATE scopegate.revision SET value = value + 1 WHERE value = $1 RETURNING value
), put AS (
    INSERT INTO scopegate.objects (kind, id, revision, open, sealed)
    SELECT changed.kind, changed.id, next.value, changed.open, changed.sealed
    FROM next CROSS JOIN unnest($2, $3, $4, $5) AS changed (kind, id, open, sealed)
    ON CONFLICT (kind, id)
    DO UPDATE SET revision = excluded.revision, open = excluded.open, sealed = excluded.sealed
)
SELECT value, pg_notify('scopegate', value::text) FROM next";

/// One statement, so that the revision is that of the objects.
const CHANGES: &str = "
SELECT revision.value, objects.kind, objects.id, objects.open, objects.sealed
FROM scopegate.revision
LEFT JOIN scopegate.objects ON objects.revision > $1 AND objects.kind = ANY ($2)
ORDER BY objects.revision, objects.kind, objects.id";

const SWEPT: &str = "
SELECT kind, id, open, sealed FROM scopegate.objects WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3";

const FORGET: &str = "
DELETE FROM scopegate.objects USING unnest($1, $2, $3) AS gone (kind, id, open)
WHERE objects.kind = gone.kind AND objects.id = gone.id AND objects.open IS NOT DISTINCT FROM gone.open";

/// A server with the connections to it, which end with this.
#[derive(Debug)]
pub(super) struct Postgres {
    server: Arc<Server>,
    link: Mutex<Link>,
    heard: watch::Receiver<Heard>,
    _listening: JoinSet<()>,
}

/// The connection that asks.
#[derive(Debug)]
enum Link {
    /// None, and nothing speaks against making one.
    None,
    Up(Session),
    /// None, and it is too early to try again.
    Down {
        until: Instant,
        wait: Duration,
        why: String,
    },
}

impl Postgres {
    /// Connects, and makes the tables where there are none.
    pub(super) async fn open(address: &PostgresAddress) -> Result<Self, StoreError> {
        let server = Arc::new(Server::new(address)?);
        let (tell, heard) = watch::channel(Heard::default());
        let mut session = server.connect(None).await?;
        match timeout(MIGRATION_TIMEOUT, migrate(&mut session.client)).await {
            Err(_late) => return Err(server.unreachable("the tables are locked")),
            Ok(Err(Unmigrated::Newer { found, known })) => return Err(StoreError::Newer { found, known }),
            Ok(Err(Unmigrated::Refused(error))) => return Err(server.fault(&error)),
            Ok(Ok(())) => {}
        }
        let mut listening = JoinSet::new();
        listening.spawn(listen(Arc::clone(&server), tell));
        Ok(Self {
            server,
            link: Mutex::new(Link::Up(session)),
            heard,
            _listening: listening,
        })
    }

    /// Asks with the connection that is there, or a new one. Whatever fails, the connection is not used again: it may
    /// be in the middle of an answer, or lead to a server that has become a copy.
    async fn run<T>(&self, ask: impl AsyncFnOnce(&Client) -> Result<T, Error>) -> Result<T, StoreError> {
        let mut link = self.link.lock().await;
        let session = self.session(&mut link).await?;
        match timeout(TIMEOUT, ask(&session.client)).await {
            Ok(Ok(answer)) => {
                *link = Link::Up(session);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.server.fault(&error)),
            Err(_late) => Err(self.server.unreachable("no answer in time")),
        }
    }

    async fn session(&self, link: &mut Link) -> Result<Session, StoreError> {
        let wait = match std::mem::replace(link, Link::None) {
            Link::Up(session) if !session.client.is_closed() => return Ok(session),
            Link::Up(_) | Link::None => BACK_OFF.0,
            Link::Down { until, wait, why } if Instant::now() < until => {
                let error = self.server.unreachable(why.clone());
                *link = Link::Down { until, wait, why };
                return Err(error);
            }
            Link::Down { wait, .. } => (2 * wait).min(BACK_OFF.1),
        };
        let connected = self.server.connect(None).await;
        if let Err(StoreError::Unreachable { why, .. }) = &connected {
            let (until, why) = (Instant::now() + wait, why.clone());
            *link = Link::Down { until, wait, why };
        }
        connected
    }

    /// The key check of the store: the one that it has, or this one, which it has from now on.
    pub(super) async fn key_check(&self, mine: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        self.run(async |client| {
            client
                .execute_typed(
                    "INSERT INTO scopegate.meta (name, value) VALUES ('key_check', $1) ON CONFLICT DO NOTHING",
                    &[(&mine, Type::BYTEA)],
                )
                .await?;
            let kept = "SELECT value FROM scopegate.meta WHERE name = 'key_check'";
            client.query_typed_one(kept, &[]).await?.try_get(0)
        })
        .await
    }

    pub(super) async fn changes_since(
        &self,
        since: u64,
        kinds: Vec<&'static str>,
    ) -> Result<(u64, Vec<Row>), StoreError> {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        self.run(async |client| {
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                [(&since, Type::INT8), (&kinds, Type::TEXT_ARRAY)];
            let mut revision = 0_i64;
            let mut rows = Vec::new();
            for row in client.query_typed(CHANGES, &parameters).await? {
                revision = row.try_get(0)?;
                // Nothing but the revision where nothing has changed.
                if row.try_get::<_, Option<&str>>(1)?.is_some() {
                    rows.push(read(&row, 1)?);
                }
            }
            Ok((u64::try_from(revision).unwrap_or(0), rows))
        })
        .await
    }

    pub(super) async fn get(&self, kind: &'static str, id: &str) -> Result<Option<Row>, StoreError> {
        self.run(async |client| {
            let found = client
                .query_typed_opt(
                    "SELECT kind, id, open, sealed FROM scopegate.objects WHERE kind = $1 AND id = $2",
                    &[(&kind, Type::TEXT), (&id, Type::TEXT)],
                )
                .await?;
            found.map(|row| read(&row, 0)).transpose()
        })
        .await
    }

    /// The next objects of a kind by their ids, deleted ones too.
    pub(super) async fn page(&self, kind: &'static str, after: &str) -> Result<Vec<Row>, StoreError> {
        let limit = i64::from(PAGE);
        self.run(async |client| {
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&kind, Type::TEXT), (&after, Type::TEXT), (&limit, Type::INT8)];
            let rows = client.query_typed(SWEPT, &parameters).await?;
            rows.iter().map(|row| read(row, 0)).collect()
        })
        .await
    }

    /// Removes these rows where they are still the same.
    pub(super) async fn forget(&self, rows: Vec<Row>) -> Result<u64, StoreError> {
        let names = rows.into_iter().map(|row| ((row.kind, row.id), row.open));
        let (names, open): (Vec<_>, Vec<_>) = names.unzip();
        let (kinds, ids): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        self.run(async |client| {
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
                (&kinds, Type::TEXT_ARRAY),
                (&ids, Type::TEXT_ARRAY),
                (&open, Type::TEXT_ARRAY),
            ];
            client.execute_typed(FORGET, &parameters).await
        })
        .await
    }

    pub(super) async fn commit(&self, at: u64, rows: Vec<Row>) -> Result<u64, StoreError> {
        // One statement cannot change a row twice: what was put last holds.
        let rows: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| ((row.kind, row.id), (row.open, row.sealed)))
            .collect();
        let (names, parts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let (kinds, ids): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        let (open, sealed): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        let committed = self
            .run(async |client| {
                let row = client
                    .query_typed_opt(
                        COMMIT,
                        &[
                            (&at, Type::INT8),
                            (&kinds, Type::TEXT_ARRAY),
                            (&ids, Type::TEXT_ARRAY),
                            (&open, Type::TEXT_ARRAY),
                            (&sealed, Type::BYTEA_ARRAY),
                        ],
                    )
                    .await?;
                row.map(|row| row.try_get::<_, i64>(0)).transpose()
            })
            .await?;
        let revision = committed.ok_or(StoreError::Stale)?;
        Ok(u64::try_from(revision).unwrap_or(0))
    }

    /// Returns once the revision is another one; an error counts as a change, since whoever reads will meet it.
    pub(super) async fn changed(&self, since: u64) {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        let mut heard = self.heard.clone();
        loop {
            // What is announced from here on is not missed, since the revision is read after this.
            let patience = match heard.borrow_and_update().listening {
                true => LOOK,
                false => POLL,
            };
            let revision: Result<i64, _> = self
                .run(async |client| {
                    let row = client.query_typed_one("SELECT value FROM scopegate.revision", &[]);
                    row.await?.try_get(0)
                })
                .await;
            if !matches!(revision, Ok(revision) if revision == since) {
                return;
            }
            // Late, or the listener has ended: it is looked in both cases.
            if let Ok(Err(_ended)) = timeout(patience, heard.changed()).await {
                sleep(POLL).await;
            }
        }
    }
}

/// Keeps a connection that listens, for as long as the store is open.
async fn listen(server: Arc<Server>, tell: watch::Sender<Heard>) {
    let mut wait = BACK_OFF.0;
    loop {
        match server.listen(&tell).await {
            Ok(mut session) => {
                wait = BACK_OFF.0;
                tell.send_modify(|heard| heard.listening = true);
                session.ended().await;
                tell.send_modify(|heard| heard.listening = false);
                tracing::warn!("the store announces nothing at the moment: the connection is lost");
            }
            Err(error) => tracing::debug!(%error, "cannot listen to the store"),
        }
        sleep(wait).await;
        wait = (2 * wait).min(BACK_OFF.1);
    }
}

enum Unmigrated {
    Newer { found: i64, known: i64 },
    Refused(Error),
}

impl From<Error> for Unmigrated {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Brings the tables to the newest format. Replicas that start together wait for one another.
async fn migrate(client: &mut Client) -> Result<(), Unmigrated> {
    let transaction = client.transaction().await?;
    // The bytes of `scopegat`.
    let lock =
        "SET LOCAL statement_timeout = '60s'; SELECT pg_advisory_xact_lock(x'73636f7065676174'::bigint)";
    transaction.batch_execute(lock).await?;
    let ask = "SELECT to_regnamespace('scopegate') IS NOT NULL, to_regclass('scopegate.format') IS NOT NULL";
    let row = transaction.query_typed_one(ask, &[]).await?;
    let (has_schema, has_tables): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let found: i64 = if has_tables {
        let format = transaction.query_typed_one("SELECT value FROM scopegate.format", &[]);
        format.await?.try_get(0)?
    } else {
        0
    };
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Unmigrated::Newer { found, known });
    }
    // The schema may have been made by somebody who may do more than this user.
    if !has_schema {
        transaction.batch_execute("CREATE SCHEMA scopegate").await?;
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.batch_execute(migration).await?;
    }
    if found < known {
        let update = "UPDATE scopegate.format SET value = $1";
        transaction.execute_typed(update, &[(&known, Type::INT8)]).await?;
    }
    Ok(transaction.commit().await?)
}

fn read(row: &tokio_postgres::Row, first: usize) -> Result<Row, Error> {
    Ok(Row {
        kind: row.try_get(first)?,
        id: row.try_get(first + 1)?,
        open: row.try_get(first + 2)?,
        sealed: row.try_get(first + 3)?,
    })
}
