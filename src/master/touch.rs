//! `touch_reload`: files whose being touched, or made anew, reloads the server.
//!
//! The kernel tells what happens to a file and to the names on the way to it (inotify(7)), so that the master sleeps until
//! then. Whatever it tells, the files are looked at a second later, and the watches made anew: a storm is one reload, and
//! a directory that has gone and come back is found again.

use super::{Master, Token};
use crate::supervisor::{Input, Signal};
use crate::sys::inotify::{Aim, Happened, Inotify};
use crate::sys::poll::{Interest, Set};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// From the first news to the look.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a directory may appear while the watches are made.
const RACES: usize = 16;

/// How many links of one way are followed, as the kernel does.
const LINKS: usize = 40;

/// What a file was: device, inode, time of its last change.
type Stamp = (u64, u64, i64, i64);

/// The files, and what tells of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Touch {
    files: Seen,
    /// When they are looked at.
    due: Option<Time>,
    #[serde(skip)]
    watches: Option<Watches>,
}

/// What each file was when it was looked at last; `None`: nothing.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Debug)]
struct Watches {
    inotify: Inotify,
    /// Of what is on the way to a file.
    names: BTreeSet<OsString>,
    /// What cannot be watched of the last of them.
    lacking: Vec<String>,
}

impl Seen {
    /// The same for other files; of those that it knows it knows what they were.
    fn follow(&mut self, paths: &[PathBuf], stamp: impl Fn(&Path) -> Option<Stamp>) {
        let known = |path: &PathBuf| self.0.iter().find(|(known, _)| known == path).map(|(_, seen)| *seen);
        self.0 =
            paths.iter().map(|path| (path.clone(), known(path).unwrap_or_else(|| stamp(path)))).collect();
    }

    /// Looks again: the first file that was touched or made anew. One that has gone is none.
    fn look(&mut self, stamp: impl Fn(&Path) -> Option<Stamp>) -> Option<PathBuf> {
        let mut touched = None;
        for (path, seen) in &mut self.0 {
            let now = stamp(path);
            if now.is_some() && now != *seen && touched.is_none() {
                touched = Some(path.clone());
            }
            *seen = now;
        }
        touched
    }
}

/// The same way with its first link followed; `None`: there is none.
fn past_link(way: &Path) -> Option<PathBuf> {
    let mut parts = way.components();
    let mut done = PathBuf::new();
    while let Some(part) = parts.next() {
        match part {
            Component::ParentDir => drop(done.pop()),
            _ => done.push(part),
        }
        if let Ok(target) = done.read_link() {
            done.pop();
            done.extend(target.iter().chain(parts.as_path()));
            return Some(done);
        }
    }
    None
}

/// Links are followed.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

impl Watches {
    /// Each file, what may come to its directory, and that something on the way to it goes: as it is written, and past each
    /// link.
    fn of(files: &Seen) -> std::io::Result<Self> {
        let mut watches = Self { inotify: Inotify::new()?, names: BTreeSet::new(), lacking: Vec::new() };
        for (path, _) in &files.0 {
            let ways = std::iter::successors(Some(path.clone()), |way| past_link(way));
            ways.take(LINKS).for_each(|way| watches.add(&way));
        }
        Ok(watches)
    }

    fn add(&mut self, way: &Path) {
        self.names.extend(way.iter().map(OsString::from));
        let Some(directory) = way.parent() else { return };
        for on_the_way in directory.ancestors() {
            // One that is closed to us seldom goes.
            let _ = self.inotify.aim(on_the_way, Aim::Itself);
        }
        self.aim(way, Aim::File);
        // What is not there is waited for where it will appear, unless it has appeared meanwhile.
        for _ in 0..RACES {
            let there = directory.ancestors().find(|above| above.is_dir()).unwrap_or(directory);
            self.aim(there, Aim::Names);
            let next = directory.ancestors().take_while(|above| *above != there).last();
            if !next.is_some_and(Path::is_dir) {
                return;
            }
        }
    }

    fn aim(&mut self, path: &Path, aim: Aim) {
        if let Err(error) = self.inotify.aim(path, aim)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            self.lacking.push(format!("{}: {error}", path.display()));
        }
    }

    /// Whether something happened that may be about a file.
    fn tell(&self) -> bool {
        let mut is_news = false;
        let read = self.inotify.read(|happened| {
            is_news |= match happened {
                Happened::Name(_, name) => self.names.contains(std::ffi::OsStr::from_bytes(name)),
                Happened::Gone(_) | Happened::Moved(_) | Happened::Overflow => true,
            };
        });
        is_news || read.is_err()
    }
}

impl Touch {
    /// These are the files from now on.
    pub(super) fn follow(&mut self, key: &str, paths: &[PathBuf], now: Time) {
        if self.watches.is_some() && self.files.0.iter().map(|(path, _)| path).eq(paths) {
            return;
        }
        self.files.follow(paths, stamp);
        self.watch_anew();
        // What was touched before there was a watch, nobody tells.
        self.go_on(now);
        for lacking in self.watches.iter().flat_map(|watches| &watches.lacking) {
            log::warn!(target: "hatchery", "{key}: a change is not noticed, as the kernel does not tell of {lacking}");
        }
    }

    fn watch_anew(&mut self) {
        self.watches = None;
        if self.files.0.is_empty() {
            return;
        }
        match Watches::of(&self.files) {
            Ok(watches) => self.watches = Some(watches),
            Err(error) => {
                log::error!(target: "hatchery", "files cannot be watched for changes: {error}; `hatchery reload` works all the same");
            }
        }
    }

