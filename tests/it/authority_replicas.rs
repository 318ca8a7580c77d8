//! Several replicas on one PostgreSQL: what is written on one is known to the others, and no write is lost.

use std::rc::Rc;
use std::time::{Duration, Instant};

use scopegate::authority::model::{Api, Draft, Fault};
use scopegate::authority::{SealingKey, State, Store, StoreAddress, WriteError};
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use super::harness::authority_process::{Credentials, folder, free_address, managed, token};
use super::harness::{AuthorityProcess, DEADLINE, PostgresServer, Upstream, client, eventually, gateway};

/// How long a write on one replica may be unknown to another.
const PROMISE: Duration = Duration::from_secs(2);

async fn replica(address: &StoreAddress) -> Rc<State> {
    let store = Store::open(address, SealingKey::new(&[7; 32]).unwrap())
        .await
        .unwrap();
    let state = Rc::new(State::load(store).await.unwrap());
    let following = Rc::clone(&state);
    tokio::task::spawn_local(async move { following.follow().await });
    state
}

async fn create(state: &State, id: &str, identifier: &str) -> Result<(), WriteError<Fault>> {
    let Value::Object(document) = json!({ "identifier": identifier }) else {
        unreachable!();
    };
    let api = Api::from_document(id, document).unwrap();
    state.write(|draft: &mut Draft| draft.put_api(&api)).await
}

/// Until `state` has what another one has.
async fn caught_up(state: &State, other: &State) -> Duration {
    let started = Instant::now();
    let revision = other.tenant().revision();
    let mut revisions = state.revisions();
    let waiting = revisions.wait_for(|own| *own >= revision);
    drop(tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap());
    started.elapsed()
}

#[test]
fn replicas_see_one_another_and_lose_nothing() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let address = server.database("gate");
        let (one, two) = (replica(&address).await, replica(&address).await);
        for at in 0..10 {
            create(&one, &format!("a{at}"), &format!("urn:a:{at}"))
                .await
                .unwrap();
            let late = caught_up(&two, &one).await;
            assert!(late < PROMISE, "{late:?}");
            assert!(two.tenant().api_of(&format!("urn:a:{at}")).is_some());
        }

        // The same while the connections that listen are being cut.
        server.sql(
            "gate",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN scopegate'",
        );
        create(&one, "cut", "urn:cut").await.unwrap();
        let late = caught_up(&two, &one).await;
        assert!(late < PROMISE, "{late:?}");

        // Both write at once, several writers each.
        let mut writers = JoinSet::new();
        for (name, state) in [("one", &one), ("two", &two)] {
            for writer in 0..4 {
                let state = Rc::clone(state);
                writers.spawn_local(async move {
                    for at in 0..25 {
                        let id = format!("{name}-{writer}-{at}");
                        create(&state, &id, &format!("urn:{id}")).await.unwrap();
                    }
                });
            }
        }
        while let Some(written) = writers.join_next().await {
            written.unwrap();
        }
        caught_up(&one, &two).await;
        caught_up(&two, &one).await;
        for state in [&one, &two] {
            assert_eq!(state.tenant().apis().len(), 11 + 200);
        }

        // Both want the same: one has it, the other is told.
        for at in 0..20 {
            let identifier = format!("urn:same:{at}");
            let (first, second) = (format!("s1-{at}"), format!("s2-{at}"));
            let (first, second) = tokio::join!(
                create(&one, &first, &identifier),
                create(&two, &second, &identifier)
            );
            let won = usize::from(first.is_ok()) + usize::from(second.is_ok());
            assert_eq!(won, 1, "{first:?} {second:?}");
            let lost = first.and(second).unwrap_err();
            assert!(
                matches!(lost, WriteError::Refused(Fault::IdentifierTaken)),
                "{lost:?}"
            );
        }

        // Another one that starts now has the very same.
        let three = replica(&address).await;
        caught_up(&one, &three).await;
        let all = |state: &State| -> Vec<_> {
            let mut all: Vec<_> = state.tenant().apis().map(|api| api.document.clone()).collect();
            all.sort_by_key(|document| document["id"].to_string());
            all
        };
        assert_eq!(all(&one).len(), 231);
        assert_eq!(all(&one), all(&three));
    });
}

#[test]
fn a_gateway_of_one_replica_enforces_what_is_written_on_another() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    drop(server.database("gate"));
    let upstream = Upstream::start();
    let (first, second, listener) = (free_address(), free_address(), free_address());
    let rest = format!(
        "listeners: [{{ address: {listener} }}]
access_log: {{ output: 'off' }}
apis:
  - definition: {{ follow: 'urn:items' }}
    upstream: {}
    routes: [{{ path: /items, require: read:items }}]
",
        upstream.url()
    );
    // Both have the name of the first.
    let folders = [
        folder(first, first, "file:./store", ""),
        folder(second, first, "file:./store", &rest),
    ];
    for folder in &folders {
        folder.write("store", &server.url("gate"));
    }
    let (_one, administrator) = AuthorityProcess::start_first(gateway::binary(), &folders[0], first);
    let manager = token(first, &administrator, &format!("http://{first}/api/v2/"));
    let made = |path: &str, body: &Value| {
        let answer = managed(first, "POST", path, &manager, Some(body));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    };
    let scopes = json!([{ "value": "read:items" }]);
    let api = made(
        "/resource-servers",
        &json!({ "identifier": "urn:items", "scopes": scopes }),
    );
    let app = made(
        "/clients",
        &json!({ "name": "app", "app_type": "non_interactive" }),
    );
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let credentials = Credentials {
        id: text(&app["client_id"]),
        secret: text(&app["client_secret"]),
    };
    let grant = json!({ "client_id": credentials.id, "audience": "urn:items", "scope": ["read:items"] });
    made("/client-grants", &grant);
    let _two = AuthorityProcess::start(&folders[1], second);
    // A token of the second is one of the first: they share the key.
    let token = token(second, &credentials, "urn:items");
    let get = || client::get_with(listener, "/items", &token).status;
    eventually("the gateway", || get() == 200);

    let path = format!("/resource-servers/{}", text(&api["id"]));
    for (scopes, expected) in [(json!([]), 403), (scopes, 200), (json!([]), 403)] {
        let answer = managed(
            first,
            "PATCH",
            &path,
            &manager,
            Some(&json!({ "scopes": scopes })),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        let started = Instant::now();
        while get() != expected {
            assert!(started.elapsed() < PROMISE, "{expected}: {:?}", started.elapsed());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    let contacted = upstream.requests();
    assert_eq!(get(), 403);
    assert_eq!(upstream.requests(), contacted);
}
