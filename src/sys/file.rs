//! Files below a directory that cannot be left: `openat2` with RESOLVE_BENEATH, or one `openat` a component where the
//! kernel (before 5.6) or a container's filter has no `openat2`.

mod names;

pub(crate) use names::kind_beneath;

use crate::buf::Stamp;
use crate::timer::Wall;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat, openat2, readlink};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statfs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// What an open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A FIFO, a device or a socket.
    Other,
}

/// What `fstat` says of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// What it is.
    pub(crate) kind: Kind,
    /// Bytes, of a regular file.
    pub(crate) size: u64,
    /// Last modification of its content.
    pub(crate) modified: Wall,
    /// Last change of its content, name, owner or mode.
    pub(crate) changed: Wall,
    /// Which file it is: device and inode.
    pub(crate) id: (u64, u64),
    /// How many names it has.
    pub(crate) links: u64,
}

impl Metadata {
    /// What differs once the content has changed.
    #[must_use]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { size: self.size, modified: (self.modified.seconds, self.modified.nanos) }
    }

    fn of(stat: &FileStat) -> Self {
        let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Kind::Regular,
            SFlag::S_IFDIR => Kind::Directory,
            _ => Kind::Other,
        };
        let wall = |seconds, nanos| Wall { seconds, nanos: u32::try_from(nanos).unwrap_or_default() };
        Self {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: wall(stat.st_mtime, stat.st_mtime_nsec),
            changed: wall(stat.st_ctime, stat.st_ctime_nsec),
            id: (stat.st_dev, stat.st_ino),
            links: stat.st_nlink,
        }
    }
}

/// Which symbolic links are followed on the way to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// None.
    Refuse,
    /// Links that stay below the root.
    Beneath,
}

/// When it was made, since 1970, as far as its file system knows.
pub(crate) fn made(file: OwnedFd) -> Option<Duration> {
    std::fs::File::from(file).metadata().ok()?.created().ok()?.duration_since(UNIX_EPOCH).ok()
}

/// Opens a directory as the root for [`open_beneath`].
///
/// # Errors
/// As `open(2)`: ENOENT, ENOTDIR, EACCES, EMFILE…
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(retry(|| nix::fcntl::open(path, flags, Mode::empty()))?)
}

/// Opens a file that the operator named, for reading; does not block on a FIFO.
///
/// # Errors
/// As `open(2)`.
pub(crate) fn open_file(path: &Path) -> io::Result<OwnedFd> {
    Ok(retry(|| nix::fcntl::open(path, READ, Mode::empty()))?)
}

/// Opens `path`, relative to and never outside of `root`, for reading. It does not block on a FIFO and takes no
/// terminal; symbolic links are followed only while they stay below `root` (in the fall-back they are not followed at
/// all, ELOOP or ENOTDIR). An empty path is `root` itself.
///
/// # Errors
/// EXDEV: the path leaves the root, by `..`, by being absolute or by a symbolic link. ELOOP: too many or refused
/// links. EINVAL: it holds a NUL. ENXIO: a socket. Else as `openat2(2)`.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &[u8], links: Links) -> io::Result<OwnedFd> {
    open_with(root, path, READ, links)
}

/// As [`open_beneath`], but never on another mount than that of `root`: not even looked at is a file system that is mounted
/// below it, or to which a link leads.
///
/// # Errors
/// EXDEV: the path leaves the mount, or the root. ENOSYS: the kernel has no `openat2`. Else as [`open_beneath`].
pub(crate) fn open_on_mount(root: BorrowedFd<'_>, path: &[u8], links: Links) -> io::Result<OwnedFd> {
    Ok(open_in_one_call(root, path, READ, links, ResolveFlag::RESOLVE_NO_XDEV)?)
}

/// Opens a directory below `root`, on the same mount, only to look names up in it, following no symbolic link.
///
/// # Errors
/// As [`open_on_mount`]; ENOTDIR also for a link.
pub(crate) fn open_directory_on_mount(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open_in_one_call(root, path, flags, Links::Refuse, ResolveFlag::RESOLVE_NO_XDEV)?)
}

