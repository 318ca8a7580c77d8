//! Tells when one of a list of files has changed.
//!
//! `app` watches the files of the configuration with it and reloads. A Kubernetes ConfigMap never writes into a file:
//! it swaps a symbolic link two levels up, so folders are watched rather than files. Reading a file is an event in its
//! folder as well, and an event may get lost on a network file system; so events only make this look, what counts is
//! the content, and it also looks every few seconds without being told.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// The watched list. Dropping it ends the watch.
#[derive(Debug)]
pub struct FileWatch {
    replace: mpsc::UnboundedSender<Vec<PathBuf>>,
}

/// Says that something changed: one value for any number of changes since the last.
#[derive(Debug)]
pub struct FileChanges {
    changed: mpsc::Receiver<()>,
}

/// Begins to watch. Must run on the control runtime. What the files hold now is what later content is compared with,
/// so begin before reading them.
pub async fn watch_files(files: Vec<PathBuf>) -> (FileWatch, FileChanges) {
    let (replace, replaced) = mpsc::unbounded_channel();
    let (tell, changed) = mpsc::channel(1);
    let (event, events) = mpsc::channel(1);
    let mut state = Watching {
        watcher: watcher(event),
        folders: HashSet::new(),
        files: HashMap::new(),
    };
    state.replace(files).await;
    tokio::spawn(state.run(replaced, events, tell));
    (FileWatch { replace }, FileChanges { changed })
}

impl FileWatch {
    /// Watches these files from now on. Content that changed since the last change was told, in a file that was in the
    /// former list as well, is told.
    pub fn replace(&self, files: Vec<PathBuf>) {
        // The task ends only after `self`.
        let _ = self.replace.send(files);
    }
}

impl FileChanges {
    /// Waits for the next change. `false` when the watch has ended.
    pub async fn changed(&mut self) -> bool {
        self.changed.recv().await.is_some()
    }
}

#[derive(Debug)]
struct Watching {
    /// `None` where the system has no more watches to give: looking every few seconds remains.
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
    files: HashMap<PathBuf, Content>,
}

/// What a file held when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Unreadable,
    Hash([u8; 32]),
}

impl Watching {
    async fn run(
        mut self,
        mut replaced: mpsc::UnboundedReceiver<Vec<PathBuf>>,
        mut events: mpsc::Receiver<()>,
        tell: mpsc::Sender<()>,
    ) {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                files = replaced.recv() => match files {
                    Some(files) => self.replace(files).await,
                    None => return,
                },
                Some(()) = events.recv() => {
                    // Whoever writes the files is most likely not done.
                    sleep(SETTLE).await;
                    while events.try_recv().is_ok() {}
                    self.look(&tell).await;
                }
                _ = poll.tick() => self.look(&tell).await,
            }
        }
    }

    async fn replace(&mut self, files: Vec<PathBuf>) {
        let new: Vec<PathBuf> = files
            .iter()
            .filter(|file| !self.files.contains_key(*file))
            .cloned()
            .collect();
        let listed: HashSet<PathBuf> = files.into_iter().collect();
        self.files.retain(|file, _| listed.contains(file));
        self.files.extend(read_all(new).await);
        self.watch_folders();
    }

    /// Compares what the files hold with what they held.
    async fn look(&mut self, tell: &mpsc::Sender<()>) {
        let found = read_all(self.files.keys().cloned().collect()).await;
        if found == self.files {
            return;
        }
        self.files = found;
        // A link may lead to another folder now.
        self.watch_folders();
        // When it is full, somebody will look at the files anyway.
        let _ = tell.try_send(());
    }

    fn watch_folders(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: HashSet<PathBuf> = self.files.keys().flat_map(|file| folders_of(file)).collect();
        for gone in self.folders.difference(&wanted) {
            // It may be gone from the disk as well.
            let _ = watcher.unwatch(gone);
        }
        for new in wanted.difference(&self.folders) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %new.display(), %error, "cannot watch; looking every few seconds instead");
            }
        }
        self.folders = wanted;
    }
}

