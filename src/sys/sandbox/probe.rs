//! For tests: what a process can still do, tried.

use std::ffi::CString;
use std::io;
use std::path::Path;

fn outcome(result: libc::c_long) -> Result<(), i32> {
    if result < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(()) }
}

/// Becomes the program; returns only if that fails.
pub(crate) fn execute(program: &Path) -> i32 {
    use std::os::unix::ffi::OsStrExt as _;
    let program = CString::new(program.as_os_str().as_bytes()).unwrap();
    let arguments = [program.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: NUL-terminated strings and null-terminated arrays of them, all alive.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Becomes the program by the number that the call has in the x32 interface.
#[cfg(target_arch = "x86_64")]
pub(crate) fn execute_x32() -> Result<(), i32> {
    // SAFETY: null pointers are what execve answers with EFAULT, if it is reached.
    outcome(unsafe { libc::syscall(0x4000_0000 + 520, 0, 0, 0) })
}

pub(crate) fn trace_me() -> Result<(), i32> {
    // SAFETY: integers only.
    outcome(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })
}

pub(crate) fn own_user_namespace() -> Result<(), i32> {
    // SAFETY: integers only.
    outcome(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())
}

/// clone(2) as fork(2) makes it, in a namespace of its own; a child ends at once.
pub(crate) fn clone_in_namespace() -> Result<(), i32> {
    // SAFETY: without a stack the child goes on with a copy of ours, and leaves.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0) };
    if pid == 0 {
        super::super::process::leave(0);
    }
    outcome(pid)
}

pub(crate) fn netlink_socket() -> Result<(), i32> {
    // SAFETY: integers only.
    outcome(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0) }.into())
}

pub(crate) fn load_key() -> Result<(), i32> {
    // SAFETY: null pointers are what keyctl answers with EFAULT or the like, if it is reached.
    outcome(unsafe { libc::syscall(libc::SYS_keyctl, 0, 0, 0, 0, 0) })
}

pub(crate) fn mount() -> Result<(), i32> {
    let (what, place) = (c"none", c"/tmp");
    let flags = libc::MS_REMOUNT;
    // SAFETY: NUL-terminated strings; no data.
    let result =
        unsafe { libc::mount(what.as_ptr(), place.as_ptr(), what.as_ptr(), flags, std::ptr::null()) };
    outcome(result.into())
}

/// Sends no signal, but asks whether it might.
pub(crate) fn signal(pid: u32) -> Result<(), i32> {
    // SAFETY: integers only.
    outcome(unsafe { libc::kill(pid.cast_signed(), 0) }.into())
}

/// Whether any of the first 41 capabilities is in the bounding set.
pub(crate) fn has_bounding_set() -> bool {
    // SAFETY: integers only.
    (0..=40).any(|capability| unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } == 1)
}

pub(crate) fn is_dumpable() -> bool {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 }
}
