//! Directories as the rule on what may be published sees them, so that it can be tested without a disk.

use crate::config::Disk;
use crate::sys::file;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it is.
    pub(crate) name: OsString,
    /// A directory, and no link to one.
    pub(crate) is_directory: bool,
}

/// A part of a file system. What cannot be looked at is not there: workers, whose rights are fewer, would not read it.
pub(crate) trait Tree {
    /// The path without links; `None` if nothing is there.
    fn real(&self, path: &Path) -> Option<PathBuf>;
    /// A regular file is there, perhaps behind links.
    fn is_file(&self, path: &Path) -> bool;
    /// A directory is there, perhaps behind links.
    fn is_directory(&self, path: &Path) -> bool;
    /// Names in a directory, at most so many, in no order.
    fn entries(&self, directory: &Path, most: usize) -> Vec<Entry>;
    /// Whether looking around in a directory waits for no network and no other program.
    fn is_near(&self, directory: &Path) -> bool;
}

impl Tree for Disk {
    fn real(&self, path: &Path) -> Option<PathBuf> {
        std::fs::canonicalize(path).ok()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn entries(&self, directory: &Path, most: usize) -> Vec<Entry> {
        let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
        let entry = |entry: std::fs::DirEntry| {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            Entry { name: entry.file_name(), is_directory }
        };
        entries.take(most).filter_map(Result::ok).map(entry).collect()
    }

    fn is_near(&self, directory: &Path) -> bool {
        file::open_directory(directory).is_ok_and(|directory| file::is_near(directory.as_fd()))
    }
}
