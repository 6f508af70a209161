//! Replacing the program of this process in place (execve(2)): same process id, same children, and of the descriptors
//! those that are named.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Which program to become.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Image<'a> {
    /// The executable at this path.
    Path(&'a Path),
    /// The executable of this descriptor, also if its file has been removed.
    Open(BorrowedFd<'a>),
}

/// A descriptor of the executable of this process, to become it again.
///
/// # Errors
/// Where /proc is not mounted; EMFILE.
pub(crate) fn own() -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_PATH);
    Ok(options.open("/proc/self/exe")?.into())
}

/// Where a newer version of this program would be: the path that it was started by (`called`, its first argument), if
/// that names the running one; else where the running one was. `None` where /proc is not mounted.
#[must_use]
pub(crate) fn place(called: Option<&OsStr>) -> Option<PathBuf> {
    let running = File::open("/proc/self/exe").ok()?.metadata().ok()?;
    let is_it = |path: &PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (running.dev(), running.ino()))
    };
    let named = called.and_then(|called| {
        if called.as_bytes().contains(&b'/') {
            return std::path::absolute(called).ok();
        }
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(called)).find(is_it)
    });
    named.filter(is_it).or_else(|| {
        let link = std::fs::read_link("/proc/self/exe").ok()?;
        let bytes = link.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
        Some(PathBuf::from(OsStr::from_bytes(bytes)))
    })
}

/// Becomes another program, which finds `descriptors` open at the same numbers. Returns only if that fails; then they are
/// close-on-exec again.
#[must_use]
pub(crate) fn become_image(
    image: Image<'_>,
    arguments: &[CString],
    environment: &[CString],
    descriptors: &[RawFd],
) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    let path = match image {
        Image::Path(path) => match CString::new(path.as_os_str().as_bytes()) {
            Ok(path) => path,
            Err(_) => return io::Error::from(io::ErrorKind::InvalidInput),
        },
        Image::Open(_) => CString::default(),
    };
    descriptors.iter().for_each(|fd| _ = keep(*fd, true));
    match image {
        // SAFETY: a NUL-terminated string and null-terminated arrays of them, all alive.
        Image::Path(_) => unsafe {
            libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        },
        // SAFETY: as above; with an empty path and this flag the descriptor, which is borrowed, is what is executed.
        Image::Open(file) => unsafe {
            libc::syscall(
                libc::SYS_execveat,
                file.as_raw_fd(),
                path.as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        },
    }
    let error = io::Error::last_os_error();
    descriptors.iter().for_each(|fd| _ = keep(*fd, false));
    error
}

/// What the process is called where its title is not shown (`pidof`, `top`): an exec by descriptor leaves a number there.
pub(crate) fn name_process(name: &CStr) {
    // Cosmetic: nothing depends on it.
    let _ = nix::sys::prctl::set_name(name);
}

/// Has an exec keep or close the descriptor of this number.
///
/// # Errors
/// EBADF if it is not open.
pub(super) fn keep(number: RawFd, kept: bool) -> io::Result<()> {
    // SAFETY: integers only.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, if kept { 0 } else { libc::FD_CLOEXEC }) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::inherited::is_open;
    use super::*;
    use std::os::fd::AsFd as _;

    fn is_close_on_exec(fd: RawFd) -> bool {
        // SAFETY: integers only.
        unsafe { libc::fcntl(fd, libc::F_GETFD) & libc::FD_CLOEXEC != 0 }
    }

    #[test]
    fn an_exec_that_fails_leaves_the_descriptors_close_on_exec() {
        let file = File::open("/dev/null").unwrap();
        let error = become_image(Image::Path(Path::new("/nonexistent")), &[], &[], &[file.as_raw_fd()]);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert!(is_close_on_exec(file.as_raw_fd()));
        let error = become_image(Image::Open(file.as_fd()), &[], &[], &[file.as_raw_fd()]);
        assert_eq!(error.raw_os_error(), Some(libc::EACCES), "a device is not executed");
        assert!(is_close_on_exec(file.as_raw_fd()) && is_open(file.as_raw_fd()));
        keep(file.as_raw_fd(), true).unwrap();
        assert!(!is_close_on_exec(file.as_raw_fd()));
        assert!(!is_open(RawFd::MAX) && keep(RawFd::MAX, true).is_err());
    }

    #[test]
    fn the_place_is_the_path_that_was_called_if_that_is_what_runs() {
        let own = std::env::current_exe().unwrap();
        let folder = std::env::temp_dir().join(format!("hatchery-place-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let link = folder.join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert_eq!(place(Some(link.as_os_str())), Some(link.clone()), "a link stays a link");
        assert_eq!(place(Some(OsStr::new("/bin/sh"))), Some(own.clone()), "something else is not it");
        assert_eq!(place(None), Some(own));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
