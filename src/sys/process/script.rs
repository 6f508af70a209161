//! Starts a program for a request as fast as the kernel can: the child uses our memory, while the thread that starts it waits,
//! until it has become the program (CLONE_VM and CLONE_VFORK of clone(2), as posix_spawn(3) does it). Nothing is copied, and
//! what fails is known at once. The parent may have other threads.

use super::{Child, close_range_at_exec, die_with_parent, leave};
use crate::sys::signals;
use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// What is started.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    /// The program.
    pub(crate) file: &'a CStr,
    /// Its arguments, the first being its name.
    pub(crate) arguments: &'a [CString],
    /// `NAME=value`, the whole environment.
    pub(crate) environment: &'a [CString],
    /// Working directory.
    pub(crate) directory: &'a CStr,
    /// Standard input, output and error, none of which is one of ours.
    pub(crate) streams: [BorrowedFd<'a>; 3],
}

/// Where the start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is no process.
    Process,
    /// Its descriptors, or the signal for our death.
    Around,
    /// Its directory cannot be entered.
    Directory,
    /// It cannot be executed.
    Execute,
}

/// What the child is told, and where it says what failed.
struct Told {
    file: *const libc::c_char,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    directory: *const libc::c_char,
    streams: [RawFd; 3],
    parent: u32,
    failed: Option<(Step, c_int)>,
}

/// Bytes of the stack that the child has until it is the program: a few calls deep.
const STACK: usize = 64 * 1024;

/// Starts a script: in a process group of its own, with default signal dispositions and nothing blocked, to be killed when the
/// thread that calls this ends.
///
/// # Errors
/// What failed, and why.
pub(crate) fn start(script: &Script<'_>) -> Result<Child, (Step, io::Error)> {
    let mut told = Told {
        file: script.file.as_ptr(),
        arguments: super::pointers(script.arguments),
        environment: super::pointers(script.environment),
        directory: script.directory.as_ptr(),
        streams: script.streams.map(|stream| stream.as_raw_fd()),
        parent: std::process::id(),
        failed: None,
    };
    // In units that are aligned as a stack has to be.
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let mut handle: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // Handlers of ours must not run in the child, whose memory is ours.
    let mask = signals::block_all();
    // SAFETY: the child runs `become_script` on a stack of its own, and ends or becomes another program before this call
    // returns; until then this thread stands still, so that `told` and what it points to live, and are used by nobody else.
    // The kernel writes the descriptor to `handle`.
    let pid = unsafe {
        libc::clone(
            become_script,
            top.cast::<c_void>(),
            flags,
            (&raw mut told).cast::<c_void>(),
            &raw mut handle,
        )
    };
    let error = io::Error::last_os_error();
    signals::restore(&mask);
    if pid < 0 {
        return Err((Step::Process, error));
    }
    let handle = (handle >= 0).then(|| {
        // SAFETY: the kernel has made it for us.
        unsafe { OwnedFd::from_raw_fd(handle) }.into()
    });
    let child = Child { pid: pid.unsigned_abs(), handle };
    match told.failed {
        None => Ok(child),
        Some((step, code)) => {
            // It has ended, and may still be about to be a child that can be reaped.
            let _ = super::wait(&child);
            Err((step, io::Error::from_raw_os_error(code)))
        }
    }
}

/// The child: everything up to the exec. Async-signal-safe, and changes nothing of the memory but its own report.
extern "C" fn become_script(told: *mut c_void) -> c_int {
    // SAFETY: what `start` has given to clone(2), which waits.
    let told = unsafe { &mut *told.cast::<Told>() };
    told.failed = Some(attempt(told));
    leave(127)
}

