//! Static roots that were replaced: `current -> release1` that became `current -> release2`. A worker holds the directory
//! that it opened, and its sandbox allows no other; so a worker that notices tells the master, which looks for itself.
//! The workers are then replaced one after the other, as by `hatchery restart workers`; apps and the configuration stay
//! as they are, since a deployment may be in its midst.

use super::Master;
use crate::config::{Config, Disk, Handler, publish};
use crate::supervisor::{Input, Ticket};
use crate::sys::file;
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

/// What the static roots of a configuration are, in its order: device and inode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roots(Vec<(PathBuf, Option<(u64, u64)>)>);

/// The roots are looked at so often at most; workers say it again each second.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Whoever asks over the control socket has a smaller number.
const NOBODY: Ticket = Ticket(u64::MAX);

impl Roots {
    /// As they are now.
    pub(super) fn of(config: &Config) -> Self {
        let locations = config.sites.iter().flat_map(|site| &site.locations);
        let roots = locations.filter_map(|location| match &*location.handler {
            Handler::Files(files) => Some(&files.root),
            Handler::App { .. } | Handler::Proxy(_) | Handler::Redirect(_) | Handler::Respond(_) => None,
        });
        let identity = |path: &PathBuf| {
            let directory = file::open_directory(path).ok()?;
            Some(file::metadata(directory.as_fd()).ok()?.id)
        };
        Self(roots.map(|path| (path.clone(), identity(path))).collect())
    }

    /// Those that cannot be opened.
    pub(super) fn missing(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().filter(|(_, identity)| identity.is_none()).map(|(path, _)| path)
    }

    fn is_there(&self, path: &PathBuf) -> bool {
        self.missing().all(|missing| missing != path)
    }

    /// Paths that name another directory in `now`; not those that name none.
    fn replaced<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = &'a PathBuf> {
        let pairs = self.0.iter().zip(&now.0);
        pairs.filter(|((_, before), (_, now))| now.is_some() && now != before).map(|((path, _), _)| path)
    }

    /// Directories that are the same in `now`, without links.
    fn kept(&self, now: &Self) -> Vec<PathBuf> {
        let pairs = self.0.iter().zip(&now.0);
        let same = pairs.filter(|((_, before), (_, now))| now.is_some() && now == before);
        same.filter_map(|((path, _), _)| path.canonicalize().ok()).collect()
    }
}

impl Master {
    /// A worker says that it holds a static root that is not there any more. Said by each worker, and again each second:
    /// once is enough for each state of things, and an old worker that drains may mean a root that the others have.
    pub(super) fn root_replaced(&mut self, now: Time) {
        // To look is to wait for disks, and workers could say so without end.
        if self.roots_seen.is_some_and(|seen| now.since(seen) < LOOK_AGAIN) {
            return;
        }
        self.roots_seen = Some(now);
        let roots = Roots::of(&self.current.config);
        let Some(path) = self.current.roots.replaced(&roots).next() else { return };
        if self.supervisor.mode() != "running" {
            return;
        }
        // A deployment that put the whole project there would publish it.
        let served = self.current.roots.kept(&roots);
        if let Some(problem) = publish::judge(&self.current.config, &served, &Disk).refused.first() {
            log::error!(target: "hatchery", "the workers keep the static root that was replaced, and answer 503 where they had not opened it: {problem}");
            self.current.roots = roots;
            return;
        }
        let (path, was_there) = (path.display(), self.current.roots.is_there(path));
        let what = if was_there { "is another directory now" } else { "is there now" };
        log::info!(target: "hatchery", "the static root {path} {what}; the workers are replaced");
        // Those that come are sandboxed to what is there now.
        self.current.roots = roots;
        // An app may have one of the names of the workers.
        let apps = &self.current.config.apps;
        let free = |name: &&str| apps.iter().all(|app| app.name != *name);
        let name = ["workers", "worker"].into_iter().find(free).unwrap_or_default().to_owned();
        self.supervisor.on(Input::Restart { ticket: NOBODY, name, why: "a static root was replaced" }, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_directory_of_the_same_name_is_a_replacement_and_a_missing_one_is_not() {
        let path = |name: &str| PathBuf::from(name);
        let before = Roots(vec![(path("/a"), Some((1, 1))), (path("/b"), Some((1, 2))), (path("/c"), None)]);
        assert_eq!(before.replaced(&before).count(), 0);
        let now = Roots(vec![(path("/a"), None), (path("/b"), Some((1, 3))), (path("/c"), Some((1, 4)))]);
        assert_eq!(
            before.replaced(&now).collect::<Vec<_>>(),
            ["/b", "/c"].map(PathBuf::from).iter().collect::<Vec<_>>()
        );
    }
}
