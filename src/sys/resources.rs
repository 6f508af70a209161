//! What a process may use, and how soon the kernel ends it when memory runs out.

use std::io;

/// Bounds for a program; `None` leaves what the master has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Open descriptors.
    pub(crate) open_files: Option<u32>,
    /// Processes and threads of its user, this one included.
    pub(crate) processes: Option<u32>,
    /// Bytes of address space, mapped files included.
    pub(crate) address_space: Option<u64>,
    /// Bytes of a core file; 0: none is written.
    pub(crate) core: Option<u64>,
    /// From -1000 (never) to 1000 (first).
    pub(crate) oom_score_adj: Option<i16>,
}

/// What could not be put into force.
#[derive(Debug)]
pub(crate) struct Refused {
    key: &'static str,
    value: i128,
    pub(crate) error: io::Error,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` to {}: {}", self.key, self.value, self.error)
    }
}

impl Resources {
    /// Puts them into force for this process and what it becomes, as soft and hard limits. Before the change of user,
    /// which takes the right to raise some. Async-signal-safe.
    ///
    /// # Errors
    /// The first that cannot be. EPERM: above a limit of the master that it may not raise.
    pub(crate) fn apply(&self) -> Result<(), Refused> {
        // First, as it opens a file: the limit may be below what is still open.
        if let Some(score) = self.oom_score_adj {
            let refused = |error| Refused { key: "oom_score_adj", value: score.into(), error };
            set_oom_score(score).map_err(refused)?;
        }
        let limits = [
            ("limits.open_files", libc::RLIMIT_NOFILE, self.open_files.map(u64::from)),
            ("limits.processes", libc::RLIMIT_NPROC, self.processes.map(u64::from)),
            ("limits.address_space", libc::RLIMIT_AS, self.address_space),
            ("limits.core", libc::RLIMIT_CORE, self.core),
        ];
        for (key, resource, limit) in limits {
            let Some(value) = limit else { continue };
            let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
            // SAFETY: the pointer is to a living structure that is only read.
            if unsafe { libc::setrlimit(resource, &raw const limit) } < 0 {
                return Err(Refused { key, value: value.into(), error: io::Error::last_os_error() });
            }
        }
        Ok(())
    }
}

/// Without allocation, since it runs between a fork and an exec.
fn set_oom_score(score: i16) -> io::Result<()> {
    let mut text = [0; 8];
    let mut unused: &mut [u8] = &mut text;
    io::Write::write_fmt(&mut unused, format_args!("{score}"))?;
    let left = unused.len();
    let length = text.len() - left;
    // SAFETY: a NUL-terminated string; the descriptor is closed below.
    let file = unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `length` bytes of a living array.
    let written = unsafe { libc::write(file, text.as_ptr().cast(), length) };
    let error = io::Error::last_os_error();
    // SAFETY: opened above, used by nobody else.
    unsafe { libc::close(file) };
    if written < 0 { Err(error) } else { Ok(()) }
}
