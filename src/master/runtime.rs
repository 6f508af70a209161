//! The runtime directory: where the sockets of app processes are. Each master has its own; it is removed at the end, and
//! those that dead masters left are removed by the next one.
//!
//! It belongs to the master's user and nobody else can change it: a master that is root changes the mode and owner of
//! the sockets in it, and whoever could put a link in their place would be given the file that it names.

use super::saved::{Keeping, Kept, Taking};
use crate::sys::lock::Locked;
use crate::sys::user;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Name of every runtime directory, before the master's process id and a number.
const PREFIX: &str = "hatchery-run-";

/// A directory of our own, locked as long as we live.
#[derive(Debug)]
pub(super) struct RuntimeDir {
    path: PathBuf,
    _lock: Locked,
}

impl RuntimeDir {
    /// Makes one that others may only pass through, to sockets that are theirs.
    ///
    /// # Errors
    /// What making a directory says, with its path.
    pub(super) fn create() -> Result<Self, String> {
        let parent = parent()?;
        remove_stale(&parent);
        for number in 0..1000 {
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match make(&path, 0o711) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(format!("cannot make the directory {}: {error}", path.display())),
            }
            let Some(lock) = lock(&path) else { continue };
            return Ok(Self { path, _lock: lock });
        }
        Err(format!("cannot make a directory in {}: all names are taken", parent.display()))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// For an upgrade: the directory stays, with its lock.
    pub(super) fn save(&self, descriptors: &mut Keeping) -> (PathBuf, Kept) {
        (self.path.clone(), descriptors.keep(self._lock.file()))
    }

    /// The same again.
    pub(super) fn restore((path, lock): (PathBuf, Kept), descriptors: &mut Taking) -> Result<Self, String> {
        let lock = descriptors.take_lock(lock, &path)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            log::warn!(target: "hatchery", "cannot remove {}: {error}", self.path.display());
        }
    }
}

/// The directory that holds runtime directories: `/run/hatchery` for root, else the user's.
fn parent() -> Result<PathBuf, String> {
    if user::is_root() {
        let path = PathBuf::from("/run/hatchery");
        return match make(&path, 0o755) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(format!("cannot make the directory {}: {error}", path.display()))
            }
            _ => Ok(path),
        };
    }
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    Ok(user.unwrap_or_else(std::env::temp_dir))
}

/// Makes a directory with these permissions, whatever the umask: workers must be able to pass through.
fn make(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Locks a directory that was just made; `None` if a master that cleans up took it for a stale one meanwhile.
fn lock(path: &Path) -> Option<Locked> {
    let locked = Locked::try_new(File::open(path).ok()?).ok()??;
    let held = locked.file().metadata().ok()?;
    let there = fs::symlink_metadata(path).ok()?;
    ((held.dev(), held.ino()) == (there.dev(), there.ino())).then_some(locked)
}

/// Removes what dead masters left: ours by name and owner, and nobody holds the lock.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in
        entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()))
    {
        let path = entry.path();
        let ours =
            fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && found.uid() == user::uid());
        if ours && lock(&path).is_some() {
            match fs::remove_dir_all(&path) {
                Ok(()) => {
                    log::debug!(target: "hatchery", "removed {}, left by a master that died", path.display())
                }
                Err(error) => log::debug!(target: "hatchery", "cannot remove {}: {error}", path.display()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_directory_stays_and_a_dead_one_goes() {
        let parent = std::env::temp_dir().join(format!("hatchery-runtime-{}", std::process::id()));
        fs::create_dir_all(&parent).unwrap();
        let (alive, dead) = (parent.join(format!("{PREFIX}1-0")), parent.join(format!("{PREFIX}2-0")));
        fs::create_dir(&alive).unwrap();
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("app-1-0-1.sock"), "").unwrap();
        fs::write(parent.join("other"), "").unwrap();
        let held = lock(&alive);
        assert!(held.is_some());
        remove_stale(&parent);
        assert!(alive.is_dir() && !dead.exists() && parent.join("other").exists());
        drop(held);
        remove_stale(&parent);
        assert!(!alive.exists());
        fs::remove_dir_all(parent).unwrap();
    }

    #[test]
    fn it_is_gone_at_the_end() {
        let made = RuntimeDir::create().unwrap();
        let path = made.path().to_owned();
        fs::write(path.join("x"), "").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o711);
        drop(made);
        assert!(!path.exists());
    }
}
