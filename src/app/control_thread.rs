//! The control thread: reconcile, keys, admin and reload, and the order in which a drain takes the planes down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::following::Following;
use super::{StartError, alive, system};
use crate::config::{self, Faults, Followed, Settings, Sources, System};
use crate::control::{
    Admin, ApplyError, Certificates, FileWatch, NewPlan, ReconcileSettings, Reconciler, RevocationDesk,
    reconciler, serve_admin, watch_files, watch_memory,
};
use crate::net::{BoundListener, DrainTrigger, MemoryPressure, drain};
use crate::telemetry::{Missing, Readiness};

/// What the control thread is told to do.
pub(super) enum Order {
    Reload,
    /// Ends; how many connections were cut is sent when all is over.
    Stop {
        finished: std::sync::mpsc::Sender<usize>,
    },
}

/// Where the configuration is read from, again and again.
#[derive(Clone)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// What it is read through.
    pub sources: Arc<dyn Sources + Send + Sync>,
}

impl Origin {
    /// A file on the disk.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sources: Arc::new(System),
        }
    }

    /// Reads it, with the definitions that are followed as they are now.
    pub(super) fn load(&self, followed: &Followed) -> Result<Settings, Faults> {
        let sources = config::Following {
            sources: &*self.sources,
            followed,
        };
        config::load_with(&self.path, &sources)
    }
}

/// Everything that runs on the control thread.
pub(super) struct Control {
    pub(super) reconcile: ReconcileSettings,
    pub(super) admin: Option<BoundListener>,
    pub(super) revocations: Option<Arc<RevocationDesk>>,
    pub(super) shown: Arc<ArcSwap<String>>,
    pub(super) settings: Settings,
    pub(super) certificates: Certificates,
    pub(super) origin: Option<Origin>,
    pub(super) followed: Followed,
    /// Tells that something of `followed` is different now.
    pub(super) tell: watch::Sender<()>,
    pub(super) memory: Arc<MemoryPressure>,
    pub(super) drain: DrainTrigger,
    pub(super) stop_workers: watch::Sender<bool>,
}

impl Control {
    /// Starts the thread, and returns once the first plan is in force.
    pub(super) fn spawn(self, orders: mpsc::UnboundedReceiver<Order>) -> Result<JoinHandle<()>, StartError> {
        let (applied, is_applied) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system)?;
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                let readiness = self.reconcile.readiness.clone();
                alive::thread("control", &readiness, || {
                    runtime.block_on(self.run(orders, &applied));
                    // Look-ups of names may still be running, and nobody waits for them.
                    runtime.shutdown_background();
                });
            })
            .map_err(system)?;
        match is_applied.recv() {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(error)) => Err(error.into()),
            Err(_ended) => Err(StartError::System("the control thread ended".into())),
        }
    }

    async fn run(
        self,
        orders: mpsc::UnboundedReceiver<Order>,
        applied: &std::sync::mpsc::Sender<Result<(), ApplyError>>,
    ) {
        let readiness = self.reconcile.readiness.clone();
        let metrics = self.reconcile.metrics.clone();
        let (reconciler, reconciling) = reconciler(self.reconcile);
        let reconciling = alive::task("reconcile", &readiness, reconciling);
        let first = reconciler.apply(new_plan(&self.settings)).await;
        let is_in_force = first.is_ok();
        let _ = applied.send(first.map(drop));
        if !is_in_force {
            return;
        }
        let watching = watch_memory(
            self.settings.cgroups.clone(),
            self.memory,
            metrics.memory_pressure.clone(),
        );
        alive::task("memory", &readiness, watching);
        if let Some(desk) = self.revocations.clone() {
            alive::task("revocations", &readiness, desk.keep_current());
        }
        let following = Following::new(&self.settings, self.followed.clone(), self.tell.clone(), &metrics);
        let (admin_drain, admin_watcher) = drain();
        let (admin_ended, admin_has_ended) = oneshot::channel();
        if let Some(listener) = self.admin {
            let admin = Admin {
                metrics,
                readiness: readiness.clone(),
                config: Arc::clone(&self.shown),
                revocations: self.revocations.clone(),
            };
            alive::task("admin", &readiness, async move {
                if let Err(error) = serve_admin(&listener, admin, admin_watcher).await {
                    tracing::error!(%error, "the admin listener has ended");
                }
                let _ = admin_ended.send(());
            });
        } else {
            drop(admin_ended);
        }
        let reload = Reload {
            reconciler,
            certificates: self.certificates,
            shown: self.shown,
            fixed: Fixed::of(&self.settings),
            origin: self.origin,
            following,
            followed: self.followed,
            awaited: Vec::new(),
            readiness: readiness.clone(),
        };
        let timeouts = self.settings.timeouts.clone();
        let finished = reload
            .until_stopped(&self.settings, orders, self.tell.subscribe())
            .await;
        let _draining = readiness.missing("draining");
        tracing::info!("draining");
        self.drain.announce();
        tokio::time::sleep(timeouts.pre_drain).await;
        let cut = self.drain.drain(timeouts.drain).await;
        let _ = self.stop_workers.send(true);
        admin_drain.drain(Duration::from_millis(100)).await;
        let _ = admin_has_ended.await;
        reconciling.abort();
        if let Some(finished) = finished {
            let _ = finished.send(cut);
        }
    }
}

