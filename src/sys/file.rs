//! Files below a directory that cannot be left: `openat2` with RESOLVE_BENEATH, or one `openat` a component where the
//! kernel (before 5.6) or a container's filter has no `openat2`.

use crate::timer::Wall;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A FIFO, a device or a socket.
    Other,
}

/// What `fstat` says of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Bytes, of a regular file.
    pub size: u64,
    /// Last modification of its content.
    pub modified: Wall,
}

/// Opens a directory as the root for [`open_beneath`].
///
/// # Errors
/// As `open(2)`: ENOENT, ENOTDIR, EACCES, EMFILE…
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(retry(|| nix::fcntl::open(path, flags, Mode::empty()))?)
}

/// Device and inode of an open file: what tells a directory from another that took its place.
///
/// # Errors
/// EBADF, which a borrowed descriptor rules out.
pub fn identity(file: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let found = retry(|| fstat(file))?;
    Ok((found.st_dev, found.st_ino))
}

/// Opens `path`, relative to and never outside of `root`, for reading. It does not block on a FIFO and takes no
/// terminal; symbolic links are followed only while they stay below `root` (in the fall-back they are not followed at
/// all, ELOOP or ENOTDIR). An empty path is `root` itself.
///
/// # Errors
/// EXDEV: the path leaves the root, by `..`, by being absolute or by a symbolic link. ELOOP: too many or refused
/// links. EINVAL: it holds a NUL. ENXIO: a socket. Else as `openat2(2)`.
pub fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    // Relaxed: whoever reads the old value asks the kernel once more.
    static MISSING: AtomicBool = AtomicBool::new(false);
    if !MISSING.load(Ordering::Relaxed) {
        match open_in_one_call(root, path) {
            // ENOSYS: an old kernel. EPERM, which openat2 itself never returns for reading: a seccomp filter.
            Err(Errno::ENOSYS | Errno::EPERM) => MISSING.store(true, Ordering::Relaxed),
            result => return Ok(result?),
        }
    }
    Ok(open_by_components(root, path)?)
}

