//! Making and reaping processes: [`fork()`] for workers, [`spawn`] for programs. A program that cannot be started is
//! told as data, over a pipe that the exec closes.

mod fork;
pub(crate) mod script;

#[cfg(test)]
pub(crate) use fork::fork_of_test;
pub(super) use fork::only_thread;
pub(crate) use fork::{OnlyChild, fork};

use super::carried::Carried;
use super::resources::Resources;
use super::user::{self, Account};
use super::{exec, pidfd, sandbox, signals};
use crate::secret::Strings;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A child as its parent knows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Child {
    /// Process id, which is also its process group's.
    pub(crate) pid: u32,
    /// Names the process for signals; `None` where the kernel or a sandbox has no pidfd_open(2).
    pub(crate) handle: Option<Carried>,
}

impl Child {
    fn new(pid: libc::pid_t) -> Self {
        let pid = pid.unsigned_abs();
        Self { pid, handle: pidfd::open(pid).ok().map(Carried::from) }
    }
}

/// A program to start. Everything is prepared here: after the fork only async-signal-safe calls are made.
#[derive(Debug)]
pub(crate) struct Program {
    /// Where it may be, tried in order like execvp(3) tries PATH.
    pub(crate) candidates: Vec<CString>,
    /// Its arguments, the first being its name.
    pub(crate) arguments: Vec<CString>,
    /// `NAME=value`, the whole environment.
    pub(crate) environment: Strings,
    /// Working directory, entered as the user it runs as.
    pub(crate) directory: Option<CString>,
    /// Where that one does not exist, it runs in `/`; see [`Launch::is_astray`].
    pub(crate) or_in_root: bool,
    /// User it runs as; `None`: ours.
    pub(crate) account: Option<Account>,
    /// Standard input; `None`: /dev/null.
    pub(crate) stdin: Option<OwnedFd>,
    /// Standard output.
    pub(crate) stdout: OwnedFd,
    /// Standard error.
    pub(crate) stderr: OwnedFd,
    /// What it finds at descriptors 3, 4, …; it inherits nothing else.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// What it may use of the machine.
    pub(crate) resources: Resources,
    /// Signal it gets when the master dies.
    pub(crate) death_signal: Option<i32>,
    /// What files that it makes may not have of permissions; `None`: as ours.
    pub(crate) umask: Option<u32>,
    /// It finds its process id in `LISTEN_PID`, with which it takes what it inherits for its own (sd_listen_fds(3)).
    pub(crate) told_pid: bool,
}

/// What happened to a program between its fork and its exec.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pipe: Carried<std::fs::File>,
    astray: bool,
}

/// Told in the place of a step by a program whose directory does not exist, and which goes on in `/`.
const ASTRAY: u8 = 0;

/// Where the start of a program failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LaunchStep {
    /// Its descriptors could not be put in place.
    Descriptors = 1,
    /// Its user could not be taken on.
    User = 2,
    /// Its working directory could not be entered.
    Directory = 3,
    /// The signal for our death could not be set, or we were dead.
    Parent = 4,
    /// No candidate could be executed.
    Execute = 5,
    /// Its limits could not be set.
    Limits = 6,
}

impl Launch {
    /// Readable when [`Launch::outcome`] knows more.
    #[must_use]
    pub(crate) fn descriptor(&self) -> &std::fs::File {
        &self.pipe
    }

    /// Whether its directory does not exist, so that it runs in `/`: known no later than [`Launch::outcome`].
    #[must_use]
    pub(crate) fn is_astray(&self) -> bool {
        self.astray
    }

    /// `None` while the child has not got so far; `Some(None)` once the program runs; else where and why it does not.
    pub(crate) fn outcome(&mut self) -> Option<Option<(LaunchStep, io::Error)>> {
        let mut report = [0; 5];
        match self.pipe.read(&mut report) {
            Ok(5) if report[0] == ASTRAY => {
                self.astray = true;
                self.outcome()
            }
            Ok(5) => {
                let step = match report[0] {
                    1 => LaunchStep::Descriptors,
                    2 => LaunchStep::User,
                    3 => LaunchStep::Directory,
                    4 => LaunchStep::Parent,
                    6 => LaunchStep::Limits,
                    _ => LaunchStep::Execute,
                };
                let code = i32::from_le_bytes([report[1], report[2], report[3], report[4]]);
                Some(Some((step, io::Error::from_raw_os_error(code))))
            }
            Ok(_) => Some(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                None
            }
            Err(_) => Some(None),
        }
    }
}

