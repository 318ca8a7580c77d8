//! One issuer as the writer sees it: its settings, the keys in force, and the task that keeps them current.
//!
//! Only `reconcile` holds these. Dropping one ends its task and its condition.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::control::IssuerSettings;
use crate::control::jwks::{Confirmed, KeyTask};
use crate::snapshot::IssuerKeys;
use crate::telemetry::{Metrics, Missing, Readiness};
use crate::token::KeySet;

/// A trusted issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) settings: IssuerSettings,
    pub(super) keys: IssuerKeys,
    pub(super) confirmed: Confirmed,
    /// `None` where the issuer has no source of keys.
    task: Option<RunningTask>,
    /// Held until there have been keys.
    pub(super) missing: Option<Missing>,
}

/// Ends the task when it is dropped.
#[derive(Debug)]
struct RunningTask {
    id: u64,
    handle: JoinHandle<()>,
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// News of a key task.
#[derive(Debug)]
pub(in crate::control) struct KeyReport {
    pub(super) task: u64,
    pub(super) issuer: Arc<str>,
    /// `None`: the last good set is too old.
    pub(in crate::control) keys: Option<Arc<KeySet>>,
    /// Told once a snapshot with these keys is published.
    pub(in crate::control) published: oneshot::Sender<()>,
}

impl Issuer {
    /// Starts the task that keeps its keys current, if there is a source of keys.
    pub(super) fn start(
        settings: IssuerSettings,
        keys: IssuerKeys,
        confirmed: Confirmed,
        reports: KeyReports,
        metrics: &Metrics,
        readiness: &Readiness,
    ) -> Self {
        let task = settings.source.as_ref().map(|source| {
            let known = keys.keys.clone();
            let misses = Arc::clone(&keys.misses);
            let counters = metrics.issuer(&settings.issuer);
            let task = KeyTask::new(
                &settings,
                source,
                known,
                confirmed.clone(),
                misses,
                counters,
                reports.clone(),
            );
            let id = reports.task;
            RunningTask {
                id,
                handle: tokio::spawn(fail_closed(task.run(), reports, readiness.clone())),
            }
        });
        let missing = (task.is_some() && keys.keys.is_none())
            .then(|| readiness.missing(format!("issuer {}: no keys yet", settings.issuer)));
        Self {
            settings,
            keys,
            confirmed,
            task,
            missing,
        }
    }

    /// Whether the report comes from the task that runs now.
    pub(super) fn is_of(&self, report: &KeyReport) -> bool {
        self.task.as_ref().is_some_and(|task| task.id == report.task)
    }
}

/// Runs a key task. Should it panic, nobody would notice its keys growing old: so they are given up, and the gateway is
/// not ready any more, until a reload starts the issuer anew or the process is started again.
async fn fail_closed(
    task: impl Future<Output = ()> + Send + 'static,
    reports: KeyReports,
    readiness: Readiness,
) {
    // Ends the task when this future is dropped.
    let mut running = JoinSet::new();
    running.spawn(task);
    if let Some(Err(error)) = running.join_next().await
        && error.is_panic()
    {
        tracing::error!(issuer = %reports.issuer, "the key task has panicked; the issuer has no keys any more");
        let _dead = readiness.missing(format!("issuer {}: the key task has ended", reports.issuer));
        reports.changed(None).await;
        reports.closed().await;
    }
}

/// How a key task reports.
#[derive(Clone, Debug)]
pub(in crate::control) struct KeyReports {
    task: u64,
    issuer: Arc<str>,
    reports: mpsc::Sender<KeyReport>,
}

impl KeyReports {
    pub(super) fn new(task: u64, issuer: &str, reports: mpsc::Sender<KeyReport>) -> Self {
        Self {
            task,
            issuer: issuer.into(),
            reports,
        }
    }

    /// Reports that the caller receives in the place of the writer.
    #[cfg(test)]
    pub(in crate::control) fn to_test(issuer: &str) -> (Self, mpsc::Receiver<KeyReport>) {
        let (reports, received) = mpsc::channel(64);
        (
            Self {
                task: 0,
                issuer: issuer.into(),
                reports,
            },
            received,
        )
    }

    /// Returns when a snapshot with these keys is published.
    pub(in crate::control) async fn changed(&self, keys: Option<Arc<KeySet>>) {
        let (published, is_published) = oneshot::channel();
        let report = KeyReport {
            task: self.task,
            issuer: Arc::clone(&self.issuer),
            keys,
            published,
        };
        if self.reports.send(report).await.is_ok() {
            let _ = is_published.await;
        }
    }

    /// Returns when the writer has ended.
    pub(in crate::control) async fn closed(&self) {
        self.reports.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_key_task_that_panics_leaves_no_keys_behind() {
        let (reports, mut received) = KeyReports::to_test("https://a/");
        let readiness = Readiness::new();
        let running = tokio::spawn(fail_closed(
            async { panic!("on purpose") },
            reports,
            readiness.clone(),
        ));
        let report = tokio::time::timeout(Duration::from_secs(1), received.recv())
            .await
            .unwrap()
            .unwrap();
        assert!(report.keys.is_none());
        assert_eq!(
            readiness.ready(),
            Err(vec!["issuer https://a/: the key task has ended".into()])
        );
        running.abort();
        assert!(running.await.is_err());
        assert_eq!(readiness.ready(), Ok(()));
    }
}
