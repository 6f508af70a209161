//! A place for a file or socket: a directory that was opened once, and a name in it. What a path means must not depend
//! on somebody else: between two calls the owner of a directory can put a symbolic link in place of any name in it, and
//! whoever then changes a mode, an owner or a content by the path does so to the file that the link names.
//!
//! So the way of the operator's path is walked from `/` directory by directory (`walk`). While nobody but the superuser
//! and we can change the directories on it, links of ours are followed as anywhere. From the first one on that somebody
//! else can change none is. What is done afterwards is done relative to the open directory, following no link.

mod admit;
mod aside;
mod beside;
mod files;
mod walk;

#[cfg(test)]
mod tests;

use super::trust::{Stranger, Trust, user_name};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

pub(in crate::sys) use aside::Aside;
pub(crate) use beside::{put_beside, remove_beside};
#[allow(unused_imports, reason = "as above")]
pub(crate) use files::Files;

/// Who can change the names in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Only the superuser and we.
    Own,
    /// Others too, but none of our names (the sticky bit).
    Sticky(Stranger),
    /// Others, every name.
    Open(Stranger),
}

/// A directory on a way that others can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Who can.
    pub(crate) stranger: Stranger,
    /// Where it is.
    pub(crate) directory: PathBuf,
    /// Its mode.
    pub(crate) mode: u32,
}

/// Why something is not used; says all by itself.
#[derive(Debug)]
struct Refused {
    text: String,
    /// Whom it is not used for.
    stranger: Option<Stranger>,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Refused {}

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
    name: OsString,
    /// Without the links that were followed.
    path: PathBuf,
    hold: Hold,
    gap: Option<Gap>,
    trust: Trust,
    /// A link of the kernel's below /proc, which is followed as it is: `/dev/stdout` leads to one.
    magic: bool,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    /// To look names up in it, or with the right to list it if it was made or opened by [`Place::own_directory`].
    pub(crate) descriptor: OwnedFd,
    /// Where it is, without the links that were followed.
    pub(crate) path: PathBuf,
    /// Who can change the names in it.
    pub(crate) hold: Hold,
}

/// Who may use something that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Its permissions.
    pub(crate) mode: u32,
    /// Its owner; `None`: us.
    pub(crate) user: Option<u32>,
    /// Its group; `None`: as it was made.
    pub(crate) group: Option<u32>,
}

impl Access {
    /// As these permissions say.
    pub(crate) fn of_mode(mode: u32) -> Self {
        Self { mode, user: None, group: None }
    }
}

/// Which file: device and inode.
pub(crate) type Identity = (u64, u64);

/// How often a name is looked at again that others change meanwhile.
const RACES: usize = 16;

