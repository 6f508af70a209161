//! Signals: as one readable descriptor in the master, blocked around a fork, reset in a child.

use super::rights;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

pub(crate) use libc::{
    SIGABRT, SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1,
    SIGUSR2, SIGWINCH,
};

/// Signals that would end a process which does not expect them, and that mean no more than a mistake of the sender
/// (SIGXFSZ: a log file at the limit of its size, which the write reports too).
pub(crate) const STRAY: [i32; 7] = [
    libc::SIGALRM,
    libc::SIGIO,
    libc::SIGPROF,
    libc::SIGPWR,
    libc::SIGSTKFLT,
    libc::SIGVTALRM,
    libc::SIGXFSZ,
];

/// The real-time signal upon which an app process writes its stacks. Apps use USR1 and USR2 themselves.
#[must_use]
pub(crate) fn stacks() -> i32 {
    libc::SIGRTMIN() + 5
}

/// Signals that arrive as bytes of a descriptor instead of interrupting.
#[derive(Debug)]
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    /// Catches `signals` from now on.
    ///
    /// # Errors
    /// EMFILE; EINVAL for a signal that cannot be caught.
    pub(crate) fn new(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        rights::refuse(read.as_fd());
        rights::send_only(write.as_fd())?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        Ok(Self { delivery: SignalDelivery::with_pipe(read, write, SignalOnly, signals)? })
    }

    /// Readable when a signal came.
    #[must_use]
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }

    /// The signals that came since the last call, each once however often it came.
    pub(crate) fn pending(&mut self) -> Vec<i32> {
        self.delivery.pending().collect()
    }
}

/// Writing to a closed pipe or socket is an error of that write from now on, not the end of the process.
pub(crate) fn ignore_broken_pipes() {
    set(SIGPIPE, libc::SIG_IGN);
}

/// The other way round, as before Rust's library has this process [`ignore_broken_pipes`].
pub(crate) fn heed_broken_pipes() {
    set(SIGPIPE, libc::SIG_DFL);
}

/// Has these do nothing until they are caught.
pub(crate) fn ignore(signals: &[i32]) {
    signals.iter().for_each(|signal| set(*signal, libc::SIG_IGN));
}

/// A saved signal mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask(libc::sigset_t);

/// Blocks every signal and returns the mask before; but SIGSYS, by which the sandbox of tests tells what it refused, and
/// which blocked would end the process without a word.
#[must_use]
pub(crate) fn block_all() -> Mask {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises `all`, sigdelset changes it; pthread_sigmask reads it and fills `before`; none can
    // fail with these arguments.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigdelset(all.as_mut_ptr(), libc::SIGSYS);
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Mask(before.assume_init())
    }
}

/// Puts a mask back.
pub(crate) fn restore(mask: &Mask) {
    // SAFETY: `mask` came from block_all, so it is a valid set; the old one is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut()) };
}

/// Blocks nothing from now on. Async-signal-safe.
pub(crate) fn unblock_all() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises `none`, pthread_sigmask reads it.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Gives every signal its default disposition, except that those in `ignored` are ignored. For a child after a fork:
/// the handlers of its parent would write into the parent's pipe. Async-signal-safe.
pub(crate) fn reset(ignored: &[i32]) {
    for signal in 1..=64 {
        set(signal, if ignored.contains(&signal) { libc::SIG_IGN } else { libc::SIG_DFL });
    }
}

fn set(signal: i32, disposition: libc::sighandler_t) {
    // SAFETY: SIG_IGN and SIG_DFL run no code of ours. KILL, STOP and the C library's own signals are refused, which
    // is as good.
    unsafe { libc::signal(signal, disposition) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_becomes_readable_and_is_told_once() {
        let mut signals = Signals::new(&[SIGUSR2]).unwrap();
        assert!(signals.pending().is_empty());
        // SAFETY: raises a signal that is caught.
        unsafe {
            libc::raise(SIGUSR2);
            libc::raise(SIGUSR2);
        }
        assert_eq!(signals.pending(), [SIGUSR2]);
        assert!(signals.pending().is_empty());
    }
}
