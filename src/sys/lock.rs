//! Advisory locks on files and directories (flock(2)): held as long as the descriptor is open, gone with the process.

use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;

/// A held lock.
#[derive(Debug)]
pub struct Locked(Flock<File>);

impl Locked {
    /// Locks `file` for this process alone; `None` if another one holds it.
    ///
    /// # Errors
    /// ENOLCK and the like.
    pub fn try_new(file: File) -> io::Result<Option<Self>> {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// The locked file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
