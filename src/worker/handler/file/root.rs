//! The directory of a location, and opening what is below it.
//!
//! A root is *near* if it lies on a file system whose every answer comes from this machine's kernel and disks; what is below
//! it on the same mount is, too. Everything else is *far*: another mount below it, what links lead to elsewhere, roots over
//! a network, in user space (FUSE), in layers, of a kind that is not known. The loop touches what is near; a thread looks up
//! what is far, and may find that it is near after all.

use super::watch::Watches;
use crate::config::Symlinks;
use crate::sys::file::{
    Links, Metadata, is_local, is_near, metadata, metadata_on_mount, open_beneath, open_directory,
    open_directory_on_mount, open_file as open_for_reading, open_on_mount, open_through_links,
};
use crate::sys::inotify::Watch;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What has come in the place of a root.
#[derive(Debug)]
pub(crate) enum Replaced {
    /// Nothing: it is the same.
    No,
    /// A directory that can be.
    By(Directory),
    /// A directory that this worker may not read: its sandbox knows the old one only.
    OutOfReach,
}

/// An open directory, to look names up in.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    pub(super) id: (u64, u64),
    near: bool,
}

impl Directory {
    /// Waits for whatever the path leads to.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fd = open_directory(path)?;
        let id = metadata(fd.as_fd())?.id;
        // Without openat2 nothing keeps the loop on the mount.
        let near = is_near(fd.as_fd()) && open_directory_on_mount(fd.as_fd(), b"").is_ok();
        Ok(Self { fd, id, near })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Root {
    directory: Arc<OwnedFd>,
    near: bool,
    pub(super) watch: Option<Watch>,
    /// See [`super::location::StaticLocation::number`].
    pub(super) number: u32,
}

impl Root {
    /// Of a directory that a thread has opened.
    pub(super) fn of(directory: Directory, number: u32, watches: &mut Watches) -> Self {
        let Directory { fd, near, .. } = directory;
        let mut root = Self { directory: Arc::new(fd), near, watch: None, number };
        root.watch_again(watches);
        root
    }

    /// Has changes in it told.
    pub(super) fn watch_again(&mut self, watches: &mut Watches) {
        // Of layers that lie over each other some changes are not told.
        let told = self.near && is_local(self.directory.as_fd());
        self.watch = if told { watches.watch(self.directory.as_fd()) } else { None };
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// For a thread.
    pub(super) fn shared(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.directory)
    }

    /// Whether it is near.
    pub(super) fn is_near(&self) -> bool {
        self.near
    }

    /// Opens a file that is near; whether a symbolic link led to it, so that what happens to its path does not tell all.
    /// `None`: it is far.
    pub(super) fn open_near(&self, path: &[u8], links: &Symlinks) -> io::Result<Option<(OwnedFd, bool)>> {
        if !self.near {
            return Ok(None);
        }
        let opened = match open_on_mount(self.fd(), path, Links::Refuse) {
            Err(error) if is(&error, Errno::ELOOP) && *links != Symlinks::Refuse => {
                open_on_mount(self.fd(), path, Links::Beneath).map(|file| (file, true))
            }
            plain => plain.map(|file| (file, false)),
        };
        match opened {
            Err(error) if is(&error, Errno::EXDEV) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// What a path is that is near, without opening it.
    pub(super) fn metadata_near(&self, path: &[u8], links: &Symlinks) -> io::Result<Metadata> {
        let links = if *links == Symlinks::Refuse { Links::Refuse } else { Links::Beneath };
        metadata_on_mount(self.fd(), path, links)
    }
}

/// What a thread does to see whether a path names another directory than the one that is known, or to open it, if it is
/// `wanted` as it is, too.
pub(super) fn look(
    path: PathBuf,
    known: Option<(u64, u64)>,
    wanted: bool,
) -> impl FnOnce() -> io::Result<Replaced> + Send + 'static {
    move || {
        let found = Directory::open(&path)?;
        if Some(found.id) == known {
            return Ok(if wanted { Replaced::By(found) } else { Replaced::No });
        }
        Ok(match open_for_reading(&path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Replaced::OutOfReach,
            _ => Replaced::By(found),
        })
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Opens a file below a root, wherever it is: for threads.
pub(super) fn open_file(root: BorrowedFd<'_>, path: &[u8], links: &Symlinks) -> io::Result<OwnedFd> {
    match open_beneath(root, path, Links::Refuse) {
        Err(error) if is(&error, Errno::ELOOP) => {}
        plain => return plain,
    }
    match links {
        Symlinks::Refuse => Err(Errno::ELOOP.into()),
        Symlinks::Beneath => open_beneath(root, path, Links::Beneath),
        Symlinks::Follow(to) => match open_beneath(root, path, Links::Beneath) {
            Err(error) if is(&error, Errno::EXDEV) => open_through_links(root, path, to),
            beneath => beneath,
        },
    }
}
