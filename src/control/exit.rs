//! How a process ended, and how that is told to people: by `status`, the log and the history of cron jobs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By the kernel's SIGKILL, while it killed for want of memory.
    OutOfMemory,
}

/// `exit 3`, `killed by SIGKILL`.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal(number) => match signal_name(number) {
                Some(name) => write!(f, "killed by SIG{name}"),
                None => write!(f, "killed by signal {number}"),
            },
            Self::OutOfMemory => write!(f, "killed by SIGKILL: probably out of memory"),
        }
    }
}

/// Name of a signal without `SIG`, by its number on Linux (signal(7); x86, ARM and most others).
#[must_use]
pub(crate) fn signal_name(number: i32) -> Option<&'static str> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    NAMES.get(index).copied()
}

/// From 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_reads_as_people_say_it() {
        assert_eq!(Exit::Code(3).to_string(), "exit 3");
        assert_eq!(Exit::Signal(9).to_string(), "killed by SIGKILL");
        assert_eq!(Exit::Signal(11).to_string(), "killed by SIGSEGV");
        assert_eq!(Exit::Signal(31).to_string(), "killed by SIGSYS");
        assert_eq!(Exit::OutOfMemory.to_string(), "killed by SIGKILL: probably out of memory");
        for odd in [0, -1, 32, 64, i32::MAX, i32::MIN] {
            assert_eq!(Exit::Signal(odd).to_string(), format!("killed by signal {odd}"));
        }
    }
}
