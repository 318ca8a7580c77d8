//! Keeps the lists of revoked tokens current: reads the file when it changes, takes what is pushed, drops what is over.
//!
//! The only writer of `snapshot::Revocations`. A file that cannot be read changes nothing: the last good list stays. What
//! is pushed is in force before it is stored.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::MissedTickBehavior;

use super::settings::RevocationSettings;
use super::watch::watch_files;
use crate::clock::unix_now;
use crate::snapshot::{Lists, Revocations};
use crate::telemetry::Metrics;
use crate::token::{Revocation, RevocationFault, RevocationList, Target, UnixSeconds};

/// The largest file of entries: a million of them, and longer ones than there are.
const LARGEST: u64 = 256 << 20;
/// How often entries that are over are looked for. Until then they say nothing, and only take their place.
const SWEEP: Duration = Duration::from_secs(10);

/// Where entries come together. Shared by the watch and the admin listener.
#[derive(Debug)]
pub struct RevocationDesk {
    settings: RevocationSettings,
    in_force: Arc<Revocations>,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: HashMap<Target, Revocation>,
    pushed: HashMap<Target, Revocation>,
    lists: Lists,
}

/// Why entries were not taken.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// Not a list of entries.
    #[error("{0}")]
    Fault(#[from] RevocationFault),
    /// Not to be read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// More entries than were allowed for.
    #[error("there would be {entries} entries, and the most is {most}; see revocations.entries")]
    Full {
        /// With these.
        entries: usize,
        /// `revocations.entries`.
        most: usize,
    },
    /// In force, and gone with the next restart.
    #[error("in force, but not stored: {0}")]
    NotStored(io::Error),
}

