//! What every store does, whichever database it stands in, and what only one of them can meet.

use std::time::{Duration, Instant};

use scopegate::authority::model::{Body, Kind, Object};
use scopegate::authority::{PostgresAddress, SealingKey, Store, StoreAddress, StoreError};
use serde_json::Value;

use super::harness::{DEADLINE, PostgresServer};

const KEY: [u8; 32] = [7; 32];

fn key() -> SealingKey {
    SealingKey::new(&KEY).unwrap()
}

fn object(id: &str, open: &str, sealed: &str) -> Object {
    let mut body = Body::default();
    body.open.insert("name".into(), Value::from(open));
    Object::new(Kind::Client, id, body.with_sealed("client_secret", Some(sealed)))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}

async fn open(address: &StoreAddress) -> Store {
    Store::open(address, key()).await.unwrap()
}

/// Everything that a fresh store is asked.
async fn suite(store: &Store) {
    assert_eq!(store.changes_since(0).await.unwrap().revision, 0);
    let first = vec![object("a", "one", "hush"), object("b", "two", "hush")];
    assert_eq!(store.commit(0, &first).await.unwrap(), 1);
    let changes = store.changes_since(0).await.unwrap();
    assert_eq!((changes.revision, &changes.objects), (1, &first));

    // Made at a revision that is not the newest any more.
    assert!(matches!(
        store.commit(0, &[object("a", "lost", "x")]).await,
        Err(StoreError::Stale)
    ));
    assert!(matches!(
        store.commit(2, &[object("a", "lost", "x")]).await,
        Err(StoreError::Stale)
    ));

    // Only what changed is told, deletions too.
    let second = vec![object("a", "three", "other"), Object::deleted(Kind::Client, "b")];
    assert_eq!(store.commit(1, &second).await.unwrap(), 2);
    assert_eq!(store.changes_since(1).await.unwrap().objects, second);
    assert_eq!(store.changes_since(2).await.unwrap().objects, []);

    // What is not held is found one by one, and not told.
    let family = Object::new(
        Kind::RefreshFamily,
        "f",
        Body::open(&serde_json::json!({ "a": 1 })),
    );
    assert_eq!(store.commit(2, std::slice::from_ref(&family)).await.unwrap(), 3);
    assert_eq!(store.changes_since(2).await.unwrap().objects, []);
    assert_eq!(store.get(Kind::RefreshFamily, "f").await.unwrap(), Some(family));
    assert_eq!(store.get(Kind::RefreshFamily, "g").await.unwrap(), None);
    let gone = Object::deleted(Kind::RefreshFamily, "f");
    assert_eq!(store.commit(3, &[gone]).await.unwrap(), 4);
    assert_eq!(store.get(Kind::RefreshFamily, "f").await.unwrap(), None);

    // What one change says last holds, and no character is too odd.
    let odd = "\u{0}\"'\\\u{1f511}%_{},";
    let twice = [object("c", "first", "x"), object("c", odd, odd)];
    assert_eq!(store.commit(4, &twice).await.unwrap(), 5);
    assert_eq!(store.changes_since(4).await.unwrap().objects, twice[1..]);
    assert_eq!(
        store
            .commit(5, &[Object::deleted(Kind::Client, "c")])
            .await
            .unwrap(),
        6
    );
}

/// What is over goes, more than a page of it, and nothing else.
async fn swept(store: &Store) {
    let at = store.changes_since(0).await.unwrap().revision;
    let family = |id: usize, over: bool| {
        let body = Body::open(&serde_json::json!({ "over": over }));
        Object::new(Kind::RefreshFamily, format!("swept{id}"), body)
    };
    let families: Vec<Object> = (0..1_201).map(|id| family(id, id % 3 != 0)).collect();
    store.commit(at, &families).await.unwrap();
    let deleted = [
        Object::deleted(Kind::RefreshFamily, "swept3"),
        object("stays", "x", "y"),
    ];
    store.commit(at + 1, &deleted).await.unwrap();
    let is_over = |object: &Object| object.body.as_ref().unwrap().open["over"] == true;
    // Two thirds, the one that was deleted, and the one that the suite has deleted.
    let first = store.sweep(Kind::RefreshFamily, is_over).await.unwrap();
    assert_eq!(first, 800 + 1 + 1);
    assert_eq!(store.sweep(Kind::RefreshFamily, is_over).await.unwrap(), 0);
    for (id, stays) in [(0, true), (1, false), (3, false), (6, true), (1_200, true)] {
        let found = store
            .get(Kind::RefreshFamily, &format!("swept{id}"))
            .await
            .unwrap();
        assert_eq!(found.is_some(), stays, "{id}");
    }
    let changes = store.changes_since(at + 1).await.unwrap();
    assert_eq!((changes.revision, changes.objects.len()), (at + 2, 1));
}

