//! For tests: what a process can still do, tried. A pointer that is null is what the kernel answers with EFAULT or the
//! like if the call is reached, so that whatever is not refused is told as something else than EPERM.

use std::ffi::{CString, c_long};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

fn outcome(result: c_long) -> Result<(), i32> {
    if result < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(()) }
}

fn call<const COUNT: usize>(number: c_long, arguments: [c_long; COUNT]) -> Result<(), i32> {
    let mut six = [0; 6];
    six[..COUNT].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = six;
    // SAFETY: integers, null pointers and pointers to what the callers keep alive.
    outcome(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Something that lives as long as the call, as an argument.
fn pointer<T: ?Sized>(to: &T) -> c_long {
    std::ptr::from_ref(to).cast::<u8>().expose_provenance().cast_signed() as c_long
}

fn path(path: &Path) -> CString {
    use std::os::unix::ffi::OsStrExt as _;
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Becomes the program; returns only if that fails.
pub(crate) fn execute(program: &Path) -> i32 {
    let program = path(program);
    let arguments = [program.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: NUL-terminated strings and null-terminated arrays of them, all alive.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Becomes the program by the number that the call has in the x32 interface.
#[cfg(target_arch = "x86_64")]
pub(crate) fn execute_x32() -> Result<(), i32> {
    call(0x4000_0000 + 520, [])
}

/// By numbers that no kernel knows today.
pub(crate) fn calls_of_the_future() -> [Result<(), i32>; 2] {
    [c_long::from(super::calls::NEWEST) + 400, 1 << 20].map(|number| call(number, []))
}

/// One attempt: what it is, and how it went.
pub(crate) type Attempt = (&'static str, Result<(), i32>);

/// A stream socket, which every worker may make.
fn socket() -> OwnedFd {
    let kind = socket2::Type::STREAM.nonblocking();
    socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap().into()
}

/// Connections that get around the rules for ports: other protocols, and ways to connect without connect(2).
pub(crate) fn network(stranger: u16) -> Vec<Attempt> {
    let socket = socket();
    let fd = c_long::from(socket.as_raw_fd());
    let address = socket2::SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], stranger)));
    let (to, length) =
        (address.as_ptr().expose_provenance().cast_signed() as c_long, c_long::from(address.len()));
    let one = 1_i32;
    let make = |family: i32, kind: i32, protocol: i32| {
        call(libc::SYS_socket, [family.into(), kind.into(), protocol.into()])
    };
    let set = |level: i32, option: i32| {
        call(libc::SYS_setsockopt, [fd, level.into(), option.into(), pointer(&one), 4])
    };
    // SAFETY: a structure of integers and pointers, for which zero is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = address.as_ptr().cast_mut().cast();
    message.msg_namelen = address.len();
    let open = c_long::from(libc::MSG_FASTOPEN);
    let mut attempts = vec![
        ("multipath TCP", make(libc::AF_INET, libc::SOCK_STREAM, 262)),
        ("multipath TCP over IPv6", make(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 262)),
        ("UDP", make(libc::AF_INET, libc::SOCK_DGRAM, 0)),
        ("UDP over IPv6", make(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, libc::IPPROTO_UDP)),
        ("SCTP", make(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)),
        ("SMC", make(libc::AF_INET, libc::SOCK_STREAM, 256)),
        ("raw IP", make(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
        ("a ping", make(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)),
        ("Unix datagrams", make(libc::AF_UNIX, libc::SOCK_DGRAM, 0)),
        ("Unix packets", make(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)),
        ("Fast Open by sendto", call(libc::SYS_sendto, [fd, pointer(&one), 4, open, to, length])),
        ("Fast Open by sendmsg", call(libc::SYS_sendmsg, [fd, pointer(&message), open])),
        ("Fast Open by sendmmsg", call(libc::SYS_sendmmsg, [fd, 0, 1, open])),
        ("sendto with an address", call(libc::SYS_sendto, [fd, pointer(&one), 4, 0, to, length])),
        ("Fast Open for connect", set(libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)),
        ("Fast Open for listeners", set(libc::IPPROTO_TCP, libc::TCP_FASTOPEN)),
        ("TCP upper layers", set(libc::IPPROTO_TCP, libc::TCP_ULP)),
        ("TCP repair", set(libc::IPPROTO_TCP, libc::TCP_REPAIR)),
        ("transparent", set(libc::IPPROTO_IP, libc::IP_TRANSPARENT)),
        ("mark", set(libc::SOL_SOCKET, libc::SO_MARK)),
        ("socket filter", set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER)),
        ("a way around the firewall's table", set(libc::IPPROTO_IP, 64)),
        ("bind", call(libc::SYS_bind, [fd, to, length])),
        ("listen", call(libc::SYS_listen, [fd, 1])),
        ("socket pair", call(libc::SYS_socketpair, [1, 1, 0, 0])),
        ("peer's process", call(libc::SYS_getsockopt, [fd, libc::SOL_SOCKET.into(), 77, 0, 0])),
        (
            "non-blocking for all",
            call(libc::SYS_ioctl, [fd, libc::FIONBIO.cast_signed() as c_long, pointer(&one)]),
        ),
        ("blocking for all", call(libc::SYS_fcntl, [fd, libc::F_SETFL.into(), 0])),
        ("a signal for data", call(libc::SYS_fcntl, [fd, libc::F_SETOWN.into(), 1])),
        ("io_uring", call(libc::SYS_io_uring_setup, [1, 0])),
    ];
    let families = [
        ("netlink", libc::AF_NETLINK),
        ("packets", libc::AF_PACKET),
        ("virtual machines", libc::AF_VSOCK),
        ("cryptography", libc::AF_ALG),
        ("CAN", libc::AF_CAN),
        ("TIPC", libc::AF_TIPC),
        ("Bluetooth", libc::AF_BLUETOOTH),
        ("XDP", libc::AF_XDP),
        ("SMC as a family", 43),
        ("RDS", libc::AF_RDS),
        ("key", libc::AF_KEY),
        ("AppleTalk", libc::AF_APPLETALK),
    ];
    let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET];
    for (name, family) in families {
        attempts.extend(kinds.map(|kind| (name, make(family, kind, 0))));
    }
    attempts
}

/// What concerns other processes: limits, priorities, signals, memory, and making some.
pub(crate) fn processes(other: u32) -> Vec<Attempt> {
    let (other, this) = (c_long::from(other), c_long::from(std::process::id()));
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    let (limit, files) = (pointer(&limit), libc::RLIMIT_NOFILE as c_long);
    let namespace = c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    let attempts = vec![
        ("limits of another", call(libc::SYS_prlimit64, [other, files, limit, 0])),
        ("look at limits of another", call(libc::SYS_prlimit64, [other, files, 0, limit])),
        ("own limits", call(libc::SYS_prlimit64, [0, files, limit, 0])),
        ("setrlimit", call(libc::SYS_setrlimit, [files, limit])),
        ("priority", call(libc::SYS_setpriority, [0, other, 19])),
        ("own priority", call(libc::SYS_setpriority, [0, 0, 19])),
        ("scheduler", call(libc::SYS_sched_setscheduler, [other, 0, 0])),
        ("scheduling parameters", call(libc::SYS_sched_setparam, [other, 0])),
        ("scheduling attributes", call(libc::SYS_sched_setattr, [other, 0, 0])),
        ("processors", call(libc::SYS_sched_setaffinity, [other, 8, 0])),
        ("priority of its disk", call(libc::SYS_ioprio_set, [1, other, 0x4000])),
        ("signal", call(libc::SYS_kill, [other, 0])),
        ("signal to itself and its group", call(libc::SYS_kill, [0, 0])),
        ("signal to a thread", call(libc::SYS_tkill, [other, 0])),
        ("signal to a thread of another", call(libc::SYS_tgkill, [other, other, 0])),
        ("signal with a value", call(libc::SYS_rt_sigqueueinfo, [other, 0, 0])),
        ("descriptor of a process", call(libc::SYS_pidfd_open, [other, 0])),
        ("signal by descriptor", call(libc::SYS_pidfd_send_signal, [-1, 0, 0, 0])),
        ("descriptors of another", call(libc::SYS_pidfd_getfd, [-1, 0, 0])),
        ("compare", call(libc::SYS_kcmp, [this, other, 0, 0, 0])),
        ("trace", call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as c_long, 0, 0, 0])),
        ("read memory", call(libc::SYS_process_vm_readv, [other, 0, 0, 0, 0, 0])),
        ("write memory", call(libc::SYS_process_vm_writev, [other, 0, 0, 0, 0, 0])),
        ("advise on memory", call(libc::SYS_process_madvise, [-1, 0, 0, 0, 0])),
        ("free memory", call(libc::SYS_process_mrelease, [-1, 0])),
        ("move pages", call(libc::SYS_move_pages, [other, 0, 0, 0, 0, 0])),
        ("migrate pages", call(libc::SYS_migrate_pages, [other, 0, 0, 0])),
        ("memory policy", call(libc::SYS_set_mempolicy, [0, 0, 0])),
        ("fork", fork(libc::SIGCHLD.into())),
        ("fork in a namespace", fork(namespace)),
        ("fork that shares memory", fork((libc::CLONE_VM | libc::CLONE_VFORK).into())),
        ("new namespace", call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into()])),
        ("join a namespace", call(libc::SYS_setns, [-1, 0])),
        ("be traceable", call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0])),
        ("be traceable by all", call(libc::SYS_prctl, [libc::PR_SET_PTRACER.into(), -1, 0, 0, 0])),
        ("outlive the master", call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), 0, 0, 0, 0])),
        ("session", call(libc::SYS_setsid, [])),
        ("process group", call(libc::SYS_setpgid, [0, 0])),
        ("wait", call(libc::SYS_wait4, [-1, 0, libc::WNOHANG.into(), 0])),
        ("user", call(libc::SYS_setuid, [0])),
        ("groups", call(libc::SYS_setgroups, [0, 0])),
    ];
    attempts
}

