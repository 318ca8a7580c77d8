//! Where the access log is written to: a stream of the process, or a file that somebody else may move away.
//!
//! Only the writer thread of `access_log` uses it. The file is opened anew once its path leads elsewhere, so that a tool
//! such as logrotate needs to tell nobody; until that works, the old one is written on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: append(path)?,
            looked: Instant::now(),
        })
    }

    fn follow(&mut self, now: Instant) {
        if now.duration_since(self.looked) < LOOK_EVERY {
            return;
        }
        self.looked = now;
        if self.is_still_there() {
            return;
        }
        match append(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => tracing::error!(%error, "the access log was moved away, and cannot be opened anew"),
        }
    }

    fn is_still_there(&self) -> bool {
        let (Ok(named), Ok(open)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        (named.dev(), named.ino()) == (open.dev(), open.ino())
    }
}

impl Write for LogFile {
    /// Whole lines come, one or many of them: a file is never changed in the middle of one.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.follow(Instant::now());
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// How long lines may still go to a file that was moved.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let [path, old] = ["access.log", "access.log.1"].map(|name| folder.path().join(name));
        let mut log = LogFile::open(&path).unwrap();
        log.write_all(b"1\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        // Not looked at for each line.
        log.write_all(b"2\n").unwrap();
        let later = |log: &mut LogFile| log.follow(log.looked + LOOK_EVERY);
        later(&mut log);
        log.write_all(b"3\n").unwrap();
        // Whoever copies and empties it finds the lines at its beginning.
        std::fs::write(&path, "").unwrap();
        later(&mut log);
        log.write_all(b"4\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "1\n2\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4\n");
        // Where it cannot be opened, nothing is lost.
        std::fs::rename(&path, &old).unwrap();
        std::fs::create_dir(&path).unwrap();
        later(&mut log);
        log.write_all(b"5\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "4\n5\n");
    }
}
