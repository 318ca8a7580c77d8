//! Where the content of files and of the environment comes from, and which files were read.
//!
//! Everything else in `config` is pure and reads through here, so that tests need neither a disk nor an environment.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::faults::Fault;
use super::parse::parse;
use crate::definition::{Node, Place};

/// The most bytes that are read of any file.
pub const LARGEST_FILE: u64 = 4 << 20;

/// Files and environment variables.
pub trait Sources {
    /// The content of a file; at most [`LARGEST_FILE`] bytes and one more.
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The value of an environment variable; `None` where it is not set or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// The resource server of this identifier, as the authority that is followed has told it; `None` where it has not.
    fn followed(&self, _identifier: &str) -> Option<Arc<serde_json::Value>> {
        None
    }
}

/// The disk, and the environment of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Sources for System {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        std::fs::File::open(path)?
            .take(LARGEST_FILE + 1)
            .read_to_end(&mut content)?;
        Ok(content)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Reads files, and remembers which.
pub(super) struct Files<'s> {
    sources: &'s dyn Sources,
    read: Vec<PathBuf>,
    digests: HashMap<PathBuf, digest::Digest>,
    documents: HashMap<PathBuf, Option<Arc<Node>>>,
    /// What was followed, in the order in which it was asked for.
    followed: Vec<digest::Digest>,
}

impl<'s> Files<'s> {
    pub(super) fn new(sources: &'s dyn Sources) -> Self {
        Self {
            sources,
            read: Vec::new(),
            digests: HashMap::new(),
            documents: HashMap::new(),
            followed: Vec::new(),
        }
    }

    /// The value of an environment variable.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.sources.variable(name)
    }

    /// The content of a file that is named at `place`.
    pub(super) fn content(
        &mut self,
        path: &Path,
        place: &Place,
        faults: &mut Vec<Fault>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        // Also a file that cannot be read is watched: it may come to be.
        if !self.read.iter().any(|known| known == path) {
            self.read.push(path.to_owned());
        }
        let name = path.display();
        let content = match self.sources.file(path) {
            Ok(content) => Zeroizing::new(content),
            Err(error) => {
                faults.push(Fault::new(
                    place,
                    format!("cannot read {name}: {}", reason(&error)),
                ));
                return None;
            }
        };
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > LARGEST_FILE {
            faults.push(Fault::new(place, format!("{name} is larger than 4MiB")));
            return None;
        }
        self.digests
            .insert(path.to_owned(), digest::digest(&digest::SHA256, &content));
        Some(content)
    }

    /// The content of a file that is no part of the configuration: it is not watched with it. `None` also where it is
    /// larger than any file of a configuration, which is left to whoever reads it in the end.
    pub(super) fn peek(&self, path: &Path, place: &Place, faults: &mut Vec<Fault>) -> Option<Vec<u8>> {
        let read = self.sources.file(path).map_err(|error| {
            let message = format!("cannot read {}: {}", path.display(), reason(&error));
            faults.push(Fault::new(place, message));
        });
        let is_whole =
            |content: &Vec<u8>| u64::try_from(content.len()).is_ok_and(|bytes| bytes <= LARGEST_FILE);
        read.ok().filter(is_whole)
    }

    /// A followed definition as a document; its places name the identifier.
    pub(super) fn followed(&mut self, identifier: &str) -> Option<Arc<Node>> {
        let definition = self.sources.followed(identifier)?;
        let text = definition.to_string();
        self.followed
            .push(digest::digest(&digest::SHA256, text.as_bytes()));
        let place = Place::whole(Path::new(&format!("definition of {identifier}")));
        Some(Arc::new(Node::from_json(&place, &definition)))
    }

    /// The document in a file that is named at `place`. Its faults are added once, however often it is named.
    pub(super) fn document(
        &mut self,
        path: &Path,
        place: &Place,
        faults: &mut Vec<Fault>,
    ) -> Option<Arc<Node>> {
        if let Some(known) = self.documents.get(path) {
            return known.clone();
        }
        let document = self.content(path, place, faults).and_then(|content| {
            let Ok(text) = std::str::from_utf8(&content) else {
                faults.push(Fault::new(place, format!("{} is not UTF-8", path.display())));
                return None;
            };
            let file: Arc<Path> = Arc::from(path);
            parse(&file, text)
                .map(Arc::new)
                .map_err(|found| faults.extend(found))
                .ok()
        });
        self.documents.insert(path.to_owned(), document.clone());
        document
    }

    /// The files that were read, and the SHA-256 over the SHA-256 of each.
    pub(super) fn finish(self) -> (Vec<PathBuf>, String) {
        let mut all = digest::Context::new(&digest::SHA256);
        for path in &self.read {
            all.update(self.digests.get(path).map_or(&[][..], AsRef::as_ref));
        }
        for digest in &self.followed {
            all.update(digest.as_ref());
        }
        let hash = all
            .finish()
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (self.read, hash)
    }
}

/// A path as it is meant where it was written: relative to the file that names it.
pub(super) fn beside(place: &Place, path: &str) -> PathBuf {
    place.file.parent().unwrap_or(Path::new("")).join(path)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}