/// What changes while it is looked at stays, although it was over when it was read.
async fn swept_while_used(store: &Store) {
    let family = |uses: usize| {
        let body = Body::open(&serde_json::json!({ "uses": uses }));
        Object::new(Kind::RefreshFamily, "used", body)
    };
    let at = store.changes_since(0).await.unwrap().revision;
    store.commit(at, &[family(0)]).await.unwrap();
    let is_over = |object: &Object| {
        let used = object.id == "used" && object.body.as_ref().unwrap().open["uses"] == 0;
        let use_it = || assert_eq!(block_on(store.commit(at + 1, &[family(1)])).unwrap(), at + 2);
        if used {
            std::thread::scope(|threads| threads.spawn(use_it).join().unwrap());
        }
        used
    };
    assert_eq!(store.sweep(Kind::RefreshFamily, is_over).await.unwrap(), 0);
    let kept = store.get(Kind::RefreshFamily, "used").await.unwrap();
    assert_eq!(kept, Some(family(1)));
}

/// What two that have the same store open see of one another.
async fn shared(one: &Store, other: &Store, at: u64) {
    one.commit(at, &[object("s", "one", "x")]).await.unwrap();
    tokio::time::timeout(DEADLINE, other.changed(at)).await.unwrap();
    assert!(matches!(
        other.commit(at, &[object("s", "two", "x")]).await,
        Err(StoreError::Stale)
    ));
    let changes = other.changes_since(at).await.unwrap();
    assert_eq!((changes.revision, changes.objects.len()), (at + 1, 1));
}

#[test]
fn sqlite() {
    block_on(async {
        let memory = open(&StoreAddress::Memory).await;
        suite(&memory).await;
        swept(&memory).await;
        swept_while_used(&memory).await;
        let folder = tempfile::tempdir().unwrap();
        let address = StoreAddress::Sqlite(folder.path().join("a.db"));
        suite(&open(&address).await).await;

        // Opened again, it is all there, and nothing that is sealed lies open in the file.
        let store = open(&address).await;
        let changes = store.changes_since(0).await.unwrap();
        assert_eq!((changes.revision, changes.objects.len()), (6, 3));
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let content = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!content.windows(4).any(|window| window == b"hush"));
        }
        // Two processes may write one file.
        shared(&store, &open(&address).await, 6).await;
    });
}

#[test]
fn what_sqlite_cannot_open_is_told_at_the_start() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let address = StoreAddress::Sqlite(path.clone());
        drop(open(&address).await);
        let other = SealingKey::new(&[8; 32]).unwrap();
        assert!(matches!(
            Store::open(&address, other).await,
            Err(StoreError::WrongKey)
        ));
        rusqlite::Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(matches!(
            Store::open(&address, key()).await,
            Err(StoreError::Newer { found: 99, known: 1 })
        ));
        let nowhere = StoreAddress::Sqlite(folder.path().join("none/a.db"));
        assert!(matches!(
            Store::open(&nowhere, key()).await,
            Err(StoreError::Unreachable { .. })
        ));
    });
}

