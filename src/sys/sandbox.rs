//! What a worker gives up before it reads the first byte of a client: capabilities, core dumps, the files it has no
//! business with (Landlock), system calls it never makes (seccomp). [`missing`] tells what this kernel lacks; the rest
//! is for the child after a fork, in the order of `master/spawn.rs`.
//!
//! The filter of system calls is a list of what is refused with EPERM, not of what is allowed: a C library that comes to
//! use a newer call must not kill workers. Landlock refuses with EACCES what is not allowed. It binds inodes: a directory
//! that takes the place of an allowed one is not allowed. It does not govern connecting to sockets in the file system
//! (before kernel 7.1) nor descriptors that are open already or come later over a socket.

#[cfg(test)]
pub(crate) mod probe;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// What a sandboxed process may still reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Directories whose files it reads.
    pub read: Vec<PathBuf>,
    /// Directories in which it makes, reads, writes and removes files.
    pub write: Vec<PathBuf>,
    /// TCP ports it connects to.
    pub connect: Vec<u16>,
}

/// What took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Applied {
    /// Version of Landlock's interface; 0: not restricted by it.
    pub landlock: u8,
    /// The filter of system calls is in place.
    pub seccomp: bool,
}

/// The rights of Landlock that are asked for; an older kernel applies what it knows of them.
const KNOWN: ABI = ABI::V6;

/// The version of Landlock's interface in this kernel; 0 where it has none, or it is switched off or hidden.
#[must_use]
pub fn landlock_version() -> u8 {
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
pub fn drop_bounding_set() {
    for capability in 0..64 {
        // SAFETY: integers only. EPERM without CAP_SETPCAP: then no_new_privs has to do; EINVAL beyond the last.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            break;
        }
    }
}

/// No program that is executed from now on starts with a capability because this process was given some (systemd's
/// AmbientCapabilities). Async-signal-safe.
pub fn clear_ambient_set() {
    // SAFETY: integers only; EINVAL before Linux 4.3, which has no ambient set.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
}

/// Gives up every capability, also those of root. Async-signal-safe.
///
/// # Errors
/// Never on a kernel that is new enough; whatever it says must not be ignored.
pub fn drop_capabilities() -> io::Result<()> {
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
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(dumpable)?)
}

/// Restricts this process, for good, to what `rules` name. A path that cannot be opened is left out: whoever needs it
/// finds out by itself.
///
/// # Errors
/// What the kernel says to a rule or to the restriction.
pub fn restrict_files(rules: &Rules) -> io::Result<u8> {
    let version = landlock_version();
    if version == 0 {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let restrict = || -> Result<(), RulesetError> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write =
            read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
        for (paths, access) in [(&rules.read, read), (&rules.write, write)] {
            for path in paths {
                ruleset = allow(ruleset, path, access)?;
            }
        }
        for port in &rules.connect {
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

/// Refuses, for good, the system calls that no worker makes.
///
/// # Errors
/// EINVAL without seccomp in the kernel, EACCES without `no_new_privs`.
pub fn restrict_calls() -> io::Result<()> {
    for program in filters()? {
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Refused calls, in groups: programs, other processes, file systems and namespaces, the kernel and the machine, keys
/// and the like, other users, interfaces that get around the rest.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    //
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    //
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_mknodat,
    libc::SYS_quotactl,
    libc::SYS_fanotify_init,
    //
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_vhangup,
    libc::SYS_personality,
    //
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    //
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    //
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Only on x86, where they are older forms of the above, or the machine itself.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_mknod,
    libc::SYS_uselib,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// The programs of the filter, in the order of their installation.
fn filters() -> io::Result<Vec<BpfProgram>> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    // A thread is fine, a new namespace is not.
    let namespaces = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    let clone = namespaces.into_iter().map(|flag| {
        let flag = flag as u64;
        rule(0, SeccompCmpOp::MaskedEq(flag), flag)
    });
    refused.insert(libc::SYS_clone, clone.collect::<io::Result<_>>()?);
    // Unix, IPv4 and IPv6 sockets; beyond them are families nobody here speaks.
    refused.insert(libc::SYS_socket, vec![rule(0, SeccompCmpOp::Gt, libc::AF_INET6 as u64)?]);
    // Typing into somebody's terminal.
    refused.insert(libc::SYS_ioctl, vec![rule(1, SeccompCmpOp::Eq, libc::TIOCSTI)?]);
    let refused = filter(refused, libc::EPERM)?;
    // Its flags cannot be seen by a filter; the C library falls back to clone.
    let unseen = filter(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?;
    Ok([refused, unseen].into_iter().chain(other_numbers()).collect())
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(io::Error::other)
}

fn filter(refused: BTreeMap<i64, Vec<SeccompRule>>, error: libc::c_int) -> io::Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let action = SeccompAction::Errno(error.unsigned_abs());
    SeccompFilter::new(refused, SeccompAction::Allow, action, arch)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// x86 has each call a second time under numbers with this bit (the x32 interface), which a list of numbers would miss.
#[cfg(target_arch = "x86_64")]
fn other_numbers() -> Option<BpfProgram> {
    use seccompiler::sock_filter;
    const X32: u32 = 0x4000_0000;
    let step = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    Some(vec![
        // The number is the first word of seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn other_numbers() -> Option<BpfProgram> {
    None
}
