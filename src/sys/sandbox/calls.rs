//! The system calls of a worker, in groups with their reasons: found by running all tests with a filter that ends the
//! process at a call that is not listed (`trap`), and by reading what the C library does on the same ways in its other
//! versions. Whatever is not here is refused.

pub(super) mod helper;

use super::filter::{Answer, Check, Table};
use libc::c_long;

/// The newest call that was known when this list was made: file_setattr(2), Linux 6.17. The number is the same on all
/// machines.
pub(super) const NEWEST: u32 = 469;

/// Allowed whatever their arguments.
const FREE: &[&[c_long]] = &[
    // Memory; what could run is refused below.
    &[libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise],
    // Threads that read files, and their locks; the size of their stack is asked for with the processors.
    &[
        libc::SYS_futex,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ],
    // Signals to itself: blocked while a thread is made, and ABRT of a worker that hangs.
    &[
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_sigaltstack,
    ],
    // Where the clock cannot be read without a call; random numbers.
    &[libc::SYS_clock_gettime, libc::SYS_getrandom],
    // Waiting.
    &[
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_ppoll,
        libc::SYS_eventfd2,
    ],
    // Files by name, below what Landlock leaves; openat where openat2 is missing.
    &[libc::SYS_openat, libc::SYS_openat2, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_readlinkat],
    &[libc::SYS_inotify_init1, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch],
    // Open files: what they are, and on what kind of file system.
    &[libc::SYS_close, libc::SYS_fstat, libc::SYS_fstatfs, libc::SYS_statfs, libc::SYS_getdents64],
    // Reading; with preadv2 only what is in memory.
    &[
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_preadv2,
        libc::SYS_lseek,
        libc::SYS_fadvise64,
    ],
    // Writing: logs, eventfds, files without a name for bodies, which are used again; writev for the C library's own
    // last words.
    // What renameat2 is without flags, to the C library.
    &[libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64, libc::SYS_ftruncate, libc::SYS_renameat],
    // Connections; whom they reach is Landlock's business and that of the modes of sockets.
    &[
        libc::SYS_accept4,
        libc::SYS_connect,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_sendfile,
        libc::SYS_shutdown,
        libc::SYS_getsockname,
        libc::SYS_getpeername,
    ],
];

/// Older forms of the above that x86-64 has too, and C libraries make: `unlink` follows a file of a directory whose file
/// system has no files without a name.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_readlink,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// Tried by C libraries, which fall back only if they are told that there is no such call. The flags of clone3 are in
/// memory, where a filter cannot see them.
const ABSENT: &[c_long] = &[libc::SYS_clone3, libc::SYS_faccessat2, libc::SYS_epoll_pwait2];

/// A thread has all of these flags of clone(2) …
const THREAD: i32 =
    libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;

/// … and no others than these: neither namespaces, nor tracers, nor a process of its own.
const OF_THREADS: i32 = THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_DETACHED;

/// Level and option of sockets that are set. Not TCP_FASTOPEN_CONNECT (it gets around Landlock), TCP_ULP, SO_MARK, …
const SET: [(i32, i32); 3] = [
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    // Closing breaks off.
    (libc::SOL_SOCKET, libc::SO_LINGER),
    // Nobody passes a descriptor to a socket that expects none.
    (libc::SOL_SOCKET, SO_PASSRIGHTS),
];

/// Since Linux 6.16, and not in libc yet.
const SO_PASSRIGHTS: i32 = 83;

/// Level and option of sockets that are asked for: whether a connection could be made, and whose process listens on the
/// socket of an app.
const ASKED: [(i32, i32); 2] = [(libc::SOL_SOCKET, libc::SO_ERROR), (libc::SOL_SOCKET, libc::SO_PEERCRED)];

/// The table for the process `own`.
pub(super) fn table(own: u32) -> Table {
    let free = FREE.iter().copied().flatten().chain(OLDER).map(|call| (*call, Answer::Allow(Vec::new())));
    let absent = ABSENT.iter().map(|call| (*call, Answer::Absent));
    let checked = checked(own).into_iter().map(|(call, checks)| (call, Answer::Allow(checks)));
    let all = free.chain(absent).chain(checked);
    // The numbers of all calls are small.
    all.filter_map(|(call, answer)| Some((u32::try_from(call).ok()?, answer))).collect()
}

/// Allowed with some arguments. Flags and options are bits and numbers: their sign means nothing.
fn checked(own: u32) -> Vec<(c_long, Vec<Check>)> {
    let bits = i32::cast_unsigned;
    let among = |argument, values: &[i32]| {
        let values = values.iter().copied().map(bits).collect();
        Check::Among { argument, ignoring: 0, values }
    };
    let without = |argument, flags| Check::Without { argument, bits: bits(flags) };
    let options = |values: &[(i32, i32)]| {
        let values = values.iter().map(|(level, option)| (bits(*level), bits(*option))).collect();
        vec![Check::Option { values }]
    };
    let kind = Check::Among {
        argument: 1,
        ignoring: bits(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC),
        values: vec![bits(libc::SOCK_STREAM)],
    };
    let descriptor = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC];
    vec![
        // No code but the program's own.
        (libc::SYS_mmap, vec![without(2, libc::PROT_EXEC)]),
        (libc::SYS_mprotect, vec![without(2, libc::PROT_EXEC)]),
        // Threads, not processes; their names.
        (libc::SYS_clone, vec![Check::With { argument: 0, bits: bits(THREAD) }, without(0, !OF_THREADS)]),
        (libc::SYS_prctl, vec![among(0, &[libc::PR_SET_NAME])]),
        // Its own end (abort(3)), and nobody else's.
        (libc::SYS_tgkill, vec![Check::Among { argument: 0, ignoring: 0, values: vec![own] }]),
        // Its own limits, to look at (sysconf(3)).
        (libc::SYS_prlimit64, vec![among(0, &[0]), Check::Null { argument: 2 }]),
        // Large bodies go from socket to socket through pipes that it was born with; one that waits would hold up whoever
        // reads at the other end.
        (libc::SYS_splice, vec![Check::With { argument: 5, bits: bits(libc::SPLICE_F_NONBLOCK as i32) }]),
        // Copies, and what an exec would close. F_SETFL is not among them: listeners and the access log are shared with
        // the siblings, and so are their flags.
        (libc::SYS_fcntl, vec![among(1, &descriptor)]),
        // To upstreams and apps: streams, by Unix sockets and TCP. Multipath TCP gets around Landlock, and datagrams
        // are not its business.
        (
            libc::SYS_socket,
            vec![
                among(0, &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6]),
                kind,
                among(2, &[0, libc::IPPROTO_TCP]),
            ],
        ),
        // Fast Open connects without connect(2), which is what Landlock sees.
        (libc::SYS_sendto, vec![without(3, libc::MSG_FASTOPEN), Check::Null { argument: 4 }]),
        (libc::SYS_sendmsg, vec![without(2, libc::MSG_FASTOPEN)]),
        (libc::SYS_setsockopt, options(&SET)),
        (libc::SYS_getsockopt, options(&ASKED)),
        // Whether what was sent of a file has been acknowledged (SIOCOUTQ).
        (
            libc::SYS_ioctl,
            vec![Check::Among { argument: 1, ignoring: 0, values: vec![libc::TIOCOUTQ as u32] }],
        ),
        // A file of the response cache gets its name when it is whole: never one that exchanges two, or leaves a device.
        (libc::SYS_renameat2, vec![Check::Null { argument: 4 }]),
        // As `unlink` on x86-64.
        (libc::SYS_unlinkat, vec![among(2, &[0])]),
    ]
}

#[cfg(test)]
mod tests;
