//! Small things that are done with a descriptor: eventfds, unlinked files, duplicates.

use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A non-blocking, close-on-exec eventfd with count 0.
///
/// # Errors
/// EMFILE, ENFILE.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked and then owned by nobody else.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Wakes whoever polls the eventfd. A full counter means that it is awake already.
pub(crate) fn poke(eventfd: BorrowedFd<'_>) {
    let _ = nix::unistd::write(eventfd, &1u64.to_ne_bytes());
}

/// Resets the eventfd; whether it had been poked.
pub(crate) fn quiet(eventfd: BorrowedFd<'_>) -> bool {
    let mut count = [0u8; 8];
    nix::unistd::read(eventfd, &mut count).is_ok()
}

/// A file without a name in `directory`, for reading and writing; it vanishes with its last descriptor.
///
/// # Errors
/// What opening a file can meet: EACCES, ENOENT, ENOSPC, EMFILE.
pub(crate) fn unnamed_file_in(directory: BorrowedFd<'_>) -> io::Result<File> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    match openat(directory, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(fd) => Ok(File::from(fd)),
        // Some file systems (overlayfs on old kernels, NFS) have no O_TMPFILE.
        Err(nix::Error::EOPNOTSUPP | nix::Error::EISDIR | nix::Error::EINVAL) => {
            named_then_unlinked_in(directory)
        }
        Err(error) => Err(error.into()),
    }
}

fn named_then_unlinked_in(directory: BorrowedFd<'_>) -> io::Result<File> {
    let name = format!("hatchery-{:016x}", random());
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let file = openat(directory, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir)?;
    Ok(File::from(file))
}

#[cfg(test)]
pub(crate) fn unnamed_file(directory: &std::path::Path) -> io::Result<File> {
    unnamed_file_in(super::file::open_directory(directory)?.as_fd())
}

#[cfg(test)]
pub(crate) fn named_then_unlinked(directory: &std::path::Path) -> io::Result<File> {
    named_then_unlinked_in(super::file::open_directory(directory)?.as_fd())
}

/// A pipe, close-on-exec; neither end blocks.
///
/// # Errors
/// EMFILE, ENFILE.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

/// A pipe from a program, close-on-exec: our end does not block, the other one, which it writes to, does.
///
/// # Errors
/// EMFILE, ENFILE.
pub(crate) fn pipe_from_program() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// The same, of so many bytes.
///
/// # Errors
/// EMFILE; EPERM where the user has too many pages in pipes (pipe(7)).
pub(crate) fn pipe_of(size: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let pipe = pipe()?;
    let size = i32::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    fcntl(&pipe.1, FcntlArg::F_SETPIPE_SZ(size))?;
    Ok(pipe)
}

/// Reads from a pipe; how many bytes.
///
/// # Errors
/// EAGAIN when it is empty.
pub(crate) fn read_pipe(pipe: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(pipe, buffer)?)
}

/// Writes what is not longer than PIPE_BUF to a channel that does not block: all of it, or nothing (pipe(7); a stream socket
/// takes so little as one piece).
///
/// # Errors
/// `WouldBlock` while there is no room, EPIPE when nobody reads any more.
pub(crate) fn write_whole(pipe: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    debug_assert!(bytes.len() <= libc::PIPE_BUF, "a longer write can be torn apart");
    loop {
        match nix::unistd::write(pipe, bytes) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes to a file from that place on.
///
/// # Errors
/// ENOSPC, EDQUOT, EIO; `WriteZero` if it takes nothing.
pub(crate) fn write_all_at(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> io::Result<()> {
    let (mut rest, mut offset) = (bytes, libc::off_t::try_from(offset).map_err(io::Error::other)?);
    while !rest.is_empty() {
        match nix::sys::uio::pwrite(file, rest, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                rest = rest.get(count..).unwrap_or_default();
                offset = offset.saturating_add(count as libc::off_t);
            }
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes a file empty.
///
/// # Errors
/// EIO.
pub(crate) fn truncate(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(nix::unistd::ftruncate(file, 0)?)
}

/// A descriptor that is handed to somebody in place of being closed, when it is dropped.
pub(crate) struct Handed {
    /// There until [`Handed::keep`] or the drop.
    descriptor: ManuallyDrop<OwnedFd>,
    to: Option<Box<dyn Fn(OwnedFd)>>,
}

impl Handed {
    /// Handed to `to`, when it is dropped.
    #[must_use]
    pub(crate) fn new(descriptor: OwnedFd, to: Box<dyn Fn(OwnedFd)>) -> Self {
        Self { descriptor: ManuallyDrop::new(descriptor), to: Some(to) }
    }

    /// The descriptor as the caller's own.
    #[must_use]
    pub(crate) fn keep(mut self) -> OwnedFd {
        self.to = None;
        // SAFETY: taken once: without `to` the drop leaves it alone.
        unsafe { ManuallyDrop::take(&mut self.descriptor) }
    }
}

impl AsFd for Handed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            // SAFETY: taken once, as `keep` has not been called.
            to(unsafe { ManuallyDrop::take(&mut self.descriptor) });
        }
    }
}

impl std::fmt::Debug for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handed").field(&self.descriptor).finish()
    }
}

/// Fills a few bytes, 256 at most, with unpredictable ones.
pub(crate) fn randomize(bytes: &mut [u8]) {
    // SAFETY: the buffer is as long as is said and lives across the call.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    // Up to 256 bytes come whole, and no signal interrupts that (getrandom(2)).
    assert_eq!(usize::try_from(got), Ok(bytes.len()), "no randomness");
}

/// Eight unpredictable bytes.
#[must_use]
pub(crate) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is eight bytes long and lives across the call.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    debug_assert_eq!(got, 8, "getrandom of eight bytes cannot be short");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write as _};

    #[test]
    fn an_eventfd_reports_a_poke_once() {
        let fd = eventfd().unwrap();
        assert!(!quiet(fd.as_fd()));
        poke(fd.as_fd());
        poke(fd.as_fd());
        assert!(quiet(fd.as_fd()));
        assert!(!quiet(fd.as_fd()));
    }

    #[test]
    fn unnamed_files_leave_nothing_behind() {
        let directory = std::env::temp_dir().join(format!("hatchery-fd-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for make in [unnamed_file, named_then_unlinked] {
            let mut file = make(&directory).unwrap();
            file.write_all(b"spooled").unwrap();
            file.rewind().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "spooled");
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        }
        std::fs::remove_dir(&directory).unwrap();
        assert!(unnamed_file(&directory).is_err());
    }
}
