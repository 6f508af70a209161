//! The system calls of the helper: those of a worker, and what a C library's resolver does, which loads libraries, asks the
//! kernel for addresses and speaks UDP, and what an async runtime does with its sockets.

use super::super::filter::{Answer, Check, Table};
use libc::c_long;

const FREE: &[&[c_long]] = &[
    // Questions to name servers, and to the kernel for its addresses.
    &[libc::SYS_bind, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_sendto, libc::SYS_sendmsg],
    &[libc::SYS_setsockopt, libc::SYS_getsockopt],
    // Libraries with ways to look names up.
    &[libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_faccessat, libc::SYS_getcwd],
    // Which machine and user this is, for what is configured by that.
    &[libc::SYS_uname, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid],
    &[libc::SYS_clock_nanosleep, libc::SYS_sysinfo],
];

#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[libc::SYS_access, libc::SYS_nanosleep];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// What these are asked to do to a socket: not to block (FIONBIO), how much is there (FIONREAD).
const ASKED: [u32; 2] = [0x5421, 0x541b];

/// The table for the process `own`.
pub(in crate::sys::sandbox) fn table(own: u32) -> Table {
    let bits = i32::cast_unsigned;
    let among = |argument, values: Vec<u32>| Check::Among { argument, ignoring: 0, values };
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let kind = Check::Among {
        argument: 1,
        ignoring: bits(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC),
        // The kernel's answers come over a raw one; without capabilities there is no other.
        values: [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW].map(bits).to_vec(),
    };
    // Not Multipath TCP, which gets around Landlock.
    let protocols = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];
    let descriptor =
        [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC, libc::F_DUPFD];
    let checked: [(c_long, Vec<Check>); 3] = [
        (
            libc::SYS_socket,
            vec![among(0, families.map(bits).to_vec()), kind, among(2, protocols.map(bits).to_vec())],
        ),
        (libc::SYS_fcntl, vec![among(1, descriptor.map(bits).to_vec())]),
        (libc::SYS_ioctl, vec![among(1, ASKED.to_vec())]),
    ];
    let free = FREE.iter().copied().flatten().chain(OLDER).map(|call| (*call, Vec::new()));
    let more = free.chain(checked).map(|(call, checks)| (call, Answer::Allow(checks)));
    let more = more.filter_map(|(call, answer)| Some((u32::try_from(call).ok()?, answer)));
    super::table(own).into_iter().chain(more).collect()
}
