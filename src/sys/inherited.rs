//! Descriptors that came over an exec, by their numbers: from systemd, from the program before this one, from the master to
//! a trial. This program makes every descriptor close-on-exec, so an open one that is not so came over the exec, and has no
//! owner until it is taken, when it becomes close-on-exec too. That is how each is taken once, and none that is owned.

use std::fs::File;
use std::io;
#[cfg(test)]
use std::os::fd::AsRawFd as _;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;

/// Whether a descriptor of this number is open.
#[cfg(test)]
#[must_use]
pub(crate) fn is_open(number: RawFd) -> bool {
    flags(number).is_some()
}

/// The flags of an open descriptor.
fn flags(number: RawFd) -> Option<libc::c_int> {
    // SAFETY: integers only.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    (flags >= 0).then_some(flags)
}

/// Whether the descriptor of this number is open and nobody owns it. The standard streams belong to everybody.
fn is_free(number: RawFd) -> bool {
    number > libc::STDERR_FILENO && flags(number).is_some_and(|flags| flags & libc::FD_CLOEXEC == 0)
}

/// The descriptor of this number as ours; `None` if it did not come over an exec, or was taken before.
#[must_use]
pub fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: integers only.
    if !is_free(number) || unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: it is open, and nobody has owned it, as was seen; from now on it does not look so.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Another descriptor of what this number names, which stays to be taken.
///
/// # Errors
/// EBADF if it did not come over an exec, or was taken before; EMFILE.
pub(crate) fn copy(number: RawFd) -> io::Result<OwnedFd> {
    if !is_free(number) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: integers only.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// What is in the file of this number, from its beginning; its position stays.
///
/// # Errors
/// As [`copy`]; ESPIPE: it is not a file.
pub(crate) fn contents(number: RawFd) -> io::Result<Vec<u8>> {
    let file = File::from(copy(number)?);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read_at(&mut buffer, bytes.len() as u64) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Puts a descriptor at this number as if it had come over an exec.
#[cfg(test)]
pub(crate) fn put_at(descriptor: OwnedFd, number: RawFd) {
    // SAFETY: integers only; the new one has no owner.
    let placed = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD, number) };
    assert_eq!(placed, number, "it is open already");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    /// Numbers that nothing else in this process comes to.
    const FAR: RawFd = 700;

    #[test]
    fn what_came_over_an_exec_is_taken_once() {
        put_at(file(), FAR);
        assert!(is_open(FAR) && copy(FAR).is_ok());
        let taken = take(FAR).unwrap();
        assert_eq!(taken.as_raw_fd(), FAR);
        assert!(take(FAR).is_none(), "it has an owner");
        assert_eq!(copy(FAR).unwrap_err().raw_os_error(), Some(libc::EBADF));
        drop(taken);
        assert!(!is_open(FAR) && take(FAR).is_none() && contents(FAR).is_err());
    }

    #[test]
    fn what_this_program_has_opened_is_not_taken_from_its_owner() {
        let owned = file();
        let number = owned.as_raw_fd();
        assert!(take(number).is_none() && copy(number).is_err() && contents(number).is_err());
        assert!((-1..3).all(|number| take(number).is_none()), "nor the standard streams");
        assert!(take(RawFd::MAX).is_none() && take(RawFd::MIN).is_none());
        assert!(is_open(number));
    }

    #[test]
    fn contents_are_read_without_moving_the_position() {
        let text = vec![7; 200_000];
        put_at(super::super::process::memory_file(&text).unwrap(), FAR + 1);
        assert_eq!(contents(FAR + 1).unwrap(), text);
        assert_eq!(contents(FAR + 1).unwrap(), text);
        assert!(take(FAR + 1).is_some());
    }
}
