//! For tests of a debug build: a call that the filter refuses ends the worker with its number, so that a call which is
//! missing in the list does not pass as a rare error that somebody handles.

use std::ffi::{c_int, c_void};
use std::io::{self, Write as _};

/// The variable that asks for it.
const VARIABLE: &str = "HATCHERY_SANDBOX_TRAP";

/// Whether refused calls are to end this process; if so, it is ready to say which one did.
///
/// # Errors
/// None that the kernel documents for a valid handler.
pub(super) fn is_wanted() -> io::Result<bool> {
    if std::env::var_os(VARIABLE).is_none_or(|value| value.is_empty()) {
        return Ok(false);
    }
    // SAFETY: a structure of integers and a pointer, for which zero is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = tell;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler makes async-signal-safe calls only; `action` lives on; the old one is not asked for.
    let result = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(true) }
}

/// Writes the number and the arguments to standard error, and ends the process.
extern "C" fn tell(signal: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the context of the thread that made the call, alive until the handler returns.
    let (number, arguments) = call(unsafe { &*context.cast::<libc::ucontext_t>() });
    let mut text = [0; 160];
    let mut unused: &mut [u8] = &mut text;
    // What does not fit is left out.
    let _ = writeln!(unused, "hatchery: the sandbox refused system call {number} {arguments:x?}");
    let left = unused.len();
    let length = text.len() - left;
    // SAFETY: `length` bytes of a living array; a signal's default disposition runs no code of ours, and it comes once
    // the handler has returned.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), length);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Number and arguments as the processor had them.
#[cfg(target_arch = "x86_64")]
fn call(context: &libc::ucontext_t) -> (i64, [i64; 4]) {
    let register = |which: c_int| {
        let place = usize::try_from(which).unwrap_or(usize::MAX);
        context.uc_mcontext.gregs.get(place).copied().unwrap_or(-1)
    };
    (register(libc::REG_RAX), [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10].map(register))
}

#[cfg(target_arch = "aarch64")]
fn call(context: &libc::ucontext_t) -> (i64, [i64; 4]) {
    let register = |which: usize| context.uc_mcontext.regs.get(which).map_or(-1, |word| word.cast_signed());
    (register(8), [0, 1, 2, 3].map(register))
}

/// There is no filter here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn call(_: &libc::ucontext_t) -> (i64, [i64; 4]) {
    (-1, [-1; 4])
}
