//! The way of a path, directory by directory.

use super::{Directory, Gap, Hold, Place, refused, refused_for, retry};
use crate::sys::trust::{Stranger, Trust};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows (path_resolution(7)).
const LINKS: u32 = 40;

struct Walk {
    trust: Trust,
    at: OwnedFd,
    path: PathBuf,
    /// Who can change the names in the directory where we are.
    hold: Hold,
    /// The first directory on the way that others can change.
    gap: Option<Gap>,
    links: u32,
}

/// What stands at a name.
enum Found {
    Directory(OwnedFd),
    Link { target: PathBuf, stat: FileStat },
    Other,
}

/// To the directory of the path's last name; `follow`: to that of what a link of this name leads to.
pub(super) fn to(path: &Path, follow: bool, trust: Trust) -> io::Result<Place> {
    let mut walk = Walk::new(trust)?;
    let mut left = components(&std::path::absolute(path)?);
    let name = loop {
        let name = left.pop().ok_or(Errno::EISDIR)?;
        if name == ".." && left.is_empty() {
            return Err(Errno::EISDIR.into());
        }
        if !left.is_empty() {
            walk.step(&name, &mut left)?;
        } else if follow && !walk.is_proc() {
            match walk.look(&name) {
                Ok(Found::Link { target, stat }) => walk.follow(&name, &target, &stat, &mut left)?,
                _ => break name,
            }
        } else {
            break name;
        }
    };
    let magic = follow && walk.is_proc() && matches!(walk.look(&name), Ok(Found::Link { .. }));
    if magic {
        walk.may_follow(&name, None)?;
    }
    Ok(Place {
        path: walk.path.join(&name),
        hold: walk.hold(),
        directory: walk.at,
        name,
        gap: walk.gap,
        trust: walk.trust,
        magic,
    })
}

/// To the directory that the path names.
pub(super) fn directory(path: &Path, trust: Trust) -> io::Result<Directory> {
    let mut walk = Walk::new(trust)?;
    let mut left = components(&std::path::absolute(path)?);
    while let Some(name) = left.pop() {
        walk.step(&name, &mut left)?;
    }
    Ok(Directory { hold: walk.hold(), path: walk.path, descriptor: walk.at })
}

/// The names of a path, the last one first; `..` among them.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

impl Walk {
    fn new(trust: Trust) -> io::Result<Self> {
        let at = retry(|| nix::fcntl::open("/", DIRECTORY, Mode::empty()))?;
        let mut walk = Self { trust, at, path: "/".into(), hold: Hold::Own, gap: None, links: 0 };
        walk.judge()?;
        Ok(walk)
    }

    /// Looks who can change the directory where we are.
    fn judge(&mut self) -> io::Result<()> {
        let stat = fstat(&self.at)?;
        let is_sticky = stat.st_mode & libc::S_ISVTX != 0 && self.trust.has_user(stat.st_uid);
        let stranger = self.trust.stranger(&stat, self.at.as_fd());
        self.hold = match stranger.filter(|who| !is_the_kernels(self.is_proc(), who.is_outside())) {
            None => Hold::Own,
            Some(stranger) if is_sticky => Hold::Sticky(stranger),
            Some(stranger) => {
                let mode = stat.st_mode & 0o7777;
                self.gap.get_or_insert_with(|| Gap { stranger, directory: self.path.clone(), mode });
                Hold::Open(stranger)
            }
        };
        Ok(())
    }

    /// Who can change the names here, or could have put another directory here.
    fn hold(&self) -> Hold {
        self.gap.as_ref().map_or(self.hold, |gap| Hold::Open(gap.stranger))
    }

    fn enter(&mut self, directory: OwnedFd, name: &OsStr) -> io::Result<()> {
        self.at = directory;
        if name == ".." {
            self.path.pop();
        } else {
            self.path.push(name);
        }
        self.judge()
    }

    /// Into the directory of this name, or to where the link of this name leads.
    fn step(&mut self, name: &OsStr, left: &mut Vec<OsString>) -> io::Result<()> {
        if self.is_proc() {
            return self.step_in_proc(name);
        }
        match self.look(name)? {
            Found::Directory(directory) => self.enter(directory, name),
            Found::Link { target, stat } => self.follow(name, &target, &stat, left),
            Found::Other => Err(Errno::ENOTDIR.into()),
        }
    }

    /// Links below /proc are the kernel's own: what they say is not always a path.
    fn step_in_proc(&mut self, name: &OsStr) -> io::Result<()> {
        self.may_follow(name, None)?;
        let directory = retry(|| openat(&self.at, name, DIRECTORY, Mode::empty()))?;
        self.enter(directory, name)
    }

    fn look(&self, name: &OsStr) -> io::Result<Found> {
        match retry(|| openat(&self.at, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())) {
            Ok(directory) => return Ok(Found::Directory(directory)),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = retry(|| openat(&self.at, name, flags, Mode::empty()))?;
        let stat = fstat(&found)?;
        if stat.st_mode & libc::S_IFMT != SFlag::S_IFLNK.bits() {
            return Ok(Found::Other);
        }
        // An empty path is the link itself that was opened (readlinkat(2)).
        let target = retry(|| readlinkat(&found, ""))?;
        Ok(Found::Link { target: target.into(), stat })
    }

    fn follow(
        &mut self,
        name: &OsStr,
        target: &Path,
        stat: &FileStat,
        left: &mut Vec<OsString>,
    ) -> io::Result<()> {
        self.may_follow(name, Some(stat))?;
        self.links += 1;
        if self.links > LINKS {
            return Err(Errno::ELOOP.into());
        }
        if target.is_absolute() {
            self.at = retry(|| nix::fcntl::open("/", DIRECTORY, Mode::empty()))?;
            self.path = "/".into();
            self.judge()?;
        }
        left.extend(components(target));
        Ok(())
    }

    /// A link is followed if nobody else can have put it there.
    fn may_follow(&self, name: &OsStr, link: Option<&FileStat>) -> io::Result<()> {
        let shown = self.path.join(name);
        let shown = shown.display();
        if let Some(Gap { stranger, directory, .. }) = &self.gap {
            return Err(refused_for(
                *stranger,
                format!(
                    "`{shown}` is a symbolic link, which is not followed, as {stranger} can change the directory `{}`; write \
                 the path without the link, or make the directory root's alone",
                    directory.display()
                ),
            ));
        }
        let Some(link) = link else { return Ok(()) };
        if !self.trust.has_user(link.st_uid) {
            let owner = Stranger::User(link.st_uid);
            return Err(refused_for(
                owner,
                format!(
                    "`{shown}` is a symbolic link that belongs to {owner}; remove it, or write the path without the link"
                ),
            ));
        }
        // Where everybody makes names, one can be a second name of a link from elsewhere.
        if matches!(self.hold, Hold::Sticky(_)) && link.st_nlink != 1 {
            return Err(refused(format!("`{shown}` is a symbolic link with more than one name; remove it")));
        }
        Ok(())
    }

    fn is_proc(&self) -> bool {
        fstatfs(&self.at).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
    }
}

/// Whether a directory whose owner `is_outside` of our user namespace is the kernel's own: all of /proc, where nobody makes
/// names, shows there as nobody's. The directory of another user's process stays that user's, who says where the links in
/// it lead.
fn is_the_kernels(is_proc: bool, is_outside: bool) -> bool {
    is_proc && is_outside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_the_kernels_whatever_a_user_namespace_shows() {
        assert!(is_the_kernels(true, true));
        assert!(!is_the_kernels(false, true), "a directory of the host");
        assert!(!is_the_kernels(true, false), "the process of another user");
    }
}
