//! The runtime directory: where the sockets of app processes are. Each master has its own; it is removed at the end, and
//! those that dead masters left are removed by the next one.
//!
//! It belongs to the master's user and nobody else can change it: a master that is root changes the mode and owner of
//! the sockets in it, and whoever could put a link in their place would be given the file that it names.

use super::control::Running;
use crate::control::command::Identity;
use crate::sys::carried;
use crate::sys::lock::Locked;
use crate::sys::place::{self, Directory, Hold, Place};
use crate::sys::user;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Name of every runtime directory, before the master's process id and a number.
const PREFIX: &str = "hatchery-run-";

/// Where those of a master that is root are.
const OF_ROOT: &str = "/run/hatchery";

/// Links in it: to the master's configuration file, where it was started, to its control socket.
const CONFIG: &str = "config";
const DIRECTORY: &str = "directory";
const CONTROL: &str = "control";

/// A directory of our own, locked as long as we live.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RuntimeDir {
    path: PathBuf,
    lock: Locked,
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
            let made = match Place::of(&path).and_then(|place| place.make_directory(0o711)) {
                Ok(made) => made,
                // Before it could be opened and locked, a master that cleans up took it for a stale one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("cannot make the directory {}: {error}", path.display())),
            };
            let Some(lock) = made.and_then(|made| lock(&path, made)) else { continue };
            return Ok(Self { path, lock });
        }
        Err(format!("cannot make a directory in {}: all names are taken", parent.display()))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells commands of this user whose it is, and where that master listens: links, which hold any path.
    pub(super) fn announce(&self, identity: &Identity, control: &Path) {
        let paths = [(CONFIG, identity.config.as_deref()), (DIRECTORY, identity.directory.as_deref())];
        for (name, path) in paths.into_iter().chain([(CONTROL, Some(control))]) {
            match path.map_or(Ok(()), |path| place::link(self.lock.file(), name, path)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    log::warn!(target: "hatchery", "cannot make {name} in {}: {error}", self.path.display());
                }
                _ => {}
            }
        }
    }
}

/// What masters of this user have announced; some of them may have died.
pub(super) fn announced() -> Vec<Running> {
    let of_user = || [std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), Some(std::env::temp_dir())];
    let places = if user::is_root() { [Some(OF_ROOT.into()), None] } else { of_user() };
    let mut found: Vec<PathBuf> = places.iter().flatten().flat_map(|place| directories_in(place)).collect();
    found.sort();
    found.dedup();
    found.iter().filter_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Option<Running> {
    let own = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == user::uid());
    let link = |name: &str| std::fs::read_link(path.join(name)).ok();
    let number = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('-').next()?;
    let identity = Identity { config: link(CONFIG), directory: link(DIRECTORY) };
    Some(Running { identity, pid: number.parse().ok()?, control: link(CONTROL).filter(|_| own)? })
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if !carried::is_ours() {
            return;
        }
        if let Err(error) = Place::of(&self.path).and_then(|place| place.remove_directory()) {
            log::warn!(target: "hatchery", "cannot remove {}: {error}", self.path.display());
        }
    }
}

/// The directory that holds runtime directories: `/run/hatchery` for root, else the user's.
fn parent() -> Result<PathBuf, String> {
    if user::is_root() {
        return parent_of_root(Path::new(OF_ROOT));
    }
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter();
    let mut refused = String::new();
    for candidate in user.chain([std::env::temp_dir()]) {
        match Directory::through_links(&candidate) {
            // Whoever can rename our directory could put one of theirs in its place.
            Ok(Directory { hold: Hold::Open(stranger), path, .. }) => {
                refused = format!("{stranger} can change the directory {}", path.display());
            }
            Ok(directory) => return Ok(directory.path),
            Err(error) => refused = format!("{}: {error}", candidate.display()),
        }
    }
    Err(format!(
        "there is no safe directory for the sockets of apps: {refused}; set XDG_RUNTIME_DIR to one of your own"
    ))
}

