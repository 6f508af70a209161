//! Advisory locks on files and directories: held as long as the descriptor is open, gone with the process.

use super::carried::Carried;
use nix::fcntl::{FcntlArg, fcntl};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// A held lock (flock(2)). Whoever can open the file can hold it: it is for what nobody else can open. It belongs to the open
/// file: it outlives an exec, and taking it again there changes nothing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Carried<File>")]
pub(crate) struct Locked(Carried<File>);

impl Locked {
    /// Locks `file` for this process alone; `None` if another one holds it.
    ///
    /// # Errors
    /// ENOLCK and the like.
    pub(crate) fn try_new(file: File) -> io::Result<Option<Self>> {
        Self::hold(file.into())
    }

    fn hold(file: Carried<File>) -> io::Result<Option<Self>> {
        // SAFETY: integers only.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(Some(Self(file)));
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        }
    }

    /// The locked file.
    #[must_use]
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// A held lock of one who writes (F_OFD_SETLK, fcntl_locking(2)). Only who can open the file for writing can hold it, but
/// whoever can read it can be in the way of taking it: it is taken on a file that nobody else could open yet. It belongs to
/// the open file, as the other kind does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Carried<File>")]
pub(crate) struct WriteLocked(Carried<File>);

impl WriteLocked {
    /// Locks `file`, which is open for writing; `None` if somebody else holds a lock.
    ///
    /// # Errors
    /// ENOLCK and the like.
    pub(crate) fn try_new(file: File) -> io::Result<Option<Self>> {
        Self::hold(file.into())
    }

    fn hold(file: Carried<File>) -> io::Result<Option<Self>> {
        match fcntl(&*file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
            Ok(_) => Ok(Some(Self(file))),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether somebody who can write `file` holds it. Those who can only read it do not count.
    ///
    /// # Errors
    /// ENOLCK and the like.
    pub(crate) fn is_held(file: &File) -> io::Result<bool> {
        let mut lock = whole(libc::F_RDLCK);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
    }

    /// The locked file.
    #[must_use]
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

fn lost<T>(held: io::Result<Option<T>>) -> Result<T, &'static str> {
    held.ok().flatten().ok_or("a lock is lost")
}

impl TryFrom<Carried<File>> for Locked {
    type Error = &'static str;

    fn try_from(file: Carried<File>) -> Result<Self, &'static str> {
        lost(Self::hold(file))
    }
}

impl TryFrom<Carried<File>> for WriteLocked {
    type Error = &'static str;

    fn try_from(file: Carried<File>) -> Result<Self, &'static str> {
        lost(Self::hold(file))
    }
}

/// All of a file.
fn whole(kind: libc::c_int) -> libc::flock {
    // SAFETY: flock is plain old data, for which zero is a valid value: from the start, to wherever it ends.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    lock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_a_file_is_in_nobodys_way() {
        let path = std::env::temp_dir().join(format!("hatchery-write-lock-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        let reader = || File::open(&path).unwrap();
        // All locks that somebody can hold who may only read the file.
        let stranger = reader();
        fcntl(&stranger, FcntlArg::F_OFD_SETLK(&whole(libc::F_RDLCK))).unwrap();
        let flock = Locked::try_new(reader()).unwrap();
        assert!(!WriteLocked::is_held(&reader()).unwrap());
        assert!(WriteLocked::try_new(file).unwrap().is_none(), "but in that of taking it");
        drop((stranger, flock));
        let held = WriteLocked::try_new(File::create(&path).unwrap()).unwrap().unwrap();
        assert!(WriteLocked::is_held(&reader()).unwrap());
        // The same open file holds it already.
        assert!(WriteLocked::try_new(held.file().try_clone().unwrap()).unwrap().is_some());
        drop(held);
        assert!(!WriteLocked::is_held(&reader()).unwrap());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let path = std::env::temp_dir().join(format!("hatchery-lock-{}", std::process::id()));
        let open = || File::create(&path).unwrap();
        let first = Locked::try_new(open()).unwrap();
        assert!(first.is_some());
        assert!(Locked::try_new(open()).unwrap().is_none());
        drop(first);
        assert!(Locked::try_new(open()).unwrap().is_some());
        std::fs::remove_file(path).unwrap();
    }
}