/// clone(2) as fork(2) makes it; a child ends at once.
fn fork(flags: c_long) -> Result<(), i32> {
    if flags & c_long::from(libc::CLONE_VM) != 0 {
        // One that shares our memory without a stack of its own must not come to be.
        return call(
            libc::SYS_clone,
            [flags | c_long::from(libc::CLONE_SIGHAND | libc::CLONE_NEWNS), 0, 0, 0, 0],
        );
    }
    // SAFETY: without a stack the child goes on with a copy of ours, and leaves.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        super::super::process::leave(0);
    }
    outcome(pid)
}

/// What changes files without opening them for writing, and what is no file at all.
pub(crate) fn files(outside: &Path) -> Vec<Attempt> {
    let (file, name) = (path(outside), c"user.hostile");
    let other = path(&outside.with_extension("other"));
    let (file, other, name) = (pointer(file.as_c_str()), pointer(other.as_c_str()), pointer(name));
    let here = c_long::from(libc::AT_FDCWD);
    let socket = socket();
    let fd = c_long::from(socket.as_raw_fd());
    let ids = c_long::from(nix::unistd::getuid().as_raw());
    let mut attempts = vec![
        ("fchmodat", call(libc::SYS_fchmodat, [here, file, 0o666])),
        ("fchmod", call(libc::SYS_fchmod, [fd, 0o666])),
        // Newer than libc: fchmodat2.
        ("fchmodat2", call(452, [here, file, 0o666, 0])),
        ("fchownat", call(libc::SYS_fchownat, [here, file, ids, -1, 0])),
        ("fchown", call(libc::SYS_fchown, [fd, ids, -1])),
        ("setxattr", call(libc::SYS_setxattr, [file, name, name, 1, 0])),
        ("lsetxattr", call(libc::SYS_lsetxattr, [file, name, name, 1, 0])),
        ("fsetxattr", call(libc::SYS_fsetxattr, [fd, name, name, 1, 0])),
        ("removexattr", call(libc::SYS_removexattr, [file, name])),
        ("getxattr", call(libc::SYS_getxattr, [file, name, 0, 0])),
        ("utimensat", call(libc::SYS_utimensat, [here, file, 0, 0])),
        ("renameat2", call(libc::SYS_renameat2, [here, file, here, other, 0])),
        ("linkat", call(libc::SYS_linkat, [here, file, here, other, 0])),
        ("symlinkat", call(libc::SYS_symlinkat, [file, here, other])),
        ("mkdirat", call(libc::SYS_mkdirat, [here, other, 0o777])),
        ("mknodat", call(libc::SYS_mknodat, [here, other, (libc::S_IFIFO | 0o666).into(), 0])),
        ("rmdir", call(libc::SYS_unlinkat, [here, other, libc::AT_REMOVEDIR.into()])),
        ("truncate", call(libc::SYS_truncate, [file, 0])),
        ("fallocate", call(libc::SYS_fallocate, [fd, 0, 0, 1])),
        ("lock", call(libc::SYS_flock, [fd, libc::LOCK_EX.into()])),
        ("lease", call(libc::SYS_fcntl, [fd, libc::F_SETLEASE.into(), 0])),
        ("notify", call(libc::SYS_fcntl, [fd, libc::F_NOTIFY.into(), 0])),
        ("record lock", call(libc::SYS_fcntl, [fd, libc::F_SETLK.into(), 0])),
        ("pipe", call(libc::SYS_pipe2, [other, 0])),
        ("a splice that waits", call(libc::SYS_splice, [fd, 0, fd, 0, 1, 0])),
        ("memory into a pipe", call(libc::SYS_vmsplice, [fd, 0, 0, 0])),
        ("pipe size", call(libc::SYS_fcntl, [fd, libc::F_SETPIPE_SZ.into(), 4096])),
        ("by handle", call(libc::SYS_open_by_handle_at, [here, 0, 0])),
        ("directory", call(libc::SYS_chdir, [file])),
        ("root", call(libc::SYS_chroot, [file])),
        ("mount", call(libc::SYS_mount, [0, file, 0, libc::MS_REMOUNT.cast_signed() as c_long, 0])),
        ("typing into a terminal", call(libc::SYS_ioctl, [fd, libc::TIOCSTI.cast_signed() as c_long, file])),
        ("shared memory", call(libc::SYS_shmget, [0, 4096, 0o1600])),
        ("attach shared memory", call(libc::SYS_shmat, [0, 0, 0])),
        ("control shared memory", call(libc::SYS_shmctl, [0, 0, 0])),
        ("message queue", call(libc::SYS_msgget, [0, 0o1600])),
        ("send a message", call(libc::SYS_msgsnd, [0, 0, 0, 0])),
        ("receive a message", call(libc::SYS_msgrcv, [0, 0, 0, 0, 0])),
        ("semaphores", call(libc::SYS_semget, [0, 1, 0o1600])),
        ("change semaphores", call(libc::SYS_semop, [0, 0, 0])),
        ("POSIX queue", call(libc::SYS_mq_open, [name, 0o102, 0o600, 0])),
        ("POSIX queue's end", call(libc::SYS_mq_unlink, [name])),
    ];
    attempts.extend(older_ways(file, other, name));
    attempts
}

/// Calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
fn older_ways(file: c_long, other: c_long, name: c_long) -> Vec<Attempt> {
    vec![
        ("chmod", call(libc::SYS_chmod, [file, 0o666])),
        ("chown", call(libc::SYS_chown, [file, -1, -1])),
        ("lchown", call(libc::SYS_lchown, [file, -1, -1])),
        ("utime", call(libc::SYS_utime, [file, 0])),
        ("utimes", call(libc::SYS_utimes, [file, 0])),
        ("futimesat", call(libc::SYS_futimesat, [libc::AT_FDCWD.into(), file, 0])),
        ("rename", call(libc::SYS_rename, [file, other])),
        ("link", call(libc::SYS_link, [file, other])),
        ("symlink", call(libc::SYS_symlink, [file, other])),
        ("mkdir", call(libc::SYS_mkdir, [other, 0o777])),
        ("rmdir", call(libc::SYS_rmdir, [other])),
        ("mknod", call(libc::SYS_mknod, [other, (libc::S_IFIFO | 0o666).into(), 0])),
        ("creat", call(libc::SYS_creat, [other, 0o666])),
        (
            "vfork",
            call(
                libc::SYS_clone,
                [(libc::CLONE_VFORK | libc::SIGCHLD | libc::CLONE_NEWUSER).into(), name, 0, 0, 0],
            ),
        ),
        ("ports of the machine", call(libc::SYS_ioperm, [0x80, 1, 1])),
        ("segments", call(libc::SYS_modify_ldt, [0, 0, 0])),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn older_ways(_: c_long, _: c_long, _: c_long) -> Vec<Attempt> {
    Vec::new()
}

/// Code that did not come with the program, and the kernel itself.
pub(crate) fn code() -> Vec<Attempt> {
    let private = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let run = c_long::from(libc::PROT_READ | libc::PROT_EXEC);
    let file = c"/bin/true";
    vec![
        ("map code", call(libc::SYS_mmap, [0, 4096, run, private, -1, 0])),
        ("make code of data", call(libc::SYS_mprotect, [0, 4096, run | c_long::from(libc::PROT_WRITE)])),
        ("make code by a key", call(libc::SYS_pkey_mprotect, [0, 4096, run, -1])),
        ("file in memory", call(libc::SYS_memfd_create, [pointer(c"x"), 0])),
        ("execute by descriptor", call(libc::SYS_execveat, [-1, 0, 0, 0, libc::AT_EMPTY_PATH.into()])),
        ("faults", call(libc::SYS_userfaultfd, [0])),
        ("BPF", call(libc::SYS_bpf, [0, 0, 0])),
        ("counters", call(libc::SYS_perf_event_open, [0, 0, -1, -1, 0])),
        ("keys", call(libc::SYS_keyctl, [0, 0, 0, 0, 0])),
        ("add a key", call(libc::SYS_add_key, [0, 0, 0, 0, 0])),
        ("ask for a key", call(libc::SYS_request_key, [0, 0, 0, 0])),
        ("kernel log", call(libc::SYS_syslog, [3, 0, 0])),
        ("module", call(libc::SYS_init_module, [0, 0, 0])),
        ("another kernel", call(libc::SYS_kexec_load, [0, 0, 0, 0])),
        ("clock", call(libc::SYS_clock_settime, [0, 0])),
        ("name of the machine", call(libc::SYS_sethostname, [0, 0])),
        ("swap", call(libc::SYS_swapon, [pointer(file), 0])),
        ("personality", call(libc::SYS_personality, [0x0040_0000])),
        ("another filter", call(libc::SYS_seccomp, [1, 0, 0])),
    ]
}

/// mprotect(2) of the page in which the word is.
pub(crate) fn make_writable(word: &std::sync::atomic::AtomicU64) -> Result<(), i32> {
    // SAFETY: integers only.
    let size = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let page = std::ptr::from_ref(word) as usize & !(size - 1);
    // SAFETY: it changes what may be done with a mapping of ours, not what is in it.
    let result = unsafe { libc::mprotect(page as *mut _, size, libc::PROT_READ | libc::PROT_WRITE) };
    outcome(result.into())
}

/// mremap(2) of whole pages to another place, and mprotect(2) there.
pub(crate) fn move_and_make_writable(words: &[std::sync::atomic::AtomicU64]) -> Result<(), i32> {
    let (start, length) = (words.as_ptr().cast_mut(), size_of_val(words));
    // SAFETY: with an old length of zero it makes a second mapping of the same shared pages; the first one stays.
    let copy = unsafe { libc::mremap(start.cast(), 0, length, libc::MREMAP_MAYMOVE) };
    if copy == libc::MAP_FAILED {
        return outcome(-1);
    }
    // SAFETY: of that second mapping.
    outcome(unsafe { libc::mprotect(copy, length, libc::PROT_READ | libc::PROT_WRITE) }.into())
}
