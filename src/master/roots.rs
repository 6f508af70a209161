//! Static roots that were replaced: `current -> release1` that became `current -> release2`. A worker serves the directory
//! that the master has found good and no other, and its sandbox allows no other; so a worker that notices tells the master,
//! which looks for itself. The workers are then replaced one after the other, as by `hatchery restart workers`; apps and the
//! configuration stay as they are, since a deployment may be in its midst. Of a directory that must not be published nothing
//! is taken: also the workers that come later serve the one before.

use super::Master;
use crate::config::boot::StaticRoot;
use crate::config::{Config, Disk, Handler, publish};
use crate::supervisor::{Input, Ticket};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the static roots of a configuration are, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roots(Vec<(PathBuf, Option<StaticRoot>)>);

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
            Handler::App { .. }
            | Handler::Proxy(_)
            | Handler::Cgi(_)
            | Handler::Redirect(_)
            | Handler::Respond(_) => None,
        });
        let roots = roots.chain(config.sending.iter().filter_map(|sending| Some(&sending.files()?.root)));
        Self(roots.map(|path| (path.clone(), StaticRoot::find(path).ok())).collect())
    }

    /// For a worker: those that are still where they were.
    pub(super) fn there(&self) -> HashMap<PathBuf, Option<StaticRoot>> {
        let there = |root: &StaticRoot| StaticRoot::find(&root.real).is_ok_and(|now| now == *root);
        self.0.iter().map(|(path, root)| (path.clone(), root.clone().filter(there))).collect()
    }

    /// What they are `now`, but for those of which the new one is `refused`, or is not there.
    fn then(&self, now: &Self, refused: &[PathBuf]) -> Self {
        let pairs = self.0.iter().zip(&now.0);
        let follow = pairs.map(|((path, before), (_, now))| {
            let root = if refused.contains(path) || now.is_none() { before } else { now };
            (path.clone(), root.clone())
        });
        Self(follow.collect())
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
        same.filter_map(|(_, (_, now))| Some(now.as_ref()?.real.clone())).collect()
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
        // Workers go on to say so of one that was refused, and to judge is to look at many names.
        if self.roots_refused.as_ref() == Some(&roots) || self.current.roots.replaced(&roots).next().is_none()
        {
            return;
        }
        if self.supervisor.mode() != "running" {
            return;
        }
        // A deployment that put the whole project there would publish it.
        let served = self.current.roots.kept(&roots);
        let judgement = publish::judge(&self.current.config, &served, &Disk);
        let then = self.current.roots.then(&roots, &judgement.closed);
        if let Some(problem) = judgement.refused.first() {
            self.roots_refused = Some(roots);
            log::error!(target: "hatchery", "the workers keep the static root that was replaced: {problem}");
        }
        let Some(path) = self.current.roots.replaced(&then).next() else { return };
        let (path, was_there) = (path.display(), self.current.roots.is_there(path));
        let what = if was_there { "is another directory now" } else { "is there now" };
        log::info!(target: "hatchery", "the static root {path} {what}; the workers are replaced");
        // Those that come are sandboxed to what is there now.
        self.current.roots = then;
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
        let folder = std::env::temp_dir().join(format!("hatchery-roots-of-{}", std::process::id()));
        let directory = |name: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).unwrap();
            StaticRoot::find(&path).ok()
        };
        let roots = |found: [Option<StaticRoot>; 3]| {
            Roots(["/a", "/b", "/c"].map(PathBuf::from).into_iter().zip(found).collect())
        };
        let before = roots([directory("1"), directory("2"), None]);
        assert_eq!(before.replaced(&before).count(), 0);
        let now = roots([None, directory("3"), directory("4")]);
        let replaced: Vec<_> = before.replaced(&now).collect();
        assert_eq!(replaced, ["/b", "/c"].map(PathBuf::from).iter().collect::<Vec<_>>());
        // What is refused stays what it was, as does what is gone.
        let then = before.then(&now, &["/c".into()]);
        assert_eq!(then, roots([directory("1"), directory("3"), None]));
        std::fs::remove_dir_all(folder.join("3")).unwrap();
        let there = then.there();
        assert_eq!(there[&PathBuf::from("/a")], directory("1"));
        assert_eq!((&there[&PathBuf::from("/b")], &there[&PathBuf::from("/c")]), (&None, &None));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