#[test]
fn postgresql() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    block_on(async {
        // Replicas that start together make the tables once.
        let address = server.database("fresh");
        let (one, two) = tokio::join!(open(&address), open(&address));
        suite(&one).await;
        let changes = two.changes_since(0).await.unwrap();
        assert_eq!((changes.revision, changes.objects.len()), (6, 3));
        shared(&one, &two, 6).await;
        shared(&two, &one, 7).await;
        let hush = "SELECT count(*) FROM scopegate.objects
            WHERE open LIKE '%hush%' OR encode(sealed, 'escape') LIKE '%hush%'";
        assert_eq!(server.sql("fresh", hush), "0");

        let other = SealingKey::new(&[8; 32]).unwrap();
        assert!(matches!(
            Store::open(&address, other).await,
            Err(StoreError::WrongKey)
        ));

        // No room: a trigger says what the server says when a disk is full. Reading goes on.
        server.sql(
            "fresh",
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$;
             CREATE TRIGGER full_disk BEFORE INSERT ON scopegate.objects
             FOR EACH ROW EXECUTE FUNCTION full_disk()",
        );
        let full = one.commit(8, &[object("d", "x", "x")]).await;
        assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
        assert_eq!(
            one.changes_since(0).await.unwrap().revision,
            8,
            "none of it is kept"
        );
        server.sql("fresh", "DROP TRIGGER full_disk ON scopegate.objects");
        assert_eq!(one.commit(8, &[object("d", "x", "x")]).await.unwrap(), 9);
        swept(&one).await;

        server.sql("fresh", "UPDATE scopegate.format SET value = 99");
        assert!(matches!(
            Store::open(&address, key()).await,
            Err(StoreError::Newer { found: 99, known: 1 })
        ));
    });
}

#[test]
fn postgresql_that_goes_away_is_an_error_and_never_a_hang() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    block_on(async {
        let store = open(&server.database("gate")).await;
        store.commit(0, &[object("a", "one", "x")]).await.unwrap();

        // Somebody holds the row for longer than anybody waits.
        let lock = server.sql_in_background(
            "gate",
            "BEGIN; LOCK TABLE scopegate.revision; SELECT pg_sleep(30)",
        );
        super::harness::eventually("the lock", || {
            server.sql(
                "gate",
                "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'",
            ) == "1"
        });
        let started = Instant::now();
        let locked = store.commit(1, &[object("a", "two", "x")]).await;
        assert!(
            matches!(
                locked,
                Err(StoreError::Unreachable { .. } | StoreError::Failed(_))
            ),
            "{locked:?}"
        );
        assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());

        // Its connections end: at most the call that is under way fails.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity 
            WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        server.sql("gate", end);
        drop(lock);
        let _may_fail = store.changes_since(0).await;
        assert_eq!(store.changes_since(0).await.unwrap().revision, 1);

        // It is gone: an error, at once after the first. It comes again: so does the store, and what it announces.
        server.stop();
        for _ in 0..20 {
            let gone = store.commit(1, &[object("a", "two", "x")]).await;
            assert!(matches!(gone, Err(StoreError::Unreachable { .. })), "{gone:?}");
        }
        server.start_again();
        let started = Instant::now();
        while store.changes_since(0).await.is_err() {
            assert!(started.elapsed() < DEADLINE);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(store.commit(1, &[object("a", "two", "x")]).await.unwrap(), 2);
        shared(&open(&server.address("gate")).await, &store, 2).await;
    });
}

#[test]
fn postgresql_with_tls_and_a_password() {
    let Some(server) = PostgresServer::start_with_tls() else {
        return;
    };
    let address = |text: String| StoreAddress::Postgres(Box::new(PostgresAddress::parse(&text).unwrap()));
    block_on(async {
        server.sql("postgres", "CREATE USER gate PASSWORD 'hush'");
        server.sql("postgres", "CREATE DATABASE gate OWNER gate");
        let (port, ca) = (server.port(), server.path("tls.pem"));
        let at = |host: &str, password: &str, ca: &str| {
            address(format!(
                "postgres://gate:{password}@{host}:{port}/gate?sslmode=verify-full{ca}"
            ))
        };
        let ca = format!("&sslrootcert={}", ca.display());
        suite(&open(&at("localhost", "hush", &ca)).await).await;
        // Another password, a certificate that nobody trusts, and one of another name.
        for (address, expected) in [
            (at("localhost", "hush2", &ca), "28P01"),
            (at("localhost", "hush", ""), "certificate"),
            (at("127.0.0.1", "hush", &ca), "certificate"),
        ] {
            let error = Store::open(&address, key()).await.unwrap_err();
            let text = format!("{error} {error:?} {address:?}");
            assert!(matches!(error, StoreError::Unreachable { .. }), "{text}");
            assert!(text.contains(expected) && !text.contains("hush"), "{text}");
        }
        let cleartext = address(format!(
            "postgres://gate:hush@localhost:{port}/gate?sslmode=disable"
        ));
        assert!(matches!(
            Store::open(&cleartext, key()).await,
            Err(StoreError::Unreachable { .. })
        ));
    });
}
