//! Forks: a copy of this process that goes on in the same program. For other programs see [`super::spawn`].

use super::{Child, leave};
use crate::sys::signals;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Only a forked child has one: nobody else runs in this process, and nothing of what its parent held is needed here but
/// what the child says.
#[derive(Debug)]
pub(crate) struct OnlyChild(());

/// Checks that this process has one thread. A process with more must not fork and go on, nor change what others may be
/// reading, such as the environment.
///
/// # Errors
/// If it has more; where /proc is not mounted.
pub(in crate::sys) fn only_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        _ => Err(io::Error::other("this process has more than one thread")),
    }
}

/// Forks. The child runs `run` with all signals blocked and ends with its result; nothing of the parent's is dropped
/// there.
///
/// # Errors
/// More than one thread: a fork copies one only, and the locks of others would stay locked for ever. EAGAIN at a limit of
/// processes, ENOMEM.
pub(crate) fn fork(run: impl FnOnce(OnlyChild) -> i32) -> io::Result<Child> {
    only_thread()?;
    // SAFETY: there is one thread, as was just seen, and no other can come from nothing.
    unsafe { fork_anyway(|| run(OnlyChild(()))) }
}

/// As [`fork`], whatever threads there are.
///
/// # Safety
/// If this process has more than one thread, `run` makes async-signal-safe calls only (signal-safety(7)): no allocation, no
/// locks.
///
/// # Errors
/// EAGAIN at a limit of processes, ENOMEM.
pub(super) unsafe fn fork_anyway(run: impl FnOnce() -> i32) -> io::Result<Child> {
    let mask = signals::block_all();
    // SAFETY: promised by the caller.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => leave(catch_unwind(AssertUnwindSafe(run)).unwrap_or(101)),
        -1 => {
            let error = io::Error::last_os_error();
            signals::restore(&mask);
            Err(error)
        }
        pid => {
            // The child does the same; whoever comes first, the group exists before we signal it.
            // SAFETY: integers only; EACCES after the child's exec means that it has done so itself.
            unsafe { libc::setpgid(pid, pid) };
            signals::restore(&mask);
            Ok(Child::new(pid))
        }
    }
}

/// As [`fork`], for tests: the thread that waits for a test holds no lock that its child needs.
///
/// # Errors
/// As [`fork`].
#[cfg(test)]
pub(crate) fn fork_of_test(run: impl FnOnce(OnlyChild) -> i32) -> io::Result<Child> {
    // SAFETY: the other thread is the test runner's, which sleeps until this test is over; nextest runs no second test in
    // this process, and with `cargo test` a lost fork is a test that fails.
    unsafe { fork_anyway(|| run(OnlyChild(()))) }
}

impl OnlyChild {
    /// Closes every descriptor above 2 that is not in `keep`, whoever in the parent owned it: that state is left alone here
    /// anyway.
    ///
    /// # Errors
    /// What closing a range of descriptors and listing /proc/self/fd both say.
    pub(crate) fn close_except(&self, keep: &[RawFd]) -> io::Result<()> {
        let mut keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 2).collect();
        keep.sort_unstable();
        let mut first = 3;
        for fd in keep.iter().copied().chain([RawFd::MAX]) {
            // SAFETY: whoever owned them is the parent, whose state a child leaves alone.
            if first < fd && unsafe { close_range(first, fd - 1, 0) }.is_err() {
                return close_listed(&keep);
            }
            first = fd.saturating_add(1);
        }
        Ok(())
    }
}

/// [`OnlyChild::close_except`] where close_range(2) is missing or refused.
fn close_listed(keep: &[RawFd]) -> io::Result<()> {
    for fd in listed()?.into_iter().filter(|fd| !keep.contains(fd)) {
        // SAFETY: an integer; the descriptor's owner is the forgotten state of the parent. That of the listing is an error
        // nobody needs.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// The open descriptors above 2, and that of the listing, which is closed already.
///
/// # Errors
/// Where /proc is not mounted; EMFILE.
pub(super) fn listed() -> io::Result<Vec<RawFd>> {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok().filter(|fd| *fd > 2);
    std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.map(number).transpose()).collect()
}

/// close_range(2), from `first` to `last`.
///
/// # Safety
/// Nobody in this process uses these descriptors afterwards, unless the flags only mark them.
pub(super) unsafe fn close_range(first: RawFd, last: RawFd, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: integers; the rest is promised by the caller.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, wait};
    use super::*;
    use std::os::fd::AsRawFd as _;
    use std::sync::mpsc::channel;

    #[test]
    fn with_a_second_thread_nothing_is_forked() {
        let (leave, left) = channel::<()>();
        let other = std::thread::spawn(move || left.recv());
        let ran = fork(|_| 0);
        assert!(ran.unwrap_err().to_string().contains("more than one thread"));
        drop(leave);
        assert!(other.join().unwrap().is_err());
    }

    #[test]
    fn a_forked_child_runs_and_ends_without_the_parents_exit() {
        let child = fork_of_test(|_| 42).unwrap();
        assert_eq!(wait(&child).unwrap(), Ended::Code(42));
        let child = fork_of_test(|_| match fork(|_| 3).and_then(|child| wait(&child)) {
            Ok(Ended::Code(code)) => code,
            _ => 1,
        });
        assert_eq!(wait(&child.unwrap()).unwrap(), Ended::Code(3), "a forked child has one thread");
    }

    #[test]
    fn only_what_is_kept_stays_open() {
        let kept = std::fs::File::open("/dev/null").unwrap();
        let other = std::fs::File::open("/dev/null").unwrap();
        let (own, foreign) = (kept.as_raw_fd(), other.as_raw_fd());
        for close in [true, false] {
            let child = fork_of_test(|alone| {
                let closed = if close { alone.close_except(&[own]) } else { close_listed(&[own]) };
                // SAFETY: integers only.
                let open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
                i32::from(closed.is_err() || !open(own) || open(foreign) || !open(2))
            })
            .unwrap();
            assert_eq!(wait(&child).unwrap(), Ended::Code(0));
        }
        drop((kept, other));
    }
}