/// The folder of the path as written, where a link is swapped, and the one it leads to.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let real = std::fs::canonicalize(file).ok();
    for path in [Some(file), real.as_deref()].into_iter().flatten() {
        match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => folders.push(PathBuf::from(".")),
            Some(folder) => folders.push(folder.into()),
            None => {}
        }
    }
    folders
}

fn watcher(event: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |found: notify::Result<notify::Event>| {
        // Our own reading is an access event; answering it with reading would never end.
        if !found.is_ok_and(|event| event.kind.is_access()) {
            let _ = event.try_send(());
        }
    };
    match notify::recommended_watcher(on_event) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "cannot watch files; looking every few seconds instead");
            None
        }
    }
}

async fn read_all(files: Vec<PathBuf>) -> HashMap<PathBuf, Content> {
    let unreadable = files
        .iter()
        .map(|file| (file.clone(), Content::Unreadable))
        .collect();
    let reading = tokio::task::spawn_blocking(move || {
        files
            .into_iter()
            .map(|file| (Content::of(&file), file))
            .map(|(content, file)| (file, content))
            .collect()
    });
    reading.await.unwrap_or(unreadable)
}

impl Content {
    fn of(file: &Path) -> Self {
        let Ok(bytes) = std::fs::read(file) else {
            return Self::Unreadable;
        };
        <[u8; 32]>::try_from(digest(&SHA256, &bytes).as_ref()).map_or(Self::Unreadable, Self::Hash)
    }
}

/// Between the first event and the look.
const SETTLE: Duration = Duration::from_millis(200);
/// Between two looks that nobody asked for.
const POLL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    async fn tells(changes: &mut FileChanges) -> bool {
        timeout(Duration::from_secs(3), changes.changed()).await == Ok(true)
    }

    async fn is_quiet(changes: &mut FileChanges) -> bool {
        timeout(Duration::from_millis(700), changes.changed())
            .await
            .is_err()
    }

    #[tokio::test]
    async fn a_config_map_swap_is_a_change() {
        // As the kubelet does it: items.yaml -> ..data/items.yaml, ..data -> ..1, then ..data is replaced by a rename.
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
            std::fs::create_dir(path(version)).unwrap();
            std::fs::write(path(version).join("items.yaml"), text).unwrap();
        }
        symlink("..1", path("..data")).unwrap();
        symlink("..data/items.yaml", path("items.yaml")).unwrap();

        let (_watch, mut changes) = watch_files(vec![path("items.yaml")]).await;
        for version in ["..2", "..3"] {
            symlink(version, path("..tmp")).unwrap();
            std::fs::rename(path("..tmp"), path("..data")).unwrap();
            assert!(tells(&mut changes).await, "{version}");
        }
        assert_eq!(std::fs::read_to_string(path("items.yaml")).unwrap(), "three");
        assert!(is_quiet(&mut changes).await);
    }

    #[tokio::test]
    async fn only_content_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let other = folder.path().join("b.yaml");
        std::fs::write(&file, "one").unwrap();
        let (watch, mut changes) = watch_files(vec![file.clone()]).await;

        std::fs::read(&file).unwrap();
        std::fs::write(&file, "one").unwrap();
        std::fs::write(&other, "not in the list").unwrap();
        assert!(is_quiet(&mut changes).await, "the content is the same");

        // As editors do it.
        std::fs::write(folder.path().join("a.tmp"), "two").unwrap();
        std::fs::rename(folder.path().join("a.tmp"), &file).unwrap();
        assert!(tells(&mut changes).await);

        watch.replace(vec![file.clone(), other.clone()]);
        assert!(
            is_quiet(&mut changes).await,
            "a file that is new in the list has not changed"
        );
        std::fs::write(&other, "changed").unwrap();
        assert!(tells(&mut changes).await);

        std::fs::remove_file(&file).unwrap();
        assert!(tells(&mut changes).await, "a file that is gone is a change");
        drop(watch);
        assert!(!changes.changed().await);
    }
}