impl RevocationDesk {
    /// Reads what there is, and puts it in force. Called before any request is served: a gateway that cannot know what was
    /// revoked does not start.
    ///
    /// # Errors
    /// A list cannot be read. What is stored need not be there yet.
    pub fn open(
        settings: RevocationSettings,
        in_force: Arc<Revocations>,
        metrics: Metrics,
    ) -> Result<Self, RevocationError> {
        let mut state = State::default();
        if let Some(path) = &settings.file {
            state.file = by_target(read(path)?);
        }
        if let Some(path) = settings.push.as_ref().and_then(|push| push.store.as_ref()) {
            match read(path) {
                Ok(stored) => state.pushed = by_target(stored),
                Err(RevocationError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let desk = Self {
            settings,
            in_force,
            metrics,
            state: Mutex::default(),
        };
        state.drop_what_is_over(unix_now());
        desk.check_room(state.file.len() + state.pushed.len())?;
        state.compile_file();
        state.compile_pushed();
        desk.publish(&state);
        desk.loaded();
        Ok(Self {
            state: Mutex::new(state),
            ..desk
        })
    }

    /// What whoever pushes has to show; `None`: nobody may.
    pub(super) fn secret(&self) -> Option<&[u8]> {
        self.settings.push.as_ref().map(|push| push.secret.expose())
    }

    /// Watches the file, and drops what is over, for as long as it is polled. Must run on the control runtime.
    pub async fn keep_current(self: Arc<Self>) {
        let files: Vec<PathBuf> = self.settings.file.iter().cloned().collect();
        let (_watch, mut changes) = watch_files(files).await;
        // What changed between the first reading and the beginning of the watch.
        self.read_file().await;
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                true = changes.changed() => self.read_file().await,
                _ = sweep.tick() => self.sweep().await,
            }
        }
    }

    async fn read_file(&self) {
        let Some(path) = self.settings.file.clone() else {
            return;
        };
        let reading = tokio::task::spawn_blocking(move || read(&path));
        let taken = match reading.await {
            Ok(Ok(entries)) => self.take_file(entries).await,
            Ok(Err(error)) => Err(error),
            Err(_ended) => return,
        };
        match taken {
            Ok(()) => self.loaded(),
            Err(error) => {
                self.metrics.revocations_last_load_successful.set(0);
                tracing::error!(%error, "revocations: the last good list stays in force");
            }
        }
    }

    async fn take_file(&self, entries: Vec<Revocation>) -> Result<(), RevocationError> {
        let mut state = self.state.lock().await;
        let file = by_target(
            entries
                .into_iter()
                .filter(|entry| entry.is_live(unix_now()))
                .collect(),
        );
        self.check_room(file.len() + state.pushed.len())?;
        state.file = file;
        state.compile_file();
        self.publish(&state);
        tracing::info!(entries = state.file.len(), "revocations: read");
        Ok(())
    }

    async fn sweep(&self) {
        let mut state = self.state.lock().await;
        if state.drop_what_is_over(unix_now()) {
            state.compile_file();
            state.compile_pushed();
            self.publish(&state);
        }
    }

    /// Takes entries: all of them, or none. Returns how many pushed ones there are then.
    pub(super) async fn push(&self, document: &[u8]) -> Result<usize, RevocationError> {
        let entries = Revocation::read_all(document)?;
        let mut state = self.state.lock().await;
        state.drop_what_is_over(unix_now());
        let new = entries
            .iter()
            .filter(|entry| !state.pushed.contains_key(entry.target()));
        self.check_room(state.file.len() + state.pushed.len() + new.count())?;
        state.pushed.extend(by_target(entries));
        self.pushed(state).await
    }

    /// Takes entries back. What was never pushed is passed over; what the file says stays.
    pub(super) async fn withdraw(&self, document: &[u8]) -> Result<usize, RevocationError> {
        let entries = Revocation::read_all(document)?;
        let mut state = self.state.lock().await;
        for entry in &entries {
            state.pushed.remove(entry.target());
        }
        self.pushed(state).await
    }

    /// The pushed entries, as they are pushed.
    pub(super) async fn shown(&self) -> String {
        Revocation::write_all(self.state.lock().await.pushed.values())
    }

    async fn pushed(&self, mut state: MutexGuard<'_, State>) -> Result<usize, RevocationError> {
        state.compile_pushed();
        self.publish(&state);
        let count = state.pushed.len();
        if let Some(path) = self.settings.push.as_ref().and_then(|push| push.store.clone()) {
            let text = Revocation::write_all(state.pushed.values());
            // The lock is held: what is stored last is what is in force.
            let stored = tokio::task::spawn_blocking(move || store(&path, &text)).await;
            stored
                .unwrap_or_else(|ended| Err(io::Error::other(ended)))
                .map_err(RevocationError::NotStored)?;
        }
        Ok(count)
    }

    fn check_room(&self, entries: usize) -> Result<(), RevocationError> {
        let most = self.settings.entries;
        if entries > most {
            return Err(RevocationError::Full { entries, most });
        }
        Ok(())
    }

    fn publish(&self, state: &State) {
        self.in_force.replace(state.lists.clone());
        for (source, list) in [("file", &state.lists.file), ("pushed", &state.lists.pushed)] {
            let count = i64::try_from(list.len()).unwrap_or(i64::MAX);
            self.metrics.revocations.with_label_values(&[source]).set(count);
        }
    }

    fn loaded(&self) {
        self.metrics.revocations_last_load_successful.set(1);
        self.metrics.revocations_last_load_timestamp.set(unix_now());
    }
}

impl State {
    /// Whether something was.
    fn drop_what_is_over(&mut self, now: UnixSeconds) -> bool {
        let before = self.file.len() + self.pushed.len();
        self.file.retain(|_, entry| entry.is_live(now));
        self.pushed.retain(|_, entry| entry.is_live(now));
        self.file.len() + self.pushed.len() < before
    }

    fn compile_file(&mut self) {
        self.lists.file = Arc::new(RevocationList::new(self.file.values()));
    }

    fn compile_pushed(&mut self) {
        self.lists.pushed = Arc::new(RevocationList::new(self.pushed.values()));
    }
}

fn by_target(entries: Vec<Revocation>) -> HashMap<Target, Revocation> {
    let entries = entries.into_iter();
    entries.map(|entry| (entry.target().clone(), entry)).collect()
}

/// The entries of a file. `explain` reads the same files.
///
/// # Errors
/// The file cannot be read, or is no list of entries.
pub fn read(path: &Path) -> Result<Vec<Revocation>, RevocationError> {
    let failed = |error| RevocationError::File {
        path: path.into(),
        error,
    };
    let mut content = Vec::new();
    let mut file = fs::File::open(path).map_err(failed)?.take(LARGEST);
    file.read_to_end(&mut content).map_err(failed)?;
    let fault = |fault: RevocationFault| failed(io::Error::other(fault));
    Revocation::read_all(&content).map_err(fault)
}

/// Replaces a file at once; nobody but its owner may read it.
fn store(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}
