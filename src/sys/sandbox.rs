//! What a worker gives up before it reads the first byte of a client: capabilities, core dumps, the files it has no
//! business with (Landlock), system calls it never makes (seccomp). [`missing`] tells what this kernel lacks; the rest
//! is for the child after a fork, in the order of `master/spawn.rs`.
//!
//! The filter of system calls (`calls`, made into a program by `filter`) is a list of what is allowed. The rest fails and
//! kills nobody: EPERM, or ENOSYS for calls that are newer than the list, from which a C library falls back to those it
//! made before. Landlock refuses with EACCES what is not allowed. It binds inodes: a directory that takes the place of an
//! allowed one is not allowed. It does not govern connecting to sockets in the file system (before kernel 7.1), other
//! protocols than TCP, nor descriptors that are open already or come later over a socket.

mod calls;
mod filter;
#[cfg(test)]
pub(crate) mod probe;
#[cfg(debug_assertions)]
mod trap;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};
use std::io;
use std::path::PathBuf;

/// What a sandboxed process may still reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Directories whose files it reads.
    pub(crate) read: Vec<PathBuf>,
    /// Directories in which it makes, reads, writes and removes files.
    pub(crate) write: Vec<PathBuf>,
    /// TCP ports it connects to.
    pub(crate) connect: Vec<u16>,
    /// It connects to any TCP port.
    pub(crate) connect_anywhere: bool,
    /// Directories whose Unix sockets, also those further down, it connects to.
    pub(crate) sockets: Vec<PathBuf>,
}

/// The parts of the sandbox that took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Applied {
    /// Version of Landlock's interface; 0: not restricted by it.
    pub(crate) landlock: u8,
    /// The filter of system calls is in place.
    pub(crate) seccomp: bool,
}

/// The rights of Landlock that are asked for; an older kernel applies what it knows of them.
const KNOWN: ABI = ABI::V9;

/// The version of Landlock's interface in this kernel; 0 where it has none, or it is switched off or hidden.
#[must_use]
pub(crate) fn landlock_version() -> u8 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: a null pointer of size 0 with this flag asks for the version (landlock_create_ruleset(2)).
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    u8::try_from(version).unwrap_or(0)
}

/// Whether the kernel takes filters of system calls that answer with an error.
#[must_use]
pub fn has_seccomp() -> bool {
    const ACTION_AVAILABLE: libc::c_uint = 2;
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the pointer is to a living integer that is only read.
    unsafe { libc::syscall(libc::SYS_seccomp, ACTION_AVAILABLE, 0, &raw const action) == 0 }
}

/// What this kernel lacks, in words for the operator.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let landlock = "Landlock (since Linux 5.13; `landlock` must be in the kernel's lsm= list)";
    let seccomp = "seccomp filters";
    let lacking = [(landlock_version() == 0, landlock), (!has_seccomp(), seccomp)];
    lacking.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect()
}

/// Takes every capability out of the bounding set: no program that this process could come to run has more. Before the
/// change of user, which takes the right to do so. Async-signal-safe.
pub(crate) fn drop_bounding_set() {
    for capability in 0..64 {
        // SAFETY: integers only. EPERM without CAP_SETPCAP: then no_new_privs has to do; EINVAL beyond the last.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            break;
        }
    }
}

/// No program that is executed from now on starts with a capability because this process was given some (systemd's
/// AmbientCapabilities). Async-signal-safe.
pub(crate) fn clear_ambient_set() {
    // SAFETY: integers only; EINVAL before Linux 4.3, which has no ambient set.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
}

/// Gives up every capability, also those of root. Async-signal-safe.
///
/// # Errors
/// Never on a kernel that is new enough; whatever it says must not be ignored.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    clear_ambient_set();
    // capset(2), _LINUX_CAPABILITY_VERSION_3: two words of each set.
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both structures are laid out as the call wants them and live on.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether this process may leave a core, and may be traced by others of its user.
///
/// # Errors
/// Never.
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(dumpable)?)
}

/// Restricts this process, for good, to what `rules` name. A path that cannot be opened is left out: whoever needs it
/// finds out by itself.
///
/// # Errors
/// What the kernel says to a rule or to the restriction.
pub(crate) fn restrict_files(rules: &Rules) -> io::Result<u8> {
    let version = landlock_version();
    if version == 0 {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let restrict = || -> Result<(), RulesetError> {
        let net = AccessNet::from_all(KNOWN);
        let net = if rules.connect_anywhere { net & !AccessNet::ConnectTcp } else { net };
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(net)?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write =
            read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
        let rights =
            [(&rules.read, read), (&rules.write, write), (&rules.sockets, AccessFs::ResolveUnix.into())];
        for (paths, access) in rights {
            for path in paths {
                ruleset = allow(ruleset, path, access)?;
            }
        }
        for port in rules.connect.iter().filter(|_| !rules.connect_anywhere) {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        ruleset.restrict_self().map(drop)
    };
    restrict().map(|()| version).map_err(io::Error::other)
}

fn allow(
    ruleset: RulesetCreated,
    path: &PathBuf,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(opened) => ruleset.add_rule(PathBeneath::new(opened, access)),
        Err(_) => Ok(ruleset),
    }
}

/// Refuses, for good, every system call that no worker makes, and ways of making the others that none needs.
///
/// # Errors
/// EINVAL without seccomp in the kernel, EACCES without `no_new_privs`, `Unsupported` on a machine whose calls are not
/// listed.
pub(crate) fn restrict_calls() -> io::Result<()> {
    restrict_to(&calls::table(std::process::id()))
}

/// The same for the helper.
///
/// # Errors
/// As [`restrict_calls`].
pub(crate) fn restrict_calls_of_helper() -> io::Result<()> {
    restrict_to(&calls::helper::table(std::process::id()))
}

fn restrict_to(calls: &filter::Table) -> io::Result<()> {
    #[cfg(debug_assertions)]
    let refusal = if trap::is_wanted()? { filter::Refusal::Trap } else { filter::Refusal::Error };
    #[cfg(not(debug_assertions))]
    let refusal = filter::Refusal::Error;
    filter::install(&mut filter::program(calls, calls::NEWEST, refusal)?)
}
