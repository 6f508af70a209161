//! The pid file: locked as long as the master lives, so that a second master of the same file does not start and a
//! number left by a dead one does no harm.

use super::saved::{Keeping, Kept, Taking};
use crate::sys::lock::Locked;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Our pid file.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    _lock: Locked,
}

impl PidFile {
    /// Writes this process's id into `path`.
    ///
    /// # Errors
    /// For the operator: another master holds it, or it cannot be written.
    pub(super) fn write(path: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("pid_file: cannot write {}: {error}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let mut before = String::new();
        // Whatever it holds is only for the message.
        let _ = (&file).take(32).read_to_string(&mut before);
        let Some(lock) = Locked::try_new(file).map_err(failed)? else {
            let (path, before) = (path.display(), before.trim());
            return Err(format!(
                "pid_file: {path} belongs to a running master (process {before}); stop it first"
            ));
        };
        let mut file = lock.file();
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// For an upgrade: the file stays, with its lock.
    pub(super) fn save(&self, descriptors: &mut Keeping) -> (PathBuf, Kept) {
        (self.path.clone(), descriptors.keep(self._lock.file()))
    }

    /// The same again.
    pub(super) fn restore((path, lock): (PathBuf, Kept), descriptors: &mut Taking) -> Result<Self, String> {
        let lock = descriptors.take_lock(lock, &path)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Removed while locked: nobody has written a new one there.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_master_is_refused_and_a_stale_number_is_not() {
        let path = std::env::temp_dir().join(format!("hatchery-pid-{}", std::process::id()));
        fs::write(&path, "999999999 and more\n").unwrap();
        let first = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        let error = PidFile::write(&path).unwrap_err();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(!path.exists());
        assert!(PidFile::write(Path::new("/nonexistent/x.pid")).unwrap_err().contains("/nonexistent/x.pid"));
    }
}