/// Starts a program in its own process group, with default signal dispositions and nothing blocked. Whether the exec worked is told by the [`Launch`] later: nothing here waits for it.
///
/// # Errors
/// EAGAIN, ENOMEM, EMFILE.
pub(crate) fn spawn(program: &Program) -> io::Result<(Child, Launch)> {
    let null = std::fs::File::open("/dev/null")?;
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?;
    let arguments = pointers(&program.arguments);
    let mut environment = pointers(&program.environment.0);
    // The child writes its number into it.
    let mut own_pid = *OWN_PID;
    let own_pid = own_pid.as_mut_ptr();
    if program.told_pid {
        environment.insert(0, own_pid.cast_const().cast());
    }
    let stdin = program.stdin.as_ref().map_or(null.as_raw_fd(), AsRawFd::as_raw_fd);
    let sources: Vec<RawFd> = [stdin, program.stdout.as_raw_fd(), program.stderr.as_raw_fd()]
        .into_iter()
        .chain(program.descriptors.iter().map(AsRawFd::as_raw_fd))
        .collect();
    let mut moved = vec![-1; sources.len()];
    let parent = std::process::id();
    let run = || {
        // SAFETY: an array that lives on, and that nothing else names while the child, which has a copy, writes to it.
        write_pid(unsafe { &mut *own_pid.cast::<[u8; OWN_PID.len()]>() });
        let (step, error) = become_program(
            program,
            &sources,
            &mut moved,
            &arguments,
            &environment,
            write.as_raw_fd(),
            parent,
        );
        tell(step as u8, &error);
        127
    };
    // SAFETY: everything was prepared above; up to the exec, or the end, `run` makes async-signal-safe calls only.
    let child = unsafe { fork::fork_anyway(run) }?;
    drop(write);
    Ok((child, Launch { pipe: read.into(), astray: false }))
}

/// Becomes the program in place of this one: with the standard input, output and error of this process and none of its
/// other descriptors, in its process group, with its terminal and what it ignores. Returns only if that fails.
pub(crate) fn become_another(program: &Program) -> (LaunchStep, io::Error) {
    if let Err(error) = close_at_exec() {
        let told =
            format!("what else is open here cannot be kept from it: {error}; see that /proc is mounted");
        return (LaunchStep::Descriptors, io::Error::other(told));
    }
    if let Err(refused) = program.resources.apply() {
        return (LaunchStep::Limits, io::Error::other(refused.to_string()));
    }
    if let Err(failed) = take_shape(program, 0) {
        return failed;
    }
    // What else is ignored was so before, by `nohup` or a shell's `&`; this one by Rust's library, at our start.
    signals::heed_broken_pipes();
    execute(program, &pointers(&program.arguments), &pointers(&program.environment.0))
}

/// Has what this process executes get no descriptors but the standard streams, whatever whoever started it left open.
///
/// # Errors
/// Where neither a range of them can be marked nor each by itself.
pub(crate) fn close_at_exec() -> io::Result<()> {
    // SAFETY: nothing is closed before the exec.
    if unsafe { fork::close_range(3, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) }.is_ok() {
        return Ok(());
    }
    // Before Linux 5.11, or in a sandbox.
    fork::listed()?.into_iter().try_for_each(|fd| match exec::keep(fd, false) {
        Err(error) if error.raw_os_error() != Some(libc::EBADF) => Err(error),
        _ => Ok(()),
    })
}

/// The variable in which a program is told its process id, with room for the number.
const OWN_PID: &[u8; 22] = b"LISTEN_PID=\0\0\0\0\0\0\0\0\0\0\0";

/// In the child: writes the number. Async-signal-safe.
fn write_pid(variable: &mut [u8; OWN_PID.len()]) {
    let mut number = std::process::id();
    let mut digits = [0; 10];
    let mut at = digits.len();
    while number > 0 && at > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    let length = digits.len() - at;
    let start = b"LISTEN_PID=".len();
    variable[start..start + length].copy_from_slice(&digits[at..]);
}

/// As execve(2) takes them.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Where the child of [`spawn`] reports a failure; each child has its own copy.
static FAILURE: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);

