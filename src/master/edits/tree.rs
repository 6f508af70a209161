//! The directories in which code is watched. Each has a watch of the kernel's; new ones are followed when they come. Links to
//! directories are not followed, which may lead in circles.

use super::names::{Code, is_page, is_searched};
use crate::sys::file;
use crate::sys::inotify::{Happened, Inotify, Watch};
use crate::sys::poll::{Interest, Set};
use nix::errno::Errno;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Directories that are watched in all. A project has hundreds; more than this are something else, and each costs the kernel
/// about a kilobyte.
const MOST: usize = 10_000;

/// Where a virtualenv says that it is one.
const VIRTUALENV: &str = "pyvenv.cfg";

/// Where code of an app is.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) pool: u16,
    /// `None`: there is none.
    pub(super) code: Option<Code>,
    /// What pages are made of is watched, too.
    pub(super) pages: bool,
    pub(super) path: PathBuf,
    /// Directories that have none.
    pub(super) left_out: Vec<PathBuf>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Code,
    Page,
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Pools whose code it was.
    pub(super) code: BTreeSet<u16>,
    /// Something that pages are made of, and is no code.
    pub(super) pages: bool,
}

impl Root {
    /// What a file of this name is there.
    fn kind(&self, name: &[u8]) -> Option<Kind> {
        match self.code {
            Some(code) if code.is(name) => Some(Kind::Code),
            _ => (self.pages && is_page(name)).then_some(Kind::Page),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tree {
    inotify: Inotify,
    roots: Vec<Root>,
    directories: HashMap<Watch, Directory>,
    /// Something happened to the directories that is not followed: they are to be looked for anew.
    stale: bool,
    /// What is not watched, and why, for the operator.
    lacking: Vec<String>,
}

#[derive(Debug, Default)]
struct Directory {
    path: PathBuf,
    /// Numbers of the roots that it is below.
    roots: BTreeSet<usize>,
}

impl Tree {
    /// All directories of these roots.
    ///
    /// # Errors
    /// EMFILE: no inotify instance is to be had.
    pub(super) fn of(roots: Vec<Root>) -> io::Result<Self> {
        let inotify = Inotify::new()?;
        let paths: Vec<PathBuf> = roots.iter().map(|root| root.path.clone()).collect();
        let mut tree =
            Self { inotify, roots, directories: HashMap::new(), stale: false, lacking: Vec::new() };
        for (number, path) in paths.into_iter().enumerate() {
            tree.enter(path, number);
        }
        Ok(tree)
    }

    pub(super) fn watch<'a, T: Copy>(&'a self, set: &mut Set<'a, T>, token: T) {
        set.add(self.inotify.as_fd(), token, Interest::READ);
    }

    /// What is not watched, told once.
    pub(super) fn take_lacking(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lacking)
    }

    /// Whether directories have moved or gone, or more happened than could be told.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// What has changed since the last call.
    pub(super) fn changed(&mut self) -> Changed {
        let (mut changed, mut named) = (BTreeSet::new(), Vec::new());
        let Self { inotify, directories, stale, .. } = self;
        let mut lost = false;
        let read = inotify.read(|happened| match happened {
            Happened::Name(watch, name) => named.push((watch, name.to_vec())),
            Happened::Gone(watch) => drop(directories.remove(&watch)),
            Happened::Moved(watch) => {
                *stale = true;
                let moved = directories.get(&watch).into_iter().flat_map(|directory| &directory.roots);
                changed.extend(moved.map(|root| (*root, Kind::Code)));
            }
            Happened::Overflow => lost = true,
        });
        if lost || read.is_err() {
            self.stale = true;
            changed.extend((0..self.roots.len()).map(|root| (root, Kind::Code)));
        }
        for (watch, name) in named {
            changed.extend(self.touched(watch, &name));
        }
        let pool = |(root, kind): &(usize, Kind)| {
            let root = self.roots.get(*root)?;
            (*kind == Kind::Code && root.code.is_some()).then_some(root.pool)
        };
        let code: BTreeSet<u16> = changed.iter().filter_map(pool).collect();
        let pages = changed.iter().any(|found| pool(found).is_none());
        Changed { code, pages }
    }

    /// The roots for which it is an edit that something happened to a name, and of what. A new directory is entered.
    fn touched(&mut self, watch: Watch, name: &[u8]) -> BTreeSet<(usize, Kind)> {
        let Some(directory) = self.directories.get(&watch) else { return BTreeSet::new() };
        let kind = |root: &usize| Some((*root, self.roots.get(*root)?.kind(name)?));
        let mut touched: BTreeSet<_> = directory.roots.iter().filter_map(kind).collect();
        let path = directory.path.join(std::ffi::OsStr::from_bytes(name));
        if is_searched(name) && path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            for root in directory.roots.clone() {
                touched.extend(self.enter(path.clone(), root).into_iter().map(|kind| (root, kind)));
            }
        }
        touched
    }

