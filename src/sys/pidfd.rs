//! Descriptors of processes: a signal sent through one never reaches a stranger that got the number again.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A descriptor of the process `pid`; readable once it has ended. See pidfd_open(2).
///
/// # Errors
/// ESRCH if there is no such process, EMFILE and the like, ENOSYS where a sandbox hides the call.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: pidfd_open takes two integers and returns a new descriptor (close-on-exec) or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = libc::c_int::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends `signal` to the process of the descriptor. See pidfd_send_signal(2).
///
/// # Errors
/// ESRCH if it was reaped, EPERM if it changed its user.
pub(crate) fn send(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: without information (a null pointer) the call takes integers only.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, info, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn names_a_living_process_and_refuses_a_missing_one() {
        let own = open(std::process::id()).unwrap();
        send(own.as_fd(), 0).unwrap();
        assert!(open(u32::MAX).is_err());
        assert!(open(0x3fff_ffff).is_err(), "above the kernel's largest process id");
    }
}