/// In the child: a report. Async-signal-safe.
fn tell(step: u8, error: &io::Error) {
    let code = error.raw_os_error().unwrap_or(0).to_le_bytes();
    let report = [step, code[0], code[1], code[2], code[3]];
    // The pipe moved out of the way with the other descriptors, unless that failed.
    let pipe = FAILURE.load(std::sync::atomic::Ordering::Relaxed);
    // SAFETY: writes five bytes of a living array; a pipe takes them at once.
    unsafe { libc::write(pipe, report.as_ptr().cast(), report.len()) };
}

/// In the child: everything up to the exec; returns only if that fails. Async-signal-safe.
fn become_program(
    program: &Program,
    sources: &[RawFd],
    moved: &mut [RawFd],
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    failure: RawFd,
    parent: u32,
) -> (LaunchStep, io::Error) {
    FAILURE.store(failure, std::sync::atomic::Ordering::Relaxed);
    own_group();
    if let Err(error) = place(sources, moved, failure) {
        return (LaunchStep::Descriptors, error);
    }
    if let Err(refused) = program.resources.apply() {
        return (LaunchStep::Limits, refused.error);
    }
    if let Err(failed) = take_shape(program, parent) {
        return failed;
    }
    signals::reset(&[]);
    signals::unblock_all();
    execute(program, arguments, environment)
}

/// What a program finds besides its descriptors, limits and signals. Async-signal-safe.
fn take_shape(program: &Program, parent: u32) -> Result<(), (LaunchStep, io::Error)> {
    // What systemd gave the master (to bind port 80, say) is not for programs.
    sandbox::clear_ambient_set();
    if let Some(mask) = program.umask {
        // SAFETY: integers only.
        unsafe { libc::umask(mask) };
    }
    program.account.as_ref().map_or(Ok(()), user::take_on).map_err(|error| (LaunchStep::User, error))?;
    if let Some(Err(error)) = program.directory.as_deref().map(enter) {
        let is_missing = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
        if !(program.or_in_root && is_missing) {
            return Err((LaunchStep::Directory, error));
        }
        tell(ASTRAY, &error);
        enter(c"/").map_err(|error| (LaunchStep::Directory, error))?;
    }
    let die = |signal| die_with_parent(signal, parent);
    program.death_signal.map_or(Ok(()), die).map_err(|error| (LaunchStep::Parent, error))
}