impl Place {
    /// The place of `path`. A link that has this name is not followed.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES on the way; a link that cannot be trusted, with the reason.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        walk::to(path, false, Trust::own())
    }

    /// The place of `path`, or of what a link of this name leads to, if it can be trusted.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn through_links(path: &Path) -> io::Result<Self> {
        walk::to(path, true, Trust::own())
    }

    /// As [`Self::through_links`], where `trust` says who are no strangers.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn trusting(path: &Path, trust: Trust) -> io::Result<Self> {
        walk::to(path, true, trust)
    }

    /// Where it is, without the links that were followed.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Who can change the names in its directory.
    #[must_use]
    pub(crate) fn hold(&self) -> Hold {
        self.hold
    }

    /// The first directory on the way that others can change.
    #[must_use]
    pub(crate) fn gap(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    /// Whether it is a descriptor of this process, which the way only names.
    #[must_use]
    pub(crate) fn is_descriptor(&self) -> bool {
        self.magic
    }

    /// What has the name now; `None` if nothing has.
    ///
    /// # Errors
    /// EACCES, EIO.
    pub(crate) fn stat(&self) -> io::Result<Option<FileStat>> {
        match fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what has the name; a link is refused (ELOOP), a FIFO not waited for.
    ///
    /// # Errors
    /// As `open(2)`.
    pub(crate) fn open(&self, flags: OFlag) -> io::Result<OwnedFd> {
        let more = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let links = if self.magic { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        Ok(retry(|| openat(&self.directory, self.name.as_os_str(), flags | more | links, Mode::empty()))?)
    }

    /// Makes a file of this name, which nothing must have.
    ///
    /// # Errors
    /// EEXIST; as `open(2)`.
    pub(crate) fn create(&self, flags: OFlag, mode: u32) -> io::Result<File> {
        let flags = flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        let made = retry(|| openat(&self.directory, self.name.as_os_str(), flags, mode))?;
        Ok(made.into())
    }

    /// Puts a file with this content and these permissions in place of what has the name, at once: nobody ever sees a part of
    /// it, and after a crash it is there whole or not at all. For a directory that nobody else can change.
    ///
    /// # Errors
    /// As `open(2)`, `write(2)` and `rename(2)`.
    pub(crate) fn replace(&self, content: &[u8], mode: u32) -> io::Result<()> {
        use std::io::Write as _;
        let beside = format!(".hatchery-{:016x}", super::fd::random());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        let mut file: File = retry(|| openat(&self.directory, beside.as_str(), flags, mode))?.into();
        let written = file.write_all(content).and_then(|()| file.sync_all());
        let moved = written.and_then(|()| {
            let name = self.name.as_os_str();
            Ok(renameat(&self.directory, beside.as_str(), &self.directory, name)?)
        });
        if moved.is_err() {
            let _ = unlinkat(&self.directory, beside.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        moved
    }

    /// Makes a directory of this name with these permissions, whatever the umask; `None` if the name is taken.
    ///
    /// # Errors
    /// As `mkdir(2)`; somebody put something else in its place.
    pub(crate) fn make_directory(&self, mode: u32) -> io::Result<Option<Directory>> {
        match mkdirat(&self.directory, self.name.as_os_str(), Mode::S_IRWXU) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let made = self.own_directory()?;
        fchmod(&made.descriptor, Mode::from_bits_truncate(mode))?;
        Ok(Some(made))
    }

    /// Opens a directory of this name that nobody but the superuser and we can change.
    ///
    /// # Errors
    /// As `open(2)`; it is a link, or who can change it.
    pub(crate) fn own_directory(&self) -> io::Result<Directory> {
        let descriptor = match self.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                return Err(self.refusal(match self.stat()? {
                    Some(stat) => what(kind(&stat)),
                    None => "is not a directory",
                }));
            }
            opened => opened?,
        };
        match self.trust.stranger(&fstat(&descriptor)?, descriptor.as_fd()) {
            None => Ok(Directory { descriptor, path: self.path.clone(), hold: Hold::Own }),
            Some(Stranger::User(uid)) => Err(self.refusal(&format!("belongs to {}", user_name(uid)))),
            Some(stranger) => {
                let remedy =
                    format!("{}, or choose a place that only root can change", stranger.remedy(&self.path));
                Err(self.refusal_with(&format!("can be changed by {stranger}"), &remedy))
            }
        }
    }

    /// Gives what has the name, in a directory that only we can change, its mode and owner.
    pub(in crate::sys) fn set(&self, access: Access) -> io::Result<()> {
        aside::set(&self.directory, &self.name, access)
    }

    /// The group that a file gets which is made there.
    ///
    /// # Errors
    /// EIO.
    pub(in crate::sys) fn group_of_new(&self) -> io::Result<u32> {
        let directory = fstat(&self.directory)?;
        let own = Gid::effective().as_raw();
        Ok(if directory.st_mode & libc::S_ISGID == 0 { own } else { directory.st_gid })
    }

    /// Removes the name if it still is that file, socket or link.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub(crate) fn remove(&self, file: Identity) -> io::Result<()> {
        match self.stat()? {
            Some(stat) if identity(&stat) == file => self.unlink(),
            _ => Ok(()),
        }
    }

    /// Removes the name, whatever it is but a directory.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        match unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory of this name, in one that only we can change, in which its owner makes files, and removes them.
    ///
    /// # Errors
    /// As `mkdir(2)`, EEXIST included, and `chown(2)`.
    pub(crate) fn make_room(&self, access: Access) -> io::Result<()> {
        self.make_directory(0o700)?.ok_or(io::ErrorKind::AlreadyExists)?;
        self.set(access)
    }

    /// Removes a directory that [`Self::make_room`] has made, with whatever its owner has made in it, at most `most` names.
    ///
    /// # Errors
    /// As `unlink(2)` and `rmdir(2)`; there is more in it, or it is deeper than 32 directories.
    pub(crate) fn remove_room(&self, most: usize) -> io::Result<()> {
        let mut left = most;
        remove_tree(self.directory.as_fd(), &self.name, 32, &mut left)
    }

    /// Opens what has this name in a directory that [`Self::make_room`] has made, to connect to it: a link of its owner's is not followed.
    ///
    /// # Errors
    /// As `open(2)`.
    pub(crate) fn open_in_room(&self, name: &str) -> io::Result<OwnedFd> {
        let room = self.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&room, name, flags, Mode::empty())?)
    }

    /// Removes an own directory of this name with the files and rooms in it.
    ///
    /// # Errors
    /// As `unlink(2)` and `rmdir(2)`.
    pub(crate) fn remove_directory(&self) -> io::Result<()> {
        let directory = self.own_directory()?;
        let mut everything = usize::MAX;
        for name in names_in(directory.descriptor.as_fd(), usize::MAX)? {
            match unlinkat(&directory.descriptor, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Err(Errno::EISDIR) => remove_tree(directory.descriptor.as_fd(), &name, 32, &mut everything)?,
                removed => removed?,
            }
        }
        Ok(unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::RemoveDir)?)
    }

    /// Who else can put something in its place.
    #[must_use]
    pub(crate) fn stranger(&self) -> Option<Stranger> {
        match self.hold {
            Hold::Own => None,
            Hold::Sticky(stranger) | Hold::Open(stranger) => Some(stranger),
        }
    }

    fn refusal(&self, what: &str) -> io::Error {
        self.refusal_with(what, "remove it, or choose a place that only root can change")
    }

    /// "`/x/y` is …, in a directory that … can change; …".
    fn refusal_with(&self, what: &str, remedy: &str) -> io::Error {
        let path = self.path.display();
        let place = match self.stranger() {
            None => String::new(),
            Some(stranger) => format!(", in a directory that {stranger} can change"),
        };
        refused(format!("`{path}` {what}{place}; {remedy}"))
    }
}