/// What a reload cannot change, compared as text.
#[derive(Debug, PartialEq, Eq)]
struct Fixed(String);

impl Fixed {
    fn of(settings: &Settings) -> Self {
        let Settings {
            listeners,
            admin,
            workers,
            limits,
            timeouts,
            token_cache_entries,
            access_log,
            trusted_proxies,
            forwarded_fields,
            client_certificate_field,
            dpop,
            revocations,
            definitions,
            ..
        } = settings;
        #[cfg(feature = "authority")]
        let authority = &settings.authority;
        #[cfg(not(feature = "authority"))]
        let authority = ();
        Self(format!(
            "{authority:?} {definitions:?} {listeners:?} {trusted_proxies:?} {forwarded_fields:?} {client_certificate_field:?} {dpop:?} {revocations:?} {admin:?} {workers:?} {limits:?} {timeouts:?} {token_cache_entries} {access_log:?}"
        ))
    }
}

/// Reads the configuration again and hands it over.
struct Reload {
    reconciler: Reconciler,
    certificates: Certificates,
    shown: Arc<ArcSwap<String>>,
    fixed: Fixed,
    origin: Option<Origin>,
    followed: Followed,
    following: Option<Following>,
    /// Not ready for as long as a definition has not been told.
    awaited: Vec<Missing>,
    readiness: Readiness,
}

impl Reload {
    /// Reloads when told to or when a file changes, until told to stop. Returns whom to tell when all is over.
    async fn until_stopped(
        mut self,
        first: &Settings,
        mut orders: mpsc::UnboundedReceiver<Order>,
        mut follow: watch::Receiver<()>,
    ) -> Option<std::sync::mpsc::Sender<usize>> {
        self.took_effect(first);
        let watched = if self.origin.is_some() {
            first.files.clone()
        } else {
            Vec::new()
        };
        let (watch, mut changes) = watch_files(watched).await;
        // What changed between the first reading and the beginning of the watch.
        self.reload(&watch).await;
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Reload) => self.reload(&watch).await,
                    Some(Order::Stop { finished }) => return Some(finished),
                    None => return None,
                },
                true = changes.changed() => self.reload(&watch).await,
                Ok(()) = follow.changed() => self.reload(&watch).await,
            }
        }
    }

    /// Applies what the file says now; on any fault the last good generation stays.
    async fn reload(&mut self, watch: &FileWatch) {
        let Some(origin) = &self.origin else { return };
        self.certificates.refresh();
        match origin.load(&self.followed) {
            Err(faults) => {
                let mut files = watched(&origin.path, &faults);
                files.extend(self.certificates.files().map(Path::to_path_buf));
                watch.replace(files);
                self.rejected(&faults).await;
            }
            Ok(settings) => {
                let mut files = settings.files.clone();
                files.extend(self.certificates.files().map(Path::to_path_buf));
                watch.replace(files);
                if Fixed::of(&settings) != self.fixed {
                    tracing::warn!(
                        "listeners, trusted_proxies, forwarded_fields, client_certificate_field, dpop, revocations, admin, workers, limits, timeouts, token_cache, access_log, definitions and authority change with a restart only"
                    );
                }
                match self.reconciler.apply(new_plan(&settings)).await {
                    Ok(_generation) => {
                        self.took_effect(&settings);
                        self.shown
                            .store(Arc::new(config::redacted(&settings).to_string()));
                    }
                    Err(error) => tracing::error!(%error, "the last good configuration stays in force"),
                }
            }
        }
    }

    /// Follows what is to be followed now. Not ready until the definitions that are missing have been told.
    fn took_effect(&mut self, settings: &Settings) {
        if let Some(following) = &mut self.following {
            following.follow(settings);
        }
        let missing = |identifier| {
            self.readiness
                .missing(format!("definition of {identifier}: not told yet"))
        };
        // The new ones first: what goes on missing is never ready in between.
        self.awaited = settings.awaited().map(missing).collect();
    }

    async fn rejected(&self, faults: &Faults) {
        for fault in faults.iter() {
            tracing::error!(%fault, "configuration");
        }
        tracing::error!("the configuration has faults; the last good one stays in force");
        self.reconciler.rejected().await;
    }
}

/// A file that is at fault must be watched too, or its repair would not be seen.
fn watched(path: &Path, faults: &Faults) -> Vec<PathBuf> {
    let mut files = faults.files().to_vec();
    if !files.iter().any(|file| file == path) {
        files.push(path.into());
    }
    files
}

fn new_plan(settings: &Settings) -> NewPlan {
    NewPlan {
        plan: settings.plan.clone(),
        issuers: settings.issuers.clone(),
        hash: settings.hash.clone(),
    }
}