    /// Waits for news, unless the files are looked at soon anyway.
    pub(super) fn watch<'a>(&'a self, set: &mut Set<'a, Token>, token: Token) {
        if let Some(watches) = self.watches.as_ref().filter(|_| self.due.is_none()) {
            set.add(watches.inotify.as_fd(), token, Interest::READ);
        }
    }

    /// There may be news.
    pub(super) fn ready(&mut self, now: Time) {
        if self.watches.as_ref().is_some_and(Watches::tell) {
            self.due.get_or_insert(now.after(PATIENCE));
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.due
    }

    /// What has happened without a watch nobody tells: the files are looked at.
    pub(super) fn go_on(&mut self, now: Time) {
        self.due = Some(now).filter(|_| !self.files.0.is_empty());
    }

    /// Whether it is time to look, and a file was changed, made anew or has gone.
    pub(super) fn is_changed(&mut self, now: Time) -> bool {
        let before = self.files.0.clone();
        self.on_timeout(now);
        self.files.0 != before
    }

    /// The file that was touched, if it is time to look.
    pub(super) fn on_timeout(&mut self, now: Time) -> Option<PathBuf> {
        self.due.filter(|due| *due <= now)?;
        self.due = None;
        // First: what happens after the look is told.
        self.watch_anew();
        self.files.look(stamp)
    }
}

impl Master {
    /// Reloads as on HUP, if a file was touched.
    pub(super) fn reload_if_touched(&mut self, now: Time) {
        let Some(path) = self.touch.on_timeout(now) else { return };
        log::info!(target: "hatchery", "touch_reload: {} was touched: reloading", path.display());
        self.supervisor.on(Input::Signal(Signal::Hup), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_touched_or_made_anew_counts_once_and_one_that_goes_does_not() {
        let paths = ["/a", "/b"].map(PathBuf::from);
        let mut seen = Seen::default();
        let at = |a: Option<i64>, b: Option<i64>| {
            move |path: &Path| {
                let time = if path == Path::new("/a") { a } else { b };
                time.map(|time| (1, 1, time, 0))
            }
        };
        seen.follow(&paths, at(Some(1), None));
        assert_eq!(seen.look(at(Some(1), None)), None);
        assert_eq!(seen.look(at(Some(2), None)).as_deref(), Some(Path::new("/a")));
        assert_eq!(seen.look(at(Some(2), Some(5))).as_deref(), Some(Path::new("/b")));
        assert_eq!(seen.look(at(None, Some(5))), None, "it has gone");
        assert_eq!(seen.look(at(Some(2), Some(5))).as_deref(), Some(Path::new("/a")), "and come back");
        assert_eq!(seen.look(at(Some(1), Some(6))).as_deref(), Some(Path::new("/a")), "both are one reload");
        assert_eq!(seen.look(at(Some(1), Some(6))), None);
        // What a file was when it was looked at last counts, not what it is when another list has it.
        seen.follow(&paths[..1], at(Some(9), None));
        assert_eq!(seen.look(at(Some(9), None)).as_deref(), Some(Path::new("/a")));
    }

    #[test]
    fn a_storm_is_one_look_a_second_later_and_what_nobody_asked_for_is_none() {
        let folder = std::env::temp_dir().join(format!("hatchery-touch-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("real")).unwrap();
        std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
        let path = folder.join("link/deep/file");
        let mut touch = Touch::default();
        let mut now = Time(1_000_000_000);
        touch.follow("x", std::slice::from_ref(&path), now);
        assert_eq!(touch.deadline(), Some(now), "what happened before the watch");
        assert_eq!(touch.on_timeout(now), None);
        // What is told within the second, and then the look.
        let mut told = |touch: &mut Touch| {
            touch.ready(now);
            let due = touch.deadline();
            now = now.after(Duration::from_secs(1));
            assert!(due.is_none_or(|due| due == now), "{due:?}");
            due.map(|_| touch.on_timeout(now).is_some())
        };
        assert_eq!(told(&mut touch), None, "it is not there");
        std::fs::write(folder.join("other"), "").unwrap();
        assert_eq!(told(&mut touch), None, "another name");
        std::fs::create_dir(folder.join("real/deep")).unwrap();
        assert_eq!(told(&mut touch), Some(false), "the directory alone");
        for _ in 0..3 {
            std::fs::write(&path, "").unwrap();
        }
        assert_eq!(told(&mut touch), Some(true));
        assert_eq!(told(&mut touch), None, "once");
        std::fs::remove_dir_all(folder.join("real/deep")).unwrap();
        assert_eq!(told(&mut touch), Some(false), "it is gone");
        std::fs::create_dir(folder.join("real/deep")).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(told(&mut touch), Some(true), "and made anew");
        // Another file by another link.
        std::fs::create_dir_all(folder.join("new/deep")).unwrap();
        std::fs::write(folder.join("new/deep/file"), "").unwrap();
        let _ = told(&mut touch);
        std::os::unix::fs::symlink("new", folder.join("link.new")).unwrap();
        std::fs::rename(folder.join("link.new"), folder.join("link")).unwrap();
        assert_eq!(told(&mut touch), Some(true), "the link leads elsewhere");
        touch.follow("x", &[], Time(1));
        assert!(touch.watches.is_none() && told(&mut touch).is_none());
        // A link behind another one.
        std::os::unix::fs::symlink("../link/deep/file", folder.join("real/far")).unwrap();
        touch.follow("x", &[folder.join("real/far")], Time(1));
        assert_eq!(touch.on_timeout(Time(1)), None);
        std::os::unix::fs::symlink(folder.join("real"), folder.join("link.new")).unwrap();
        std::fs::rename(folder.join("link.new"), folder.join("link")).unwrap();
        assert_eq!(told(&mut touch), Some(true), "a link behind a link leads elsewhere");
        std::os::unix::fs::symlink("loop", folder.join("loop")).unwrap();
        touch.follow("x", &[folder.join("loop")], Time(1));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