/// Asks what `path` below `root` is now, on the same mount.
///
/// # Errors
/// As [`open_on_mount`].
pub(crate) fn metadata_on_mount(root: BorrowedFd<'_>, path: &[u8], links: Links) -> io::Result<Metadata> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    metadata(open_in_one_call(root, path, flags, links, ResolveFlag::RESOLVE_NO_XDEV)?.as_fd())
}

fn open_with(root: BorrowedFd<'_>, path: &[u8], flags: OFlag, links: Links) -> io::Result<OwnedFd> {
    // Relaxed: whoever reads the old value asks the kernel once more.
    static MISSING: AtomicBool = AtomicBool::new(false);
    if !MISSING.load(Ordering::Relaxed) {
        match open_in_one_call(root, path, flags, links, ResolveFlag::empty()) {
            // ENOSYS: an old kernel. EPERM, which openat2 itself never returns for reading: a seccomp filter.
            Err(Errno::ENOSYS | Errno::EPERM) => MISSING.store(true, Ordering::Relaxed),
            result => return Ok(result?),
        }
    }
    Ok(open_by_components(root, path, flags)?)
}

fn open_in_one_call(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
    links: Links,
    also: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = match links {
        Links::Refuse => ResolveFlag::RESOLVE_NO_SYMLINKS,
        Links::Beneath => ResolveFlag::RESOLVE_NO_MAGICLINKS,
    };
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_BENEATH | resolve | also);
    for _ in 1..RACES {
        // EAGAIN: a rename raced with a `..` in a symbolic link (openat2(2)).
        match retry(|| openat2(root, path, how)) {
            Err(Errno::EAGAIN) => {}
            result => return result,
        }
    }
    retry(|| openat2(root, path, how))
}

fn open_by_components(root: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
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
        let step_flags = match is_last {
            true if path.ends_with(b"/") => flags | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY,
            true => flags | OFlag::O_NOFOLLOW,
            false => step,
        };
        let opened = retry(|| openat(at, name, step_flags, Mode::empty()))?;
        if is_last {
            return Ok(opened);
        }
        directory = Some(opened);
    }
    retry(|| openat(root, ".", flags | OFlag::O_DIRECTORY, Mode::empty()))
}

/// Opens `path` for reading, following symbolic links wherever they lead, if what they lead to is below one of the
/// directories `to`. What is opened first is only a reference: nothing outside
/// is touched before its place is known.
///
/// # Errors
/// EXDEV: it is elsewhere. Else as `openat(2)`; ENOENT also without `/proc`.
pub(crate) fn open_through_links(root: BorrowedFd<'_>, path: &[u8], to: &[PathBuf]) -> io::Result<OwnedFd> {
    let reference = retry(|| openat(root, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()))?;
    let link = format!("/proc/self/fd/{}", reference.as_raw_fd());
    let place = PathBuf::from(retry(|| readlink(link.as_str()))?);
    let is_in =
        |directory: &PathBuf| directory.canonicalize().is_ok_and(|directory| place.starts_with(directory));
    if !to.iter().any(is_in) {
        return Err(Errno::EXDEV.into());
    }
    if metadata(reference.as_fd())?.kind == Kind::Other {
        return Err(Errno::ENXIO.into());
    }
    Ok(retry(|| nix::fcntl::open(link.as_str(), READ, Mode::empty()))?)
}

/// Asks what an open file is.
///
/// # Errors
/// As `fstat(2)`: in practice EIO, or EOVERFLOW.
pub(crate) fn metadata(file: BorrowedFd<'_>) -> io::Result<Metadata> {
    Ok(Metadata::of(&retry(|| fstat(file))?))
}

