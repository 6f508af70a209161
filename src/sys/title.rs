//! The process title that `ps` shows: written over the arguments and the environment this process was started with,
//! as the kernel reads it from there (/proc/PID/cmdline, see proc(5)).

use std::io;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static START: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Finds the place of the title and moves the environment out of it. Once, before the first thread and after the
/// last look at the arguments.
///
/// # Errors
/// Where /proc is not mounted or tells something unexpected; titles are then left as they are.
pub fn prepare() -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let unexpected = || io::Error::from(io::ErrorKind::InvalidData);
    // The name in parentheses may hold anything; field 3 follows it. Fields 48 to 51: arg_start, arg_end, env_start,
    // env_end.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(unexpected)?;
    let field = |number: usize| -> io::Result<usize> {
        rest.split_whitespace().nth(number - 3).and_then(|text| text.parse().ok()).ok_or_else(unexpected)
    };
    let (start, end, environment, last) = (field(48)?, field(49)?, field(50)?, field(51)?);
    if start == 0 || end <= start {
        return Err(unexpected());
    }
    // Without an adjacent environment the arguments alone must do.
    let adjacent = environment == end && last > environment;
    if adjacent {
        move_environment();
    }
    let length = if adjacent { last } else { end } - start;
    START.store(std::ptr::with_exposed_provenance_mut(start), Ordering::Relaxed);
    LENGTH.store(length, Ordering::Relaxed);
    Ok(())
}

/// Shows `title`, cut to the room there is. Does nothing before [`prepare`].
pub fn set(title: &str) {
    let start = START.load(Ordering::Relaxed);
    let length = LENGTH.load(Ordering::Relaxed);
    if start.is_null() {
        return;
    }
    // The last byte stays zero: whoever still reads the old arguments finds an end.
    let text = title.as_bytes().get(..length - 1).unwrap_or(title.as_bytes());
    // SAFETY: `start` and `length` are this process's own argument area, which the kernel mapped writable and which
    // nothing refers to any more except std's argument list, read before.
    unsafe {
        std::ptr::write_bytes(start, 0, length);
        std::ptr::copy_nonoverlapping(text.as_ptr(), start, text.len());
    }
}

/// Copies the environment to the heap (and leaks it: it lives as long as the process).
fn move_environment() {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: called once with one thread, so nobody reads or changes the environment meanwhile; `environ` is a
    // null-terminated array of NUL-terminated strings, and what replaces it is one too.
    unsafe {
        let mut copies = Vec::new();
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let copy = libc::strdup(*entry);
            if copy.is_null() {
                return;
            }
            copies.push(copy);
            entry = entry.add(1);
        }
        copies.push(std::ptr::null_mut());
        environ = copies.leak().as_mut_ptr();
    }
}
