//! What the files of `env_file` said when the configuration was read. It is kept in files in memory without a name, and in
//! the memory of the master only while a process is started with it: a worker, which is forked, has none of it.

use super::environment::Environment;
use crate::config::{Config, env_file};
use crate::secret::Secret;
use crate::sys::carried::Carried;
use crate::sys::{file, process};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Each file once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct EnvFiles(Vec<(PathBuf, Carried)>);

impl EnvFiles {
    /// Reads those that are wanted of all that the configuration names.
    ///
    /// # Errors
    /// For the operator: every file that is of no use.
    pub(super) fn read(config: &Config, wanted: impl Fn(&Path) -> bool) -> Result<Self, String> {
        let (mut files, mut problems) = (Self::default(), Vec::new());
        for (key, path) in env_file::all(config) {
            if files.find(path).is_some() || !wanted(path) {
                continue;
            }
            match env_file::read(&config.origin, &key, path) {
                Ok(found) => {
                    if let Some(doubt) = found.doubt {
                        log::warn!(target: "hatchery", "{key}: {}: {doubt}", path.display());
                    }
                    let kept = process::memory_file(&found.pairs.0);
                    let kept = kept.map_err(|error| format!("{key}: cannot keep what it says: {error}"))?;
                    files.0.push((path.to_owned(), kept.into()));
                }
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        if problems.is_empty() { Ok(files) } else { Err(problems.join("\n")) }
    }

    fn find(&self, path: &Path) -> Option<&Carried> {
        self.0.iter().find(|(known, _)| known == path).map(|(_, kept)| kept)
    }

    /// What these files said, in their order.
    ///
    /// # Errors
    /// EIO, ENOMEM.
    pub(super) fn of(&self, paths: &[PathBuf]) -> io::Result<Vec<Secret>> {
        let kept = paths.iter().filter_map(|path| self.find(path));
        let read = |kept: &Carried| {
            let length = usize::try_from(file::metadata(kept.as_fd())?.size).unwrap_or(0);
            Ok(Secret(file::read_at(kept.as_fd(), 0, length)?))
        };
        kept.map(read).collect()
    }

    /// Sets what these files said; the last one wins.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) fn set(&self, paths: &[PathBuf], environment: &mut Environment) -> io::Result<()> {
        for pairs in self.of(paths)? {
            for (name, value) in env_file::entries(&pairs.0) {
                environment.set(OsStr::from_bytes(name), OsStr::from_bytes(value));
            }
        }
        Ok(())
    }
}
