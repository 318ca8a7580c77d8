//! What every store does, whichever database it stands in.

use serde_json::Value;

use super::*;

const KEY: [u8; 32] = [7; 32];

fn key() -> SealingKey {
    SealingKey::new(&KEY).unwrap()
}

fn object(id: &str, open: &str, sealed: &str) -> Object {
    let mut body = Body::default();
    body.open.insert("name".into(), Value::from(open));
    Object::new(Kind::Client, id, body.with_sealed("client_secret", Some(sealed)))
}

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
}

#[tokio::test]
async fn sqlite() {
    suite(&Store::open(&StoreAddress::Memory, key()).await.unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let address = StoreAddress::Sqlite(folder.path().join("a.db"));
    suite(&Store::open(&address, key()).await.unwrap()).await;

    // Opened again, it is all there, and nothing that is sealed lies open in the file.
    let store = Store::open(&address, key()).await.unwrap();
    let changes = store.changes_since(0).await.unwrap();
    assert_eq!(changes.revision, 4);
    assert_eq!(changes.objects.len(), 2);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!content.windows(4).any(|window| window == b"hush"));
    }
}

#[tokio::test]
async fn two_processes_may_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let address = StoreAddress::Sqlite(folder.path().join("a.db"));
    let one = Store::open(&address, key()).await.unwrap();
    let other = Store::open(&address, key()).await.unwrap();
    one.commit(0, &[object("a", "one", "x")]).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(10), other.changed(0))
        .await
        .unwrap();
    assert!(matches!(
        other.commit(0, &[object("a", "two", "x")]).await,
        Err(StoreError::Stale)
    ));
    assert_eq!(other.changes_since(0).await.unwrap().objects.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let address = StoreAddress::Sqlite(path.clone());
    drop(Store::open(&address, key()).await.unwrap());
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
}