/// Asks what `path` below `root` is; a symbolic link is [`Kind::Other`].
///
/// # Errors
/// As `fstatat(2)`.
pub(crate) fn metadata_of_entry(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Metadata> {
    Ok(Metadata::of(&retry(|| fstatat(root, path, AtFlags::AT_SYMLINK_NOFOLLOW))?))
}

/// What a descriptor from somebody else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// A regular file, open for reading, on a disk of this machine: closing it waits for nobody.
    Disk,
    /// A regular file, open for reading, of any other file system: over a network, in user space, in memory.
    Elsewhere,
    /// Anything else: a socket, a pipe, a directory, a file that cannot be read.
    Other,
}

/// Looks at a descriptor of which nothing is known, without waiting for whoever has made it: what it was opened for, and
/// what is known of it already (AT_STATX_DONT_SYNC: no question to a server or a process). A disk is told by the number of
/// its device, as file systems without one get a number whose major part is 0.
#[must_use]
pub(crate) fn nature(file: BorrowedFd<'_>) -> Nature {
    let mode = match fcntl(file, FcntlArg::F_GETFL) {
        Ok(flags) if flags & libc::O_PATH == 0 => flags & libc::O_ACCMODE,
        Ok(_) | Err(_) => return Nature::Other,
    };
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: an empty path, which is the descriptor itself, and room for the answer; both live across the call.
    let result =
        unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, libc::STATX_TYPE, found.as_mut_ptr()) };
    if result < 0 || mode == libc::O_WRONLY {
        return Nature::Other;
    }
    // SAFETY: zero is a valid value, and the kernel has filled it.
    let found = unsafe { found.assume_init() };
    if libc::mode_t::from(found.stx_mode) & libc::S_IFMT != libc::S_IFREG {
        return Nature::Other;
    }
    if found.stx_dev_major == 0 { Nature::Elsewhere } else { Nature::Disk }
}

/// Whether every change in the file system of `file` is made by this machine, through names that can be watched. Not so
/// over a network, in user space and where layers lie over each other.
#[must_use]
pub(crate) fn is_local(file: BorrowedFd<'_>) -> bool {
    let Ok(kind) = statfs::fstatfs(file).map(|found| found.filesystem_type()) else { return false };
    [
        statfs::BTRFS_SUPER_MAGIC,
        statfs::EXT4_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
        statfs::XFS_SUPER_MAGIC,
        ZFS_MAGIC,
        statfs::F2FS_SUPER_MAGIC,
    ]
    .contains(&kind)
}

/// Whether the file system of `file` is of this machine's kernel: one that [`is_local`], or layers of such.
#[must_use]
pub(crate) fn is_near(file: BorrowedFd<'_>) -> bool {
    let kind = statfs::fstatfs(file).map(|found| found.filesystem_type());
    is_local(file) || kind.is_ok_and(|kind| kind == statfs::OVERLAYFS_SUPER_MAGIC)
}

const ZFS_MAGIC: statfs::FsType = statfs::FsType(0x2fc1_2fc1);

/// Tells the names in an open directory, but `.` and `..`, until `each` has returned `true` for `most` of them; whether
/// it was cut off there.
///
/// # Errors
/// As `getdents64(2)`: ENOTDIR, EIO.
pub(crate) fn list(
    directory: OwnedFd,
    most: usize,
    mut each: impl FnMut(BorrowedFd<'_>, &[u8]) -> bool,
) -> io::Result<bool> {
    let same = directory.try_clone()?;
    let mut entries = Dir::from_fd(directory)?;
    let mut count = 0;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if count == most {
            return Ok(true);
        }
        count += usize::from(each(same.as_fd(), name));
    }
    Ok(false)
}

/// Reads `len` bytes from `offset` on; fewer if the file ends before. One call unless the kernel cuts it short.
///
/// # Errors
/// As `pread(2)`: EIO, EISDIR; EINVAL if the offset does not fit.
pub(crate) fn read_at(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read_into(file, offset.saturating_add(filled as u64), rest)? {
            0 => break,
            count => filled += count,
        }
    }
    data.truncate(filled);
    Ok(data)
}

