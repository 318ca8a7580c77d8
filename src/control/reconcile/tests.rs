//! The single writer with real key tasks against a real HTTP server.

use std::time::Duration;

use prometheus::Registry;
use tokio::time::{Instant, sleep};

use super::*;
use crate::control::tests::issuer::{Behaviour, TestIssuer, jwks};
use crate::control::{JwksSettings, KeySource};
use crate::definition::{ApiDefinition, Permission, SigningAlg};
use crate::policy::{Conditions, Mode, PathPattern, RequirementPlan};
use crate::snapshot::handoff::{Reader, handoff};
use crate::snapshot::{ApiPlan, ClaimsOf, ForwardPlan, RoutePlan, ServerAddress, UpstreamPlan};

struct Control {
    reconciler: Reconciler,
    reader: Reader,
    metrics: Metrics,
    readiness: Readiness,
}

fn start() -> Control {
    let settings = CompileSettings {
        generation: 0,
        config_hash: "".into(),
        max_token_bytes: 16 << 10,
        claims: ClaimsOf::Requests,
    };
    let (publisher, reader) = handoff(compile(&Plan::default(), &HashMap::new(), &settings).unwrap());
    let metrics = Metrics::new(&Registry::new(), &["ok"]).unwrap();
    let readiness = Readiness::new();
    let (reconciler, running) = reconciler(ReconcileSettings {
        publisher,
        max_token_bytes: 16 << 10,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
    });
    tokio::spawn(running);
    Control {
        reconciler,
        reader,
        metrics,
        readiness,
    }
}

