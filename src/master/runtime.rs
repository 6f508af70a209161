//! The runtime directory: where the sockets of app processes are. Each master has its own; it is removed at the end, and
//! those that dead masters left are removed by the next one.

use crate::sys::lock::Locked;
use crate::sys::user::{self, Account};
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
    /// Makes one that `owner` (the workers' user; `None`: ours) may use.
    ///
    /// # Errors
    /// What making a directory says, with its path.
    pub(super) fn create(owner: Option<&Account>) -> Result<Self, String> {
        let parent = parent()?;
        remove_stale(&parent);
        for number in 0..1000 {
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            // Others may pass through, to sockets that are theirs: apps can have users of their own.
            match DirBuilder::new().mode(0o711).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(format!("cannot make the directory {}: {error}", path.display())),
            }
            let Some(lock) = lock(&path) else { continue };
            let made = Self { path, _lock: lock };
            made.give_to(owner)?;
            return Ok(made);
        }
        Err(format!("cannot make a directory in {}: all names are taken", parent.display()))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `owner` its owner, as after a reload that changed the user.
    pub(super) fn give_to(&self, owner: Option<&Account>) -> Result<(), String> {
        let failed = |error: io::Error| format!("cannot set the owner of {}: {error}", self.path.display());
        let permissions = fs::Permissions::from_mode(0o711);
        fs::set_permissions(&self.path, permissions).map_err(failed)?;
        let Some(owner) = owner else { return Ok(()) };
        std::os::unix::fs::chown(&self.path, Some(owner.uid), Some(owner.gid)).map_err(failed)
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
        return match DirBuilder::new().recursive(true).mode(0o755).create(&path) {
            Ok(()) => Ok(path),
            Err(error) => Err(format!("cannot make the directory {}: {error}", path.display())),
        };
    }
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    Ok(user.unwrap_or_else(std::env::temp_dir))
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
        // The owner may be the workers' user of that master; only root can then remove it, and only root gets here.
        let ours = fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_dir() && (user::is_root() || found.uid() == user::uid()));
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
        let made = RuntimeDir::create(None).unwrap();
        let path = made.path().to_owned();
        fs::write(path.join("x"), "").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o711);
        drop(made);
        assert!(!path.exists());
    }
}