fn attempt(told: &Told) -> (Step, c_int) {
    let code = |error: &io::Error| error.raw_os_error().unwrap_or_default();
    // SAFETY: integers only; it is no leader of a session.
    unsafe { libc::setpgid(0, 0) };
    for (target, source) in (0..).zip(told.streams) {
        // SAFETY: integers only; dup2 clears close-on-exec on the copy.
        if unsafe { libc::dup2(source, target) } < 0 {
            return (Step::Around, code(&io::Error::last_os_error()));
        }
    }
    close_range_at_exec(3);
    signals::reset(&[]);
    if let Err(error) = die_with_parent(libc::SIGKILL, told.parent) {
        return (Step::Around, code(&error));
    }
    // SAFETY: a NUL-terminated string that lives on.
    if unsafe { libc::chdir(told.directory) } < 0 {
        return (Step::Directory, code(&io::Error::last_os_error()));
    }
    signals::unblock_all();
    // SAFETY: a NUL-terminated string and null-terminated arrays of such, all alive.
    unsafe { libc::execve(told.file, told.arguments.as_ptr(), told.environment.as_ptr()) };
    (Step::Execute, code(&io::Error::last_os_error()))
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, signal, wait};
    use super::*;
    use crate::sys::fd::pipe_from_program;
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    fn run(file: &CStr, script: &str, directory: &CStr) -> Result<(Child, OwnedFd), (Step, io::Error)> {
        let (read, write) = pipe_from_program().unwrap();
        let null = File::open("/dev/null").unwrap();
        let arguments = [c"sh".to_owned(), c"-c".to_owned(), CString::new(script).unwrap()];
        let child = start(&Script {
            file,
            arguments: &arguments,
            environment: &[c"NAME=value".to_owned()],
            directory,
            streams: [null.as_fd(), write.as_fd(), write.as_fd()],
        })?;
        Ok((child, read))
    }

    fn said(pipe: OwnedFd) -> String {
        nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
        let mut text = String::new();
        File::from(pipe).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_script_has_what_it_was_given_and_nothing_else() {
        let _open = File::open("/dev/null").unwrap();
        let script = "echo $NAME; pwd; env | wc -l; ls /proc/self/fd | tr '\\n' ' '; ps -o pgid= -p $$ | tr -d ' '; \
                      echo $$; grep -E 'Sig(Ign|Blk)' /proc/self/status | tr -d '\\t'";
        let (child, pipe) = run(c"/bin/sh", script, c"/usr").unwrap();
        let said = said(pipe);
        assert_eq!(wait(&child).unwrap(), Ended::Code(0));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..2], ["value", "/usr"]);
        // `ls` has the directory open, too.
        let (open, group) = lines[3].rsplit_once(' ').unwrap();
        assert_eq!(open, "0 1 2 3", "{said}");
        assert_eq!(group, lines[4], "a group of its own");
        let number = |line: &str| u64::from_str_radix(line.split_once(':').unwrap().1, 16).unwrap();
        // Two signals are the C library's own, which it lets nobody reset.
        assert_eq!((number(lines[5]), number(lines[6]) & !0x1_8000_0000), (0, 0), "{said}");
    }

    #[test]
    fn what_fails_is_known_at_once() {
        let failed = |file, directory| run(file, "", directory).map(|_| ()).unwrap_err();
        let (step, error) = failed(c"/no/such", c"/");
        assert_eq!((step, error.raw_os_error()), (Step::Execute, Some(libc::ENOENT)));
        let (step, error) = failed(c"/etc/passwd", c"/");
        assert_eq!((step, error.raw_os_error()), (Step::Execute, Some(libc::EACCES)));
        let (step, _) = failed(c"/bin/sh", c"/no/such");
        assert_eq!(step, Step::Directory);
        assert!(super::super::ended().is_none(), "nothing is left to be reaped");
    }

    #[test]
    fn its_group_can_be_ended() {
        let (child, pipe) = run(c"/bin/sh", "sleep 1000 & echo there; wait", c"/").unwrap();
        let mut word = [0; 6];
        nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
        let mut pipe = File::from(pipe);
        pipe.read_exact(&mut word).unwrap();
        signal(&child, libc::SIGTERM, true).unwrap();
        assert_eq!(wait(&child).unwrap(), Ended::Signal(libc::SIGTERM));
        let mut rest = Vec::new();
        assert_eq!(pipe.read_to_end(&mut rest).unwrap(), 0, "nobody of the group writes any more");
    }
}
