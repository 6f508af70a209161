//! A file that stands for another one of the same directory.

use super::retry;
use crate::sys::fd::random;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;

/// Puts a file with this content in place of what has the name in an open directory, with owner, permissions and time of `like`, an
/// open file. Nobody ever sees a part of it; after a crash it is there whole or not at all. A link of that name is replaced, not
/// followed.
///
/// # Errors
/// As `open(2)`, `write(2)` and `rename(2)`.
pub(crate) fn put_beside(
    directory: BorrowedFd<'_>,
    name: &[u8],
    content: &[u8],
    like: BorrowedFd<'_>,
) -> io::Result<()> {
    let made = format!(".hatchery-{:016x}", random());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file: File =
        retry(|| openat(directory, made.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR))?.into();
    let written = file.write_all(content).and_then(|()| resemble(&file, like)).and_then(|()| file.sync_all());
    let moved = written.and_then(|()| Ok(renameat(directory, made.as_str(), directory, name)?));
    if moved.is_err() {
        let _ = unlinkat(directory, made.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    moved
}

/// Removes a name from an open directory, if it is no directory.
///
/// # Errors
/// As `unlink(2)`.
pub(crate) fn remove_beside(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?)
}

fn resemble(file: &File, like: BorrowedFd<'_>) -> io::Result<()> {
    let stat = fstat(like)?;
    let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    // Only the superuser may give a file away; others may still give it to a group of theirs.
    if fchown(file, Some(owner), Some(group)).is_err() {
        let _ = fchown(file, None, Some(group));
    }
    fchmod(file, Mode::from_bits_truncate(stat.st_mode & 0o777))?;
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    Ok(futimens(file, &modified, &modified)?)
}
