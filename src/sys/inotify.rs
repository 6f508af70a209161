//! Watches on directories: what happens to the names in them (inotify(7)).

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, WatchDescriptor};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Names a watched directory. A number is not used again soon after its directory has gone.
pub(crate) type Watch = WatchDescriptor;

/// An inotify instance: non-blocking, close-on-exec.
#[derive(Debug)]
pub(crate) struct Inotify(nix::sys::inotify::Inotify);

/// What is told of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Names that come to a directory, and that it goes itself.
    Names,
    /// That a file was changed or touched, and that it goes.
    File,
    /// That a directory goes, or a link, which is not followed.
    Itself,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened<'a> {
    /// A name came, went, or is now something else, or what it names has changed.
    Name(Watch, &'a [u8]),
    /// The directory itself has gone, or is not watched any more.
    Gone(Watch),
    /// The directory itself has moved or changed.
    Moved(Watch),
    /// More happened than could be kept.
    Overflow,
}

impl Inotify {
    /// A new instance.
    ///
    /// # Errors
    /// EMFILE: too many instances of this user (`fs.inotify.max_user_instances`) or descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        Ok(Self(nix::sys::inotify::Inotify::init(flags)?))
    }

    /// Watches an open directory (also one opened with O_PATH). Twice the same directory is one watch.
    ///
    /// # Errors
    /// EACCES: it may not be read. ENOSPC: too many watches (`fs.inotify.max_user_watches`). ENOENT: no `/proc`.
    pub(crate) fn watch(&self, directory: BorrowedFd<'_>) -> io::Result<Watch> {
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        Ok(self.0.add_watch(path.as_str(), EVENTS)?)
    }

    /// Watches an open directory as [`Self::watch`] does, but for each piece that is written to what is in it: that a file
    /// was written is told when it is closed.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub(crate) fn watch_for_edits(&self, directory: BorrowedFd<'_>) -> io::Result<Watch> {
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        Ok(self.0.add_watch(path.as_str(), EVENTS.difference(AddWatchFlags::IN_MODIFY))?)
    }

    /// Watches what has this path.
    ///
    /// # Errors
    /// As [`Self::watch`]; ENOENT: nothing has it.
    pub(crate) fn aim(&self, path: &Path, aim: Aim) -> io::Result<()> {
        let events = match aim {
            Aim::Names => NAMES,
            Aim::File => FILE,
            Aim::Itself => GOES.union(AddWatchFlags::IN_DONT_FOLLOW),
        };
        // A directory may be on the way to one file and be another one itself.
        let also = AddWatchFlags::from_bits_retain(nix::libc::IN_MASK_ADD);
        self.0.add_watch(path, events.union(also))?;
        Ok(())
    }

    /// Stops watching.
    pub(crate) fn forget(&self, watch: Watch) {
        let _ = self.0.rm_watch(watch);
    }

    /// Tells what happened since the last call.
    ///
    /// # Errors
    /// Only what cannot happen with a valid descriptor; nothing to tell is none.
    pub(crate) fn read(&self, mut each: impl FnMut(Happened<'_>)) -> io::Result<()> {
        loop {
            let events = match self.0.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in events {
                let gone =
                    AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_UNMOUNT | AddWatchFlags::IN_DELETE_SELF;
                each(match &event.name {
                    _ if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => Happened::Overflow,
                    Some(name) => Happened::Name(event.wd, name.as_bytes()),
                    None if event.mask.intersects(gone) => Happened::Gone(event.wd),
                    None => Happened::Moved(event.wd),
                });
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const GOES: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF);

const NAMES: AddWatchFlags =
    GOES.union(AddWatchFlags::IN_CREATE).union(AddWatchFlags::IN_MOVED_TO).union(AddWatchFlags::IN_ONLYDIR);

const FILE: AddWatchFlags =
    GOES.union(AddWatchFlags::IN_ATTRIB).union(AddWatchFlags::IN_CLOSE_WRITE).union(AddWatchFlags::IN_MODIFY);

const EVENTS: AddWatchFlags = AddWatchFlags::IN_ATTRIB
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::from_bits_retain(nix::libc::IN_EXCL_UNLINK))
    .union(AddWatchFlags::IN_ONLYDIR);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_are_told_and_a_quiet_directory_tells_nothing() {
        let path = std::env::temp_dir().join(format!("hatchery-inotify-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let directory = super::super::file::open_directory(&path).unwrap();
        let inotify = Inotify::new().unwrap();
        let watch = inotify.watch(directory.as_fd()).unwrap();
        assert_eq!(inotify.watch(directory.as_fd()).unwrap(), watch);
        let told = || {
            let mut told = Vec::new();
            inotify
                .read(|happened| {
                    told.push(match happened {
                        Happened::Name(of, name) if of == watch => String::from_utf8(name.to_vec()).unwrap(),
                        Happened::Gone(of) if of == watch => "gone".to_owned(),
                        other => format!("{other:?}"),
                    });
                })
                .unwrap();
            told.dedup();
            told
        };
        assert!(told().is_empty());
        fs::write(path.join("a"), "1").unwrap();
        assert_eq!(told(), ["a"]);
        fs::rename(path.join("a"), path.join("b")).unwrap();
        assert_eq!(told(), ["a", "b"]);
        fs::read(path.join("b")).unwrap();
        assert!(told().is_empty());
        // A directory has gone when nobody has it open any more.
        drop(directory);
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(told(), ["b", "gone"]);
    }
}
