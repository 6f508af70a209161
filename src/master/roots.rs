//! Static roots that were replaced: `current -> release1` that became `current -> release2`. A worker holds the directory
//! that it opened, and its sandbox allows no other; so a worker that notices tells the master, which looks for itself.
//!
//! Where there are only files and upstreams to serve, the workers are rolled by a reload of the same configuration:
//! nothing else changes by that. Where there are apps, a reload would start their new code too, in the midst of a
//! deployment perhaps; so it is left to the operator, who is told.

use super::Master;
use crate::config::{Action, Config};
use crate::supervisor::{Input, Signal};
use crate::sys::file;
use crate::timer::Time;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

/// What the static roots of a configuration are, in its order: device and inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roots(Vec<(PathBuf, Option<(u64, u64)>)>);

impl Roots {
    /// As they are now.
    pub(super) fn of(config: &Config) -> Self {
        let locations = config.sites.iter().flat_map(|site| &site.locations);
        let roots = locations.filter_map(|location| match &location.action {
            Action::Files(files) => Some(&files.root),
            Action::App { .. } | Action::Proxy(_) | Action::Redirect { .. } | Action::Respond { .. } => None,
        });
        let identity = |path: &PathBuf| {
            let directory = file::open_directory(path).ok()?;
            Some(file::metadata(directory.as_fd()).ok()?.id)
        };
        Self(roots.map(|path| (path.clone(), identity(&path))).collect())
    }

    /// Paths that name another directory in `now`; not those that name none.
    fn replaced<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = &'a PathBuf> {
        let pairs = self.0.iter().zip(&now.0);
        pairs.filter(|((_, before), (_, now))| now.is_some() && now != before).map(|((path, _), _)| path)
    }
}

impl Master {
    /// A worker says that it holds a static root that is not there any more.
    pub(super) fn root_replaced(&mut self, now: Time) {
        let roots = Roots::of(&self.current.config);
        // Said by each worker, and again each second: once is enough for each state of things. An old worker that drains
        // may mean a root that the current ones have.
        if self.supervisor.mode() != "running" || roots == self.replaced {
            return;
        }
        let Some(path) = self.current.roots.replaced(&roots).next() else { return };
        let path = path.display().to_string();
        self.replaced = roots;
        if self.current.config.apps.is_empty() {
            log::info!(target: "hatchery", "the static root {path} is another directory now; the workers are replaced");
            self.same_configuration = true;
            self.supervisor.on(Input::Signal(Signal::Hup), now);
            self.settle(now);
            self.same_configuration = false;
        } else {
            log::warn!(
                target: "hatchery",
                "the static root {path} is another directory now, but the workers serve the old one until the next \
                 reload: `hatchery reload`"
            );
        }
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
