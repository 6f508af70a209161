//! The directory of a location, and opening what is below it.

use super::watch::Watches;
use crate::config::Symlinks;
use crate::sys::file::{
    Kind, Links, metadata, open_beneath, open_directory, open_file as open_for_reading, open_through_links,
};
use crate::sys::inotify::Watch;
use crate::timer::Time;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How often the root itself is looked at: a deployment may have put another directory in its place.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What has come in the place of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// Nothing.
    None,
    /// A directory that can be served.
    There,
    /// A directory that this worker may not read: its sandbox knows the old one only.
    OutOfReach,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    id: (u64, u64),
    pub(super) watch: Option<Watch>,
    look_at: Time,
    /// Distinguishes what is cached of different directories.
    pub(super) number: u32,
}

impl Root {
    pub(super) fn open(path: &Path, number: u32, watches: &mut Watches) -> io::Result<Self> {
        let directory = open_directory(path)?;
        let id = metadata(directory.as_fd())?.id;
        let watch = watches.watch(directory.as_fd());
        Ok(Self { directory, id, watch, look_at: Time::ZERO, number })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether it is time to see if the path names another directory now, and it does. One that cannot be looked at
    /// (any more) stays: what was opened keeps working.
    pub(super) fn replacement(&mut self, path: &Path, now: Time) -> Replacement {
        if now < self.look_at {
            return Replacement::None;
        }
        self.look_at = now.after(LOOK_EVERY);
        let found = open_directory(path).and_then(|directory| metadata(directory.as_fd()));
        if !found.is_ok_and(|found| found.kind == Kind::Directory && found.id != self.id) {
            return Replacement::None;
        }
        match open_for_reading(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Replacement::OutOfReach,
            _ => Replacement::There,
        }
    }

    /// Opens a file; whether a symbolic link led to it, so that what happens to its path does not tell all.
    pub(super) fn open_file(&self, path: &[u8], links: &Symlinks) -> io::Result<(OwnedFd, bool)> {
        match open_beneath(self.fd(), path, Links::Refuse) {
            Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {}
            plain => return plain.map(|file| (file, false)),
        }
        let file = match links {
            Symlinks::Refuse => Err(Errno::ELOOP.into()),
            Symlinks::Beneath => open_beneath(self.fd(), path, Links::Beneath),
            Symlinks::Follow(to) => match open_beneath(self.fd(), path, Links::Beneath) {
                Err(error) if error.raw_os_error() == Some(Errno::EXDEV as i32) => {
                    open_through_links(self.fd(), path, to)
                }
                beneath => beneath,
            },
        };
        file.map(|file| (file, true))
    }
}