fn open_in_one_call(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let how =
        OpenHow::new().flags(READ).resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 1..RACES {
        // EAGAIN: a rename raced with a `..` in a symbolic link (openat2(2)).
        match retry(|| openat2(root, path, how)) {
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
    retry(|| openat2(root, path, how))
}

fn open_by_components(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<OwnedFd> {
    if path.starts_with(b"/") {
        return Err(Errno::EXDEV);
    }
    let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory: Option<OwnedFd> = None;
    let mut components =
        path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).peekable();
    while let Some(name) = components.next() {
        if name == b".." {
            return Err(Errno::EXDEV);
        }
        let at = directory.as_ref().map_or(root, |directory| directory.as_fd());
        let is_last = components.peek().is_none();
        let flags = match is_last {
            true if path.ends_with(b"/") => READ | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY,
            true => READ | OFlag::O_NOFOLLOW,
            false => step,
        };
        let opened = retry(|| openat(at, name, flags, Mode::empty()))?;
        if is_last {
            return Ok(opened);
        }
        directory = Some(opened);
    }
    retry(|| openat(root, ".", READ | OFlag::O_DIRECTORY, Mode::empty()))
}

/// Asks what an open file is.
///
/// # Errors
/// As `fstat(2)`: in practice EIO, or EOVERFLOW.
pub fn metadata(file: BorrowedFd<'_>) -> io::Result<Metadata> {
    let stat = retry(|| fstat(file))?;
    let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::Regular,
        SFlag::S_IFDIR => Kind::Directory,
        _ => Kind::Other,
    };
    let modified =
        Wall { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or_default() };
    Ok(Metadata { kind, size: u64::try_from(stat.st_size).unwrap_or_default(), modified })
}

/// Reads `len` bytes from `offset` on; fewer if the file ends before. One call unless the kernel cuts it short.
///
/// # Errors
/// As `pread(2)`: EIO, EISDIR; EINVAL if the offset does not fit.
pub fn read_at(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; len];
    let mut filled = 0;
    while filled < len {
        let at = i64::try_from(offset.saturating_add(filled as u64)).map_err(|_| Errno::EINVAL)?;
        match retry(|| nix::sys::uio::pread(file, &mut data[filled..], at))? {
            0 => break,
            count => filled += count,
        }
    }
    data.truncate(filled);
    Ok(data)
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// For reading whatever it turns out to be: neither waiting for a FIFO's writer nor taking a terminal.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);
/// How often a lookup that lost a race against renames is tried.
const RACES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A directory of its own with a root and something outside of it; removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let place = std::env::temp_dir().join(format!("hatchery-sys-{name}-{}", std::process::id()));
            fs::create_dir_all(place.join("root/dir/deep")).unwrap();
            fs::write(place.join("secret"), "secret").unwrap();
            fs::write(place.join("root/file"), "file").unwrap();
            fs::write(place.join("root/dir/deep/leaf"), "leaf").unwrap();
            symlink("../secret", place.join("root/out")).unwrap();
            symlink("/etc/passwd", place.join("root/absolute")).unwrap();
            symlink("dir/deep/leaf", place.join("root/inside")).unwrap();
            symlink("../file", place.join("root/dir/up")).unwrap();
            symlink("../..", place.join("root/dir/away")).unwrap();
            symlink("loop", place.join("root/loop")).unwrap();
            symlink("/proc/self/root", place.join("root/magic")).unwrap();
            Self(place)
        }

        fn root(&self) -> OwnedFd {
            open_directory(&self.0.join("root")).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    type Open = fn(BorrowedFd<'_>, &[u8]) -> nix::Result<OwnedFd>;

    fn try_all(open: Open, root: &OwnedFd, cases: &[(&str, Result<&str, &[Errno]>)]) {
        for (path, expected) in cases {
            let found = open(root.as_fd(), path.as_bytes())
                .map(|file| String::from_utf8(read_at(file.as_fd(), 0, 100).unwrap()).unwrap());
            match (found, expected) {
                (Ok(content), Ok(expected)) => assert_eq!(content, *expected, "{path}"),
                (Err(errno), Err(expected)) => assert!(expected.contains(&errno), "{path}: {errno}"),
                (found, expected) => panic!("{path}: {found:?}, not {expected:?}"),
            }
        }
    }

    const BOTH: &[(&str, Result<&str, &[Errno]>)] = &[
        ("file", Ok("file")),
        ("./dir//deep/./leaf", Ok("leaf")),
        ("missing", Err(&[Errno::ENOENT])),
        ("file/below", Err(&[Errno::ENOTDIR])),
        ("file/", Err(&[Errno::ENOTDIR])),
        ("..", Err(&[Errno::EXDEV])),
        ("../secret", Err(&[Errno::EXDEV])),
        ("dir/../../secret", Err(&[Errno::EXDEV])),
        ("/etc/passwd", Err(&[Errno::EXDEV])),
        ("out", Err(&[Errno::EXDEV, Errno::ELOOP])),
        ("absolute", Err(&[Errno::EXDEV, Errno::ELOOP])),
        ("dir/away/secret", Err(&[Errno::EXDEV, Errno::ELOOP, Errno::ENOTDIR])),
        ("magic/etc/passwd", Err(&[Errno::EXDEV, Errno::ELOOP, Errno::ENOTDIR])),
        ("loop", Err(&[Errno::ELOOP])),
        ("fi\0le", Err(&[Errno::EINVAL])),
    ];

    #[test]
    fn one_call_follows_links_inside_and_none_outside() {
        let place = Place::new("one");
        let root = place.root();
        match open_in_one_call(root.as_fd(), b"file") {
            Err(Errno::ENOSYS | Errno::EPERM) => {
                eprintln!("no openat2 here: only the fall-back is tested");
                return;
            }
            result => drop(result.unwrap()),
        }
        try_all(open_in_one_call, &root, BOTH);
        try_all(open_in_one_call, &root, &[("inside", Ok("leaf")), ("dir/up", Ok("file"))]);
    }

    #[test]
    fn component_by_component_follows_no_link() {
        let place = Place::new("components");
        let root = place.root();
        try_all(open_by_components, &root, BOTH);
        try_all(
            open_by_components,
            &root,
            &[("inside", Err(&[Errno::ELOOP])), ("dir/up", Err(&[Errno::ELOOP]))],
        );
    }

    #[test]
    fn the_root_and_directories_open_as_directories() {
        let place = Place::new("kinds");
        let root = place.root();
        for open in [open_in_one_call as Open, open_by_components] {
            for path in ["", ".", "dir", "dir/"] {
                match open(root.as_fd(), path.as_bytes()) {
                    Err(Errno::ENOSYS | Errno::EPERM) => {}
                    opened => {
                        assert_eq!(
                            metadata(opened.unwrap().as_fd()).unwrap().kind,
                            Kind::Directory,
                            "{path}"
                        );
                    }
                }
            }
        }
        let file = open_beneath(root.as_fd(), b"file").unwrap();
        let found = metadata(file.as_fd()).unwrap();
        assert_eq!((found.kind, found.size), (Kind::Regular, 4));
        assert!(found.modified.seconds > 1_600_000_000);
        assert_eq!(read_at(file.as_fd(), 2, 100).unwrap(), b"le");
        assert_eq!(read_at(file.as_fd(), 9, 100).unwrap(), b"");
        assert!(open_directory(&place.0.join("root/file")).is_err());
    }

    #[test]
    fn a_fifo_without_a_writer_does_not_block() {
        let place = Place::new("fifo");
        nix::unistd::mkfifo(&place.0.join("root/fifo"), Mode::S_IRUSR).unwrap();
        let root = place.root();
        for open in [open_in_one_call as Open, open_by_components] {
            match open(root.as_fd(), b"fifo") {
                Err(Errno::ENOSYS | Errno::EPERM) => {}
                opened => assert_eq!(metadata(opened.unwrap().as_fd()).unwrap().kind, Kind::Other),
            }
        }
    }
}