impl Directory {
    /// Opens the directory at `path`, following links while they can be trusted.
    ///
    /// # Errors
    /// As [`Place::of`].
    pub(crate) fn through_links(path: &Path) -> io::Result<Self> {
        walk::directory(path, Trust::own())
    }

    /// Opens the directory at `path`, and makes what is missing on the way to it; what is made is ours, with `mode` the
    /// last one.
    ///
    /// # Errors
    /// As [`Place::own_directory`]; as `mkdir(2)`.
    pub(crate) fn own(path: &Path, mode: u32) -> io::Result<Self> {
        let place = match Place::of(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::own(path.parent().ok_or(error)?, 0o755)?;
                Place::of(path)?
            }
            place => place?,
        };
        match place.make_directory(mode)? {
            Some(made) => Ok(made),
            None => place.own_directory(),
        }
    }

    /// A path of this process alone that leads to `name` in the directory, wherever that is by now.
    #[must_use]
    pub(crate) fn name_of(descriptor: BorrowedFd<'_>, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", descriptor.as_raw_fd()))
    }
}

/// The user whom the room at this path is for ([`Place::make_room`]).
#[must_use]
pub(crate) fn owner_of_room(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).ok().filter(|found| found.is_dir()).map(|found| found.uid())
}

/// Removes a directory with what is in it, of which another user may make more meanwhile; no link is followed.
fn remove_tree(above: BorrowedFd<'_>, name: &OsStr, depth: usize, left: &mut usize) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let room = openat(above, name, flags, Mode::empty())?;
    let too_much = || io::Error::other("there is more in it than is removed at once");
    let below = depth.checked_sub(1).ok_or_else(too_much)?;
    for name in names_in(room.as_fd(), left.saturating_add(1))? {
        *left = left.checked_sub(1).ok_or_else(too_much)?;
        match unlinkat(&room, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => remove_tree(room.as_fd(), &name, below, left)?,
            removed => removed?,
        }
    }
    Ok(unlinkat(above, name, UnlinkatFlags::RemoveDir)?)
}

/// The names in a directory, so many at most.
fn names_in(directory: BorrowedFd<'_>, most: usize) -> io::Result<Vec<OsString>> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut names = Vec::new();
    super::file::list(directory.try_clone_to_owned()?, usize::MAX, |_, name| {
        names.push(OsStr::from_bytes(name).to_owned());
        names.len() < most
    })?;
    Ok(names)
}

/// Makes a symbolic link in an open directory.
///
/// # Errors
/// As `symlink(2)`: EEXIST where the name is taken.
pub(crate) fn link(directory: impl AsFd, name: &str, to: &Path) -> io::Result<()> {
    Ok(symlinkat(to, directory, name)?)
}

/// Gives what is open, if only as a reference, these permissions, whatever has its name by now.
pub(in crate::sys) fn set_mode(opened: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let mode = Mode::from_bits_truncate(mode);
    Ok(fchmodat(opened, own.as_str(), mode, FchmodatFlags::FollowSymlink)?)
}

/// Gives it to a group.
pub(in crate::sys) fn set_group(opened: BorrowedFd<'_>, group: u32) -> io::Result<()> {
    Ok(fchownat(opened, "", None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?)
}

/// Which file it is.
#[must_use]
pub(crate) fn identity(stat: &FileStat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// What has the name `path` now, seen from a trustworthy way.
#[must_use]
pub(crate) fn identity_at(path: &Path) -> Option<Identity> {
    Place::of(path).ok()?.stat().ok()?.as_ref().map(identity)
}

/// Whom something was refused for, if that is what the error says.
#[must_use]
pub(crate) fn stranger_of(error: &io::Error) -> Option<Stranger> {
    error.get_ref()?.downcast_ref::<Refused>()?.stranger
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, Refused { text, stranger: None })
}

/// An error that says this about what is not used for a stranger's sake.
#[must_use]
pub(crate) fn refused_for(stranger: Stranger, text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, Refused { text, stranger: Some(stranger) })
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

fn what(kind: SFlag) -> &'static str {
    match kind {
        SFlag::S_IFLNK => "is a symbolic link",
        SFlag::S_IFDIR => "is a directory",
        SFlag::S_IFIFO => "is a named pipe",
        SFlag::S_IFSOCK => "is a socket",
        SFlag::S_IFREG => "is a file",
        _ => "is a device",
    }
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