impl Control {
    async fn until_ready(&self) {
        let begin = Instant::now();
        while self.readiness.ready().is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "{:?}",
                self.readiness.ready()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn generation(&mut self) -> u64 {
        self.reader.load().generation
    }

    fn has(&self, text: &str) -> bool {
        self.metrics.encode().unwrap().contains(text)
    }
}

fn issuer(name: &str, source: Option<KeySource>) -> IssuerSettings {
    let jwks = JwksSettings {
        timeout: Duration::from_millis(500),
        ..Default::default()
    };
    IssuerSettings {
        issuer: name.into(),
        source,
        jwks,
    }
}

fn api(issuers: &[IssuerSettings], scope: &str) -> ApiPlan {
    let permission = Permission {
        value: "read:items".into(),
        description: None,
    };
    ApiPlan {
        definition: Arc::new(ApiDefinition {
            permissions: vec![permission],
            signing_alg: SigningAlg::ES256,
            ..ApiDefinition::new("https://items")
        }),
        origin: Default::default(),
        issuers: issuers
            .iter()
            .map(|issuer| issuer.issuer.as_str().into())
            .collect(),
        signing_secret: None,
        encryption: None,
        introspection: None,
        api_keys: None,
        hosts: Vec::new(),
        public_url: None,
        token_places: Vec::new(),
        mode: Mode::Enforce,
        max_age: None,
        leeway: Duration::from_secs(10),
        upstream: UpstreamPlan::to(vec![ServerAddress::tcp("127.0.0.1", 3000)]),
        forward: ForwardPlan::default(),
        routes: vec![RoutePlan {
            idle_timeout: None,
            upgrade: None,
            on_expiry: Default::default(),
            pattern: PathPattern::parse("/items").unwrap(),
            methods: Vec::new(),
            require: RequirementPlan::Token(Conditions {
                all_of: vec![scope.into()],
                ..Default::default()
            }),
            mode: None,
            timeout: None,
            max_body: None,
            allow: Vec::new(),
        }],
    }
}

fn plan(hash: &str, scope: &str, issuers: Vec<IssuerSettings>) -> NewPlan {
    let plan = Plan {
        issuers: issuers.iter().map(|issuer| issuer.issuer.clone()).collect(),
        apis: vec![api(&issuers, scope)],
    };
    NewPlan {
        plan,
        issuers,
        hash: hash.into(),
    }
}

#[tokio::test]
async fn ready_once_every_issuer_with_a_source_has_had_keys() {
    let server = TestIssuer::start().await;
    server.set("/good", Behaviour::Body(jwks(&["a"])));
    server.set("/slow", Behaviour::Hang);
    let mut control = start();
    let issuers = vec![
        issuer("https://good/", Some(KeySource::Uri(server.url("/good")))),
        issuer("https://slow/", Some(KeySource::Uri(server.url("/slow")))),
        issuer("https://hmac-only/", None),
    ];
    assert_eq!(
        control.reconciler.apply(plan("one", "read:items", issuers)).await,
        Ok(1)
    );
    sleep(Duration::from_millis(200)).await;
    assert_eq!(
        control.readiness.ready(),
        Err(vec!["issuer https://slow/: no keys yet".into()])
    );
    assert_eq!(
        control.generation(),
        2,
        "the good issuer's keys are in force although the slow one hangs"
    );
    assert!(control.has("scopegate_config_info{generation=\"2\",hash=\"one\"} 1"));

    server.set("/slow", Behaviour::Body(jwks(&["b"])));
    control.until_ready().await;
    assert_eq!(control.generation(), 3);
    assert!(control.reader.load().misses("https://slow/").is_some());
}

#[tokio::test]
async fn a_plan_with_a_fault_leaves_everything_as_it_is() {
    let server = TestIssuer::start().await;
    server.set("/jwks", Behaviour::Body(jwks(&["a"])));
    let mut control = start();
    let issuers = vec![issuer("https://a/", Some(KeySource::Uri(server.url("/jwks"))))];
    control
        .reconciler
        .apply(plan("one", "read:items", issuers.clone()))
        .await
        .unwrap();
    control.until_ready().await;
    let before = control.generation();

    let mut other = issuers.clone();
    other.push(issuer("https://b/", Some(KeySource::Uri(server.url("/missing")))));
    let fault = control
        .reconciler
        .apply(plan("two", "no:such", other))
        .await
        .unwrap_err();
    assert!(
        matches!(&fault, ApplyError::Faults(faults) if faults.len() == 1),
        "{fault}"
    );
    assert!(fault.to_string().contains("no:such"));
    assert_eq!(control.generation(), before);
    assert_eq!(control.readiness.ready(), Ok(()));
    assert_eq!(
        server.requests("/missing"),
        0,
        "an issuer of a refused plan is not asked"
    );
    assert!(control.has("scopegate_config_last_reload_successful 0"));
    assert!(control.has("hash=\"one\""));

    // The old content again: nothing to do, and the reload counts as good.
    assert_eq!(
        control.reconciler.apply(plan("one", "read:items", issuers)).await,
        Ok(before)
    );
    assert!(control.has("scopegate_config_last_reload_successful 1"));
    control.reconciler.rejected().await;
    sleep(Duration::from_millis(20)).await;
    assert!(control.has("scopegate_config_last_reload_successful 0"));
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_who_stays_and_forgets_who_goes() {
    let server = TestIssuer::start().await;
    for path in ["/a", "/b", "/c"] {
        server.set(path, Behaviour::Body(jwks(&["k"])));
    }
    let named = |name: &str| {
        issuer(
            &format!("https://{name}/"),
            Some(KeySource::Uri(server.url(&format!("/{name}")))),
        )
    };
    let control = start();
    control
        .reconciler
        .apply(plan("one", "read:items", vec![named("a"), named("b")]))
        .await
        .unwrap();
    control.until_ready().await;

    // `b` goes, `c` comes, `a` gets another TTL and keeps its keys although its server is down.
    server.set("/a", Behaviour::HangUp);
    let mut a = named("a");
    a.jwks.ttl = Duration::from_secs(300);
    control
        .reconciler
        .apply(plan("two", "read:items", vec![a, named("c")]))
        .await
        .unwrap();
    assert_eq!(
        control.readiness.ready(),
        Err(vec!["issuer https://c/: no keys yet".into()])
    );
    control.until_ready().await;
    assert!(!control.has("issuer=\"https://b/\"") && control.has("issuer=\"https://c/\""));
    assert_eq!(server.requests("/b"), 1);

    // Nothing about the issuers changes: nobody is asked again.
    // (`a` is down and is tried again on its own.)
    let asked = server.requests("/c");
    let mut a = named("a");
    a.jwks.ttl = Duration::from_secs(300);
    control
        .reconciler
        .apply(plan("three", "read:items", vec![a, named("c")]))
        .await
        .unwrap();
    assert_eq!(control.readiness.ready(), Ok(()));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.requests("/c"), asked);

    // Keys from elsewhere: those that are known were another's.
    let moved = issuer("https://c/", Some(KeySource::Uri(server.url("/missing"))));
    control
        .reconciler
        .apply(plan("four", "read:items", vec![moved]))
        .await
        .unwrap();
    assert_eq!(
        control.readiness.ready(),
        Err(vec!["issuer https://c/: no keys yet".into()])
    );
}

#[tokio::test]
async fn the_writer_ends_with_its_last_handle_and_takes_the_key_tasks_along() {
    let server = TestIssuer::start().await;
    server.set("/jwks", Behaviour::Status("503 Service Unavailable"));
    let control = start();
    let issuers = vec![issuer("https://a/", Some(KeySource::Uri(server.url("/jwks"))))];
    control
        .reconciler
        .apply(plan("one", "read:items", issuers))
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    let readiness = control.readiness.clone();
    drop(control);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(readiness.ready(), Ok(()), "the condition ended with the task");
    let asked = server.requests("/jwks");
    sleep(Duration::from_millis(1_300)).await;
    assert_eq!(server.requests("/jwks"), asked);
}
