//! The memory of the response cache and the directory of its files: made at the start, for as long as the master and those
//! that take its place live; cleared when a worker was reaped; purged. What is where in it says [`crate::cache::store`].
//!
//! The directory is the master's: `state` in it has the secret that keys are hashed with, without which no file would be found
//! again, and the purges, which no restart undoes. The files are in `objects`, which is the workers'.

use crate::cache::hash::Secret;
use crate::cache::store::{Ban, Layout, MasterStore, Sizes, WorkerStore};
use crate::config::CacheSizes;
use crate::dispatch::Rows;
use crate::dispatch::board::WORKERS;
use crate::sys::carried::Carried;
use crate::sys::place::{Access, Directory, Place};
use crate::sys::shm::Shared;
use crate::sys::user::Account;
use crate::sys::{fd, file, user};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// A row is one on the board and here.
const _: () = assert!(crate::cache::store::ROWS == WORKERS, "a row is one of both");

/// The name of the file with secret and purges, and its first bytes.
const STATE: &str = "state";
const MAGIC: &[u8] = b"hatchery cache 1\n";
/// More is no such file.
const LONGEST_STATE: usize = 1 << 20;
/// The directory of the files.
const OBJECTS: &str = "objects";

/// See the module.
#[derive(Debug, Serialize)]
pub(super) struct Store {
    #[serde(skip)]
    shared: Shared,
    file: Carried,
    sizes: Sizes,
    /// Where the directory is, and the files in it.
    directory: Option<(PathBuf, Carried)>,
    /// Something was purged that is not written down yet.
    #[serde(skip)]
    is_unwritten: bool,
}

/// As it travels to the next program.
#[derive(Debug, Deserialize)]
pub(super) struct Saved {
    file: Carried,
    sizes: Sizes,
    directory: Option<(PathBuf, Carried)>,
}

fn sizes(config: &CacheSizes) -> Sizes {
    Sizes { memory: config.memory, disk: if config.path.is_some() { config.disk } else { 0 } }
}

impl Store {
    /// As the configuration says; files are found again.
    ///
    /// # Errors
    /// For the operator: no memory, a directory that is not ours.
    pub(super) fn new(config: &CacheSizes, account: Option<&Account>) -> Result<Self, String> {
        let Some(path) = &config.path else { return Self::in_memory(config) };
        let place = |error: io::Error| format!("cache.path: {}: {error}", path.display());
        let (path, objects) = directory(path, account).map_err(place)?;
        let mut store = Self::mapped(sizes(config))?;
        let known = read_state(&path).map_err(place)?;
        store.begin(known.as_ref().map(|(secret, _)| *secret));
        match &known {
            Some((_, bans)) => store.master().restore(bans),
            None => write_state(&path, store.master()).map_err(place)?,
        }
        store.directory = Some((path, objects.into()));
        Ok(store)
    }

    /// Without files.
    ///
    /// # Errors
    /// For the operator: no memory.
    pub(super) fn in_memory(config: &CacheSizes) -> Result<Self, String> {
        let store = Self::mapped(Sizes { disk: 0, ..sizes(config) })?;
        store.begin(None);
        Ok(store)
    }

    fn mapped(sizes: Sizes) -> Result<Self, String> {
        let mapped = Shared::in_file_of_name(c"hatchery-cache", Layout::of(sizes).words());
        let (shared, file) = mapped.map_err(|error| {
            format!("cache.memory: {} bytes cannot be mapped: {error}; choose fewer", sizes.memory)
        })?;
        Ok(Self { shared, file: file.into(), sizes, directory: None, is_unwritten: false })
    }

    fn begin(&self, secret: Option<Secret>) {
        let secret = secret.unwrap_or_else(|| Secret([fd::random(), fd::random()]));
        self.master().begin(secret, fd::random());
    }

