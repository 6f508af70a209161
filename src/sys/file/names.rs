//! What a name below a directory is, without opening it: of a script nothing is read here, and it may be one that can be
//! executed only.

use super::{Kind, Links, Metadata, open_with, retry};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlink};
use nix::sys::stat::{Mode, fstat};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

/// What `path` below `root` is. With `to`, links may lead anywhere in the root, which is at `place`, and in these directories.
///
/// # Errors
/// As [`super::open_beneath`]: EXDEV and ELOOP for links that are not followed.
pub(crate) fn kind_beneath(
    root: BorrowedFd<'_>,
    place: &Path,
    path: &[u8],
    links: Links,
    to: &[PathBuf],
) -> io::Result<Kind> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    if to.is_empty() {
        let found = open_with(root, path, flags, links)?;
        // A link that is refused is opened itself where the kernel has no openat2.
        return Ok(Metadata::of(&retry(|| fstat(found.as_fd()))?).kind);
    }
    let found = retry(|| openat(root, path, flags, Mode::empty()))?;
    let real = PathBuf::from(retry(|| readlink(format!("/proc/self/fd/{}", found.as_raw_fd()).as_str()))?);
    let is_in =
        |directory: &Path| directory.canonicalize().is_ok_and(|directory| real.starts_with(directory));
    if !is_in(place) && !to.iter().any(|directory| is_in(directory)) {
        return Err(Errno::EXDEV.into());
    }
    Ok(Metadata::of(&retry(|| fstat(found.as_fd()))?).kind)
}
