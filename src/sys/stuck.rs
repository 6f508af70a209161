//! Why a process is still there after SIGKILL: what the kernel shows of its threads (proc_pid_status(5)).

use std::fs;

/// What keeps a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// One of its threads waits in the kernel where no signal reaches it.
    Uninterruptible,
    /// A process has attached itself to it with ptrace(2), and hears of its end first.
    Traced {
        /// That process.
        by: u32,
    },
    /// It has ended, and its parent has not been told yet.
    Ended,
    /// Something else: it is slow to end, or /proc does not tell.
    Unknown,
}

/// Why that process does not end. Asks nothing that waits for the process.
#[must_use]
pub(crate) fn why(pid: u32) -> Stuck {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Stuck::Unknown };
    let texts = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("status")));
    of(texts.map(Result::unwrap_or_default))
}

fn of(threads: impl Iterator<Item = String>) -> Stuck {
    let mut states = String::new();
    for text in threads {
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        match field("TracerPid:").and_then(|pid| pid.parse().ok()) {
            None | Some(0) => {}
            Some(by) => return Stuck::Traced { by },
        }
        states.extend(field("State:").and_then(|state| state.chars().next()));
    }
    match states.as_str() {
        waits if waits.contains('D') => Stuck::Uninterruptible,
        ended if !ended.is_empty() && ended.chars().all(|state| state == 'Z') => Stuck::Ended,
        _ => Stuck::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_is_enough_to_keep_a_process() {
        let thread = |state: &str, tracer: u32| {
            format!("Name:\tx\nState:\t{state}\nTgid:\t7\nTracerPid:\t{tracer}\nUid:\t0\t0\n")
        };
        let of = |threads: &[String]| super::of(threads.iter().cloned());
        assert_eq!(of(&[thread("Z (zombie)", 0), thread("D (disk sleep)", 0)]), Stuck::Uninterruptible);
        assert_eq!(of(&[thread("Z (zombie)", 42)]), Stuck::Traced { by: 42 });
        assert_eq!(of(&[thread("Z (zombie)", 0)]), Stuck::Ended);
        assert_eq!(of(&[thread("R (running)", 0)]), Stuck::Unknown);
        assert_eq!(of(&[]), Stuck::Unknown);
        assert_eq!(why(std::process::id()), Stuck::Unknown);
        assert_eq!(why(u32::MAX), Stuck::Unknown);
    }
}