/// Why there would be no place for a runtime directory, without making anything.
pub(super) fn problem() -> Option<String> {
    if user::is_root() && std::fs::symlink_metadata(OF_ROOT).is_err() {
        return None;
    }
    parent().err()
}

/// Makes the directory, or takes the one that is there if nobody else can change it.
fn parent_of_root(path: &Path) -> Result<PathBuf, String> {
    let directory = Directory::own(path, 0o755).map_err(|error| {
        format!("cannot use the directory {} for the sockets of apps: {error}", path.display())
    })?;
    Ok(directory.path)
}

/// Locks a directory that was just opened; `None` if a master that cleans up took it for a stale one meanwhile, or while a
/// master that lives has it. Nobody else can open it to hold the lock.
fn lock(path: &Path, directory: Directory) -> Option<Locked> {
    let locked = Locked::try_new(File::from(directory.descriptor)).ok()??;
    let held = nix::sys::stat::fstat(locked.file()).ok()?;
    (place::identity_at(path)? == place::identity(&held)).then_some(locked)
}

/// Removes what dead masters left: ours by name and owner, and nobody holds the lock.
fn remove_stale(parent: &Path) {
    for path in directories_in(parent) {
        let Ok(place) = Place::of(&path) else { continue };
        let ours = matches!(place.stat(), Ok(Some(found)) if found.st_uid == user::uid());
        let locked = place.own_directory().ok().filter(|_| ours).and_then(|found| lock(&path, found));
        if locked.is_some() {
            match place.remove_directory() {
                Ok(()) => {
                    log::debug!(target: "hatchery", "removed {}, left by a master that died", path.display())
                }
                Err(error) => log::debug!(target: "hatchery", "cannot remove {}: {error}", path.display()),
            }
        }
    }
}

/// Those of all masters.
fn directories_in(parent: &Path) -> impl Iterator<Item = PathBuf> {
    let is_one = |name: &OsStr| name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries.filter(move |entry| is_one(&entry.file_name())).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_living_directory_stays_and_a_dead_one_goes() {
        let parent = std::env::temp_dir().join(format!("hatchery-runtime-{}", std::process::id()));
        fs::create_dir_all(&parent).unwrap();
        let (alive, dead) = (parent.join(format!("{PREFIX}1-0")), parent.join(format!("{PREFIX}2-0")));
        fs::create_dir(&alive).unwrap();
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("app-1-0-1.sock"), "").unwrap();
        fs::write(parent.join("other"), "").unwrap();
        let held = lock(&alive, Place::of(&alive).unwrap().own_directory().unwrap());
        assert!(held.is_some());
        remove_stale(&parent);
        assert!(alive.is_dir() && !dead.exists() && parent.join("other").exists());
        drop(held);
        remove_stale(&parent);
        assert!(!alive.exists());
        fs::remove_dir_all(parent).unwrap();
    }

    #[test]
    fn a_directory_that_somebody_else_can_change_is_refused() {
        let folder = std::env::temp_dir().join(format!("hatchery-runtime-parent-{}", std::process::id()));
        fs::create_dir_all(folder.join("real")).unwrap();
        std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
        assert_eq!(parent_of_root(&folder.join("real")), Ok(folder.join("real")));
        assert_eq!(parent_of_root(&folder.join("new")), Ok(folder.join("new")));
        let refused = |name: &str| parent_of_root(&folder.join(name)).unwrap_err();
        assert!(refused("link").contains("is a symbolic link"), "{}", refused("link"));
        fs::set_permissions(folder.join("real"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused("real").contains("can be changed by every user"), "{}", refused("real"));
        if user::is_root() {
            std::os::unix::fs::chown(folder.join("new"), Some(65534), None).unwrap();
            assert!(refused("new").contains("belongs to the user `nobody`"), "{}", refused("new"));
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_is_made_beside_masters_that_clean_up() {
        let parent = RuntimeDir::create().unwrap().path().parent().unwrap().to_owned();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        remove_stale(&parent);
                    }
                });
            }
            let failed: Vec<_> = (0..2000).filter_map(|_| RuntimeDir::create().err()).collect();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(failed, [""; 0]);
        });
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
