//! The pid file: locked as long as the master lives, so that a second master of the same file does not start and a
//! number left by a dead one does no harm.
//!
//! Everybody may read it, and whoever can read a file can hold locks on it. So only the lock of one who can write it
//! counts, and it is taken on a new file, before anybody else can open it. A second file, which nobody else can open and
//! which is there for a moment only, keeps two masters that start at once apart.

use crate::sys::carried;
use crate::sys::lock::{Locked, WriteLocked};
use crate::sys::place::{self, Identity, Place};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// Our pid file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PidFile {
    path: PathBuf,
    lock: WriteLocked,
}

impl PidFile {
    /// Writes this process's id into `path`.
    ///
    /// # Errors
    /// For the operator: another master holds it, or it cannot be written; what is there is no pid file of ours.
    pub(super) fn write(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("pid_file: cannot write {}: {error}", path.display());
        let place = Place::of(path).map_err(failed)?;
        let start = match Turn::take(path) {
            // A file that root made for us, in a directory that is not ours.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_some() =>
            {
                return Self::write_in_place(path, &place).map_err(failed)?;
            }
            start => start.map_err(failed)?,
        };
        let start = start.ok_or_else(|| {
            format!("pid_file: another master starts with {} at this moment", path.display())
        })?;
        if let Some((file, found)) = existing(&place, OFlag::O_RDONLY).map_err(failed)? {
            if WriteLocked::is_held(&found).map_err(failed)? {
                return Err(taken(path, &found));
            }
            place.remove(file).map_err(failed)?;
        }
        let lock = Self::make(&place).map_err(failed)?;
        drop(start);
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Into the file that is there. Whoever can read it can be in the way here.
    fn write_in_place(path: &Path, place: &Place) -> io::Result<Result<Self, String>> {
        let Some((_, file)) = existing(place, OFlag::O_RDWR)? else {
            return Err(io::ErrorKind::PermissionDenied.into());
        };
        if WriteLocked::is_held(&file)? {
            return Ok(Err(taken(path, &file)));
        }
        let Some(lock) = WriteLocked::try_new(file)? else {
            let path = path.display();
            return Ok(Err(format!(
                "pid_file: somebody who can read {path} holds a lock on it; write the path of a file in a directory of your own"
            )));
        };
        let mut file = lock.file();
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Ok(Self { path: path.to_owned(), lock }))
    }

    /// A new one, readable for all once it is locked and written.
    fn make(place: &Place) -> io::Result<WriteLocked> {
        let file = place.create(OFlag::O_RDWR, 0o600)?;
        let lock = WriteLocked::try_new(file)?.ok_or(io::ErrorKind::WouldBlock)?;
        let mut file = lock.file();
        writeln!(file, "{}", std::process::id())?;
        fchmod(file, Mode::from_bits_truncate(0o644))?;
        Ok(lock)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Removed while locked: nobody has written a new one there. Nothing can be done about one that stays.
        if let (true, Ok(own)) = (carried::is_ours(), fstat(self.lock.file())) {
            let _ = Place::of(&self.path).and_then(|place| place.remove(place::identity(&own)));
        }
    }
}

fn taken(path: &Path, found: &File) -> String {
    let mut before = String::new();
    // Whatever it holds is only for the message.
    let _ = found.take(32).read_to_string(&mut before);
    let (path, before) = (path.display(), before.trim());
    format!("pid_file: {path} belongs to a running master (process {before}); stop it first")
}

/// The file that is there, if it is a pid file of ours or root's.
fn existing(place: &Place, flags: OFlag) -> io::Result<Option<(Identity, File)>> {
    let Some(found) = place.stat()? else { return Ok(None) };
    // Not even opened if it is something else.
    place.admit_own(&found)?;
    let opened = place.open(flags)?;
    place.admit_own_open(opened.as_fd())?;
    let identity = place::identity(&fstat(&opened)?);
    Ok(Some((identity, opened.into())))
}

/// The right to be the only master that starts with this pid file.
struct Turn {
    place: Place,
    lock: Locked,
}

impl Turn {
    /// Takes it; `None` if another master has it. Its file is `.NAME.start`, which a master that dies leaves behind and
    /// the next one takes over.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = Place::of(&path.with_file_name(format!(".{name}.start")))?;
        for _ in 0..16 {
            let file = match place.create(OFlag::O_RDWR, 0o600) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    match existing(&place, OFlag::O_RDWR)? {
                        Some((_, file)) => file,
                        None => continue,
                    }
                }
                Err(error) => return Err(error),
            };
            let Some(lock) = Locked::try_new(file)? else { return Ok(None) };
            let own = place::identity(&fstat(lock.file())?);
            // Whoever had it before has removed the file.
            if place.stat()?.as_ref().map(place::identity) == Some(own) {
                return Ok(Some(Self { place, lock }));
            }
        }
        Ok(None)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Ok(own) = fstat(self.lock.file()) {
            let _ = self.place.remove(place::identity(&own));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_second_master_is_refused_and_a_stale_number_is_not() {
        let path = std::env::temp_dir().join(format!("hatchery-pid-{}", std::process::id()));
        fs::write(&path, "999999999 and more\n").unwrap();
        // Everybody who can read it can hold this.
        let stranger = Locked::try_new(File::open(&path).unwrap()).unwrap();
        let first = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        let error = PidFile::write(&path).unwrap_err();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(stranger);
        drop(first);
        assert!(!path.exists());
        assert!(PidFile::write(Path::new("/nonexistent/x.pid")).unwrap_err().contains("/nonexistent/x.pid"));
    }

    #[test]
    fn what_is_no_pid_file_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("hatchery-pid-kinds-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (victim, path) = (folder.join("victim"), folder.join("x.pid"));
        fs::write(&victim, "precious").unwrap();
        let refused = |what: &str| {
            let error = PidFile::write(&path).unwrap_err();
            assert!(error.contains(what), "{error}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious");
            fs::remove_file(&path).unwrap();
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left");
        };
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        refused("is a symbolic link");
        std::os::unix::fs::symlink(folder.join("missing"), &path).unwrap();
        refused("is a symbolic link");
        fs::hard_link(&victim, &path).unwrap();
        refused("more than one name");
        fs::write(&path, "1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        refused("can be written by every user");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        refused("is a named pipe");
        if crate::sys::user::is_root() {
            fs::write(&path, "1").unwrap();
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            refused("belongs to the user `nobody`");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
