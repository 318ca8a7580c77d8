//! The thread of the authority: its store, its listener, and nothing of the gateway.
//!
//! Hashing a secret or signing a token takes as long as hundreds of requests, so it never happens on a worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::{StartError, alive, system};
use crate::authority::model::Tenant;
use crate::authority::{Administrator, Authority, AuthoritySettings, OpenError, serve_authority};
use crate::config::Followed;
use crate::net::{BoundListener, TlsListener, drain};
use crate::telemetry::Readiness;

/// How long requests in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Where the authority tells its definitions.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) followed: Followed,
    /// Told each time that something is different.
    pub(super) tell: watch::Sender<()>,
}

impl Told {
    fn replace(&self, tenant: &Tenant) {
        let definitions = tenant.apis().map(|api| {
            let document = Arc::new(Value::Object(api.whole_document()));
            (api.definition.identifier.clone(), document)
        });
        if self.followed.replace(definitions.collect()) {
            self.tell.send_replace(());
        }
    }

    /// Tells every change, for as long as the authority runs.
    async fn follow(self, authority: Arc<Authority>) {
        let mut revisions = authority.state().revisions();
        loop {
            self.replace(&authority.state().tenant());
            if revisions.changed().await.is_err() {
                return;
            }
        }
    }
}

/// An authority that runs.
#[derive(Debug)]
pub(super) struct RunningAuthority {
    pub(super) authority: Arc<Authority>,
    /// On the first start only.
    pub(super) administrator: Option<Administrator>,
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl RunningAuthority {
    /// Opens the store and serves. Returns once requests are answered and the definitions are told.
    pub(super) fn start(
        settings: &AuthoritySettings,
        listener: BoundListener,
        tls: Option<Arc<TlsListener>>,
        readiness: &Readiness,
        told: Told,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system)?;
        let address = listener.address();
        let mut settings = settings.clone();
        settings.address = address;
        let (stop, stopped) = oneshot::channel();
        let (opened, is_open) = std::sync::mpsc::channel();
        let readiness = readiness.clone();
        let thread = thread::Builder::new()
            .name("authority".into())
            .spawn(move || {
                alive::thread("authority", &readiness, || {
                    let local = tokio::task::LocalSet::new();
                    local.block_on(&runtime, async {
                        let authority = match Authority::open(settings).await {
                            Ok((authority, administrator)) => {
                                told.replace(&authority.state().tenant());
                                let _ = opened.send(Ok((Arc::clone(&authority), administrator)));
                                authority
                            }
                            Err(error) => return drop(opened.send(Err(error))),
                        };
                        run(authority, (listener, tls), told, stopped, &readiness).await;
                    });
                    runtime.shutdown_background();
                });
            })
            .map_err(system)?;
        match is_open.recv() {
            Ok(Ok((authority, administrator))) => Ok(Self {
                authority,
                administrator,
                address,
                stop,
                thread,
            }),
            Ok(Err(error)) => Err(StartError::Authority(error)),
            Err(_ended) => Err(StartError::System("the authority thread ended".into())),
        }
    }

    /// Ends it after what is in flight.
    pub(super) fn stop(self) {
        let _ = self.stop.send(());
        // A thread that panicked has said so already.
        let _ = self.thread.join();
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self::Authority(error)
    }
}

async fn run(
    authority: Arc<Authority>,
    (listener, tls): (BoundListener, Option<Arc<TlsListener>>),
    told: Told,
    stopped: oneshot::Receiver<()>,
    readiness: &Readiness,
) {
    let (trigger, watcher) = drain();
    let mut tasks = JoinSet::new();
    let following = Arc::clone(&authority);
    tasks.spawn_local(async move { following.state().follow().await });
    let swept = Arc::clone(&authority);
    tasks.spawn_local(async move { swept.keep_clean().await });
    tasks.spawn_local(told.follow(Arc::clone(&authority)));
    tasks.spawn_local(async move {
        if let Err(error) = serve_authority(authority, &listener, tls, watcher).await {
            tracing::error!(%error, "the listener of the authority has ended");
        }
    });
    let watching = alive::tasks("authority", readiness, tasks);
    tokio::pin!(watching);
    tokio::select! {
        // Dropped without a word where the rest of the process did not start.
        _ = stopped => {}
        never = &mut watching => match never {},
    }
    tokio::select! {
        _cut = trigger.drain(DRAIN) => {}
        never = &mut watching => match never {},
    }
}
