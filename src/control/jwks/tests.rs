//! The key task and its source against a real HTTP server that misbehaves.

mod source;

use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::control::JwksSettings;
use crate::control::reconcile::KeyReport;
use crate::control::tests::issuer::{Behaviour, TestIssuer, jwks};
use crate::snapshot::handoff::MissAnswer;
use crate::telemetry::Metrics;

fn settings() -> JwksSettings {
    JwksSettings {
        timeout: Duration::from_millis(500),
        ..Default::default()
    }
}

struct Running {
    misses: Arc<KeyMisses>,
    reports: mpsc::Receiver<KeyReport>,
    metrics: Metrics,
}

/// Starts a task and plays the part of `reconcile`.
fn run(source: &KeySource, settings: JwksSettings) -> Running {
    let metrics = Metrics::new(&Registry::new(), &["ok"]).unwrap();
    let misses = KeyMisses::new(settings.cooldown);
    let settings = IssuerSettings {
        issuer: "https://a/".into(),
        source: Some(source.clone()),
        jwks: settings,
    };
    let (reports, received) = KeyReports::to_test("https://a/");
    let counters = metrics.issuer("https://a/");
    let task = KeyTask::new(
        &settings,
        source,
        None,
        Confirmed::default(),
        Arc::clone(&misses),
        counters,
        reports,
    );
    tokio::spawn(task.run());
    Running {
        misses,
        reports: received,
        metrics,
    }
}

impl Running {
    async fn next(&mut self) -> Option<Arc<KeySet>> {
        let report = timeout(Duration::from_secs(5), self.reports.recv())
            .await
            .expect("no report")
            .unwrap();
        let _ = report.published.send(());
        // The task goes on to tell those who wait; what a test asks after this is asked after that.
        tokio::time::sleep(Duration::from_millis(20)).await;
        report.keys
    }

    async fn is_quiet(&mut self, duration: Duration) -> bool {
        timeout(duration, self.reports.recv()).await.is_err()
    }

    fn has(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|found| found == line)
    }
}

