//! `staticfiles.json`, in which Django's `ManifestStaticFilesStorage` keeps which name of a file carries its hash; and the
//! warnings given for a root, each once.

use super::root::Root;
use crate::config::Symlinks;
use crate::sys::file::{Metadata, metadata_at, read_at};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;

/// The file's name in the root.
pub(super) const NAME: &str = "staticfiles.json";
/// A larger one is not read.
const MOST_BYTES: u64 = 8 << 20;
/// Warnings remembered.
const MOST_WARNINGS: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    /// What the file was when it was read.
    read: Option<Metadata>,
    hashed: HashSet<Box<[u8]>>,
    warned: HashSet<(Box<[u8]>, i64)>,
}

#[derive(Deserialize)]
struct Paths {
    paths: HashMap<String, String>,
}

impl Manifest {
    /// Whether the manifest names this path as one with a hash. Looks at the disk: to be asked once for what is kept.
    pub(super) fn has(&mut self, path: &[u8], root: &Root) -> bool {
        let now = metadata_at(root.fd(), NAME.as_bytes()).ok();
        if now != self.read {
            self.hashed = now.and_then(|_| load(root)).unwrap_or_default();
            self.read = now;
        }
        self.hashed.contains(path)
    }

    /// Says once that a compressed file is older than its original, which is therefore sent instead.
    pub(super) fn warn_stale(&mut self, path: &[u8], metadata: &Metadata) {
        if self.warned.len() < MOST_WARNINGS && self.warned.insert((path.into(), metadata.modified.seconds)) {
            log::warn!(
                "files: {} is older than its original and is not served: compress it again",
                String::from_utf8_lossy(path).escape_debug()
            );
        }
    }
}

/// Names that stand for another one; a name that stands for itself has no hash.
fn load(root: &Root) -> Option<HashSet<Box<[u8]>>> {
    let (file, _) = root.open_file(NAME.as_bytes(), &Symlinks::Beneath).ok()?;
    let size = crate::sys::file::metadata(file.as_fd()).ok()?.size;
    if size > MOST_BYTES {
        log::warn!("files: {NAME} is larger than {MOST_BYTES} bytes and is not read");
        return None;
    }
    let text = read_at(file.as_fd(), 0, size as usize).ok()?;
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