    /// Watches a directory and those below it for a root; what new ones have.
    fn enter(&mut self, path: PathBuf, number: usize) -> BTreeSet<Kind> {
        let (mut ahead, mut found) = (vec![path], BTreeSet::new());
        let Some(root) = self.roots.get(number).cloned() else { return found };
        while let Some(path) = ahead.pop() {
            if root.left_out.contains(&path) || path.join(VIRTUALENV).is_file() || !self.add(&path, number) {
                continue;
            }
            for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                let name = entry.file_name();
                found.extend(root.kind(name.as_bytes()));
                if is_searched(name.as_bytes()) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    ahead.push(entry.path());
                }
            }
        }
        found
    }

    /// Watches one directory; whether that is new for this root.
    fn add(&mut self, path: &Path, root: usize) -> bool {
        if self.directories.len() >= MOST {
            let at = path.display();
            self.lack(format!(
                "more than {MOST} directories: edits in {at} and others are not noticed; name the \
                directories with code in `watch`, and let chdir be one of them"
            ));
            return false;
        }
        let open = file::open_directory(path);
        match open.and_then(|open| self.inotify.watch_for_edits(open.as_fd())) {
            Ok(watch) => {
                let directory = self.directories.entry(watch).or_default();
                path.clone_into(&mut directory.path);
                directory.roots.insert(root)
            }
            Err(error) => {
                self.lack(format!("edits in {} are not noticed: {}", path.display(), explained(&error)));
                false
            }
        }
    }

    /// Of many the first is told.
    fn lack(&mut self, text: String) {
        if self.lacking.is_empty() {
            self.lacking.push(text);
        }
    }
}

/// Why a directory cannot be watched, and what to do.
fn explained(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) if code == Errno::ENOSPC as i32 => {
            "the kernel allows no more watches; raise them with `sysctl fs.inotify.max_user_watches=524288`, or use \
             `hatchery restart NAME`"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn root(pool: u16, path: &Path) -> Root {
        Root {
            pool,
            code: Some(Code::Python),
            pages: pool == 2,
            path: path.to_owned(),
            left_out: vec![path.join("env2"), path.join("static")],
        }
    }

    #[test]
    fn edits_are_told_where_code_is_and_nowhere_else() {
        let folder = std::env::temp_dir().join(format!("hatchery-edits-{}", std::process::id()));
        for directory in ["shop/deep", "env", "env2", "static", ".git", "node_modules/x", "other"] {
            fs::create_dir_all(folder.join(directory)).unwrap();
        }
        fs::write(folder.join("env/pyvenv.cfg"), "").unwrap();
        std::os::unix::fs::symlink(&folder, folder.join("shop/circle")).unwrap();
        let mut tree = Tree::of(vec![root(1, &folder), root(2, &folder.join("other"))]).unwrap();
        assert_eq!(tree.take_lacking(), [""; 0]);
        let mut told = |name: &str| {
            fs::write(folder.join(name), "").unwrap();
            let Changed { code, pages } = tree.changed();
            assert_eq!(pages, name.contains("other") && name.ends_with(".css"), "{name}");
            code.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(told("shop/deep/views.py"), [1]);
        assert_eq!(told("other/views.py"), [1, 2], "it is in both");
        assert_eq!(told("other/site.css"), [0; 0]);
        for quiet in
            ["env/x.py", "env2/x.py", "static/x.py", ".git/x.py", "node_modules/x/x.py", "shop/x.html"]
        {
            assert_eq!(told(quiet), [0; 0], "{quiet}");
        }
        fs::rename(folder.join("shop/x.html"), folder.join("shop/x.py")).unwrap();
        assert_eq!(told("db.sqlite3"), [1], "the rename");
        fs::create_dir_all(folder.join("new/deep")).unwrap();
        assert_eq!(told("db.sqlite3"), [0; 0], "directories alone");
        assert_eq!(told("new/deep/x.py"), [1]);
        fs::create_dir(folder.join("more")).unwrap();
        assert_eq!(told("more/x.py"), [1], "it was there before the directory was watched");
        fs::remove_file(folder.join("more/x.py")).unwrap();
        assert_eq!(told("db.sqlite3"), [1], "it has gone");
        fs::rename(folder.join("new"), folder.join("newer")).unwrap();
        assert_eq!(told("db.sqlite3"), [1], "code has moved");
        assert!(tree.is_stale());
        fs::remove_dir_all(folder).unwrap();
    }
}
