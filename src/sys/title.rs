//! The process title that `ps` shows: written over the arguments and the environment this process was started with,
//! as the kernel reads it from there (/proc/PID/cmdline, see proc(5)).

use super::process::only_thread;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Where the title goes, and how many bytes there are.
static PLACE: Mutex<Option<(usize, usize)>> = Mutex::new(None);

/// Finds the place of the title and moves the environment out of it. After the last look at the arguments, which it will
/// be written over.
///
/// # Errors
/// With more than one thread; where /proc is not mounted or tells something unexpected. Titles are then left as they are.
pub(crate) fn prepare() -> io::Result<()> {
    only_thread()?;
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
        // SAFETY: there is one thread, as was seen above.
        unsafe { move_environment() };
    }
    let length = if adjacent { last } else { end } - start;
    *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = Some((start, length));
    Ok(())
}

/// Shows `title`, cut to the room there is. Does nothing before [`prepare`], nor with more than one thread: another one
/// may look at the arguments.
pub(crate) fn set(title: &str) {
    let Some((start, length)) = *PLACE.lock().unwrap_or_else(PoisonError::into_inner) else { return };
    if only_thread().is_err() {
        return;
    }
    let start = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // The last byte stays zero: whoever still reads the old arguments finds an end.
    let text = title.as_bytes().get(..length - 1).unwrap_or(title.as_bytes());
    // SAFETY: `start` and `length` are this process's own argument area, which the kernel mapped writable. What still
    // refers to it are arguments (of std and the C library), which nobody reads now, and which still end at a zero.
    unsafe {
        std::ptr::write_bytes(start, 0, length);
        std::ptr::copy_nonoverlapping(text.as_ptr(), start, text.len());
    }
}

/// Copies the environment to the heap (and leaks it: it lives as long as the process).
///
/// # Safety
/// This process has one thread.
unsafe fn move_environment() {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: with one thread nobody reads or changes the environment meanwhile; `environ` is a null-terminated array of
    // NUL-terminated strings, and what replaces it is one too.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_second_thread_the_arguments_stay() {
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || left.recv());
        assert!(prepare().is_err());
        let mut arguments = *b"hatchery\0run\0";
        let place = Some((arguments.as_mut_ptr().expose_provenance(), arguments.len()));
        *PLACE.lock().unwrap() = place;
        set("another");
        assert_eq!(arguments, *b"hatchery\0run\0");
        *PLACE.lock().unwrap() = None;
        drop(leave);
        assert!(other.join().unwrap().is_err());
    }
}
