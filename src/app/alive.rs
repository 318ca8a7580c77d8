//! Notices when a part that has to live as long as the process panics, and says so in `/readyz`.
//!
//! A thread or a task that is gone does not come back: the gateway stays not ready until somebody starts it anew.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::{AbortHandle, JoinSet};

use crate::telemetry::Readiness;

/// Runs the body of a thread.
pub(super) fn thread(name: &str, readiness: &Readiness, body: impl FnOnce()) {
    // What the body owned is gone with it, and what it shared is made for that.
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        lost(name, readiness);
    }
}

/// Spawns a task on the control runtime.
pub(super) fn task(
    name: &'static str,
    readiness: &Readiness,
    task: impl Future<Output = ()> + Send + 'static,
) -> AbortHandle {
    let (task, readiness) = (tokio::spawn(task), readiness.clone());
    let handle = task.abort_handle();
    tokio::spawn(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            lost(name, &readiness);
        }
    });
    handle
}

/// Holds the tasks of a thread for as long as it is polled.
pub(super) async fn tasks(name: &str, readiness: &Readiness, mut tasks: JoinSet<()>) -> Infallible {
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            lost(name, readiness);
        }
    }
    std::future::pending().await
}

fn lost(name: &str, readiness: &Readiness) {
    tracing::error!(
        part = name,
        "has ended unexpectedly; not ready until the process is started anew"
    );
    readiness.lost(format!("{name}: has ended unexpectedly"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(name: &str) -> Result<(), Vec<String>> {
        Err(vec![format!("{name}: has ended unexpectedly")])
    }

    #[test]
    fn a_thread_that_panics_is_missed() {
        let readiness = Readiness::new();
        thread("worker-0", &readiness, || {});
        assert_eq!(readiness.ready(), Ok(()));
        thread("worker-1", &readiness, || panic!("on purpose"));
        assert_eq!(readiness.ready(), missing("worker-1"));
    }

    #[tokio::test]
    async fn a_task_that_panics_is_missed_and_one_that_is_told_to_end_is_not() {
        let readiness = Readiness::new();
        task("stopped", &readiness, std::future::pending()).abort();
        task("done", &readiness, async {});
        task("reconcile", &readiness, async { panic!("on purpose") });
        while readiness.ready().is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(readiness.ready(), missing("reconcile"));
    }

    #[tokio::test]
    async fn one_of_many_is_missed_while_the_others_go_on() {
        let readiness = Readiness::new();
        let mut set = JoinSet::new();
        set.spawn(async { panic!("on purpose") });
        let (other, goes_on) = tokio::sync::oneshot::channel::<()>();
        set.spawn(async { drop(goes_on.await) });
        let watching = tasks("worker-0", &readiness, set);
        tokio::pin!(watching);
        while readiness.ready().is_ok() {
            tokio::select! {
                never = &mut watching => match never {},
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(readiness.ready(), missing("worker-0"));
        assert!(!other.is_closed());
    }
}