/// Async-signal-safe.
fn enter(directory: &CStr) -> io::Result<()> {
    // SAFETY: a NUL-terminated string that lives on.
    if unsafe { libc::chdir(directory.as_ptr()) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tries the candidates; the most telling error counts (execvp(3): EACCES beats ENOENT), but where one of many is in a
/// directory that cannot be entered it is as good as missing. Async-signal-safe.
fn execute(
    program: &Program,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
) -> (LaunchStep, io::Error) {
    let mut denied = None;
    for candidate in &program.candidates {
        // SAFETY: NUL-terminated strings and null-terminated arrays of them, all alive.
        unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) if program.candidates.len() > 1 && !is_there(candidate) => {}
            Some(libc::EACCES) => denied = Some(error),
            _ => return (LaunchStep::Execute, error),
        }
    }
    (LaunchStep::Execute, denied.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
}

/// Async-signal-safe.
fn is_there(path: &CStr) -> bool {
    // SAFETY: a NUL-terminated string that lives on.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

/// Puts `sources` at 0, 1, 2, …: first all of them out of the way, so that none overwrites another.
fn place(sources: &[RawFd], moved: &mut [RawFd], failure: RawFd) -> io::Result<()> {
    let count = RawFd::try_from(sources.len()).unwrap_or(RawFd::MAX);
    let away = |fd: RawFd| {
        // SAFETY: integers only.
        match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, count) } {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(fd),
        }
    };
    FAILURE.store(away(failure)?, std::sync::atomic::Ordering::Relaxed);
    for (source, moved) in sources.iter().zip(moved.iter_mut()) {
        *moved = away(*source)?;
    }
    for (target, moved) in (0..).zip(moved.iter()) {
        // SAFETY: integers only; dup2 clears close-on-exec on the copy.
        if unsafe { libc::dup2(*moved, target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    close_range_at_exec(count);
    Ok(())
}

/// Marks all descriptors from `first` on. Ours are close-on-exec anyway, and so is what whoever started us left open
/// ([`close_at_exec`]): an old kernel or a sandbox may refuse it. Async-signal-safe.
fn close_range_at_exec(first: RawFd) {
    // SAFETY: nothing is closed before the exec.
    let _ = unsafe { fork::close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
}

/// Ends this process at once: no destructors, no exit handlers. The only way out of a forked child.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Makes this process the leader of a process group of its own, without a controlling terminal: the operator's Ctrl-C
/// reaches the master only, and nobody but the master reaches the operator's terminal (`/dev/tty`, TIOCSTI). The session
/// stays. Async-signal-safe.
pub(crate) fn own_group() {
    // SAFETY: a NUL-terminated string and integers. Fails where there is no terminal; then there is none to give up.
    unsafe {
        let terminal = libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        if terminal >= 0 {
            libc::ioctl(terminal, libc::TIOCNOTTY);
            libc::close(terminal);
        }
    }
    // SAFETY: integers only; fails only for a session leader, which a forked child is not.
    unsafe { libc::setpgid(0, 0) };
}

/// Has a program that is started by the standard library run as [`own_group`] says.
pub(crate) fn apart(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: async-signal-safe calls only.
    unsafe {
        command.pre_exec(|| {
            own_group();
            Ok(())
        })
    };
}

/// Ends the process group of a child that was started [`apart`] and not waited for yet.
pub(crate) fn kill_group(child: &std::process::Child) {
    if let Ok(group) = libc::pid_t::try_from(child.id()) {
        // Nothing more can be done about one that is gone.
        let _ = kill(-group, libc::SIGKILL);
    }
}

/// Has the kernel send `signal` to this process when `parent` dies. Comes after the last change of user, which clears
/// it. Async-signal-safe.
///
/// # Errors
/// ESRCH if the parent has died already.
pub(crate) fn die_with_parent(signal: i32, parent: u32) -> io::Result<()> {
    // SAFETY: integers only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no arguments, cannot fail.
    let now = unsafe { libc::getppid() };
    if now.unsigned_abs() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// No exec gives this process or its children more rights than it has.
///
/// # Errors
/// EINVAL on a kernel before 3.5.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Makes this process the parent of descendants whose own parent dies, instead of init: it reaps them.
///
/// # Errors
/// EINVAL on a kernel before 3.4.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Allows this process as many open descriptors as it may allow itself: what shells and services give at first (1024)
/// is for programs that use select(2).
pub(crate) fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Refused by a sandbox: then what there is must do.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// How many descriptors this process may have open.
pub(crate) fn open_files_limit() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

/// Makes /dev/null the standard input of this process.
///
/// # Errors
/// Where there is no /dev/null.
pub(crate) fn null_input() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    Ok(nix::unistd::dup2_stdin(null)?)
}

/// A child that has ended, `None` when no more have. It stays to be reaped, and its number stays its own until then.
#[must_use]
pub(crate) fn ended() -> Option<u32> {
    loop {
        let mut found = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `found` is a living structure of the right kind.
        if unsafe { libc::waitid(libc::P_ALL, 0, found.as_mut_ptr(), flags) } == 0 {
            // SAFETY: zeroed above, and filled for SIGCHLD by the kernel if there is a child.
            let pid = unsafe { found.assume_init().si_pid() };
            return (pid > 0).then(|| pid.unsigned_abs());
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Whether the child `pid` has ended, and stays to be reaped.
#[must_use]
pub(crate) fn has_ended(pid: u32) -> bool {
    number(pid).and_then(look_at).is_ok_and(|status| status != nix::sys::wait::WaitStatus::StillAlive)
}

fn number(pid: u32) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ECHILD))
}

fn look_at(number: libc::pid_t) -> io::Result<nix::sys::wait::WaitStatus> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(nix::unistd::Pid::from_raw(number)), look)?)
}

/// The child `pid`, which somebody else forked and left to us ([`adopt_orphans`]). Until it is reaped the number cannot
/// mean another process.
///
/// # Errors
/// ECHILD if it is not a child of this process.
pub(crate) fn adopted(pid: u32) -> io::Result<Child> {
    let number = number(pid)?;
    look_at(number)?;
    Ok(Child::new(number))
}

/// How the child that has [`ended`] did so; its number is free afterwards. `None` if there is no such child.
#[must_use]
pub(crate) fn reap(pid: u32) -> Option<Ended> {
    let mut status = 0;
    let pid = libc::pid_t::try_from(pid).ok()?;
    // SAFETY: `status` is a living integer.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    (reaped == pid).then(|| how(status))
}

/// Waits for the end of a child. For a process that has nothing else to do.
///
/// # Errors
/// ECHILD if it was reaped already.
pub(crate) fn wait(child: &Child) -> io::Result<Ended> {
    let pid = libc::pid_t::try_from(child.pid).map_err(|_| io::Error::from_raw_os_error(libc::ECHILD))?;
    let mut status = 0;
    loop {
        // SAFETY: `status` is a living integer.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(how(status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn how(status: libc::c_int) -> Ended {
    if libc::WIFSIGNALED(status) {
        return Ended::Signal(libc::WTERMSIG(status));
    }
    Ended::Code(libc::WEXITSTATUS(status))
}

/// The real user of a process; `None` if it is gone. See proc_pid_status(5).
#[must_use]
pub(crate) fn user_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// Sends `signal` to the child; if `group`, to the process group that it was started in, and to itself wherever it has
/// moved since.
///
/// # Errors
/// ESRCH if it has ended, EPERM if it changed its user.
pub(crate) fn signal(child: &Child, signal: i32, group: bool) -> io::Result<()> {
    let pid = libc::pid_t::try_from(child.pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    if !group {
        return signal_itself(child, pid, signal);
    }
    let others = kill(-pid, signal);
    // SAFETY: integers only.
    let stayed = unsafe { libc::getpgid(pid) } == pid;
    // What can be handled should not come twice; KILL is certain, also for one that moves at this moment.
    if others.is_ok() && stayed && signal != libc::SIGKILL {
        return others;
    }
    signal_itself(child, pid, signal).or(others)
}

fn signal_itself(child: &Child, pid: libc::pid_t, signal: i32) -> io::Result<()> {
    use std::os::fd::AsFd as _;
    match &child.handle {
        Some(handle) => pidfd::send(handle.as_fd(), signal),
        None => kill(pid, signal),
    }
}

/// The number must be of a child, or a group, that was not reaped yet: nobody else can have it then.
fn kill(pid: libc::pid_t, signal: i32) -> io::Result<()> {
    // 0 and -1 are groups and everybody, and 1 is nobody's child.
    if matches!(pid, -1..=1) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: integers only.
    let result = unsafe { libc::kill(pid, signal) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A file in memory that holds `text`, at its beginning.
///
/// # Errors
/// EMFILE, ENOMEM.
pub(crate) fn memory_file(text: &[u8]) -> io::Result<OwnedFd> {
    use std::io::{Seek as _, Write as _};
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    let mut file = std::fs::File::from(nix::sys::memfd::memfd_create(c"hatchery", flags)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file.into())
}

/// The same in a file that nobody, whoever gets a descriptor of it, can change any more.
///
/// # Errors
/// As [`memory_file`].
pub(crate) fn sealed_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::io::Write as _;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = std::fs::File::from(memfd_create(c"hatchery", flags)?);
    file.write_all(bytes)?;
    let seals =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Removes variables from this process's environment, so that no child sees them.
///
/// # Errors
/// With more than one thread, since another one might read the environment; where /proc is not mounted.
pub(crate) fn forget_variables(names: &[&CStr]) -> io::Result<()> {
    fork::only_thread()?;
    for name in names {
        // SAFETY: a NUL-terminated string; there is one thread, as was just seen, so nobody reads the environment.
        unsafe { libc::unsetenv(name.as_ptr()) };
    }
    Ok(())
}

/// The largest resident set of a process, now, in bytes; `None` if it is gone.
#[must_use]
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// The time of processors that a process has used, its own and the kernel's for it (proc(5)); `None` if it is gone.
#[must_use]
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may have blanks and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let used = ticks()?.checked_add(ticks()?)?;
    let second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(Duration::from_millis(used.saturating_mul(1000) / u64::try_from(second).ok()?.max(1)))
}

/// The memory of a process with what it shares divided among those that share it (proportional set size), in bytes;
/// `None` if it is gone or may not be asked. The kernel walks its page tables for it: milliseconds for a large process.
#[must_use]
pub(crate) fn proportional(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests;
