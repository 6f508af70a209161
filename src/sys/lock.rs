//! Advisory locks on files and directories: held as long as the descriptor is open, gone with the process.

use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use std::fs::File;
use std::io;

/// A held lock (flock(2)). Whoever can open the file can hold it: it is for what nobody else can open.
#[derive(Debug)]
pub(crate) struct Locked(Flock<File>);

impl Locked {
    /// Locks `file` for this process alone; `None` if another one holds it.
    ///
    /// # Errors
    /// ENOLCK and the like.
    pub(crate) fn try_new(file: File) -> io::Result<Option<Self>> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
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
/// the open file, as the other kind does: it outlives an exec.
#[derive(Debug)]
pub(crate) struct WriteLocked(File);

impl WriteLocked {
    /// Locks `file`, which is open for writing; `None` if somebody else holds a lock.
    ///
    /// # Errors
    /// ENOLCK and the like.
    pub(crate) fn try_new(file: File) -> io::Result<Option<Self>> {
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
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
