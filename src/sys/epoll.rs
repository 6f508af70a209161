//! Level-triggered interest in shared listeners, set directly on an epoll descriptor because mio offers edges only.
//!
//! Rules, each learnt from a measurement: with EPOLLEXCLUSIVE interest changes are DEL and ADD, never MOD (EINVAL), and
//! DEL always comes before close, else a descriptor that lives on elsewhere keeps firing.

use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Adds `fd` level-triggered; of all processes that wait for it one or more are woken, not each (EPOLLEXCLUSIVE).
///
/// # Errors
/// EEXIST if it is there already; ENOSPC, ENOMEM.
pub(crate) fn add_exclusive(epoll: &impl AsRawFd, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
    control(epoll, libc::EPOLL_CTL_ADD, fd.as_raw_fd(), (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32, token)
}

/// Removes `fd`.
///
/// # Errors
/// ENOENT if it is not there.
pub(crate) fn delete(epoll: &impl AsRawFd, fd: BorrowedFd<'_>) -> io::Result<()> {
    control(epoll, libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0)
}

fn control(epoll: &impl AsRawFd, operation: i32, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: token };
    // SAFETY: `event` lives across the call; a number that is not of an epoll instance is an error.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &raw mut event) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