    /// What the program before has handed over; a new one if it had none, or has laid it out differently: what its workers
    /// keep is theirs until they leave.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn resume(
        saved: Option<Saved>,
        config: &CacheSizes,
        account: Option<&Account>,
    ) -> Result<Self, String> {
        if let Some(Saved { file, sizes, directory }) = saved
            && let Ok(shared) = Shared::of_file(file.as_fd(), Layout::of(sizes).words())
            && MasterStore::new(shared.words(), sizes).is_ours()
        {
            return Ok(Self { shared, file, sizes, directory, is_unwritten: false });
        }
        Self::new(config, account)
    }

    /// Whether it is what a configuration asks for; else it stays as it is until a restart.
    pub(super) fn is_of(&self, config: &CacheSizes) -> bool {
        let path = self.directory.as_ref().map(|(path, _)| path.as_path());
        self.sizes == sizes(config) && path == config.path.as_deref()
    }

    /// As the master has it.
    pub(super) fn master(&self) -> MasterStore<'static> {
        MasterStore::new(self.shared.words(), self.sizes)
    }

    /// A worker is about to be forked for that row.
    pub(super) fn seat(&self, row: u16) {
        self.master().seat(row);
    }

    /// What the worker of that row may do with it; it can write nothing else of it from then on, in this process.
    ///
    /// # Errors
    /// As [`Shared::confine`].
    pub(super) fn confine(&self, row: u16) -> io::Result<WorkerStore<'static>> {
        let own = Layout::area(row).ok_or_else(|| io::Error::other("there is no such row"))?;
        let shared = Layout::of(self.sizes).shared();
        let confined = self.shared.confine(self.file.as_fd(), &[own, shared])?;
        match confined.writable.as_slice() {
            [own, shared] => Ok(WorkerStore::new(self.sizes, confined.words, row, own, shared)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The directory of the files, for a worker.
    ///
    /// # Errors
    /// EMFILE.
    pub(super) fn files(&self) -> io::Result<Option<OwnedFd>> {
        self.directory.as_ref().map(|(_, objects)| objects.as_fd().try_clone_to_owned()).transpose()
    }

    /// A worker was reaped; in the rows that come back somebody waits for what it fetched.
    pub(super) fn worker_left(&self, row: u16, name: &str) -> Rows {
        let poke = self.master().worker_left(row);
        let cleared = Layout::area(row).map_or(Ok(()), |words| self.shared.release(words));
        if let Err(error) = cleared {
            log::error!(target: "hatchery", "the words of {name} in the cache cannot be cleared: {error}");
        }
        Rows::of((0..WORKERS as u16).filter(|row| poke >> row & 1 == 1))
    }

    /// Purges, at once and for good.
    ///
    /// # Errors
    /// It holds, but could not be written down: a restart would undo it for what is on disk.
    pub(super) fn ban(&mut self, ban: &Ban<'_>) -> io::Result<()> {
        self.ban_for_now(ban);
        self.write_down()
    }

    /// Purges, at once; [`Self::write_down`] has to follow.
    pub(super) fn ban_for_now(&mut self, ban: &Ban<'_>) {
        self.master().ban(ban);
        self.is_unwritten = true;
    }

    /// Writes down what was purged, so that it outlives a restart.
    ///
    /// # Errors
    /// As [`Self::ban`].
    pub(super) fn write_down(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_unwritten) {
            return Ok(());
        }
        match &self.directory {
            Some((path, _)) => write_state(path, self.master()),
            None => Ok(()),
        }
    }
}

/// Makes the directory, or finds it again: where it is, and the files in it.
fn directory(path: &Path, account: Option<&Account>) -> io::Result<(PathBuf, OwnedFd)> {
    let directory = Directory::own(path, 0o755)?;
    let (uid, gid) = account.map_or_else(|| (user::uid(), None), |account| (account.uid, Some(account.gid)));
    let place = Place::of(&directory.path.join(OBJECTS))?;
    if place.stat()?.is_none() {
        place.make_room(Access { mode: 0o700, user: Some(uid), group: gid })?;
    }
    let objects = place.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    if place.stat()?.is_none_or(|found| found.st_uid != uid) {
        let whose = account.map_or("this user", |account| account.name.as_str());
        return Err(io::Error::other(format!("`{OBJECTS}` in it is not a directory of {whose}; remove it")));
    }
    Ok((path.to_owned(), objects))
}

/// Secret and bans of the life before. `None`: there was none, or what is there is not understood; it is made anew then.
fn read_state(path: &Path) -> io::Result<Option<(Secret, Vec<u8>)>> {
    let place = Place::of(&path.join(STATE))?;
    if place.stat()?.is_none() {
        return Ok(None);
    }
    let bytes = file::read_at(place.open(OFlag::O_RDONLY)?.as_fd(), 0, LONGEST_STATE)?;
    Ok(parse_state(&bytes))
}

fn parse_state(bytes: &[u8]) -> Option<(Secret, Vec<u8>)> {
    let (first, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let (second, bans) = rest.split_first_chunk::<8>()?;
    Some((Secret([*first, *second].map(u64::from_le_bytes)), bans.to_vec()))
}

fn write_state(path: &Path, store: MasterStore<'_>) -> io::Result<()> {
    let Secret([first, second]) = store.secret();
    let bytes = [MAGIC, &first.to_le_bytes(), &second.to_le_bytes(), &store.bans()].concat();
    Place::of(&path.join(STATE))?.replace(&bytes, 0o600)
}

#[cfg(test)]
mod tests;
