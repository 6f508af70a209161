//! `staticfiles.json`, in which Django's `ManifestStaticFilesStorage` keeps which name of a file carries its hash; and the
//! warnings given for a root, each once.

use super::root::{Root, open_file};
use crate::config::Symlinks;
use crate::sys::file::{Metadata, metadata, read_at};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};

/// The file's name in the root.
pub(super) const NAME: &str = "staticfiles.json";
/// A larger one is not read.
const MOST_BYTES: u64 = 8 << 20;
/// See the module.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    /// What the file was when it was read.
    read: Option<Metadata>,
    hashed: HashSet<Box<[u8]>>,
    /// Something is stale, and it was said.
    warned: bool,
}

/// What a thread has read.
#[derive(Debug, Default)]
pub(super) struct Contents {
    read: Option<Metadata>,
    hashed: HashSet<Box<[u8]>>,
}

#[derive(Deserialize)]
struct Paths {
    paths: HashMap<String, String>,
}

impl Manifest {
    /// Whether what was read is still what lies on the disk; looks there, if the root is near. To be asked once for what
    /// is kept.
    pub(super) fn is_current(&self, root: &Root) -> bool {
        root.is_near()
            && match root.metadata_near(NAME.as_bytes(), &Symlinks::Beneath) {
                Ok(now) => self.read == Some(now),
                Err(error) => error.kind() == std::io::ErrorKind::NotFound && self.read.is_none(),
            }
    }

    /// Takes in what a thread has read.
    pub(super) fn take_in(&mut self, contents: Contents) {
        (self.read, self.hashed) = (contents.read, contents.hashed);
    }

    /// Whether the manifest names this path as one with a hash.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.hashed.contains(path)
    }

    /// Says that compressed files are older than their originals, which are therefore sent instead: of the first, for all
    /// of the root.
    pub(super) fn warn_stale(&mut self, path: &[u8]) {
        if !std::mem::replace(&mut self.warned, true) {
            log::warn!(
                "files: {} is older than its original and is not served, nor is any other that is: compress them again",
                String::from_utf8_lossy(path).escape_debug()
            );
        }
    }
}

/// Reads and understands it, which takes its time: for threads.
pub(super) fn load(root: BorrowedFd<'_>) -> Contents {
    let Ok(file) = open_file(root, NAME.as_bytes(), &Symlinks::Beneath) else { return Contents::default() };
    let Ok(found) = metadata(file.as_fd()) else { return Contents::default() };
    let hashed = understand(file.as_fd(), found.size).unwrap_or_default();
    Contents { read: Some(found), hashed }
}

/// Names that stand for another one; a name that stands for itself has no hash.
fn understand(file: BorrowedFd<'_>, size: u64) -> Option<HashSet<Box<[u8]>>> {
    if size > MOST_BYTES {
        log::warn!("files: {NAME} is larger than {MOST_BYTES} bytes and is not read");
        return None;
    }
    let text = read_at(file, 0, size as usize).ok()?;
    match serde_json::from_slice::<Paths>(&text) {
        Ok(manifest) => {
            let hashed = manifest.paths.into_iter().filter(|(plain, hashed)| plain != hashed);
            Some(hashed.map(|(_, hashed)| hashed.into_bytes().into()).collect())
        }
        Err(error) => {
            log::warn!("files: {NAME} cannot be understood: {error}");
            None
        }
    }
}
