//! Files in a directory that nobody else changes, each of which gets its name when it is whole: whoever opens one sees all of
//! it, or nothing of the name. What is being written has a name of its own, by which it is found and removed if its writer
//! never came to the end.

use super::retry;
use crate::sys::file;
use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

/// The directory.
#[derive(Debug)]
pub(crate) struct Files {
    directory: OwnedFd,
}

/// A file that is not whole; its name goes with it, unless it is finished.
#[derive(Debug)]
pub(crate) struct Unfinished<'a> {
    files: &'a Files,
    file: File,
    name: String,
}

/// What the name of an unfinished file begins with.
const UNFINISHED: &str = "unfinished-";

impl Files {
    /// In an open directory.
    pub(crate) fn in_directory(directory: OwnedFd) -> Self {
        Self { directory }
    }

    /// Opens one for reading.
    ///
    /// # Errors
    /// As `open(2)`: ENOENT; it is none (EISDIR, ELOOP, `InvalidData`).
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let opened = File::from(retry(|| openat(&self.directory, name, flags, Mode::empty()))?);
        if opened.metadata()?.is_file() { Ok(opened) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Begins one. `writer` and `number` are in its name, which nothing has yet.
    ///
    /// # Errors
    /// As `open(2)`: ENOSPC, EMFILE.
    pub(crate) fn begin(&self, writer: u64, number: u64) -> io::Result<Unfinished<'_>> {
        let name = format!("{UNFINISHED}{writer:016x}-{number:016x}");
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = retry(|| openat(&self.directory, name.as_str(), flags, mode))?.into();
        Ok(Unfinished { files: self, file, name })
    }

    /// The writer of an unfinished file, by its name.
    #[must_use]
    pub(crate) fn writer_of(name: &[u8]) -> Option<u64> {
        let (writer, number) = name.strip_prefix(UNFINISHED.as_bytes())?.split_at_checked(16)?;
        let hex = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let number = number.strip_prefix(b"-").filter(|number| number.len() == 16)?;
        hex(number).and(hex(writer))
    }

    /// Removes one; that there is none is no error.
    ///
    /// # Errors
    /// As `unlink(2)`.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells all names, with what each file takes on the disk, and the second in which it was written last.
    ///
    /// # Errors
    /// As `getdents64(2)`.
    pub(crate) fn each(&self, mut each: impl FnMut(&[u8], u64, i64)) -> io::Result<()> {
        let again = retry(|| {
            openat(
                &self.directory,
                ".",
                OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        })?;
        file::list(again, usize::MAX, |directory, name| {
            // One that has gone meanwhile is not told of.
            if let Ok(found) = file::metadata_of_entry(directory, name)
                && found.kind == file::Kind::Regular
            {
                each(name, found.size, found.modified.seconds);
            }
            true
        })?;
        Ok(())
    }
}

impl Unfinished<'_> {
    /// Writes bytes at a place.
    ///
    /// # Errors
    /// As `pwrite(2)`: ENOSPC, EIO.
    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Gives it its name, whatever has it by now, and hands it over.
    ///
    /// # Errors
    /// As `rename(2)`; nothing of it is left then.
    pub(crate) fn finish(self, name: &str) -> io::Result<File> {
        let directory = self.files.directory.as_fd();
        renameat2(directory, self.name.as_str(), directory, name, RenameFlags::empty())?;
        self.file.try_clone()
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // After it was finished there is none.
        let _ = self.files.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::io::Read as _;

    fn scene(name: &str) -> (std::path::PathBuf, Files) {
        let path = std::env::temp_dir().join(format!("hatchery-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let files = Files::in_directory(file::open_directory(&path).unwrap());
        (path, files)
    }

    fn names(files: &Files) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        files.each(|name, _, _| names.extend(String::from_utf8(name.to_vec()))).unwrap();
        names
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole_and_then_replaces_the_one_before() {
        let (path, files) = scene("whole");
        for text in ["first", "second"] {
            let before = files.open("a").ok();
            let unfinished = files.begin(7, 9).unwrap();
            unfinished.write(&text.as_bytes()[1..], 1).unwrap();
            unfinished.write(&text.as_bytes()[..1], 0).unwrap();
            assert_eq!(names(&files).len(), 1 + usize::from(before.is_some()), "it has a name of its own");
            drop(unfinished.finish("a").unwrap());
            let mut read = String::new();
            files.open("a").unwrap().read_to_string(&mut read).unwrap();
            assert_eq!(read, text);
            assert_eq!(names(&files), BTreeSet::from(["a".to_owned()]));
        }
        files.remove("a").unwrap();
        files.remove("a").unwrap();
        assert!(files.open("a").is_err() && names(&files).is_empty());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_is_given_up_leaves_nothing_and_what_a_dead_writer_left_is_known() {
        let (path, files) = scene("left");
        drop(files.begin(1, 2).unwrap());
        assert!(names(&files).is_empty());
        std::mem::forget(files.begin(1, 2).unwrap());
        let left = names(&files).into_iter().next().unwrap();
        assert_eq!(Files::writer_of(left.as_bytes()), Some(1));
        assert!(files.begin(1, 2).is_err(), "it is there");
        for other in [
            "",
            "a",
            "unfinished-",
            "unfinished-0000000000000001",
            "unfinished-000000000000000x-0000000000000002",
        ] {
            assert_eq!(Files::writer_of(other.as_bytes()), None, "{other}");
        }
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn links_and_directories_are_no_files() {
        let (path, files) = scene("links");
        std::fs::write(path.join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(path.join("secret"), path.join("link")).unwrap();
        std::fs::create_dir(path.join("directory")).unwrap();
        assert!(files.open("link").is_err() && files.open("directory").is_err());
        assert_eq!(names(&files), BTreeSet::from(["secret".to_owned()]));
        std::fs::remove_dir_all(path).unwrap();
    }
}
