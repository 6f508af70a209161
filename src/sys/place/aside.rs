//! Something that is made aside, in a directory that nobody else can enter, and moved to its place when it is complete.

use super::{Access, Directory, Place, identity, retry};
use crate::sys::{fd, user};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, unlinkat};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The name of what is made, in a directory in which it is alone.
const NAME: &str = "s";

/// The private directory beside a place; gone when it is dropped.
#[derive(Debug)]
pub(in crate::sys) struct Aside<'a> {
    place: &'a Place,
    directory: OwnedFd,
    name: String,
}

impl<'a> Aside<'a> {
    /// Makes the directory.
    ///
    /// # Errors
    /// As `mkdir(2)`; EAGAIN if somebody has put something in its place.
    pub(in crate::sys) fn new(place: &'a Place) -> io::Result<Self> {
        let name = format!(".hatchery-{:016x}", fd::random());
        mkdirat(&place.directory, name.as_str(), Mode::S_IRWXU)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = retry(|| openat(&place.directory, name.as_str(), flags, Mode::empty()))?;
        let aside = Self { place, directory, name };
        // Another directory of ours that was moved here would do as well; one that others can enter would not.
        let stat = fstat(&aside.directory)?;
        if stat.st_uid != user::uid() || stat.st_mode & 0o077 != 0 {
            return Err(Errno::EAGAIN.into());
        }
        Ok(aside)
    }

    /// Where it is to be made: a path of this process alone.
    pub(in crate::sys) fn path(&self) -> PathBuf {
        Directory::name_of(std::os::fd::AsFd::as_fd(&self.directory), NAME)
    }

    /// Gives what was made its mode and owner. Nobody else can put a link in its place here.
    pub(in crate::sys) fn set(&self, access: Access) -> io::Result<()> {
        set(&self.directory, NAME, access)
    }

    /// Moves what was made to its place, where nothing must be.
    ///
    /// # Errors
    /// EEXIST: something is there by now.
    pub(in crate::sys) fn publish(self) -> io::Result<super::Identity> {
        let made = identity(&fstatat(&self.directory, NAME, AtFlags::AT_SYMLINK_NOFOLLOW)?);
        let target = CString::new(self.place.name.as_bytes())?;
        match self.rename(&target) {
            // File systems, and kernels, that cannot rename without replacing.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
                linkat(&self.directory, NAME, &self.place.directory, target.as_c_str(), AtFlags::empty())?;
            }
            renamed => renamed?,
        }
        Ok(made)
    }

    fn rename(&self, target: &CString) -> io::Result<()> {
        let (from, to) = (self.directory.as_raw_fd(), self.place.directory.as_raw_fd());
        let name = CString::new(NAME)?;
        // SAFETY: both names end with NUL and live across the call; the rest are integers.
        let renamed = unsafe {
            libc::syscall(
                libc::SYS_renameat2,
                from,
                name.as_ptr(),
                to,
                target.as_ptr(),
                libc::RENAME_NOREPLACE,
            )
        };
        if renamed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        // Whatever stays is an empty directory of ours.
        let _ = unlinkat(&self.directory, NAME, UnlinkatFlags::NoRemoveDir);
        let _ = unlinkat(&self.place.directory, self.name.as_str(), UnlinkatFlags::RemoveDir);
    }
}

/// Gives a name in a directory that nobody else can change its mode and owner.
pub(in crate::sys) fn set(
    directory: &OwnedFd,
    name: impl AsRef<std::ffi::OsStr>,
    access: Access,
) -> io::Result<()> {
    let (name, Access { mode, user, group }) = (name.as_ref(), access);
    fchmodat(directory, name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)?;
    if user.or(group).is_some() {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        fchownat(directory, name, user, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