#[tokio::test]
async fn an_unknown_kid_fetches_a_rotated_set_and_wakes_who_waits_after_it_is_published() {
    let server = TestIssuer::start().await;
    server.set("/jwks", Behaviour::Body(jwks(&["a"])));
    let mut running = run(&KeySource::Uri(server.url("/jwks")), settings());
    assert!(running.next().await.unwrap().contains("a"));

    server.set("/jwks", Behaviour::Body(jwks(&["a", "b"])));
    let MissAnswer::Wait(mut waiting) = running.misses.ask("b", Instant::now().into_std()) else {
        panic!("a first miss waits")
    };
    waiting.mark_unchanged();
    let report = timeout(Duration::from_secs(5), running.reports.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(report.keys.unwrap().contains("b"));
    assert!(!waiting.has_changed().unwrap(), "not published yet");
    report.published.send(()).unwrap();
    timeout(Duration::from_secs(1), waiting.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(running.has(r#"scopegate_jwks_unknown_kid_total{action="fetch",issuer="https://a/"} 1"#));
    assert!(running.has(r#"scopegate_jwks_keys{issuer="https://a/"} 2"#));
    assert!(running.has(r#"scopegate_jwks_fetches_total{issuer="https://a/",result="success"} 2"#));
}

#[tokio::test]
async fn ten_thousand_unknown_kids_are_one_fetch() {
    let server = TestIssuer::start().await;
    server.set("/jwks", Behaviour::Body(jwks(&["a"])));
    let mut running = run(&KeySource::Uri(server.url("/jwks")), settings());
    running.next().await.unwrap();
    for number in 0..10_000 {
        running
            .misses
            .ask(&format!("random-{number}"), Instant::now().into_std());
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(
        running.is_quiet(Duration::from_millis(200)).await,
        "the set has not changed"
    );
    assert_eq!(
        server.requests("/jwks"),
        2,
        "the first fetch and one for all of them"
    );
}

#[tokio::test]
async fn down_at_the_start_is_tried_again() {
    let server = TestIssuer::start().await;
    server.set("/jwks", Behaviour::Status("503 Service Unavailable"));
    let mut running = run(&KeySource::Uri(server.url("/jwks")), settings());
    assert!(running.is_quiet(Duration::from_millis(500)).await);
    assert!(running.has(r#"scopegate_jwks_fetches_total{issuer="https://a/",result="status"} 1"#));
    server.set("/jwks", Behaviour::Body(jwks(&["a"])));
    assert!(running.next().await.unwrap().contains("a"));
}

#[tokio::test]
async fn down_later_serves_the_last_good_set_until_it_is_too_old() {
    let server = TestIssuer::start().await;
    let set = jwks(&["a"]);
    server.set("/jwks", Behaviour::Body(set.clone()));
    let short = JwksSettings {
        ttl: Duration::from_millis(300),
        max_stale: Duration::from_millis(1_000),
        ..settings()
    };
    let mut running = run(&KeySource::Uri(server.url("/jwks")), short);
    running.next().await.unwrap();
    assert!(
        running.is_quiet(Duration::from_millis(800)).await,
        "an unchanged set is no news"
    );
    assert!(server.requests("/jwks") >= 3);

    let down = Instant::now();
    server.set("/jwks", Behaviour::Body("<html>Maintenance</html>".into()));
    assert!(running.next().await.is_none());
    assert!(
        down.elapsed() >= Duration::from_millis(600),
        "{:?}",
        down.elapsed()
    );
    assert!(running.has(r#"scopegate_jwks_keys{issuer="https://a/"} 0"#));
    server.set("/jwks", Behaviour::Body(set));
    assert!(running.next().await.unwrap().contains("a"));
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, jwks(&["a"])).unwrap();
    let mut running = run(&KeySource::File(path.clone()), settings());
    assert!(running.next().await.unwrap().contains("a"));
    std::fs::write(&path, "half a fi").unwrap();
    assert!(running.is_quiet(Duration::from_millis(1_200)).await);
    std::fs::write(&path, jwks(&["b"])).unwrap();
    let keys = running.next().await.unwrap();
    assert!(keys.contains("b") && !keys.contains("a"));
}

#[tokio::test]
async fn inline_keys_are_there_at_once() {
    let mut running = run(&KeySource::Inline(jwks(&["a"])), settings());
    assert!(running.next().await.unwrap().contains("a"));
}

/// What stands in the configuration is confirmed by standing there: it has no age.
#[tokio::test]
async fn inline_keys_are_never_too_old() {
    let short = JwksSettings {
        ttl: Duration::from_millis(50),
        max_stale: Duration::from_millis(100),
        ..settings()
    };
    let mut running = run(&KeySource::Inline(jwks(&["a"])), short);
    assert!(running.next().await.unwrap().contains("a"));
    assert!(running.is_quiet(Duration::from_millis(400)).await);
    assert!(running.has(r#"scopegate_jwks_keys{issuer="https://a/"} 1"#));
}

#[test]
fn the_pace_stays_within_its_bounds() {
    let pace = Pace {
        kind: PaceKind::Network,
        ttl: Duration::from_secs(600),
        max_stale: Duration::from_secs(86_400),
    };
    for (max_age, expected) in [
        (None, 480),
        (Some(0), 48),
        (Some(120), 96),
        (Some(31_536_000), 480),
    ] {
        let wait = pace
            .after_success(max_age.map(Duration::from_secs))
            .unwrap()
            .as_secs_f64();
        let expected = f64::from(expected);
        assert!(
            wait >= expected * 0.899 && wait <= expected * 1.101,
            "{max_age:?}: {wait}"
        );
    }
    for (failures, expected) in [(1, 1), (2, 2), (6, 32), (7, 60), (u32::MAX, 60)] {
        let wait = pace.after_failure(failures).unwrap().as_secs_f64();
        let expected = f64::from(expected);
        assert!(
            wait >= expected * 0.899 && wait <= expected * 1.101,
            "{failures}: {wait}"
        );
    }
}