/// Reads once at `offset`; 0 is the end of the file.
///
/// # Errors
/// As `pread(2)`: EIO, EISDIR; EINVAL if the offset does not fit.
pub(crate) fn read_into(file: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let at = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    Ok(retry(|| nix::sys::uio::pread(file, &mut *buffer, at))?)
}

/// Where an open file is, as far as the kernel knows; does not ask its disk.
#[must_use]
pub(crate) fn path_of(file: BorrowedFd<'_>) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
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
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("hatchery-sys-{name}-{}", std::process::id()));
            fs::create_dir_all(folder.join("root/dir/deep")).unwrap();
            fs::write(folder.join("secret"), "secret").unwrap();
            fs::write(folder.join("root/file"), "file").unwrap();
            fs::write(folder.join("root/dir/deep/leaf"), "leaf").unwrap();
            symlink("../secret", folder.join("root/out")).unwrap();
            symlink("/etc/passwd", folder.join("root/absolute")).unwrap();
            symlink("dir/deep/leaf", folder.join("root/inside")).unwrap();
            symlink("../file", folder.join("root/dir/up")).unwrap();
            symlink("../..", folder.join("root/dir/away")).unwrap();
            symlink("loop", folder.join("root/loop")).unwrap();
            symlink("/proc/self/root", folder.join("root/magic")).unwrap();
            Self(folder)
        }

        fn root(&self) -> OwnedFd {
            open_directory(&self.0.join("root")).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    type Open = fn(BorrowedFd<'_>, &[u8]) -> nix::Result<OwnedFd>;

    fn in_one_call(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<OwnedFd> {
        open_in_one_call(root, path, READ, Links::Beneath, ResolveFlag::empty())
    }

    fn by_components(root: BorrowedFd<'_>, path: &[u8]) -> nix::Result<OwnedFd> {
        open_by_components(root, path, READ)
    }

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
        let folder = Folder::new("one");
        let root = folder.root();
        match in_one_call(root.as_fd(), b"file") {
            Err(Errno::ENOSYS | Errno::EPERM) => {
                eprintln!("no openat2 here: only the fall-back is tested");
                return;
            }
            result => drop(result.unwrap()),
        }
        try_all(in_one_call, &root, BOTH);
        try_all(in_one_call, &root, &[("inside", Ok("leaf")), ("dir/up", Ok("file"))]);
    }

    #[test]
    fn component_by_component_follows_no_link() {
        let folder = Folder::new("components");
        let root = folder.root();
        try_all(by_components, &root, BOTH);
        try_all(by_components, &root, &[("inside", Err(&[Errno::ELOOP])), ("dir/up", Err(&[Errno::ELOOP]))]);
    }

    #[test]
    fn the_root_and_directories_open_as_directories() {
        let folder = Folder::new("kinds");
        let root = folder.root();
        for open in [in_one_call as Open, by_components] {
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
        let file = open_beneath(root.as_fd(), b"file", Links::Beneath).unwrap();
        let found = metadata(file.as_fd()).unwrap();
        assert_eq!((found.kind, found.size), (Kind::Regular, 4));
        assert!(found.modified.seconds > 1_600_000_000);
        assert_eq!(read_at(file.as_fd(), 2, 100).unwrap(), b"le");
        assert_eq!(read_at(file.as_fd(), 9, 100).unwrap(), b"");
        assert!(open_directory(&folder.0.join("root/file")).is_err());
    }

    #[test]
    fn a_fifo_without_a_writer_does_not_block() {
        let folder = Folder::new("fifo");
        nix::unistd::mkfifo(&folder.0.join("root/fifo"), Mode::S_IRUSR).unwrap();
        let root = folder.root();
        for open in [in_one_call as Open, by_components] {
            match open(root.as_fd(), b"fifo") {
                Err(Errno::ENOSYS | Errno::EPERM) => {}
                opened => assert_eq!(metadata(opened.unwrap().as_fd()).unwrap().kind, Kind::Other),
            }
        }
    }
}
