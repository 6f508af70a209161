//! Watches on the directories that lead to cached files. Each cached entry depends on names: on the way to `css/a.css`
//! those are `css` in the root and `a.css` in `css`. What happens to a name removes the entries that depend on it, and
//! nothing else.

use super::cache::Cache;
use crate::slab::Key;
use crate::sys::file::open_directory_on_mount;
use crate::sys::inotify::{Happened, Inotify, Watch};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

/// The names that an entry depends on.
pub(super) type Trail = Vec<(Watch, Box<[u8]>)>;

/// Directories watched at most; beyond that everything begins anew.
const MOST_DIRECTORIES: usize = 8192;

/// See the module.
#[derive(Debug)]
pub(super) struct Watches {
    inotify: Option<Inotify>,
    directories: HashMap<Watch, HashMap<Box<[u8]>, Name>>,
    /// Names in all of them.
    names: usize,
    /// Above so many the names of entries that are gone are dropped.
    sweep_above: usize,
}

/// A name in a watched directory.
#[derive(Debug, Default)]
struct Name {
    /// It is a directory, and watched.
    directory: Option<Watch>,
    /// Entries that depend on it; some may be gone.
    dependents: Vec<Key>,
}

/// Names kept before the first sweep.
const SWEEP: usize = 4096;

impl Watches {
    /// `wanted`: there is anything to be watched at all.
    pub(super) fn new(wanted: bool) -> Self {
        let failed = |error: std::io::Error| {
            log::warn!(
                "worker: files are looked at once a second: no inotify instance ({error}); \
                     fs.inotify.max_user_instances may be too low"
            );
        };
        let inotify = wanted.then(Inotify::new).and_then(|made| made.map_err(failed).ok());
        Self { inotify, directories: HashMap::new(), names: 0, sweep_above: SWEEP }
    }

    /// What to wait on for events.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Watches a directory that is near. `None`: changes in it would not be told.
    pub(super) fn watch(&mut self, directory: BorrowedFd<'_>) -> Option<Watch> {
        if self.directories.len() >= MOST_DIRECTORIES {
            return None;
        }
        let watch = self.inotify.as_ref()?.watch(directory).ok()?;
        self.directories.entry(watch).or_default();
        Some(watch)
    }

    /// Names that are remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.directories.values().map(HashMap::len).sum()
    }

    /// Whether it still is a watch.
    pub(super) fn has(&self, watch: Watch) -> bool {
        self.directories.contains_key(&watch)
    }

    /// Watches every directory on the way from `root` to `path` and adds the names to the trail. To be called before
    /// the file is opened, so that whatever changes afterwards is told. `false`: it cannot be watched; symbolic links
    /// are not followed here.
    pub(super) fn lead(&mut self, root: (BorrowedFd<'_>, Watch), path: &[u8], trail: &mut Trail) -> bool {
        let (root, mut at) = root;
        let mut start = 0;
        loop {
            let rest = path.get(start..).unwrap_or_default();
            let end = rest.iter().position(|byte| *byte == b'/').map(|length| start + length);
            let name = path.get(start..end.unwrap_or(path.len())).unwrap_or_default();
            if !name.is_empty() {
                trail.push((at, name.into()));
            }
            let Some(end) = end else { return true };
            start = end + 1;
            if name.is_empty() {
                continue;
            }
            at = match self.child(at, name) {
                Some(known) => known,
                None => match open_directory_on_mount(root, path.get(..end).unwrap_or_default()) {
                    Ok(directory) => {
                        let Some(watch) = self.watch(directory.as_fd()) else { return false };
                        self.name(at, name).directory = Some(watch);
                        watch
                    }
                    // Nothing is there until something happens to this name.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return true,
                    Err(_) => return false,
                },
            };
        }
    }

    fn child(&self, at: Watch, name: &[u8]) -> Option<Watch> {
        let child = self.directories.get(&at)?.get(name)?.directory?;
        self.directories.contains_key(&child).then_some(child)
    }

    fn name(&mut self, at: Watch, name: &[u8]) -> &mut Name {
        let names = self.directories.entry(at).or_default();
        if !names.contains_key(name) {
            self.names += 1;
        }
        names.entry(name.into()).or_default()
    }

    /// The entry depends on these names.
    pub(super) fn depend<T>(&mut self, trail: &Trail, key: Key, cache: &Cache<T>) {
        for (at, name) in trail {
            let dependents = &mut self.name(*at, name).dependents;
            if dependents.len() == dependents.capacity() {
                dependents.retain(|key| cache.is_live(*key));
            }
            dependents.push(key);
        }
        if self.names > self.sweep_above {
            self.sweep(cache);
        }
    }

    fn sweep<T>(&mut self, cache: &Cache<T>) {
        self.names = 0;
        for names in self.directories.values_mut() {
            names.retain(|_, name| {
                name.dependents.retain(|key| cache.is_live(*key));
                name.directory.is_some() || !name.dependents.is_empty()
            });
            self.names += names.len();
        }
        self.sweep_above = SWEEP.max(2 * self.names);
    }

    /// Removes the entries that may have changed. Watches are dropped (and everything with them) when they are too many
    /// or the kernel lost count; `false` then: what is known of the roots is void.
    pub(super) fn catch_up<T>(&mut self, cache: &mut Cache<T>) -> bool {
        let Self { inotify: Some(inotify), directories, names, .. } = self else { return true };
        let mut lost = false;
        let read = inotify.read(|happened| match happened {
            Happened::Name(at, name) => {
                // The entry of the name stays: it is likely to be asked for again.
                if let Some(name) = directories.get_mut(&at).and_then(|names| names.get_mut(name)) {
                    name.directory = None;
                    name.dependents.drain(..).for_each(|key| cache.remove(key));
                }
            }
            Happened::Gone(at) => {
                let gone = directories.remove(&at).unwrap_or_default();
                *names -= gone.len();
                gone.into_values().flat_map(|name| name.dependents).for_each(|key| cache.remove(key));
            }
            Happened::Moved(at) => {
                let all = directories.get_mut(&at).into_iter().flat_map(HashMap::values_mut);
                all.flat_map(|name| name.dependents.drain(..)).for_each(|key| cache.remove(key));
            }
            Happened::Overflow => lost = true,
        });
        if let Err(error) = read {
            log::warn!("worker: cannot read what happened to files: {error}");
            lost = true;
        }
        if lost || self.directories.len() >= MOST_DIRECTORIES {
            self.forget();
            cache.clear();
            return false;
        }
        true
    }

    fn forget(&mut self) {
        if let Some(inotify) = &self.inotify {
            self.directories.keys().for_each(|watch| inotify.forget(*watch));
        }
        self.directories.clear();
        self.names = 0;
    }
}
